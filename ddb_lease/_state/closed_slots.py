"""Which slots of a bucket are closed, and until when, as this process last saw them: for people.

Invariants: no decision rests on it. Each call is atomic.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from ddb_lease._protocol.closing import closed_until
from ddb_lease._protocol.records import Slot
from ddb_lease._state.service_time import ServiceTime


class ClosedSlots:
    """The closed slots that were seen, by number."""

    def __init__(self) -> None:
        self._until: dict[int, int] = {}

    def put(self, number: int, until: int) -> None:
        """Note one that this process closed."""
        self._until[number] = until

    def learn(self, slots: Iterable[Slot]) -> None:
        """Note what these slots show."""
        for slot in slots:
            until = closed_until(slot)
            if until is not None:
                self._until[slot.number] = until
            elif self._until:
                self._until.pop(slot.number, None)

    def text(self, time: ServiceTime) -> str:
        """What the error of a timeout says of them; empty if there are none."""
        now = time.expired_before_ms() if time.known else 0
        closed = {number: until for number, until in sorted(self._until.items()) if until >= now}
        if not closed:
            return ""
        first = datetime.fromtimestamp(min(closed.values()) / 1000, tz=timezone.utc)
        said = f"slot {next(iter(closed))} is closed" if len(closed) == 1 else f"{len(closed)} slots are closed, one"
        return f"; {said} until {first:%Y-%m-%d %H:%M:%S} UTC (hold_at_least)"
