"""An engine that ends while leases run, and the one after it: nobody is let in while an earlier holder believes."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ddb_lease import LeaseBucket, RateLimiter, StoreUnavailable, Timing
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.local import connect, control, find, start, stop
from ddb_lease.local.clock import SteadyClock
from ddb_lease.local.engine import Engine
from ddb_lease.local.folder import Folder, locate
from ddb_lease.local.journal import load
from ddb_lease.local.place import FOLDER_VARIABLE

PATIENCE_S = 60.0
LEASE_S = 6.0
QUICK = Timing(front_end_skew=0.1)

steady = SystemClock.steady


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    yield locate().path
    stop()


def bucket(*, name: str = "b", lease_seconds: float = LEASE_S) -> LeaseBucket:
    return LeaseBucket(name, max_tokens=1, lease_seconds=lease_seconds, timing=QUICK, **connect())


def end(engine: Engine, how: signal.Signals) -> None:
    os.kill(engine.pid, how)
    assert Folder(locate().path).wait_until_gone(timeout_s=PATIENCE_S)


def last_end(folder: Path) -> int:
    """The end of the last lease in the journal, in milliseconds since the epoch."""
    return max(load(Folder(folder), clock=SteadyClock()).values())


def blocked(name: str) -> float:
    """For how long nothing is granted in a bucket."""
    return next((entry.remaining_s for entry in control.report(start()).awaited if entry.bucket == name), 0.0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_after_an_engine_ended_nobody_is_let_in_while_a_holder_believes(how):
    with bucket() as first:
        lease = first.acquire()
        engine = find()
        assert engine is not None
        end(engine, how)
        believed_until = steady() + lease.remaining
        with bucket() as second:  # finds no engine, and starts one
            assert blocked("b") > 0 or steady() >= believed_until  # on a busy machine, an engine starts late
            with second.acquire(timeout=PATIENCE_S):
                assert steady() >= believed_until
                assert not lease.held
        assert lease.lost


def test_a_renewal_counts_and_the_engine_after_the_next_waits_too(folder):
    with bucket(lease_seconds=3600.0) as first:
        lease = first.acquire()
        before = last_end(folder)
        lease.renew()
        assert last_end(folder) > before
        for _ in range(2):
            end(start(), signal.SIGKILL)
        assert blocked("b") > 3500
        with bucket(lease_seconds=3600.0) as second, pytest.raises(StoreUnavailable, match="an engine before this one"):
            second.acquire(timeout=0.5)


def test_buckets_whose_leases_were_given_back_wait_for_nothing(folder):
    with bucket(name="held", lease_seconds=3600.0) as held, bucket(name="free", lease_seconds=3600.0) as free:
        held.acquire()
        free.acquire().release()
        end(start(), signal.SIGKILL)
        assert blocked("held") > 3000
        assert blocked("free") == 0
        with bucket(name="free") as again:
            again.acquire(timeout=PATIENCE_S).release()


def test_a_rate_that_gave_permits_in_advance_is_waited_for():
    where = connect()
    with RateLimiter("r", rate=1, per=600.0, burst=2, **where) as limiter:
        limiter.acquire(2)
    end(start(), signal.SIGKILL)
    assert 600 < blocked("r") <= 1202  # a process takes the time for up to a second later than it is
    with RateLimiter("r", rate=1, per=600.0, burst=2, **connect()) as limiter, pytest.raises(StoreUnavailable):
        limiter.acquire(1, timeout=0.5)


def test_what_a_key_of_a_rate_holds_is_waited_for_and_other_keys_are_not():
    where = connect()
    with RateLimiter("r", rate=1, per=600.0, burst=2, **where) as limiter:
        limiter.key("team").reserve(2, settle_within=3000)
    end(start(), signal.SIGKILL)
    assert 3000 < blocked("r, key 'team'") <= 4804  # the same, and a hold may begin up to two seconds late
    with RateLimiter("r", rate=1, per=600.0, burst=2, **connect()) as limiter:
        assert limiter.key("other").try_acquire()
        with pytest.raises(StoreUnavailable):
            limiter.key("team").acquire(timeout=0.5)


def test_the_wait_is_skipped_where_the_user_knows_that_the_holders_are_dead():
    with bucket(lease_seconds=3600.0) as first:
        first.acquire()
        end(start(), signal.SIGKILL)
        assert control.forget_awaited(start()).awaited == ()
        end(start(), signal.SIGKILL)
        assert blocked("b") == 0, "it is forgotten for good"
        with bucket() as second:
            second.acquire(timeout=PATIENCE_S).release()


def test_connecting_tells_what_is_waited_for(caplog):
    with bucket(lease_seconds=3600.0) as first:
        first.acquire()
        end(start(), signal.SIGKILL)
        connect()
        connect()
    (said,) = [record.getMessage() for record in caplog.records if "granted" in record.getMessage()]
    assert re.fullmatch(
        r"b in table ddb-lease: nothing is granted for another (1h|59m\d\ds), as leases of an earlier engine run; if "
        "their holders are dead: ddb-lease local start --no-wait",
        said,
    )


def test_of_a_rate_it_is_told_what_is_waited_for_and_of_holders_nothing(caplog):
    with RateLimiter("r", rate=1, **connect()) as limiter:
        limiter.key("team").block(3600)
    end(start(), signal.SIGKILL)
    connect()
    (said,) = [record.getMessage() for record in caplog.records if "granted" in record.getMessage()]
    assert re.fullmatch(
        r"r, key 'team' in table ddb-lease: nothing is granted for another (1h|59m\d\ds), as a rate's block, or permits "
        "given in advance, of an earlier engine run; if that may be forgotten: ddb-lease local start --no-wait",
        said,
    )


def test_reads_are_answered_and_other_items_written_while_a_bucket_waits():
    with bucket(lease_seconds=3600.0) as first:
        first.acquire()
        end(start(), signal.SIGKILL)
        where = connect()
        client = where["session"].client("dynamodb", endpoint_url=where["endpoint_url"])
        key = {"pk": {"S": "b"}, "sk": {"S": "mine"}}
        assert "Item" not in client.get_item(TableName="ddb-lease", Key=key)
        client.put_item(TableName="ddb-lease", Item=key | {"pk": {"S": "other"}})
        for write in (
            {"Put": {"Item": key}},
            {"Delete": {"Key": key}},
            {"Update": {"Key": key, "UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}},
        ):
            ((name, what),) = write.items()
            with pytest.raises(ClientError, match="ThrottlingException"):
                client.transact_write_items(TransactItems=[{name: what | {"TableName": "ddb-lease"}}])
        with pytest.raises(ClientError, match="ThrottlingException"):
            client.batch_write_item(RequestItems={"ddb-lease": [{"PutRequest": {"Item": key}}]})
