"""Where a key stands: what could be had now, and when. Values in, values out; for people and for decisions alike.

Invariants: it says what `charging.propose` would do if nobody else charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ddb_lease._protocol.rates.charging import Wanted, adopted, limits_of
from ddb_lease._protocol.rates.records import KeyState, LimitPolicy, LimitState, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStanding:
    """One limit of a key at one moment; times in nanoseconds from then on.

    Attributes:
        remaining: Permits that could be had at once.
        retry_after: Until one can be had; 0 if one can. If reservations hold the whole burst, as if they were used.
        reset_after: Until the whole burst can be had, as if all that is held was used; 0 if it can.
        held: Permits that reservations hold, rounded up.
    """

    remaining: int
    retry_after: int
    reset_after: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All limits of a key at one moment.

    Attributes:
        limits: By name.
        tightest: The limit with the longest `retry_after`; among equal ones, with the smallest part of its burst left.
    """

    limits: Mapping[str, LimitStanding]
    tightest: str


def standing(policy: Policy, state: KeyState | None, *, now: int) -> Standing:
    """Where a key stands; `state` is None if there is no item."""
    limits, known = limits_of(policy, state), adopted(policy, state)
    blocked = 0 if known is None else max(0, known.blocked_until - now)
    found = {
        name: _one(limit, None if known is None else known.limits.get(name), now, blocked)
        for name, limit in limits.items()
    }
    tightest = min(found, key=lambda name: (-found[name].retry_after, found[name].remaining / limits[name].burst, name))
    return Standing(limits=found, tightest=tightest)


def shortage(policy: Policy, state: KeyState | None, wanted: Wanted, *, now: int) -> dict[str, int]:
    """How long each limit that is wanted needs until it has room, in nanoseconds, as if all that is held was used."""
    limits, known = limits_of(policy, state), adopted(policy, state)
    blocked = 0 if known is None else max(0, known.blocked_until - now)
    return {
        name: max(
            blocked,
            wanted.booked_ns(name, limits[name])
            + wanted.reserved_ns(name, limits[name])
            - _room(limits[name], None if known is None else known.limits.get(name), now),
        )
        for name in wanted.limits
        if name in limits
    }


def _room(limit: LimitPolicy, state: LimitState | None, now: int) -> int:
    return limit.tolerance if state is None else limit.tolerance - max(0, state.tat - now) - state.held


def _one(limit: LimitPolicy, state: LimitState | None, now: int, blocked: int) -> LimitStanding:
    debt = 0 if state is None else max(0, state.tat - now)
    held = 0 if state is None else state.held
    room = _room(limit, state, now)
    return LimitStanding(
        remaining=0 if blocked else max(0, room // limit.interval),
        retry_after=max(blocked, limit.interval - room, 0),
        reset_after=max(blocked, debt + held),
        held=-(-held // limit.interval),
    )
