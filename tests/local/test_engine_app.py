"""The engine's additions to moto: client tokens, deletion by TTL, headers, the refusal of web pages."""

import contextlib
import gc
import http.client
import json
import logging
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from ddb_lease.local.app import App
from ddb_lease.local.backend import MotoBackend
from ddb_lease.local.embedded import EmbeddedEngine, serve
from ddb_lease.local.messages import HEALTH_PATH
from ddb_lease.local.tokens import TokenLedger, Verdict
from tests.local.tables import make_ordered_table

NOW_S = 1_800_000_000.0
FIVE_YEARS_S = 157_680_000


class FakeClock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine(clock) -> Iterator[EmbeddedEngine]:
    with serve(clock=clock) as engine:
        yield engine


@pytest.fixture
def client(engine):
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    client.create_table(
        TableName="things",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def names(client) -> set[str]:
    return {item["id"]["S"] for item in client.scan(TableName="things")["Items"]}


def count_up(client, *, token: str, by: int = 1, **options) -> None:
    update = {
        "TableName": "things",
        "Key": {"id": {"S": "counter"}},
        "UpdateExpression": "ADD n :by",
        "ExpressionAttributeValues": {":by": {"N": str(by)}},
        **options,
    }
    client.transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken=token)


def counter(client) -> int:
    item = client.get_item(TableName="things", Key={"id": {"S": "counter"}}).get("Item")
    return 0 if item is None else int(item["n"]["N"])


def test_a_repeated_transaction_is_answered_but_not_executed_again(client):
    count_up(client, token="t1")
    count_up(client, token="t1")
    assert counter(client) == 1


def test_another_token_executes_again(client):
    count_up(client, token="t1")
    count_up(client, token="t2")
    assert counter(client) == 2


def test_another_transaction_with_the_same_token_is_a_mismatch(client):
    count_up(client, token="t1")
    with pytest.raises(client.exceptions.IdempotentParameterMismatchException):
        count_up(client, token="t1", by=2)
    assert counter(client) == 1


def test_a_cancelled_transaction_is_not_remembered(client):
    impossible = {"ConditionExpression": "attribute_exists(nothing)"}
    with pytest.raises(client.exceptions.TransactionCanceledException):
        count_up(client, token="t1", **impossible)
    client.put_item(TableName="things", Item={"id": {"S": "counter"}, "nothing": {"S": "is here"}})
    count_up(client, token="t1", **impossible)
    assert counter(client) == 1


def test_a_token_is_forgotten_after_ten_minutes(client, clock):
    count_up(client, token="t1")
    clock.now_s += 599
    count_up(client, token="t1")
    assert counter(client) == 1
    clock.now_s += 1
    count_up(client, token="t1")
    assert counter(client) == 2


def test_tokens_do_not_fill_the_memory():
    ledger: TokenLedger[str] = TokenLedger(max_tokens=3)
    for number in range(10):
        ledger.record(str(number), {}, "done", now_s=0)
    assert len(ledger) == 3
    assert ledger.look_up("9", {}, now_s=0) == "done"
    assert ledger.look_up("0", {}, now_s=0) is Verdict.NEW


@pytest.mark.parametrize(
    "report",
    [{"ReturnConsumedCapacity": "TOTAL"}, {"ReturnItemCollectionMetrics": "SIZE"}],
    ids=lambda r: next(iter(r)),
)
def test_what_a_transaction_should_report_is_no_part_of_its_identity(report):
    ledger: TokenLedger[str] = TokenLedger()
    ledger.record("t", {"TransactItems": []} | report, "done", now_s=0)
    assert ledger.look_up("t", {"TransactItems": []}, now_s=0) == "done"


def test_a_transaction_is_the_same_in_whatever_order_its_keys_come():
    ledger: TokenLedger[str] = TokenLedger()
    ledger.record("t", {"a": {"b": 1, "c": 2}, "d": 3}, "done", now_s=0)
    assert ledger.look_up("t", {"d": 3, "a": {"c": 2, "b": 1}}, now_s=0) == "done"
    assert ledger.look_up("t", {"d": 3, "a": {"c": 1, "b": 2}}, now_s=0) is Verdict.MISMATCH


def test_a_token_is_of_one_region(client, engine):
    elsewhere = engine.session().client("dynamodb", region_name="eu-west-1", endpoint_url=engine.endpoint_url)
    elsewhere.create_table(
        TableName="things",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    count_up(client, token="t1")
    count_up(elsewhere, token="t1")
    count_up(elsewhere, token="t1")
    assert (counter(client), counter(elsewhere)) == (1, 1)


def test_the_sweep_deletes_what_is_past_its_ttl_but_not_more_than_five_years(client, engine):
    ttl = {"Enabled": True, "AttributeName": "expires"}
    client.update_time_to_live(TableName="things", TimeToLiveSpecification=ttl)
    now = int(NOW_S)
    kept = {
        "future": {"N": str(now + 1)},
        "now": {"N": str(now)},
        "ancient": {"N": str(now - FIVE_YEARS_S - 1)},
        "text": {"S": str(now - 1)},
    }
    gone = {"just": {"N": str(now - 1)}, "old": {"N": str(now - FIVE_YEARS_S)}, "half": {"N": f"{now - 1}.5"}}
    for name, expires in {**kept, **gone}.items():
        client.put_item(TableName="things", Item={"id": {"S": name}, "expires": expires})
    client.put_item(TableName="things", Item={"id": {"S": "eternal"}})
    assert engine.sweep() == len(gone)
    assert names(client) == {*kept, "eternal"}
    assert engine.sweep(NOW_S + 2) == 2
    assert names(client) == {"ancient", "text", "eternal"}


def test_nothing_is_swept_from_a_table_without_ttl(client, engine):
    client.put_item(TableName="things", Item={"id": {"S": "a"}, "expires": {"N": "1"}})
    assert engine.sweep() == 0
    ttl = {"Enabled": False, "AttributeName": "expires"}
    client.update_time_to_live(TableName="things", TimeToLiveSpecification=ttl)
    assert engine.sweep(100.0) == 0
    assert names(client) == {"a"}


def test_the_date_is_that_of_the_clock_on_success_and_on_error(client, clock):
    clock.now_s = NOW_S + 5
    success = client.list_tables()["ResponseMetadata"]
    with pytest.raises(ClientError) as error:
        client.get_item(TableName="nowhere", Key={"id": {"S": "a"}})
    failure = error.value.response["ResponseMetadata"]
    for metadata in (success, failure):
        assert parsedate_to_datetime(metadata["HTTPHeaders"]["date"]).timestamp() == NOW_S + 5
        assert len(metadata["RequestId"]) == 52
    assert success["RequestId"] != failure["RequestId"]


def test_a_replayed_answer_has_a_date_and_a_request_id_of_its_own(client, clock):
    put = [{"Put": {"TableName": "things", "Item": {"id": {"S": "a"}}}}]
    first = client.transact_write_items(TransactItems=put, ClientRequestToken="t")["ResponseMetadata"]
    clock.now_s += 60
    again = client.transact_write_items(TransactItems=put, ClientRequestToken="t")["ResponseMetadata"]
    assert first["RequestId"] != again["RequestId"]
    assert first["HTTPHeaders"]["date"] != again["HTTPHeaders"]["date"]


def test_partitions_whose_names_begin_so_are_dropped_by_a_tests_backend(clock):
    backend = MotoBackend()
    with serve(app=App(clock=clock, backend=backend)) as engine:
        client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        make_ordered_table(client, "double")
        found = [(pk, sk) for pk in ("a-1", "a-2", "b-a") for sk in ("1", "2")]
        for pk, sk in found:
            client.put_item(TableName="double", Item={"pk": {"S": pk}, "sk": {"S": sk}})

        def left():
            asked = {
                "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :first AND :last",
                "ProjectionExpression": "#pk, #sk",
                "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk"},
                "Limit": 9,
            }
            values = [{":pk": {"S": pk}, ":first": {"S": "1"}, ":last": {"S": "2"}} for pk in ("a-1", "a-2", "b-a")]
            answers = [client.query(TableName="double", ExpressionAttributeValues=each, **asked) for each in values]
            return [(item["pk"]["S"], item["sk"]["S"]) for answer in answers for item in answer["Items"]]

        assert left() == found
        backend.drop_partitions("a-")
        assert left() == found[-2:]


def test_a_fault_of_moto_is_an_internal_server_error(engine, monkeypatch, caplog):
    def fail(*_):
        raise TypeError("no order between these")

    monkeypatch.setattr(MotoBackend, "call", fail)
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    client.meta.events.register("needs-retry", lambda **_: None)
    with caplog.at_level(logging.ERROR), pytest.raises(client.exceptions.InternalServerError):
        client.list_tables()
    assert "no order between these" in caplog.text


def test_engines_of_one_process_do_not_see_each_other(client):
    with serve() as other:
        stranger = other.session().client("dynamodb", endpoint_url=other.endpoint_url)
        assert stranger.list_tables()["TableNames"] == []
    assert client.list_tables()["TableNames"] == ["things"]


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
def test_requests_from_web_pages_are_refused_and_no_answer_invites_them(engine, header):
    plain, _ = ask(engine, "POST", list_tables(engine), b"{}")
    assert plain.status == 200
    assert not [name for name, _ in plain.getheaders() if name.lower().startswith("access-control-")]
    refused, body = ask(engine, "POST", list_tables(engine) | {header: "x"}, b"{}")
    assert refused.status == 403
    assert json.loads(body)["__type"] == "com.amazonaws.dynamodb.v20120810#AccessDeniedException"


def list_tables(engine):
    """Headers of a request that shows the engine's key, as every client's signature does."""
    return {
        "X-Amz-Target": "DynamoDB_20120810.ListTables",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={engine.access_key_id}/20260101/us-east-1/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=0",
    }


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LocalHost:8000", "127.0.0.1:1"])
def test_a_request_addressed_to_this_machine_is_answered(engine, host):
    assert ask(engine, "POST", list_tables(engine) | {"Host": host}, b"{}")[0].status == 200


@pytest.mark.parametrize(
    "host", ["", "rebound.example", "rebound.example:8000", "localhost.example", "127.0.0.1:x", "0"]
)
@pytest.mark.parametrize("path", ["/", HEALTH_PATH])
def test_a_request_addressed_to_another_name_is_refused_whatever_it_asks(engine, host, path):
    """A page whose name was pointed at 127.0.0.1 is no foreign page to its browser, but it sends that name."""
    refused, body = ask(engine, "POST", list_tables(engine) | {"Host": host}, b"{}", path=path)
    assert refused.status == 403
    assert json.loads(body)["__type"] == "com.amazonaws.dynamodb.v20120810#AccessDeniedException"
    assert b"Host" in body


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer {key}",
        "AWS4-HMAC-SHA256 Credential=/20260101/us-east-1/dynamodb/aws4_request",
        "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request",
        "AWS4-HMAC-SHA256 Credential={key}x/20260101/us-east-1/dynamodb/aws4_request",
        "AWS4-HMAC-SHA256 Credential=\u00e9/20260101/us-east-1/dynamodb/aws4_request",
        "AWS4-HMAC-SHA256 Credential=local/x, Credential={key}/20260101/us-east-1/dynamodb/aws4_request",
    ],
)
@pytest.mark.parametrize("path", ["/", HEALTH_PATH])
def test_a_request_without_the_engines_access_key_is_refused_whatever_it_asks(engine, authorization, path):
    headers = {name: value for name, value in list_tables(engine).items() if name != "Authorization"}
    if authorization is not None:
        headers["Authorization"] = authorization.format(key=engine.access_key_id)
    refused, body = ask(engine, "POST", headers, b"{}", path=path)
    assert refused.status == 403
    assert b"UnrecognizedClientException" in body
    assert b"ddb_lease.local.connect()" in body


def test_each_engine_has_a_key_of_its_own_that_it_does_not_show(engine):
    with serve() as other:
        assert other.access_key_id != engine.access_key_id
        assert other.access_key_id not in repr(other)
        stranger = engine.session().client("dynamodb", endpoint_url=other.endpoint_url)
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            stranger.list_tables()


def ask(engine, method, headers, body=b"", *, path="/") -> tuple[http.client.HTTPResponse, bytes]:
    address = urlsplit(engine.endpoint_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response, response.read()


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("BatchExecuteStatement", "ValidationException"),
        ("DescribeGlobalTable", "GlobalTableNotFoundException"),
    ],
)
def test_what_moto_would_answer_wrongly_is_refused_with_the_services_error(engine, operation, code):
    target = {"X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    refused, body = ask(engine, "POST", list_tables(engine) | target, b"{}")
    assert refused.status == 400
    assert refused.getheader("Content-Type") == "application/x-amz-json-1.0"
    assert json.loads(body)["__type"] == f"com.amazonaws.dynamodb.v20120810#{code}"


@pytest.mark.parametrize("path", ["/_engine/health", "/_engine/health?probe=1"])
def test_the_engine_says_which_it_is(engine, path):
    response, body = ask(engine, "GET", list_tables(engine), path=path)
    assert (response.status, json.loads(body)) == (200, {"instance_id": engine.instance_id})


def test_the_engine_says_who_holds_leases_and_for_how_long(engine):
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    make_ordered_table(client, "t")

    def put(slot: str, *, seconds: int, **attributes: object) -> None:
        expires_at = {"N": str(int(NOW_S + seconds) * 1000)}
        item = {"pk": {"S": "b"}, "sk": {"S": slot}, "lease_id": {"S": "x"}, "expires_at": expires_at}
        client.put_item(TableName="t", Item=item | attributes)

    put("slot#00001", seconds=90, owner={"S": "me"})
    put("slot#00000", seconds=60, data={"M": {"ddb_lease": {"S": "permit"}}})
    put("slot#00002", seconds=-1, owner={"S": "expired"})
    client.put_item(TableName="t", Item={"pk": {"S": "r#00"}, "sk": {"S": "rate#"}, "reach#a": {"N": "9" * 19}})
    response, body = ask(engine, "GET", list_tables(engine), path="/_engine/leases")
    at = {"table": "t", "bucket": "b"}
    assert response.status == 200
    assert json.loads(body) == {
        "held": [
            at | {"item": "slot#00000", "owner": "", "remaining_s": 60.0, "is_permit": True},
            at | {"item": "slot#00001", "owner": "me", "remaining_s": 90.0, "is_permit": False},
        ],
        "awaited": [],
        "awaited_rates": [],
    }


def test_a_session_ignores_the_users_profile_and_environment(engine, monkeypatch, tmp_path):
    profile = tmp_path / "config"
    profile.write_text("[default]\nregion = eu-west-1\n")
    strange = {
        "AWS_CONFIG_FILE": str(profile),
        "AWS_PROFILE": "does-not-exist",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_MAX_ATTEMPTS": "nonsense",
        "http_proxy": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "no_proxy": "",
    }
    for name, value in strange.items():
        monkeypatch.setenv(name, value)
    session = engine.session()
    assert session.region_name == "us-east-1"
    client = session.client("dynamodb", endpoint_url=engine.endpoint_url)
    assert client.list_tables()["TableNames"] == []
    assert client.meta.region_name == "us-east-1"


# Memory.


def items_alive() -> int:
    """Moto's items in this process, of all engines."""
    gc.collect()
    return sum(
        type(thing).__name__ == "Item" and type(thing).__module__.startswith("moto.") for thing in gc.get_objects()
    )


def test_the_copies_that_moto_makes_for_a_transaction_are_released(client):
    for number in range(20):
        client.put_item(TableName="things", Item={"id": {"S": str(number)}})
    before = items_alive()
    for number in range(20):
        puts = [{"Put": {"TableName": "things", "Item": {"id": {"S": f"{number}-{n}"}}}} for n in range(3)]
        client.transact_write_items(TransactItems=puts)
    assert items_alive() <= before + 60
