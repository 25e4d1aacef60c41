"""Searching: what one try of an acquire does where the hints have led to nothing. It looks, and acts upon what it sees.

Invariants:

- A look suggests one step at a time; a step that is refused teaches something, and another one is chosen.
- Full is said only of what was seen. An acquire that waits says it of a large bucket when this process has searched
  every window lately; one that does not wait says it of a poll's windows, unless the counter shows room.
"""

from __future__ import annotations

from typing import Protocol

from ddb_lease._operations.look import Looks
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._operations.sync_time import ask_while, confirm, without_time
from ddb_lease._protocol import decisions
from ddb_lease._protocol.messages import Answer, Done, Refused, Rejected
from ddb_lease._protocol.outcomes import Failure, Full, LostRace, failure_of
from ddb_lease._protocol.records import Grant, View
from ddb_lease._protocol.retry import Operation
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

STEPS = 6
"""Requests that one try may make upon one look (create, retire, bring back, claim, and two races lost)."""


class Wanted(Protocol):
    """What an acquire is for: `AcquireOne` or `AcquireMany`.

    Attributes:
        writes: The writes of this acquire.
        count: How many slots.
        extra_steps: How many requests more than usual one try may make upon one look.
    """

    writes: SlotWrites
    count: int
    extra_steps: int

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


class Search:
    """The looks of one acquire, and what it does upon them.

    Args:
        wanted: What is wanted, and its writes.
        patient: Whether a full bucket is waited for.
    """

    def __init__(self, wanted: Wanted, *, patient: bool) -> None:
        self._wanted = wanted
        self._patient = patient
        self._writes = wanted.writes
        self._state = wanted.writes.state
        self._looks = Looks(wanted.writes.state, waiter=wanted.writes.waiter)

    def run(self) -> Operation[Grant | Full | Failure]:
        """Look, and act upon it.

        Raises:
            StoreRejected: The service refuses for good.
            ConfigurationError: This client cannot work with the stored settings, more is wanted than there is, or the
                bucket was closed meanwhile.
        """
        looks = self._looks
        looks.begin()
        outcome: Grant | Full | Failure = Full(expires_in=None)
        while places := looks.next_places(further=self._goes_on()):
            pages, failed = yield from looks.look(places)
            for number, page in enumerate(pages):
                outcome = yield from self._act_upon_first(page.view)
                if not isinstance(outcome, Full):
                    looks.give_back(pages[number:])
                    return outcome
                looks.searched(page)
            if failed is not None:
                return failed
        return outcome

    def is_complete(self) -> bool:
        """Whether this process has searched every window lately."""
        return self._looks.all_searched()

    def _goes_on(self) -> bool:
        """Whether it searches more than a poll's windows.

        Raises:
            ConfigurationError: The bucket was closed meanwhile.
        """
        state = self._state
        if state.closed:
            raise state.closed_error()
        now, counter = state.time.steady(), state.hints.counter
        state.hints.is_first(self._writes.waiter, now=now)  # it is at work, however long it takes
        if now >= self._writes.deadline:
            return False
        return self._patient or (counter is not None and counter.minted < counter.max_tokens)

    def _act_upon_first(self, view: View) -> Operation[Grant | Full | Failure]:
        """Act upon a look's view, once the time is known."""
        time = self._state.time
        # A look brings the time, unless its answer carries no Date: then two more decide whether none does.
        failed = yield from ask_while(lambda: not time.known, time)
        if not time.known:
            return without_time(failed)
        return (yield from self._act_upon(view))

    def _act_upon(self, view: View) -> Operation[Grant | Full | Failure]:
        time = self._state.time
        for _ in range(STEPS + self._wanted.extra_steps):
            expired_before = time.expired_before_ms()
            step = self._wanted.choose(view, expired_before=expired_before)
            if not isinstance(step, NothingFree):
                result = yield from self._carry_out(step, view)
                if not isinstance(result, View):
                    return result
                view = result
            else:
                failed = None if step.next_expiry is None else (yield from self._ask_whether_over(step.next_expiry))
                if failed is not None and (isinstance(failed, Rejected) or not time.confirmed):
                    return failure_of(failed)
                if step.next_expiry is None or step.next_expiry >= time.expired_before_ms():
                    self._state.note_holders(*view.slots.values())
                    return Full(expires_in=self._seconds_until(step.next_expiry))
        return LostRace()

    def _ask_whether_over(self, expiry: int) -> Operation[Answer | None]:
        """Ask until it is certain whether a lease is over. Two answers may say so; then it takes a third.

        Returns:
            The failure that ended it, if the time is not known because of one, or the service refuses for good.
        """
        time = self._state.time
        if not time.confirmed:
            failed = yield from confirm(time)
            if not time.confirmed:
                return failed
        failed = yield from ask_while(lambda: time.expired_before_ms() <= expiry < time.now_ms()[0], time)
        return failed if isinstance(failed, Rejected) else None

    def _seconds_until(self, expiry: int | None) -> float | None:
        time = self._state.time
        if expiry is None or not time.confirmed:
            return None  # a single answer says nothing of an expiry
        return (expiry - (time.expired_before_ms() or time.now_ms()[0])) / 1000

    def _carry_out(
        self,
        step: ClaimSlot | MintSlot | TakeSlots | BringBackSlot | RetireStrays | CreateBucket,
        view: View,
    ) -> Operation[View | Grant | Failure]:
        """Carry out one step; returns the view after it, where that is not the end of this try."""
        writes = self._writes
        if self._state.closed:  # closed while we looked: what we won now, we would only have to give back
            raise self._state.closed_error()
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
        return (yield from self._looks.look_consistently())

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
