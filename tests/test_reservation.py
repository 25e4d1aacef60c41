"""Reservations as users see them: held, settled, forgotten, swept; over threads, forks and processes that die."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Limit, StoreRejected, rate_events
from ddb_lease._protocol.messages import Rejected
from ddb_lease._protocol.rates.messages import Charge, Settle
from tests.conftest import TABLE
from tests.rates import KeyTable
from tests.support import CONFLICT, LOST, NO_ANSWERS

CONTRACT = True  # the simulator's DynamoDB too
HOUR = 3_600.0


@pytest.fixture
def slow(rates):
    """Ten permits, and one more each hour; its time is known."""
    limiter = rates(rate=10, per=10 * HOUR, burst=10)
    limiter.set_policy(Limit(10, per=10 * HOUR))
    limiter.tap.clear()
    return limiter


@pytest.fixture
def model(rates):
    """Requests and tokens, which take hours to come back."""
    limits = {"requests": Limit(10, per=10 * HOUR), "tokens": Limit(1_000, per=10 * HOUR)}
    return rates(rate=None, burst=None, limits=limits)


def available(limiter):
    return limiter.status().available


# Settling.


def test_reserving_and_settling_are_one_request_each(slow):
    with slow.reserve(6, timeout=30) as reservation:
        assert slow.tap.count() == {"Charge": 1}
        assert reservation.permits == {"permits": 6}
        assert available(slow) == 4
        slow.tap.clear()
        assert reservation.settle(2) is True
        assert slow.tap.count() == {"Settle": 1}
    assert slow.tap.count() == {"Settle": 1}, "the block has nothing left to do"
    assert available(slow) == 8


def test_a_denial_for_what_is_held_says_what_is_left_and_when_to_come_again(slow):
    slow.reserve(8, timeout=30)
    for _ in range(2):
        denied = slow.check(5)
        assert (denied.allowed, denied.remaining) == (False, 2)
        assert denied.retry_after == pytest.approx(3 * HOUR, abs=60), "as if all that is held was used"
        assert denied.reset_after == pytest.approx(8 * HOUR, abs=60)


def test_of_several_limits_the_one_that_denies_is_told(model):
    team = model.key("team-7")
    team.reserve(requests=1, tokens=900, timeout=30)
    denied = team.check(requests=1, tokens=400)
    assert (denied.tightest, denied.remaining, denied.limits["requests"].remaining) == ("tokens", 100, 9)
    assert denied.retry_after == pytest.approx(3 * HOUR, abs=60)


def test_a_limit_that_is_not_named_counts_in_full(model):
    team = model.key("team-7")
    with team.reserve(requests=2, tokens=900, timeout=30) as reservation:
        assert not team.try_acquire(tokens=200)
        assert reservation.settle(tokens=100)
    limits = team.status().limits
    assert (limits["requests"].remaining, limits["tokens"].remaining) == (8, 900)
    assert available(model) == 10, "another key"


def test_more_than_was_reserved_is_a_debt(rates, environment):
    limiter = rates(rate=1, burst=10)
    with limiter.reserve(2) as reservation:
        assert reservation.settle(25)
    assert limiter.wait_time() == pytest.approx(16, abs=0.01)
    assert not limiter.try_acquire()
    environment.clock.pass_time(16)
    assert limiter.try_acquire()


@pytest.mark.parametrize("problem", [None, ValueError, KeyboardInterrupt])
def test_a_block_that_does_not_settle_counts_in_full(slow, table, problem):
    try:
        with slow.reserve(6) as reservation:
            if problem:
                raise problem
    except (ValueError, KeyboardInterrupt):
        pass
    assert reservation.settled
    assert available(slow) == 4
    assert not any(name.startswith("hold#") for name in KeyTable(table).get(""))


def test_without_a_block_it_is_settled_by_hand(slow):
    reservation = slow.reserve(6)
    assert not reservation.settled
    assert 299 < reservation.remaining <= 300
    assert repr(reservation) == f"<Reservation of rate {slow.name!r}: permits=6, held>"
    assert reservation.settle(0)
    assert reservation.remaining == 0.0
    assert repr(reservation) == f"<Reservation of rate {slow.name!r}: permits=6, settled>"
    assert available(slow) == 10


def test_it_is_settled_once(slow):
    reservation = slow.reserve(6)
    assert reservation.settle(1)
    with pytest.raises(ConfigurationError, match="settled already"):
        reservation.settle(3)
    assert available(slow) == 9


@pytest.mark.parametrize(
    ("arguments", "named", "problem"),
    [
        ((-1,), {}, "permits must be a whole number from 0"),
        ((1.5,), {}, "permits must be a whole number"),
        ((True,), {}, "permits must be a whole number"),
        ((10**12,), {}, "more than a year"),
        ((), {"tokens": 1}, "there is no limit 'tokens': there are permits"),
        ((1,), {"permits": 1}, "name the limits"),
    ],
)
def test_wrong_numbers_change_nothing_and_it_may_be_settled_still(slow, arguments, named, problem):
    reservation = slow.reserve(6)
    slow.tap.clear()
    with pytest.raises(ConfigurationError, match=problem):
        reservation.settle(*arguments, **named)
    assert slow.tap.sent == []
    assert reservation.settle(1)


@pytest.mark.parametrize("within", [0, 0.5, 100_000, None, "soon", float("nan"), -1])
def test_a_time_that_cannot_work_is_refused(slow, within):
    with pytest.raises(ConfigurationError, match="settle_within"):
        slow.reserve(1, settle_within=within)
    assert slow.tap.sent == []


def test_limits_that_were_not_reserved_cannot_be_settled(model):
    reservation = model.reserve(tokens=5)
    with pytest.raises(ConfigurationError, match="there is no limit 'requests': there are tokens"):
        reservation.settle(requests=1)
    with pytest.raises(ConfigurationError, match="name the limits"):
        reservation.settle(3)
    assert reservation.settle(tokens=3)


def test_it_waits_like_an_acquire_and_gives_up_like_one(rates, environment):
    limiter = rates(rate=1, burst=5)
    limiter.acquire(5)
    began = environment.clock.steady()
    with limiter.reserve(2, timeout=30):
        assert environment.clock.steady() - began == pytest.approx(2, abs=0.01)
    with pytest.raises(AcquireTimeout, match="no 5 permits of rate"):
        limiter.reserve(5, timeout=1)


def test_what_others_hold_is_waited_for_until_it_is_settled(rates, environment):
    one, other = rates(rate=10, burst=10), rates(rate=10, burst=10)
    reservation = one.reserve(10)
    with pytest.raises(AcquireTimeout):
        other.acquire(5, timeout=10)
    reservation.settle(0)
    other.acquire(5, timeout=10)


def test_many_threads_share_a_hold_and_settlements(new_limiter, table):
    limiter = new_limiter(rate=100, per=HOUR, burst=100)
    barrier, told = threading.Barrier(8), []

    def work():
        with limiter.reserve(5, timeout=60) as reservation:
            barrier.wait(60)
            told.append(reservation.settle(2))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == [True] * 8
    assert limiter.tap.count()["Settle"] <= 8
    item = KeyTable(table).get("")
    assert item["held#permits"] == 0
    assert not any(name.startswith("hold#") for name in item)
    assert available(limiter) in {84, 85}


# Answers that do not come.


@pytest.mark.parametrize("commits", [True, False])
def test_a_settlement_whose_answer_is_lost_counts_once(slow, commits):
    reservation = slow.reserve(6)
    slow.tap.inject(Settle, answer=LOST, commits=commits)
    assert reservation.settle(2) is True
    assert len({request.attempt for request in slow.tap.of(Settle)}) == 1
    assert available(slow) == 8


@pytest.mark.parametrize("commits", [True, False])
def test_a_reservation_whose_answer_is_lost_is_held_once(slow, commits):
    slow.acquire()
    slow.tap.inject(Charge, answer=LOST, commits=commits)
    with slow.reserve(6, timeout=30) as reservation:
        assert available(slow) == 3
        reservation.settle(2)
    assert available(slow) == 7


def test_a_reservation_that_the_item_shows_was_not_made_is_not_looked_for(rates):
    one, other = (rates(rate=10, per=10 * HOUR, burst=10) for _ in range(2))
    one.acquire()
    one.tap.inject(Charge, answer=LOST, commits=False, after=lambda _: other.acquire(5))
    with pytest.raises(AcquireTimeout):
        one.reserve(6, timeout=30)
    one.tap.clear()
    assert one.try_acquire()
    assert one.tap.count() == {"Charge": 1}


def test_without_an_answer_the_numbers_are_sent_with_the_next_settlement(slow, caplog):
    first, second = slow.reserve(3), slow.reserve(3)
    slow.tap.everything_fails = NO_ANSWERS[0]
    assert first.settle(1) is False
    assert "is settled with the next one, or counts in full" in caplog.text
    slow.tap.everything_fails = None
    slow.tap.clear()
    assert second.settle(1) is True
    assert available(slow) == 8


def test_a_settlement_that_others_are_in_the_way_of_is_not_sent_again_at_once(slow, environment):
    reservation, sent_at = slow.reserve(6), []
    for _ in range(20):
        slow.tap.inject(
            Settle, answer=CONFLICT, commits=False, before=lambda _: sent_at.append(environment.clock.steady())
        )
    assert reservation.settle(2) is True
    assert len(set(sent_at)) == len(sent_at) == 20, "each waits a moment, also where it goes on after several"
    assert available(slow) == 8


def test_a_block_is_not_failed_by_its_settlement(slow, caplog):
    refused = Rejected(error=StoreRejected("no permission"))
    slow.tap.inject(Settle, answer=refused, commits=False)
    with slow.reserve(6):
        pass
    assert "counts in full: no permission" in caplog.text
    slow.tap.inject(Settle, answer=refused, commits=False)
    with pytest.raises(StoreRejected), slow.reserve(1) as reservation:
        reservation.settle(1)


def test_its_events_say_what_was_held_and_what_was_used(rates):
    events = []
    limiter = rates(rate=10, per=10 * HOUR, burst=10, on_event=events.append)
    with limiter.key("k").reserve(6, timeout=30) as reservation:
        reservation.settle(2)
    kinds = [event for event in events if isinstance(event, (rate_events.Reserved, rate_events.Settled))]
    assert [(type(event).__name__, event.key) for event in kinds] == [("Reserved", "k"), ("Settled", "k")]
    assert kinds[0].permits == kinds[1].reserved == {"permits": 6}
    assert (kinds[1].used, kinds[1].written) == ({"permits": 2}, True)


# When it is over.


def test_what_is_not_settled_in_time_counts_in_full(rates, environment):
    one, other = rates(rate=1, burst=10), rates(rate=1, burst=10)
    reservation = one.reserve(10, settle_within=60)
    environment.clock.pass_time(63)
    assert reservation.remaining == 0.0
    began = environment.clock.steady()
    other.acquire(3, timeout=60)
    assert 3 <= environment.clock.steady() - began < 7, "swept soon, and then waited for as if it was used"
    assert reservation.settle(0) is False
    assert other.tap.of(Settle)[0].limits[0].used == 10_000_000_000


def test_a_key_that_was_reset_forgets_reservations(slow, table):
    reservation = slow.reserve(6)
    KeyTable(table).of("").delete("rate#")  # by hand
    assert reservation.settle(6) is False
    assert available(slow) == 10


def test_after_close_nothing_is_settled(rates, caplog):
    limiter = rates(rate=1, burst=5)
    reservation = limiter.reserve(1)
    limiter.close()
    with pytest.raises(ConfigurationError, match="closed"):
        reservation.settle(0)
    with reservation:
        pass
    assert "counts in full" in caplog.text


def test_it_is_neither_copied_nor_awaited(slow):
    reservation = slow.reserve(1)
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.copy(reservation)
    assert reservation.settle(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("engine", ["embedded", "ministack"], indirect=True, scope="session")  # what a child can reach
def test_a_forked_child_settles_nothing_of_its_parents(new_limiter):
    limiter = new_limiter(rate=10, per=10 * HOUR, burst=10)
    reservation = limiter.reserve(6)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            told = reservation.settle(0)
            with limiter.reserve(2) as own:
                os.write(write, repr((told, own.settle(1))).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1000).decode() == "(False, True)"
    assert available(limiter) == 3
    assert reservation.settle(2)
    assert available(limiter) == 7


HOLDER = """
import sys
import boto3
from ddb_lease import RateLimiter

name, table, url = sys.argv[1:]
limiter = RateLimiter(name, rate=5, burst=5, table=table, session=boto3.Session(), endpoint_url=url)
with limiter.reserve(5, timeout=30, settle_within=2):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("engine", ["ministack"], indirect=True, scope="session")  # the others live in this process
def test_what_a_killed_process_held_comes_back_to_another(engine, new_limiter, bucket_name, table):
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, bucket_name, TABLE, engine.endpoint_url],
        env=os.environ | keys,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    finally:
        holder.kill()
        holder.communicate()
    limiter = new_limiter(rate=5, burst=5)
    began = time.monotonic()
    assert not limiter.try_acquire()
    limiter.acquire(5, timeout=60)
    assert time.monotonic() - began > 1.0
    assert limiter.tap.count()["Settle"] >= 1
    assert not any(name.startswith("hold#") for name in KeyTable(table).get(""))
