"""Revoking: the procedure that asks a holder for its slot back.

Laws of this room:

- It only marks: the holder finds the mark in the answer to its next renewal, stops, and releases. The slot is claimable
  once it did, or when the lease has expired: never before.
- The one condition is the lease id: whoever holds the slot by then, if another, is not asked.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ddb_lease.errors import StoreUnavailable
from ddb_lease.messages import Answer, Conflict, Done, Refused, Rejected, Revoke, Throttled, Unknown, Unsent
from ddb_lease.retry import Procedure, resending
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
        marked |= yield from _mark(scene, slot, lease_id, by, tries=tries, deadline=deadline)
    return marked


def _mark(scene: Scene, slot: int, lease_id: str, by: str, *, tries: int, deadline: float) -> Procedure[bool]:
    def once() -> Generator[Revoke, Answer, Answer]:
        return (yield Revoke(slot=slot, lease_id=lease_id, by=by))

    policy = resending(
        again=lambda answer: isinstance(answer, (Unknown, Unsent, Conflict, Throttled)),
        steady=scene.time.steady,
        deadline=deadline,
        chance=scene.chance,
        tries=tries,
    )
    answer: Answer = yield from policy(once)
    match answer:
        case Done():
            return True
        case Refused():
            return False
        case Rejected():
            raise answer.error
        case Unknown() | Unsent() | Conflict() | Throttled():
            raise StoreUnavailable(f"lease {lease_id} could not be revoked: {answer.cause}") from answer.cause
        case _:
            raise AssertionError(f"no answer to a revocation: {answer}")
