"""The queue of an ordered bucket, as status and events show it."""

import datetime as dt

import pytest

from ddb_lease import AcquireTimeout
from ddb_lease._protocol.tickets import LookAtQueue, PutTicket, Ticket
from ddb_lease.events import Waiting
from tests.support import put_counter, put_leased

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too
NOT_ON = ("ministack", "dynoxide")  # one engine shows it

FAR = 4_000_000_000_000


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
