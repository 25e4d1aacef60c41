"""Listing a whole table, for people: the request for a page of it, what a page shows, and what all pages add up to.

Invariants:

- Values only. No decision rests on them: a listing is no snapshot, and old when it comes.
- An item that cannot be read is counted, and hides no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ddb_lease._protocol.rates.records import KeyState, Policy
from ddb_lease._protocol.records import Counter, Slot
from ddb_lease._protocol.tickets import Ticket
from ddb_lease.models import BucketStatus, LeaseInfo, Limit, Order, Waiter

Position: TypeAlias = tuple[str, str]
"""The key of an item: where a page ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """Read a page of the table: one Scan, eventually consistent, of at most 1 MB (128 RCU).

    It shows counters, leased slots, tickets, policies and keys of rates, without what holders attached. Free slots are
    not sent, though they are read and paid for.

    Attributes:
        after: The item that the last page ended with; None for the first page.
        limit: How many items are read at most; None for a whole page.
    """

    after: Position | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateKey:
    """A key of a rate.

    Attributes:
        key: Its name; empty for a rate without keys.
        state: What a limit without a name was charged, and until when the key is blocked.
    """

    key: str
    state: KeyState


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One item of the table that is ours.

    Attributes:
        name: The bucket's or the rate's name.
        item: What it is.
    """

    name: str
    item: Counter | Slot | Ticket | Policy | RateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PageIs:
    """The answer to a `ListPage`.

    Attributes:
        found: The items that are ours.
        unreadable: How many were under a key of ours, and cannot be read.
        scanned: How many items were read, and paid for.
        after: Where the page ends; None if nothing follows.
        read_units: What it cost in RCU; None if the service does not say.
    """

    found: tuple[Found, ...]
    unreadable: int
    scanned: int
    after: Position | None
    read_units: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketListing:
    """A bucket in a listing.

    Attributes:
        kind: A ``window`` is a bucket whose leases are the permits of a `SlidingWindow`.
        leases: Every lease, by slot, expired ones included; without data.
        order: In which order a full bucket's slots go to its waiters.
        queue: Who waits, if that is ``fifo``, first to last; the first 32 at most.
        waiting: How many wait, if that is ``fifo``: of other buckets nobody knows.
    """

    name: str
    kind: Literal["bucket", "window"] = "bucket"
    max_tokens: int
    lease_seconds: float
    leases: tuple[LeaseInfo, ...] = ()
    order: Order = "any"
    queue: tuple[Waiter, ...] = ()
    waiting: int = 0

    @property
    def running(self) -> tuple[LeaseInfo, ...]:
        """The leases that have not expired."""
        return tuple(lease for lease in self.leases if not lease.expired)

    @property
    def used(self) -> int:
        """Tokens that are leased."""
        return sum(lease.slot < self.max_tokens for lease in self.running)

    @property
    def oldest(self) -> LeaseInfo | None:
        """The running lease that was acquired first."""
        return max(self.running, key=lambda lease: lease.age_seconds, default=None)


def listed(status: BucketStatus) -> BucketListing:
    """A bucket that was read by itself, as in a listing."""
    return BucketListing(
        name=status.name,
        max_tokens=status.max_tokens,
        lease_seconds=status.lease_seconds,
        leases=status.leases,
        order=status.order,
        queue=status.queue,
        waiting=status.waiting,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateListing:
    """A rate in a listing.

    Attributes:
        limits: By name.
        available: Permits that can be had at once; None if that is another number for each key, or for each limit.
        wait_seconds: Until one can be had; 0 if one is available, or that is not known.
        keys: How many keys were used lately.
        blocked: How many of its keys are blocked, or 1 if it has no keys and is.
    """

    name: str
    limits: Mapping[str, Limit] = field(default_factory=dict)
    available: int | None = None
    wait_seconds: float = 0.0
    keys: int = 0
    blocked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableListing:
    """All buckets and rates of a table, by name.

    Attributes:
        items: How many items were read.
        unreadable: How many of them are under keys of ours and cannot be read.
        read_units: What it cost in RCU; None if the service does not say.
        pages: How many requests it took.
    """

    table: str
    buckets: tuple[BucketListing, ...]
    rates: tuple[RateListing, ...]
    items: int
    unreadable: int
    read_units: float | None
    pages: int
