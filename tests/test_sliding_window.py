"""A sliding window: never more than its permits in any period, by true time, and all of them in each."""

from __future__ import annotations

from random import Random

import pytest

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    RateTimeout,
    SlidingWindow,
    StoreUnavailable,
    Timing,
    UnknownBucket,
    WindowDecision,
)
from ddb_lease._protocol.messages import Claim, Look, Mint, Release
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state import log
from ddb_lease.testing.manual_heartbeat import ManualHeartbeats
from tests.conftest import TABLE
from tests.support import LOST, UNSENT, DatedTap, SteppingWakeup, eventually

PERIOD = 20.0
ANY = 1.0
"""Seconds: as far as the front ends of the service may be apart."""

CONTRACT = True  # the simulator's DynamoDB alone, as it is quick
NOT_ON = ("embedded", "ministack")
"""What engines do with a claim is tried elsewhere."""


@pytest.fixture
def windows(engine, session, bucket_name, environment, table):
    """Makes clients of this test's window on the environment's clock: three permits in any twenty seconds."""
    made = []

    def make(**arguments):
        tap = DatedTap(environment.clock)
        runtime = Runtime(
            clock=environment.clock,
            chance=Random(),
            heartbeats=ManualHeartbeats(environment.clock),
            wrap=tap.around,
            wakeup=lambda: SteppingWakeup(environment),
        )
        settings = {"max_tokens": 3, "period": PERIOD, "timing": Timing(front_end_skew=ANY)} | arguments
        window = SlidingWindow(
            bucket_name,
            table=TABLE,
            session=session,
            endpoint_url=engine.endpoint_url,
            runtime=runtime,
            **settings,
        )
        window.tap = tap
        window.heartbeats = runtime.heartbeats
        made.append(window)
        return window

    yield make
    for window in made:
        window.close()


def test_all_permits_may_come_at_once_and_no_more(windows):
    assert [windows().try_acquire() for _ in range(5)] == [True] * 3 + [False] * 2


def test_a_permit_comes_back_after_the_period_and_soon(windows, environment):
    window = windows()
    window.acquire()
    used = environment.clock.steady()
    assert window.try_acquire()
    assert window.try_acquire()
    window.acquire(timeout=60)
    assert PERIOD < environment.clock.steady() - used < PERIOD + 5


@pytest.mark.parametrize("seed", range(6))
def test_never_more_than_its_permits_in_any_period_of_true_time(windows, environment, seed):
    """Front ends a second apart, answers that take their time, and clients that come and go."""
    chance, clients, used = Random(seed), [windows() for _ in range(3)], []
    while len(used) < 30:
        environment.clock.pass_time(chance.choice([0.05, 0.3, 1.0]))
        if chance.random() < 0.05:
            clients[chance.randrange(3)] = windows()
        client = chance.choice(clients)
        client.tap.odd = [chance.choice([-ANY / 2, ANY / 2]) for _ in range(8)]
        client.tap.faults = []
        if chance.random() < 0.4:
            late = chance.choice([0.2, 0.9, 0.99, 1.5])
            for kind in (Claim, Mint):
                client.tap.inject(kind, after=lambda _, late=late: environment.clock.pass_time(late))
        try:
            had = client.try_acquire()
        except StoreUnavailable:  # the times that it got contradict each other
            continue
        if had:
            used.append(environment.clock.steady())
    assert all(later - earlier >= PERIOD for earlier, later in zip(used, used[3:], strict=False))


def test_a_slot_is_not_had_again_before_the_period_is_over_since_the_latest_use(windows, environment):
    """The worst case: a claim by the slowest front end's clock, used as late as it may be; the next by the fastest's."""
    slow, fast = windows(max_tokens=1), windows(max_tokens=1)
    slow.tap.odd = [-ANY / 2] * 20
    slow.tap.inject(Claim, after=lambda _: environment.clock.pass_time(0.95))
    environment.clock.pass_time(0.999)  # the Date lags most
    slow.acquire()
    used = environment.clock.steady()
    fast.tap.odd = [ANY / 2] * 10_000
    while not fast.try_acquire():
        environment.clock.pass_time(0.02)
    assert environment.clock.steady() - used >= PERIOD


def test_an_answer_may_take_most_of_a_second(windows, environment):
    window = windows()
    window.try_acquire()
    window.tap.clear()
    window.tap.inject(Claim, after=lambda _: environment.clock.pass_time(0.95))
    assert window.try_acquire()
    assert window.tap.count()["Claim"] == 1


def test_a_permit_that_comes_too_late_is_not_used_and_given_back(windows, environment, table):
    window = windows()
    window.try_acquire()
    window.tap.clear()
    window.tap.inject(Claim, after=lambda _: environment.clock.pass_time(1.5))
    assert window.try_acquire()
    assert window.tap.count()["Claim"] == 2
    assert window.tap.count()["Release"] == 1
    assert sum("lease_id" in slot for slot in table.slots().values()) == 2


def test_a_machine_that_stood_still_uses_nothing_that_is_over(windows, environment, table):
    window = windows()
    assert window.try_acquire()
    window.tap.clear()
    window.tap.inject(Claim, after=lambda _: environment.clock.stand_still(8.0))
    assert window.try_acquire()
    assert (len(window.tap.of(Claim)), len(window.tap.of(Release))) == (2, 1)
    assert sum("lease_id" in slot for slot in table.slots().values()) == 2


def test_a_check_takes_a_permit_or_tells_when_the_first_comes_back(windows, environment):
    window = windows()
    assert window.check() == WindowDecision(allowed=True, retry_after=0.0)
    used = environment.clock.steady()
    environment.clock.pass_time(5)
    assert [window.check().allowed for _ in range(2)] == [True, True], "a check takes a permit, as a rate's does"
    denied = window.check()
    assert not denied.allowed
    assert window.status().free == 0
    lasts = PERIOD + ANY + 1  # and up to a second more, until it is certain by whole seconds of the service's time
    assert lasts <= environment.clock.steady() + denied.retry_after - used <= lasts + 2.5


@pytest.mark.parametrize("seed", range(8))
def test_who_comes_back_when_told_finds_a_permit_and_hardly_earlier(windows, environment, seed):
    chance, window = Random(seed), windows(max_tokens=2)
    for _ in range(12):
        environment.clock.pass_time(chance.uniform(0, 3))
        decision = window.check()
        if decision.allowed:
            continue
        early = decision.retry_after - 1.5
        if early > 0:
            environment.clock.pass_time(early)
            assert not window.check().allowed
            environment.clock.pass_time(1.5)
        else:
            environment.clock.pass_time(decision.retry_after)
        assert window.check().allowed


def test_a_waiting_check_waits_and_is_told_too(windows, environment):
    window = windows(max_tokens=1)
    assert window.check(timeout=60).allowed
    began = environment.clock.steady()
    denied = window.check(timeout=8)
    assert environment.clock.steady() - began >= 8
    assert PERIOD - 8 < denied.retry_after < PERIOD
    assert window.check(timeout=60).allowed
    assert environment.clock.steady() - began > PERIOD
    with pytest.raises(ConfigurationError, match="timeout must be"):
        window.check(timeout=-1)


def test_a_timeout_tells_when_the_first_comes_back_also_if_others_used_it(windows, environment, bucket_name):
    windows(max_tokens=1).acquire()
    environment.clock.pass_time(4)
    other = windows(max_tokens=1)
    with pytest.raises(
        RateTimeout, match=r"no permit of window .* within 5 s: the first one comes back in 1\ds$"
    ) as told:
        other.acquire(timeout=5)
    assert (told.value.rate, told.value.limit, told.value.key) == (bucket_name, "permits", "")
    assert PERIOD - 9 < told.value.retry_after < PERIOD - 4
    with pytest.raises(AcquireTimeout) as at_once:
        other.acquire(timeout=0)
    assert at_once.value.retry_after == pytest.approx(told.value.retry_after, abs=1.5)


def test_a_permit_that_was_given_back_is_not_told_of(windows, environment):
    window = windows(max_tokens=2)
    assert window.check().allowed
    environment.clock.pass_time(2)
    window.tap.inject((Claim, Mint), after=lambda _: environment.clock.pass_time(1.5))  # too late: given back
    assert window.check().allowed
    lasts = PERIOD + ANY + 1
    assert lasts - 4.5 <= window.check().retry_after <= lasts


def test_the_first_of_those_that_are_still_in_use_is_told_of(windows, environment):
    window, other = windows(max_tokens=1), windows(max_tokens=2)
    other.acquire()
    environment.clock.pass_time(6)
    other.acquire()
    assert not other.check().allowed
    environment.clock.pass_time(PERIOD - 2)
    assert other.check().allowed, "the first one is back"
    denied = other.check()
    assert not denied.allowed
    assert denied.retry_after < 10, "the second one's end, not the first one's"
    assert window.check().retry_after == pytest.approx(denied.retry_after, abs=1.5)


def test_where_every_answer_is_late_it_says_so(windows, environment):
    window = windows()
    assert window.try_acquire()
    environment.clock.pass_time(100)
    for _ in range(40):
        window.tap.inject(Claim, after=lambda _: environment.clock.pass_time(1.5))
    with pytest.raises((StoreUnavailable, AcquireTimeout)):
        window.acquire(timeout=30)


def test_an_outage_and_all_else_is_told_in_a_windows_words(windows, bucket_name, caplog):
    caplog.set_level("INFO", logger="ddb_lease")
    window = windows()
    with pytest.raises(UnknownBucket, match=f"^window '{bucket_name}' does not exist"):
        window.status()
    assert window.try_acquire()
    window.tap.everything_fails = UNSENT
    for ask in (lambda: window.acquire(timeout=5), window.try_acquire):
        with pytest.raises(StoreUnavailable, match=f"^no permit of window '{bucket_name}': Injected: no connection$"):
            ask()
    with pytest.raises(StoreUnavailable, match=f"^window '{bucket_name}' cannot be read: Injected: no connection$"):
        window.status()
    window.tap.everything_fails = None
    windows(max_tokens=4).try_acquire()
    window.close()
    with pytest.raises(ConfigurationError, match=f"^window '{bucket_name}' is closed"):
        window.try_acquire()
    assert log.flush(30)
    said = caplog.text
    assert f"window '{bucket_name}': no answer from DynamoDB for" in said
    assert f"window '{bucket_name}' exists with max_tokens=3" in said
    assert f"bucket '{bucket_name}'" not in said


def test_nothing_is_renewed_and_nothing_is_held(windows, environment, table):
    window = windows()
    assert window.try_acquire()
    before = table.all()
    assert window.heartbeats.leases() == []
    environment.clock.pass_time(PERIOD)
    window.close()
    assert table.all() == before, "not even closing gives anything back"


def test_there_is_no_release():
    assert not hasattr(SlidingWindow, "release")


def test_a_waiter_writes_nothing(windows, environment):
    window = windows()
    while window.try_acquire():
        pass
    window.tap.clear()
    with pytest.raises(AcquireTimeout, match=r"no permit of window .* within 10 s"):
        window.acquire(timeout=10)
    assert set(window.tap.count()) == {"Look"}


def test_a_permit_costs_one_write(windows, environment):
    window = windows()
    while window.try_acquire():
        pass
    environment.clock.pass_time(60)
    window.try_acquire()
    environment.clock.pass_time(60)
    window.tap.clear()
    window.try_acquire()
    window.try_acquire()
    assert window.tap.count()["Claim"] == 2
    assert len(window.tap.of(Look)) <= 2


def test_a_lost_answer_costs_no_permit(windows):
    window = windows()
    window.try_acquire()
    window.tap.inject(Claim, answer=LOST)
    assert [window.try_acquire() for _ in range(3)] == [True, True, False]


def test_a_window_with_a_shorter_period_is_refused_and_with_a_longer_one_used(windows):
    assert windows().try_acquire()
    with pytest.raises(ConfigurationError, match="a period of 60 s needs"):
        windows(period=60).try_acquire()
    assert windows(period=10).try_acquire()


def test_its_status_is_that_of_its_slots(windows):
    window = windows()
    window.try_acquire()
    status = window.status()
    assert (status.free, status.max_tokens) == (2, 3)
    assert [dict(used.data) for used in status.leases] == [{"ddb_lease": "permit"}], "not a lease that somebody holds"


def test_a_decorated_function_waits_for_a_permit(windows):
    @windows().limited(timeout=5)
    def work(number):
        """What it does."""
        return number

    assert [work(1), work(2), work(3)] == [1, 2, 3]
    assert work.__doc__ == "What it does."
    with pytest.raises(AcquireTimeout):
        work(4)


@pytest.mark.parametrize("period", [0, -1, float("nan"), 301 * 86_400, True, "60"])
def test_a_period_that_cannot_work_is_refused(windows, period):
    with pytest.raises(ConfigurationError, match="period must be"):
        windows(period=period)
    with pytest.raises(ConfigurationError, match="timeout must be"):
        windows().acquire(timeout=-1)


def test_a_closed_window_admits_nobody(windows):
    with windows() as window:
        window.close()
        with pytest.raises(ConfigurationError, match="is closed"):
            window.try_acquire()


def test_a_short_period_and_a_long_one_work(windows):
    assert windows(period=0.5).try_acquire()


def test_threads_share_a_window(windows, in_thread):
    window = windows()
    tries = [in_thread(window.try_acquire) for _ in range(8)]
    eventually(lambda: all(each.done() for each in tries))
    assert sum(each.result() for each in tries) <= 3
