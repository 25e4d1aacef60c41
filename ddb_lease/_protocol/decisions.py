"""The protocol's decisions: what to do next, from what is known. DESIGN.md's short form.

A bucket holds at most `max_tokens` tokens. Each slot is an item of its own; the counter bounds how many slots exist,
and is written only when a slot is minted, brought back or retired. A lease is one conditional write to one slot.

Invariants:

- No I/O, no clock, no boto3, no threads, no chance of its own: times and a random source come in as arguments.
- Whatever is decided here rests on hints that may be stale. What makes it safe are the conditions of the requests;
  a wrong hint costs a round trip.
- Invariant N: no slot in circulation has a number >= `max_tokens`. Whoever sees one retires it before anything else.
- Full is not contended. Full: every slot below `max_tokens` exists and is leased. Contended: lost to another.
- Where an answer was lost, ours is ours: an item that carries the attempt's own lease id means that it worked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random

from ddb_lease._protocol.messages import Done, Refused
from ddb_lease._protocol.records import MAX_TOKENS, PER_TRANSACTION, Counter, Grant, Settings, Slot, View
from ddb_lease._protocol.steps import (
    BringBackSlot,
    ClaimSlot,
    CreateBucket,
    MintSlot,
    NothingFree,
    RetireStrays,
    Step,
    TakeSlots,
)
from ddb_lease.models import Data

FAR_AHEAD_SECONDS = 1.0
"""An expiry written by a time so much ahead of what is known by now is given up: its slot would come back late."""

WINDOW = 128
"""Slots in one look. A bucket of up to this many is seen whole; a larger one through windows of this size, so that
the cost of an acquire does not grow with the bucket. 128 slots are about 7 RCU when consistent."""

_DIGITS = len(str(MAX_TOKENS - 1))


def choose(view: View, *, counter: Counter | None, expired_before: int, chance: Random) -> Step:
    """The next step of an acquirer that sees this.

    Args:
        view: The latest look, with what failed requests have taught since.
        counter: The counter as last seen.
        expired_before: Leases that end before this (ms) are over.
        chance: Where several slots would do, one is drawn, so that not all go for the same.

    Returns:
        In this order: create a missing bucket; retire strays; claim a slot that is free or expired; mint one;
        bring one back; else nothing is free.
    """
    if counter is None:
        return _create(view)
    retire = _strays(view, counter)
    if retire is not None:
        return retire
    numbers = range(view.covered.start, min(view.covered.stop, counter.max_tokens))
    slots = [view.slots[n] for n in numbers if n in view.slots]
    idle = [slot for slot in slots if is_idle(slot, expired_before=expired_before)]
    claimable = [slot for slot in idle if not slot.retired]
    if claimable:
        slot = chance.choice(claimable)
        return ClaimSlot(slot=slot.number, fence=slot.fence)
    drifted = counter.minted >= counter.max_tokens
    missing = [n for n in numbers if n not in view.slots]
    if missing:
        return MintSlot(slot=chance.choice(missing), re_mint=drifted)
    if idle:
        slot = chance.choice(idle)
        return BringBackSlot(slot=slot.number, fence=slot.fence, re_mint=drifted)
    return NothingFree(next_expiry=min(_expiries(slots), default=None))


def choose_together(
    view: View,
    *,
    known: Mapping[int, Slot | None],
    count: int,
    counter: Counter | None,
    expired_before: int,
    chance: Random,
) -> Step:
    """The next step of an acquirer that wants `count` slots together, all or nothing.

    Args:
        view: The latest look.
        known: All slots seen so far, by number; None where there was no item. In a large bucket no single look may
            show enough of them.
        count: How many are wanted.
        counter: The counter as last seen.
        expired_before: Leases that end before this (ms) are over.
        chance: Where several would do, some are drawn.

    Returns:
        As `choose`: create, retire strays; take them, claiming rather than minting; bring one back where that is
        still needed; else too few are free, and the expiry that would make them enough.
    """
    if counter is None:
        return _create(view)
    retire = _strays(view, counter)
    if retire is not None:
        return retire
    there = {n: slot for n, slot in known.items() if n < counter.max_tokens}
    slots = [slot for slot in there.values() if slot is not None]
    idle = [slot for slot in slots if is_idle(slot, expired_before=expired_before)]
    claimable = [slot for slot in idle if not slot.retired]
    retired = [slot for slot in idle if slot.retired]
    missing = [n for n, slot in there.items() if slot is None]
    claims = chance.sample(claimable, min(count, len(claimable)))
    to_mint = count - len(claims)
    if to_mint <= len(missing):
        return TakeSlots(
            claims=tuple(ClaimSlot(slot=slot.number, fence=slot.fence) for slot in claims),
            mints=tuple(chance.sample(missing, to_mint)),
            seen_max=counter.max_tokens,
            re_mint=counter.minted > counter.max_tokens - to_mint,
        )
    if to_mint <= len(missing) + len(retired):
        slot = chance.choice(retired)
        return BringBackSlot(slot=slot.number, fence=slot.fence, re_mint=counter.minted >= counter.max_tokens)
    expiries = sorted(_expiries(slot for slot in slots if not is_idle(slot, expired_before=expired_before)))
    wanting = to_mint - len(missing) - len(retired)
    return NothingFree(next_expiry=expiries[wanting - 1] if wanting <= len(expiries) else None)


def _expiries(slots: Iterable[Slot]) -> list[int]:
    """When leases end that are worth waiting for; what is foreign stays so."""
    return [slot.lease.expires_at for slot in slots if slot.lease and not slot.foreign]


def _create(view: View) -> CreateBucket:
    return CreateBucket(fresh=view.covered == range(MAX_TOKENS) and not view.slots)


def _strays(view: View, counter: Counter) -> RetireStrays | None:
    strays = tuple(n for n, slot in view.slots.items() if n >= counter.max_tokens and circulates(slot))
    if not strays:
        return None
    retired = strays[:PER_TRANSACTION]
    leases = [lease for lease in (view.slots[n].lease for n in retired) if lease]
    return RetireStrays(
        slots=retired,
        fence=max(view.slots[n].fence for n in retired),
        expires_at=max((lease.expires_at for lease in leases), default=None),
        counter=counter,
    )


def looks_remade(view: View, known: Counter | None) -> bool:
    """Whether an eventually consistent look shows a counter that is gone or older than the one known.

    Most likely it lags; but the bucket may have been deleted, and made anew. A consistent look tells.
    """
    if not view.counter_looked_for:
        return False
    return view.counter is None or (known is not None and view.counter.rev < known.rev)


def is_idle(slot: Slot, *, expired_before: int) -> bool:
    """Whether nobody holds this slot, retired or not."""
    if slot.foreign:
        return False
    return slot.lease is None or slot.lease.expires_at < expired_before


def learn(view: View, step: Step, answer: Refused) -> View:
    """The view with what a refused step taught: a lost race brings the item that won it."""
    match step:
        case ClaimSlot() | MintSlot() | BringBackSlot():
            slots = dict(view.slots)
            if answer.slot is not None:
                slots[step.slot] = answer.slot
            elif answer.slot_failed:
                slots.pop(step.slot, None)
            return replace(view, slots=slots)
        case TakeSlots():
            slots = {n: slot for n, slot in view.slots.items() if n not in answer.found}
            return replace(view, slots=slots | {n: slot for n, slot in answer.found.items() if slot is not None})
        case RetireStrays() | CreateBucket() | NothingFree():
            return view


def brought_back(view: View, step: BringBackSlot) -> View:
    """The view after a slot came back into circulation."""
    return replace(view, slots={**view.slots, step.slot: in_circulation(view.slots[step.slot])})


def in_circulation(slot: Slot) -> Slot:
    """A slot that is not retired any more."""
    return replace(slot, retired=False)


def new_grant(
    slots: tuple[int, ...],
    *,
    fence_seen: int,
    lease_ms: int,
    margin: float,
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
        owner: Who acquires.
        data: What to attach.
        steady: Steady time, read no later than `now_hi`: the belief must not begin later than what the expiry is
            computed from.
        now_hi: Upper bound of the service's time, in ms.
        chance: Draws the lease id.
    """
    return Grant(
        lease_id=lease_id_for(slots, chance),
        slots=slots,
        fence=next_fence(fence_seen, now_hi),
        owner=owner,
        data=data,
        acquired_at=now_hi,
        expires_at=now_hi + lease_ms,
        lease_ms=lease_ms,
        deadline=steady + lease_ms / 1000 - margin,
    )


def is_sound(grant: Grant, *, margin: float, steady: float, now_hi: int) -> bool:
    """Whether a grant that was won may be handed out, by the time as it is known after the answer.

    Args:
        grant: What was won.
        margin: Its margin in seconds.
        steady: Steady time.
        now_hi: Upper bound of the service's time at that instant, in ms.
    """
    if steady >= grant.deadline:
        return False
    # An expiry that turns out to lie far ahead would keep the slot from everybody else for as long, should we
    # crash; and one that lies too early, by more than the margin, would give it to another while we believe.
    started = grant.deadline + margin - grant.lease_ms / 1000
    written_by, known_by = grant.acquired_at / 1000 - started, now_hi / 1000 - steady
    return known_by - margin <= written_by <= known_by + FAR_AHEAD_SECONDS


def next_fence(seen: int, now_hi: int) -> int:
    """The fence of a new lease: above the one seen, and above all that TTL may have deleted.

    While the item lives, the claim's condition keeps it rising. Once TTL has removed the item, at least an hour has
    passed, and so has the clock.
    """
    return max(seen + 1, now_hi)


def ttl_for(*, now_hi: int, expires_at: int | None, fence: int, retention_seconds: float) -> int:
    """When TTL may delete a slot, in whole seconds: the latest of last activity, expiry and fence, plus the retention.

    A fence may be ahead of the clock, where an answer's odd Date went into it. Whoever mints the slot anew knows the
    clock only: so the item must not go before the clock has passed its fence.
    """
    return -(-max(now_hi, expires_at or 0, fence) // 1000) + int(retention_seconds)


def is_own_write(answer: Refused, lease_id: str) -> bool:
    """Whether a condition failed because an earlier sending of the same attempt had worked."""
    return _carries(answer.slot, lease_id)


def are_own_writes(answer: Refused, grant: Grant) -> bool:
    """The same of several slots together: all of them must be ours."""
    return len(answer.found) == len(grant.slots) and all(_carries(s, grant.lease_id) for s in answer.found.values())


def is_ours_in_part(answer: Refused, lease_id: str) -> bool:
    """Whether some of several slots carry our lease: a sending worked, and somebody has changed others since."""
    return any(_carries(slot, lease_id) for slot in answer.found.values())


def _carries(slot: Slot | None, lease_id: str) -> bool:
    return slot is not None and slot.lease is not None and slot.lease.lease_id == lease_id


def released(answer: Done | Refused, *, fence: int | None, uncertain: bool) -> bool:
    """Whether a release ended the lease.

    Args:
        answer: Of its last sending.
        fence: The lease's own, where known.
        uncertain: Whether an earlier sending of it may have worked.
    """
    if isinstance(answer, Done):
        return True
    # Our fence on a slot without a lease: an earlier sending of ours freed it, and nobody has claimed it since.
    slot = answer.slot
    return uncertain and slot is not None and slot.lease is None and slot.fence == fence


def slots_at_creation(settings: Settings, *, fresh: bool) -> tuple[int, int]:
    """How many free slots a creation makes, and what `minted` starts as.

    Where slots are left over from before, the counter comes alone, as if all had been minted: what is missing is
    found out by re-minting, which never makes more than `max_tokens`.
    """
    if not fresh:
        return 0, settings.max_tokens
    slots = min(settings.max_tokens, PER_TRANSACTION)
    return slots, slots


def minted_without(strays: Iterable[int], counter: Counter) -> int:
    """`minted` after these slots left circulation.

    It may not have counted them (a counter made anew over old slots); below what `max_tokens` allows it does not go, as
    too high a count is only drift, and too low a one would let slots be minted that exist.
    """
    return max(counter.minted - len(tuple(strays)), min(counter.minted, counter.max_tokens))


def windows(max_tokens: int) -> int:
    """How many looks it takes to see a bucket of this size once."""
    return max(1, -(-max_tokens // WINDOW))


def lease_id_for(slots: tuple[int, ...], chance: Random) -> str:
    """A lease id: new for every attempt, and telling the slots, so that a release by id needs no search."""
    return f"{'.'.join(map(str, slots))}-{chance.getrandbits(128):032x}"


def slots_of(lease_id: str) -> tuple[int, ...] | None:
    """The slots that a lease id tells; None where it is no lease id."""
    head, dash, tail = lease_id.partition("-")
    parts = head.split(".")
    well_formed = dash and tail and all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in parts)
    return tuple(map(int, parts)) if well_formed and len(set(parts)) == len(parts) <= PER_TRANSACTION else None


def circulates(slot: Slot) -> bool:
    """Whether a slot that exists is in circulation."""
    return not slot.retired and not slot.foreign
