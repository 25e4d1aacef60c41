"""Where slots were seen missing: each number is given out once, and what was seen long ago is no guide."""

from random import Random

import pytest

from ddb_lease._state.unminted import LATELY_SECONDS, MOST_GAPS, Unminted

NOW = 1_000.0


@pytest.fixture
def unminted():
    return Unminted()


def drawn(unminted, *, below=100_000, now=NOW, seed=1):
    chance, numbers = Random(seed), []
    while (number := unminted.draw(chance, below=below, now=now)) is not None:
        assert number not in numbers
        numbers.append(number)
    return numbers


def test_every_missing_number_is_given_out_once(unminted):
    unminted.learn(range(128, 256), range(128, 200), below=1_000, at=NOW)
    assert sorted(drawn(unminted)) == list(range(200, 256))
    assert drawn(unminted) == []


def test_numbers_are_drawn_so_that_processes_do_not_all_mint_the_same():
    firsts = set()
    for seed in range(20):
        unminted = Unminted()
        unminted.learn(range(128), (), below=1_000, at=NOW)
        firsts.add(unminted.draw(Random(seed), below=1_000, now=NOW))
    assert len(firsts) > 10


def test_nothing_is_minted_at_or_above_the_bound(unminted):
    unminted.learn(range(100_000), range(99), below=120, at=NOW)
    assert sorted(drawn(unminted, below=110)) == list(range(99, 110)), "it was lowered since"


def test_all_that_is_missing_of_the_largest_bucket_is_not_gone_through_for_each_mint(unminted):
    unminted.learn(range(100_000), (), below=100_000, at=NOW)
    chance = Random(1)
    numbers = {unminted.draw(chance, below=100_000, now=NOW) for _ in range(1_000)}
    assert len(numbers) == 1_000
    unminted.learn(range(100_000), range(99_990), below=100_000, at=NOW)
    assert drawn(unminted) == [], "another look shows where"


def test_what_was_seen_long_ago_is_no_guide(unminted):
    unminted.learn(range(10), (), below=10, at=NOW)
    assert drawn(unminted, now=NOW + LATELY_SECONDS + 1) == []
    assert len(unminted) == 0


def test_the_latest_look_at_a_window_counts(unminted):
    unminted.learn(range(10), (), below=10, at=NOW)
    unminted.learn(range(10), range(9), below=10, at=NOW)
    assert drawn(unminted) == [9]
    unminted.learn(range(10), range(10), below=10, at=NOW)
    assert len(unminted) == 0


def test_a_slot_that_is_there_by_now_is_not_minted(unminted):
    unminted.learn(range(4), (), below=4, at=NOW)
    unminted.learn_slot(2)
    unminted.learn_slot(77)
    assert sorted(drawn(unminted)) == [0, 1, 3]


def test_many_looks_are_remembered_but_not_all(unminted):
    for window in range(2 * MOST_GAPS):
        unminted.learn(range(10 * window, 10 * window + 10), (), below=1_000, at=NOW)
    assert len(unminted) == MOST_GAPS
    assert min(drawn(unminted)) == 10 * MOST_GAPS, "the latest"
    unminted.clear()
    assert drawn(unminted) == []
