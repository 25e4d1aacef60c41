"""What one waiter of an ordered bucket remembers of the queue: how quickly it moves, and which slots were free when.

Invariants: no I/O, no clock: times come in as arguments, in seconds of the steady clock. One acquire uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ddb_lease._protocol.records import Slot, View

FEWEST = 3
"""Places by which a waiter must have moved, as it saw them, to tell a pace from two looks."""


MOST_TIMES = 8
"""How many times as far back as now a waiter is believed to have been when it came: that is an estimate."""


class Pace:
    """How quickly a queue moves, as one waiter in it sees: since it came, and since it last looked."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None
        self._lately: float | None = None
        self._since_first: float | None = None

    def note(self, place: int, now: float, *, exact: bool) -> None:
        """This was its place at that time, exactly or by estimate."""
        if self._first is None:
            self._first = place, now
        elif self._first[0] > place:
            moved = min(self._first[0], MOST_TIMES * place) - place
            self._since_first = (now - self._first[1]) / moved
        if exact and self._last is None:
            self._last = place, now
        elif exact and self._last is not None and self._last[0] - place >= FEWEST:
            self._lately = (now - self._last[1]) / (self._last[0] - place)
            self._last = place, now

    @property
    def seconds(self) -> float | None:
        """Seconds for which the queue needs to move by one, at its quicker pace; None if it has not moved yet."""
        if self._lately is None or self._since_first is None:
            return self._since_first
        return min(self._lately, self._since_first)


class FreeFor:
    """For how long slots have been seen free."""

    def __init__(self) -> None:
        self._since: dict[int, tuple[int, float]] = {}
        self._slots: dict[int, Slot] = {}

    def note(self, view: View, free: Sequence[int], now: float) -> dict[int, float]:
        """A look showed these as free; returns for how long each slot has been so, those of other windows too."""
        seen = {n: view.slots[n].fence if n in view.slots else -1 for n in free}
        kept = {n: since for n, since in self._since.items() if n not in view.covered}
        for n, fence in seen.items():
            before = self._since.get(n)
            kept[n] = before if before is not None and before[0] == fence else (fence, now)
        self._since = kept
        self._slots = {n: slot for n, slot in self._slots.items() if n in kept and n not in view.covered}
        self._slots |= {n: view.slots[n] for n in free if n in view.slots}
        return {n: now - since for n, (_, since) in kept.items()}

    def slot(self, number: int) -> Slot | None:
        """A free slot as it was seen; None if it has no item."""
        return self._slots.get(number)

    def forget(self, numbers: Iterable[int]) -> None:
        """These are not free any more."""
        for number in numbers:
            self._since.pop(number, None)
            self._slots.pop(number, None)
