"""Making and checking the table, by the service's answers: a Stubber says what no engine here does."""

import logging
import random
from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber

from ddb_lease import StoreRejected, StoreUnavailable, client_config
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.endpoint import AWS
from ddb_lease.dynamodb.global_tables import why_unfit
from ddb_lease.dynamodb.table import check_table, create_table
from ddb_lease.dynamodb.table_options import TableOptions
from ddb_lease.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings("error")

TABLE = {
    "TableName": "leases",
    "TableStatus": "ACTIVE",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
}
ON = {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
OFF = {"TimeToLiveStatus": "DISABLED"}
TOO_OFTEN = "Time to live has been modified multiple times within a fixed interval"
GLOBAL = {"GlobalTableName": "leases", "ReplicationGroup": [{"RegionName": "us-east-1"}, {"RegionName": "eu-west-1"}]}


class Service:
    """A client that is told what it is answered, in order; what is asked beyond that, or otherwise, fails the test."""

    def __init__(self):
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        self.client = session.client("dynamodb", config=client_config(30))
        self.stub = Stubber(self.client)
        self.stub.activate()
        self.connection = SimpleNamespace(connect=lambda _: self.client, endpoint=AWS)

    def exists(self):
        self.stub.add_client_error("create_table", "ResourceInUseException", "Table already exists")

    def creates(self, **options):
        asked = {key: TABLE[key] for key in ("TableName", "KeySchema", "AttributeDefinitions")}
        made = {"TableDescription": TABLE}
        self.stub.add_response("create_table", made, {**asked, "BillingMode": "PAY_PER_REQUEST", **options})

    def described(self, *, times=1, **more):
        for _ in range(times):
            self.stub.add_response("describe_table", {"Table": TABLE | more}, {"TableName": "leases"})

    def no_global(self):
        self.stub.add_client_error("describe_global_table", "GlobalTableNotFoundException", "not found")

    def ttl(self, status):
        self.stub.add_response("describe_time_to_live", {"TimeToLiveDescription": status}, {"TableName": "leases"})

    def ttl_refused(self, code, message="no"):
        self.stub.add_client_error("update_time_to_live", code, message)

    def ttl_set(self):
        spec = {"Enabled": True, "AttributeName": "ttl"}
        self.stub.add_response("update_time_to_live", {"TimeToLiveSpecification": spec})

    def make(self, *, timeout=60.0, **options):
        made = create_table(
            "leases",
            connection=self.connection,
            clock=SystemClock(),
            timeout=timeout,
            options=TableOptions(**options),
        )
        self.stub.assert_no_pending_responses()
        return made

    def check(self):
        fit = check_table("leases", connection=self.connection, clock=SystemClock(), timeout=60.0)
        self.stub.assert_no_pending_responses()
        return fit


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr("ddb_lease.dynamodb.table.POLL_SECONDS", (0.0, 0.01))
    return Service()


# While it is changed.


def test_a_table_that_is_being_changed_is_usable(service):
    service.described(times=3, TableStatus="UPDATING")
    service.no_global()
    service.ttl(ON)
    assert service.check()


def test_a_table_that_is_being_made_is_waited_for(service):
    service.creates()
    service.described(times=2, TableStatus="CREATING")
    service.described(times=2)
    service.ttl(ON)
    assert service.make().created


# TTL.


def ready_for_ttl(service):
    service.exists()
    service.described(times=2)
    service.no_global()
    service.ttl(OFF)


def test_ttl_that_was_changed_within_the_hour_is_to_be_tried_in_an_hour(service):
    ready_for_ttl(service)
    service.ttl_refused("ValidationException", TOO_OFTEN)
    service.ttl(OFF)
    with pytest.raises(StoreUnavailable, match="repeat in an hour"):
        service.make()


@pytest.mark.parametrize("message", [TOO_OFTEN, "TimeToLive is already enabled"])
def test_ttl_that_another_turned_on_meanwhile_is_on(service, message):
    ready_for_ttl(service)
    service.ttl_refused("ValidationException", message)
    service.ttl(ON)
    assert not service.make().ttl_enabled


def test_ttl_that_another_turned_on_meanwhile_on_another_attribute_will_not_do(service):
    ready_for_ttl(service)
    service.ttl_refused("ValidationException", "TimeToLive is already enabled")
    service.ttl(ON | {"AttributeName": "expires"})
    with pytest.raises(StoreRejected, match="has TTL on attribute 'expires'"):
        service.make()


def test_any_other_refusal_of_ttl_is_told_as_it_is(service):
    ready_for_ttl(service)
    service.ttl_refused("ValidationException", "something else")
    service.ttl(OFF)
    with pytest.raises(ConfigurationError, match="something else"):
        service.make()


def test_ttl_is_turned_on_once_another_change_of_the_table_is_done(service):
    ready_for_ttl(service)
    for _ in range(3):
        service.ttl_refused("ResourceInUseException", "Table is being updated")
    service.ttl_set()
    assert service.make().ttl_enabled


def test_a_change_that_takes_too_long_is_to_be_waited_for(service):
    ready_for_ttl(service)
    service.ttl_refused("ResourceInUseException", "Table is being updated")
    with pytest.raises(StoreUnavailable, match="being updated"):
        service.make(timeout=0.0)


# Global tables.


@pytest.mark.parametrize("way", ["make", "check"])
def test_a_global_table_of_the_old_kind_will_not_do(service, way):
    if way == "make":
        service.exists()
    service.described(times=3 if way == "check" else 2)
    service.stub.add_response(
        "describe_global_table", {"GlobalTableDescription": GLOBAL}, {"GlobalTableName": "leases"}
    )
    with pytest.raises(StoreRejected, match=r"has replicas \(eu-west-1, us-east-1\).*two holders may have one slot"):
        getattr(service, way)()


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnknownOperationException", "InternalServerError"])
def test_where_that_cannot_be_asked_the_table_is_taken_and_it_is_said_at_info(service, code, caplog):
    service.described(times=3)
    service.stub.add_client_error("describe_global_table", code, "no", http_status_code=400)
    service.ttl(ON)
    with caplog.at_level(logging.INFO, "ddb_lease"):
        assert service.check()
    (said,) = caplog.records
    assert (said.levelname, "2017.11.29" in said.getMessage()) == ("INFO", True)


TWO_HOLDERS = "a global table of this mode checks conditions in one region only, so two holders may have one slot"
LACKS = "a global table of this mode has neither transactions nor TTL"
R1, R2 = {"RegionName": "r1"}, {"RegionName": "r2"}


@pytest.mark.parametrize(
    ("described", "globally", "says"),
    [
        ({"Replicas": [R2, R1]}, {}, f"has replicas (r1, r2); {TWO_HOLDERS}"),
        ({"Replicas": [R2], "MultiRegionConsistency": "EVENTUAL"}, {}, f"has replicas (r2); {TWO_HOLDERS}"),
        ({"Replicas": [R1], "MultiRegionConsistency": "STRONG"}, {}, f"has replicas (r1); {LACKS}"),
        ({"Replicas": [R1], "GlobalTableWitnesses": [R2]}, {}, f"has replicas (r1); {LACKS}"),
        ({"GlobalTableWitnesses": [R2]}, {}, f"is a global table; {LACKS}"),
        ({"GlobalTableVersion": "2017.11.29"}, {}, f"is a global table; {TWO_HOLDERS}"),
        ({}, {"GlobalTableName": "leases"}, f"is a global table; {TWO_HOLDERS}"),
        ({}, {"ReplicationGroup": [R2, R1]}, f"has replicas (r1, r2); {TWO_HOLDERS}"),
        ({"Replicas": [R1]}, {"ReplicationGroup": [R2, R1]}, f"has replicas (r1, r2); {TWO_HOLDERS}"),
        ({"Replicas": [{}]}, {}, f"has replicas (None); {TWO_HOLDERS}"),
    ],
    ids=str,
)
def test_what_a_description_tells_of_a_global_table(described, globally, says):
    assert why_unfit(described, globally) == says


@pytest.mark.parametrize("described", [{}, {"Replicas": []}, {"Replicas": None}, {"GlobalTableVersion": "2019.11.21"}])
def test_what_is_no_global_table_any_more_will_do(described):
    assert why_unfit(described, {}) is None


# Deletion protection, and caps.

CAPPED = {"MaxReadRequestUnits": 200, "MaxWriteRequestUnits": 100}
ASKED = {"deletion_protection": True, "max_reads": 200, "max_writes": 100}


def test_what_is_asked_for_is_set_when_the_table_is_made(service):
    service.creates(DeletionProtectionEnabled=True, OnDemandThroughput=CAPPED)
    service.described(times=2)
    service.ttl(ON)
    assert not service.make(**ASKED).changed


@pytest.mark.parametrize(
    ("has", "sets"),
    [
        ({}, {"DeletionProtectionEnabled": True, "OnDemandThroughput": CAPPED}),
        ({"DeletionProtectionEnabled": True}, {"OnDemandThroughput": CAPPED}),
        (
            {"OnDemandThroughput": CAPPED | {"MaxWriteRequestUnits": 99}},
            {"DeletionProtectionEnabled": True, "OnDemandThroughput": CAPPED},
        ),
        ({"OnDemandThroughput": CAPPED}, {"DeletionProtectionEnabled": True}),
    ],
)
def test_what_a_table_lacks_of_it_is_set_later(service, has, sets):
    service.exists()
    service.described(times=2, **has)
    service.no_global()
    service.ttl(ON)
    service.described(**has)
    service.stub.add_client_error("update_table", "ResourceInUseException", "being updated")
    service.stub.add_response("update_table", {"TableDescription": TABLE}, {"TableName": "leases", **sets})
    assert service.make(**ASKED).changed


def test_what_a_table_has_is_not_set_again(service):
    service.exists()
    service.described(times=2)
    service.no_global()
    service.ttl(ON)
    service.described(DeletionProtectionEnabled=True, OnDemandThroughput=CAPPED)
    assert not service.make(**ASKED).changed


def test_what_is_not_asked_for_is_left_as_it_is(service):
    service.exists()
    service.described(times=2)
    service.no_global()
    service.ttl(ON)
    assert not service.make().changed


def test_protection_that_is_asked_to_end_is_ended():
    assert TableOptions(deletion_protection=False).lacking({"DeletionProtectionEnabled": True}) == {
        "DeletionProtectionEnabled": False
    }
    assert TableOptions(deletion_protection=False).lacking({}) == {}


@pytest.mark.parametrize("units", [0, -1])
def test_a_cap_is_at_least_one(units):
    with pytest.raises(ConfigurationError, match="1 or more"):
        TableOptions(max_writes=units)


def test_an_engine_protects_and_caps_the_table(engine, session, client):
    name = f"options-{random.Random(engine.name).getrandbits(32):x}"
    connection = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
    made = create_table(name, connection=connection, clock=SystemClock(), options=TableOptions(**ASKED))
    try:
        assert made.created
        described = client.describe_table(TableName=name)["Table"]
        assert described["DeletionProtectionEnabled"]
        if engine.name == "ministack":  # moto forgets the cap
            assert described["OnDemandThroughput"] == CAPPED
        off = TableOptions(deletion_protection=False)
        assert create_table(name, connection=connection, clock=SystemClock(), options=off).changed
    finally:
        client.delete_table(TableName=name)
