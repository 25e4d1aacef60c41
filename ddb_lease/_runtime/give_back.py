"""Releasing many leases within one deadline: when a bucket is closed, and at the interpreter's exit.

Invariants:

- None of them is held, and all of them are owed, before the first request is sent.
- One slot that fails delays no other: each release has a second at first, and the rest of the time when all had theirs.
- If the holder of one was told to stop, it is released when the holder has stopped or has had its grace.
"""

from __future__ import annotations

import contextvars
import functools
import math
from collections.abc import Sequence
from typing import Final

from ddb_lease._runtime.ending import wait_for_holder
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.owed_release import OVERTAKEN_SECONDS
from ddb_lease._runtime.parallel import Parallel
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.errors import LossReason

CLOSE_SECONDS: Final = 5.0
"""How long closing a bucket tries to release its leases (and one request's timeout more)."""

FIRST_SECONDS: Final = 1.0
"""How long the first go at a lease lasts."""


def give_back(leases: Sequence[HeldLease], *, runtime: Runtime, deadline: float, goes: int) -> int:
    """Release leases on this thread and on workers.

    Args:
        leases: What to release; those that need no release any more are skipped.
        runtime: Clocks, workers, and what to wait on.
        deadline: When to stop, on the steady clock.
        goes: How often each lease is tried: for a second at first, then until the deadline. If once, nobody will come
            after us: a release that may have overtaken its own claim is sent again after a moment.

    Returns:
        How many releases were not answered, besides those of leases that were lost: that was told.
    """
    open_leases = [lease for lease in leases if lease.begin_release()]
    open_leases.sort(key=lambda lease: lease.end.stopping.until < math.inf)  # whoever is waited for delays no other
    if open_leases:
        clock = runtime.clock
        Parallel(
            # Workers see what runs here: a lost-callback that closes its bucket is not waited for.
            [
                functools.partial(
                    contextvars.copy_context().run, functools.partial(_release, lease, runtime, deadline, goes)
                )
                for lease in open_leases
            ],
            workers=runtime.heartbeat().workers,
            clock=clock,
            wakeup=runtime.wakeup(),
            deadline=deadline,
        ).run()
    untold = {None, LossReason.RELEASED}
    return sum(not lease.end.release.answered and lease.lost in untold for lease in open_leases)


def release_later(leases: Sequence[HeldLease]) -> None:
    """Let workers release them: the calling thread was interrupted, or must not wait."""
    for lease in leases:
        lease.release_later()


def _release(lease: HeldLease, runtime: Runtime, deadline: float, goes: int, go: int) -> bool:
    """Release one; returns whether it is to be tried again."""
    left = max(0.0, deadline - runtime.clock.steady())
    end, release = lease.end, lease.end.release
    if go == 1 and end.stopping.until < math.inf:
        wait_for_holder(lease, runtime=runtime, most=left / 2)
        left = max(0.0, deadline - runtime.clock.steady())
    end.send_quietly(seconds=left if go > 1 else min(left, FIRST_SECONDS))
    if goes == 1 and release.answered and not release.settled and left > OVERTAKEN_SECONDS:
        runtime.wakeup().sleep(OVERTAKEN_SECONDS)
        end.send_quietly(tries=1)
    return go < goes and not (release.settled or release.refused)
