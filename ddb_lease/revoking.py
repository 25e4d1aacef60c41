"""Revoking: the procedure that asks a holder for its slot back.

Laws of this room:

- It only marks: the holder finds the mark in the answer to its next renewal, stops, and releases. The slot is claimable
  once it did, or when the lease has expired: never before.
- The one condition is the lease id: whoever holds the slot by then, if another, is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ddb_lease.insisting import insist, require_answered
from ddb_lease.messages import Done, Revoke
from ddb_lease.retry import Procedure
from ddb_lease.scene import Scene


def revoke(
    scene: Scene, *, slots: Sequence[int], lease_id: str, by: str, tries: int, deadline: float
) -> Procedure[bool]:
    """Mark a lease as revoked on each of its slots.

    Args:
        scene: The bucket's surroundings.
        slots: All that the lease is on.
        lease_id: Which lease.
        by: Who asks, for people to read.
        tries: How often each request is sent at most.
        deadline: Until when, on the steady clock.

    Returns:
        Whether any slot carried the lease, and is marked now.

    Raises:
        StoreUnavailable: No usable answer; may be repeated.
        StoreRejected: The service refuses for good.
    """
    marked = False
    for slot in slots:
        request = partial(Revoke, slot=slot, lease_id=lease_id, by=by)
        answer, _ = yield from insist(scene, request, tries=tries, deadline=deadline)
        marked |= isinstance(require_answered(answer, f"lease {lease_id} could not be revoked"), Done)
    return marked
