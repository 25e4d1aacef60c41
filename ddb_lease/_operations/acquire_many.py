"""Acquiring several slots at once: what is different from acquiring one.

Invariants:

- All or nothing: one transaction takes them all, or none. So two waiters for many slots never hold some each and wait
  for each other for ever.
- It is one lease: one id, one fence above the fences of all its slots, one expiry.
- In a large bucket a single look may not show enough free slots. What earlier looks showed counts too, as every slot's
  condition guards it.
"""

from __future__ import annotations

import math

from ddb_lease._operations.look import read_page
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._protocol import decisions
from ddb_lease._protocol.messages import Refused, Seen
from ddb_lease._protocol.outcomes import Failure
from ddb_lease._protocol.records import Grant, Slot, View
from ddb_lease._protocol.retry import Operation
from ddb_lease._protocol.steps import BringBackSlot, ClaimSlot, MintSlot, Step, TakeSlots
from ddb_lease.errors import ConfigurationError


class AcquireMany:
    """Several slots are wanted, all or nothing.

    Args:
        writes: The writes of this acquire.
        count: How many slots.
    """

    def __init__(self, writes: SlotWrites, *, count: int) -> None:
        self.writes = writes
        self.count = count
        self.extra_steps = count  # each retired slot that is needed is brought back by a request of its own
        self._known: dict[int, Slot | None] = {}

    def guess(self, *, elsewhere: bool) -> Operation[Grant | Failure | None]:  # noqa: ARG002 - one slot's affair
        """Take slots that were last seen free, if there are enough of them."""
        state, writes = self.writes.state, self.writes
        counter = state.hints.counter
        if counter is not None and self.count > counter.max_tokens:
            # It may have grown: nothing is refused by a hint.
            seen = yield from read_page(0, consistent=True)
            if not isinstance(seen, Seen):
                return seen
            counter = seen.view.counter
            if counter is None:
                state.hints.forget()
            else:
                state.adopt(counter, sure=True)
        if counter is None or not state.time.known:
            return None
        self._require_enough(counter.max_tokens)
        free = state.hints.take_free_together(self.count, state.chance)
        if not free:
            return None
        claims = tuple(ClaimSlot(slot=slot, fence=fence) for slot, fence in free)
        won = yield from writes.win(TakeSlots(claims=claims, mints=(), seen_max=counter.max_tokens, re_mint=False))
        if not isinstance(won, Refused):
            return won
        state.hints.next_look_at = -math.inf
        state.note_holders(*won.found.values())
        for claim in claims:  # those that did not fail are as free as before
            found = won.found.get(claim.slot, Slot(number=claim.slot, fence=claim.fence))
            state.hints.learn_slot(claim.slot, found, by=writes.waiter)
        return None

    def choose(self, view: View, *, expired_before: int) -> Step:
        """See `decisions.choose_together`."""
        state = self.writes.state
        counter = state.hints.counter
        # A bucket that is still to be made has what this client makes it with.
        self._require_enough(counter.max_tokens if counter else state.wanted.max_tokens)
        bound = counter.max_tokens if counter else 0
        here = {n: view.slots.get(n) for n in range(view.covered.start, min(view.covered.stop, bound))}
        for number, slot in here.items():
            self._note(number, slot, expired_before)
        return decisions.choose_together(
            view,
            known=self._known | here,
            count=self.count,
            counter=counter,
            expired_before=expired_before,
            chance=state.chance,
        )

    def note_refused(self, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> None:
        """Note which slots others hold by now."""
        expired_before = self.writes.state.time.expired_before_ms()
        if isinstance(step, BringBackSlot) and refused.slot_failed:
            self._note(step.slot, refused.slot, expired_before)
        for number, found in refused.found.items():
            self._note(number, found, expired_before)

    def brought_back(self, view: View, step: BringBackSlot) -> View:
        """See `decisions.brought_back`; the slot may be one that an earlier look showed."""
        slot = self._known.get(step.slot)
        if slot is not None:
            self._known[step.slot] = decisions.in_circulation(slot)
        return decisions.brought_back(view, step) if step.slot in view.slots else view

    def _note(self, number: int, slot: Slot | None, expired_before: int) -> None:
        """Remember a slot for later looks, if nobody holds it: a lease seen long ago may have been renewed."""
        if slot is None or decisions.is_idle(slot, expired_before=expired_before):
            self._known[number] = slot
        else:
            self._known.pop(number, None)

    def _require_enough(self, max_tokens: int) -> None:
        if self.count > max_tokens:
            bucket = self.writes.state.bucket
            raise ConfigurationError(
                f"{self.count} slots cannot be had together: bucket {bucket!r} has max_tokens={max_tokens}"
            )
