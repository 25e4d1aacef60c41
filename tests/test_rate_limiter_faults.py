"""A rate under faults: odd answers, outages while others queue, closing in the middle, unintended numbers."""

import contextlib
import dataclasses
import enum
import itertools
import threading
import time

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Limit, RateLimiter, SlidingWindow, StoreUnavailable
from ddb_lease._protocol.messages import Claim, Create, Mint
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates.key_book import KeyBook
from scripts.harness.inside import core_of
from scripts.harness.simulated_engine import Simulated
from tests.support import LOST, Tap, eventually, every_lock_held, wanted

HOUR = 3600.0


class Dating:
    """Around a store: answers to charges carry a Date that is off by `shift` seconds, so many of them.

    Once it is `scattered`, no two answers agree.
    """

    def __init__(self, store):
        self._store = store
        self.odd, self.shift, self.sent = 0, 0.0, 0
        self.scattered, self._off_by = False, itertools.count(1)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def send(self, request):
        self.sent += 1
        reply = self._store.send(request)
        if self.odd and isinstance(request, Charge):
            self.odd -= 1
            return dataclasses.replace(reply, date=reply.date + self.shift)
        if self.scattered:
            return dataclasses.replace(reply, date=reply.date + HOUR * next(self._off_by))
        return reply


@pytest.fixture
def service():
    return Simulated()


@pytest.fixture
def make(service):
    """Makes limiters of one rate, each a process of its own."""

    def limiter(kind=RateLimiter, *, wrap=None, **settings):
        tap = Tap()
        made = kind(
            "api",
            session=service.session(),
            endpoint_url=service.endpoint_url,
            runtime=Runtime(wrap=wrap or tap.around),
            **settings,
        )
        made.tap = tap
        return made

    return limiter


def dated(make, **settings):
    """A limiter whose answers' dates may be made odd."""
    stores = []

    def wrap(store):
        stores.append(Dating(store))
        return stores[0]

    return make(wrap=wrap, **settings), stores[0]


@pytest.mark.parametrize("shift", [HOUR, -HOUR])
def test_one_odd_date_amid_an_attempt_charges_no_other_time(make, shift):
    limiter, store = dated(make, rate=10, burst=50)
    other = make(rate=10, burst=50)
    limiter.set_policy(Limit(10, burst=50))
    limiter.status()  # it knows the policy and the time now, and of no charge
    began = time.monotonic()
    assert other.try_acquire(30), "so that the next guess is refused, and put right"
    store.odd, store.shift, store.sent = 1, shift, 0
    assert limiter.try_acquire()
    assert store.odd == 0
    assert store.sent == 2, "the estimate of the time follows the steady clock while answers contradict one another"
    status = other.status()
    assert status.wait_seconds == 0
    # 31 of 50 are charged, at their own time. A guess at it may be off by the second that a Date is cut to: 10 permits.
    assert 9 <= status.available <= 29 + 10 * (time.monotonic() - began)


def test_while_answers_disagree_it_is_charged_by_the_time_as_it_was_known(make):
    limiter, store = dated(make, rate=10, burst=50)
    other = make(rate=10, burst=50)
    limiter.status()
    began = time.monotonic()
    assert other.try_acquire(30), "so that the guess is refused"
    store.scattered = True
    limiter.acquire(timeout=0)
    status = other.status()
    assert status.wait_seconds == 0
    assert 9 <= status.available <= 29 + 10 * (time.monotonic() - began)


def test_without_time_to_wait_what_is_there_is_had(make):
    limiter = make(rate=100, burst=6, per=HOUR)
    for _ in range(5):
        limiter.acquire(timeout=0)
    with contextlib.suppress(AcquireTimeout):
        limiter.acquire(timeout=0)  # the sixth is there or not: the guess at the time may fall as it gets better
    with pytest.raises(AcquireTimeout):
        limiter.acquire(timeout=0)


def test_an_outage_is_told_to_the_first_in_line_and_to_those_behind(make):
    limiter = make(rate=10, burst=100)
    limiter.acquire()
    limiter.tap.everything_fails = LOST
    told = []

    def wait(seconds):
        try:
            limiter.acquire(timeout=seconds)
        except StoreUnavailable as error:
            told.append(error)

    threads = [threading.Thread(target=wait, args=(seconds,)) for seconds in (6.0, 3.0)]
    threads[0].start()
    eventually(lambda: wanted(limiter) == 1)
    threads[1].start()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        limiter.try_acquire()
    assert time.monotonic() - began < 8.0
    for thread in threads:
        thread.join(60)
    assert len(told) == 2


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_limiter_that_is_closed_during_a_charge_admits_nobody_by_it(make, prefetch):
    limiter = make(rate=1, burst=10, per=HOUR, prefetch=prefetch)
    limiter.acquire()
    limiter.tap.inject(Charge, after=lambda _: limiter.close())
    with pytest.raises(ConfigurationError, match="closed"):
        limiter.acquire(5)


def test_a_limiter_that_is_closed_while_its_answers_are_lost_sends_no_more(make):
    limiter = make(rate=1, burst=10, per=HOUR)
    limiter.acquire()
    limiter.tap.clear()
    limiter.tap.inject(Charge, answer=LOST, after=lambda _: limiter.close())
    with pytest.raises(ConfigurationError, match="closed"):
        limiter.acquire(5)
    assert limiter.tap.count() == {"Charge": 1}


def test_no_process_can_take_more_than_a_year_in_advance(make):
    with pytest.raises(ConfigurationError, match="year"):
        make(rate=1, prefetch=10**30)
    make(rate=1_000, prefetch=1_000)


def test_a_limiter_with_several_limits_prefetches_nothing_and_says_so_when_it_is_made(make):
    limits = {"requests": Limit(5), "tokens": Limit(5)}
    with pytest.raises(ConfigurationError, match="prefetch is for a limiter with one limit"):
        make(rate=None, burst=None, limits=limits, prefetch=5)
    make(rate=None, burst=None, limits={"requests": Limit(5)}, prefetch=5)


class Seats(enum.IntEnum):
    FIVE = 5


class Float64(float):
    """As numpy's, whose repr is no number's."""

    def __repr__(self):
        return f"np.float64({float(self)})"


@pytest.mark.parametrize("rate", [Seats.FIVE, Float64(5.0)], ids=str)
def test_numbers_of_other_types_are_what_they_stand_for(make, rate):
    assert make(rate=rate, per=HOUR).status().rate == 5


@pytest.mark.parametrize("wrong", [10**400, float("inf"), float("nan"), -1, 0, True, "5", None], ids=str)
def test_what_is_no_rate_is_refused(make, wrong):
    with pytest.raises(ConfigurationError):
        make(rate=wrong)
    with pytest.raises(ConfigurationError):
        make(rate=1, per=wrong)


def test_a_window_with_a_shorter_period_than_the_stored_one_takes_no_more_time_for_an_answer(make):
    make(SlidingWindow, max_tokens=2, period=30).acquire()
    hasty = make(SlidingWindow, max_tokens=2, period=1)
    began = time.monotonic()
    for kind in (Claim, Mint, Create):
        hasty.tap.inject(kind, after=lambda _: time.sleep(1.5))
    assert not hasty.try_acquire() or time.monotonic() - began > 1.5
    assert hasty.tap.count().get("Release", 0) >= 1, "the permit came too late, and is given back unused"


def test_in_a_forked_child_no_lock_of_its_parents_is_waited_for(make, in_thread):
    limiter = make(rate=100, burst=50)
    assert limiter.try_acquire()
    core = core_of(limiter)
    with every_lock_held(core.state, core.state.rate_time, core.state.time):
        core.after_fork_in_child()
        assert in_thread(limiter.try_acquire).result(20)
        assert in_thread(limiter.acquire).result(20) is None


def test_a_waiter_that_is_interrupted_as_it_leaves_the_queue_blocks_no_other(make, monkeypatch):
    limiter = make(rate=100, burst=50)
    leave, interrupts = KeyBook.leave, [KeyboardInterrupt()]

    def interrupted(self, waiter):
        if interrupts:
            raise interrupts.pop()
        return leave(self, waiter)

    monkeypatch.setattr(KeyBook, "leave", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:  # kept with its frames, and all that they refer to
        limiter.acquire(timeout=5)
    assert caught.value.__traceback__ is not None
    assert not interrupts
    limiter.acquire(timeout=0)
