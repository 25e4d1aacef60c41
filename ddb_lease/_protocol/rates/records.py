"""Records of rates: the policy's item and a key's item as values.

Invariants:

- Values only: frozen, slotted, keyword-only. No I/O, no clock, no boto3.
- Every time is a whole number of nanoseconds, as milliseconds are longer than the intervals of fast rates. A point in
  time counts from the epoch by the service's clock. Only an item's `ttl` is in seconds.
- In every state that the library writes, `reach` is `tat` + `held`. It is stored, because a condition of DynamoDB
  cannot add two attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RATES_SCHEMA = 2
"""Version of the data model of rates. Version 1 had one item for each name, and no policy."""

LANES = 8
"""How many attempts a key's item records, each in a lane of its own."""

MOST_LIMITS = 10
"""Limits of one limiter: an item with so many, all of them charged, fits into one expression of 4 KB."""

LONGEST_LIMIT_NAME = 32
"""Characters of a limit's name, which is a keyword argument too."""

LONGEST_KEY_BYTES = 512
"""Bytes of a key in UTF-8. The sort key may have 1,024, and a key counts towards the item's size."""

SHARDS = 64
"""Partition keys over which the keys of one limiter are spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPolicy:
    """What one limit admits, as the policy or a key's override has it.

    Attributes:
        interval: From one permit to the next: `per` / `permits`, rounded up once (see `validation`).
        burst: Permits at once.
        permits: As the user gave it, for people.
        per: Seconds, as the user gave them, for people.
        rev: The policy's `rev` when this limit was last changed; 0 in an override.
        since: The time of that change. Charges of a key that was last charged under an older `rev` start from
            `since` + `tolerance` at the latest.
        tolerance: How far ahead of a permit's due time its charge may reach: `burst` intervals.
    """

    interval: int
    burst: int
    permits: float
    per: float
    rev: int = 0
    since: int = 0
    tolerance: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", self.burst * self.interval)  # asked for again and again by each decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The stored policy of a limiter: it rules for all processes and keys.

    Attributes:
        limits: Limits by name. A limiter with one unnamed limit has the name ``permits``.
        rev: Rises with every change. It starts at the creation time in milliseconds, so that it also rises when the
            item is deleted and created anew.
    """

    limits: Mapping[str, LimitPolicy]
    rev: int
    schema: int = RATES_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """One limit of a key, as the table shows it.

    Attributes:
        tat: The theoretical arrival time: when all permits charged so far are paid for.
        held: What reservations hold: used as far as anybody knows, and not settled.
        reach: `tat` + `held`. It is at most the tolerance ahead of the due time of every permit.
    """

    tat: int
    held: int = 0
    reach: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What one process holds by its reservations, all together: one attribute of the key's item.

    Only its process changes it, one write at a time; anybody removes it once `until` is past. `attempt` is that of the
    last change: each change requires the one before it, so each happens once, however often it is sent.

    Attributes:
        held: Nanoseconds by limit, at the interval that held when they were reserved.
        until: When they must be settled; after it, anybody may settle them in full.
        attempt: The id of the attempt that wrote it.
    """

    held: Mapping[str, int]
    until: int
    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """A key's item as the table shows it.

    Attributes:
        limits: Limits by name. Those that were never charged are missing; those that the policy has no more may remain.
        rev: The `rev` of the policy under which it was charged last.
        lanes: The last attempt in each lane.
        holds: Holds by process.
        override: Limits that differ from the policy for this key.
        override_rev: Rises with every change of `override`; 0 if there never was one.
        blocked_until: Nothing is due before; 0 if the key was never blocked.
    """

    limits: Mapping[str, LimitState] = field(default_factory=dict)
    rev: int
    lanes: Mapping[int, str] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    override: Mapping[str, LimitPolicy] = field(default_factory=dict)
    override_rev: int = 0
    blocked_until: int = 0
