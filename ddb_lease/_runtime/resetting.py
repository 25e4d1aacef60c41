"""Ending every lease of a bucket: which there are, and which of them this process holds.

Invariants: no release of what this process holds keeps a slot closed any more before any holder is told, and all
holders are told before anything is sent. If the reset is interrupted, or fails for one lease, the others whose holders
were told are released all the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ddb_lease._runtime.bucket_core import BucketCore
from ddb_lease._runtime.ending import BY_RESET, release_told, tell_holder
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease.models import BucketStatus, LeaseInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLease:
    """A lease that a reset ends.

    Attributes:
        lease_id: Its id.
        slots: The slots that carry it.
        fence: Its fencing token; None if there is none.
        held: The lease as this process holds it; None if it is another's.
        told: Whether its holder was told, and is waited for.
    """

    lease_id: str
    slots: tuple[int, ...]
    fence: int | None
    held: HeldLease | None
    told: bool


@contextlib.contextmanager
def resetting(core: BucketCore, status: BucketStatus, *, here: object) -> Iterator[list[FoundLease]]:
    """Tell the holders; the block ends the leases that this gives.

    Args:
        core: The bucket.
        status: What was found in the table.
        here: The thread or task that resets it.
    """
    by_id = _by_id(status)
    ours = {lease_id: held for lease_id in by_id if (held := core.ours(lease_id)) is not None}
    for held in ours.values():  # before any holder is told: one may release another lease of its own
        held.end.release.leave_open()
    found = [_found(lease_id, leases, ours.get(lease_id), here=here) for lease_id, leases in by_id.items()]
    try:
        yield found
    except BaseException:
        for each in found:
            if each.held is not None and each.told:
                each.held.end.send_after_stopping()
        raise
    core.state.hints.wake_all()


def end_all(core: BucketCore) -> int:
    """Release every lease in the table, on the calling thread; returns how many this ended."""
    ended = 0
    with resetting(core, core.run(core.status()), here=threading.current_thread()) as found:
        for each in found:
            if each.held is None:
                ended += bool(core.run(core.release(each.lease_id, each.slots, fence=each.fence)))
            else:
                ended += release_told(each.held, runtime=core.runtime) if each.told else each.held.release()
    return ended


def _by_id(status: BucketStatus) -> dict[str, list[LeaseInfo]]:
    found: dict[str, list[LeaseInfo]] = {}
    for lease in status.leases:
        found.setdefault(lease.lease_id, []).append(lease)
    return found


def _found(lease_id: str, leases: list[LeaseInfo], held: HeldLease | None, *, here: object) -> FoundLease:
    return FoundLease(
        lease_id=lease_id,
        # Go by the slots that carry it, not by what its id says: an id made by another program may say anything.
        slots=tuple(lease.slot for lease in leases),
        fence=leases[0].fence or None,
        held=held,
        told=held is not None and tell_holder(held, here=here, why=BY_RESET),
    )
