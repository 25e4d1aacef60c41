"""Callers of one key whose permits are booked, in the order of their due times.

Invariants:

- It has only weak references: if an interrupt ends a caller before it leaves, its place disappears.
- Permits that are due pass the gate in this order. Nobody waits for long for a caller that does not come.
- No clock. The limiter's lock guards it, and is reentrant: a signal handler may change it between two steps of a loop,
  so it is replaced as a whole.
"""

from __future__ import annotations

import math
import weakref
from bisect import insort

from ddb_lease._state.rates.booking import Booking

IN_ORDER_NS = 250_000_000
"""How long permits that are due wait for those that were due before, after these should have come to the gate: their
thread or event loop may be blocked. Those that come and are told to wait are not overtaken, however late they are: many
permits may be late at once, and then whoever wants few of them would pass again and again."""


class BookedCallers:
    """The callers; their owner makes it when the first permits are booked."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: list[weakref.ref[Booking]] = []

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, booking: Booking, *, due: int) -> None:
        """Note when a caller's permits are due."""
        booking.due = booking.comes_at = due
        insort(self._places, weakref.ref(booking), key=_due_of)

    def remove(self, booking: Booking) -> list[Booking]:
        """Remove a caller; returns who comes after it, and may have waited for it."""
        for number, place in enumerate(self._places):
            if place() is booking:
                before, after = self._places[:number], self._places[number + 1 :]  # it is nearly always the first
                self._places = [*(one for one in before if one() is not None), *after]
                return [other for other in (one() for one in after[:1]) if other is not None]
        return []

    def everybody(self) -> list[Booking]:
        """All of them, in order."""
        return [booking for booking in (place() for place in self._places) if booking is not None]

    def is_last(self, booking: Booking) -> bool:
        """Whether nobody's permits are due later."""
        for place in reversed(self._places):
            other = place()
            if other is not None:
                return other is booking
        return False

    def waits_for_others(self, booking: Booking, *, now: int) -> int:
        """How long permits that are due wait for those that were due before, at most; 0: they are next."""
        for place in self._places:
            earlier = place()
            if earlier is booking:
                break
            wait = 0 if earlier is None or earlier.due is None else earlier.comes_at + IN_ORDER_NS - now
            if wait > 0:
                return wait
        return 0


def _due_of(place: weakref.ref[Booking]) -> float:
    booking = place()
    return math.inf if booking is None or booking.due is None else booking.due
