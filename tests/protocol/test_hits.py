"""When a hit is let in, and what is sent for it, against the plain formula."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.hits import (
    KEPT_SECONDS,
    AddHits,
    BeginHits,
    FixedHits,
    HitsKey,
    SlideHits,
    SlidingHits,
    SlidingNow,
    hit,
    most_weighted,
    slide,
    sliding_now,
    weighted,
)

KEY = HitsKey(key="k")
MINUTE = HitsKey(key="k", length=60_000)
NOW = 60_000 * 30_000_000 + 15_000  # a quarter of a window has passed
NUMBER = 30_000_000
TTL = (NUMBER + 2) * 60 + KEPT_SECONDS


def test_a_hit_is_added_to_a_window_that_runs():
    assert hit(KEY, FixedHits(count=9, ends_at=NOW + 1), n=2, seconds=60, now=NOW) == AddHits(key=KEY, n=2, now=NOW)


@pytest.mark.parametrize("known", [None, FixedHits(count=9, ends_at=NOW), FixedHits(count=9, ends_at=NOW - 1)])
def test_a_hit_begins_a_window_where_none_runs(known):
    ends_at = NOW + 60_000
    expected = BeginHits(key=KEY, n=2, now=NOW, ends_at=ends_at, ttl=ends_at // 1000 + KEPT_SECONDS)
    assert hit(KEY, known, n=2, seconds=60, now=NOW) == expected


def test_an_item_is_kept_for_an_hour_after_its_last_whole_or_begun_second():
    assert hit(KEY, None, n=1, seconds=1, now=1).ttl == 2 + KEPT_SECONDS
    assert hit(KEY, None, n=1, seconds=1, now=0).ttl == 1 + KEPT_SECONDS


def seen(number=NUMBER, count=0, previous=0):
    return SlidingHits(number=number, count=count, previous=previous)


@pytest.mark.parametrize("known", [None, seen(NUMBER - 2, 99, 99)])
def test_where_nothing_counts_any_more_a_sliding_window_begins(known):
    expected = SlideHits(key=MINUTE, branch="new", n=10, number=NUMBER, ttl=TTL)
    assert slide(MINUTE, known, n=10, limit=10, now=NOW) == expected
    assert slide(MINUTE, known, n=11, limit=10, now=NOW) is None


def test_hits_of_the_same_window_count_whole_and_those_before_by_what_is_left():
    # 4 of the 5 hits before count for three quarters: 3.75, rounded down.
    request = slide(MINUTE, seen(count=5, previous=5), n=2, limit=10, now=NOW)
    assert request == SlideHits(key=MINUTE, branch="same", n=2, number=NUMBER, most_previous=5, most=5, ttl=TTL)
    assert slide(MINUTE, seen(count=6, previous=5), n=2, limit=10, now=NOW) is None


def test_the_next_window_takes_the_hits_over():
    # At most 10 hits of the window before count for 7 or less: 7.5 is rounded down.
    request = slide(MINUTE, seen(NUMBER - 1, count=10), n=3, limit=10, now=NOW)
    assert request == SlideHits(key=MINUTE, branch="next", n=3, number=NUMBER, most_previous=10, ttl=TTL)
    assert slide(MINUTE, seen(NUMBER - 1, count=11), n=3, limit=10, now=NOW) is None


def test_a_window_of_a_clock_that_is_ahead_is_counted_in_as_if_it_began_now():
    request = slide(MINUTE, seen(NUMBER + 1, count=2, previous=3), n=1, limit=6, now=NOW)
    assert (request.branch, request.number, request.most) == ("same", NUMBER + 1, 2)
    assert slide(MINUTE, seen(NUMBER + 1, count=3, previous=3), n=1, limit=6, now=NOW) is None


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (None, (0, 0, 45_000)),
        (seen(count=2, previous=3), (3, 2, 45_000)),
        (seen(NUMBER - 1, count=2, previous=3), (2, 0, 45_000)),
        (seen(NUMBER - 2, count=2, previous=3), (0, 0, 45_000)),
        (seen(NUMBER + 1, count=2, previous=3), (3, 2, 60_000)),
    ],
)
def test_what_counts_of_an_item_now(known, expected):
    found = sliding_now(known, length=60_000, now=NOW)
    assert found == SlidingNow(previous=expected[0], count=expected[1], left=expected[2])


COUNTS = st.integers(0, 10**15)
LENGTHS = st.integers(1, 10**6).map(lambda seconds: 1000 * seconds)


@given(previous=COUNTS, more=st.integers(0, 10**6), length=LENGTHS, part=st.floats(0, 1, exclude_min=True))
def test_the_weight_is_the_part_that_is_left_rounded_down_and_grows_with_the_hits(previous, more, length, part):
    left = max(1, int(length * part))
    assert weighted(previous, left=left, length=length) == math.floor(Fraction(previous * left, length))
    assert weighted(previous, left=left, length=length) <= weighted(previous + more, left=left, length=length)


@given(room=COUNTS, length=LENGTHS, part=st.floats(0, 1, exclude_min=True))
def test_the_most_hits_before_are_those_that_just_fit(room, length, part):
    left = max(1, int(length * part))
    most = most_weighted(room, left=left, length=length)
    assert weighted(most, left=left, length=length) <= room < weighted(most + 1, left=left, length=length)


@given(
    known=st.none() | st.builds(seen, st.integers(0, 4), st.integers(0, 12), st.integers(0, 12)),
    now=st.integers(0, 4999),
    n=st.integers(1, 12),
    limit=st.integers(1, 12),
)
def test_hits_are_sent_exactly_if_they_fit_and_the_item_as_seen_takes_them(known, now, n, limit):
    key = HitsKey(key="k", length=1000)
    counts = sliding_now(known, length=1000, now=now)
    fits = math.floor(Fraction(counts.previous * counts.left, 1000)) + counts.count + n <= limit
    request = slide(key, known, n=n, limit=limit, now=now)
    assert (request is not None) == fits
    match request:
        case SlideHits(branch="same"):
            assert known.number == request.number
            assert known.previous <= request.most_previous
            assert known.count <= request.most
        case SlideHits(branch="next"):
            assert known.number == request.number - 1
            assert known.count <= request.most_previous
        case SlideHits(branch="new"):
            assert known is None or known.number < request.number - 1
