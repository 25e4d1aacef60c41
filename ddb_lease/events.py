"""Events: what a bucket tells its `on_event`, for metrics.

Invariants:

- Values only, frozen, each with its bucket's name. Nothing here is asked by any decision.
- Every `Acquired` is followed by exactly one end, `Released` or `Lost`; unless the process dies first, or forks: a
  child's leases are the parent's, and no event tells of them in the child.
- What could have many values (a lease's id, a slot) and what has few (bucket, operation, reason) are different fields.

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

__all__ = ["Acquired", "Contended", "Event", "Lost", "OnEvent", "ReMinted", "Released", "Renewed", "Throttled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """A lease was won. Told on the thread that acquires, before it gets the lease.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        slots: The slots that it is on, mostly one.
        fence: Its fencing token.
        waited_seconds: From the call of `acquire` until it was won, on the steady clock.
        requests: How many requests that took: looks, claims, and whatever was sent again.
    """

    bucket: str
    lease_id: str
    slots: tuple[int, ...]
    fence: int
    waited_seconds: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A lease was renewed, on all of its slots. Told on a worker of the heartbeat, or on the thread that calls `renew`.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        late_seconds: How much later than planned it was answered, by failed tries before it, by a slow service or by
            a busy machine; 0.0 for one that came early. Where this nears two thirds of the lease, it is in danger.
    """

    bucket: str
    lease_id: str
    late_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """A lease was given back by its holder, once for each lease. Told on the thread that released it.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        freed: Whether the table has said so. False where the release got no usable answer, or found the slot in other
            hands: then the slot comes back by expiry, if it has not come back yet.
    """

    bucket: str
    lease_id: str
    freed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A lease was lost, once for each lease. Told on a thread of its own, beside the lost-callback and not before it.

    Attributes:
        bucket: The bucket's name.
        lease_id: Which lease.
        reason: Why.
    """

    bucket: str
    lease_id: str
    reason: LossReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Contended:
    """Somebody was faster, or in the way; no failure. Told on the thread that sent the request.

    Attributes:
        bucket: The bucket's name.
        operation: What was sent: claim, mint, take, renew and so on, as in docs/protocol.md.
        slots: The slots concerned, as far as they are known.
        reason: ``taken``: what was to be leased is another's by now. ``conflict``: DynamoDB refused
            (TransactionConflict), as another transaction was under way on the item.
    """

    bucket: str
    operation: str
    slots: tuple[int, ...]
    reason: Literal["taken", "conflict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """DynamoDB refused a request for its rate; it is sent again after a pause. Told on the thread that sent it.

    Attributes:
        bucket: The bucket's name.
        operation: As in `Contended`.
    """

    bucket: str
    operation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReMinted:
    """A slot was missing (TTL or a hand deleted it), and is there again. Told on the thread that acquires.

    Attributes:
        bucket: The bucket's name.
        slot: Its number.
    """

    bucket: str
    slot: int


Event: TypeAlias = Acquired | Renewed | Released | Lost | Contended | Throttled | ReMinted
"""All that `on_event` can be called with. More may come: let what you do not know pass."""

OnEvent: TypeAlias = Callable[[Event], object]
"""What a `LeaseBucket` takes as `on_event`."""
