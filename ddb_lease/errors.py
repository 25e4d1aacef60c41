"""The error tree: what can go wrong, and what still holds afterwards.

Invariants:

- It imports nothing of the package; every other room may raise from here.
- Each class says what the caller may do next. A full bucket seen by `try_acquire`, a second release and a
  failed condition are values, not errors.
- Every error pickles: they travel between processes in worker pools.
"""

from __future__ import annotations

import enum
from typing import Any


class LossReason(str, enum.Enum):
    """Why a lease is not ours any more.

    The first five are what `Lease.lost` and the lost-callback can say; the last two only occur in the
    `LeaseLost` that `Lease.check` raises on a lease which nobody took away.
    """

    TAKEN = "taken"
    """The slot carries another lease, or none: somebody released ours."""
    GONE = "gone"
    """The slot's item does not exist any more: somebody deleted it."""
    UNREACHABLE = "unreachable"
    """The deadline passed with every renewal unanswered."""
    SUSPENDED = "suspended"
    """The process slept through the deadline (SIGSTOP, a closed lid, a paused machine)."""
    REVOKED = "revoked"
    """An operator asked for the slot back."""
    RELEASED = "released"
    """We released it ourselves."""
    FORKED = "forked"
    """The lease belongs to the parent process; a child holds nothing."""

    def __str__(self) -> str:
        return self.value


class LeaseError(Exception):
    """Root of everything that this library raises on purpose."""


class ConfigurationError(LeaseError, ValueError):
    """A setting or an argument cannot work. Nothing was sent; nothing is held."""


class UnknownBucket(LeaseError, LookupError):
    """The bucket does not exist in the table (yet: the first acquire creates it). Nothing was changed."""


class Overtaken(LeaseError):
    """Another resize of the bucket came in between, and this one stopped.

    What it had done until then stands, and the bucket is whole: ask `status`, and resize again if that is not wanted.

    Attributes:
        max_tokens: How many tokens the bucket has now.
    """

    def __init__(self, message: str, *, max_tokens: int) -> None:
        super().__init__(message)
        self.max_tokens = max_tokens

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_overtaken, (str(self), self.max_tokens)


def _rebuild_overtaken(message: str, max_tokens: int) -> Overtaken:
    return Overtaken(message, max_tokens=max_tokens)


class AcquireTimeout(LeaseError, TimeoutError):
    """No slot came free in time. Nothing is held."""


class LeaseLost(LeaseError):
    """The lease is not ours (any more): stop working on what it guards.

    Attributes:
        reason: Why, as a `LossReason`.
        lease_id: Which lease.
    """

    def __init__(self, message: str, *, reason: LossReason, lease_id: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.lease_id = lease_id

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_lease_lost, (str(self), self.reason, self.lease_id)


def _rebuild_lease_lost(message: str, reason: LossReason, lease_id: str) -> LeaseLost:
    return LeaseLost(message, reason=reason, lease_id=lease_id)


class StoreError(LeaseError):
    """DynamoDB did not do what was asked. `__cause__` is botocore's own exception, where there is one."""


class StoreUnavailable(StoreError):
    """No usable answer within the time allowed: network, throttling, or an outage. Try again later.

    Raised by an acquire, nothing is held (what an unanswered request may have leased is released, or expires).
    Raised by a renewal, the lease is held until its deadline all the same.
    """


class StoreRejected(StoreError):
    """The request can never succeed as things are: no table, no permission, wrong keys. Retrying will not help."""


class EngineError(LeaseError, RuntimeError):
    """The embedded engine cannot be started, found or stopped. The real service is not concerned."""
