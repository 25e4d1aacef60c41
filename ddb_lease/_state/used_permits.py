"""When the used permits of a window come back, as this process last saw them: for people.

Invariants: no decision rests on it. Each call is atomic. A slot that it has not seen yet may come back earlier.
"""

from __future__ import annotations

from typing import Final

from ddb_lease._protocol.messages import Answer, Claim, Refused, Request, Seen
from ddb_lease._protocol.records import Grant, Slot
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.models import OSCILLATOR_DRIFT

DATE_SECONDS: Final = 1.0
"""A Date says when it was written to so much."""


class UsedPermits:
    """The permits that are in use, by the number of their slot.

    Args:
        time: Bounds on the service's time.
    """

    def __init__(self, time: ServiceTime) -> None:
        self._time = time
        self._ends: dict[int, int] = {}

    def observe(self, request: Request, answer: Answer) -> None:
        """Note what the answer to a request of an acquire shows."""
        if isinstance(answer, Seen):
            view = answer.view
            for number in list(self._ends):
                if number in view.covered and number not in view.slots:
                    self._ends.pop(number, None)
            for slot in view.slots.values():
                self._note(slot)
        elif isinstance(request, Claim) and isinstance(answer, Refused) and answer.slot is not None:
            self._note(answer.slot)

    def used(self, grant: Grant) -> None:
        """Note a permit that this process uses."""
        self._ends.update(dict.fromkeys(grant.slots, grant.expires_at))

    def first_back_in(self) -> float | None:
        """Seconds until it is certain that the first of them is back; None if nothing is known."""
        ends, time = list(self._ends.values()), self._time
        if not ends or not time.known:
            return None
        now = time.expired_before_ms() or time.now_ms()[0]
        left = max(0, min(ends) + 2 - now) / 1000  # it must be over, by whole milliseconds
        # What is known of the time gets older meanwhile, until a Date of whole seconds comes.
        return left + min(OSCILLATOR_DRIFT / (1 - OSCILLATOR_DRIFT) * left, DATE_SECONDS)

    def _note(self, slot: Slot) -> None:
        if slot.lease is None or slot.foreign or slot.retired:
            self._ends.pop(slot.number, None)
        else:
            self._ends[slot.number] = slot.lease.expires_at
