"""A share of a rate: by what a process limits alone, while the service does not answer. Values in, values out.

Invariants:

- A share of a limit is slower, and its burst smaller, by the same factor; both are rounded to the strict side. One
  permit at once remains, as a burst of none would admit nothing.
- Charged is as the table charges several limits: all of them as of the due time of the permits, or none.
- A reservation is charged in full: nobody settles it here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.records import KeyState, LimitPolicy, LimitState, Policy

_REV = 0
"""Of a policy that is stored nowhere."""


def share_of(limits: Mapping[str, LimitPolicy], share: float) -> Policy:
    """The policy that admits this share of the limits.

    Args:
        limits: By name, as they hold for the key.
        share: More than 0, and 1 at most.
    """
    return Policy(limits={name: _part(limit, share) for name, limit in limits.items()}, rev=_REV)


def charged(policy: Policy, state: KeyState | None, wanted: Wanted, *, due: int) -> KeyState:
    """A key's state after a charge of permits that are used at `due`."""
    limits = {} if state is None else dict(state.limits)
    for name in wanted.limits:
        limit, found = policy.limits[name], limits.get(name)
        begun = due if found is None else max(found.tat, due)
        tat = begun + wanted.booked_ns(name, limit) + wanted.reserved_ns(name, limit)
        limits[name] = LimitState(tat=tat, reach=tat)
    return KeyState(limits=limits, rev=_REV)


def is_idle(state: KeyState, *, now: int) -> bool:
    """Whether all permits of a key are paid for: its state is then as good as none."""
    return all(limit.tat <= now for limit in state.limits.values())


@functools.lru_cache(maxsize=256)
def _part(limit: LimitPolicy, share: float) -> LimitPolicy:
    part = Fraction(share).limit_denominator(1_000_000)
    return replace(
        limit,
        interval=-(-limit.interval // part),
        burst=max(1, int(limit.burst * part)),
        permits=limit.permits * share,
        rev=_REV,
    )
