"""Batching: one charge for all who wait in this process. Values in, values out.

A process sends one charge of a key at a time. While it is under way, others queue; the next charge books for all of
them, in order. So the throughput is the rate, and not one permit in each round trip.

Invariants:

- Order is kept: a batch is a prefix of the queue. Nobody passes a waiter who cannot be booked yet.
- A batch admits nothing that single charges would not: together its permits are at most a burst; and each waiter's own
  horizon holds for its own permits, which those behind it in the batch do not delay.
- Permits of several limits are used as of one time, so a batch of them has one due time: that of its first waiter.
- How far ahead a waiter may book grows with how long it has waited. So of those who cannot book yet, in any process,
  the one who waits longest is the first who can; and a newcomer does not take the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ddb_lease._protocol.rates.charging import Denial, NotBefore, Wanted, earliest_due, horizon_of, limits_of
from ddb_lease._protocol.rates.records import KeyState, Policy

MOST_TOGETHER = 1_000
"""Waiters in one batch, at most: planning it takes time, and more have no use of one write."""

AGE_SHARE = 4
"""A waiter's horizon grows by a second for so many seconds that it has waited, from half of the longest horizon on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One waiter, as the queue has it; times in nanoseconds.

    Attributes:
        wanted: Its permits.
        left: How much longer it waits at most; 0 if it does not wait.
        age: How long it has waited.
    """

    wanted: Wanted
    left: int
    age: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Waiters at the head of the queue that one charge may book for.

    Attributes:
        size: How many of them.
        wanted: Their permits, together.
        horizon: How far ahead the charge may book; each waiter's own horizon then holds.
    """

    size: int
    wanted: Wanted
    horizon: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Not yet: try again in `seconds`, unless something comes free before.

    Attributes:
        seconds: When it is worth another try.
        due: When the permits would be due, if that is known.
    """

    seconds: float
    due: int | None


def plan(
    policy: Policy, state: KeyState | None, places: Sequence[Place], *, now: int, prefetch: int = 0
) -> Batch | Wait | Denial:
    """For how many of those who wait a charge may book, by the item as last seen.

    Args:
        policy: As last read.
        state: The key's item as last seen.
        places: The queue, in order; not empty.
        now: The service's time.
        prefetch: How many permits to take at least, if one limit is charged.

    Returns:
        A `Batch`; `Wait` if the first one may book later; a `Denial` if it cannot be served in its time, or not at all.
    """
    first = places[0]
    due = earliest_due(policy, state, first.wanted, now=now)
    if not isinstance(due, NotBefore) or due.at > now + first.left:
        return due
    horizon = _horizon(policy, state, first)
    if due.at > now + horizon:
        return Wait(seconds=_until_next_try(policy, state, first, due.at - now), due=due.at)
    single = _single(first.wanted)
    size, wanted = 1, first.wanted
    for place in places[1:MOST_TOGETHER]:
        if place.wanted.reserved or first.wanted.reserved or _single(place.wanted) != single:
            break
        together = _sum(wanted, place.wanted)
        then = earliest_due(policy, state, together, now=now)
        if not isinstance(then, NotBefore) or then.at > now + _horizon(policy, state, place):
            break
        if single is None and then.at != due.at:
            break
        cost = _cost(policy, state, place)
        # A waiter is due before those behind it: their permits come on top of its horizon.
        horizon = min(horizon + cost, _horizon(policy, state, place)) if single else horizon
        size, wanted = size + 1, together
    if single and prefetch:
        wanted, horizon = _with_prefetch(policy, state, wanted, horizon, name=single, prefetch=prefetch, now=now)
    return Batch(size=size, wanted=wanted, horizon=horizon)


def _with_prefetch(
    policy: Policy, state: KeyState | None, wanted: Wanted, horizon: int, *, name: str, prefetch: int, now: int
) -> tuple[Wanted, int]:
    """The same charge, with permits on top that nobody waits for yet; due later, but within the longest horizon."""
    limit, count = limits_of(policy, state)[name], wanted.booked[name]
    found = None if state is None else state.limits.get(name)
    held = 0 if found is None else found.held
    debt = 0 if found is None else max(0, found.tat - now)
    room = (limit.tolerance - held) // limit.interval - count
    due_now = max(0, room - debt // limit.interval)
    longest = horizon_of(1 << 62, wanted, {name: limit})
    wait = max(0, debt + held + count * limit.interval - limit.tolerance)
    more = max(0, min(prefetch - count, due_now + max(0, longest - wait) // limit.interval, room))
    return Wanted(booked={name: count + more}), min(horizon + more * limit.interval, longest)


def _horizon(policy: Policy, state: KeyState | None, place: Place) -> int:
    limits = limits_of(policy, state)
    longest = horizon_of(1 << 62, place.wanted, limits)
    return min(place.left, longest, longest // 2 + place.age // AGE_SHARE)


def _until_next_try(policy: Policy, state: KeyState | None, place: Place, ahead: int) -> float:
    """When a waiter who cannot book yet should try again, in seconds.

    If others go on booking as far ahead as now, its own horizon must grow until it reaches that far. If nobody books
    any more, it must come back before all is used that is booked: half of that time is soon enough. A quarter of it is
    soon enough in any case, so that a crowd of waiters costs few requests: each at most one in four seconds.
    """
    missing = ahead - _horizon(policy, state, place)
    return max(1, min(max(AGE_SHARE * missing, ahead // 4), max(missing, ahead // 2))) / 1e9


def _single(wanted: Wanted) -> str | None:
    """The limit, if it is one, and nothing is reserved."""
    return wanted.limits[0] if len(wanted.limits) == 1 and not wanted.reserved else None


def _cost(policy: Policy, state: KeyState | None, place: Place) -> int:
    limits = limits_of(policy, state)
    return sum(place.wanted.booked_ns(name, limits[name]) for name in place.wanted.limits)


def _sum(one: Wanted, other: Wanted) -> Wanted:
    names = {*one.booked, *other.booked}
    return Wanted(booked={name: one.booked.get(name, 0) + other.booked.get(name, 0) for name in names})
