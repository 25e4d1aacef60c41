"""Several slots at once: what an acquire of more than one does otherwise than that of one.

Laws of this room:

- All or nothing: one transaction takes them all, and where it fails, none. So two waiters for many slots never hold
  some each and wait for ever.
- One lease: one id, one fence above those of all its slots, one expiry.
- In a large bucket no single look may show enough free slots: what earlier looks showed counts too, as every slot's
  condition guards it.
"""

from __future__ import annotations

import math
from typing import Any

from ddb_lease import protocol
from ddb_lease.acquisition import Attempt
from ddb_lease.errors import ConfigurationError
from ddb_lease.messages import Refused
from ddb_lease.model import Counter, Grant, Slot, View
from ddb_lease.protocol import BringBackSlot, ClaimSlot, MintSlot, Step, TakeSlots
from ddb_lease.retry import Procedure


class Together(Attempt):
    """The tries of one acquire of `count` slots; the other arguments are those of an `Attempt`."""

    def __init__(self, *, count: int, **what: Any) -> None:  # noqa: ANN401 - see `Attempt`
        super().__init__(**what)
        self._count = count
        self._known: dict[int, Slot | None] = {}
        self._steps += count  # each retired slot that is needed is brought back by a request of its own

    def _guess(self) -> Procedure[Grant | None]:
        scene = self._scene
        counter = scene.memory.counter
        if counter is not None and self._count > counter.max_tokens:
            counter = yield from self._see_counter()  # it may have grown: nothing is refused by a hint
        if counter is None or not scene.time.known:
            return None
        self._require_enough(counter.max_tokens)
        free = scene.memory.take_free_together(self._count, scene.chance)
        if not free:
            return None
        claims = tuple(ClaimSlot(slot=slot, fence=fence) for slot, fence in free)
        step = TakeSlots(claims=claims, mints=(), seen_max=counter.max_tokens, re_mint=False)
        won = yield from self._take_together(step)
        if isinstance(won, Grant):
            return won
        scene.memory.look_at = -math.inf
        self._meet(*won.found.values())
        for claim in claims:  # those that did not fail are as free as before
            found = won.found.get(claim.slot, Slot(number=claim.slot, fence=claim.fence))
            scene.memory.learn_slot(claim.slot, found, by=self._ticket)
        return None

    def _choose(self, view: View, expired_before: int) -> Step:
        scene = self._scene
        counter = scene.memory.counter
        # A bucket that is still to be made has what this client makes it with.
        self._require_enough(counter.max_tokens if counter else scene.wanted.max_tokens)
        bound = counter.max_tokens if counter else 0
        here = {n: view.slots.get(n) for n in range(view.covered.start, min(view.covered.stop, bound))}
        for number, slot in here.items():
            self._note(number, slot, expired_before)
        return protocol.choose_together(
            view,
            known=self._known | here,
            count=self._count,
            counter=counter,
            expired_before=expired_before,
            chance=scene.chance,
        )

    def _learn(self, view: View, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> View:
        expired_before = self._scene.time.expired_before_ms()
        if isinstance(step, BringBackSlot) and refused.slot_failed:
            self._note(step.slot, refused.slot, expired_before)
        for number, found in refused.found.items():
            self._note(number, found, expired_before)
        return super()._learn(view, step, refused)

    def _brought_back(self, view: View, step: BringBackSlot) -> View:
        slot = self._known.get(step.slot)
        if slot is not None:
            self._known[step.slot] = protocol.in_circulation(slot)
        return super()._brought_back(view, step) if step.slot in view.slots else view

    def _note(self, number: int, slot: Slot | None, expired_before: int) -> None:
        """Remember a slot for later looks, if nobody holds it: a lease seen long ago may have been renewed."""
        if slot is None or protocol.is_idle(slot, expired_before=expired_before):
            self._known[number] = slot
        else:
            self._known.pop(number, None)

    def _see_counter(self) -> Procedure[Counter | None]:
        view, _ = yield from self._page(0, consistent=True)
        if view.counter is None:
            self._scene.memory.forget()
        else:
            self._scene.adopt(view.counter, True)
        return view.counter

    def _require_enough(self, max_tokens: int) -> None:
        if self._count > max_tokens:
            raise ConfigurationError(
                f"{self._count} slots cannot be had together: bucket {self._scene.bucket!r} has max_tokens={max_tokens}"
            )
