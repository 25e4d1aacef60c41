"""What is told while nothing works: outages once, and at once what this process raised itself."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.model import NoShapeFoundError

from ddb_lease import LeaseLost, RateLimiter, StoreRejected, StoreUnavailable, aio, client_config
from ddb_lease.events import Throttled
from scripts.harness.holders import PATIENCE
from tests.conftest import QUICK, TABLE
from tests.faults.proxy import PASSES, Fate, every, refusal
from tests.support import REJECTED, UNSENT, eventually

SHORT_LEASE = 4.0
AGAIN = "DynamoDB answers again"
SILENT = "no answer from DynamoDB"

pytestmark = pytest.mark.parametrize("engine", ["embedded"], indirect=True)


def told(caplog, text, *, level=0):
    return [r for r in caplog.records if r.name == "ddb_lease" and text in r.getMessage() and r.levelno >= level]


@pytest.fixture
def own_client(engine, session):
    """A client of the user's own, whose events a test may hook into."""
    client = session.client("dynamodb", endpoint_url=engine.endpoint_url, config=client_config(SHORT_LEASE))
    yield client
    client.close()


class StrictTracing:
    """As a tracing library in a strict mode: raises in each thread that has no segment open."""

    def __init__(self, client, *, when="before-send"):
        self.calls = 0
        client.meta.events.register(f"{when}.dynamodb", self)

    def __call__(self, **_):
        self.calls += 1
        raise TypeError("cannot find the current segment")


@pytest.mark.parametrize("when", ["before-send", "after-call", "provide-client-params"])
def test_what_an_event_handler_raises_in_renewals_is_told_once_at_once_and_names_the_loss(
    new_bucket, own_client, caplog, when, engine
):
    bucket = new_bucket(client=own_client, lease_seconds=SHORT_LEASE, max_tokens=2)
    leases = [bucket.acquire(timeout=PATIENCE) for _ in range(2)]
    tracing = StrictTracing(own_client, when=when)
    eventually(lambda: told(caplog, "within this process"), within=PATIENCE)
    (record,) = told(caplog, "within this process", level=logging.ERROR)
    assert "TypeError: cannot find the current segment" in record.getMessage()
    assert "StrictTracing" not in record.getMessage()
    assert record.exc_info is not None, "with its traceback"
    eventually(lambda: all(lease.lost for lease in leases), within=PATIENCE)
    for lease in leases:
        with pytest.raises(LeaseLost, match=r"(unreachable|suspended): .* TypeError: cannot find the current segment"):
            lease.check()
        eventually(lambda lease=lease: told(caplog, f"lease {lease.id} on slot {lease.slot} is lost"), within=PATIENCE)
        (lost,) = told(caplog, f"lease {lease.id} on slot {lease.slot} is lost")
        assert "TypeError: cannot find the current segment" in lost.getMessage()
    assert tracing.calls > 2
    assert len(told(caplog, "within this process")) == 1


@pytest.mark.parametrize("kind", ["bucket", "limiter"])
def test_what_an_event_handler_raises_in_an_acquire_ends_it(new_bucket, own_client, bucket_name, caplog, kind, engine):
    """Waiting does not help, so it does not wait for ever, nor for the first contact's patience."""
    guard = new_bucket(client=own_client) if kind == "bucket" else RateLimiter(bucket_name, rate=1, client=own_client)
    StrictTracing(own_client)
    with pytest.raises(StoreUnavailable, match="TypeError: cannot find the current segment") as raised:
        guard.acquire()
    assert isinstance(raised.value.__cause__, TypeError)
    assert len(told(caplog, "within this process", level=logging.ERROR)) == 1


@pytest.mark.parametrize("kind", ["bucket", "limiter"])
def test_waiting_through_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    new_bucket, new_limiter, caplog, kind, engine
):
    caplog.set_level(logging.INFO, "ddb_lease")
    guard = new_bucket() if kind == "bucket" else new_limiter()
    guard.tap.everything_fails = UNSENT

    def recover():
        eventually(lambda: told(caplog, SILENT), within=PATIENCE)
        sent = len(guard.tap.sent)
        eventually(lambda: len(guard.tap.sent) > sent, within=PATIENCE)
        guard.tap.everything_fails = None

    with_recovery(recover, lambda: guard.acquire(timeout=PATIENCE))
    (began,) = told(caplog, SILENT)
    (ended,) = told(caplog, AGAIN)
    assert began.levelno == logging.WARNING
    assert "no connection" in began.getMessage()
    assert ended.levelno == logging.INFO


@pytest.mark.parametrize(
    ("code", "field"),
    [("ThrottlingException", "throttlingReasons"), ("ProvisionedThroughputExceededException", "ThrottlingReasons")],
)
def test_what_throttles_is_told_by_the_log_and_by_each_event(new_bucket, proxy, session, caplog, code, field, engine):
    client = session.client("dynamodb", endpoint_url=proxy.endpoint_url, config=client_config(30))
    if not shows(client, code, field):
        pytest.skip("this botocore reads no throttling reasons")
    hot = {field: [{"reason": "TableWriteKeyRangeThroughputExceeded", "resource": "arn:aws:dynamodb:r:1:table/t"}]}
    events = []
    bucket = new_bucket(client=client, on_event=events.append)
    with bucket.acquire(timeout=PATIENCE):
        pass
    proxy.decide = every(Fate(name="hot", commits=False, says=refusal(code, "too fast", **hot)))

    def recover():
        eventually(lambda: told(caplog, SILENT), within=PATIENCE)
        proxy.decide = every(PASSES)

    with_recovery(recover, lambda: bucket.acquire(timeout=PATIENCE))
    (began,) = told(caplog, SILENT)
    assert "one key range is hot" in began.getMessage()
    throttled = [event for event in events if isinstance(event, Throttled)]
    assert {event.limit for event in throttled} == {"key range"}
    client.close()


def shows(client, code, field):
    """Whether this botocore's model has the field."""
    try:
        return field in client.meta.service_model.shape_for(code).members
    except NoShapeFoundError:
        return False


def with_recovery(recover, work):
    with ThreadPoolExecutor(max_workers=1) as pool:
        recovered = pool.submit(recover)
        work()
        recovered.result(PATIENCE)


def test_leases_whose_renewals_fail_are_told_of_together_and_once(new_bucket, caplog, engine):
    caplog.set_level(logging.INFO, "ddb_lease")
    bucket = new_bucket(lease_seconds=15, max_tokens=3)
    leases = [bucket.acquire(timeout=PATIENCE) for _ in range(3)]
    bucket.tap.clear()
    bucket.tap.everything_fails = UNSENT
    eventually(lambda: told(caplog, SILENT), within=PATIENCE)
    sent = len(bucket.tap.sent)
    eventually(lambda: len(bucket.tap.sent) > sent + 1, within=PATIENCE)
    bucket.tap.everything_fails = None
    eventually(lambda: told(caplog, AGAIN), within=PATIENCE)
    assert len(told(caplog, SILENT)) == len(told(caplog, AGAIN)) == 1
    assert all(lease.held for lease in leases) or told(caplog, "is lost")  # on a machine that is too busy


def test_renewals_that_are_refused_are_told_of_once_until_one_works(new_bucket, caplog, engine):
    bucket = new_bucket(lease_seconds=30, max_tokens=3)
    leases = [bucket.acquire(timeout=PATIENCE) for _ in range(3)]
    for _ in range(2):
        caplog.clear()
        bucket.tap.everything_fails = REJECTED
        for lease in leases * 2:
            with pytest.raises(StoreRejected):
                lease.renew()
        assert len(told(caplog, "could not be renewed and will be retried: permission is missing")) == 1
        bucket.tap.everything_fails = None
        leases[0].renew()


TRACE = contextvars.ContextVar("trace", default="none")


class Seen:
    """Notes under which trace each request of a client is sent."""

    def __init__(self, client):
        self.traces = []
        client.meta.events.register("before-send.dynamodb", self.note)

    def note(self, **_):
        self.traces.append(TRACE.get())

    def renewals_of(self, trace):
        return self.traces.count(trace)


def test_renewals_carry_the_context_of_their_acquire(new_bucket, own_client, engine):
    seen = Seen(own_client)
    bucket = new_bucket(client=own_client, lease_seconds=3, max_tokens=2)
    for trace in ("first", "second"):
        contextvars.copy_context().run(lambda trace=trace: (TRACE.set(trace), bucket.acquire(timeout=PATIENCE)))
    acquired = [seen.traces.count(trace) for trace in ("first", "second")]
    # Each in time, alone or in the other's batch; a batch belongs to the lease that is due first.
    eventually(lambda: len(seen.traces) >= sum(acquired) + 3, within=PATIENCE)
    assert set(seen.traces) <= {"first", "second"}


def test_requests_of_asyncio_and_their_renewals_carry_the_tasks_context(own_client, bucket_name, table, engine):
    seen = Seen(own_client)

    async def work():
        TRACE.set("task")
        async with aio.LeaseBucket(
            bucket_name, max_tokens=1, lease_seconds=3, table=TABLE, client=own_client, timing=QUICK
        ) as bucket:
            await bucket.acquire(timeout=PATIENCE)
            acquired = len(seen.traces)
            await asyncio.to_thread(eventually, lambda: len(seen.traces) >= acquired + 2, within=PATIENCE)

    asyncio.run(asyncio.wait_for(work(), PATIENCE))
    assert set(seen.traces) == {"task"}
