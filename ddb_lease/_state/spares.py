"""Spares: permits that are booked, and belong to no caller of this process yet.

Invariants:

- Permits of one limit may be taken one by one. Permits of several limits were booked together, and go together.
- Many permits that are due at one time are one entry: a rate of bytes has millions of them.
- Those that nobody took within `SPARE_NS` of their due time are forgone.
- No clock: times come in. The limiter's lock guards it.
"""

from __future__ import annotations

from bisect import insort
from typing import TypeAlias

from ddb_lease._protocol.rates.charging import Wanted

SPARE_NS = 1_000_000_000
"""How long after its due time a spare permit may still be used."""

_Booked: TypeAlias = tuple[tuple[str, int], ...]
"""Permits by limit, in the order of the limits' names."""


class Spares:
    """The spare permits of one key."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[_Booked, list[tuple[int, int]]] = {}  # when they are due, and how many; in that order

    def __bool__(self) -> bool:
        return bool(self._entries)

    def in_hand(self, *, now: int) -> int:
        """How many there are, due or not; of several limits, of the one with the most."""
        self._forgo(now)
        return sum(
            max(each for _, each in booked) * sum(count for _, count in entries)
            for booked, entries in self._entries.items()
        )

    def put(self, wanted: Wanted, *, due: int) -> None:
        """Keep permits that are due then. Permits that are reserved are no spares."""
        if wanted.reserved:
            return
        booked, count = _split(wanted)
        entries = self._entries.setdefault(booked, [])
        if not entries or entries[-1][0] <= due:
            entries.append((due, count))
        else:
            insort(entries, (due, count))

    def take(self, wanted: Wanted, *, now: int, by: int) -> int | None:
        """Take permits that make up what is wanted, and are due by then; returns when they are, None: there are none.

        Args:
            wanted: What is wanted.
            now: The service's time.
            by: When they must be due.
        """
        self._forgo(now)
        if wanted.reserved:
            return None
        booked, missing = _split(wanted)
        entries = self._entries.get(booked, [])
        for number, (due, count) in enumerate(entries):
            if due > by:
                return None
            if count >= missing:
                left = [(due, count - missing)] if count > missing else []
                self._keep(booked, left + entries[number + 1 :])
                return due
            missing -= count
        return None

    def _forgo(self, now: int) -> None:
        for booked, entries in list(self._entries.items()):
            if entries[0][0] + SPARE_NS < now:
                self._keep(booked, [entry for entry in entries if entry[0] + SPARE_NS >= now])

    def _keep(self, booked: _Booked, entries: list[tuple[int, int]]) -> None:
        if entries:
            self._entries[booked] = entries
        else:
            self._entries.pop(booked, None)


def _split(wanted: Wanted) -> tuple[_Booked, int]:
    """What goes together, and how often."""
    booked = tuple((name, wanted.booked[name]) for name in wanted.limits)
    if len(booked) == 1:
        ((name, count),) = booked
        return ((name, 1),), count
    return booked, 1
