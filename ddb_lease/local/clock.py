"""The engine's clock.

Invariants: it counts seconds since the epoch. It never steps, even if the machine's wall clock does. It keeps
running while the machine sleeps, as leases do.
"""

import sys
import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch, as a float."""


def elapsed_s() -> float:
    """Seconds since some fixed moment, time asleep included.

    `time.monotonic` stops while Linux or macOS sleeps; these clocks do not.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.clock_gettime(time.CLOCK_MONOTONIC)


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
