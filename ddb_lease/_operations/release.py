"""Releasing: the procedure that ends a lease by its id, for its holder, a stranger, or an interrupted acquire.

Invariants:

- The one condition is the lease id, so a release can be sent late, twice, or by anyone, and ends no other lease.
- Of several slots taken together each is released by a request of its own: one that fails leaves no other held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ddb_lease._operations.resend import require_answered, resend_until_answered
from ddb_lease._protocol.decisions import released
from ddb_lease._protocol.messages import Answer, Done, Refused, Release
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.bucket_state import BucketState


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRelease:
    """What became of one slot's release: its last answer, and whether an earlier sending of it may have worked."""

    slot: int
    answer: Answer
    uncertain: bool

    @property
    def known(self) -> bool:
        """Whether the slot is surely not ours any more."""
        return isinstance(self.answer, (Done, Refused))


def send_release(
    state: BucketState,
    *,
    slots: Sequence[int],
    lease_id: str,
    fence: int | None,
    tries: int,
    deadline: float | None = None,
) -> Operation[list[SlotRelease]]:
    """Release a lease by its id, again while it fails.

    Where a slot's release has failed and the time is over, those after it are not tried any more.

    Args:
        state: The bucket's state.
        slots: All that the lease is on.
        lease_id: Which lease.
        fence: The lease's own, where known.
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
        # Without the fence, the item keeps the TTL that its lease gave it: see `protocol.ttl_for`.
        known = state.time.known and fence is not None
        ttl = state.ttl(state.time.now_ms()[1], fence=fence or 0) if known else None
        return Release(slot=slot, lease_id=lease_id, ttl=ttl)

    answer, uncertain = yield from resend_until_answered(
        state.time, state.chance, request, tries=tries, deadline=deadline
    )
    return SlotRelease(slot=slot, answer=answer, uncertain=uncertain)


def ended_slots(outcomes: Sequence[SlotRelease], *, fence: int | None) -> list[int]:
    """The slots that a release ended the lease on, as far as is known."""
    return [
        outcome.slot
        for outcome in outcomes
        if isinstance(outcome.answer, (Done, Refused))
        and released(outcome.answer, fence=fence, uncertain=outcome.uncertain)
    ]


def require_answers(outcomes: Sequence[SlotRelease], *, lease_id: str) -> None:
    """Make sure that every slot's release was answered.

    Raises:
        StoreUnavailable: Nobody knows.
        StoreRejected: The service refuses for good.
    """
    for outcome in outcomes:
        require_answered(outcome.answer, f"lease {lease_id} could not be released")
