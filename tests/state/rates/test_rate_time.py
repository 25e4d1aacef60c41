"""The slewed time of rates: it never jumps, it never runs fast for long, and it stays within what is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._state.offset import Interval
from ddb_lease._state.rates.rate_time import AHEAD_SECONDS, BEHIND_SECONDS, SLOWER, Estimate, RateTime
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.models import OSCILLATOR_DRIFT
from tests.support import MovableClock, every_lock_held

NS = 1_000_000_000


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def source(clock):
    return ServiceTime(clock)


@pytest.fixture
def time(source):
    return RateTime(source)


def answered(source, clock, *, off=0.0, took=0.0):
    """An answer of a service whose clock is the machine's wall clock, and off by so much."""
    sent = source.steady()
    clock.pass_time(took)
    source.observe(sent=sent, received=source.steady(), date=float(int(clock.wall() + off)))


def known(source, clock, *, off=0.0, answers=3):
    for _ in range(answers):
        answered(source, clock, off=off)
        clock.pass_time(0.3)


def bounds_at(now, low, high):
    return Interval(low, high, now)


steps = st.lists(
    st.tuples(st.floats(0.0, 100.0), st.none() | st.tuples(st.floats(-3.0, 3.0), st.floats(0.0, 2.0))), max_size=30
)


@given(steps)
def test_the_estimate_is_monotone_and_its_speed_is_bounded(taken):
    estimate, now = Estimate.first(bounds_at(100.0, 0.0, 1.0)), 100.0
    for elapsed, told in taken:
        now += elapsed
        bounds = None if told is None else bounds_at(now, told[0], told[0] + told[1])
        if bounds and (estimate.offset - bounds.high > AHEAD_SECONDS or bounds.low - estimate.offset > BEHIND_SECONDS):
            estimate = estimate.moved(bounds, now=now)  # a fault: it steps
            continue
        moved = estimate.moved(bounds, now=now)
        passed = elapsed + moved.offset - estimate.offset
        assert elapsed * (1 - SLOWER) - 1e-9 <= passed <= elapsed * (1 + OSCILLATOR_DRIFT) + 1e-9
        estimate = moved


@given(steps)
def test_the_estimate_never_leaves_bounds_that_it_was_in(taken):
    estimate, now = Estimate.first(bounds_at(100.0, 0.0, 1.0)), 100.0
    for elapsed, told in taken:
        now += elapsed
        if told is None:
            continue
        bounds = bounds_at(now, told[0], told[0] + told[1])
        inside = bounds.low <= estimate.offset <= bounds.high
        moved = estimate.moved(bounds, now=now)
        if inside:
            assert moved.offset == estimate.offset
        else:
            clamped = min(max(moved.offset, bounds.low), bounds.high)
            assert abs(moved.offset - clamped) <= abs(estimate.offset - clamped), "towards them, and not across"
        estimate = moved


def test_it_runs_slower_until_it_is_within_the_bounds():
    estimate = Estimate.first(bounds_at(0.0, 0.0, 1.0))
    half = estimate.moved(bounds_at(0.5, 0.0, 0.5), now=0.5)
    assert half.offset == pytest.approx(1.0 - 0.5 * SLOWER)
    assert half.moved(bounds_at(20.0, 0.0, 0.5), now=20.0).offset == 0.5


def test_where_it_is_behind_it_runs_faster_by_the_drift_and_no_more():
    estimate = Estimate(offset=0.0, at=0.0)
    assert estimate.moved(bounds_at(100.0, 0.5, 1.0), now=100.0).offset == pytest.approx(100.0 * OSCILLATOR_DRIFT)


def test_a_clock_that_stood_still_is_made_up_for_at_once():
    estimate = Estimate(offset=0.0, at=0.0)
    assert estimate.moved(bounds_at(1.0, 60.0, 61.0), now=1.0).offset == 60.0


def test_wrong_first_answers_are_given_up_at_once():
    estimate = Estimate(offset=3_600.0, at=0.0)
    assert estimate.moved(bounds_at(1.0, 0.0, 1.0), now=1.0).offset == 1.0


def test_answers_that_contradict_one_another_move_nothing():
    estimate = Estimate(offset=0.5, at=0.0)
    after = estimate.moved(None, now=10.0)
    assert after.offset == 0.5
    assert after.moved(bounds_at(10.5, -2.0, -1.0), now=10.5).offset == pytest.approx(0.5 - 0.5 * SLOWER)


def test_it_is_not_known_before_two_answers_agree(time, source, clock):
    assert time.now_ns() is None
    answered(source, clock)
    assert time.now_ns() is None
    answered(source, clock)
    assert abs(time.now_ns() - clock.wall() * NS) <= NS


def test_it_stays_known_while_answers_contradict_and_after_hours_of_silence(time, source, clock):
    known(source, clock)
    before = time.now_ns()
    answered(source, clock, off=3_600.0)
    assert source.doubtful
    clock.pass_time(1.0)
    assert time.now_ns() - before == pytest.approx(NS, abs=NS / 1000)
    clock.pass_time(20_000.0)
    assert time.now_ns() - before == pytest.approx(20_001 * NS, abs=NS / 1000)


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5, 0.99])
def test_it_converges_to_the_services_time_from_above(time, source, clock, phase):
    clock.pass_time(phase)
    known(source, clock)
    errors = []
    for _ in range(60):
        clock.pass_time(0.37)
        answered(source, clock)
        errors.append(time.now_ns() - clock.wall() * NS)
    assert all(error > -NS / 1000 for error in errors)
    assert errors == sorted(errors, reverse=True) or max(errors) - min(errors) < NS
    assert errors[-1] < 0.1 * NS
    assert time.uncertainty_ns() < 0.2 * NS


def test_the_uncertainty_covers_the_truth(time, source, clock):
    assert time.uncertainty_ns() == 0
    known(source, clock)
    assert abs(time.now_ns() - clock.wall() * NS) <= time.uncertainty_ns() + 1_000


def test_without_dates_it_goes_by_the_wall_clock(time, source, clock):
    for _ in range(3):
        source.observe(sent=source.steady(), received=source.steady(), date=None)
    assert abs(time.now_ns() - clock.wall() * NS) <= source.max_clock_skew * NS + 1_000


def test_a_forked_child_can_read_it(time, source, clock, in_thread):
    known(source, clock)
    time.now_ns()
    with every_lock_held(time) as locks:  # as threads of the parent may
        assert locks == 2
        source.after_fork_in_child()
        time.after_fork_in_child()
        assert in_thread(time.now_ns).result(20) is not None
