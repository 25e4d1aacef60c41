"""Events: what a bucket reports to its `on_event`, for metrics.

Invariants:

- Values only, frozen, each with its bucket's name. No decision depends on them.
- Every `Acquired` is followed by exactly one `Released`, `Lost` or `HandedOver`, unless the process dies first. In a
  forked child there are no events of the parent's leases.
- Each is reported on the thread named below. A thread of the library's own queues it instead, for a thread for
  callbacks; so does any thread while earlier events of its bucket wait. Events of one lease come in order.
- Fields with many values (a lease's id, a slot) are apart from fields with few (bucket, operation, reason).

Example:
    >>> from ddb_lease import LeaseBucket, events, local
    >>> def on_event(event):
    ...     match event:
    ...         case events.Acquired():
    ...             print(f"acquired {len(event.slots)} of {event.bucket}")
    ...         case events.Lost():
    ...             print(f"lost: {event.reason}")
    >>> bucket = LeaseBucket("crawl", max_tokens=2, on_event=on_event, **local.connect())
    >>> with bucket.acquire(timeout=60) as lease:
    ...     lease.check()
    acquired 1 of crawl
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ddb_lease.errors import LossReason

__all__ = [
    "Acquired",
    "Contended",
    "Event",
    "HandedOver",
    "Lost",
    "OnEvent",
    "ReMinted",
    "Released",
    "Renewed",
    "Throttled",
    "ThrottledBy",
    "Waiting",
]

ThrottledBy: TypeAlias = Literal["key range", "table", "account", "unknown"]
"""What throttles a request: see `Throttled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """A lease was acquired, or adopted. Reported on the thread that acquires, before it gets the lease.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        slots: Its slots, mostly one.
        fence: Its fencing token.
        waited_seconds: From the call of `acquire` until the slot was claimed, on the steady clock.
        requests: How many requests that took: looks, claims and resends.
        ticket: In an ordered bucket: as in the events `Waiting` of this acquire; empty if it has not waited.
    """

    bucket: str
    lease_id: str
    slots: tuple[int, ...]
    fence: int
    waited_seconds: float
    requests: int
    ticket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A lease was renewed on all of its slots. Reported on a thread for callbacks, or on the one that calls `renew`.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        late_seconds: How much later than planned the renewal was answered, because of failed tries, a slow service or a
            busy machine; 0.0 if it was early. When this nears two thirds of the lease, the lease is in danger.
    """

    bucket: str
    lease_id: str
    late_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """A lease was given back by its holder; once for each lease. Reported on the thread that released it, or queued.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        freed: Whether the table confirmed it. False if the release got no usable answer, or the slot was no longer
            ours: then the slot comes back by expiry, if it has not come back yet.
    """

    bucket: str
    lease_id: str
    freed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A lease was lost; once for each lease. Reported on a thread for callbacks, beside the lost-callback.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        reason: Why.
        cause: For people. If it was lost as unreachable or suspended: what became of the last renewal. If as released:
            who ended it. Else empty.
    """

    bucket: str
    lease_id: str
    reason: LossReason
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A lease was handed over by its holder; once for each lease. Reported on the thread that hands it over, or queued.

    Who adopts it reports an `Acquired`, with another lease id.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
    """

    bucket: str
    lease_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contended:
    """Another client was faster, or in the way. Not a failure. Reported on the thread that sent the request.

    Attributes:
        bucket: The bucket's name.
        operation: What was sent: claim, mint, take, renew and so on; docs/protocol.md has the request behind each.
        slots: The slots concerned, as far as known.
        reason: ``taken``: another client has the slot by now. ``conflict``: DynamoDB refused the request
            (TransactionConflict), as another transaction was under way on the item.
    """

    bucket: str
    operation: str
    slots: tuple[int, ...]
    reason: Literal["taken", "conflict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """DynamoDB throttled a request; it is sent again after a pause. Reported on the thread that sent it.

    Attributes:
        bucket: The bucket's name.
        operation: As in `Contended`.
        limit: What throttles. ``key range``: one partition's throughput, so this bucket, or this table's keys about it,
            are hot. ``table``: the cap, or the provisioned capacity, that somebody set for the table. ``account``: the
            account's quota in this region. ``unknown``: DynamoDB does not say, as for transactions and single
            statements of a batch, or this botocore is too old to show it.
    """

    bucket: str
    operation: str
    limit: ThrottledBy = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An acquire waits in the queue of a bucket with ``order="fifo"``, and its place has changed.

    Reported on the thread that acquires, when it joins the queue, and with each look that shows another place. Of a
    process's waiters only the first has a place; in other buckets there are none.

    Attributes:
        bucket: The bucket's name.
        place: Its place; the first has 1. It may rise: those of a higher priority come before it.
        exact: Whether it was seen; beyond the first 32 it is estimated.
        waited_seconds: Since the call of `acquire`, on the steady clock.
        count: How many slots it wants together.
        priority: Its priority.
        ticket: Which acquire: the same in all its events, and in its `Acquired`.
    """

    bucket: str
    place: int
    exact: bool
    waited_seconds: float
    count: int = 1
    priority: int = 0
    ticket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReMinted:
    """A missing slot, deleted by TTL or by hand, was minted again. Reported on the thread that acquires.

    Attributes:
        bucket: The bucket's name.
        slot: Its number.
    """

    bucket: str
    slot: int


Event: TypeAlias = Acquired | Renewed | Released | Lost | HandedOver | Contended | Throttled | ReMinted | Waiting
"""All events that `on_event` can be called with. There may be more later: ignore what you do not know."""

OnEvent: TypeAlias = Callable[[Event], object]
"""The type of `on_event` of a `LeaseBucket`."""
