"""The referee of rates: known answers, and a slow, plain judgement to compare with. Nothing of the library runs here."""

import json
import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.harness.rate_referee import (
    NS,
    Allowed,
    Call,
    as_returned,
    forgone,
    jain,
    overtaken,
    read_calls,
    read_uncertainty,
    served_by,
    to_its_place,
    within,
    worst_window,
)

TEN = Allowed(permits=10, burst=2)
"""Ten a second: one each 100 ms."""


def call(wanted, ended, n=1, *, process=0, served=True):
    """A call from and until so many seconds."""
    return Call(process=process, n=n, wanted=round(wanted * NS), ended=round(ended * NS), served=served)


def at(*seconds, n=1):
    """Permits that were used at these very instants."""
    return [call(second, second, n) for second in seconds]


def excess(calls, allowed=TEN, apart=0.0):
    return float(worst_window(calls, allowed, apart=apart).excess)


# ---- The envelope.


def test_where_nothing_was_used_there_is_no_window():
    assert worst_window([], TEN) is None
    assert worst_window([call(0, 9, served=False)], TEN) is None


def test_the_burst_at_once_and_then_the_rate_is_exactly_allowed():
    assert excess(at(5.0, 5.0, *(5.1 + number / 10 for number in range(20)))) == 0.0


def test_one_permit_beyond_the_burst_is_one_too_many():
    window = worst_window(at(1.0, 5.0, 5.0, 5.0, 9.0), TEN)
    assert (window.since, window.until, window.permits, window.excess) == (5 * NS, 5 * NS, 3, 1)
    assert str(window) == "3 permits in 0.000000 s: 1.00 too many"


def test_a_clock_that_jumps_by_a_quarter_of_a_second_gives_two_and_a_half_permits_too_many():
    steady = [number / 10 for number in range(50)]
    jumped = [second if second < 2.0 else second - 0.25 for second in steady]
    assert excess(at(0.0, *steady)) == 0.0
    assert excess(at(0.0, *jumped)) == pytest.approx(2.5)
    assert excess(at(0.0, *jumped), apart=0.25) == pytest.approx(0.0)


def test_a_rate_that_is_a_thousandth_too_fast_is_found_in_a_long_window():
    assert excess(at(0.0, *(number * 0.0999 for number in range(1001)))) == pytest.approx(1.0)


def test_permits_taken_together_count_as_many():
    assert excess(at(1.0, n=2)) == 0.0
    assert excess(at(1.0, n=5)) == 3.0


def test_a_call_counts_only_in_windows_that_it_lies_within():
    waited = [call(0.0, 0.5), call(0.0, 0.5), call(0.0, 0.5), call(0.0, 0.5)]
    assert excess(waited) < 0.0, "they may have been admitted at any time in half a second"
    assert excess(as_returned(waited)) == 2.0


def test_threads_that_a_machine_held_up_are_no_violation_but_a_second_call_at_once_is():
    held_up = [call(number / 10, 1.0) for number in range(10)]
    assert excess(held_up) <= 0.0
    assert excess([*held_up, *at(1.0, 1.0, 1.0)]) == 1.0


def test_an_excess_between_two_quiet_times_is_found_with_its_window():
    calls = at(*range(100), 200.0, 200.05, 200.1, 200.15, *range(300, 400))
    window = worst_window(calls, TEN)
    assert (window.since / NS, window.until / NS, window.permits) == (200.0, 200.15, 4)
    assert window.excess == Fraction(1, 2)


def test_the_arithmetic_is_exact_for_rates_that_no_float_has():
    third = Allowed(permits=1, per=3, burst=1)
    years = 10**18  # nanoseconds: some thirty years of uptime
    calls = [Call(process=0, wanted=years + 3 * NS * number, ended=years + 3 * NS * number) for number in range(100)]
    assert worst_window(calls, third).excess == 0
    early = [*calls, Call(process=0, wanted=calls[-1].ended + 3 * NS - 1, ended=calls[-1].ended + 3 * NS - 1)]
    assert worst_window(early, third).excess == Fraction(1, 3 * NS)


CALLS = st.lists(
    st.builds(
        lambda wanted, took, n, served: Call(process=0, n=n, wanted=wanted, ended=wanted + took, served=served),
        st.integers(0, 50),
        st.integers(0, 20),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=12,
)


@given(calls=CALLS, per=st.integers(1, 30), burst=st.integers(1, 5))
def test_the_worst_window_is_the_worst_of_all_windows(calls, per, burst):
    allowed = Allowed(permits=NS, per=per, burst=burst)  # a permit each so many nanoseconds
    used = [one for one in calls if one.served]
    counted = {
        (since, until): sum(one.n for one in used if since <= one.wanted and one.ended <= until)
        for since in {one.wanted for one in used}
        for until in {one.ended for one in used}
    }
    plain = [n - Fraction(until - since, per) - burst for (since, until), n in counted.items() if n]
    window = worst_window(calls, allowed)
    assert (window.excess if window else None) == (max(plain) if plain else None)


def test_sixty_thousand_permits_are_judged_at_once():
    chance = Random(1)
    calls = [call(number / 1000, number / 1000 + chance.uniform(0.0, 0.1)) for number in range(60_000)]
    assert excess(calls, Allowed(permits=1000, burst=1000)) < 0.0


# ---- The order of service.


def test_who_calls_first_and_is_served_first_is_overtaken_by_nobody():
    assert overtaken([call(number, number + 5.0) for number in range(50)], slack=0.0) == []


def test_one_that_others_are_served_before_though_they_called_later_is_overtaken():
    slow = call(0.0, 10.0, process=7)
    found = overtaken([slow, call(1.0, 2.0, 3), call(3.0, 4.0), call(9.5, 10.5)], slack=0.25)
    assert [(one.call, one.permits) for one in found] == [(slow, 4)]
    assert "process 7 wanted 1, was served after 10.000 s, and 4 permits went to later callers" in str(found[0])


def test_one_that_was_never_served_is_overtaken_too_and_one_that_was_told_at_once_is_not():
    starved, told = call(0.0, 7.0, served=False), call(0.0, 0.001, served=False)
    found = overtaken([starved, told, call(1.0, 2.0)], slack=0.25)
    assert [one.call for one in found] == [starved]
    assert "not served" in str(found[0])


@pytest.mark.parametrize(("wanted", "ended"), [(0.2, 5.0), (1.0, 9.9)], ids=["called", "served"])
def test_what_differs_by_less_than_the_slack_is_no_other_order(wanted, ended):
    assert overtaken([call(0.0, 10.0), call(wanted, ended)], slack=0.25) == []
    assert len(overtaken([call(0.0, 10.0), call(wanted, ended)], slack=0.05)) == 1


def test_a_large_call_in_its_place_waits_for_those_before_it_and_itself():
    before = [call(0.0, 0.5), call(0.0, 0.6), call(-1.0, -0.5)]
    after = [call(1.0, 3.0), call(2.0, 4.0)]
    large = call(0.1, 1.3, 10)  # two before it, and its own ten: 1.2 s
    calls = [*before, large, *after]
    assert to_its_place(large, calls, TEN, slack=0.25) == pytest.approx(1.0)
    starved = call(0.1, 12.1, 10)
    assert to_its_place(starved, [*before, starved, *after], TEN, slack=0.25) == pytest.approx(10.0)


# ---- Shares and what is left over.


def test_jains_index():
    assert jain([1, 1, 1, 1]) == 1.0
    assert jain([300, 0, 0, 0]) == 0.25
    assert jain([4, 2]) == pytest.approx(0.9)
    assert math.isnan(jain([0, 0]))


def test_shares_and_stretches_of_time():
    calls = [
        call(0, 1, 3, process=1),
        call(0, 2, process=2),
        call(1, 3, process=1),
        call(0, 9, process=3, served=False),
    ]
    assert served_by(calls) == {1: 4, 2: 1, 3: 0}
    assert within(calls, 2 * NS, 3 * NS) == calls[1:3]


def test_permits_that_nobody_used_are_forgone():
    calls = at(*(number / 10 for number in range(100)))
    assert forgone(calls, TEN, since=0, until=10 * NS) == 0.0
    assert forgone(calls[:60], TEN, since=0, until=10 * NS) == 40.0


def test_notes_are_read_and_a_file_that_is_not_there_has_none(tmp_path):
    path = tmp_path / "7"
    assert (read_calls(path, 7), read_uncertainty(path)) == ([], 0.0)
    lines = [
        {"uncertainty": 0.25},
        {"n": 2, "wanted": 5, "ended": 9, "outcome": "served"},
        {"n": 1, "wanted": 6, "ended": 8, "outcome": "timeout"},
        {"uncertainty": 0.125},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_calls(path, 7) == [
        Call(process=7, n=2, wanted=5, ended=9),
        Call(process=7, n=1, wanted=6, ended=8, served=False),
    ]
    assert read_uncertainty(path) == 0.25
