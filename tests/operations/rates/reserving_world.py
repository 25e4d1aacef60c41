"""Processes that reserve and settle permits of one rate, in true time: `rate_world` with holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ddb_lease._operations.rates.booking import take_permits
from ddb_lease._operations.rates.settling import SECONDS, settle_held
from ddb_lease._operations.rates.together import Call, Member, Unprepared, charge_together, prepare
from ddb_lease._protocol.messages import Conflict, Done, Pause
from ddb_lease._protocol.outcomes import Admitted
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import (
    Charge,
    ChargeTogether,
    KeyIs,
    KeyRefused,
    ReadKey,
    Settle,
    TogetherRefused,
)
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.hold_ledger import Settler
from ddb_lease.errors import StoreUnavailable
from tests.operations.rates.rate_world import NS, Items, World
from tests.protocol.rates.item import Item


class HoldingItems(Items):
    """Items with holds: charges and settlements as `tests.protocol.rates.item` carries them out."""

    def __init__(self):
        super().__init__()
        self.each = {}
        self.settled = []
        self.tokens = set()
        self.conflicts = 0
        self.settle_conflicts = 0

    def execute(self, request, *, sent_at):
        if isinstance(request, ReadKey):
            return KeyIs(state=self.item(request.key).state)
        if isinstance(request, ChargeTogether):
            return self._together(request, sent_at)
        if isinstance(request, Settle) and self.settle_conflicts:
            self.settle_conflicts -= 1
            return Conflict(cause=StoreUnavailable("a conflict"))
        if not isinstance(request, (Charge, Settle)):
            return super().execute(request, sent_at=sent_at)
        item = self.item(request.key)
        before = item.state
        answer = item.execute(request)
        if item.state is not before:
            (self.charges if isinstance(request, Charge) else self.settled).append((sent_at, request))
        return answer

    def _together(self, request, sent_at):
        if request.token in self.tokens:
            return Done()
        if self.conflicts:
            self.conflicts -= 1
            return Conflict(cause=StoreUnavailable("a conflict"))
        items = [self.item(charge.key) for charge in request.charges]
        before = [item.state for item in items]
        answers = [item.execute(charge) for item, charge in zip(items, request.charges, strict=True)]
        failed = tuple(isinstance(answer, KeyRefused) for answer in answers)
        if any(failed):
            for item, state in zip(items, before, strict=True):
                item.state = state
            found = (state if refused else None for state, refused in zip(before, failed, strict=True))
            return TogetherRefused(failed=failed, found=tuple(found))
        self.tokens.add(request.token)
        self.charges.extend((sent_at, charge) for charge in request.charges)
        return Done()

    def item(self, key=""):
        return self.each.setdefault(key, Item())


@dataclass(eq=False)
class Ended:
    """One call: when it ended, and how."""

    held: object = None
    outcome: object = None
    over_at: int | None = None
    raised: Exception | None = None
    cancel: object = None
    process: int = 0
    keys: tuple = ()
    n: int = 0
    call: object = None


class ReservingWorld(World):
    """A world whose processes reserve and settle."""

    def __init__(self, limits, errors, **settings):
        super().__init__(limits, errors, **settings)
        self.items = HoldingItems()
        self.together_calls = []

    def reserve(self, process, n=1, *, patience=NS, within=60 * NS, key="", **permits):
        """Have a process reserve permits."""
        client, done = self.processes[process], Ended()
        wanted = Wanted(reserved=permits or {"permits": n}, settle_within=within)
        began = client.time.steady()
        wake = self._waker()
        booking = Booking(wake, wanted=wanted, began=began, deadline=began + patience / NS, patient=True)
        key_book = client.state.book(key)
        key_book.join(booking)

        def over():
            for other in key_book.leave(booking):
                other.wake()
            done.held = booking.held if isinstance(done.outcome, Admitted) else None

        self.drive(take_permits(client.state, key, key_book, booking, process=client.state.process), done, wake, over)
        return done

    def settle(self, process, reserved, n=None, *, key="", **used):
        """Have a process settle what it reserved; without numbers in full."""
        client, done = self.processes[process], Ended(held=reserved.held)
        reserved.held.used = used if n is None else {"permits": n}
        wake = self._waker()
        settler = Settler(wake=wake, held=reserved.held, deadline=client.time.steady() + SECONDS)
        key_book = client.state.book(key)
        ledger = key_book.ledger
        ledger.join(settler)

        def over():
            for other in ledger.leave(settler):
                other.wake()

        self.drive(settle_held(client.state, key, key_book, settler), done, wake, over)
        return done

    def together(self, process, keys, n=1, *, patience=0, within=0, **permits):
        """Have a process take permits of some keys together, or reserve them for so long."""
        client, ended = self.processes[process], Ended(process=process, keys=keys, n=n)
        wanted = permits or {"permits": n}
        members = tuple(
            Member(
                state=client.state,
                key=key,
                book=client.state.book(key),
                wanted=Wanted(reserved=wanted, settle_within=within) if within else Wanted(booked=wanted),
            )
            for key in keys
        )
        began = client.time.steady()
        call = Call(members=members, began=began, deadline=began + (patience or 10 * NS) / NS, patient=patience > 0)
        ended.call, call.wake = call, self._waker()
        call.join()

        def steps():
            while True:
                for member in members:
                    outcome = yield from prepare(member, call)
                    if not isinstance(outcome, Admitted):
                        return outcome
                outcome = yield from charge_together(call)
                if not isinstance(outcome, Unprepared):
                    return outcome

        def over():
            call.handed_over = isinstance(ended.outcome, Admitted)
            call.leave()

        self.together_calls.append(ended)
        self.drive(steps(), ended, call.wake, over)
        return ended

    def _waker(self):
        def wake():
            if wake.pausing:
                self.at(self.now, wake.pausing.pop())

        wake.pausing = []
        return wake

    def drive(self, operation, done, wake, over):
        """Run an operation in the world's time."""

        def end():
            if done.over_at is None:
                done.over_at = self.now
                over()

        done.cancel = end

        def go(answer):
            if done.over_at is not None:
                return
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                done.outcome = stop.value
                end()
                return
            except Exception as error:  # the test looks at it
                done.raised = error
                end()
                return
            if not isinstance(effect, Pause):
                self._send(effect, go)
                return
            resumed = []

            def resume():
                if not resumed:
                    resumed.append(True)
                    go(None)

            wake.pausing[:] = [resume] if effect.wakeable else []
            self.at(self.now + max(1, math.ceil(effect.seconds * NS)), resume)

        go(None)

    # What came of it.

    def state(self, key=""):
        return self.items.item(key).state

    def count(self):
        names = [type(request).__name__ for request in self.requests]
        return {name: names.count(name) for name in dict.fromkeys(names)}
