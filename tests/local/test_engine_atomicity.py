"""Requests are atomic: of several clients that compete for one slot, one gets it.

To see that these tests can fail, run them without the lock; they fail nearly always then, as it is a race:

    DDB_LEASE_TEST_NO_LOCK=1 python -m pytest tests/local/test_engine_atomicity.py
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lease.local.app import App
from ddb_lease.local.embedded import serve

ROUNDS = 60
THREADS = 16
REFUSALS = {"ConditionalCheckFailedException", "TransactionCanceledException"}


@pytest.fixture
def client() -> Iterator:
    lock = contextlib.nullcontext() if os.environ.get("DDB_LEASE_TEST_NO_LOCK") else None
    with serve(app=App(lock=lock)) as engine:
        config = Config(max_pool_connections=THREADS, retries={"total_max_attempts": 1})
        client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url, config=config)
        client.create_table(
            TableName="slots",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Python switches threads a hundred times as often as usual, so that races show."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(usual_s / 100)
    yield
    sys.setswitchinterval(usual_s)


def grants(attempt: Callable[[int], object]) -> int:
    """How many of the threads that try at the same time succeed."""
    barrier = threading.Barrier(THREADS)

    def try_it(number: int) -> bool:
        barrier.wait()
        try:
            attempt(number)
        except ClientError as error:
            if error.response["Error"]["Code"] not in REFUSALS:
                raise
            return False
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(try_it, range(THREADS)))


def test_each_slot_is_granted_exactly_once_by_conditional_writes(client):
    granted = [
        grants(
            lambda number, slot=slot: client.put_item(
                TableName="slots",
                Item={"id": {"S": slot}, "owner": {"N": str(number)}},
                ConditionExpression="attribute_not_exists(id)",
            )
        )
        for slot in map(str, range(ROUNDS))
    ]
    assert granted == [1] * ROUNDS


def test_no_increment_is_lost(client):
    for _ in range(10):
        grants(
            lambda _number: client.update_item(
                TableName="slots",
                Key={"id": {"S": "counter"}},
                UpdateExpression="SET n = if_not_exists(n, :zero) + :one",
                ExpressionAttributeValues={":zero": {"N": "0"}, ":one": {"N": "1"}},
            )
        )
    counter = client.get_item(TableName="slots", Key={"id": {"S": "counter"}})["Item"]
    assert counter["n"] == {"N": str(10 * THREADS)}


def test_each_pair_of_slots_is_granted_exactly_once_by_transactions(client):
    def take(pair: str, number: int) -> None:
        puts = [
            {
                "Put": {
                    "TableName": "slots",
                    "Item": {"id": {"S": f"{pair}-{half}"}, "owner": {"N": str(number)}},
                    "ConditionExpression": "attribute_not_exists(id)",
                }
            }
            for half in ("left", "right")
        ]
        client.transact_write_items(TransactItems=puts)

    granted = [grants(lambda number, pair=str(pair): take(pair, number)) for pair in range(10)]
    assert granted == [1] * 10
