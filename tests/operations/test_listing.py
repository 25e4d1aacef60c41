"""Listing a table: every bucket and rate of it, page by page, and what that costs."""

import pytest

from ddb_lease import Limit
from ddb_lease._protocol.listing import ListPage, PageIs
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.listing import TableReader
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from ddb_lease.errors import StoreRejected, StoreUnavailable
from ddb_lease.models import PERMIT_KEY
from tests.support import LONG_AGO, LOST, NOW, REJECTED, TTL, Table, Tap, put_counter, put_free, put_leased

LISTING = "ddb_lease._operations.listing"
LISTED = "listed"
"""A table of these tests' own: what all others leave on an engine takes a busy machine seconds to read."""


@pytest.fixture(scope="module", autouse=True)
def _listed(engine, session):
    create_table(
        LISTED,
        connection=ConnectionSettings(session=session, endpoint_url=engine.endpoint_url),
        clock=SystemClock(),
    )


@pytest.fixture
def table(engine, hands, bucket_name):
    yield Table(hands, LISTED, bucket_name)
    engine.drop(bucket_name)


@pytest.fixture
def tap():
    return Tap()


@pytest.fixture
def reader(engine, session, tap):
    connection = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
    reader = TableReader(LISTED, connection=connection, runtime=Runtime(wrap=tap.around))
    yield reader
    reader.close()


@pytest.fixture
def own(reader, bucket_name):
    """Reads the table; what it shows under this test's name, and the whole. The others of this module have items there, too."""

    def read():
        whole = reader.read()
        parts = [one for one in (*whole.buckets, *whole.rates) if one.name == bucket_name]
        return (parts[0] if parts else None), whole

    return read


def test_a_bucket_is_listed_with_its_leases_and_without_what_they_carry(own, new_bucket, table):
    new_bucket(max_tokens=3, table=LISTED, owner="host-a:1").acquire(timeout=5, data={"job": "nightly", "size": [1, 2]})
    found, whole = own()
    assert (found.kind, found.max_tokens, found.lease_seconds, found.used) == ("bucket", 3, 30.0, 1)
    assert (found.oldest.owner, found.oldest.data, found.oldest.expired) == ("host-a:1", {}, False)
    assert found.oldest.age_seconds == pytest.approx(0, abs=5)
    assert (whole.table, whole.pages) == (LISTED, 1)


def test_expired_leases_and_those_on_retired_slots_use_no_token(own, table):
    put_counter(table, max_tokens=2, minted=2)
    put_leased(table, 0, "0-a")
    put_leased(table, 1, "1-b", expires_at=1_000)
    put_leased(table, 2, "2-c", retired=True, revoked="by an operator")
    found, _ = own()
    assert found.used == 1
    assert [(lease.slot, lease.expired, lease.retired, lease.revoked) for lease in found.leases] == [
        (0, False, False, False),
        (1, True, False, False),
        (2, False, True, True),
    ]


def test_every_page_is_read_and_its_cost_added_up(own, tap, table, monkeypatch):
    monkeypatch.setattr(f"{LISTING}.PAGE", 2)
    put_counter(table, max_tokens=9, minted=9)
    put_free(table, *range(4))
    for slot in range(4, 9):
        put_leased(table, slot, f"{slot}-x")
    found, whole = own()
    assert [lease.slot for lease in found.leases] == [4, 5, 6, 7, 8]
    assert whole.pages == tap.count()["ListPage"] >= 5
    assert whole.items >= 10, "free slots are read and paid for, though they are not sent"
    assert whole.read_units is None or whole.read_units > 0


def test_an_observer_is_told_of_each_request_and_its_answer_as_they_come(reader, tap, table, monkeypatch):
    monkeypatch.setattr(f"{LISTING}.PAGE", 2)
    put_counter(table, max_tokens=9, minted=9)
    put_free(table, *range(4))
    told = []

    def observe(request, answer):
        told.append((request, answer))
        assert [request for request, _ in told] == tap.of(ListPage)

    reader.read(observe=observe)
    assert len(told) == len(tap.of(ListPage)) > 1
    assert all(isinstance(answer, PageIs) for _, answer in told)


def test_an_ordered_bucket_is_listed_with_its_queue(own, table):
    put_counter(table, max_tokens=1, minted=1, order="fifo")
    put_leased(table, 0)
    for key, owner, expires_at in (
        ("wait#4#0000000002000#00000000000000aa", "later", NOW),
        ("wait#0#0000000003000#00000000000000ab", "urgent", NOW),
        ("wait#4#0000000001000#00000000000000ac", "earlier", NOW),
        ("wait#4#0000000000500#00000000000000ad", "dead", LONG_AGO),
    ):
        table.set(key, owner=owner, count=1, expires_at=expires_at, ttl=TTL)
    found, _ = own()
    assert (found.order, found.waiting) == ("fifo", 3)
    assert [(waiter.place, waiter.owner, waiter.priority) for waiter in found.queue] == [
        (1, "urgent", 9),
        (2, "earlier", 5),
        (3, "later", 5),
    ]
    table.set("counter", order="any")
    assert own()[0].waiting == 0


def test_free_slots_are_not_sent(reader, table):
    put_counter(table)
    put_free(table, 0, 1)
    pages = []
    reader.read(observe=lambda _, answer: pages.append(answer))
    assert all(isinstance(page, PageIs) for page in pages)
    found = [one for page in pages for one in page.found]
    assert [type(one.item).__name__ for one in found if one.name == table.bucket] == ["Counter"]
    assert sum(page.scanned for page in pages) >= 3


def test_a_windows_permits_make_it_a_window(own, table):
    put_counter(table)
    put_leased(table, 0)
    own_item = {"pk": {"S": table.bucket}, "sk": {"S": "slot#00000"}}
    table.client.update_item(
        TableName=LISTED,
        Key=own_item,
        UpdateExpression="SET #d = :d",
        ExpressionAttributeNames={"#d": "data"},
        ExpressionAttributeValues={":d": {"M": {PERMIT_KEY: {"S": "permit"}, "more": {"S": "x" * 1000}}}},
    )
    assert own()[0].kind == "window"


def test_a_rate_is_listed_with_what_is_left(own, new_limiter):
    limiter = new_limiter(rate=5, per=3600, burst=3, table=LISTED)
    assert limiter.try_acquire(2)
    found, _ = own()
    assert found.limits == {"permits": Limit(5.0, per=3600.0, burst=3)}
    assert (found.available, found.keys, found.blocked) == (1, 0, 0)
    assert limiter.try_acquire()
    assert own()[0].wait_seconds == pytest.approx(720, abs=60)


def test_a_rate_with_keys_is_listed_with_their_number_and_the_blocked_ones(own, new_limiter):
    limiter = new_limiter(rate=5, per=60, table=LISTED)
    for key in ("a", "b", "c#d"):
        assert limiter.key(key).try_acquire()
    limiter.key("b").block(600)
    found, _ = own()
    assert (found.available, found.keys, found.blocked) == (None, 3, 1)


def test_items_that_cannot_be_read_are_counted_and_hide_no_other(own, table):
    before = own()[1].unreadable
    put_counter(table, max_tokens=2, minted=2)
    put_leased(table, 0, "0-a")
    table.set(1, lease_id="1-b", fence="not a number")
    table.set("policy", limits="none")
    table.set("others", ours="no")
    found, whole = own()
    assert [lease.lease_id for lease in found.leases] == ["0-a"]
    assert whole.unreadable - before == 2
    put_counter(table, max_tokens=-1)
    found, whole = own()
    assert found is None
    assert whole.unreadable - before == 3


def test_a_page_without_an_answer_is_asked_for_again(own, tap, table):
    put_counter(table)
    tap.inject(ListPage, answer=LOST)
    assert own()[0].max_tokens == 3


def test_a_refusal_ends_it(reader, tap):
    tap.inject(ListPage, answer=REJECTED)
    with pytest.raises(StoreRejected):
        reader.read()


def test_without_any_answer_it_says_so(reader, tap, monkeypatch):
    monkeypatch.setattr(f"{LISTING}.TRIES", 1)
    tap.everything_fails = LOST
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        reader.read()


def test_pages_come_at_most_a_thousand_units_a_second():
    from random import Random

    from ddb_lease._operations.listing import list_table
    from ddb_lease._protocol.messages import Pause
    from ddb_lease._state.rates.rate_time import RateTime
    from ddb_lease._state.service_time import ServiceTime
    from ddb_lease.testing import MovableClock

    clock = MovableClock()
    time = ServiceTime(clock)
    operation = list_table(time, RateTime(time), Random(1), table="t", seconds=10)
    assert next(operation) == ListPage()
    page = PageIs(found=(), unreadable=0, scanned=9, after=("a", "b"), read_units=128.0)
    assert operation.send(page) == Pause(seconds=0.128)
    assert operation.send(None) == ListPage(after=("a", "b"))
