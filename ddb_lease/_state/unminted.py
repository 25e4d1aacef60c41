"""Numbers of slots that a look showed to have no item: where this process may mint without another look.

Invariants:

- Each is a hint: a mint's condition guards it. Each number is given out once.
- What was seen long ago is no guide, as other processes mint too.
- It has no clock and no randomness of its own, and no lock: `Hints` guards it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

LATELY_SECONDS = 30.0
"""For how long what a look showed is a guide to where slots are missing."""

MOST_GAPS = 16
"""Looks of which it is remembered: more than an acquire sends at once."""

_DRAWS = 8
"""Numbers drawn before all of a gap are gone through: most draws hit, unless little is missing."""

_LISTED = 4_096
"""The largest gap of which all numbers are gone through: in a larger one, a look that shows a part of it is cheaper."""


@dataclass(slots=True)
class _Gap:
    """What a look covered, what is there of it, or was given out, and when that was seen."""

    covered: range
    there: set[int]
    at: float


class Unminted:
    """Where slots are missing."""

    def __init__(self) -> None:
        self._gaps: dict[int, _Gap] = {}

    def __len__(self) -> int:
        """How many looks are remembered that showed missing slots."""
        return len(self._gaps)

    def learn(self, covered: range, there: Collection[int], *, below: int, at: float) -> None:
        """Keep what a look showed.

        Args:
            covered: The numbers that it would have shown.
            there: Those that it showed.
            below: `max_tokens`.
            at: When, on the steady clock.
        """
        self._gaps.pop(covered.start, None)
        covered = range(covered.start, min(covered.stop, below))
        if sum(number in covered for number in there) < len(covered):
            self._gaps[covered.start] = _Gap(covered, set(there), at)
            if len(self._gaps) > MOST_GAPS:
                self._gaps.pop(next(iter(self._gaps)))

    def learn_slot(self, number: int) -> None:
        """A slot is there."""
        for gap in self._gaps.values():
            if number in gap.covered:
                gap.there.add(number)

    def clear(self) -> None:
        """Forget all."""
        self._gaps.clear()

    def draw(self, chance: Random, *, below: int, now: float) -> int | None:
        """A random number that was seen missing; None if none is known.

        Args:
            chance: Draws it.
            below: `max_tokens`.
            now: The steady time.
        """
        while self._gaps:
            first = next(reversed(self._gaps))
            gap = self._gaps[first]
            number = None if now - gap.at > LATELY_SECONDS else _draw(gap, chance, below)
            if number is not None:
                gap.there.add(number)
                return number
            del self._gaps[first]
        return None


def _draw(gap: _Gap, chance: Random, below: int) -> int | None:
    span = range(gap.covered.start, min(gap.covered.stop, below))
    if not span:
        return None
    for _ in range(_DRAWS):
        number = chance.choice(span)
        if number not in gap.there:
            return number
    left = [number for number in span if number not in gap.there] if len(span) <= _LISTED else []
    return chance.choice(left) if left else None
