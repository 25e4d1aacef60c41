"""Hits: what the storage for `limits` counts; the items, the requests about them, and when a hit is let in.

A **fixed window** begins with its first hit and lasts as long as that hit's caller says: `FixedHits`. A **sliding
window** is counted in windows on the grid of its length, the current one and the one before: `SlidingHits`.

Invariants:

- As in `_protocol.messages`: values only, one attempt each. A hit is computed anew for each sending, as it belongs to
  the time at which it is sent. Nothing tells a second sending from another hit: a hit whose answer was lost may be
  counted twice, and is never missed.
- No hit of a fixed window is forgotten before the window is over, nor one of a sliding window before the window after
  it is over: what begins a window requires that the one before is over, by the time of the process that sends it.
- Only hits that are let in are counted in a sliding window: what `slide` requires is that they fit.
- `ttl` is in seconds; every other time in milliseconds of the service's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

KEPT_SECONDS = 3600
"""How long an item stays after nothing in it counts any more: longer than a request may be under way."""

MOST_HITS = 10**15
"""Of one call, and of a limit: sums of these are exact wherever they go."""

LONGEST_SECONDS = 10**9
"""Of a window: some thirty years. `limits` has windows of several years."""

SlideBranch: TypeAlias = Literal["new", "next", "same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HitsKey:
    """Which item: of a sliding window, the length in ms is part of its name; of a fixed window it is 0."""

    key: str
    length: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedHits:
    """A fixed window: how many hits it has, and when it is over."""

    count: int
    ends_at: int

    def runs(self, now: int) -> bool:
        """Whether it is not over yet."""
        return self.ends_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingHits:
    """The hits of the window with this number, which begins at number times length, and of the one before."""

    number: int
    count: int
    previous: int


Hits: TypeAlias = FixedHits | SlidingHits


@dataclass(frozen=True, slots=True, kw_only=True)
class AddHits:
    """Count hits in a fixed window, which must not be over at `now`: one UpdateItem.

    Answered by `HitsWritten` or `HitsRefused`, as are all requests here that write, but `DropHits`.
    """

    key: HitsKey
    n: int
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginHits:
    """Begin a fixed window with these hits; the one before must be over at `now`, or missing: one UpdateItem."""

    key: HitsKey
    n: int
    now: int
    ends_at: int
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideHits:
    """Count hits in a sliding window, if they fit: one UpdateItem.

    | branch | condition | effect |
    |---|---|---|
    | same | the item's window is `number`; its `previous` <= `most_previous`; its `count` <= `most` | `count` + n |
    | next | the item's window is `number` - 1; its `count` <= `most_previous` | `previous` = `count`; `count` = n |
    | new | there is none, or its window is before `number` - 1 | `previous` = 0; `count` = n |

    Attributes:
        most_previous: How many hits the window before may have, so that `n` fit, or so that `most` is right.
        most: How many hits the window itself may have; for "same" only.
    """

    key: HitsKey
    branch: SlideBranch
    n: int
    number: int
    most_previous: int = 0
    most: int = 0
    ttl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadHits:
    """Read an item, consistently: one Query. Answered by `HitsRead`."""

    key: HitsKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DropHits:
    """Forget an item: one DeleteItem. Answered by `Done`; by `HitsRefused` if there is none."""

    key: HitsKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHits:
    """Read the keys of one shard, eventually consistent: one Query, one page. Answered by `HitsListed`.

    Attributes:
        shard: 0 to `SHARDS` - 1.
        after: The `after` of the page before; None for the first page.
        limit: How many at most.
    """

    shard: int
    after: str | None = None
    limit: int


HitsRequest: TypeAlias = AddHits | BeginHits | SlideHits | ReadHits | DropHits | ListHits


@dataclass(frozen=True, slots=True, kw_only=True)
class HitsWritten:
    """Hits were counted; `hits` is the item after it."""

    hits: Hits


@dataclass(frozen=True, slots=True, kw_only=True)
class HitsRefused:
    """A condition failed, and this sending wrote nothing; `hits` is what it found; None for no item."""

    hits: Hits | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HitsRead:
    """What `ReadHits` found; None if there is no item."""

    hits: Hits | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HitsListed:
    """One page of keys. Items of another shape are left out. `after` is where the next page begins; None: no more."""

    keys: tuple[HitsKey, ...]
    after: str | None


HitsAnswer: TypeAlias = HitsWritten | HitsRefused | HitsRead | HitsListed


# Decisions.


def hit(key: HitsKey, known: FixedHits | None, *, n: int, seconds: int, now: int) -> AddHits | BeginHits:
    """What to send for a hit in a fixed window, by what is known of it.

    Args:
        key: The key.
        known: The window as last seen; None: there was none, or it is not known.
        n: How many hits.
        seconds: How long a window lasts that these hits begin.
        now: The service's time.
    """
    if known is not None and known.runs(now):
        return AddHits(key=key, n=n, now=now)
    ends_at = now + 1000 * seconds
    return BeginHits(key=key, n=n, now=now, ends_at=ends_at, ttl=_ttl(ends_at))


def slide(key: HitsKey, known: SlidingHits | None, *, n: int, limit: int, now: int) -> SlideHits | None:
    """What to send for hits in a sliding window, by what is known of it; None: they do not fit.

    They fit if the hits of the current window, those of the one before, weighted by the part of it that the sliding
    window still covers, and rounded down, and these come to `limit` at most. A window later than the one of `now` is
    another process's, whose clock is ahead: the hits are counted there, as if it began just now.

    Args:
        key: The key.
        known: As last seen; None: there was no item, or it is not known.
        n: How many hits; not more than `limit`.
        limit: How many hits any window may have.
        now: The service's time.
    """
    length = key.length
    number = now // length if known is None else max(now // length, known.number)
    left = (number + 1) * length - max(now, number * length)
    ttl = _ttl((number + 2) * length)
    if known is None or known.number < number - 1:
        return SlideHits(key=key, branch="new", n=n, number=number, ttl=ttl) if n <= limit else None
    if known.number == number - 1:
        most_previous = most_weighted(limit - n, left=left, length=length)
        if n > limit or known.count > most_previous:
            return None
        return SlideHits(key=key, branch="next", n=n, number=number, most_previous=most_previous, ttl=ttl)
    most = limit - n - weighted(known.previous, left=left, length=length)
    if known.count > most:
        return None
    return SlideHits(key=key, branch="same", n=n, number=number, most_previous=known.previous, most=most, ttl=ttl)


def weighted(previous: int, *, left: int, length: int) -> int:
    """What hits of the window before count for, while so much of the current one is left."""
    return previous * left // length


def most_weighted(room: int, *, left: int, length: int) -> int:
    """The most hits of the window before whose `weighted` is at most `room`; `left` is above 0."""
    return ((room + 1) * length - 1) // left


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingNow:
    """A sliding window at one time: the hits of the window before and of the current one; `left` in ms."""

    previous: int
    count: int
    left: int


def sliding_now(known: SlidingHits | None, *, length: int, now: int) -> SlidingNow:
    """What of an item counts at this time."""
    number = now // length if known is None else max(now // length, known.number)
    left = (number + 1) * length - max(now, number * length)
    if known is None or known.number < number - 1:
        return SlidingNow(previous=0, count=0, left=left)
    if known.number < number:
        return SlidingNow(previous=known.count, count=0, left=left)
    return SlidingNow(previous=known.previous, count=known.count, left=left)


def _ttl(counts_until: int) -> int:
    return -(-counts_until // 1000) + KEPT_SECONDS
