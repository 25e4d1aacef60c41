"""Acquiring on the calling thread, for what is no bucket in its user's eyes: a leader, a handler.

Invariant: an interrupt at any point leaves no slot leased, as in `LeaseBucket.acquire`.
"""

from __future__ import annotations

from ddb_lease._runtime.bucket_core import BucketCore, timed_out
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease.models import Data, Seconds


def acquire_held(
    core: BucketCore,
    timeout: Seconds,
    *,
    data: Data | None,
    patient: bool = True,
    until: float | None = None,
) -> HeldLease:
    """Wait for a slot, and lease it.

    Args:
        core: The bucket.
        timeout: Seconds, or a timedelta, to wait at most.
        data: What to attach to the lease.
        patient: Whether a full bucket is waited for.
        until: When the lease is to expire, on the steady clock: it is not renewed then, and needs no thread. None: it
            has the bucket's length, and is renewed.

    Raises:
        AcquireTimeout: Nothing came free in time; nothing is held. Also all else that `LeaseBucket.acquire` raises.
    """
    wakeup = core.runtime.wakeup()
    pending = core.begin_acquire(core.deadline(timeout), data, count=1, patient=patient, wake=wakeup.wake, until=until)
    # An interrupt may come between any two instructions here: all of them are inside this block.
    try:
        outcome = core.driver.run(pending.operation, wakeup, observe=pending.observe)
        held = core.hold(pending, outcome, renewed=until is None)
        if held is None:
            raise timed_out(core, timeout if patient else 0, 1, pending.waiter.standing)
        return held
    except BaseException:
        core.abandon(pending)
        raise
