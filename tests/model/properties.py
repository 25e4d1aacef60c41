"""The properties: what must hold, of a state and of a step.

Invariants:

- N and S1 to S6 are those of the design's section 7. The second half of S1 is "S1 claim".
- H is of leases that were acquired for a time at least (`hold_at_least`).
- D and R are this model's own, one step stricter than section 7: D, `minted` is exact while neither TTL nor a hand has
  changed anything; R, no resize overwrites another that it did not see. Both follow from section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.model.table import Request, Slot, Table, circulates, circulating, slots_of

if TYPE_CHECKING:
    from tests.model.state import State

N = "N"
S1 = "S1"
S1_CLAIM = "S1 claim"
S2 = "S2"
S3 = "S3"
S4 = "S4"
S5 = "S5"
S6 = "S6"
H = "H"
D = "D"
R = "R"
REPAIRED = "N after repair"
L1 = "L1"
L2 = "L2"
L3 = "L3"

SAFETY = (N, S1, S1_CLAIM, S2, S3, S4, S5, S6)
COUNTING = (N, S1, S1_CLAIM, S2, S4, S5, S6)
"""If TTL deletes although no tick passes, fences show nothing, as they follow the clock."""

EXACT = (*SAFETY, D, R)
AFTER_EDITS = (N, S1_CLAIM, S2, S3, S5, S6, REPAIRED)
"""If a hand put slots beyond `max_tokens`, there may be more leases than tokens until somebody sees them."""

WORDS = {
    N: "no slot in circulation has a number >= max_tokens",
    S1: "believers in leases on slots in circulation <= max_tokens",
    S1_CLAIM: "no claim commits on a slot >= max_tokens",
    S2: "at most one believer a slot, and its item carries its lease_id",
    S3: "the fences of a slot rise strictly",
    S4: "minted >= slots in circulation",
    S5: "no operation of one lease changes another's",
    S6: "expires_at never falls while one lease_id holds",
    H: "before the time that its last holder asked for, nobody else leases a slot",
    D: "minted is exact unless TTL or a hand changed something",
    R: "no resize overwrites another that it did not see",
    REPAIRED: "after a repair, no slot in circulation has a number >= max_tokens",
    L1: "a crashed holder's slot is claimable in bounded time",
    L2: "drift is repaired by the acquirer that meets it",
    L3: "once faults stop, exactly max_tokens leases can be had",
}


def beyond(table: Table) -> bool:
    """Whether N does not hold."""
    counter = table.counter
    return counter is not None and any(circulates(slot) for slot in table.slots[counter.max_tokens :])


def broken_in(state: State, watch: frozenset[str]) -> str | None:
    """The first property that does not hold in this state."""
    (counter, slots), clients = state.table, state.clients
    if counter is not None:
        there = circulating(slots)
        counted = circulating(slots[: counter.max_tokens]) if state.edited == 2 else there
        if S4 in watch and state.edited != 1 and counter.minted < counted:
            return S4
        if D in watch and not state.edited and counter.minted != there:
            return D
    believed: set[int] = set()
    believers = 0
    for client in clients:
        if client.phase != "holding" or client.lag:
            continue
        for n in client.slots:
            # A held lease is believed in as a whole: losing a part loses all, which the tick enforces.
            slot = slots[n]
            if S2 in watch and (n in believed or slot is None or slot.lease != client.lease):
                return S2
            believed.add(n)
            believers += circulates(slot)
    if S1 in watch and counter is not None and believers > counter.max_tokens:
        return S1
    return None


def broken_by(state: State, kind: str, request: Request, after: Table, watch: frozenset[str]) -> str | None:
    """The first property that executing this request broke."""
    return next((broken for broken in _broken(state, kind, request, after) if broken in watch), None)


def _broken(state: State, kind: str, request: Request, after: Table) -> Iterator[str]:
    before = state.table
    if beyond(after) and not beyond(before):
        yield N  # for steps only: no step is to blame for what a hand put there
    for n in slots_of(kind, request):
        old, new = before.slots[n], after.slots[n]
        if new is None or new == old:
            continue
        if kind in {"claim", "mint", "take", "adopt"} and new.lease == request.lease:
            yield from _broken_by_acquiring(state, n, new, giver=getattr(request, "giver", None))
        elif old is not None and old.lease:
            changed = (old.lease, old.expires, old.revoked) != (new.lease, new.expires, new.revoked)
            if changed and getattr(request, "lease", None) != old.lease:
                yield S5
        if old is not None and old.lease and old.lease == new.lease and new.expires < old.expires:
            yield S6
    if kind in {"shrink", "grow", "strays"} and before.counter.max_tokens != request.expected:
        yield R
    if kind == "repair" and beyond(after):
        yield REPAIRED


def _broken_by_acquiring(state: State, n: int, new: Slot, *, giver: int | None) -> Iterator[str]:
    counter, old = state.table.counter, state.table.slots[n]
    if giver is not None and (old is None or old.lease != giver):
        yield S5
    if counter is not None and n >= counter.max_tokens and circulates(new):
        yield S1_CLAIM
    if new.fence <= state.fences[n]:
        yield S3
    if state.closed and state.now < state.closed[n]:
        yield H
    if new.revoked:
        yield S5  # the mark was set for another lease
