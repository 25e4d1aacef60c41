"""Releasing: the operation that ends a lease by its id, for its holder, a stranger, or an interrupted acquire.

Invariants:

- The one condition is the lease id. So a release can be sent late, twice, or by anyone, and ends no other lease.
- Slots that were taken together are released by a request each: if one fails, the others are free all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ddb_lease._operations.resend import UNANSWERED, require_answered, send_until
from ddb_lease._protocol.grants import released
from ddb_lease._protocol.messages import Answer, Done, Refused, Release
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.bucket_state import BucketState


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRelease:
    """The outcome of one slot's release.

    Attributes:
        slot: Its number.
        answer: The last answer.
        known: Whether the slot is certainly not ours any more.
        ended: Whether the release ended the lease there, as far as is known.
    """

    slot: int
    answer: Answer
    known: bool
    ended: bool


def send_release(
    state: BucketState,
    *,
    slots: Sequence[int],
    lease_id: str,
    fence: int | None,
    tries: int,
    deadline: float | None = None,
) -> Operation[list[SlotRelease]]:
    """Release a lease by its id, and again while that fails.

    If the release of a slot has failed at the deadline, the slots after it are not tried any more.

    Args:
        state: The bucket's state.
        slots: All slots that the lease is on.
        lease_id: Which lease.
        fence: The lease's fence, if known.
        tries: How often each request is sent at most.
        deadline: Until when, on the steady clock; None for no end.
    """
    until = float("inf") if deadline is None else deadline
    outcomes: list[SlotRelease] = []
    for slot in slots:
        outcome = yield from _release_one(state, slot, lease_id, fence, tries=tries, deadline=until)
        outcomes.append(outcome)
        if not outcome.known and state.time.steady() >= until:
            break
    return outcomes


def _release_one(
    state: BucketState, slot: int, lease_id: str, fence: int | None, *, tries: int, deadline: float
) -> Operation[SlotRelease]:
    def request() -> Release:
        # Without the fence, the item keeps the TTL that its lease gave it: see `grants.ttl_for`.
        now = state.time.read() if fence is not None else None
        ttl = None if now is None else state.ttl(now.high_ms, fence=fence or 0)
        return Release(slot=slot, lease_id=lease_id, ttl=ttl)

    answer, uncertain = yield from send_until(
        request(),
        anew=request,
        again=UNANSWERED,
        time=state.time,
        chance=state.chance,
        tries=tries,
        deadline=deadline,
    )
    if not isinstance(answer, (Done, Refused)):
        return SlotRelease(slot=slot, answer=answer, known=False, ended=False)
    return SlotRelease(slot=slot, answer=answer, known=True, ended=released(answer, fence=fence, uncertain=uncertain))


def require_answers(outcomes: Sequence[SlotRelease], *, lease_id: str) -> None:
    """Make sure that every slot's release was answered.

    Raises:
        StoreUnavailable: Nobody knows.
        StoreRejected: The service refuses for good.
    """
    for outcome in outcomes:
        require_answered(outcome.answer, f"lease {lease_id} could not be released")
