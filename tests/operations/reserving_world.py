"""Processes that reserve and settle permits of one rate, in true time: `rate_world` with holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ddb_lease._operations.booking import book
from ddb_lease._operations.settling import SECONDS, settle_held
from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.outcomes import Admitted
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import Charge, KeyIs, ReadKey, Settle
from ddb_lease._state.hold_ledger import Settler
from ddb_lease._state.key_book import Booking
from tests.operations.rate_world import NS, Items, World
from tests.protocol.rates.item import Item


class HoldingItems(Items):
    """Items with holds: charges and settlements as `tests.protocol.rates.item` carries them out."""

    def __init__(self):
        super().__init__()
        self.each = {}
        self.settled = []

    def execute(self, request, *, sent_at):
        if isinstance(request, ReadKey):
            return KeyIs(state=self.item(request.key).state)
        if not isinstance(request, (Charge, Settle)):
            return super().execute(request, sent_at=sent_at)
        item = self.item(request.key)
        before = item.state
        answer = item.execute(request)
        if item.state is not before:
            (self.charges if isinstance(request, Charge) else self.settled).append((sent_at, request))
        return answer

    def item(self, key=""):
        return self.each.setdefault(key, Item())


@dataclass(eq=False)
class Done:
    """One call: when it ended, and how."""

    held: object = None
    outcome: object = None
    over_at: int | None = None
    raised: Exception | None = None
    cancel: object = None


class ReservingWorld(World):
    """A world whose processes reserve and settle."""

    def __init__(self, limits, errors, **settings):
        super().__init__(limits, errors, **settings)
        self.items = HoldingItems()

    def reserve(self, process, n=1, *, patience=NS, within=60 * NS, key="", **permits):
        """Have a process reserve permits."""
        client, done = self.processes[process], Done()
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

        self.drive(book(client.state, key, key_book, booking), done, wake, over)
        return done

    def settle(self, process, reserved, n=None, *, key="", **used):
        """Have a process settle what it reserved; without numbers in full."""
        client, done = self.processes[process], Done(held=reserved.held)
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
