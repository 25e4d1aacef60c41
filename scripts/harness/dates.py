"""Wrong Dates: which ones a process may be told.

Invariants:

- Wrong Dates come alone, in pairs that agree with each other, and in some schedules in crowds; but never more than the
  library says that it withstands (`ddb_lease._state.offset`): of `WINDOW` dated answers in a row, in the order in which
  a process gets them, no three wrong ones agree with one another.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

from ddb_lease._state.offset import WINDOW


@dataclass(frozen=True, slots=True)
class Lie:
    """A wrong Date that a process is yet to be told, so that it agrees with one that it was told.

    Attributes:
        date: By how many seconds it is wrong.
        at: With which request at the earliest.
    """

    date: float
    at: int

    @staticmethod
    def after(date: float, ordinal: int, how: float) -> Lie | None:
        """What follows a wrong Date: often another one, about as wrong, one to three requests later."""
        drawn = how * 1e4 % 1.0
        return None if drawn > 0.7 else Lie(date=date + 2.0 * drawn - 0.7, at=ordinal + 1 + int(drawn / 0.7 * 3))


class Dates:
    """How wrong the Dates were that one process was told last."""

    def __init__(self) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=WINDOW - 1)

    def may_tell(self, wrong: float, took: float) -> bool:
        """Whether it may be told a Date that is wrong by so much, in an answer that took so long; it is then."""
        mine = (wrong, took)
        alike = [told for told in self._last if told[0] and _agree(told, mine)]
        three = any(_agree(one, other) for one, other in itertools.combinations(alike, 2))
        tells = not (wrong and three)
        self._last.append(mine if tells else (0.0, took))
        return tells


def _agree(one: tuple[float, float], other: tuple[float, float]) -> bool:
    # Each tells the time to a second, and to the time it took; their front ends differ by another second.
    return abs(one[0] - other[0]) <= 3.0 + one[1] + other[1]
