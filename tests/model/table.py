"""The service: items, requests, and what each request does to them. One request is one atomic step.

Invariants:

- Exactly the conditions and effects of the design's table of operations, each one switched by its clause.
- As in DynamoDB, a comparison with a missing value is false, an Update of a missing item creates it, and a Put replaces
  the whole old item.
- No client, no clock and no network here: a request carries everything it needs.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.model.clauses import Kept

NO_FENCE = -1
"""The fence of an item that an Update created: no comparison with it holds."""

NOBODY = 0
"""No lease."""


class Slot(NamedTuple):
    """A slot's item. `lease` is 0 while it is free; times are ticks of the service's clock."""

    fence: int
    lease: int = NOBODY
    expires: int = 0
    ttl: int = 0
    retired: int = 0
    revoked: int = 0


class Counter(NamedTuple):
    """The counter's item."""

    max_tokens: int
    minted: int
    rev: int = 0


class Table(NamedTuple):
    """All items of the bucket."""

    counter: Counter | None
    slots: tuple[Slot | None, ...]


class Claim(NamedTuple):
    slot: int
    fence: int
    lease: int
    expires: int
    ttl: int
    before: int


class Renew(NamedTuple):
    slot: int
    lease: int
    expires: int
    ttl: int
    deadline: int
    """Not sent: until when the holder believes if it works."""


class Release(NamedTuple):
    slot: int
    lease: int
    ttl: int


class Adopt(NamedTuple):
    slot: int
    giver: int
    fence: int
    lease: int
    expires: int
    ttl: int


class Close(NamedTuple):
    """Give a lease back, and keep its slot closed: it carries a lease of nobody's until `expires`."""

    slot: int
    lease: int
    closed: int
    expires: int
    ttl: int


class Mint(NamedTuple):
    slot: int
    fence: int
    lease: int
    expires: int
    ttl: int
    re_mint: int


class BringBack(NamedTuple):
    slot: int
    re_mint: int
    ttl: int


class Take(NamedTuple):
    """n slots at once: some claimed, some minted."""

    claims: tuple[Claim, ...]
    mints: tuple[Mint, ...]
    lease: int
    seen_max: int
    re_mint: int = 0


class Retire(NamedTuple):
    """A step of a shrink, or strays being retired, or a repair (which also sets the count)."""

    slots: tuple[int, ...]
    rev: int
    max_tokens: int
    minted: int
    expected: int
    """Not sent: the `max_tokens` that a resizer saw first, or set last."""


class Grow(NamedTuple):
    rev: int
    max_tokens: int
    expected: int


class Create(NamedTuple):
    max_tokens: int
    minted: int
    slots: int
    fence: int


class Revoke(NamedTuple):
    slot: int
    lease: int


Request = Claim | Renew | Release | Adopt | Close | Mint | BringBack | Take | Retire | Grow | Create | Revoke


def circulates(slot: Slot | None) -> bool:
    """Whether a slot is in circulation."""
    return slot is not None and not slot.retired


def circulating(slots: tuple[Slot | None, ...]) -> int:
    """How many slots are in circulation."""
    return len([slot for slot in slots if slot is not None and not slot.retired])


def slots_of(kind: str, request: Request) -> tuple[int, ...]:
    """The slots of a request."""
    if kind == "take":
        return tuple(part.slot for part in (*request.claims, *request.mints))
    if kind in {"shrink", "strays", "repair"}:
        return request.slots
    if kind == "create":
        return tuple(range(request.slots))
    return () if kind == "grow" else (request.slot,)


class Service:
    """Executes requests, with some clauses perhaps removed."""

    def __init__(self, keep: Kept) -> None:
        self._keep = keep
        self._does = {
            "claim": self._claim,
            "renew": self._renew,
            "release": self._release,
            "adopt": self._adopt,
            "close": self._close,
            "mint": self._mint,
            "bring back": self._bring_back,
            "take": self._take,
            "shrink": self._shrink,
            "grow": self._grow,
            "strays": self._strays,
            "repair": self._repair,
            "create": self._create,
            "revoke": self._revoke,
        }

    def execute(self, table: Table, kind: str, request: Request) -> Table | None:
        """The table afterwards; None if a condition failed."""
        return self._does[kind](table, request)

    # Single writes.

    def _claimed(self, slot: Slot | None, request: Claim) -> Slot | None:
        keep = self._keep
        there = slot is not None
        holds = (
            (there or not keep.CLAIM_EXISTS)
            and not (keep.CLAIM_NOT_RETIRED and there and slot.retired)
            and (not keep.CLAIM_FENCE_RISES or (there and NO_FENCE < slot.fence < request.fence))
            and (
                not keep.CLAIM_FREE_OR_EXPIRED
                or not there
                or not slot.lease
                or slot.expires < request.before
                or (slot.revoked and not keep.CLAIM_SPARES_REVOKED)
            )
        )
        if not holds:
            return None
        revoked = slot.revoked if there and not keep.CLAIM_REPLACES else 0
        return Slot(request.fence, request.lease, request.expires, request.ttl, 0, revoked)

    def _claim(self, table: Table, request: Claim) -> Table | None:
        after = self._claimed(table.slots[request.slot], request)
        return None if after is None else _with(table, request.slot, after)

    def _renew(self, table: Table, request: Renew) -> Table | None:
        slot, keep = table.slots[request.slot], self._keep
        if slot is None or not slot.lease:
            return None
        if keep.RENEW_MINE and slot.lease != request.lease:
            return None
        if keep.RENEW_NEVER_SHORTER and slot.expires > request.expires:
            return None
        return _with(table, request.slot, slot._replace(expires=request.expires, ttl=request.ttl))

    def _release(self, table: Table, request: Release) -> Table | None:
        slot, keep = table.slots[request.slot], self._keep
        if slot is None or not slot.lease or (keep.RELEASE_MINE and slot.lease != request.lease):
            return None
        after = slot._replace(
            lease=NOBODY,
            expires=0,
            ttl=request.ttl,
            fence=slot.fence if keep.RELEASE_KEEPS_FENCE else 0,
            revoked=0 if keep.RELEASE_DROPS_REVOKED else slot.revoked,
        )
        return _with(table, request.slot, after)

    def _adopt(self, table: Table, request: Adopt) -> Table | None:
        slot, keep = table.slots[request.slot], self._keep
        if slot is None or not slot.lease or (keep.ADOPT_GIVERS and slot.lease != request.giver):
            return None
        if keep.ADOPT_FENCE_RISES and not slot.fence < request.fence:
            return None
        if keep.ADOPT_NOT_REVOKED and slot.revoked:
            return None
        after = slot._replace(lease=request.lease, fence=request.fence, expires=request.expires, ttl=request.ttl)
        return _with(table, request.slot, after if keep.ADOPT_KEEPS_RETIRED else after._replace(retired=0))

    def _close(self, table: Table, request: Close) -> Table | None:
        slot, keep = table.slots[request.slot], self._keep
        if slot is None or not slot.lease or (keep.CLOSE_MINE and slot.lease != request.lease):
            return None
        lease = request.closed if keep.CLOSE_ANOTHER_ID else slot.lease
        after = slot._replace(lease=lease, expires=request.expires, ttl=request.ttl, revoked=0)
        return _with(table, request.slot, after)

    def _revoke(self, table: Table, request: Revoke) -> Table | None:
        slot = table.slots[request.slot]
        if slot is None or not slot.lease or (self._keep.REVOKE_MEANT and slot.lease != request.lease):
            return None
        return _with(table, request.slot, slot._replace(revoked=1))

    # Slots into circulation: always with the counter.

    def _mint(self, table: Table, request: Mint) -> Table | None:
        keep, counter = self._keep, table.counter
        if table.slots[request.slot] is not None and keep.MINT_NEW:
            return None
        if counter is None or (keep.MINT_ALLOWED and counter.max_tokens <= request.slot):
            return None
        counted = self._counted(counter, request.re_mint, room=keep.MINT_ROOM, counts=keep.MINT_COUNTS)
        if counted is None:
            return None
        slot = Slot(request.fence, request.lease, request.expires, request.ttl)
        return _with(table, request.slot, slot, counted._replace(rev=counter.rev + keep.MINT_REV))

    def _bring_back(self, table: Table, request: BringBack) -> Table | None:
        keep, counter, slot = self._keep, table.counter, table.slots[request.slot]
        if keep.BRING_BACK_EXISTS and slot is None:
            return None
        if keep.BRING_BACK_RETIRED and (slot is None or not slot.retired):
            return None
        if counter is None or (keep.BRING_BACK_ALLOWED and counter.max_tokens <= request.slot):
            return None
        counted = self._counted(counter, request.re_mint, room=keep.BRING_BACK_ROOM, counts=keep.BRING_BACK_COUNTS)
        if counted is None:
            return None
        after = (slot or Slot(NO_FENCE))._replace(retired=0, ttl=request.ttl)
        if not keep.BRING_BACK_KEEPS_LEASE:
            after = after._replace(lease=NOBODY, expires=0, revoked=0)
        return _with(table, request.slot, after, counted._replace(rev=counter.rev + keep.BRING_BACK_REV))

    def _counted(self, counter: Counter, re_mint: int, *, room: bool, counts: bool) -> Counter | None:
        if re_mint:
            if self._keep.RE_MINT_DRIFTED and counter.minted < counter.max_tokens:
                return None
            return counter._replace(minted=counter.max_tokens) if self._keep.RE_MINT_SETS_MAX else counter
        if room and counter.minted >= counter.max_tokens:
            return None
        return counter._replace(minted=counter.minted + counts)

    def _take(self, table: Table, request: Take) -> Table | None:
        keep, counter, many = self._keep, table.counter, len(request.mints)
        failed = False
        slots = list(table.slots)
        for claim in request.claims:
            after = self._claimed(slots[claim.slot], claim)
            failed = failed or after is None
            slots[claim.slot] = slots[claim.slot] if after is None else after
        for mint in request.mints:
            if slots[mint.slot] is not None:
                failed = True
            else:
                slots[mint.slot] = Slot(mint.fence, mint.lease, mint.expires, mint.ttl)
        if many:
            counted = self._counted_together(counter, request)
            failed = failed or counted is None
            counter = counter if counted is None else counted
        if failed and (keep.TAKE_ALL_OR_NOTHING or tuple(slots) == table.slots):
            return None
        return Table(counter, tuple(slots))

    def _counted_together(self, counter: Counter | None, request: Take) -> Counter | None:
        keep, many = self._keep, len(request.mints)
        if counter is None:
            return None
        if request.re_mint:
            if keep.RE_TAKE_DRIFTED and counter.minted <= request.seen_max - many:
                return None
            if keep.RE_TAKE_MAX_AS_SEEN and counter.max_tokens != request.seen_max:
                return None
            minted = counter.max_tokens if keep.RE_TAKE_SETS_MAX else counter.minted
        else:
            if keep.TAKE_ROOM and counter.minted > request.seen_max - many:
                return None
            if keep.TAKE_MAX_AS_SEEN and counter.max_tokens < request.seen_max:
                return None
            minted = counter.minted + (many if keep.TAKE_COUNTS else 1)
        return counter._replace(minted=minted, rev=counter.rev + 1)

    # Slots out of circulation, and the counter's own writes.

    def _retired(self, table: Table, request: Retire, *, keeps_lease: bool, bumps: bool) -> Table | None:
        keep, slots = self._keep, list(table.slots)
        for number in request.slots:
            slot = slots[number]
            if slot is None:
                if keep.SHRINK_EXISTS:
                    return None
                slots[number] = Slot(NO_FENCE, retired=1)
                continue
            if slot.retired and keep.SHRINK_CIRCULATES:
                return None
            slots[number] = slot._replace(retired=1, ttl=0)
            if not keeps_lease:
                slots[number] = Slot(slot.fence, retired=1)
        return Table(Counter(request.max_tokens, request.minted, table.counter.rev + bumps), tuple(slots))

    def _shrink(self, table: Table, request: Retire) -> Table | None:
        keep = self._keep
        if table.counter is None or (keep.SHRINK_REV_SEEN and table.counter.rev != request.rev):
            return None
        return self._retired(table, request, keeps_lease=keep.SHRINK_KEEPS_LEASE, bumps=keep.SHRINK_REV)

    def _strays(self, table: Table, request: Retire) -> Table | None:
        if table.counter is None or (self._keep.STRAYS_REV_SEEN and table.counter.rev != request.rev):
            return None
        return self._retired(table, request, keeps_lease=True, bumps=True)

    def _repair(self, table: Table, request: Retire) -> Table | None:
        keep = self._keep
        if table.counter is None or (keep.REPAIR_REV_SEEN and table.counter.rev != request.rev):
            return None
        # The UpdateItem sets only the count; `max_tokens` stays.
        request = request._replace(max_tokens=table.counter.max_tokens)
        return self._retired(table, request, keeps_lease=True, bumps=keep.REPAIR_REV)

    def _grow(self, table: Table, request: Grow) -> Table | None:
        keep, counter = self._keep, table.counter
        if counter is None or (keep.GROW_REV_SEEN and counter.rev != request.rev):
            return None
        return table._replace(
            counter=counter._replace(max_tokens=request.max_tokens, rev=counter.rev + keep.GROW_REV),
        )

    def _create(self, table: Table, request: Create) -> Table | None:
        keep, slots = self._keep, list(table.slots)
        if table.counter is not None and keep.CREATE_NO_COUNTER:
            return None
        for number in range(request.slots):
            if slots[number] is not None and keep.CREATE_NEW_SLOTS:
                return None
            slots[number] = Slot(request.fence)
        return Table(Counter(request.max_tokens, request.minted), tuple(slots))


def _with(table: Table, number: int, slot: Slot, counter: Counter | None = None) -> Table:
    slots = (*table.slots[:number], slot, *table.slots[number + 1 :])
    return Table(counter or table.counter, slots)
