"""Several slots at once: what an acquire of more than one does otherwise than that of one.

Invariants:

- All or nothing: one transaction takes them all, and where it fails, none. So two waiters for many slots never hold
  some each and wait for ever.
- One lease: one id, one fence above those of all its slots, one expiry.
- In a large bucket no single look may show enough free slots: what earlier looks showed counts too, as every slot's
  condition guards it.
"""

from __future__ import annotations

import math
from typing import Any

from ddb_lease._operations.acquire import Attempt
from ddb_lease._protocol import decisions
from ddb_lease._protocol.decisions import BringBackSlot, ClaimSlot, MintSlot, Step, TakeSlots
from ddb_lease._protocol.messages import Refused
from ddb_lease._protocol.records import Counter, Grant, Slot, View
from ddb_lease._protocol.retry import Operation
from ddb_lease.errors import ConfigurationError


class Together(Attempt):
    """The tries of one acquire of `count` slots; the other arguments are those of an `Attempt`."""

    def __init__(self, *, count: int, **what: Any) -> None:  # noqa: ANN401 - see `Attempt`
        super().__init__(**what)
        self._count = count
        self._known: dict[int, Slot | None] = {}
        self._steps += count  # each retired slot that is needed is brought back by a request of its own

    def _guess(self) -> Operation[Grant | None]:
        state = self._state
        counter = state.hints.counter
        if counter is not None and self._count > counter.max_tokens:
            counter = yield from self._see_counter()  # it may have grown: nothing is refused by a hint
        if counter is None or not state.time.known:
            return None
        self._require_enough(counter.max_tokens)
        free = state.hints.take_free_together(self._count, state.chance)
        if not free:
            return None
        claims = tuple(ClaimSlot(slot=slot, fence=fence) for slot, fence in free)
        step = TakeSlots(claims=claims, mints=(), seen_max=counter.max_tokens, re_mint=False)
        won = yield from self._take_together(step)
        if isinstance(won, Grant):
            return won
        state.hints.look_at = -math.inf
        self._meet(*won.found.values())
        for claim in claims:  # those that did not fail are as free as before
            found = won.found.get(claim.slot, Slot(number=claim.slot, fence=claim.fence))
            state.hints.learn_slot(claim.slot, found, by=self._waiter)
        return None

    def _choose(self, view: View, expired_before: int) -> Step:
        state = self._state
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
            count=self._count,
            counter=counter,
            expired_before=expired_before,
            chance=state.chance,
        )

    def _learn(self, view: View, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> View:
        expired_before = self._state.time.expired_before_ms()
        if isinstance(step, BringBackSlot) and refused.slot_failed:
            self._note(step.slot, refused.slot, expired_before)
        for number, found in refused.found.items():
            self._note(number, found, expired_before)
        return super()._learn(view, step, refused)

    def _brought_back(self, view: View, step: BringBackSlot) -> View:
        slot = self._known.get(step.slot)
        if slot is not None:
            self._known[step.slot] = decisions.in_circulation(slot)
        return super()._brought_back(view, step) if step.slot in view.slots else view

    def _note(self, number: int, slot: Slot | None, expired_before: int) -> None:
        """Remember a slot for later looks, if nobody holds it: a lease seen long ago may have been renewed."""
        if slot is None or decisions.is_idle(slot, expired_before=expired_before):
            self._known[number] = slot
        else:
            self._known.pop(number, None)

    def _see_counter(self) -> Operation[Counter | None]:
        view, _ = yield from self._page(0, consistent=True)
        if view.counter is None:
            self._state.hints.forget()
        else:
            self._state.adopt(view.counter, sure=True)
        return view.counter

    def _require_enough(self, max_tokens: int) -> None:
        if self._count > max_tokens:
            raise ConfigurationError(
                f"{self._count} slots cannot be had together: bucket {self._state.bucket!r} has max_tokens={max_tokens}"
            )
