"""Acquiring: the operation from "I want a slot" to a `Grant`, request by request.

Invariants:

- Operations are generators: they yield requests and pauses, and are sent answers. Time, chance and hints come in. The
  synchronous API, asyncio and the simulator drive this very code.
- One try makes up to two guesses from the hints, then searches (see `search`). Only the first waiters of a process
  try: the others sleep.
- An acquire that waits is in the process's queue from its first try to its end. If it does not come to its end, whoever
  drives it takes it out: `Hints.leave`.
- A full bucket is waited for without writing.
- What is written, and how nothing stays leased by mistake: see `slot_writes`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ddb_lease._operations.queue import InTurn, Queue
from ddb_lease._operations.search import Search, Wanted
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._operations.sync_time import never_reached
from ddb_lease._protocol import decisions
from ddb_lease._protocol.messages import Refused
from ddb_lease._protocol.outcomes import Failure, Full, GaveWay, Outcome, OutOfTurn
from ddb_lease._protocol.records import Counter, Grant, View
from ddb_lease._protocol.retry import Operation, acquiring, until_next_look
from ddb_lease._protocol.steps import (
    BringBackSlot,
    ClaimSlot,
    MintSlot,
    Step,
    TakeSlots,
)
from ddb_lease._state.fairness import MOMENT_SECONDS
from ddb_lease._state.log import log as _log
from ddb_lease._state.queue_memory import FreeFor

GUESSES = 2
"""Claims on remembered slots before a look: after two misses, hints are no guide."""

AT_ONCE_SECONDS = 0.001
"""What is due within this is done now: it would take as long to wait for it."""

MINTABLE_SECONDS = 30.0
"""How long it is believed of a counter that others may mint slots of their own."""

COMPLAIN_SECONDS = 30.0
"""After how long a wait the log says that the bucket is full; then each time that the wait has doubled."""


def acquire(wanted: Wanted, *, patient: bool) -> Operation[Outcome]:
    """Win what is wanted.

    Args:
        wanted: What is wanted, and its writes.
        patient: Whether a full bucket is waited for.

    Returns:
        A `Grant`, or why there is none.

    Raises:
        StoreRejected: The service refuses for good; nothing is held.
        ConfigurationError: The stored lease is too short for this client's margin, or more slots are wanted than the
            bucket has; nothing is held.
    """
    state, waiter = wanted.writes.state, wanted.writes.waiter
    began = state.time.steady()
    tries = _Tries(wanted, began, patient=patient)
    in_turn = waiter is None or state.hints.join(waiter, now=began)
    outcome = yield from tries.run(began, in_turn=in_turn)
    if waiter is not None and waiter.priority:
        state.note_priority()
    if not isinstance(outcome, Grant):
        policy = acquiring(
            steady=state.time.steady,
            deadline=wanted.writes.deadline,
            chance=state.chance,
            patient=patient,
            give_up=never_reached(state.time, since=began),
        )
        outcome = yield from policy.after(outcome, tries.run_again)
    yield from tries.leave()
    if waiter is not None:
        state.hints.leave(waiter)
    return outcome


@dataclass(eq=False)
class AcquireOne:
    """One slot is wanted.

    Attributes:
        writes: The writes of this acquire.
        extra_steps: Requests that one try may make besides the usual ones.
        count: How many slots.
    """

    writes: SlotWrites
    extra_steps: int = 0
    count: int = 1

    def guess(self, *, elsewhere: bool) -> Operation[Grant | Failure | None]:
        """Claim slots that were last seen free, or mint one that was seen missing."""
        state, writes = self.writes.state, self.writes
        for _ in range(GUESSES):
            guess = state.hints.take_free(state.chance, elsewhere=elsewhere)
            step = self._mint_missing() if guess is None else ClaimSlot(slot=guess[0], fence=guess[1])
            if step is None:
                return None
            won = yield from writes.win(step)
            if isinstance(won, Grant):
                return won
            state.hints.next_look_at = -math.inf  # what was seen then is no guide any more
            if not isinstance(won, Refused):
                return won
            if isinstance(step, MintSlot):
                self._note_refused_mint(won)
            if won.slot_failed:
                state.hints.learn_slot(step.slot, won.slot, by=writes.waiter)
            state.note_holders(won.slot)
        return None

    def _mint_missing(self) -> MintSlot | None:
        """Mint a slot that was seen missing, as none is known to be free: a claim costs less."""
        state = self.writes.state
        missing = state.hints.take_unminted(state.chance, now=state.time.steady())
        return None if missing is None else MintSlot(slot=missing, re_mint=False)

    def _note_refused_mint(self, refused: Refused) -> None:
        state = self.writes.state
        state.hints.forget_unminted()
        if refused.counter is not None:
            state.adopt(refused.counter, sure=True)
        elif refused.counter_failed:
            state.hints.forget()  # the counter's item is gone: the bucket must be made anew

    def choose(self, view: View, *, expired_before: int) -> Step:
        """See `decisions.choose`."""
        state = self.writes.state
        return decisions.choose(view, counter=state.hints.counter, expired_before=expired_before, chance=state.chance)

    def note_refused(self, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> None:
        """The view tells all of it."""

    def brought_back(self, view: View, step: BringBackSlot) -> View:
        """See `decisions.brought_back`."""
        return decisions.brought_back(view, step)


def _out_of_turn() -> Operation[Outcome]:
    return OutOfTurn()
    yield


class _Tries:
    """The tries of one acquire, which began at steady time `began`."""

    def __init__(self, wanted: Wanted, began: float, *, patient: bool) -> None:
        self._began = began
        self._wanted = wanted
        self._writes = wanted.writes
        self._state = wanted.writes.state
        self._patient = patient
        self._search: Search | None = None
        self._queue: Queue | None = None
        self._late = False
        self._complain_after = COMPLAIN_SECONDS
        self._elsewhere = False

    def run_again(self) -> Operation[Outcome]:
        """A later try."""
        now = self._state.time.steady()
        return self.run(now, in_turn=self._state.hints.is_first(self._writes.waiter, now=now))

    def run(self, now: float, *, in_turn: bool) -> Operation[Outcome]:
        """One try, begun at steady time `now`; `in_turn`: whether no other waiter of this process comes first."""
        state, hints = self._state, self._state.hints
        if state.closed:  # after the queue was asked: closing wakes only those in it
            raise state.closed_error()
        waiter = self._writes.waiter
        if not in_turn and (waiter is None or waiter.ticket is None):
            self._late = True
            return _out_of_turn()
        counter = hints.counter
        return self._in_any_order(now) if counter is None or counter.order != "fifo" else self._in_order(counter, now)

    def leave(self) -> Operation[None]:
        """The acquire is over: leave the queue of an ordered bucket."""
        if self._queue is not None:
            yield from self._queue.leave()

    def _in_any_order(self, now: float) -> Operation[Outcome]:
        """One try in a bucket whose waiters have no order."""
        hints = self._state.hints
        if self._queue is not None:  # it has no order any more: those behind see so when the tickets are gone
            yield from self._queue.leave()
            self._queue, self._late = None, True
        pause = 0.0 if self._writes.waiter is None else self._break(now)
        if pause:
            return GaveWay(pause)
        changes = hints.changes
        outcome: Outcome | None = yield from self._wanted.guess(elsewhere=self._elsewhere)
        if outcome is None:
            look_in = self._next_look_in()
            if look_in > AT_ONCE_SECONDS:
                outcome = Full(expires_in=None, look_in=look_in)
            else:
                self._search = self._search or Search(InTurn(self._wanted, FreeFor()), patient=self._patient)
                outcome = yield from self._search.run()
                counter = hints.counter  # it may only be seen now that the bucket has an order
                if isinstance(outcome, Full) and counter is not None and counter.order == "fifo":
                    return (yield from self._in_order(counter, now))
        if isinstance(outcome, Grant):
            now = self._state.time.steady()
            hints.fairness.won(now)
            if self._elsewhere:
                hints.fairness.restart(now)  # the slot that it had before is left for others
        elif isinstance(outcome, Full):
            return self._full(outcome, changes)
        return outcome

    def _in_order(self, counter: Counter, now: float) -> Operation[Outcome]:
        """One try in an ordered bucket: nothing is guessed, and nobody gives way."""
        changes = self._state.hints.changes
        if self._queue is None:
            arrived = self._began if self._late else None
            self._queue = Queue(self._wanted, patient=self._patient, arrived=arrived)
        outcome = yield from self._queue.run(counter)
        self._complain(now)
        if isinstance(outcome, Full) and self._state.hints.changes != changes:
            return replace(outcome, look_in=0.0)
        return outcome

    def _complain(self, now: float) -> None:
        waited = now - self._began
        if waited >= self._complain_after:
            _log.info("%s has been full for %.0f s", self._state.called, waited)
            self._complain_after = 2 * waited

    def _full(self, outcome: Full, changes: int) -> Full:
        """Settle when this process looks next."""
        hints = self._state.hints
        now = self._state.time.steady()
        self._complain(now)
        if hints.changes != changes:
            return replace(outcome, look_in=0.0)  # a slot was released here, or all were woken, meanwhile
        if outcome.look_in is None:
            pause = until_next_look(outcome.expires_in, self._state.chance)
            if self._search is None or self._search.is_complete():
                # It counts for all waiters of this process: another one may be first by then.
                hints.next_look_at = now + pause
            return replace(outcome, look_in=pause)
        return outcome

    def _break(self, now: float) -> float:
        """Seconds for which this process leaves its slots to others, if it has had its turn."""
        hints = self._state.hints
        self._elsewhere = False
        if not hints.fairness.owes_break(now):
            return 0.0
        pause = hints.fairness.quiet_for(now)
        if not pause and hints.free:
            counter = hints.counter
            if hints.free > 1:
                self._elsewhere = True  # another slot seems to be free: try it
            elif counter is not None and counter.minted < counter.max_tokens:
                # Others may mint one, unless they have meanwhile.
                if now - hints.looked_at > MINTABLE_SECONDS:
                    hints.forget_free()
                hints.fairness.restart(now)
            else:
                pause = hints.fairness.draw_break(now, self._state.chance)
                if pause > MOMENT_SECONDS:
                    hints.forget_free()  # others will have them by then: a look is cheaper than claims in vain
        return pause if now + pause < self._writes.deadline else 0.0

    def _next_look_in(self) -> float:
        """Seconds for which what another waiter of this process saw is good enough; 0.0: look now."""
        if self._writes.waiter is None:
            return 0.0
        now, at = self._state.time.steady(), self._state.hints.next_look_at
        return max(0.0, at - now) if at < self._writes.deadline else 0.0
