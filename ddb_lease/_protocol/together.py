"""Leases of several buckets, all or none: in which order they are tried, waited for and given back.

Invariants:

- Nothing is held while anything is waited for, so no order of the buckets leads to a deadlock, and nobody who waits for
  a full bucket keeps slots of another one from those who could use them.
- Who could not have all gives back what it has, rests for a random time, and waits for the bucket that was full.
  Without the rest, two callers can take turns at failing for ever.
- No I/O and no clock: chance comes in.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from ddb_lease._protocol.retry import full_jitter

REST_SECONDS = (0.1, 2.0)
"""First bound and cap of the rest."""


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait for the lease at this place. Whoever drives this raises if it cannot be had in time."""

    place: int


@dataclass(frozen=True, slots=True)
class TryFor:
    """Take the lease at this place, if it can be had now; sent whether it could."""

    place: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Release all that was had so far."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Rest for so many seconds."""

    seconds: float


Move: TypeAlias = WaitFor | TryFor | GiveBack | Rest


def together(count: int, chance: Random) -> Generator[Move, bool, None]:
    """The moves until all of `count` leases are held; each is sent whether it worked."""
    first, failures = 0, 0
    while True:
        yield WaitFor(first)
        missing = None
        for place in range(count):
            if place != first and not (yield TryFor(place)):
                missing = place
                break
        if missing is None:
            return
        failures += 1
        yield GiveBack()
        yield Rest(full_jitter(REST_SECONDS, failures, chance))
        first = missing
