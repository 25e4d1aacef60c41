"""Waiting for permits, faults while waiting, and prefetching: only on the simulator's DynamoDB, as it is quick."""

import itertools
import math
import threading
import time
from random import Random

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, RateLimiter, StoreRejected, StoreUnavailable
from ddb_lease._protocol.messages import Look
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import Charge, CreatePolicy, ReadPolicy
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates.booking import Booking
from scripts.harness.inside import core_of
from tests.support import LOST, NO_ANSWERS, REJECTED, THROTTLED, UNSENT, Tap, charges, drained, eventually, wanted

CONTRACT = True  # the simulator's DynamoDB alone, as it is quick
NOT_ON = ("embedded", "ministack")
"""What an engine does with a charge is tried elsewhere."""


# Waiting


def test_threads_that_wait_share_one_schedule(new_limiter, in_thread):
    limiter = new_limiter(rate=20, burst=1)
    assert limiter.try_acquire()
    limiter.tap.clear()
    waiting = [in_thread(limiter.acquire) for _ in range(8)]
    for waiter in waiting:
        waiter.result(20)
    assert limiter.tap.count() == {"Charge": 8}


def test_a_permit_that_is_not_to_be_had_in_time_is_not_waited_for(limiter, environment):
    drained(limiter)
    with pytest.raises(AcquireTimeout, match=r"no 2 permits of rate .* within 0\.01 s"):
        limiter.acquire(2, timeout=0.01)
    assert environment.pauses == []
    limiter.acquire(2, timeout=0.05)


def test_a_timeout_of_nothing_takes_what_is_there(limiter):
    limiter.acquire(timeout=0)
    drained(limiter)
    with pytest.raises(AcquireTimeout):
        limiter.acquire(timeout=0)


def test_a_waiter_has_its_permit_when_it_is_due_whoever_tries_meanwhile(limiter, rates, environment):
    other = rates()
    other.status()
    drained(limiter)
    began = environment.clock.steady()
    environment.meanwhile.append(lambda: drained(other))
    limiter.acquire(timeout=0.5)
    assert environment.clock.steady() - began <= 0.01 + 0.001
    assert charges(limiter) == 1


def test_a_timeout_is_kept_where_others_have_booked_before(limiter, rates, environment):
    other = rates()
    other.status()
    drained(limiter)
    told = []

    def wait_in_vain():
        environment.meanwhile.clear()
        before, paused = environment.clock.steady(), len(environment.pauses)
        with pytest.raises(AcquireTimeout):
            other.acquire(timeout=0.005)
        told.append((environment.clock.steady() - before, len(environment.pauses) - paused))

    environment.meanwhile.append(wait_in_vain)
    limiter.acquire(5, timeout=1)
    assert told == [(0.0, 0)], "the next permit is due 10 ms after the five that are booked: it is told at once"


def test_however_many_permits_others_take_each_that_is_waited_for_costs_one_charge(limiter, rates, environment):
    other = rates()
    other.status()
    drained(limiter)
    environment.meanwhile.append(lambda: drained(other))
    began = environment.clock.steady()
    for _ in range(100):
        limiter.acquire(timeout=20)
    assert charges(limiter) <= 105
    assert environment.clock.steady() - began <= 2 * 1.0, "of a hundred permits a second, it has half at least"


def test_waiters_are_served_in_order_and_nobody_passes_them(new_limiter, in_thread):
    limiter = new_limiter(rate=10, burst=3)
    assert limiter.try_acquire(3)
    limiter.tap.clear()
    served, go = [], threading.Event()

    def wait(number, n):
        limiter.acquire(n)
        served.append(number)

    limiter.tap.inject(Charge, before=lambda _: go.wait(10))  # so that all wait before the first is booked
    waiting = []
    for number, n, in_all in ((1, 3, 3), (2, 1, 4), (3, 2, 6)):
        waiting.append(in_thread(lambda number=number, n=n: wait(number, n)))
        eventually(lambda in_all=in_all: wanted(limiter) == in_all)
    go.set()
    assert not limiter.try_acquire()
    for waiter in waiting:
        waiter.result(20)
    assert served == [1, 2, 3]
    assert charges(limiter) == 2, "one for the first, and one for those who came meanwhile"


def test_waiters_of_several_processes_are_served_in_the_order_of_their_bookings(new_limiter, in_thread):
    limiters = [new_limiter(rate=10, burst=3) for _ in range(3)]
    assert limiters[0].try_acquire(3)
    for limiter in limiters:
        limiter.status()
        limiter.tap.clear()
    served = []

    def wait(limiter, n):
        limiter.acquire(n)
        served.append(n)

    waiting = []
    for limiter, n in zip(limiters, (3, 1, 2), strict=True):  # the large one first: it is not passed by the small ones
        waiting.append(in_thread(lambda limiter=limiter, n=n: wait(limiter, n)))
        eventually(lambda limiter=limiter: charges(limiter) and not wanted(limiter))
    for waiter in waiting:
        waiter.result(20)
    assert served == [3, 1, 2]
    assert all(set(limiter.tap.count()) == {"Charge"} for limiter in limiters)
    assert all(charges(limiter) <= 2 for limiter in limiters), "a guess that is wrong costs one more"


def test_a_try_is_denied_at_once_if_those_in_front_take_all(new_limiter, in_thread):
    limiter = new_limiter(rate=1, burst=2)
    limiter.status()
    drained_at = time.monotonic()
    assert limiter.try_acquire(2)
    waiter = in_thread(lambda: limiter.acquire(timeout=60))
    eventually(lambda: charges(limiter) == 2 and not wanted(limiter))
    limiter.tap.clear()
    began = time.monotonic()
    assert not limiter.try_acquire()
    assert time.monotonic() - began < 0.5
    wait = limiter.wait_time()
    passed = time.monotonic() - drained_at
    assert 1.5 - passed < wait <= 2.01  # behind the one that waits; the service's time is known a little less well
    assert limiter.tap.sent == []
    waiter.result(20)


def test_a_try_is_denied_as_soon_as_the_one_in_front_is_denied(new_limiter, in_thread):
    drainer, limiter = new_limiter(rate=1, burst=2), new_limiter(rate=1, burst=2)
    limiter.status()
    assert drainer.try_acquire(2)
    go = threading.Event()
    limiter.tap.inject(Charge, before=lambda _: go.wait(10))
    waiter = in_thread(lambda: limiter.acquire(timeout=60))
    eventually(lambda: limiter.tap.of(Charge))
    hasty = in_thread(limiter.try_acquire)
    eventually(lambda: wanted(limiter) == 2)
    go.set()
    assert hasty.result(0.9) is False
    waiter.result(20)


def test_a_waiter_that_was_torn_away_holds_nobody_up(new_limiter, in_thread):
    limiter = new_limiter(rate=10, burst=1)
    limiter.tap.inject(Charge, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        limiter.acquire()
    limiter.acquire(timeout=5)
    assert wanted(limiter) == 0


def test_the_wait_is_told_without_asking(limiter, rates):
    assert limiter.wait_time() == 0.0
    assert limiter.wait_time(5) == 0.0
    assert limiter.try_acquire(5)
    limiter.tap.clear()
    assert limiter.wait_time() == pytest.approx(0.01, abs=1e-6)
    assert limiter.wait_time(5) == pytest.approx(0.05, abs=1e-6)
    assert limiter.tap.sent == []
    assert rates().wait_time() == 0.0, "of which nothing is known yet"


# Trouble


def test_each_sending_is_of_its_own_time(limiter):
    """Otherwise an old request would charge the past, which is paid for, and the permit would be used now."""
    limiter.tap.inject(Charge, answer=LOST, commits=False)
    assert limiter.try_acquire()
    lost, again = limiter.tap.of(Charge)
    assert lost.attempt == again.attempt
    assert again.due > lost.due


def test_once_unknown_an_attempt_is_followed_up_through_other_trouble(limiter, table):
    limiter.tap.inject(Charge, answer=LOST)
    for trouble in (THROTTLED, UNSENT):
        limiter.tap.inject(Charge, answer=trouble, commits=False)
    assert limiter.try_acquire()
    assert len({charge.attempt for charge in limiter.tap.of(Charge)}) == 1
    assert len(limiter.tap.of(Charge)) == 4


def test_an_attempt_is_not_followed_up_for_long(limiter, environment):
    for _ in range(100):
        limiter.tap.inject(Charge, answer=LOST, commits=False, before=lambda _: environment.clock.pass_time(2))
    with pytest.raises(StoreUnavailable):
        limiter.acquire(timeout=60)
    sent = {}
    for charge in limiter.tap.of(Charge):
        sent.setdefault(charge.attempt, []).append(charge.due)
    assert len(sent) > 1
    assert max(max(times) - min(times) for times in sent.values()) <= 5.1e9


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda answer: type(answer).__name__)
def test_what_does_not_pass_is_an_outage_and_no_denial(limiter, environment, answer):
    limiter.tap.everything_fails = answer
    began = environment.clock.steady()
    with pytest.raises(StoreUnavailable):
        limiter.try_acquire()
    assert environment.clock.steady() - began < 40
    with pytest.raises(StoreUnavailable):
        limiter.acquire(timeout=10)


def test_an_outage_that_ends_is_waited_out(limiter, environment):
    limiter.tap.everything_fails = UNSENT
    began = environment.clock.steady()
    environment.meanwhile.append(
        lambda: setattr(limiter.tap, "everything_fails", UNSENT if environment.clock.steady() - began < 60 else None)
    )
    limiter.acquire()
    assert 60 <= environment.clock.steady() - began < 70


def test_a_service_that_never_answers_is_told_after_a_while(rates, environment):
    limiter = rates()
    limiter.tap.everything_fails = UNSENT
    with pytest.raises(StoreUnavailable):
        limiter.acquire()
    with pytest.raises(StoreUnavailable):
        limiter.status()


def test_what_is_refused_for_good_is_raised(limiter):
    limiter.tap.inject(Charge, answer=REJECTED, commits=False)
    with pytest.raises(StoreRejected, match="permission is missing"):
        limiter.acquire(timeout=60)


def test_nothing_is_charged_by_a_time_that_answers_never_agreed_on(rates):
    limiter = rates()
    limiter.tap.odd = [900.0, -900.0, 1800.0, -3000.0, 5000.0, -7000.0, 9000.0, -12_000.0]
    limiter.tap.inject(Charge, before=lambda _: pytest.fail("charged"))
    with pytest.raises(StoreUnavailable, match="do not tell its time"):
        limiter.acquire(timeout=0)
    assert set(limiter.tap.count()) == {"ReadPolicy", "Look"}


# Prefetching


def test_prefetching_under_load_takes_as_few_requests_and_keeps_the_rate(rates, environment):
    limiter = rates(rate=1_000, burst=100, prefetch=100)
    assert limiter.try_acquire(100)
    limiter.tap.clear()
    began = environment.clock.steady()
    times = []
    for _ in range(1_000):
        limiter.acquire()
        times.append(environment.clock.steady())
    assert charges(limiter) == 10
    assert times[-1] - began == pytest.approx(1.0, abs=0.02)
    assert all(b - a > 0.0009 for a, b in itertools.pairwise(times)), "each when it is due, and no two at once"


def test_permits_in_hand_go_to_the_waiters(rates):
    limiter = rates(burst=5, prefetch=5)
    assert limiter.try_acquire()
    waiting = Booking(
        lambda: None, wanted=Wanted(booked={"permits": 4}), began=0.0, deadline=float("inf"), patient=True
    )
    book = core_of(limiter).state.book("")
    book.join(waiting)
    assert not limiter.try_acquire()
    book.leave(waiting)
    assert limiter.try_acquire()


def test_permits_in_hand_are_used_without_a_request(rates):
    limiter = rates(burst=5, prefetch=5)
    assert limiter.try_acquire()
    sent = len(limiter.tap.sent)
    assert [limiter.try_acquire() for _ in range(5)] == [True] * 4 + [False]
    assert len(limiter.tap.sent) == sent


def test_others_wait_while_prefetched_permits_fall_due(rates, environment):
    limiter, other = rates(burst=20, prefetch=20), rates(burst=20)
    other.status()
    assert limiter.try_acquire()
    assert limiter.status().in_hand == 19
    assert not other.try_acquire()
    assert other.wait_time() == pytest.approx(0.01, abs=0.001)
    environment.clock.pass_time(0.2)
    assert other.try_acquire(20)


def test_prefetched_permits_that_nobody_uses_in_time_are_forgone(rates, environment):
    limiter = rates(burst=20, prefetch=20)
    assert limiter.try_acquire()
    environment.clock.pass_time(0.99)
    assert limiter.status().in_hand == 19
    environment.clock.pass_time(0.02)
    assert limiter.status().in_hand == 0


def test_more_than_is_in_hand_is_charged_as_a_whole(rates, environment):
    limiter = rates(burst=10, prefetch=4)
    assert limiter.try_acquire(3)
    assert limiter.try_acquire(6)
    assert [charge.limits[0].charged // 10_000_000 for charge in limiter.tap.of(Charge)] == [4, 6]
    assert limiter.status().in_hand == 1


def test_no_more_than_the_envelope_and_what_is_held_comes_out_of_prefetching(rates, environment):
    limiters = [rates(burst=5, prefetch=10) for _ in range(3)]
    for limiter in limiters:
        limiter.status()
    chance = Random(7)
    taken = []
    for _ in range(3_000):
        environment.clock.pass_time(chance.expovariate(400))
        if chance.choice(limiters).try_acquire():
            taken.append(environment.clock.steady())
    assert len(taken) > 300
    for first, last in itertools.combinations(range(0, len(taken), 7), 2):
        assert last - first + 1 <= 100 * (taken[last] - taken[first]) + 5 + 3 * 10 + 1e-6


# Use


def test_closing_ends_every_wait(new_limiter, in_thread):
    limiter = new_limiter(rate=0.01, burst=1)
    assert limiter.try_acquire()
    waiting = [in_thread(limiter.acquire) for _ in range(3)]
    eventually(lambda: charges(limiter) == 2 and wanted(limiter) == 2)  # one has booked, and two may not yet
    limiter.close()
    for waiter in waiting:
        with pytest.raises(ConfigurationError, match="is closed"):
            waiter.result(5)


@pytest.mark.parametrize("n", [0, -1, 6, 1.0, True, "1", None])
def test_n_is_a_whole_number_up_to_the_burst(limiter, n):
    for use in (limiter.try_acquire, limiter.acquire, limiter.wait_time):
        with pytest.raises(ConfigurationError, match="n must be a whole number from 1 to 5"):
            use(n)
    assert limiter.tap.sent == []


def test_bad_settings_send_nothing(new_limiter, limiter):
    for wrong in ({"prefetch": -1}, {"prefetch": 1.5}, {"rate": 0}, {"burst": 0}, {"table": ""}):
        with pytest.raises(ConfigurationError):
            new_limiter(**wrong)
    with pytest.raises(ConfigurationError, match="timeout must be 0 or more"):
        limiter.acquire(timeout=-1)
    with pytest.raises(ConfigurationError, match="a rate's name"):
        RateLimiter("", rate=1)
    assert limiter.tap.sent == []


def test_a_closed_limiter_admits_nobody(limiter):
    with limiter as same:
        assert same is limiter
    for use in (limiter.try_acquire, limiter.acquire):
        with pytest.raises(ConfigurationError, match="is closed"):
            use()


def test_a_decorated_function_waits_before_each_call(limiter, environment):
    @limiter.limited(timeout=60, n=5)
    def work(number, *, more):
        """What it does."""
        return number + more

    assert [work(1, more=2) for _ in range(3)] == [3, 3, 3]
    assert sum(environment.pauses) == pytest.approx(0.1, abs=0.001)
    assert (work.__name__, work.__doc__) == ("work", "What it does.")
    with pytest.raises(ConfigurationError):
        limiter.limited(n=6)


def lane_of(limiter):
    """The lane of its charges."""
    assert limiter.try_acquire()
    (lane,) = {charge.lane for charge in limiter.tap.of(Charge)}
    return lane


def test_lanes_are_chosen_by_chance(new_limiter):
    lanes = {lane_of(new_limiter(burst=100)) for _ in range(60)}
    assert lanes == set(range(8))


def test_a_users_own_machinery_is_asked_for_chance(new_limiter):
    tap = Tap()
    limiter = new_limiter(tap=tap, runtime=Runtime(wrap=tap.around, chance=Random(3)))
    assert lane_of(limiter) == Random(3).randrange(8)
    assert math.isfinite(limiter.wait_time())
    assert {type(request) for request in tap.sent} - {Look} == {ReadPolicy, CreatePolicy, Charge}
