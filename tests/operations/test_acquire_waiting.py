"""Waiting for a full bucket: cheaply, in order, within the timeout, and no longer than needed."""

import threading
import time

import pytest

from ddb_lease import AcquireTimeout, StoreUnavailable
from ddb_lease._protocol.messages import Claim, Look
from ddb_lease._protocol.retry import EXPIRY_JITTER_SECONDS
from ddb_lease._state.waiters import Waiter
from scripts.harness.inside import core_of, held_of
from tests.support import CONFLICT, eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too


@pytest.fixture
def full(environment):
    """The only lease of a bucket of one slot, held by a client that is not renewing."""
    return environment.bucket(max_tokens=1).acquire(timeout=5)


def line(bucket):
    return core_of(bucket).state.hints.waiting


def waiters(bucket, in_thread, count, **arguments):
    """So many threads waiting for the bucket, in this order."""
    waiting = []
    for number in range(1, count + 1):
        waiting.append(in_thread(lambda: bucket.acquire(**({"timeout": 60} | arguments))))
        eventually(lambda n=number: line(bucket) == n)
    return waiting


# In the test environment: the test moves the time


def test_waiting_for_a_full_bucket_writes_nothing_and_looks_about_once_a_second(environment, full):
    environment.meanwhile.append(lambda: held_of(full).belief.holds(environment.clock.steady()) and full.renew())
    waiter = environment.bucket(max_tokens=1)
    with pytest.raises(AcquireTimeout):
        waiter.acquire(timeout=200)
    assert set(waiter.tap.count()) == {"Look"}
    assert 120 < waiter.tap.count()["Look"] < 300


def test_polls_are_eventually_consistent_and_only_the_first_look_is_not(environment, full):
    waiter = environment.bucket(max_tokens=1)
    with pytest.raises(AcquireTimeout):
        waiter.acquire(timeout=10)
    first, *others = waiter.tap.of(Look)
    assert first.consistent
    assert others
    assert not any(look.consistent for look in others)


@pytest.mark.parametrize("timeout", [0, 0.01, 1, 10])
def test_a_timeout_is_kept_to_the_moment_and_the_last_try_is_made_then(environment, full, timeout):
    waiter = environment.bucket(max_tokens=1)
    began = environment.clock.steady()
    with pytest.raises(AcquireTimeout):
        waiter.acquire(timeout=timeout)
    assert environment.clock.steady() - began == pytest.approx(timeout, abs=0.001)


def test_a_timeout_of_nothing_is_one_try_that_takes_what_is_free(environment):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=0)
    with pytest.raises(AcquireTimeout):
        environment.bucket(max_tokens=1).acquire(timeout=0)
    lease.release()
    assert environment.bucket(max_tokens=1).acquire(timeout=0).held
    assert environment.pauses == []


def test_what_comes_free_at_the_last_moment_is_taken(environment, full):
    began = environment.clock.steady()
    environment.meanwhile.append(lambda: full.release() if environment.clock.steady() - began >= 5 else None)
    assert environment.bucket(max_tokens=1).acquire(timeout=5).held


def test_a_waiter_goes_for_a_lease_as_soon_as_it_has_surely_expired(environment, full, table):
    expires_at = table.get(0)["expires_at"]
    lease = environment.bucket(max_tokens=1).acquire(timeout=120)
    late = (environment.now_ms - expires_at) / 1000
    assert 0 < late < 1.5 + EXPIRY_JITTER_SECONDS  # the service's clock is cut to a second
    assert leases_in(table) == {0: lease.id}


def test_a_dead_holders_slot_is_back_at_most_two_seconds_after_its_lease(environment, table):
    holder = environment.bucket(max_tokens=1)
    holder.acquire(timeout=5)
    environment.run(100, holder)
    died = environment.clock.steady()
    environment.bucket(max_tokens=1).acquire(timeout=120)
    assert environment.clock.steady() - died <= 30 + 2 + EXPIRY_JITTER_SECONDS


def test_a_waiter_never_takes_a_lease_that_is_being_renewed(environment, table):
    holder = environment.bucket(max_tokens=1)
    lease = holder.acquire(timeout=5)
    environment.meanwhile.append(lambda: holder.heartbeats.turn(slept=False))
    with pytest.raises(AcquireTimeout):
        environment.bucket(max_tokens=1).acquire(timeout=200)
    assert lease.held
    assert leases_in(table) == {0: lease.id}


def test_losing_a_race_is_no_full_bucket(environment):
    environment.bucket(max_tokens=2).acquire(timeout=5).release()
    bucket, rival = environment.bucket(max_tokens=2), environment.bucket(max_tokens=2)
    for _ in range(2):
        bucket.tap.inject(Claim, before=lambda _: [r.release() for r in (rival.acquire(timeout=1),)])
    began = environment.clock.steady()
    assert bucket.acquire(timeout=60).held
    assert environment.clock.steady() - began < 1


def test_a_conflict_is_no_full_bucket_and_is_tried_again_soon(environment):
    bucket = environment.bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    bucket.tap.inject(Claim, commits=False, answer=CONFLICT)
    began = environment.clock.steady()
    assert bucket.try_acquire() is not None
    assert environment.clock.steady() - began < 1


def test_a_bucket_full_while_an_outage_ends_the_wait_is_unavailable(environment, full):
    waiter = environment.bucket(max_tokens=1)
    waiter.tap.inject(Look, after=lambda _: setattr(waiter.tap, "everything_fails", CONFLICT))
    with pytest.raises(StoreUnavailable):
        waiter.acquire(timeout=5)


def test_a_process_that_held_a_slot_for_long_and_met_others_gives_way_before_its_next_acquire(environment, full):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=120)
    environment.run(20, bucket)
    lease.release()
    environment.pauses.clear()
    bucket.tap.clear()
    bucket.acquire(timeout=120)
    assert len(environment.pauses) == 1
    assert bucket.tap.count() == {"Look": 1, "Claim": 1}, "the slot was for others to take: see who did"


def test_giving_way_never_exceeds_the_timeout(environment, full):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=120)
    environment.run(20, bucket)
    lease.release()
    environment.pauses.clear()
    assert bucket.acquire(timeout=0).held
    assert environment.pauses == []


def loop_for(environment, bucket, seconds, *, hold=0.25):
    """Acquire, hold, release and acquire again at once, for some time."""
    slots = []
    until = environment.clock.steady() + seconds
    while environment.clock.steady() < until:
        with bucket.acquire(timeout=120) as lease:
            slots.append(lease.slot)
            environment.run(hold, bucket)
    return slots


def test_a_process_in_a_loop_on_the_only_slot_makes_breaks_though_it_is_alone(environment):
    bucket = environment.bucket(max_tokens=1)
    loop_for(environment, bucket, 30)
    assert len(environment.pauses) > 5
    assert sum(environment.pauses) < 30 * 0.1


def test_while_a_sibling_holds_the_slot_no_break_is_drawn(environment):
    bucket = environment.bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    lease = bucket.acquire(timeout=5)
    environment.run(60, bucket)
    core_of(bucket).state.hints.fairness.met_others(environment.clock.steady())
    core_of(bucket).state.hints.fairness.released(
        environment.clock.steady()
    )  # as a sibling that has just released another
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=5)
    assert core_of(bucket).state.hints.fairness.quiet_for(environment.clock.steady()) == 0.0, (
        "it would be over before the slot is free"
    )
    assert lease.held


def test_where_another_slot_is_free_there_is_no_break_but_it_is_had_instead(environment):
    bucket = environment.bucket(max_tokens=2)
    slots = loop_for(environment, bucket, 30)
    assert environment.pauses == []
    assert set(slots) == {0, 1}


def test_a_slot_that_only_seems_to_be_free_is_found_out_and_then_there_are_breaks(environment):
    bucket = environment.bucket(max_tokens=2)
    bucket.acquire(timeout=5).release()
    rival = environment.bucket(max_tokens=2)
    taken = rival.acquire(timeout=5)
    environment.meanwhile.append(lambda: rival.heartbeats.turn(slept=False))
    loop_for(environment, bucket, 30)
    assert environment.pauses
    assert taken.held


def test_room_to_mint_is_looked_for_again_before_it_is_relied_on_for_long(environment, table):
    bucket = environment.bucket(max_tokens=200)
    lease = bucket.acquire(timeout=5)
    core_of(bucket).state.hints.forget_free()
    lease.release()  # the only free slot that it knows of
    bucket.tap.clear()
    loop_for(environment, bucket, 100, hold=1.0)
    assert 1 <= bucket.tap.count()["Look"] <= 6
    assert environment.pauses == []


def test_a_slot_released_here_while_a_look_is_under_way_is_taken_at_once(environment):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.inject(Look, after=lambda _: lease.release())
    began = environment.clock.steady()
    assert bucket.acquire(timeout=60).held
    assert environment.clock.steady() - began < 0.5


def test_among_the_waiters_of_one_process_the_next_looks_when_the_last_look_has_aged(environment, full):
    bucket = environment.bucket(max_tokens=1)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=5)
    looks = bucket.tap.count()["Look"]
    core_of(bucket).state.hints.next_look_at = environment.clock.steady() + 1.5
    environment.pauses.clear()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1.6)
    assert environment.pauses[0] == pytest.approx(1.5)
    assert bucket.tap.count()["Look"] > looks


def test_a_waiter_that_cannot_wait_for_the_next_look_looks_at_once(environment, full):
    bucket = environment.bucket(max_tokens=1)
    assert bucket.try_acquire() is None
    core_of(bucket).state.hints.next_look_at = environment.clock.steady() + 1.5
    full.release()
    assert bucket.acquire(timeout=1).held
    core_of(bucket).state.hints.next_look_at = environment.clock.steady() + 1.5
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    assert bucket.tap.count() == {"Look": 1}


def test_a_slot_lost_to_another_makes_the_last_look_void(environment, table):
    environment.bucket(max_tokens=1).acquire(timeout=5).release()
    bucket, rival = environment.bucket(max_tokens=1), environment.bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    core_of(bucket).state.hints.next_look_at = environment.clock.steady() + 1.5
    began, looked = environment.clock.steady(), []
    bucket.tap.inject(Claim, before=lambda _: rival.acquire(timeout=1))
    bucket.tap.inject(Look, before=lambda _: looked.append(environment.clock.steady()))
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=10)
    assert looked[0] == began


def test_without_contention_nobody_gives_way(environment):
    bucket = environment.bucket(max_tokens=1)
    for _ in range(3):
        bucket.acquire(timeout=60).release()
    assert environment.pauses == []


# In threads: the order, and who wakes whom


@pytest.fixture
def only_woken(monkeypatch):
    """Waiters sleep until they are woken, or until a lease is known to expire: after half a minute."""
    monkeypatch.setattr("ddb_lease._protocol.retry.LONGEST_POLL_SECONDS", 6_000.0)
    monkeypatch.setattr("ddb_lease._protocol.retry.TURN_SECONDS", 600.0)


@pytest.mark.usefixtures("only_woken")
def test_a_release_wakes_a_waiter_of_the_same_process_without_a_look(new_bucket, in_thread):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    (waiter,) = waiters(bucket, in_thread, 1)
    eventually(lambda: bucket.tap.count()["Look"] > 1)
    looks = bucket.tap.count()["Look"]
    began = time.monotonic()
    lease.release()
    won = waiter.result(20)
    assert won.held
    assert time.monotonic() - began < 20
    assert bucket.tap.count()["Look"] - looks <= 1
    assert isinstance(bucket.tap.sent[-1], Claim)


def test_waiters_of_one_process_are_served_in_order(new_bucket, in_thread):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    waiting = waiters(bucket, in_thread, 4)
    for number, waiter in enumerate(waiting):
        lease.release()
        lease = waiter.result(10)
        assert not any(later.done() for later in waiting[number + 1 :])


def test_a_newcomer_does_not_pass_waiters(new_bucket, in_thread):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    first, second = waiters(bucket, in_thread, 2)
    lease.release()
    third = in_thread(lambda: bucket.acquire(timeout=60))
    eventually(first.done)
    assert not third.done()
    first.result().release()
    second.result(10).release()
    third.result(10)


def test_a_newcomer_leaves_a_free_slot_to_those_in_front(environment):
    bucket = environment.bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    bucket.tap.clear()
    in_front = Waiter(lambda: None)
    core_of(bucket).state.hints.join(in_front, now=core_of(bucket).state.time.steady())
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=4)
    assert bucket.tap.sent == []
    core_of(bucket).state.hints.leave(in_front)
    assert bucket.acquire(timeout=0).held


def test_one_process_polls_as_one_however_many_wait_in_it(new_bucket, in_thread):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.clear()
    waiting = waiters(bucket, in_thread, 8)
    looks = bucket.tap.count().get("Look", 0)
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 2.5)
    assert bucket.tap.count()["Look"] - looks <= 14  # one poller's share; eight would be near twenty
    assert set(bucket.tap.count()) == {"Look"}
    for waiter in waiting:
        lease.release()
        lease = waiter.result(10)


@pytest.mark.usefixtures("only_woken")
def test_as_many_wake_as_slots_come_free(new_bucket, in_thread):
    bucket = new_bucket(max_tokens=3)
    leases = [bucket.acquire(timeout=5) for _ in range(3)]
    waiting = waiters(bucket, in_thread, 3)
    began = time.monotonic()
    for lease in leases:
        lease.release()
    assert {waiter.result(20).slot for waiter in waiting} == {0, 1, 2}
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("only_woken")
def test_an_interrupted_waiter_wakes_the_next(new_bucket, in_thread):
    bucket, go = new_bucket(max_tokens=1), threading.Event()
    lease = bucket.acquire(timeout=5)
    bucket.tap.inject(Look, raises=KeyboardInterrupt())
    first = in_thread(lambda: bucket.acquire(timeout=60))
    with pytest.raises(KeyboardInterrupt):
        first.result(10)
    bucket.tap.inject(Look, before=lambda _: go.wait(60), raises=KeyboardInterrupt())
    second, third = waiters(bucket, in_thread, 2)
    go.set()
    with pytest.raises(KeyboardInterrupt):
        second.result(10)
    eventually(lambda: line(bucket) == 1)
    lease.release()
    began = time.monotonic()
    assert third.result(20).held
    assert time.monotonic() - began < 20


def test_a_waiter_that_times_out_hands_the_poll_to_the_next(new_bucket, in_thread, monkeypatch):
    monkeypatch.setattr(
        "ddb_lease._protocol.retry.TURN_SECONDS", 600.0
    )  # a waiter out of turn sleeps this long unless it is woken
    holder, bucket = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    lease = holder.acquire(timeout=5)
    (first,) = waiters(bucket, in_thread, 1, timeout=0.3)
    second = in_thread(lambda: bucket.acquire(timeout=60))
    with pytest.raises(AcquireTimeout):
        first.result(5)
    lease.release()
    assert second.result(10).held


def test_four_contenders_for_two_slots_all_win_in_the_end(new_bucket, in_thread, table):
    buckets = [new_bucket(max_tokens=2) for _ in range(4)]

    def work(bucket):
        fences = []
        for _ in range(3):
            with bucket.acquire(timeout=60) as lease:
                fences.append((lease.slot, lease.fence))
        return fences

    wins = [win for done in [in_thread(work, bucket) for bucket in buckets] for win in done.result(60)]
    assert len(set(wins)) == 12
    assert leases_in(table) == {}
