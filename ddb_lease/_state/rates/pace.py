"""Pace: how fast one process uses permits of one key.

Invariants:

- It counts permits that were used, not those that were charged, so permits taken ahead do not justify further ones.
- No clock: times come in. The limiter's lock guards it.
"""

from __future__ import annotations

import math


class Pace:
    """How many permits were used within about the last second: a count that decays exponentially."""

    __slots__ = ("_at", "_count")

    def __init__(self) -> None:
        self._count = 0.0
        self._at = -math.inf

    def note(self, permits: int, *, now: float) -> None:
        """Note permits that are used now, on the steady clock."""
        self._count = self.a_second(now=now) + permits
        self._at = max(self._at, now)

    def a_second(self, *, now: float) -> float:
        """Permits a second, as of this time of the steady clock."""
        return self._count * math.exp(-max(0.0, now - self._at))
