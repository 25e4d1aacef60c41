"""How a process ends leases under their holders: by their ids, in a reset, and when their bucket is closed.

Invariants:

- The holder is told first, as of any loss, and the release is sent when it has stopped or has had its grace. So nobody
  else can have the slot before. What becomes of the release then does not matter to the holder: it is owed until it is
  answered.
- A block that ends its own lease is the lease's holder: that is a release like any other, and no loss.
- Of several leases, all holders are told before anybody waits for one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.errors import LossReason

BY_ITS_ID: Final = "somebody released it by its id"
BY_RESET: Final = "its bucket was reset"
BY_CLOSE: Final = "its bucket was closed"


def tell_holder(held: HeldLease, *, here: object, why: str) -> bool:
    """Tell a lease's holder that it is lost; returns whether to wait for it to stop before the release.

    Args:
        held: The lease.
        here: The thread or task that ends it.
        why: What was done, for people.
    """
    if held.end.stopping.works_here(here):
        return False
    held.lose(LossReason.RELEASED, why=why)
    if held.lost is None:  # its holder has released it, or handed it over
        return False
    held.end.stopping.begin()
    return True


def tell_blocks(leases: Iterable[HeldLease], *, here: object) -> list[HeldLease]:
    """A bucket is closed: tell the blocks of other threads and tasks; returns the leases that were lost by that.

    Leases that are in no block are given back by whoever acquired them, and closed the bucket.
    """
    return [
        held
        for held in leases
        if held.end.stopping.works_elsewhere(here) and tell_holder(held, here=here, why=BY_CLOSE)
    ]


def wait_for_holder(held: HeldLease, *, runtime: Runtime, most: float = math.inf) -> None:
    """Wait on this thread until its holder has stopped, or has had its grace; no longer than `most` seconds."""
    wakeup = runtime.wakeup()
    for pause in held.end.stopping.wait(wakeup.wake, most=most):
        wakeup.pause(pause.seconds)


def release_told(held: HeldLease, *, runtime: Runtime) -> bool:
    """Release a lease whose holder was told, once it has stopped or has had its grace, on the calling thread.

    Raises:
        StoreError: Not all slots' releases were answered.
    """
    try:
        wait_for_holder(held, runtime=runtime)
    except BaseException:
        held.end.send_after_stopping()
        raise
    held.release()
    return has_ended(held)  # the block that was told may have released it already


def has_ended(held: HeldLease) -> bool:
    """Whether a release has ended it in the table, by whomever it was sent; true once, however many ask."""
    with held.attempts.lock:
        return held.end.release.claim_end()
