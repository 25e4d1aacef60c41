"""Queueing: who may claim which slot of an ordered bucket, and when a waiter looks again.

Invariants:

- No I/O, no clock, no randomness: times come in as arguments, in seconds if nothing else is said.
- Tickets that have not expired are served strictly by place: the i-th takes the i-th free slot, so that no two go for
  the same; if the first wants more slots than are free, nobody behind it takes any.
- A dead waiter blocks nobody for long: if enough slots for a ticket have been free for `PATIENCE_SECONDS`, and for a
  second more than its waiter can have slept, it has had its turn, and the next is served in its place.
- A waiter for more slots than are free tells that it lives, by refreshing its ticket often while free slots are kept
  for it. If it does not for `STILL_SECONDS`, it is passed over as well.
- All rests on what was seen, which may be stale: then two waiters go for one slot, and the claim's condition lets one
  have it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ddb_lease._protocol.decisions import circulates, is_idle
from ddb_lease._protocol.records import PER_TRANSACTION, Slot, View
from ddb_lease._protocol.tickets import Ticket

SEEN = 32
"""Tickets in one look at the queue: some 6 KB, one RCU if eventually consistent, however long the queue is."""

FURTHER = 500
"""Tickets in each further look of a try, where many of those seen have expired."""

HEAD_SECONDS = 0.25
"""How long the first of the queue waits between two looks."""

QUICKEST_SECONDS = 0.05
"""The shortest time between two looks of one waiter, however quickly the queue moves."""

PATIENCE_SECONDS = 2 * HEAD_SECONDS + 1.0
"""How long slots have been free that a ticket could have had, when its waiter is taken for dead."""

NEAR_SECONDS = 5.0
"""The longest time between two looks of a waiter that could be served if every slot came free."""

SIGN_SECONDS = 2.0
"""How often a waiter refreshes its ticket while free slots are kept for it that are too few."""

STILL_SECONDS = 2 * SIGN_SECONDS + 1.0
"""How long it has not refreshed it, when it is taken for dead: two such times and a second."""

FAR_SECONDS = 30.0
"""The longest time between two looks of a waiter that expects to be served within three minutes."""

FARTHEST_SECONDS = 240.0
"""The longest for any."""

FAR_PART = 1 / 6
"""What part of the time that it expects to wait a waiter lets pass between two looks, where that is more than
`FAR_SECONDS`."""

QUICKEST_PACE = 1 / 16
"""A queue that moves more quickly is taken for one of this pace: else 10,000 waiters of it would read more than a table
gives. They sleep for more than a quarter of their way, then."""

LOOK_PART = 1 / 4
"""What part of the time that the queue needs to reach it a waiter lets pass between two looks: the queue may move four
times as quickly as it thinks."""

REFRESH_SECONDS = 20.0
"""How often a ticket is refreshed; less often by one that expects to wait for longer than six times this."""

LIVES = 3
"""How many times as long as this a ticket lasts: two refreshments may fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a waiter stands in the queue.

    Attributes:
        ahead: The tickets before its own that count, by place, as far as they were seen.
        place: Its place; 1 is the first.
        exact: Whether the place was seen; else it is estimated from the arrivals.
        first_waits: Seconds for which the first of the queue has waited.
    """

    ahead: tuple[Ticket, ...]
    place: int
    exact: bool
    first_waits: float = 0.0

    def slots_ahead(self) -> int:
        """How many slots those before it want together."""
        return sum(ticket.count for ticket in self.ahead)

    def may_be_served(self, count: int, max_tokens: int) -> bool:
        """Whether it could be its turn if every slot came free: only then is a look at the slots of use."""
        return self.exact and self.slots_ahead() + count <= max_tokens


def standing(
    tickets: Sequence[Ticket], own: Ticket, *, more: bool, now_ms: int, max_tokens: int = PER_TRANSACTION
) -> Standing:
    """Where a ticket stands, or would stand, that may not be among those seen.

    Args:
        tickets: The first of the queue, by place.
        own: The waiter's own, put or not.
        more: Whether there may be further ones.
        now_ms: The service's time, not later than it is.
        max_tokens: The bucket's: a ticket for more slots, from before a shrink, counts no more.
    """
    others = [ticket for ticket in tickets if ticket.name != own.name]
    live = counting(others, now_ms=now_ms, max_tokens=max_tokens)
    ahead = tuple(ticket for ticket in live if ticket.place < own.place)
    first_waits = max(0.0, (now_ms - min([own.arrival, *(ticket.arrival for ticket in ahead)])) / 1000)
    if not more or (others and others[-1].place > own.place) or (tickets and tickets[-1].name == own.name):
        return Standing(ahead=ahead, place=len(ahead) + 1, exact=True, first_waits=first_waits)
    same = [ticket for ticket in live if ticket.priority == own.priority]
    beyond = max(1, between(same, own)) if len(same) > 1 else SEEN
    return Standing(ahead=ahead, place=len(ahead) + beyond, exact=False, first_waits=first_waits)


def counting(tickets: Sequence[Ticket], *, now_ms: int, max_tokens: int) -> list[Ticket]:
    """Those that have not expired, and want no more slots than there are: the others have no place."""
    return [ticket for ticket in tickets if ticket.expires_at >= now_ms and ticket.count <= max_tokens]


def between(seen: Sequence[Ticket], later: Ticket) -> int:
    """By about how many places a ticket stands behind the last of some of its priority.

    By their numbers; if these do not tell, as if all had come at the pace of those seen, two at least.
    """
    last = seen[-1]
    if 0 < last.number < later.number:
        return later.number - last.number
    each = max(1.0, (last.arrival - seen[0].arrival) / (len(seen) - 1))
    return round((later.arrival - last.arrival) / each)


def number_after(seen: Sequence[Ticket], own: Ticket) -> int:
    """The number of a ticket that comes after these, of which the last may be before others."""
    same = [ticket for ticket in seen if ticket.priority == own.priority and ticket.arrival < own.arrival]
    if len(same) > 1:
        return same[-1].number + max(1, between(same, own))
    return same[0].number + 1 if same else 1


def hides_the_living(tickets: Sequence[Ticket], *, now_ms: int, max_tokens: int) -> bool:
    """Whether so few of the first tickets count that those behind them must be seen, too."""
    return len(counting(tickets, now_ms=now_ms, max_tokens=max_tokens)) < SEEN // 2


def expired(tickets: Sequence[Ticket], now_ms: int) -> tuple[Ticket, ...]:
    """Those whose waiters are dead."""
    return tuple(ticket for ticket in tickets if ticket.expires_at < now_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What was seen of another waiter.

    Attributes:
        asleep: Seconds for which it may have slept by now, at most, if it lives.
        still: Seconds for which its ticket has been seen without a refreshment.
    """

    asleep: float = HEAD_SECONDS
    still: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What of the free slots is a waiter's to take.

    Attributes:
        slots: The numbers of those slots; none if it is not its turn.
        left: All free slots that are left over by those before it, in order; more than it wants, or fewer, perhaps.
        passed_over: Tickets before its own whose waiters are taken for dead.
        turn_in: Seconds after which it will be its turn, if those before it do not move; infinite if that is unknown.
    """

    slots: frozenset[int]
    left: tuple[int, ...] = ()
    passed_over: tuple[Ticket, ...] = ()
    turn_in: float = math.inf


def share(
    ahead: Sequence[Ticket], count: int, free_for: Mapping[int, float], signs: Mapping[str, Signs] | None = None
) -> Share:
    """Which free slots are a waiter's to take.

    Args:
        ahead: The tickets before its own.
        count: How many slots it wants together.
        free_for: The free slots, each with the seconds for which it has been seen free.
        signs: What was seen of the waiters before it, by their tickets' names.
    """
    left = sorted(free_for)
    dwell = sorted(free_for.values(), reverse=True)
    passed: list[Ticket] = []
    turn_in, needed = math.inf, 0.0
    for ticket in ahead:
        seen = (signs or {}).get(ticket.name) or Signs()
        if ticket.count <= len(dwell):
            had, patience = dwell[ticket.count - 1], PATIENCE_SECONDS
        else:
            had, patience = min([*dwell[:1], seen.still]) if dwell else -math.inf, STILL_SECONDS
        # Each has its own time after those before it, and time to wake up.
        needed = max(needed + patience, seen.asleep + 1.0)
        if had >= needed and turn_in == math.inf:
            passed.append(ticket)
            continue
        if turn_in == math.inf and had >= 0.0:
            # If none of those before it moves, each is passed over after another such time.
            turn_in = needed - had + PATIENCE_SECONDS * (len(ahead) - len(passed) - 1)
        left = left[ticket.count :]  # nothing, if it wants more: nobody overtakes it
    if len(left) < count:
        return Share(slots=frozenset(), left=tuple(left), passed_over=tuple(passed), turn_in=turn_in)
    return Share(slots=frozenset(left[:count]), left=tuple(left), passed_over=tuple(passed), turn_in=0.0)


def free_slots(view: View, *, max_tokens: int, expired_before: int) -> list[int]:
    """The slots of a view that can be had: free, expired, missing or retired ones."""
    numbers = range(view.covered.start, min(view.covered.stop, max_tokens))
    return [n for n in numbers if n not in view.slots or is_idle(view.slots[n], expired_before=expired_before)]


def only(view: View, *, free: Sequence[int], ours: frozenset[int]) -> View:
    """The view as it looks to a waiter to whom of the free slots only `ours` are left."""
    # A foreign item is neither claimed nor minted over, and does not circulate: just what holds for others' slots.
    others = {n: replace(view.slots.get(n) or Slot(number=n, fence=0), foreign=True, lease=None) for n in free}
    return replace(view, slots={**view.slots, **{n: slot for n, slot in others.items() if n not in ours}})


def ours_alone(slots: Mapping[int, Slot | None], *, view: View) -> View:
    """A view of these slots, None for a missing one, as if all between them were others'."""
    numbers = range(min(slots), max(slots) + 1)
    others = {n: Slot(number=n, fence=0, foreign=True) for n in numbers if n not in slots}
    there = {n: slot for n, slot in slots.items() if slot is not None}
    return replace(view, slots=others | there, covered=numbers)


def has_strays(view: View, max_tokens: int) -> bool:
    """Whether a slot in circulation lies at or above `max_tokens`."""
    return any(n >= max_tokens and circulates(slot) for n, slot in view.slots.items())


def pace_of(standing: Standing, *, seen: float | None) -> float:
    """Seconds for which the queue needs to move by one.

    Args:
        standing: Where a waiter stands.
        seen: The pace at which it has seen the queue move; None if it has not moved enough yet to tell. In a queue that
            neither grows nor shrinks, the first has waited for as long as all now in it will need. A crowd that has
            just come has an older first before long, so what that says too quickly is corrected in time.
    """
    return standing.first_waits / max(1, standing.place - 1) if seen is None else seen


def next_look(place: int, *, pace: float, near: bool = False) -> float:
    """Seconds until a waiter looks again.

    The first looks often. Others look after a quarter of the time that the queue needs to reach them, at its pace. But
    whoever is near looks more often than a slow queue would need, as several slots may come free at once, and as those
    before it may be dead.

    Args:
        place: Its place; 1 is the first.
        pace: Seconds for which the queue needs to move by one.
        near: Whether it could be served if every slot came free.
    """
    at_pace = max(QUICKEST_SECONDS, LOOK_PART * max(pace, QUICKEST_PACE) * place)
    return min(longest_sleep(place, near=near), at_pace, longest(place, pace=pace, least=FAR_SECONDS))


def longest_sleep(place: int, *, near: bool) -> float:
    """The longest time between two looks of a waiter at a place, whatever the queue's pace."""
    wait = HEAD_SECONDS * place * math.sqrt(place)
    return min(wait, NEAR_SECONDS) if near else wait


def glance(place: int) -> float:
    """How often a waiter looks at slots that are too few for it: the bucket may have grown, or all before it be dead.

    Those before it have as much time together, each its own `PATIENCE_SECONDS`.
    """
    return min(FAR_SECONDS, PATIENCE_SECONDS * (place - 1))


def longest(place: int, *, pace: float, least: float) -> float:
    """How much time may pass at most between two looks, or two refreshments, of a waiter at a place."""
    return max(least, min(FARTHEST_SECONDS, FAR_PART * pace * place))


def arrival_after(last: Ticket | None, *, now_ms: int) -> int:
    """The arrival of a newcomer: now, but later than the last one's of its priority, whose clock may be ahead.

    An arrival that lies far ahead, which only an edit by hand makes, is not followed.
    """
    if last is None or last.arrival > now_ms + 1000 * LIVES * FARTHEST_SECONDS:
        return now_ms
    return max(now_ms, last.arrival + 1)
