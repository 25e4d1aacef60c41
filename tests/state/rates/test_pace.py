"""How fast permits are used."""

import pytest

from ddb_lease._state.rates.pace import Pace


def test_at_first_nothing_is_used():
    assert Pace().a_second(now=0.0) == 0.0


@pytest.mark.parametrize("permits", [1, 10])
def test_steady_use_is_counted_by_the_second(permits):
    pace = Pace()
    for step in range(100):
        pace.note(permits, now=step / 20)
    assert pace.a_second(now=99 / 20) == pytest.approx(20 * permits, rel=0.05)


def test_what_was_used_long_ago_does_not_count():
    pace = Pace()
    pace.note(1_000, now=5.0)
    assert pace.a_second(now=5.0) == 1_000
    assert pace.a_second(now=15.0) < 0.1


def test_a_time_that_seems_earlier_changes_nothing():
    pace = Pace()
    pace.note(8, now=5.0)
    pace.note(1, now=4.0)
    assert pace.a_second(now=4.0) == 9
    assert pace.a_second(now=5.0) == 9
