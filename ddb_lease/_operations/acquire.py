"""Acquiring: the operation from "I want a slot" to a `Grant`, request by request.

Invariants:

- Operations are generators: they yield requests and pauses, and are sent answers. Time, chance and hints come in. The
  synchronous API, asyncio and the simulator drive this very code.
- One try makes up to two guesses from the hints, then looks, and does what the look suggests. Only the first waiters
  of a process try: the others sleep.
- A full bucket is waited for without writing.
- What is written, and how nothing stays leased by mistake: see `slot_writes`.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Protocol

from ddb_lease._operations.look import Looks
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._operations.sync_time import TIME_UNKNOWN, ask_while, confirm, never_reached
from ddb_lease._protocol import decisions
from ddb_lease._protocol.messages import Done, Refused, Seen
from ddb_lease._protocol.outcomes import Failure, Full, GaveWay, LostRace, Outcome, OutOfTurn, Unavailable
from ddb_lease._protocol.records import Grant, Slot, View
from ddb_lease._protocol.retry import Operation, acquiring, until_next_look
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
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.fairness import MOMENT_SECONDS

_log = logging.getLogger("ddb_lease")

GUESSES = 2
"""Claims on remembered slots before a look: after two misses, hints are no guide."""

LOOKS = 3
"""Windows of a large bucket that one try looks through before it calls the bucket full."""

AT_ONCE_SECONDS = 0.001
"""What is due within this is done now: it would take as long to wait for it."""

MINTABLE_SECONDS = 30.0
"""How long it is believed of a counter that others may mint slots of their own."""

STEPS = 6
"""Requests that one try may make upon one look (create, retire, bring back, claim, and two races lost)."""

COMPLAIN_SECONDS = 30.0
"""After how long a wait the log says that the bucket is full; then each time that the wait has doubled."""


class Wanted(Protocol):
    """What an acquire is for: `AcquireOne` or `AcquireMany`.

    Attributes:
        writes: The writes of this acquire.
        steps: Requests that one try may make upon one look.
    """

    writes: SlotWrites
    steps: int

    def guess(self, *, elsewhere: bool) -> Operation[Grant | Failure | None]:
        """Try what the hints suggest, without a look; None where they have led to nothing.

        Args:
            elsewhere: Rather any other slot than the one that this process released last.
        """
        ...

    def choose(self, view: View, *, expired_before: int) -> Step:
        """The next step upon a look."""
        ...

    def note_refused(self, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> None:
        """Note what a refused step has shown, besides the hints."""
        ...

    def brought_back(self, view: View, step: BringBackSlot) -> View:
        """The view after a slot was brought back."""
        ...


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
    state = wanted.writes.state
    began = state.time.steady()
    tries = _Tries(wanted, began)
    outcome = yield from tries.run(began)
    if isinstance(outcome, Grant):
        return outcome
    policy = acquiring(
        steady=state.time.steady,
        deadline=wanted.writes.deadline,
        chance=state.chance,
        patient=patient,
        give_up=never_reached(state.time, since=began),
    )
    last: Outcome = yield from policy.after(outcome, lambda: tries.run(state.time.steady()))
    return last


class AcquireOne:
    """One slot is wanted.

    Args:
        writes: The writes of this acquire.
    """

    steps = STEPS

    def __init__(self, writes: SlotWrites) -> None:
        self.writes = writes

    def guess(self, *, elsewhere: bool) -> Operation[Grant | Failure | None]:
        """Claim slots that were last seen free."""
        state, writes = self.writes.state, self.writes
        for _ in range(GUESSES):
            guess = state.hints.take_free(state.chance, elsewhere=elsewhere)
            if guess is None:
                return None
            slot, fence = guess
            won = yield from writes.win(ClaimSlot(slot=slot, fence=fence))
            if isinstance(won, Grant):
                return won
            state.hints.next_look_at = -math.inf  # what was seen then is no guide any more
            if not isinstance(won, Refused):
                return won
            state.hints.learn_slot(slot, won.slot, by=writes.waiter)
            note_holders(state, won.slot)
        return None

    def choose(self, view: View, *, expired_before: int) -> Step:
        """See `decisions.choose`."""
        state = self.writes.state
        return decisions.choose(view, counter=state.hints.counter, expired_before=expired_before, chance=state.chance)

    def note_refused(self, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> None:
        """The view tells all of it."""

    def brought_back(self, view: View, step: BringBackSlot) -> View:
        """See `decisions.brought_back`."""
        return decisions.brought_back(view, step)


class _Tries:
    """The tries of one acquire, which began at steady time `began`."""

    def __init__(self, wanted: Wanted, began: float) -> None:
        self._began = began
        self._wanted = wanted
        self._writes = wanted.writes
        self._state = wanted.writes.state
        self._looks: Looks | None = None
        self._complain_after = COMPLAIN_SECONDS
        self._elsewhere = False

    def run(self, now: float) -> Operation[Outcome]:
        """One try, begun at steady time `now`."""
        state, hints, waiter = self._state, self._state.hints, self._writes.waiter
        state.require_open()
        if not hints.is_first(waiter, now=now):
            return OutOfTurn()
        pause = 0.0 if waiter is None else self._break(now)
        if pause:
            return GaveWay(pause)
        changes = hints.changes
        outcome: Outcome | None = yield from self._wanted.guess(elsewhere=self._elsewhere)
        if outcome is None:
            outcome = yield from self._look_and_act()
        if isinstance(outcome, Grant):
            now = state.time.steady()
            hints.fairness.won(now)
            if self._elsewhere:
                hints.fairness.restart(now)  # the slot that it had before is left for others
        elif isinstance(outcome, Full):
            return self._full(outcome, changes)
        return outcome

    def _full(self, outcome: Full, changes: int) -> Full:
        """Settle when this process looks next."""
        hints = self._state.hints
        now = self._state.time.steady()
        waited = now - self._began
        if waited >= self._complain_after:
            _log.info("bucket %r has been full for %.0f s", self._state.bucket, waited)
            self._complain_after = 2 * waited
        if hints.changes != changes:
            return replace(outcome, look_in=0.0)  # a slot was released here, or all were woken, meanwhile
        if outcome.look_in is None:
            # All waiters of this process follow it, whoever of them stands first by then.
            pause = until_next_look(outcome.expires_in, self._state.chance)
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
                self._elsewhere = True  # another slot is free, it seems: it is had, or found to be gone
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

    def _look_and_act(self) -> Operation[Outcome]:
        time = self._state.time
        look_in = self._next_look_in()
        if look_in > AT_ONCE_SECONDS:
            return Full(expires_in=None, look_in=look_in)
        looks = self._looks = self._looks or Looks(self._state, waiter=self._writes.waiter)
        outcome: Outcome = Full(expires_in=None)
        for _ in range(LOOKS):
            seen = yield from looks.look()
            if not isinstance(seen, Seen):
                return seen
            # A look brings the time, unless its answer carries no Date: then two more decide whether none does.
            yield from ask_while(lambda: not time.known, time)
            if not time.known:
                return Unavailable(cause=TIME_UNKNOWN)
            outcome = yield from self._act_upon(seen.view, looks)
            if not isinstance(outcome, Full) or not seen.more:
                break
        return outcome

    def _next_look_in(self) -> float:
        """Seconds for which what another waiter of this process saw is good enough; 0.0: look now."""
        if self._writes.waiter is None:
            return 0.0
        now, at = self._state.time.steady(), self._state.hints.next_look_at
        return max(0.0, at - now) if at < self._writes.deadline else 0.0

    def _act_upon(self, view: View, looks: Looks) -> Operation[Outcome]:
        time = self._state.time
        for _ in range(self._wanted.steps):
            expired_before = time.expired_before_ms()
            step = self._wanted.choose(view, expired_before=expired_before)
            if not isinstance(step, NothingFree):
                result = yield from self._carry_out(step, view, looks)
                if not isinstance(result, View):
                    return result
                view = result
            elif step.next_expiry is None or time.confirmed:
                note_holders(self._state, *view.slots.values())
                return Full(expires_in=_until(step.next_expiry, expired_before))
            else:
                # A single answer cannot tell what has expired (see `service_time`): get a second one, then decide.
                yield from confirm(time)
                if not time.confirmed:
                    return Full(expires_in=None)
        return LostRace()

    def _carry_out(
        self,
        step: ClaimSlot | MintSlot | TakeSlots | BringBackSlot | RetireStrays | CreateBucket,
        view: View,
        looks: Looks,
    ) -> Operation[View | Grant | Failure]:
        """Carry out one step; returns the view after it, where that is not the end of this try."""
        writes = self._writes
        match step:
            case ClaimSlot() | MintSlot() | TakeSlots():
                won = yield from writes.win(step)
                return self._learn(view, step, won) if isinstance(won, Refused) else won
            case BringBackSlot():
                answer = yield from writes.bring_back(step)
                if isinstance(answer, Done):
                    return self._wanted.brought_back(view, step)
                return self._learn(view, step, answer) if isinstance(answer, Refused) else answer
            case RetireStrays():
                retired = yield from writes.retire(step)
                if not isinstance(retired, (Done, Refused)):
                    return retired
            case CreateBucket():
                made = yield from writes.create(view, step)
                if not isinstance(made, Refused):
                    return made
        # Somebody has changed the counter, we or others: see what it is now.
        seen = yield from looks.look_consistently()
        return seen.view if isinstance(seen, Seen) else seen

    def _learn(self, view: View, step: ClaimSlot | MintSlot | BringBackSlot | TakeSlots, refused: Refused) -> View:
        state, hints, waiter = self._state, self._state.hints, self._writes.waiter
        self._wanted.note_refused(step, refused)
        if isinstance(step, TakeSlots):
            for number, slot in refused.found.items():
                hints.learn_slot(number, slot, by=waiter)
        elif refused.slot_failed:
            hints.learn_slot(step.slot, refused.slot, by=waiter)
        if refused.counter is not None:
            state.adopt(refused.counter, sure=True)
        elif refused.counter_failed:
            hints.forget()  # the counter's item is gone: the bucket must be made anew
        return decisions.learn(view, step, refused)


def note_holders(state: BucketState, *slots: Slot | None) -> None:
    """Note whether others hold any of these: what decides how long this process gives way."""
    if any(slot and slot.lease and not state.is_ours(slot.lease.lease_id) for slot in slots):
        state.hints.fairness.met_others(state.time.steady())


def _until(expiry: int | None, now_lo: int) -> float | None:
    # Before the service's time is confirmed, `now_lo` is 0, and an expiry says nothing.
    return None if expiry is None or now_lo == 0 else (expiry - now_lo) / 1000
