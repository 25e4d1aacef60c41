"""The error tree: what can go wrong, and what still holds afterwards.

Invariants:

- This module imports nothing of the package, so every other module may import it.
- Each class says what the caller may do next. A full bucket in `try_acquire`, a second release and a failed condition
  are values, not errors.
- Every error can be pickled: errors travel between processes in worker pools.
"""

from __future__ import annotations

import enum
import functools
from typing import Any


class LossReason(str, enum.Enum):
    """Why a lease is not ours any more.

    `Lease.lost` and the lost-callback give one of the first six; released only if this process itself ended the lease
    under its holder. By the holder it is no loss, and neither are forked and handed over: these occur only in the
    `LeaseLost` that `Lease.check` raises, and in what `ddb_lease.aio.Lease.lost` returns; expired only in the one that
    `LeaseBucket.adopt` raises.
    """

    TAKEN = "taken"
    """The slot carries another lease, or none: somebody elsewhere released ours."""
    GONE = "gone"
    """The slot's item does not exist any more: somebody deleted it."""
    UNREACHABLE = "unreachable"
    """The deadline passed with every renewal unanswered."""
    SUSPENDED = "suspended"
    """The process was suspended past the deadline (SIGSTOP, a closed lid, a paused machine)."""
    REVOKED = "revoked"
    """An operator asked for the slot back."""
    RELEASED = "released"
    """It was released: by its holder, which is no loss, or in this process by its id, by a reset or by a close."""
    FORKED = "forked"
    """The lease belongs to the parent process; a child holds nothing."""
    HANDED_OVER = "handed_over"
    """We handed it over, for another process to adopt."""
    EXPIRED = "expired"
    """It was handed over, and not adopted in time."""

    def __str__(self) -> str:
        return self.value


class LeaseError(Exception):
    """The root of all errors that this library raises on purpose."""


class ConfigurationError(LeaseError, ValueError):
    """A setting or an argument cannot work. Nothing is held.

    Nothing was sent, unless the method says otherwise: a Query is needed to see that the stored settings of a bucket do
    not allow it.
    """


class TooManyPermits(ConfigurationError):
    """More permits are wanted together than their limit ever allows, which is its burst: no wait helps.

    Nothing was charged. A Query may have been sent, to see whether the table allows more by now.
    """


class UnknownBucket(LeaseError, LookupError):
    """The bucket does not exist in the table (yet: the first acquire creates it). Nothing was changed."""


class Overtaken(LeaseError):
    """Another resize of the bucket came in between, and this one stopped.

    Its steps until then remain, and the bucket is valid: look at `status`, and resize again if the size is wrong.

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
    """No slot came free in time. Nothing is held.

    Attributes:
        place: The place in the queue of an ordered bucket, as last seen or estimated; None where there is no queue, or
            where others of this process came first.
        holders: The owners of the leases that the last look showed, the one that has held longest first; empty if
            nothing was looked at within 10 s, as in a long queue. Nothing is sent for it.
    """

    def __init__(self, message: str, *, place: int | None = None, holders: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.place = place
        self.holders = holders

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(AcquireTimeout, place=self.place, holders=self.holders), (str(self),)


class RateTimeout(AcquireTimeout):
    """Permits of a rate, or of a window, cannot be had in time: nothing is held, and nothing was charged.

    Attributes:
        rate: The window; or the rate that lets wait longest: of a key under parents, it may be a parent's.
        key: Its key; empty for a rate without keys.
        limit: Its limit that comes last, ``permits`` for one without a name; empty if a block comes last, or if nothing
            is known.
        retry_after: Seconds until the permits could be had, as far as this process knows; others may take them first.
        blocked_seconds: Until a block of the key ends; 0.0 if it is not blocked.
    """

    def __init__(
        self,
        message: str,
        *,
        rate: str = "",
        key: str = "",
        limit: str = "",
        retry_after: float = 0.0,
        blocked_seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.rate = rate
        self.key = key
        self.limit = limit
        self.retry_after = retry_after
        self.blocked_seconds = blocked_seconds

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild = functools.partial(
            RateTimeout,
            rate=self.rate,
            key=self.key,
            limit=self.limit,
            retry_after=self.retry_after,
            blocked_seconds=self.blocked_seconds,
        )
        return rebuild, (str(self),)


class LeaseLost(LeaseError):
    """The lease is not ours any more: stop the work that it guards.

    `LeaseBucket.adopt` raises it for a lease that cannot be adopted (any more): nothing is held.

    Attributes:
        reason: Why: a `LossReason`.
        lease_id: Which lease.
        cause: For people. If it was lost as unreachable or suspended: what became of the last renewal. If as released:
            who ended it. Else empty.
    """

    def __init__(self, message: str, *, reason: LossReason, lease_id: str, cause: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.lease_id = lease_id
        self.cause = cause

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_lease_lost, (str(self), self.reason, self.lease_id, self.cause)


def _rebuild_lease_lost(message: str, reason: LossReason, lease_id: str, cause: str = "") -> LeaseLost:
    return LeaseLost(message, reason=reason, lease_id=lease_id, cause=cause)


class StoreError(LeaseError):
    """DynamoDB did not do what was asked. `__cause__` is botocore's exception, if there is one."""


class StoreUnavailable(StoreError):
    """No usable answer within the time allowed: network, throttling, or an outage. Try again later.

    After an acquire, nothing is held (what an unanswered request may have leased is released, or expires).
    After a renewal, the lease is still held until its deadline.
    """


class StoreRejected(StoreError):
    """The request cannot succeed: no table, no permission, wrong keys. Retrying will not help."""


class EngineError(LeaseError, RuntimeError):
    """The embedded engine cannot be started, found or stopped. Nothing to do with the real service."""
