"""Revoking: the procedure that asks a holder for its slot back.

Invariants:

- It only marks: the holder finds the mark in the answer to its next renewal, stops, and releases. The slot is claimable
  once it did, or when the lease has expired: never before.
- The one condition is the lease id: whoever holds the slot by then, if another, is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ddb_lease._operations.resend import require_answered, resend_until_answered
from ddb_lease._protocol.messages import Done, Revoke
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.bucket_state import BucketState


def revoke(
    state: BucketState, *, slots: Sequence[int], lease_id: str, by: str, tries: int, deadline: float
) -> Operation[bool]:
    """Mark a lease as revoked on each of its slots.

    Args:
        state: The bucket's state.
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
        answer, _ = yield from resend_until_answered(state.time, state.chance, request, tries=tries, deadline=deadline)
        marked |= isinstance(require_answered(answer, f"lease {lease_id} could not be revoked"), Done)
    return marked
