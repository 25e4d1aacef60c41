"""A user's own transaction with `Lease.conditions`, by boto3's client and by its resource: it happens only while the lease is ours."""

import contextlib
import threading

import pytest
from botocore.exceptions import ClientError

from ddb_lease import LeaseLost, StoreUnavailable
from tests.conftest import TABLE
from tests.support import leases_in


@pytest.fixture
def bucket(new_bucket):
    return new_bucket(max_tokens=3)


def put(bucket_name, value):
    """An item of the user's own, in the same table."""
    key = {"pk": {"S": f"{bucket_name}-mine"}, "sk": {"S": "result"}}
    return {"Put": {"TableName": TABLE, "Item": key | {"value": {"N": str(value)}}}}


def written(client, bucket_name):
    key = put(bucket_name, 0)["Put"]["Item"]
    item = client.get_item(TableName=TABLE, Key={k: key[k] for k in ("pk", "sk")}, ConsistentRead=True).get("Item")
    return item and int(item["value"]["N"])


@pytest.mark.parametrize("count", [1, 3])
def test_the_write_happens_while_the_lease_is_ours_and_not_afterwards(bucket, client, bucket_name, count):
    lease = bucket.acquire(5, count=count)
    checks = lease.conditions()
    assert len(checks) == count
    client.transact_write_items(TransactItems=[*checks, put(bucket_name, 1)])
    assert written(client, bucket_name) == 1
    lease.release()
    with pytest.raises(LeaseLost, match="released"):
        lease.conditions()
    with pytest.raises(client.exceptions.TransactionCanceledException) as raised:
        client.transact_write_items(TransactItems=[*checks, put(bucket_name, 2)])
    codes = [reason["Code"] for reason in raised.value.response["CancellationReasons"]]
    assert codes == ["ConditionalCheckFailed"] * count + ["None"]
    assert written(client, bucket_name) == 1


def test_a_lease_that_was_handed_over_and_adopted_guards_only_the_adopters_writes(
    new_bucket, bucket, client, bucket_name
):
    lease = bucket.acquire(5)
    old, token = lease.conditions(), lease.hand_over()
    mine = new_bucket(max_tokens=3).adopt(token)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        client.transact_write_items(TransactItems=[*old, put(bucket_name, 1)])
    client.transact_write_items(TransactItems=[*mine.conditions(), put(bucket_name, 2)])
    assert written(client, bucket_name) == 2


def test_the_client_of_a_resource_takes_plain_values(bucket, session, engine, bucket_name, client):
    lease = bucket.acquire(5)
    resource = session.resource("dynamodb", endpoint_url=engine.endpoint_url)
    item = {"pk": f"{bucket_name}-mine", "sk": "result", "value": 7}
    resource.Table(TABLE).meta.client.transact_write_items(
        TransactItems=[*lease.conditions(plain=True), {"Put": {"TableName": TABLE, "Item": item}}]
    )
    assert written(client, bucket_name) == 7


def test_guarded_writes_in_a_loop_and_renewals_do_each_other_no_harm(bucket, client, bucket_name, table, in_thread):
    lease, over = bucket.acquire(5), threading.Event()
    before = table.get(lease.slot)["expires_at"]

    def write():
        codes = set()
        while not over.is_set():
            try:
                client.transact_write_items(TransactItems=[*lease.conditions(), put(bucket_name, 1)])
            except client.exceptions.TransactionCanceledException as error:
                codes |= {reason["Code"] for reason in error.response["CancellationReasons"]}
        return codes

    writing = in_thread(write)
    try:
        for _ in range(20):
            with contextlib.suppress(StoreUnavailable):  # a conflict: a heartbeat would try again
                lease.renew()
    finally:
        over.set()
    assert writing.result(60) <= {"TransactionConflict", "None"}
    lease.check()
    assert leases_in(table) == {lease.slot: lease.id}
    assert table.get(lease.slot)["expires_at"] > before
    assert lease.release()
