"""Making and checking the table: what is sent at each step, and what each refusal of a step means."""

import logging
import random
from types import SimpleNamespace

import pytest
from botocore import exceptions as aws

from ddb_lease import StoreRejected, StoreUnavailable
from ddb_lease.dynamodb.endpoint import Endpoint
from ddb_lease.dynamodb.table import TableReport, check_table, create_table
from ddb_lease.dynamodb.table_options import TableOptions
from ddb_lease.errors import ConfigurationError
from tests.dynamodb.test_answers import client_error as refused

KEYS = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
TYPES = [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}]
FIT = {"TableStatus": "ACTIVE", "KeySchema": KEYS, "AttributeDefinitions": TYPES}
NO_TTL = {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
HAS_TTL = {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}}
NOT_ASKED_FOR = {"deletion_protection": None, "max_reads": None, "max_writes": None}


class Clock:
    """A clock that goes on only while something sleeps: for as long as it sleeps, or by one step for each time."""

    def __init__(self):
        self.now = 1000.0
        self.step = None
        self.slept = []

    def steady(self):
        return self.now

    def wall(self):
        return 1_795_915_800.0

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds if self.step is None else self.step


class Service:
    """A client's methods: each gives its answers in order, the last of them again and again."""

    def __init__(self):
        self.asked = []
        self.answers = {
            "create_table": [{}],
            "describe_table": [{"Table": FIT}],
            "describe_global_table": [refused("GlobalTableNotFoundException")],
            "describe_time_to_live": [NO_TTL],
            "update_time_to_live": [{}],
            "update_table": [{}],
        }

    def __getattr__(self, name):
        def method(**arguments):
            self.asked.append((name, arguments))
            listed = self.answers[name]
            answer = listed.pop(0) if len(listed) > 1 else listed[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return method


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=clock.sleep))
    return clock


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def connection(service):
    return SimpleNamespace(connect=lambda _: service, endpoint=Endpoint(options="--local", gone="the engine has ended"))


@pytest.fixture
def make(connection, clock):
    """Makes the table; protects it if that is asked for."""

    def made(table="leases", *, protect=False, **given):
        options = {"options": TableOptions(deletion_protection=True)} if protect else {}
        return create_table(table, connection=connection, clock=clock, **options, **given)

    return made


@pytest.fixture
def check(connection, clock):
    def checked(table="leases", **given):
        return check_table(table, connection=connection, clock=clock, **given)

    return checked


# ---- What is sent.


def test_a_new_table_is_made_looked_at_and_given_ttl(service, make):
    assert make() == TableReport(table="leases", created=True, ttl_enabled=True, changed=False)
    assert service.asked == [
        (
            "create_table",
            {
                "TableName": "leases",
                "KeySchema": KEYS,
                "AttributeDefinitions": TYPES,
                "BillingMode": "PAY_PER_REQUEST",
            },
        ),
        ("describe_table", {"TableName": "leases"}),
        ("describe_table", {"TableName": "leases"}),
        ("describe_time_to_live", {"TableName": "leases"}),
        (
            "update_time_to_live",
            {"TableName": "leases", "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "ttl"}},
        ),
    ]


def test_one_that_exists_is_asked_for_globally_too_and_given_what_it_lacks(service, make):
    service.answers["create_table"] = [refused("ResourceInUseException")]
    service.answers["describe_time_to_live"] = [HAS_TTL]
    assert make(protect=True) == TableReport(table="leases", created=False, ttl_enabled=False, changed=True)
    assert service.asked[1:] == [
        ("describe_table", {"TableName": "leases"}),
        ("describe_table", {"TableName": "leases"}),
        ("describe_global_table", {"GlobalTableName": "leases"}),
        ("describe_time_to_live", {"TableName": "leases"}),
        ("describe_table", {"TableName": "leases"}),
        ("update_table", {"TableName": "leases", "DeletionProtectionEnabled": True}),
    ]


def test_a_check_asks_and_changes_nothing(service, check, caplog):
    with caplog.at_level(logging.INFO, "ddb_lease"):
        assert check() is False
    assert [name for name, _ in service.asked] == [
        *("describe_table", "describe_table", "describe_table"),
        *("describe_global_table", "describe_time_to_live"),
    ]
    assert caplog.records == [], "that there is no global table of the name is no news"


# ---- Names.


@pytest.mark.parametrize("name", ["ab", "a" * 256, "", "a b c", "tabl\u00e9", "a/bc", "abc\n", "my:arn:aws"])
def test_what_is_no_name_of_a_table_is_refused_before_anything_is_sent(service, make, check, name):
    for work in (make, check):
        with pytest.raises(ConfigurationError, match="is no name of a table: DynamoDB takes 3 to 255 letters"):
            work(name)
    assert service.asked == []


@pytest.mark.parametrize(
    "name", ["abc", "a" * 255, "AZaz09_.-", "arn:aws:dynamodb:eu-west-1:111111111111:table/leases"]
)
def test_what_is_one_is_taken_as_it_is(service, make, name):
    assert make(name).table == name
    assert {arguments["TableName"] for _, arguments in service.asked} == {name}


# ---- Waiting.


def test_a_table_that_is_being_made_is_looked_at_every_second_or_so(service, make, clock):
    random.seed(1)
    service.answers["describe_table"] = [{"Table": FIT | {"TableStatus": "CREATING"}}] * 60 + [{"Table": FIT}]
    assert make().created
    assert len(clock.slept) == 60
    assert 0.2 <= min(clock.slept) < 0.4
    assert 1.3 < max(clock.slept) <= 1.5


@pytest.mark.parametrize(
    ("work", "given", "waits"),
    [("make", {}, 120.0), ("make", {"timeout": 7.0}, 7.0), ("check", {}, 30.0), ("check", {"timeout": 7.0}, 7.0)],
)
def test_making_waits_two_minutes_and_checking_half_a_minute_unless_told_otherwise(
    request, service, clock, work, given, waits
):
    clock.step = 0.5
    service.answers["describe_table"] = [{"Table": FIT | {"TableStatus": "DELETING"}}]
    with pytest.raises(StoreUnavailable, match="^table 'leases' is DELETING, not active yet: repeat the command$"):
        request.getfixturevalue(work)(**given)
    assert clock.now == 1000.0 + waits


def test_a_new_table_that_is_not_known_everywhere_yet_is_waited_for(service, make):
    service.answers["describe_table"] = [refused("ResourceNotFoundException")] * 2 + [{"Table": FIT}]
    assert make().created


def test_one_that_stays_unknown_is_not_active_in_time(service, make):
    service.answers["describe_table"] = [refused("ResourceNotFoundException")]
    with pytest.raises(StoreUnavailable, match="^table 'leases' is CREATING, not active yet"):
        make()


# ---- What is unfit.


@pytest.mark.parametrize(
    "unlike",
    [
        {"KeySchema": KEYS[:1]},
        {"KeySchema": [KEYS[1] | {"KeyType": "HASH"}, KEYS[0] | {"KeyType": "RANGE"}]},
        {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, KEYS[1]]},
        {"AttributeDefinitions": [TYPES[0] | {"AttributeType": "N"}, TYPES[1]]},
        {"AttributeDefinitions": [TYPES[0], TYPES[1] | {"AttributeType": "B"}]},
        {"AttributeDefinitions": TYPES[:1]},
    ],
    ids=str,
)
def test_a_table_with_other_keys_is_refused_and_not_changed(service, make, check, unlike):
    service.answers["create_table"] = [refused("ResourceInUseException")]
    service.answers["describe_table"] = [{"Table": FIT | unlike}]
    for work in (make, check):
        with pytest.raises(StoreRejected, match=r"^table 'leases' exists with other keys \({.*}\); leases need pk"):
            work()
    assert {name for name, _ in service.asked} == {"create_table", "describe_table"}


def test_definitions_of_other_attributes_are_nobodys_business(service, check):
    more = [{"AttributeName": "created", "AttributeType": "N"}]
    service.answers["describe_table"] = [{"Table": FIT | {"AttributeDefinitions": more + TYPES}}]
    assert check() is False


@pytest.mark.parametrize(
    ("status", "has"), [("ENABLED", True), ("ENABLING", True), ("DISABLING", False), ("DISABLED", False), (None, False)]
)
def test_ttl_counts_once_it_is_being_turned_on(service, check, status, has):
    service.answers["describe_time_to_live"] = [
        {"TimeToLiveDescription": {"TimeToLiveStatus": status, "AttributeName": "ttl"}}
    ]
    assert check() is has


def test_ttl_on_another_attribute_is_refused(service, check):
    service.answers["describe_time_to_live"] = [
        {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}}
    ]
    with pytest.raises(StoreRejected, match="^table 'leases' has TTL on attribute 'expires', leases need it on 'ttl'"):
        check()


@pytest.mark.parametrize(
    "answer", [aws.EndpointConnectionError(endpoint_url="http://x"), OSError("reset"), {}, refused("AccessDenied")]
)
def test_where_a_global_table_cannot_be_asked_for_it_is_said(service, check, caplog, answer):
    service.answers["describe_global_table"] = [answer]
    with caplog.at_level(logging.INFO, "ddb_lease"):
        assert check() is False
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("table 'leases': whether it is a global table of version 2017.11.29 could not be asked: ")


# ---- What each refusal means, at each step.

STEPS = ["create_table", "describe_table", "describe_time_to_live", "update_time_to_live", "update_table"]


def fails_at(step, error, service):
    """Let one step fail; all that come before it work."""
    if step != "create_table":
        service.answers["create_table"] = [refused("ResourceInUseException")]
    service.answers[step] = [error]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (refused("AccessDeniedException"), StoreRejected, "permission is missing: as it says"),
        (refused("SomethingNew"), StoreRejected, "DynamoDB answered SomethingNew: as it says"),
        (refused("NotThisTime", status=499), StoreRejected, "DynamoDB answered NotThisTime: as it says"),
        (refused("ValidationException"), ConfigurationError, "table 'leases': as it says"),
        (
            aws.ClientError({"Error": {"Code": "ValidationException"}}, "AnyOperation"),
            ConfigurationError,
            "table 'leases': ValidationException",
        ),
        (
            aws.NoCredentialsError(),
            StoreRejected,
            "Unable to locate credentials: check credentials, profile and region",
        ),
        (
            aws.ParamValidationError(report="no such thing"),
            ConfigurationError,
            "table 'leases': Parameter validation failed:\nno such thing",
        ),
        (
            aws.DataNotFoundError(data_path="x"),
            StoreUnavailable,
            "DynamoDB does not answer: Unable to load data for: x",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_will_not_pass_is_told_at_once(service, make, clock, step, error, kind, says):
    fails_at(step, error, service)
    with pytest.raises(kind) as caught:
        make(protect=True)
    assert str(caught.value) == says
    assert clock.slept == []


PASSING = [
    refused("ThrottlingException"),
    refused("LimitExceededException"),
    refused("RequestLimitExceeded"),
    refused("InternalServerError", status=500),
    refused("ServiceUnavailable", status=503),
    aws.ReadTimeoutError(endpoint_url="http://x"),
    aws.ConnectTimeoutError(endpoint_url="http://x"),
    OSError(24, "Too many open files"),
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", PASSING, ids=lambda error: str(error)[:60])
def test_what_may_pass_is_tried_again_until_it_has(service, make, clock, step, error):
    fails_at(step, error, service)
    done = HAS_TTL if step == "describe_time_to_live" else {"Table": FIT} if step == "describe_table" else {}
    service.answers[step] = [error, error, done]
    assert make(protect=True).table == "leases"
    assert len(clock.slept) == 2


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", PASSING, ids=lambda error: str(error)[:60])
def test_what_does_not_pass_in_time_is_to_be_tried_later(service, make, step, error):
    fails_at(step, error, service)
    with pytest.raises(StoreUnavailable):
        make(protect=True, timeout=0.0)


@pytest.mark.parametrize(
    "error",
    [
        aws.EndpointConnectionError(endpoint_url="http://x"),
        aws.SSLError(endpoint_url="http://x", error="a certificate of nobody we know"),
        aws.ProxyConnectionError(proxy_url="http://x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_does_not_help_is_told_at_once(service, make, clock, error):
    service.answers["create_table"] = [error]
    with pytest.raises(StoreUnavailable, match="^DynamoDB does not answer: .*http://x"):
        make()
    assert clock.slept == []


def test_a_service_that_cannot_be_reached_is_tried_for_ten_seconds(service, make, clock):
    service.answers["create_table"] = [aws.ConnectTimeoutError(endpoint_url="http://x")]
    with pytest.raises(
        StoreUnavailable, match='^DynamoDB does not answer: Connect timeout on endpoint URL: "http://x"'
    ):
        make()
    assert 1010.0 <= clock.now < 1012.0


@pytest.mark.parametrize("answer", [{}, refused("ResourceInUseException"), refused("ThrottlingException")], ids=str)
def test_a_service_that_has_answered_is_waited_for_though_it_cannot_be_reached_for_a_time(service, make, clock, answer):
    unreachable = aws.ConnectTimeoutError(endpoint_url="http://x")
    service.answers["create_table"] = [answer, unreachable, {}]
    service.answers["describe_table"] = [*([unreachable] * 100), {"Table": FIT}]
    assert make().table == "leases"
    assert clock.now > 1012.0


@pytest.mark.parametrize("step", ["update_time_to_live", "update_table"])
def test_another_change_that_lasts_is_told_once_the_time_is_over(service, make, clock, step):
    fails_at(step, refused("ResourceInUseException", message="being updated"), service)
    with pytest.raises(StoreUnavailable, match="^DynamoDB answered ResourceInUseException: being updated$"):
        make(protect=True, timeout=5.0)
    assert clock.now >= 1005.0


@pytest.mark.parametrize("step", ["describe_table", "describe_time_to_live"])
def test_a_look_is_in_nobodys_way(service, make, clock, step):
    fails_at(step, refused("ResourceInUseException"), service)
    with pytest.raises(StoreUnavailable):
        make()
    assert clock.slept == []


def test_a_table_that_is_not_there_is_to_be_made(service, check, clock):
    service.answers["describe_table"] = [refused("ResourceNotFoundException")]
    with pytest.raises(StoreRejected) as caught:
        check()
    assert str(caught.value) == (
        "table 'leases' does not exist: make it with `ddb-lease create-table --table leases --local`"
    )
    assert clock.slept == []


def test_that_nobody_listens_is_told_with_what_it_means_there(service, check):
    service.answers["describe_table"] = [aws.EndpointConnectionError(endpoint_url="http://x")]
    with pytest.raises(StoreUnavailable) as caught:
        check(timeout=0.0)
    assert str(caught.value) == (
        'DynamoDB does not answer: Could not connect to the endpoint URL: "http://x": the engine has ended'
    )


# ---- Options.


@pytest.mark.parametrize(
    ("options", "says", "asks"),
    [
        ({}, "", {}),
        ({"deletion_protection": True}, "deletion protection on", {"DeletionProtectionEnabled": True}),
        ({"deletion_protection": False}, "deletion protection off", {}),
        (
            {"max_reads": 1},
            "at most 1 read request units a second",
            {"OnDemandThroughput": {"MaxReadRequestUnits": 1}},
        ),
        (
            {"max_writes": 2},
            "at most 2 write request units a second",
            {"OnDemandThroughput": {"MaxWriteRequestUnits": 2}},
        ),
        (
            {"deletion_protection": True, "max_reads": 3, "max_writes": 4},
            "deletion protection on, at most 3 read request units a second, at most 4 write request units a second",
            {
                "DeletionProtectionEnabled": True,
                "OnDemandThroughput": {"MaxReadRequestUnits": 3, "MaxWriteRequestUnits": 4},
            },
        ),
    ],
    ids=str,
)
def test_options_are_told_and_asked_for_as_far_as_they_are_given(options, says, asks):
    made = TableOptions(**options)
    assert (str(made), made.request()) == (says, asks)
    assert {name: getattr(made, name) for name in NOT_ASKED_FOR} == NOT_ASKED_FOR | options


@pytest.mark.parametrize(
    ("has", "lacks"),
    [
        (None, {"OnDemandThroughput": {"MaxReadRequestUnits": 3}}),
        ({}, {"OnDemandThroughput": {"MaxReadRequestUnits": 3}}),
        ({"MaxReadRequestUnits": 4}, {"OnDemandThroughput": {"MaxReadRequestUnits": 3}}),
        ({"MaxReadRequestUnits": 3, "MaxWriteRequestUnits": 9}, {}),
    ],
    ids=str,
)
def test_a_cap_that_is_not_asked_for_stays(has, lacks):
    assert TableOptions(max_reads=3).lacking({"OnDemandThroughput": has}) == lacks


@pytest.mark.parametrize("name", ["max_reads", "max_writes"])
def test_each_cap_is_at_least_one_and_is_named(name):
    with pytest.raises(ConfigurationError, match=f"^{name} must be a whole number .*: 0$"):
        TableOptions(**{name: 0})
    assert getattr(TableOptions(**{name: 1}), name) == 1
