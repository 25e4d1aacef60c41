"""What one waiter of an ordered bucket remembers of the queue: how quickly it moves, and which slots were free when.

Invariants: no I/O, no clock: times come in as arguments, in seconds of the steady clock. One acquire uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ddb_lease._protocol.records import View

FEWEST = 3
"""Places by which a waiter must have moved, as it saw them, to tell a pace from two looks."""


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
            self._since_first = (now - self._first[1]) / (self._first[0] - place)
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

    def note(self, view: View, free: Sequence[int], now: float) -> dict[int, float]:
        """A look showed these as free; returns for how long each has been so, without a lease in between."""
        seen = {n: view.slots[n].fence if n in view.slots else -1 for n in free}
        kept = {n: since for n, since in self._since.items() if n not in view.covered}
        for n, fence in seen.items():
            before = self._since.get(n)
            kept[n] = before if before is not None and before[0] == fence else (fence, now)
        self._since = kept
        return {n: now - kept[n][1] for n in free}
