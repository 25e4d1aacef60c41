"""The engine's clock.

Laws: seconds since the epoch; never steps, even if the machine's wall clock does; goes on while the
machine sleeps, as leases do.
"""

import sys
import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch, as a float."""


def elapsed_s() -> float:
    """Seconds since some fixed moment, with the time asleep counted.

    `time.monotonic` stands still during sleep on Linux and macOS; these clocks do not.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class SteadyClock:
    """The wall clock as it was at creation, plus the time elapsed since.

    Two engines on one machine can differ by what the wall clock was stepped between their starts.
    """

    __slots__ = ("_offset_s",)

    def __init__(self) -> None:
        self._offset_s = time.time() - elapsed_s()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self._offset_s + elapsed_s()
