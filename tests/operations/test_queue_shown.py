"""The queue of an ordered bucket, as status and events show it."""

import datetime as dt
import re

import pytest

from ddb_lease import AcquireTimeout
from ddb_lease._protocol.tickets import LookAtQueue, PutTicket, Ticket
from ddb_lease.events import Acquired, Waiting
from tests.support import put_counter, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too
NOT_ON = ("ministack", "dynoxide")  # one engine shows it

FAR = 4_000_000_000_000
PRIORITY = "a priority counts only among the waiters of one process there"


def put_tickets(bucket, environment, *agos, lasts=60.0, **more):
    """Tickets of other processes, which came so many seconds ago."""
    now = environment.now_ms
    for ago in agos:
        ticket = Ticket(
            arrival=now - round(1000 * ago),
            name=f"{round(ago * 1000):016x}",
            owner=f"came {ago} s ago",
            expires_at=now + round(1000 * lasts),
            **({"priority": 0} | more),
        )
        bucket.tap.store.send(PutTicket(ticket=ticket, ttl=FAR // 1000))


@pytest.fixture
def bucket(environment, table):
    """A full bucket, ordered."""
    put_counter(table, max_tokens=1, minted=1, order="fifo")
    put_leased(table, 0, expires_at=FAR)
    return environment.bucket(max_tokens=1)


def test_status_shows_the_queue_by_place(environment, bucket):
    put_tickets(bucket, environment, 5, 9)
    put_tickets(bucket, environment, 2, priority=9)
    put_tickets(bucket, environment, 8, lasts=-3.0)
    status = bucket.status()
    assert [(waiter.place, waiter.owner, waiter.count, waiter.priority) for waiter in status.queue] == [
        (1, "came 2 s ago", 1, 9),
        (2, "came 9 s ago", 1, 0),
        (3, "came 5 s ago", 1, 0),
    ]
    assert status.waiting == 3
    assert status.order == "fifo"
    now = dt.datetime.fromtimestamp(environment.now_ms / 1000, tz=dt.timezone.utc)
    assert now - status.queue[1].since == pytest.approx(dt.timedelta(seconds=9), abs=dt.timedelta(seconds=0.01))


def test_of_a_long_queue_the_first_are_shown_and_the_others_counted(environment, bucket):
    put_tickets(bucket, environment, *range(40))
    status = bucket.status()
    assert len(status.queue) == 32
    assert status.queue[0].owner == "came 39 s ago"
    assert status.waiting == 40


def test_a_queue_of_more_than_one_page_is_counted_to_its_end(environment, bucket, monkeypatch):
    monkeypatch.setattr("ddb_lease._operations.status.PAGE", 16)
    put_tickets(bucket, environment, *range(40))
    put_tickets(bucket, environment, *range(50, 70), lasts=-3.0)
    bucket.tap.clear()
    status = bucket.status()
    assert (len(status.queue), status.waiting) == (32, 40)
    assert status.queue[-1].owner == "came 8 s ago"
    assert bucket.tap.count()["LookAtQueue"] == 4


def test_who_wants_more_slots_than_there_are_has_no_place(environment, bucket):
    put_tickets(bucket, environment, 9, count=2)
    put_tickets(bucket, environment, 5)
    events = []
    with pytest.raises(AcquireTimeout):
        environment.bucket(max_tokens=1, on_event=events.append).acquire(0.1)
    assert [event.place for event in events if isinstance(event, Waiting)] == [2]
    status = bucket.status()
    assert [(waiter.place, waiter.owner) for waiter in status.queue] == [(1, "came 5 s ago")]


def test_an_unordered_bucket_is_not_asked_for_a_queue(environment, table):
    put_counter(table, max_tokens=1, minted=1)
    bucket = environment.bucket(max_tokens=1)
    put_tickets(bucket, environment, 5)
    status = bucket.status()
    assert (status.queue, status.waiting, status.order) == ((), 0, "any")
    assert bucket.tap.of(LookAtQueue) == []


def test_a_waiter_is_told_its_place_whenever_it_changes(environment, bucket, table):
    events = []
    put_tickets(bucket, environment, 5, 9)
    waiting = environment.bucket(max_tokens=1, on_event=events.append)

    def nobody_else():
        if 4.0 < sum(environment.pauses) < 8.0:
            for key in table.all():
                if key.startswith("wait#") and key.endswith(f"{9000:016x}"):
                    table.delete(key)

    environment.meanwhile.append(nobody_else)
    with pytest.raises(AcquireTimeout):
        waiting.acquire(12)
    told = [event for event in events if isinstance(event, Waiting)]
    assert [(event.place, event.exact) for event in told] == [(3, True), (2, True)]
    assert told[0].waited_seconds < 0.1
    assert 4.0 < told[1].waited_seconds < 10.0


def test_a_waiters_events_say_which_acquire_they_belong_to_and_what_it_wants(environment, table):
    put_counter(table, max_tokens=3, minted=3, order="fifo")
    put_leased(table, 0, expires_at=FAR)
    for slot in (1, 2):
        put_free(table, slot)
    events = []
    bucket = environment.bucket(max_tokens=3, on_event=events.append)
    environment.meanwhile.append(lambda: table.unset(0, "lease_id", "owner", "acquired_at", "expires_at"))
    lease = bucket.acquire(30, count=3, priority=4)
    told = [event for event in events if isinstance(event, Waiting)]
    assert {(event.count, event.priority) for event in told} == {(3, 4)}
    (ticket,) = {event.ticket for event in told}
    (acquired,) = [event for event in events if isinstance(event, Acquired)]
    assert (acquired.lease_id, acquired.ticket) == (lease.id, ticket)
    assert len(ticket) == 16
    lease.release()
    assert bucket.acquire(30).held
    assert events[-1].ticket == "", "it has not waited"


# What a timeout says.


def test_a_timeout_names_the_holders_and_the_place_as_the_last_look_showed_them(environment, bucket, table):
    table.set(0, owner="ann\x1b", acquired_at=environment.now_ms - 90_000)
    waiting = environment.bucket(max_tokens=1)
    with pytest.raises(AcquireTimeout) as raised:
        waiting.acquire(3, priority=1)
    said = rf"no slot of bucket '{waiting.name}' came free in 3 s, at place 1 of its queue: held by ann\ufffd \(for 1m3\ds\)"
    assert re.fullmatch(said, str(raised.value))
    assert (raised.value.place, raised.value.holders) == (1, ("ann\x1b",))
    assert waiting.tap.of(LookAtQueue), "it is in order"


def test_a_place_that_was_not_seen_is_told_as_an_estimate(environment, bucket):
    put_tickets(bucket, environment, *range(1, 101))
    waiting = environment.bucket(max_tokens=1)
    with pytest.raises(AcquireTimeout, match=r"came free in 0.1 s, at about place \d+ of its queue: held") as raised:
        waiting.acquire(0.1)
    assert raised.value.place == pytest.approx(101, abs=2)


@pytest.mark.parametrize(("seconds", "named"), [(8, ("other",)), (12, ())])
def test_holders_are_named_only_if_the_look_is_not_old(environment, bucket, table, seconds, named):
    table.set(0, expires_at=environment.now_ms + 5_000)  # it may have been renewed since
    put_tickets(bucket, environment, *range(1, 101))  # behind so many it does not look at slots again
    waiting = environment.bucket(max_tokens=1)
    with pytest.raises(AcquireTimeout) as raised:
        waiting.acquire(seconds)
    assert raised.value.holders == named


def test_in_an_unordered_bucket_a_timeout_has_no_place_and_costs_no_request_more(environment, table):
    put_counter(table, max_tokens=7, minted=7)
    for slot in range(7):
        put_leased(table, slot, f"{slot}-other", expires_at=FAR)
        table.set(slot, owner=f"w:{slot}", acquired_at=environment.now_ms - 1000 * (9 - slot))
    bucket = environment.bucket(max_tokens=7)
    assert bucket.try_acquire() is None
    sent = len(bucket.tap.sent)
    with pytest.raises(
        AcquireTimeout, match=r"^bucket '\S+' is full: held by w:0 \(.*\), w:1 .*, and 2 more\Z"
    ) as raised:
        bucket.acquire(0)
    assert (raised.value.place, len(raised.value.holders)) == (None, 7)
    assert len(bucket.tap.sent) <= sent + 1
    with pytest.raises(AcquireTimeout, match=r"^bucket '\S+' has no 2 slots free: held by w:0"):
        bucket.acquire(0, count=2)


# A priority where there is no order.


def test_where_there_is_an_order_nothing_is_said_of_a_priority(bucket, caplog):
    with pytest.raises(AcquireTimeout):
        bucket.acquire(0, priority=5)
    assert PRIORITY not in caplog.text


def test_a_priority_in_an_unordered_bucket_is_told_once(environment, table, caplog):
    put_counter(table, max_tokens=1, minted=1)
    put_leased(table, 0, expires_at=FAR)
    unordered = environment.bucket(max_tokens=1)
    for priority in (0, 5, 5):
        with pytest.raises(AcquireTimeout):
            unordered.acquire(0, priority=priority)
        assert caplog.text.count(PRIORITY) == (priority > 0)
    assert "has order=any" in caplog.text


def test_who_is_far_back_is_told_an_estimate(environment, bucket):
    events = []
    put_tickets(bucket, environment, *range(1, 101))
    waiting = environment.bucket(max_tokens=1, on_event=events.append)
    with pytest.raises(AcquireTimeout):
        waiting.acquire(0.1)
    (told,) = [event for event in events if isinstance(event, Waiting)]
    assert not told.exact
    assert told.place == pytest.approx(101, abs=2)


def test_nobody_is_told_a_place_in_an_unordered_bucket(environment, table):
    put_counter(table, max_tokens=1, minted=1)
    put_leased(table, 0, expires_at=FAR)
    events = []
    with pytest.raises(AcquireTimeout):
        environment.bucket(max_tokens=1, on_event=events.append).acquire(3)
    assert [event for event in events if isinstance(event, Waiting)] == []
