"""Turns: a process that takes the same slots over and over leaves them to others, and no other process waits in vain."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._state.fairness import MET_SECONDS, MOMENT_SECONDS, SHARE, TURN_CLAIMS, TURN_SECONDS, Fairness

LONGEST_POLL = 2.5


def back_to_back(turn, seconds, *, chance, hold=0.02, begin=100.0):
    """Claim, hold, release and claim again at once, for some time; returns when the breaks were, and how long."""
    now, breaks = begin, []
    while now < begin + seconds:
        if turn.over(now):
            pause = turn.draw_break(now, chance)
            breaks.append((now - begin, pause))
            now += pause
        turn.won(now)
        now += hold
        turn.released(now)
    return breaks


def test_a_process_with_back_to_back_slots_takes_a_short_break_after_each_turn():
    breaks = back_to_back(Fairness(), 100.0, chance=random.Random(1))
    assert len(breaks) > 80
    assert all(pause <= 1.05 * SHARE * TURN_SECONDS for _, pause in breaks)
    gaps = [later - at - pause for (at, pause), (later, _) in pairwise(breaks)]
    assert all(TURN_SECONDS <= gap <= TURN_SECONDS + 0.05 for gap in gaps)


def test_alone_the_breaks_cost_about_a_twentieth():
    breaks = back_to_back(Fairness(), 1_000.0, chance=random.Random(1))
    assert sum(pause for _, pause in breaks) / 1_000.0 == pytest.approx(0.05, rel=0.15)


def test_once_others_were_met_a_break_is_as_long_as_their_polls_and_after_a_while_short_again():
    turn = Fairness()
    turn.met_others(100.0)
    breaks = back_to_back(turn, 3 * MET_SECONDS, chance=random.Random(1))
    while_met = [pause for at, pause in breaks if at < MET_SECONDS - 1]
    assert LONGEST_POLL / 2 < max(while_met) <= LONGEST_POLL
    assert max(pause for at, pause in breaks if at > MET_SECONDS + 3) <= 1.05 * SHARE * TURN_SECONDS


def test_a_slot_that_was_free_for_a_moment_is_a_break_already():
    turn, now = Fairness(), 0.0
    turn.met_others(now)
    for _ in range(100):
        now += MOMENT_SECONDS * 1.01
        assert not turn.over(now)
        turn.won(now)
        now += 0.5
        turn.released(now)


def test_a_restarted_turn_has_its_full_length():
    turn = Fairness()
    turn.met_others(5.0)
    turn.won(0.0)
    turn.released(5.0)
    assert turn.over(5.0)
    turn.restart(5.0)
    assert not turn.over(5.0)


def test_however_long_each_is_held_only_every_so_many_slots_are_kept_back_from_ones_own_waiters():
    holds = 10 * TURN_CLAIMS
    breaks = back_to_back(Fairness(), holds * 60.0, chance=random.Random(1), hold=60.0)
    assert len(breaks) in {9, 10}
    assert max(pause for _, pause in breaks) > LONGEST_POLL / 2, "long enough to be seen by who polls"


def test_once_others_were_met_a_long_hold_is_a_turn_by_itself():
    turn = Fairness()
    turn.met_others(999.0)
    turn.won(0.0)
    turn.released(1_000.0)
    assert turn.over(1_000.0)
    assert 0.0 < turn.draw_break(1_000.0, random.Random(1)) <= 2 * LONGEST_POLL


@given(st.floats(0.0, 1.0))
def test_the_whole_process_keeps_quiet_until_the_break_is_over(share):
    turn = Fairness()
    turn.met_others(1.5)
    turn.won(0.0)
    turn.released(1.5)
    pause = turn.draw_break(1.5, random.Random(1))
    assert turn.quiet_for(1.5 + share * pause * 0.99) == pytest.approx(pause - share * pause * 0.99)
    turn.released(1.5 + pause)
    assert turn.quiet_for(1.5 + pause) == 0.0
    assert not turn.over(1.5 + pause), "then a new turn begins"


def test_a_process_that_has_released_nothing_owes_nobody_a_break():
    assert not Fairness().over(1e9)
    assert Fairness().quiet_for(1e9) == 0.0
