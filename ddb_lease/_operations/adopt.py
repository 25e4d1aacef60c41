"""Adopting: the operation that makes a lease which another process has handed over one of our own.

Invariants:

- The table decides: the slots must still carry the giver's lease id, so at most one adopter wins, and never one beside
  another holder. A lost answer is recognised as a claim's is, by the attempt's own lease id: see `slot_writes`.
- Each try is a new attempt, with a lease id of its own. What is given up with an unknown outcome is released: then
  nothing is held, and if it had been adopted, the slots are free.
- A lease that was revoked is not adopted. Nobody but us may know of it any more, so we give it back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ddb_lease._operations.release import send_release
from ddb_lease._operations.slot_writes import CLEAN_UP_TRIES, SlotWrites
from ddb_lease._operations.sync_time import make_certain
from ddb_lease._protocol.messages import Look, Pause, Refused, Seen
from ddb_lease._protocol.offers import Offer
from ddb_lease._protocol.outcomes import Busy, GivenBack, Unavailable, failure_of, reason_text
from ddb_lease._protocol.records import Claimant, Grant
from ddb_lease._protocol.retry import BUSY_SECONDS, Operation, full_jitter
from ddb_lease._protocol.steps import AdoptLease
from ddb_lease._state.bucket_state import BucketState
from ddb_lease.errors import LeaseLost, LossReason, StoreUnavailable

ADOPT_SECONDS: Final = 10.0
"""How long an adoption is tried while others are in the way, or nothing answers."""


def adopt(writes: SlotWrites, offer: Offer) -> Operation[Grant]:
    """Adopt the lease of an offer.

    Args:
        writes: The writes of this adoption; its deadline ends the tries.
        offer: What was handed over.

    Returns:
        The grant, which stays in the writes' `open_grants`.

    Raises:
        LeaseLost: It cannot be adopted any more; `reason` says why. Nothing is held.
        StoreUnavailable: No usable answer. Nothing is held: see `ddb_lease.LeaseBucket.adopt`.
        StoreRejected: The service refuses for good; nothing is held.
        ConfigurationError: The stored lease is too short for this client's margin, or the bucket was closed meanwhile;
            nothing is held.
    """
    state = writes.state
    step = AdoptLease(slots=offer.slots, giver=offer.lease_id, fence=offer.fence)
    tries = 0
    while True:
        won = (yield from _prepared(state, offer)) or (yield from writes.win(step))
        match won:
            case Grant():
                return won
            case Refused():
                found = yield from _explained(state, offer, won)
                step = replace(step, fence=max(step.fence, found))
                if state.time.steady() >= writes.deadline:
                    raise StoreUnavailable(_failed(offer, "the table refuses it time and again"))
            case GivenBack():
                raise StoreUnavailable(_failed(offer, "it was answered too late, and is given back"))
            case Busy() | Unavailable():
                # What may have been adopted was released: another try would find it so.
                if writes.abandoned or state.time.steady() >= writes.deadline:
                    raise StoreUnavailable(_failed(offer, reason_text(won.cause))) from won.cause
        if state.closed:
            raise state.closed_error()
        tries += 1
        yield Pause(seconds=full_jitter(BUSY_SECONDS, tries, state.chance))


def _prepared(state: BucketState, offer: Offer) -> Operation[Busy | Unavailable | None]:
    """Learn what an adoption needs to know; returns why that failed, if it did.

    Raises:
        LeaseLost: Its time is over.
    """
    if state.hints.counter is None:  # the length of a lease is stored with the bucket
        answer = yield Look(limit=1, consistent=True)
        if not isinstance(answer, Seen):
            return failure_of(answer)
        if answer.view.counter is not None:
            state.adopt(answer.view.counter, sure=True)
    now = state.time.read()
    if now is not None and now.high_ms > offer.until:
        yield from make_certain(state.time)
        late = state.time.expired_before_ms() - offer.until
        if late > 0:
            raise _lost(offer, LossReason.EXPIRED, f"its time to be adopted ended {late / 1000:.1f} s ago")
    return None


def _explained(state: BucketState, offer: Offer, refused: Refused) -> Operation[int]:
    """Why it was refused.

    Returns:
        The highest fence that was found, if the lease can still be adopted with a higher one.

    Raises:
        LeaseLost: It cannot.
    """
    found = refused.found or {offer.slots[0]: refused.slot}
    fence = 0
    for number, slot in found.items():
        if slot is None:
            raise _lost(offer, LossReason.GONE, f"slot {number} has no item any more")
        lease = slot.lease
        if lease is None:
            raise _lost(offer, LossReason.RELEASED, f"slot {number} was released")
        if lease.lease_id != offer.lease_id:
            raise _lost(offer, LossReason.TAKEN, _taken(number, lease))
        if lease.revoked:
            yield from _give_back(state, offer)
            raise _lost(offer, LossReason.REVOKED, "an operator asked for it, and it is given back")
        if slot.foreign:  # it has no fence to go on from
            raise _lost(offer, LossReason.GONE, f"the item of slot {number} is damaged: delete it")
        fence = max(fence, slot.fence)
    return fence


def _taken(number: int, lease: Claimant) -> str:
    return f"slot {number} has another lease by now, of {lease.owner!r}"


def _give_back(state: BucketState, offer: Offer) -> Operation[None]:
    deadline = state.time.steady() + ADOPT_SECONDS
    yield from send_release(
        state, slots=offer.slots, lease_id=offer.lease_id, fence=None, tries=CLEAN_UP_TRIES, deadline=deadline
    )


def _lost(offer: Offer, reason: LossReason, why: str) -> LeaseLost:
    said = f"lease {offer.lease_id} of bucket {offer.bucket!r} cannot be adopted: {why}"
    return LeaseLost(said, reason=reason, lease_id=offer.lease_id)


def _failed(offer: Offer, why: str) -> str:
    return f"lease {offer.lease_id} of bucket {offer.bucket!r} is not adopted: {why}"
