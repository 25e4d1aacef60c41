"""Transactions on the engine: all or nothing, at a cost that does not grow with the table."""

import copy
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from moto.dynamodb.models.table import Table

from ddb_lease.local.app import App
from ddb_lease.local.embedded import EmbeddedEngine, serve

NEVER = {"ConditionExpression": "attribute_exists(nothing)"}


@pytest.fixture(scope="module")
def engine() -> Iterator[EmbeddedEngine]:
    with serve(app=App()) as engine:
        yield engine


@pytest.fixture
def client(engine) -> Iterator:
    """Two tables, one with a sort key and a stream, with some items."""
    client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
    client.meta.events.register("needs-retry", lambda **_: None)
    for name, keys in (("single", ["id"]), ("double", ["id", "sort"])):
        kinds = [{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ["HASH", "RANGE"], strict=False)]
        client.create_table(
            TableName=name,
            KeySchema=kinds,
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    for number in range(3):
        client.put_item(TableName="single", Item=key(number) | {"n": {"N": "1"}, "map": {"M": {"deep": {"L": []}}}})
        client.put_item(TableName="double", Item=key(number, sort="a") | {"n": {"N": "1"}})
    yield client
    for name in ("single", "double"):
        client.delete_table(TableName=name)


def key(number: int, *, sort: str | None = None) -> dict:
    return {"id": {"S": str(number)}} | ({} if sort is None else {"sort": {"S": sort}})


def everything(client) -> dict:
    return {name: client.scan(TableName=name)["Items"] for name in ("single", "double")}


def add(table: str, of: dict, **options) -> dict:
    change = {"UpdateExpression": "ADD n :one REMOVE #map", "ExpressionAttributeNames": {"#map": "map"}}
    return {
        "Update": {"TableName": table, "Key": of, "ExpressionAttributeValues": {":one": {"N": "1"}}} | change | options
    }


WRITES = [
    {"Put": {"TableName": "single", "Item": key(0) | {"n": {"N": "7"}}}},
    {"Put": {"TableName": "single", "Item": key(9)}},
    add("single", key(1)),
    add("double", key(0, sort="a")),
    add("double", key(8, sort="new")),
    {"Delete": {"TableName": "single", "Key": key(2)}},
    {"Delete": {"TableName": "double", "Key": key(2, sort="a")}},
    {"Delete": {"TableName": "double", "Key": key(7, sort="absent")}},
]
FAILURES = {
    "condition": {"Put": {"TableName": "single", "Item": key(5)} | NEVER},
    "check": {"ConditionCheck": {"TableName": "double", "Key": key(1, sort="a")} | NEVER},
    "missing table": {"Delete": {"TableName": "none", "Key": key(5)}},
    "same item": {"Delete": {"TableName": "single", "Key": key(0)}},
    "missing key": {"Put": {"TableName": "single", "Item": {"other": {"S": "x"}}}},
    "half a key": {"Delete": {"TableName": "double", "Key": key(5)}},
    "wrong type": {"Put": {"TableName": "single", "Item": {"id": {"N": "5"}}}},
    "impossible update": add("single", key(5), UpdateExpression="SET n = n + :one REMOVE #map"),
}


@pytest.mark.parametrize("why", FAILURES)
@pytest.mark.parametrize("first", [False, True], ids=["at the end", "at the beginning"])
def test_a_transaction_that_fails_leaves_everything_as_it_was(client, why, first):
    before = everything(client)
    failing = [FAILURES[why]]
    with pytest.raises(ClientError):
        client.transact_write_items(TransactItems=failing + WRITES if first else WRITES + failing)
    assert everything(client) == before


def test_a_transaction_that_succeeds_does_all_of_it(client):
    client.transact_write_items(TransactItems=WRITES)
    after = everything(client)
    assert {item["id"]["S"]: item.get("n", {}).get("N") for item in after["single"]} == {"0": "7", "1": "2", "9": None}
    assert {item["id"]["S"]: item["n"]["N"] for item in after["double"]} == {"0": "2", "1": "1", "8": "1"}


def test_a_transaction_that_moto_gives_up_midway_leaves_everything_as_it_was(client, monkeypatch):
    before = everything(client)

    def fail(*_: object) -> None:
        raise SystemError("moto broke")

    monkeypatch.setattr(Table, "delete_item", fail)
    with pytest.raises(ClientError):
        client.transact_write_items(TransactItems=WRITES)
    monkeypatch.undo()
    assert everything(client) == before


def test_no_table_is_copied_for_a_transaction(client, monkeypatch):
    """What a copy costs grows with the table: 159 ms with 2,000 items, under the one lock."""
    copied = []
    genuine = copy.deepcopy

    def watched(thing, memo=None):
        copied.append(type(thing))
        return genuine(thing, memo)

    monkeypatch.setattr(copy, "deepcopy", watched)
    for number in range(10, 60):
        client.put_item(TableName="single", Item=key(number))
    copied.clear()
    client.transact_write_items(TransactItems=[add("single", key(1)), add("double", key(1, sort="a"))])
    with pytest.raises(ClientError):
        client.transact_write_items(TransactItems=[add("single", key(1)), FAILURES["check"]])
    assert [kind.__name__ for kind in copied].count("Item") <= 8, "some for each item that the transactions name"


def test_a_backup_is_still_a_copy(client):
    client.transact_write_items(TransactItems=WRITES)
    arn = client.create_backup(TableName="single", BackupName="saved")["BackupDetails"]["BackupArn"]
    client.transact_write_items(TransactItems=[add("single", key(1))])
    client.restore_table_from_backup(TargetTableName="restored", BackupArn=arn)
    kept = client.get_item(TableName="restored", Key=key(1))["Item"]["n"]["N"]
    client.delete_table(TableName="restored")
    assert kept == "2"
