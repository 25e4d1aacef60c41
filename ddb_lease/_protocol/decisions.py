"""The protocol's decisions: what to do next, from what is known.

A bucket holds at most `max_tokens` tokens. Each slot is an item of its own; the counter bounds how many slots exist,
and is written only when a slot is minted, brought back or retired. A lease is one conditional write to one slot.

Invariants:

- No I/O, no clock, no boto3, no threads, no randomness of its own: times and a random source come in as arguments.
- Decisions rest on hints that may be stale. The conditions of the requests make them safe; a wrong hint costs a round
  trip.
- Invariant N: no slot in circulation has a number >= `max_tokens`. A client that sees one retires it before anything
  else.
- Full is not contended. Full: every slot below `max_tokens` exists and is leased. Contended: another client was faster.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random

from ddb_lease._protocol.messages import Refused
from ddb_lease._protocol.records import MAX_TOKENS, PER_TRANSACTION, Counter, Settings, Slot, View
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

WINDOW = 128
"""Slots in one look. A look shows all of a bucket of up to this size, and a window of this size of a larger one, so
that the cost of an acquire does not grow with the bucket. 128 slots are about 7 RCU when consistent."""


def choose(view: View, *, counter: Counter | None, expired_before: int, chance: Random) -> Step:
    """The next step of an acquirer that sees this.

    Args:
        view: The latest look, with what failed requests have taught since.
        counter: The counter as last seen.
        expired_before: Leases that end before this (ms) are over.
        chance: Draws one of several possible slots, so that clients do not all choose the same.

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
        known: All slots seen so far, by number; None for a missing item. In a large bucket a single look may not show
            enough free slots.
        count: How many slots are wanted.
        counter: The counter as last seen.
        expired_before: Leases that end before this (ms) are over.
        chance: Draws among the possible slots.

    Returns:
        As `choose`: create; retire strays; take the slots, claiming rather than minting; bring one back if that is
        still needed; else too few are free, with the expiry after which enough will be.
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
    """The expiries worth waiting for. A foreign item never becomes free."""
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
    """Whether an eventually consistent look shows no counter, or an older one than known.

    Most likely the read lags, but the bucket may have been deleted and created again. A consistent look shows which.
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
    """The view, updated by a refused step: a lost race brings the item that won it."""
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
    """The view after a slot was brought back."""
    return replace(view, slots={**view.slots, step.slot: in_circulation(view.slots[step.slot])})


def in_circulation(slot: Slot) -> Slot:
    """The slot, no longer retired."""
    return replace(slot, retired=False)


def slots_at_creation(settings: Settings, *, fresh: bool) -> tuple[int, int]:
    """How many free slots a creation makes, and what `minted` starts as.

    If slots are left over from before, only the counter is created, as if all slots had been minted. Re-minting makes
    the missing slots, and never more than `max_tokens`.
    """
    if not fresh:
        return 0, settings.max_tokens
    slots = min(settings.max_tokens, PER_TRANSACTION)
    return slots, slots


def minted_without(strays: Iterable[int], counter: Counter) -> int:
    """`minted` after these slots left circulation.

    The counter may not have counted them, if it was created again over old slots. So `minted` does not fall below what
    `max_tokens` allows: too high a count is only drift, too low a count would let existing slots be minted.
    """
    return max(counter.minted - len(tuple(strays)), min(counter.minted, counter.max_tokens))


def windows(max_tokens: int) -> int:
    """How many looks it takes to see a bucket of this size once."""
    return max(1, -(-max_tokens // WINDOW))


def filled_windows(own: Iterable[int], max_tokens: int) -> set[int]:
    """The windows of which all slots are in `own`: they show nothing that their holder does not know."""
    held = Tally(number // WINDOW for number in set(own) if number < max_tokens)
    return {window for window, count in held.items() if count >= min(WINDOW, max_tokens - window * WINDOW)}


def circulates(slot: Slot) -> bool:
    """Whether a slot that exists is in circulation."""
    return not slot.retired and not slot.foreign
