"""Counting hits: what is sent, and what is promised under wrong clocks, lost answers and late copies."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease import StoreUnavailable
from ddb_lease._operations.hits import (
    count_hits,
    drop_all,
    drop_hits,
    fixed_window,
    slide_hits,
    sliding_window,
    window_end,
)
from ddb_lease._protocol.hits import AddHits, BeginHits, FixedHits, HitsKey, SlideHits
from ddb_lease._protocol.messages import Look
from tests.operations.hits_world import MS, World
from tests.operations.rates.rate_world import NS, START, Fate, fates_of

KEY = HitsKey(key="k")
SECONDS = 2
SLIDING = HitsKey(key="k", length=1000 * SECONDS)
START_MS = START // MS


def hits(world, process=0, n=1):
    return world.done(process, count_hits, KEY, n=n, seconds=SECONDS).count


def slid(world, process=0, n=1, *, limit=3):
    return world.done(process, slide_hits, SLIDING, n=n, limit=limit)


def pass_time(world, ms):
    world.run(world.now + ms * MS)


def read(world, operation, key, process=0):
    return world.done(process, lambda memory, key, n: operation(memory, key), key)


# What is sent.


def test_a_hit_is_one_write_however_many_there_are():
    world = World([0])
    assert [hits(world) for _ in range(4)] == [1, 2, 3, 4]
    assert world.count() == {"BeginHits": 1, "AddHits": 3}


def test_a_process_that_does_not_know_the_window_is_shown_it_by_a_refused_write():
    world = World([0, 0])
    assert hits(world) == 1
    assert [hits(world, 1), hits(world, 1)] == [2, 3]
    assert world.count() == {"BeginHits": 2, "AddHits": 2}


def test_a_window_ends_after_its_length_and_the_next_hit_begins_another():
    world = World([0])
    hits(world, n=5)
    pass_time(world, 1999)
    assert hits(world) == 6
    pass_time(world, 1)
    assert hits(world) == 1
    assert world.count() == {"BeginHits": 2, "AddHits": 1}


def test_a_window_that_was_cleared_by_others_begins_anew():
    world = World([0, 0])
    hits(world)
    read(world, drop_hits, KEY, 1)
    assert hits(world) == 1
    assert world.count() == {"AddHits": 1, "BeginHits": 2, "DropHits": 1}


def test_a_lost_answer_is_counted_again_and_not_missed():
    world = World([0], fates=[Fate(back=None)])
    assert hits(world) == 2
    assert world.count() == {"BeginHits": 2, "AddHits": 1}


def test_a_hit_that_never_arrived_is_counted_once():
    world = World([0], fates=[Fate(out=None)])
    assert hits(world) == 1


def test_whoever_gets_no_answer_is_told_so():
    world = World([0], fates=[Fate(out=None)] * 99)
    with pytest.raises(StoreUnavailable, match=r"^hits of 'limits': .*lost"):
        hits(world)


def test_whoever_forgets_hits_and_gets_no_answer_is_told_so_as_soon_as_the_memorys_seconds_are_over():
    world = World([0], fates=[Fate(out=None)] * 99)
    (memory,) = world.memories
    memory.seconds = 2.0
    with pytest.raises(StoreUnavailable, match=r"^hits of 'limits': .*lost"):
        read(world, drop_hits, KEY)
    assert set(world.count()) == {"DropHits"}
    last = 1.0  # the last one may be sent when the time is up, and its answer is waited for
    assert memory.seconds <= memory.time.steady() <= memory.seconds + last


def test_nothing_is_written_by_a_time_that_nobody_has_told():
    world = World([0])
    (memory,) = world.memories
    memory.rate_time.now_ns = lambda: None
    memory.time.confirmed = False
    with pytest.raises(StoreUnavailable, match="do not tell its time"):
        hits(world)
    assert {type(request) for request in world.requests} == {Look}


def test_a_window_is_read_and_its_end_is_not_read_twice():
    world = World([0])
    assert read(world, fixed_window, KEY) is None
    assert read(world, window_end, KEY) == START_MS
    hits(world, n=4)
    assert read(world, window_end, KEY) == START_MS + 2000
    assert world.count() == {"ReadHits": 2, "BeginHits": 1}
    assert read(world, fixed_window, KEY) == FixedHits(count=4, ends_at=START_MS + 2000)
    pass_time(world, 2000)
    assert read(world, fixed_window, KEY) is None
    assert read(world, window_end, KEY) == START_MS + 2000


def test_a_sliding_hit_that_is_let_in_is_one_write():
    world = World([0])
    assert [slid(world) for _ in range(3)] == [True, True, True]
    assert world.count() == {"SlideHits": 3}
    pass_time(world, 2000)
    assert slid(world, n=1, limit=4)
    assert world.count() == {"SlideHits": 4}


def test_denials_are_remembered_for_a_second_and_then_one_read_tells_of_many():
    world = World([0])
    slid(world, n=3)
    before = world.count()
    assert not any(slid(world) for _ in range(50))
    assert world.count() == before
    pass_time(world, 1000)
    assert not any(slid(world) for _ in range(50))
    assert world.count() == before | {"ReadHits": 1}


def test_more_hits_than_the_limit_are_denied_without_a_request():
    world = World([0])
    assert not slid(world, n=4)
    assert world.requests == []


def test_hits_given_back_by_others_are_noticed_after_a_second():
    world = World([0, 0])
    slid(world, n=3)
    read(world, drop_hits, SLIDING, 1)
    assert not slid(world)
    pass_time(world, 1000)
    assert slid(world)


def test_a_sliding_window_is_read_as_it_counts_now():
    world = World([0])
    slid(world, n=3)
    pass_time(world, 1500)
    now = read(world, sliding_window, SLIDING)
    phase = (START_MS + 1500) % 2000
    expected = (3, 0) if phase < 1500 else (0, 3)
    assert (now.previous, now.count, now.left) == (*expected, 2000 - phase)


def test_all_hits_of_the_name_are_forgotten():
    world = World([0])
    for number in range(20):
        world.done(0, count_hits, HitsKey(key=f"k{number}"), n=1, seconds=60)
    slid(world)
    assert world.done(0, lambda memory, n: drop_all(memory)) == 21
    assert world.done(0, lambda memory, n: drop_all(memory)) == 0
    assert hits(world) == 1


def test_two_that_begin_a_window_at_once_are_both_counted():
    world = World([0] * 5, fates=[Fate(out=k * MS) for k in range(9)])
    calls = [world.call(process, count_hits, KEY, seconds=SECONDS) for process in range(5)]
    world.run()
    assert sorted(call.result.count for call in calls) == [1, 2, 3, 4, 5]


# What is promised.

LIMIT = 5
DELAYS = st.sampled_from([0.0, 0.001, 0.02, 0.4])
ANYTHING = DELAYS | st.none()
SEARCH = settings(max_examples=max(1, settings().max_examples // 3))
"""Each example is a whole schedule."""
FATES = fates_of(ANYTHING, again=st.none() | st.sampled_from([0.01, 1.5, 5.0]), most=40)
HITS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 40, 700, 2100]), st.sampled_from([1, 1, 1, 2, 4])),
    min_size=1,
    max_size=40,
)
ERRORS = st.lists(st.sampled_from([0, 3, -40, 300, -900]), min_size=3, max_size=3)


def played(operation, schedule, errors, fates, **arguments):
    """A world after these hits: (process, ms since the one before, n)."""
    world = World([error * MS for error in errors], fates=fates)
    when = START
    for process, wait, n in schedule:
        when += wait * MS
        world.at(when, lambda process=process, n=n: world.call(process, operation, n=n, **arguments))
    world.run()
    return world


@SEARCH
@given(schedule=HITS, errors=ERRORS, fates=FATES)
def test_no_more_hits_of_a_window_are_let_in_than_its_limit(schedule, errors, fates):
    world = played(count_hits, schedule, errors, fates, key=KEY, seconds=SECONDS)
    windows = {}
    for call in world.calls:
        if call.raised is None and call.result.count <= LIMIT:
            windows[call.result.ends_at] = windows.get(call.result.ends_at, 0) + call.n
        assert call.raised is None or isinstance(call.raised, StoreUnavailable)
    assert all(count <= LIMIT for count in windows.values())
    # A window begins when the one before is over by the clock of whoever begins it.
    begun = [after["ends_at"] for _, request, _, after in world.written if isinstance(request, BeginHits)]
    assert all(later - earlier >= 1000 * SECONDS for earlier, later in itertools.pairwise(begun))
    for when, request, before, _ in world.written:
        if isinstance(request, BeginHits) and before is not None:
            assert before["ends_at"] <= request.now <= when // MS + max(errors)


@SEARCH
@given(schedule=HITS, errors=ERRORS, delays=fates_of(DELAYS, again=st.none(), most=60))
def test_without_faults_each_hit_is_counted_once(schedule, errors, delays):
    world = played(count_hits, schedule, errors, delays, key=KEY, seconds=SECONDS)
    counted = sum(
        after["count"] - (before["count"] if isinstance(request, AddHits) else 0)
        for _, request, before, after in world.written
    )
    assert counted == sum(n for _, _, n in schedule)
    assert all(call.raised is None for call in world.calls)
    shown = [(call.result.ends_at, call.result.count) for call in world.calls]
    assert len(set(shown)) == len(shown), "each is shown a count of its own"


@SEARCH
@given(schedule=HITS, errors=ERRORS, fates=FATES)
def test_hits_of_a_sliding_window_are_let_in_only_if_they_fit(schedule, errors, fates):
    world = played(slide_hits, schedule, errors, fates, key=SLIDING, limit=LIMIT)
    admitted = sum(call.n for call in world.calls if call.result is True)
    counted = 0
    for _, request, before, after in world.written:
        assert isinstance(request, SlideHits)
        assert after["count"] <= LIMIT
        kept = before is not None and before["window"] == after["window"]
        counted += after["count"] - (before["count"] if kept else 0)
        if before is not None:
            assert after["window"] >= before["window"]
            expected = {0: before["previous"], 1: before["count"]}.get(after["window"] - before["window"], 0)
            assert after["previous"] == expected, "the window before keeps its hits"
    assert admitted <= counted


@SEARCH
@given(schedule=st.lists(st.tuples(st.sampled_from([1, 60, 333, 900, 2500]), st.integers(1, 5)), max_size=60))
def test_one_process_lets_in_what_the_plain_formula_does(schedule):
    world, counts = World([0]), {}
    for wait, n in schedule:
        pass_time(world, wait)
        now = world.now // MS
        number, passed = divmod(now, 2000)
        before = Fraction(counts.get(number - 1, 0) * (2000 - passed), 2000)
        fits = math.floor(before) + counts.get(number, 0) + n <= LIMIT
        assert slid(world, n=n, limit=LIMIT) == fits
        if fits:
            counts[number] = counts.get(number, 0) + n


@pytest.mark.parametrize("left", [1, 999, 1000, 1999, 2000])
def test_the_weight_of_the_window_before_is_that_of_what_is_left(left):
    world = World([0])
    pass_time(world, 4000 - START_MS % 2000)  # a window begins
    assert slid(world, n=3, limit=3)
    pass_time(world, 2000 + (2000 - left))
    fits = 3 - 3 * left // 2000
    assert not slid(world, n=fits + 1, limit=3)
    assert fits == 0 or slid(world, n=fits, limit=3)
    assert NS > MS
