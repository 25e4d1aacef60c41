"""The service's time: bounds that hold for every honest answer, and that no single wrong answer moves."""

import itertools
import logging
import math
import random
import sys
import threading
import time as system_time
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddb_lease._protocol.lease_state import Belief
from ddb_lease._protocol.messages import Done
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._state.offset import AGREEING, WINDOW, Evidence, Interval, Offset
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.models import OSCILLATOR_DRIFT, Timing
from tests.support import MovableClock, every_lock_held

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=300)
SKEW = 1.0  # how far front ends may differ, by default
TIMEOUT = 3.0  # the longest that a request may take to connect, and again for each read
EPSILON = 1e-5  # seconds; what floats lose on numbers of 1.8e9
YEAR = 365 * 86_400.0

seconds = st.floats(allow_nan=False, allow_infinity=False)
latencies = st.one_of(st.floats(0.0, 0.3), st.floats(0.0, 2 * TIMEOUT))
rates = st.floats(-OSCILLATOR_DRIFT, OSCILLATOR_DRIFT)


@dataclass
class Service:
    """A service whose clock runs at its own rate beside a client's; it answers as the real one does."""

    clock: MovableClock
    ahead: float = 1_799_999_000.0  # of the steady clock, at its start: the client's wall clock is right
    rate: float = 0.0  # how much faster it runs than the client's steady clock
    stalled: float = 0.0
    since: float = field(default=math.nan)

    def __post_init__(self):
        self.since = self.clock.steady()

    def time(self):
        steady = self.clock.steady()
        return steady + self.ahead + self.stalled + self.rate * (steady - self.since)

    def stand_still(self, missed):
        """The client's machine is paused, and its steady clock with it."""
        self.stalled += missed
        self.clock.stand_still(missed)

    def answer(self, time, *, there=0.01, back=0.01, odd=0.0):
        """One request: `there` seconds out, `back` seconds back. `odd`: by how much its Date is wrong."""
        sent = time.steady()
        self.clock.pass_time(there)
        date = math.floor(self.time() + odd)
        self.clock.pass_time(back)
        return time.observe(sent=sent, received=time.steady(), date=float(date))


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def service(clock):
    return Service(clock)


@pytest.fixture
def time(clock):
    return ServiceTime(clock)


def is_within(time, service):
    low, high = time.now_ms()
    return low - EPSILON <= service.time() * 1000 <= high + EPSILON


def reckoned(time):
    """The offset that something written now is reckoned with."""
    return time.now_ms()[1] / 1000 - time.steady()


# Bounds.


@REPEATABLE
@given(
    rate=rates,
    ahead=st.floats(1e9, 3e9),
    answers=st.lists(st.tuples(st.floats(0.0, 300.0), latencies, latencies), min_size=1, max_size=12),
    afterwards=st.floats(0.0, 86_400.0),
)
@example(rate=OSCILLATOR_DRIFT, ahead=1.7e9 + 0.999999, answers=[(0.0, 0.0, 2 * TIMEOUT)], afterwards=0.0)
def test_the_services_time_is_within_the_bounds_for_every_honest_sequence(rate, ahead, answers, afterwards):
    clock = MovableClock()
    service, time = Service(clock, ahead=ahead, rate=rate), ServiceTime(clock)
    for pause, there, back in answers:
        clock.pass_time(pause)
        service.answer(time, there=there, back=back)
        assert is_within(time, service)
        assert not time.doubtful
    written = reckoned(time)
    clock.pass_time(afterwards)
    assert is_within(time, service)
    assert time.late_by(written) == 0.0, "nothing stood still, so no deadline moves"


def test_a_bound_is_not_rounded_beyond_what_it_bounds(clock, time):
    service = Service(clock, ahead=1_700_000_000.0 - clock.steady())
    service.answer(time, there=0.0, back=0.0)  # stamped on the very second: the lower bound is the truth
    clock.pass_time(0.0005)
    assert is_within(time, service)


def test_bounds_narrow_with_each_answer_to_what_all_of_them_allow(clock, service, time):
    widths = []
    for _ in range(50):
        service.answer(time, there=0.005, back=0.005)
        low, high = time.now_ms()
        widths.append(high - low)
        clock.pass_time(0.37)
    assert 1010 <= widths[0] <= 1012
    assert widths[1] < 2 * 1012, "two answers stand for each bound"
    drift = 50 * 0.4 * 2 * OSCILLATOR_DRIFT * 1000
    assert all(later <= earlier + drift for earlier, later in itertools.pairwise(widths[1:]))
    assert widths[-1] < 100, "some Date changed just before, some just after the answer was made"


def test_bounds_widen_by_200_ppm_of_the_time_since_the_last_answer(clock, service, time):
    service.answer(time)
    before_low, before_high = time.now_ms()
    clock.pass_time(10_000.0)
    low, high = time.now_ms()
    assert before_low + 10_000_000 - low == pytest.approx(2_000, abs=2)
    assert high - before_high - 10_000_000 == pytest.approx(2_000, abs=2)


def test_an_interval_does_not_shrink_when_an_answer_arrives_out_of_order():
    interval = Interval(1.0, 2.0, at=100.0).widened(90.0)
    assert (interval.low, interval.high) == (1.0, 2.0)


@given(st.data())
@REPEATABLE
def test_meeting_and_hull_are_what_both_and_what_either_allow(data):
    def interval():
        low, high = sorted((data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9))))
        return Interval(low, high, at=0.0)

    one, other = interval(), interval()

    def in_it(i):
        return {x for x in range(-10, 11) if i is not None and i.low <= x <= i.high}

    assert in_it(one.meet(other)) == in_it(one) & in_it(other)
    assert in_it(one.hull(other)) >= in_it(one) | in_it(other)
    assert {one.hull(other).low, one.hull(other).high} <= {one.low, one.high, other.low, other.high}


def test_of_two_answers_neither_stands_alone_for_a_bound():
    both = Evidence.of(Interval(0.0, 2.0, at=100.0)).joined(Interval(1.0, 3.0, at=100.0))
    assert both.allowed_by(1, 100.0) == Interval(1.0, 2.0, at=100.0)
    assert both.allowed_by(2, 100.0) == both.allowed_by(3, 100.0) == Interval(0.0, 3.0, at=100.0)


@given(st.lists(st.tuples(st.integers(-9, 0), st.integers(0, 9)), min_size=1, max_size=8), st.permutations(range(8)))
@REPEATABLE
def test_a_bound_that_three_answers_support_stays_when_any_two_of_them_are_taken_away(answers, order):
    samples = [Interval(float(low), float(high), at=0.0) for low, high in answers]  # all of them fit 0
    evidence = Evidence.of(samples[0])
    for sample in samples[1:]:
        evidence = evidence.joined(sample)
    assert evidence == Evidence.of(*(samples[at] for at in order if at < len(samples))), "the order does not matter"
    for supporters in (1, 2, 3):
        bounds = evidence.allowed_by(supporters, 0.0)
        assert sum(sample.low >= bounds.low for sample in samples) >= min(supporters, len(samples))
        assert sum(sample.high <= bounds.high for sample in samples) >= min(supporters, len(samples))
        assert bounds.low <= 0.0 <= bounds.high
    assert evidence.certain == (len(samples) >= AGREEING)


def test_nothing_is_known_before_the_first_answer(time):
    assert not time.known
    assert not time.confirmed
    with pytest.raises(RuntimeError, match="not known before its first answer"):
        time.now_ms()


@REPEATABLE
@given(steps=st.lists(st.floats(-YEAR, YEAR), min_size=1, max_size=5))
def test_a_stepped_wall_clock_changes_nothing(steps):
    clock = MovableClock()
    service, time = Service(clock), ServiceTime(clock)
    service.answer(time)
    before = time.now_ms()
    for step in steps:
        clock.step_wall(step)
        assert time.now_ms() == before
        assert time.steady() == clock.steady()


# The first answers.


def test_the_first_answer_alone_shows_no_lease_as_expired(clock, service, time):
    service.answer(time)
    assert time.known
    assert not time.confirmed
    assert time.expired_before_ms() == 0
    clock.pass_time(1.0)
    service.answer(time)
    assert time.confirmed, "enough for a claim of a free slot"
    assert not time.certain
    assert time.expired_before_ms() == 0, "two wrong ones must not steal a lease"
    clock.pass_time(1.0)
    service.answer(time)
    assert time.certain
    assert 1e12 < time.expired_before_ms() <= time.now_ms()[0]


@pytest.mark.parametrize(("wrong", "objects"), [(0.0, False), (1.9, False), (-1.9, False), (4.0, True), (-4.0, True)])
def test_a_wall_clock_that_says_otherwise_asks_for_a_third_answer_and_can_do_no_more(
    clock, service, time, wrong, objects
):
    clock.step_wall(wrong)
    service.answer(time)
    assert not time.confirmed
    service.answer(time)
    before = time.now_ms()
    assert time.confirmed == time.read().confirmed == (not objects)
    assert time.expired_before_ms() == 0, "that it agrees shows nothing"
    service.answer(time)
    assert time.confirmed
    assert time.certain
    assert time.now_ms() == pytest.approx(before, abs=100)


@REPEATABLE
@given(odd=st.one_of(st.floats(5.0, 10 * YEAR), st.floats(-10 * YEAR, -5.0)), answers=st.integers(0, 8))
def test_an_odd_first_answer_steals_nothing_and_is_overruled(odd, answers):
    clock = MovableClock()
    service, time = Service(clock), ServiceTime(clock)
    service.answer(time, odd=odd)
    assert time.expired_before_ms() == 0
    for number in range(1, answers + 1):
        clock.pass_time(0.2)
        service.answer(time)
        assert time.expired_before_ms() <= service.time() * 1000
        assert (time.expired_before_ms() > 0) == (number >= 3), (
            "steals nothing, and blinds until three stand against it"
        )
        assert is_within(time, service)


# Odd answers.


def test_two_odd_answers_do_not_outvote_two_honest_ones_between_them(clock, service, time):
    for odd in (9.0, 0.0, 0.0, 9.0):
        service.answer(time, odd=odd)
        clock.pass_time(0.2)
    assert time.expired_before_ms() <= service.time() * 1000


@REPEATABLE
@given(
    odd=st.one_of(st.floats(3.0, 10 * YEAR), st.floats(-10 * YEAR, -3.0)),
    before=st.integers(2, 6),
    after=st.integers(1, 5),
)
def test_one_odd_date_neither_makes_a_lease_look_expired_nor_blinds(odd, before, after):
    clock = MovableClock()
    service, time = Service(clock), ServiceTime(clock)
    for _ in range(before):
        service.answer(time)
        clock.pass_time(0.3)
    trusted = time.expired_before_ms()
    assert service.answer(time, odd=odd), "heartbeats should look again"
    assert time.doubtful
    assert is_within(time, service), "the truth stays within the hull"
    assert time.expired_before_ms() <= service.time() * 1000
    for number in range(after):
        clock.pass_time(0.3)
        assert service.answer(time) == (number == 0), "told when the doubt ends"
        assert not time.doubtful, "the next honest answer ends the doubt"
        assert is_within(time, service)
        assert service.time() * 1000 - time.expired_before_ms() < 1100, "an expired lease is seen as such again"
    assert time.expired_before_ms() > trusted
    assert time.steady() == clock.steady()


@REPEATABLE
@given(
    odds=st.lists(st.one_of(st.just(0.0), st.floats(10.0, YEAR), st.floats(-YEAR, -10.0)), min_size=1, max_size=15),
)
def test_scattered_odd_dates_never_outvote_what_was_known(odds):
    # Wrong answers that all differ do not agree with one another, however many there are.
    clock = MovableClock()
    service, time = Service(clock), ServiceTime(clock)
    service.answer(time)
    service.answer(time)
    for number, odd in enumerate(odds):
        clock.pass_time(0.2)
        service.answer(time, odd=odd and odd + math.copysign(number * 2 * YEAR, odd))
        assert time.expired_before_ms() <= service.time() * 1000
        assert is_within(time, service)
    assert time.steady() == clock.steady()


@pytest.mark.parametrize("odd", [-3600.0, 3600.0])
def test_three_answers_that_agree_with_one_another_are_believed(clock, service, time, odd):
    for _ in range(3):
        service.answer(time)
        clock.pass_time(0.1)
    for number in range(1, AGREEING + 1):
        service.answer(time, odd=odd)
        clock.pass_time(0.1)
        assert time.doubtful == (number < AGREEING)
    low, high = time.now_ms()
    assert low <= (service.time() + odd) * 1000 <= high
    assert high - low < 1200


def test_odd_answers_that_contradict_one_another_begin_to_count_anew(clock, service, time):
    for odd in (0.0, 0.0, 100.0, 100.0, 900.0, 900.0):
        service.answer(time, odd=odd)
        clock.pass_time(0.1)
    assert time.doubtful
    assert is_within(time, service)
    service.answer(time, odd=900.0)
    assert not time.doubtful


def test_doubt_covers_all_that_was_said_since_the_first_contradiction(clock, service, time):
    for odd in (0.0, 0.0, 3600.0, -3600.0):
        service.answer(time, odd=odd)
        clock.pass_time(0.1)
    low, high = time.now_ms()
    assert low <= (service.time() - 3600.0) * 1000
    assert (service.time() + 3600.0) * 1000 <= high


def test_an_answer_that_fits_what_was_known_and_its_rival_ends_no_doubt(clock, service, time):
    for odd in (0.0, 0.0, 0.0, 3.0):
        service.answer(time, odd=odd)
    assert time.doubtful
    service.answer(time, there=4.0, back=0.0)  # so slow that both may be right
    assert time.doubtful
    service.answer(time, odd=3.0)
    assert not time.doubtful, "three answers agree with one another"
    assert time.now_ms()[0] > service.time() * 1000, "and they are believed"
    assert time.expired_before_ms() <= service.time() * 1000, "except where a lease would be stolen"
    assert time.read().latest_ms >= service.time() * 1000, "or extended"


@REPEATABLE
@given(
    before=st.lists(st.tuples(st.floats(0.0, 86_400.0), latencies, latencies), max_size=8),
    there=latencies,
    back=latencies,
    odd=st.one_of(st.floats(-20.0, 20.0), st.floats(-YEAR, YEAR)),
    after=st.lists(st.tuples(st.floats(0.0, 86_400.0), latencies, latencies), max_size=8),
    rate=rates,
)
@example(  # half a day idle: the bounds are 10 s wide, and the odd answer fits
    before=[(0.0, 0.01, 0.01)] * 3 + [(43_200.0, 0.01, 0.01)], there=0.01, back=0.01, odd=4.0, after=[], rate=0.0
)
@example(before=[(0.0, 2.9, 0.02)], there=0.02, back=0.02, odd=2.9, after=[], rate=0.0)  # so slow that it fits
def test_one_odd_date_of_whatever_size_leaves_the_truth_within_the_bounds(*, before, there, back, odd, after, rate):
    clock = MovableClock()
    service, time = Service(clock, rate=rate), ServiceTime(clock)
    answers = 0
    for pause, out, home in before:
        clock.pass_time(pause)
        service.answer(time, there=out, back=home)
        answers += 1
    for pause, out, home, wrong in [(0.0, there, back, odd), *((*honest, 0.0) for honest in after)]:
        service.answer(time, there=out, back=home, odd=wrong)
        answers += 1
        assert time.expired_before_ms() <= service.time() * 1000 + EPSILON
        assert is_within(time, service) or answers == 1, "a first one is all that is known"
        clock.pass_time(pause)
        assert is_within(time, service) or answers == 1


@pytest.mark.parametrize("hours", [0.5, 2, 12, 48])
def test_bounds_that_idling_has_widened_are_to_be_asked_about(clock, service, time, hours):
    for _ in range(5):
        service.answer(time)
        clock.pass_time(0.3)
    assert not time.unsettled
    clock.pass_time(hours * 3600.0)
    assert time.unsettled == (hours > 1)
    for _ in range(2):
        service.answer(time)
        clock.pass_time(0.3)
    assert not time.unsettled, "two answers settle it"


def test_what_drift_explains_contradicts_nothing(clock, time):
    service = Service(clock, rate=OSCILLATOR_DRIFT)
    for _ in range(50):
        service.answer(time)
        clock.pass_time(0.37)
    clock.pass_time(86_400.0)  # the offset is 17 s off by now, and was known within a tenth of one
    service.answer(time)
    assert not time.doubtful


def test_contradicting_answers_are_to_be_asked_about(clock, service, time):
    assert not time.unsettled, "nothing is known yet: that is another question"
    for _ in range(20):
        service.answer(time)
        clock.pass_time(0.37)
    assert not time.unsettled
    service.answer(time, odd=-1.5)
    low, high = time.now_ms()
    assert high - low < 2_000, "not because of their width"
    assert time.doubtful
    assert time.unsettled


# Two odd answers that agree.


def situations():
    """Every order of up to five answers, honest, honest but slow, or wrong; two at most are wrong, and alike."""
    for length in range(1, WINDOW + 1):
        for kinds in itertools.product("hso", repeat=length):
            if kinds.count("o") <= 2:
                yield kinds


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("odd", [-7_200.0, -7.0, -1.6, 1.6, 2.5, 7.0, 7_200.0])
@pytest.mark.parametrize("before", ["nothing", "three answers", "idled for hours"])
def test_two_odd_dates_of_five_show_no_lease_as_expired_and_extend_none_in_any_order(before, odd, phase):
    for kinds in situations():
        clock = MovableClock()
        service, time = Service(clock, ahead=1_799_999_000.0 + phase), ServiceTime(clock)
        for _ in range(0 if before == "nothing" else 3):
            service.answer(time)
            clock.pass_time(0.1)
        clock.pass_time(3 * 3600.0 if before == "idled for hours" else 0.0)
        for kind in kinds:
            service.answer(time, there=3.0 if kind == "s" else 0.01, odd=odd if kind == "o" else 0.0)
            true_ms = service.time() * 1000 + EPSILON
            assert time.expired_before_ms() <= true_ms, kinds
            assert not time.certain or time.read().latest_ms >= true_ms - 2 * EPSILON, kinds
            assert time.read().expired_before_ms == time.expired_before_ms()
            assert time.late_by(reckoned(time)) >= 0.0, kinds
            clock.pass_time(0.1)
        if kinds.count("h") >= AGREEING and before == "nothing":
            assert time.certain, kinds
        doubtful = []
        for _ in range(AGREEING):
            service.answer(time)
            doubtful.append(time.doubtful)
            clock.pass_time(0.1)
        assert time.certain, kinds
        # One that nearly fits may be found out by the second or third honest answer only: a doubt that begins with them.
        assert doubtful in ([False] * 3, [True, False, False], [True, True, False]) or abs(odd) < 2.0, (kinds, doubtful)
        assert not all(doubtful), "three honest answers end any doubt, whatever came before"
        assert is_within(time, service), kinds
        lag = service.time() * 1000 - time.expired_before_ms()
        assert lag < (1_600 if abs(odd) > 2.0 else 2_700), "an expired lease is seen as such again"


@REPEATABLE
@given(
    # Sizes, and idling before them; honest ones have no size.
    odds=st.lists(st.one_of(st.none(), st.none(), st.sampled_from([-7.0, -2.0, 2.0, 7.0])), min_size=5, max_size=60),
    pauses=st.lists(st.sampled_from([0.0, 0.37, 0.37, 5_000.0]), min_size=60, max_size=60),
)
def test_two_odd_dates_of_any_five_in_a_row_show_no_lease_as_expired_however_many_there_are(odds, pauses):
    clock = MovableClock()
    service, time = Service(clock), ServiceTime(clock)
    given = []
    for odd, pause in zip(odds, pauses, strict=False):
        wrong = odd is not None and sum(other is not None for other in given[1 - WINDOW :]) < 2
        given.append(odd if wrong else None)
        service.answer(time, odd=odd if wrong else 0.0)
        # One that fits all honest answers since is wrong by no more than front ends may differ, and counts as honest.
        assert time.expired_before_ms() <= service.time() * 1000 + SKEW * 1000 + 50
        if not any(given[-10:]):
            assert time.expired_before_ms() <= service.time() * 1000 + EPSILON
        clock.pass_time(pause)


def test_the_seed_that_showed_what_two_odd_dates_can_do(clock, service, time):
    service.answer(time)
    for odd in (7.0, 6.0):
        service.answer(time, odd=odd)
        assert time.expired_before_ms() == 0, "neither side has three"
        assert time.doubtful
    service.answer(time)
    assert time.doubtful, "two against two"
    service.answer(time)
    assert not time.doubtful
    assert service.time() * 1000 - 1_100 < time.expired_before_ms() <= service.time() * 1000


@pytest.mark.parametrize("order", [order for order in itertools.product([0.0, 9.0], repeat=5) if sum(order) == 18.0])
def test_five_answers_in_any_order_settle_the_time(clock, service, time, order):
    for odd in order:
        service.answer(time, odd=odd)
    assert time.certain
    assert time.doubtful == (order[-1] > 0.0), "the last one may contradict the three before"
    assert is_within(time, service)


def test_of_two_answers_that_a_third_contradicts_neither_side_wins_until_it_has_three(clock, service, time):
    for odd in (9.0, 0.0, 9.0):
        service.answer(time, odd=odd)
    assert time.doubtful
    assert time.expired_before_ms() == 0
    low, high = time.now_ms()
    assert low <= service.time() * 1000 <= high


# A steady clock that stood still.


@REPEATABLE
@given(
    missed=st.floats(3.0, 30 * 86_400.0),
    before=st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 0.2), st.floats(0.0, 0.2)), min_size=2, max_size=8),
    after=st.lists(
        st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 0.2), st.floats(0.0, 0.2)), min_size=AGREEING, max_size=6
    ),
    rate=rates,
)
def test_a_clock_that_stood_still_brings_deadlines_forward_by_at_least_as_much(missed, before, after, rate):
    clock = MovableClock()
    service, time = Service(clock, rate=rate), ServiceTime(clock)
    for pause, there, back in before:
        service.answer(time, there=there, back=back)
        clock.pass_time(pause)
    written = reckoned(time)
    service.stand_still(missed)
    told = []
    for pause, there, back in after:
        clock.pass_time(pause)
        told.append(service.answer(time, there=there, back=back))
    late = time.late_by(written)
    assert service.time() - clock.steady() <= written + late + 2 * EPSILON, (
        "the offset is no higher than is allowed for"
    )
    assert late <= missed + 3.0
    assert told[0], "doubt has come up"
    assert told[AGREEING - 1], "deadlines have moved"
    assert is_within(time, service)


def test_deadlines_move_only_once_the_stall_is_confirmed_and_it_is_said(clock, service, time, caplog):
    for _ in range(AGREEING):
        service.answer(time)
    written = reckoned(time)
    service.stand_still(60.0)
    for _ in range(AGREEING - 1):
        service.answer(time)
        assert time.late_by(written) == 0.0
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        service.answer(time)
    assert 59.0 <= time.late_by(written) <= 61.0
    assert [r.getMessage().partition(" missed")[0] for r in caplog.records] == ["the steady clock of this machine"]


def test_what_was_written_after_a_stall_comes_no_earlier_for_it(clock, service, time):
    written = []
    for missed in (0.0, 30.0, 40.0):
        service.stand_still(missed)
        for _ in range(AGREEING + 1):
            service.answer(time)
            clock.pass_time(0.2)
        written.append(reckoned(time))
    late = [time.late_by(offset) for offset in written]
    assert late == [pytest.approx(70.0, abs=1.5), pytest.approx(40.0, abs=1.5), 0.0]


def test_an_odd_answer_after_a_stall_does_not_make_it_undone(clock, service, time):
    for _ in range(3):
        service.answer(time)
        clock.pass_time(0.2)
    written = reckoned(time)
    service.stand_still(30.0)
    for _ in range(AGREEING + 1):
        service.answer(time)
        clock.pass_time(0.2)
    late = time.late_by(written)
    assert late == pytest.approx(30.0, abs=1.5)
    service.answer(time, odd=-1_000.0)
    assert time.doubtful
    assert time.late_by(written) == pytest.approx(late, abs=0.1)


def test_a_slow_first_answer_does_not_hide_a_later_stall(clock, service, time):
    # The first answer, handshakes included, left the offset open by seconds; later ones have settled it.
    service.answer(time, there=2 * TIMEOUT, back=0.1)
    for _ in range(20):
        service.answer(time)
        clock.pass_time(1.37)
    low, high = time.now_ms()
    assert high - low < 250
    written = reckoned(time)
    service.stand_still(5.0)
    for _ in range(AGREEING + 2):
        clock.pass_time(0.37)
        service.answer(time)
    assert written + time.late_by(written) >= service.time() - clock.steady()


@pytest.mark.parametrize("days", [1, 14])
def test_a_stall_is_noticed_after_days_as_on_the_first(clock, service, time, days):
    for _ in range(days * 1440):
        service.answer(time)
        clock.pass_time(60.0)
    written = reckoned(time)
    service.stand_still(10.0)
    for _ in range(AGREEING + 2):
        clock.pass_time(0.37)
        service.answer(time)
    assert written + time.late_by(written) >= service.time() - clock.steady()


@REPEATABLE
@given(missed=st.floats(0.1, 4.0), phase=st.floats(0.0, 1.0))
def test_a_stall_of_a_second_or_two_brings_deadlines_forward_by_what_they_did_not_allow_for(missed, phase):
    clock = MovableClock()
    service, time = Service(clock, ahead=1.7e9 + phase), ServiceTime(clock)
    for _ in range(20):
        service.answer(time)
        clock.pass_time(0.37)
    written = reckoned(time)
    service.stand_still(missed)
    for _ in range(40):
        service.answer(time)
        clock.pass_time(0.37)
    assert written + time.late_by(written) >= service.time() - clock.steady() - 0.05
    assert is_within(time, service)


def _usual(clock, service, time):
    """Nothing out of the ordinary."""


def _front_end_ahead(clock, service, time):
    for _ in range(AGREEING + 1):
        service.answer(time, odd=1.0)
        clock.pass_time(0.37)


def _odd_after_idling(clock, service, time):
    clock.pass_time(7_200.0)
    service.answer(time, odd=1.3)
    clock.pass_time(0.37)


def _odd_but_fitting(clock, service, time):
    service.answer(time, odd=0.9)
    clock.pass_time(0.37)


@pytest.mark.parametrize("missed", [0.9, 1.0, 1.2])
@pytest.mark.parametrize("before", [_usual, _front_end_ahead, _odd_after_idling, _odd_but_fitting])
def test_whatever_was_said_before_a_stall_is_allowed_for_by_what_was_written_after_that(
    clock, service, time, before, missed
):
    def pass_usual_time():
        for _ in range(40):
            service.answer(time)
            clock.pass_time(0.37)

    pass_usual_time()
    before(clock, service, time)
    pass_usual_time()
    written = reckoned(time)
    service.stand_still(missed)
    pass_usual_time()
    assert written + time.late_by(written) >= service.time() - clock.steady() - 0.05


@pytest.mark.parametrize("answers", [AGREEING, 2 * AGREEING])
@pytest.mark.parametrize(("skew", "said"), [(0.0, True), (0.2, True), (2.0, False)])
def test_front_ends_that_differ_by_what_the_timing_says_are_no_missed_time(clock, caplog, skew, said, answers):
    service, time = Service(clock), ServiceTime(clock, front_end_skew=skew)
    for ahead in (0.0, 1.9, 0.0, 1.9):
        for _ in range(answers):
            service.answer(time, odd=ahead)
            clock.pass_time(0.37)
    assert bool(caplog.records) == said


@REPEATABLE
@given(
    apart=st.floats(0.0, SKEW),
    turns=st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.floats(0.0, 5.0)), min_size=1, max_size=60),
    latency=st.floats(0.0, 0.1),
)
@example(apart=SKEW, turns=[(n % 2 == 0, 5, 0.25) for n in range(60)], latency=0.0)
def test_front_ends_a_second_apart_move_no_deadline_by_more_than_that_however_often_they_take_turns(
    apart, turns, latency
):
    clock = MovableClock()
    service, time = Service(clock), ServiceTime(clock)
    lowest = math.inf
    for other, answers, pause in turns:
        for _ in range(answers):
            service.answer(time, there=latency, back=latency, odd=apart if other else 0.0)
            clock.pass_time(pause)
            low, high = time.now_ms()
            assert low - 1 <= (service.time() + apart) * 1000
            assert high + 1 >= service.time() * 1000
            lowest = min(lowest, reckoned(time))
            assert time.late_by(lowest) <= apart + 1.0 + 2 * latency + 0.1
    assert time.steady() == clock.steady()


# No Date.


def test_without_a_date_the_wall_clock_serves_and_one_warning_says_so(clock, caplog):
    time = ServiceTime(clock, max_clock_skew=7.0)
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        for _ in range(5):
            assert not time.observe(sent=clock.steady(), received=clock.steady(), date=None)
    assert len(caplog.records) == 1
    assert "7 s (max_clock_skew)" in caplog.text
    assert time.known
    assert time.confirmed
    wall = clock.wall() * 1000
    assert time.now_ms() == (wall - 7_000, wall + 7_000)
    assert time.expired_before_ms() == wall - 7_000


def test_one_answer_without_a_date_does_not_make_the_wall_clock_trusted(clock, service, time):
    clock.step_wall(-YEAR)
    for _ in range(2):
        time.observe(sent=clock.steady(), received=clock.steady(), date=None)
        assert not time.known
        assert not time.confirmed
    service.answer(time)
    assert is_within(time, service)


def test_the_wall_clock_serves_no_more_once_a_date_has_come(clock, service, time):
    time.observe(sent=clock.steady(), received=clock.steady(), date=None)
    clock.step_wall(-YEAR)
    service.answer(time)
    assert is_within(time, service)
    assert time.expired_before_ms() == 0, "one answer shows no lease as expired, here too"


def test_an_answer_without_a_date_among_others_changes_nothing(clock, service, time, caplog):
    service.answer(time)
    service.answer(time)
    before = time.now_ms()
    with caplog.at_level(logging.WARNING, "ddb_lease"):
        assert not time.observe(sent=clock.steady(), received=clock.steady(), date=None)
    assert time.now_ms() == before
    assert not caplog.records


@pytest.mark.parametrize("odd", [-7200.0, 7200.0, YEAR])
def test_one_answer_with_a_date_among_those_without_changes_nothing(clock, service, odd):
    time = ServiceTime(clock)

    def dateless():
        clock.pass_time(0.3)
        time.observe(sent=clock.steady(), received=clock.steady(), date=None)

    for _ in range(AGREEING):
        dateless()
    for _ in range(4):
        service.answer(time, odd=odd)
        wall = round(clock.wall() * 1000)
        assert time.now_ms() == pytest.approx((wall - 2_000, wall + 2_000), abs=1)
        assert not time.unsettled
        dateless()
    assert time.steady() == clock.steady()


@pytest.mark.parametrize("odd", [-7200.0, 7200.0, YEAR])
def test_a_first_date_that_no_other_confirms_blinds_nobody_for_ever(clock, service, odd, caplog):
    time = ServiceTime(clock)
    service.answer(time, odd=odd)
    for number in range(1, 2 * AGREEING):
        time.observe(sent=clock.steady(), received=clock.steady(), date=None)
        assert time.confirmed == (number >= AGREEING)
    assert time.expired_before_ms() == pytest.approx(clock.wall() * 1000 - 2_000, abs=1)
    assert len([r for r in caplog.records if "carry no Date" in r.getMessage()]) == 1


def test_answers_without_a_date_make_the_wall_clock_trusted_only_in_a_row(clock, service):
    time = ServiceTime(clock)
    for odd in (0.0, None, None, 4_000.0, None, None, -4_000.0, None, None):
        if odd is None:
            time.observe(sent=clock.steady(), received=clock.steady(), date=None)
        else:
            service.answer(time, odd=odd)
        assert not time.confirmed
        assert time.expired_before_ms() == 0
    time.observe(sent=clock.steady(), received=clock.steady(), date=None)
    assert time.confirmed


def test_dates_that_agree_replace_the_wall_clock(clock, service):
    time = ServiceTime(clock)
    clock.step_wall(-YEAR)
    for _ in range(AGREEING):
        time.observe(sent=clock.steady(), received=clock.steady(), date=None)
    for odd in (900.0, -900.0):
        assert not service.answer(time, odd=odd), "they contradict one another"
    for number in range(1, AGREEING + 1):
        assert not is_within(time, service)
        assert service.answer(time) == (number == AGREEING), "heartbeats should look again"
        clock.pass_time(0.3)
    assert is_within(time, service)
    assert time.confirmed


# The pure state machine.


def test_the_first_sample_is_the_first_state():
    sample = Interval(5.0, 6.0, at=100.0)
    state = Offset.first(sample)
    assert state.bounds(100.0) == state.strict_bounds(100.0) == sample
    assert (state.certain, state.doubt) == (False, None)


@REPEATABLE
@given(samples=st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 5), st.floats(0, 60)), min_size=2, max_size=20))
def test_bounds_are_never_empty_whatever_comes(samples):
    now, state = 0.0, None
    for low, width, later in samples:
        now += later
        sample = Interval(low, low + width, at=now)
        state = Offset.first(sample) if state is None else state.updated(sample)
        bounds = state.bounds(now)
        strict = state.strict_bounds(now)
        assert strict.low <= bounds.low <= bounds.high <= strict.high
        assert len(state.recent) <= WINDOW
        assert state.recent or (state.certain and state.doubt is None)
        assert state.overruled is None or state.doubt is None


def test_after_a_fork_the_child_can_observe_though_the_parent_held_the_lock(clock, service, time):
    with every_lock_held(time) as locks:
        assert locks == 1
        time.after_fork_in_child()
        child = threading.Thread(target=service.answer, args=(time,), daemon=True)
        child.start()
        child.join(5)
        learnt = time.known  # before the parent lets go: then it would learn with the old lock, too
    assert learnt


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other clocks that do")
def test_the_steady_clock_is_the_one_that_counts_suspended_time():
    # If a machine never slept, the clocks read the same: so the test checks which one is read.
    steady = SystemClock().steady
    assert (steady.func, steady.args) == (system_time.clock_gettime, (system_time.CLOCK_BOOTTIME,))
    assert steady() == pytest.approx(system_time.clock_gettime(system_time.CLOCK_BOOTTIME), abs=5.0)


def test_the_machines_own_clocks_move_forward():
    clock = SystemClock()
    began, steady = system_time.monotonic(), clock.steady()
    while clock.steady() < steady + 0.02:  # it is the machine's own clock, which no test can move
        assert system_time.monotonic() < began + 10.0
    assert clock.steady() - steady <= system_time.monotonic() - began + 1.0
    assert abs(clock.wall() - system_time.time()) < 60.0


# End to end.


@dataclass
class Machine:
    """A client in true time: its steady clock runs at its own rate, its wall clock as it likes."""

    rate: float
    steady_at: float
    wall_error: float
    now: float = 0.0

    def steady(self):
        return self.steady_at + self.now * (1.0 + self.rate)

    def wall(self):
        return 1_700_000_000.0 + self.now + self.wall_error


def answered(machine, time, *, front_end, there, back):
    """One request in true time, by a front end whose clock is off by `front_end`."""
    sent = time.steady()
    machine.now += there
    date = float(math.floor(1_700_000_000.0 + machine.now + front_end))
    machine.now += back
    time.observe(sent=sent, received=time.steady(), date=date)


traffic = st.lists(
    st.tuples(
        st.floats(0.0, 30.0),  # pause before
        latencies,
        latencies,
        st.floats(-SKEW / 2, SKEW / 2),  # the front end's error
        st.one_of(st.just(0.0), st.floats(-YEAR, YEAR)),  # somebody sets the wall clock
    ),
    min_size=2,
    max_size=8,
)
machines = st.builds(
    Machine,
    # Each machine is off from true time by half as much as two may be from one another.
    rate=st.floats(-OSCILLATOR_DRIFT / 2, OSCILLATOR_DRIFT / 2),
    steady_at=st.floats(0.0, 1e7),
    wall_error=st.floats(-YEAR, YEAR),
)


@settings(REPEATABLE, max_examples=500)
@given(
    holder=machines,
    other=machines,
    before=traffic,
    others=traffic.filter(lambda answers: len(answers) >= AGREEING),
    length=st.sampled_from([6.0, 10.0, 60.0, 3_600.0, 86_400.0]),
    renewals=st.integers(0, 3),
    grace=st.sampled_from([0.0, None]),
)
def test_while_another_may_claim_the_holder_does_not_believe(*, holder, other, before, others, length, renewals, grace):
    timing = Timing(grace=grace)
    his, theirs = ServiceTime(holder), ServiceTime(other)
    for pause, there, back, front_end, step in before:
        holder.now += pause
        answered(holder, his, front_end=front_end, there=there, back=back)
        holder.wall_error += step

    # He acquires: steady time first, as `acquisition` reads it.
    started = his.steady()
    _, now_hi = his.now_ms()
    lease_ms = round(length * 1000)
    grant = Grant(
        lease_id="0-a",
        slots=(0,),
        fence=now_hi,
        owner="he",
        data={},
        acquired_at=now_hi,
        expires_at=now_hi + lease_ms,
        lease_ms=lease_ms,
        margin=timing.margin_for(length),
        deadline=started + length - timing.margin_for(length),
    )
    belief = Belief(grant, chance=random.Random(1), late_by=his.late_by)
    expires_at = grant.expires_at
    for _ in range(renewals):
        holder.now += length / 3
        started = his.steady()
        renewal = belief.begin_renewal(started, his.read().latest_ms)
        if renewal is None:
            break
        answered(holder, his, front_end=SKEW / 2, there=0.1, back=0.1)
        expires_at = max(expires_at, renewal.expires_at)
        belief.end_renewal(renewal, Done(), his.steady())

    # The other looks now and then; at the first instant at which it may claim, he must not believe.
    for pause, there, back, front_end, step in others:
        other.now += pause
        answered(other, theirs, front_end=front_end, there=there, back=back)
        other.wall_error += step
    if not theirs.certain:  # its answers have not agreed yet, so it may claim nothing over anybody
        assert theirs.expired_before_ms() == 0
        return
    low, high = other.now, other.now + 4 * length + 100.0 + max(0.0, holder.now - other.now)

    def may_claim(moment):
        other.now = moment
        return expires_at < theirs.expired_before_ms()

    if not may_claim(high):
        raise AssertionError("an expired lease must become claimable")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if may_claim(middle) else (middle, high)
    holder.now = high
    assert not belief.holds(his.steady())
