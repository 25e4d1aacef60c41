"""The engine's clock.

Invariants: it counts seconds since the epoch. It never steps, even if the machine's wall clock does. It keeps
running while the machine sleeps, as leases do.
"""

import time
from collections.abc import Callable

from ddb_lease._runtime.clock import SystemClock

Clock = Callable[[], float]
"""Seconds since the epoch, as a float."""


elapsed_s = SystemClock.steady
"""Seconds since some fixed moment, time asleep included."""


class SteadyClock:
    """The wall clock at creation, plus the time elapsed since.

    If the wall clock is stepped between two starts, the clocks of those two engines differ by that step.
    """

    __slots__ = ("_offset_s",)

    def __init__(self) -> None:
        self._offset_s = time.time() - elapsed_s()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self._offset_s + elapsed_s()
