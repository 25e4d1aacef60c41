"""Records: the table's items as values, and the limits of the data model.

Invariants:

- Values only: frozen, slotted, keyword-only. No I/O, no clock, no boto3.
- Times are whole milliseconds since the epoch by the service's clock; their names end in `_ms` or `_at`. A deadline
  alone is in seconds of this machine's steady clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ddb_lease.models import Data, Order

SCHEMA = 1
"""Version of the data model that this library writes and reads."""

MAX_TOKENS = 100_000
"""Slots a bucket may have: five digits in the sort key."""

LONGEST_LEASE_MS = 365 * 86_400_000
"""A year: anything held longer is a reservation, not a lease."""

PER_TRANSACTION = 99
"""Slots in one TransactWriteItems of at most 100 items, as the counter takes one place."""

PER_BATCH = 25
"""Renewals in one BatchExecuteStatement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a bucket is created with; `order` is None where the client takes what is stored, and else makes ``any``."""

    max_tokens: int
    lease_ms: int
    order: Order | None = None

    def differ(self, stored: Settings) -> bool:
        """Whether these, which a client wants, are others than those stored."""
        return replace(self, order=self.order or stored.order) != stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """The bucket's one item that bounds how many slots are in circulation."""

    max_tokens: int
    minted: int
    rev: int
    lease_ms: int
    schema: int = SCHEMA
    order: Order = "any"

    @property
    def settings(self) -> Settings:
        """The settings, which a client chooses."""
        return Settings(max_tokens=self.max_tokens, lease_ms=self.lease_ms, order=self.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """The attributes of a lease, in its slot's item."""

    lease_id: str
    owner: str
    acquired_at: int
    expires_at: int
    data: Data = field(default_factory=dict)
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One token slot as the table shows it; `lease` is None while it is free.

    `foreign` marks an item that does not have our shape (edits by hand, another program): it is neither claimed nor
    minted over. A lease on it can still be renewed, revoked and released by its id.
    """

    number: int
    fence: int
    lease: Claimant | None = None
    retired: bool = False
    foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one look brought: the counter, if the look included it, and the slots numbered in `covered`.

    A number in `covered` without a slot has no item. It is not a snapshot: a Query can show half of a transaction.
    """

    counter: Counter | None
    slots: Mapping[int, Slot]
    covered: range
    counter_looked_for: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A lease, as just acquired.

    Attributes:
        slots: The slots taken together, mostly one; in rising order.
        lease_ms: The length that each renewal gives it. It was acquired for longer if `hold_ms` is.
        margin: Seconds by which the holder stops believing before the lease expires in the table.
        deadline: Until when the holder may believe in it, in seconds of the steady clock.
        hold_ms: For how long after `acquired_at` nobody else may have the slots, even if the lease ends before
            (`hold_at_least`). Only an acquire that was interrupted, and a reset, let them go at once.
    """

    lease_id: str
    slots: tuple[int, ...]
    fence: int
    owner: str
    data: Data
    acquired_at: int
    expires_at: int
    lease_ms: int
    margin: float
    deadline: float
    hold_ms: int = 0

    @property
    def closed_until(self) -> int:
        """Until when nobody else may have the slots, in ms; in the past if that was not asked for."""
        return self.acquired_at + self.hold_ms
