"""Releasing: the operation that ends a lease by its id, for its holder, a stranger, or an interrupted acquire.

Invariants:

- The one condition is the lease id. So a release can be sent late, twice, or by anyone, and ends no other lease.
- A lease that was acquired with `hold_at_least` is given back by `Close` before that time has passed: the slot stays
  closed until then, and its id tells the holder after a lost answer that this was its own write. Who gives
  `closed_until` = 0 opens it at once: an interrupted acquire, under which nothing was done, and a reset.
- Slots that were taken together are released by a request each: if one fails, the others are free all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ddb_lease._operations.resend import UNANSWERED, require_answered, send_until
from ddb_lease._protocol.closing import closed_id, was_closed
from ddb_lease._protocol.grants import released, ttl_for
from ddb_lease._protocol.messages import Answer, Close, Done, Refused, Release
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
        closed: Whether the slot is kept closed.
    """

    slot: int
    answer: Answer
    known: bool
    ended: bool
    closed: bool = False


def send_release(
    state: BucketState,
    *,
    slots: Sequence[int],
    lease_id: str,
    fence: int | None,
    tries: int,
    deadline: float | None = None,
    closed_until: int = 0,
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
        closed_until: Until when the slots stay closed, in ms; 0 if they do not.
    """
    until = float("inf") if deadline is None else deadline
    outcomes: list[SlotRelease] = []
    for slot in slots:
        outcome = yield from _release_one(
            state, slot, lease_id, fence, tries=tries, deadline=until, closed_until=closed_until
        )
        outcomes.append(outcome)
        if not outcome.known and state.time.steady() >= until:
            break
    return outcomes


def _release_one(
    state: BucketState,
    slot: int,
    lease_id: str,
    fence: int | None,
    *,
    tries: int,
    deadline: float,
    closed_until: int,
) -> Operation[SlotRelease]:
    closes, retention = False, state.timing.retention

    def request() -> Release | Close:
        nonlocal closes
        now = state.time.read()
        closes = closed_until > 0 and (now is None or now.expired_before_ms <= closed_until)
        if closes:
            now_hi = closed_until if now is None else now.high_ms
            ttl = ttl_for(now_hi=now_hi, expires_at=closed_until, fence=fence or 0, retention_seconds=retention)
            return Close(slot=slot, lease_id=lease_id, closed_id=closed_id(lease_id), expires_at=closed_until, ttl=ttl)
        if now is None or fence is None:  # the item keeps the TTL that its lease gave it: see `grants.ttl_for`
            return Release(slot=slot, lease_id=lease_id, ttl=None)
        ttl = ttl_for(now_hi=now.high_ms, expires_at=None, fence=fence, retention_seconds=retention)
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
    ended = released(answer, lease_id=lease_id, fence=fence, uncertain=uncertain)
    closed = closes if isinstance(answer, Done) else was_closed(answer.slot, lease_id)
    return SlotRelease(slot=slot, answer=answer, known=True, ended=ended, closed=closed)


def require_answers(outcomes: Sequence[SlotRelease], *, lease_id: str) -> None:
    """Make sure that every slot's release was answered.

    Raises:
        StoreUnavailable: Nobody knows.
        StoreRejected: The service refuses for good.
    """
    for outcome in outcomes:
        require_answered(outcome.answer, f"lease {lease_id} could not be released")
