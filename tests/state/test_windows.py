"""Which windows of a large bucket are looked at next: all in turn, and none twice in a row without a pause."""

from random import Random

import pytest

from ddb_lease._protocol.retry import LONGEST_POLL_SECONDS
from ddb_lease._state.windows import POLLED, TAKEN_SECONDS, Windows, lately

COUNT = 10
TOKENS = 128 * COUNT
NOW = 1_000.0


@pytest.fixture
def windows():
    windows = Windows()
    windows.arrange(COUNT, Random(1), tokens=TOKENS)
    return windows


def test_all_windows_come_up_in_turn(windows):
    seen = [number for _ in range(5) for number in windows.in_turn(2, but=())]
    assert sorted(seen) == list(range(COUNT))
    assert windows.in_turn(2, but=()) == seen[:2]


def test_processes_begin_at_different_windows():
    firsts = set()
    for seed in range(20):
        windows = Windows()
        windows.arrange(COUNT, Random(seed), tokens=TOKENS)
        firsts.add(windows.in_turn(1, but=())[0])
    assert len(firsts) > 4


def test_those_not_worth_a_look_are_passed_over(windows):
    assert sorted(windows.in_turn(COUNT, but={1, 2, 3})) == [0, 4, 5, 6, 7, 8, 9]
    assert sorted(windows.unsearched(COUNT, but=range(8), now=NOW)) == [8, 9]


def test_a_window_is_searched_once_and_again_when_polls_should_have_come_round(windows):
    for number in windows.unsearched(COUNT, but=(), now=NOW):
        windows.searched(number, at=NOW)
    assert windows.unsearched(COUNT, but=(), now=NOW + lately(COUNT)) == []
    assert len(windows.unsearched(COUNT, but=(), now=NOW + lately(COUNT) + 0.1)) == COUNT
    assert len(windows.in_turn(3, but=())) == 3, "polls go on all the same"


@pytest.mark.parametrize("count", [2, POLLED, POLLED + 1, 10, 782])
def test_polls_come_round_to_each_window_before_it_is_searched_again(count):
    windows = Windows()
    windows.arrange(count, Random(count), tokens=128 * count)
    for number in windows.unsearched(count, but=(), now=NOW):
        windows.searched(number, at=NOW)
    now = NOW
    for _ in range(3 * count):  # polls as far apart as they ever are
        now += LONGEST_POLL_SECONDS
        for number in windows.in_turn(POLLED, but=()):
            windows.searched(number, at=now)
        assert windows.unsearched(1, but=(), now=now) == []


def test_two_acquires_never_search_the_same_window_at_once(windows):
    mine = windows.unsearched(4, but=(), now=NOW)
    others = windows.unsearched(COUNT, but=(), now=NOW)
    assert sorted(mine + others) == list(range(COUNT))
    assert windows.unsearched(COUNT, but=(), now=NOW) == []


def test_a_window_that_was_given_back_is_searched_by_the_next_acquire(windows):
    taken = windows.unsearched(COUNT, but=(), now=NOW)
    windows.give_back(taken[3])
    assert windows.unsearched(COUNT, but=(), now=NOW) == [taken[3]]


def test_a_window_that_an_interrupted_acquire_took_is_searched_after_a_while(windows):
    assert len(windows.unsearched(COUNT, but=(), now=NOW)) == COUNT
    assert windows.unsearched(COUNT, but=(), now=NOW + TAKEN_SECONDS - 0.1) == []
    assert len(windows.unsearched(COUNT, but=(), now=NOW + TAKEN_SECONDS)) == COUNT


@pytest.mark.parametrize(
    "change",
    [
        lambda windows: windows.arrange(COUNT + 1, Random(2), tokens=TOKENS + 128),
        lambda windows: windows.arrange(COUNT, Random(2), tokens=TOKENS - 1),
        lambda windows: windows.forget(),
    ],
    ids=["grown", "shrunk within its last window", "deleted"],
)
def test_after_a_resize_or_a_deletion_nothing_counts_as_searched(windows, change):
    for number in windows.unsearched(COUNT, but=(), now=NOW):
        windows.searched(number, at=NOW)
    change(windows)
    assert len(windows.unsearched(2 * COUNT, but=(), now=NOW)) == windows.count


def test_as_many_tokens_as_before_change_nothing(windows):
    first = windows.unsearched(1, but=(), now=NOW)[0]
    windows.searched(first, at=NOW)
    windows.arrange(COUNT, Random(3), tokens=TOKENS)
    assert first not in windows.unsearched(COUNT, but=(), now=NOW)


def test_all_are_searched_once_each_has_been_or_is_not_worth_a_look(windows):
    assert not windows.all_searched(but=(), now=NOW)
    first = windows.unsearched(1, but=(), now=NOW)[0]
    assert windows.all_searched(but=set(range(COUNT)) - {first}, now=NOW) is False, "it is only taken"
    windows.searched(first, at=NOW)
    assert windows.all_searched(but=set(range(COUNT)) - {first}, now=NOW)
    assert not windows.all_searched(but=set(range(COUNT)) - {first}, now=NOW + lately(COUNT) + 0.1)
