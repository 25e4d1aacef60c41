"""Settling reservations: what was used becomes a charge, and the rest is given back. Values in, values out.

To move `tat` back by what was not used is unsound: by then, a bucket without the reservation would have overflowed,
and the permits given back could be had twice. So a reservation is *held*, apart from `tat`. When it is settled, `held`
falls by all of it, and `tat` rises by what was used, from now on.

Invariants:

- While it is held, all of it counts as used. Once it is settled, what was used counts as used at that moment; so
  permits must be used before they are settled, and before `Hold.until`.
- A process's hold is one attribute, and each change of it requires the change before. So each settlement happens once;
  and a process whose hold was swept finds that out, and changes nothing.
- Whoever meets a hold that is past its time may settle it in full.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ddb_lease._protocol.rates.charging import Attempt, limits_of, longest_tolerance, ttl_of
from ddb_lease._protocol.rates.messages import LimitSettlement, Settle
from ddb_lease._protocol.rates.records import Hold, KeyState, Policy
from ddb_lease._protocol.rates.validation import NS

SWEPT_AFTER = 2 * NS
"""How long after its time a hold is swept: the clocks of its process and of the one that sweeps may be a second off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Permits of one limit that a reservation holds.

    Attributes:
        permits: How many.
        interval: What each of them costs: the interval when they were reserved, whatever the policy says by now.
    """

    permits: int
    interval: int

    @property
    def held(self) -> int:
        """What they cost together."""
        return self.permits * self.interval


@dataclass(frozen=True, slots=True)
class Swept:
    """The hold is gone: it was swept, so all of it counts as used; or the key was reset. Nothing is to be sent."""


def settle(
    policy: Policy,
    state: KeyState | None,
    reserved: Mapping[str, Reserved],
    used: Mapping[str, int],
    *,
    attempt: Attempt,
    known: Collection[str],
    now: int,
    retention: int,
) -> Settle | Swept:
    """The settlement of a reservation, or of several reservations of this process together.

    Args:
        policy: As last read.
        state: The key's item as last seen.
        reserved: What is settled, by limit.
        used: Permits used, by limit: fewer than reserved, or more. A limit that is missing was used in full.
        attempt: Who settles; an attempt of its own.
        known: Attempts of this process that changed its hold since it reserved, its reservation's own among them; one
            whose outcome is not known too. Any other means that the hold was swept, and made anew.
        now: The service's time.
        retention: As for `charging.propose`.
    """
    hold = None if state is None else state.holds.get(attempt.process)
    if state is None or hold is None or hold.attempt not in known:
        return Swept()
    parts = tuple(
        _part(state, name, one.held, used.get(name, one.permits) * one.interval, now)
        for name, one in sorted(reserved.items())
        if name in state.limits
    )
    return _settle(policy, state, hold, parts, attempt=attempt, now=now, retention=retention)


def sweep(policy: Policy, state: KeyState, *, attempt: Attempt, now: int, retention: int) -> Settle | None:
    """The settlement, in full, of a hold that is past its time; None if there is none.

    Args:
        policy: As last read.
        state: The key's item as last seen.
        attempt: Who sweeps; its `process` is the one whose hold is never swept: it settles by itself.
        now: The service's time.
        retention: As for `charging.propose`.
    """
    for process, hold in sorted(state.holds.items()):
        if process != attempt.process and hold.until + SWEPT_AFTER < now:
            parts = tuple(
                _part(state, name, held, held, now) for name, held in sorted(hold.held.items()) if name in state.limits
            )
            return _settle(
                policy, state, hold, parts, attempt=replace(attempt, process=process), now=now, retention=retention
            )
    return None


def _settle(
    policy: Policy,
    state: KeyState,
    hold: Hold,
    parts: tuple[LimitSettlement, ...],
    *,
    attempt: Attempt,
    now: int,
    retention: int,
) -> Settle:
    settled = {part.name: part.held for part in parts}
    left = {name: amount - settled.get(name, 0) for name, amount in hold.held.items() if name in state.limits}
    rest = {name: amount for name, amount in left.items() if amount > 0}
    owed = max((_reach_after(state, part, now) for part in parts), default=now)
    # Only a debt may outlive the TTL that the reservation wrote.
    ttl = ttl_of(longest_tolerance(limits_of(policy, state)), state, due=now, until=owed, retention=retention)
    return Settle(
        key=attempt.key,
        limits=parts,
        now=now,
        process=attempt.process,
        hold_before=hold.attempt,
        hold=replace(hold, held=rest, attempt=attempt.id) if rest else None,
        lane=attempt.lane,
        attempt=attempt.id,
        ttl=ttl if any(part.used > part.held for part in parts) else None,
    )


def _part(state: KeyState, name: str, held: int, used: int, now: int) -> LimitSettlement:
    found = state.limits[name]
    # Only an edit by hand leaves less than the holds say.
    return LimitSettlement(name=name, idle=found.tat < now, used=used, held=min(held, max(0, found.held)))


def _reach_after(state: KeyState, part: LimitSettlement, now: int) -> int:
    found = state.limits[part.name]
    return max(found.tat, now) + part.used + found.held - part.held
