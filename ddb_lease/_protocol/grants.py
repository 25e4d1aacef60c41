"""Grants: what a lease is made of when it is asked for, and how we recognise it in what comes back.

Invariants:

- No I/O, no clock, no randomness of its own: times and a random source come in as arguments.
- A lease has one id, one fence and one expiry, however often it is sent for.
- After a lost answer, an item that carries the attempt's own lease id means that the attempt worked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from ddb_lease._protocol.closing import was_closed
from ddb_lease._protocol.messages import Answer, Done, Refused
from ddb_lease._protocol.records import LONGEST_LEASE_MS, MAX_TOKENS, PER_TRANSACTION, Grant, Slot
from ddb_lease.models import Data

FAR_AHEAD_SECONDS = 1.0
"""An expiry written by a time so much ahead of what is known by now is given up: its slot would come back late."""

_DIGITS = len(str(MAX_TOKENS - 1))


def new_grant(
    slots: tuple[int, ...],
    *,
    fence_seen: int,
    lease_ms: int,
    margin: float,
    hold_ms: int = 0,
    owner: str,
    data: Data,
    steady: float,
    now_hi: int,
    chance: Random,
) -> Grant:
    """The lease that an attempt which is about to be sent may win.

    Args:
        slots: The slots wanted.
        fence_seen: The highest fence seen on them; 0 for slots that have no item.
        lease_ms: The length of the lease.
        margin: Seconds by which the holder stops believing before the lease expires.
        hold_ms: For how long the slots go to nobody else, even if the lease is given back before.
        owner: Who acquires.
        data: What to attach.
        steady: Steady time, read no later than `now_hi`: the belief must not begin later than what the expiry is
            computed from.
        now_hi: Upper bound of the service's time, in ms.
        chance: Draws the lease id.
    """
    first_ms = max(lease_ms, hold_ms)
    return Grant(
        lease_id=lease_id_for(slots, chance),
        slots=slots,
        fence=next_fence(fence_seen, now_hi),
        owner=owner,
        data=data,
        acquired_at=now_hi,
        expires_at=now_hi + first_ms,
        lease_ms=lease_ms,
        margin=margin,
        deadline=steady + first_ms / 1000 - margin,
        hold_ms=hold_ms,
    )


def ms_until(until: float, steady: float) -> int:
    """The length of a lease that is to expire at `until`, both on the steady clock: whole ms, and never none."""
    return min(LONGEST_LEASE_MS, max(1, math.ceil((until - steady) * 1000)))


def is_sound(grant: Grant, *, steady: float, now_hi: int, latest: int, ahead: float = FAR_AHEAD_SECONDS) -> bool:
    """Whether a grant that was won may be handed out, by the time as it is known after the answer.

    Args:
        grant: What was won.
        steady: Steady time.
        now_hi: Upper bound of the service's time at that instant, in ms.
        latest: The same, as even two wrong answers cannot deny.
        ahead: By how many seconds its expiry may be written ahead of that time.
    """
    if steady >= grant.deadline:
        return False
    # An expiry that turns out to lie far ahead would keep the slot from everybody else for as long, should we
    # crash; and one that lies too early, by more than the margin, would give it to another while we believe.
    started = grant.deadline + grant.margin - max(grant.lease_ms, grant.hold_ms) / 1000
    written_by = grant.acquired_at / 1000 - started
    return latest / 1000 - steady - grant.margin <= written_by <= now_hi / 1000 - steady + ahead


def next_fence(seen: int, now_hi: int) -> int:
    """The fence of a new lease: above the fence seen, and above any fence of an item that TTL deleted.

    While the item lives, the claim's condition keeps the fence rising. When TTL deletes the item, at least an hour has
    passed, so the clock has passed the old fence.
    """
    return max(seen + 1, now_hi)


def ttl_for(*, now_hi: int, expires_at: int | None, fence: int, retention_seconds: float) -> int:
    """When TTL may delete a slot, in whole seconds: the latest of last activity, expiry and fence, plus the retention.

    A fence may be ahead of the clock, if it was computed from an odd Date. A client that mints the slot again knows
    only the clock, so the item must not be deleted before the clock has passed its fence.
    """
    return -(-max(now_hi, expires_at or 0, fence) // 1000) + int(retention_seconds)


def lease_id_for(slots: tuple[int, ...], chance: Random) -> str:
    """A lease id: new for every attempt. It contains the slots, so that a release by id needs no search."""
    return f"{'.'.join(map(str, slots))}-{chance.getrandbits(128):032x}"


def slots_of(lease_id: str) -> tuple[int, ...] | None:
    """The slots in a lease id; None if it is not a lease id."""
    head, dash, tail = lease_id.partition("-")
    parts = head.split(".")
    well_formed = dash and tail and all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in parts)
    return tuple(map(int, parts)) if well_formed and len(set(parts)) == len(parts) <= PER_TRANSACTION else None


def is_own_write(answer: Refused, lease_id: str) -> bool:
    """Whether a condition failed because an earlier sending of the same attempt had worked."""
    return _carries(answer.slot, lease_id)


def are_own_writes(answer: Refused, grant: Grant) -> bool:
    """The same for several slots together: all of them must be ours."""
    return len(answer.found) == len(grant.slots) and all(_carries(s, grant.lease_id) for s in answer.found.values())


def is_ours_in_part(answer: Refused, lease_id: str) -> bool:
    """Whether some of several slots carry our lease: a sending worked, and somebody has changed the others since."""
    return any(_carries(slot, lease_id) for slot in answer.found.values())


def _carries(slot: Slot | None, lease_id: str) -> bool:
    return slot is not None and slot.lease is not None and slot.lease.lease_id == lease_id


def released(answer: Done | Refused, *, lease_id: str, fence: int | None, uncertain: bool) -> bool:
    """Whether a release ended the lease.

    Args:
        answer: The answer to the last sending.
        lease_id: Which lease.
        fence: The lease's fence, if known.
        uncertain: Whether an earlier sending may have worked.
    """
    if isinstance(answer, Done):
        return True
    # Our fence on a slot without a lease: an earlier sending of ours freed it, and nobody has claimed it since. Only we
    # can have closed it by an id made of ours.
    slot = answer.slot
    freed = slot is not None and slot.lease is None and slot.fence == fence
    return uncertain and (freed or was_closed(slot, lease_id))


def may_still_land(answers: Sequence[Answer], *, fence: int) -> bool:
    """Whether a claim that was sent and never answered may be carried out after its release was.

    Args:
        answers: The answers to the releases of its slots.
        fence: Its fence.
    """
    for answer in answers:
        match answer:
            case Done():
                return False  # it was carried out, and a copy of it would fail on its own fence
            case Refused(slot=Slot(fence=seen)) if seen >= fence:
                return False  # it would fail on this fence
            case _:
                pass
    return True
