"""This machine's clocks.

Invariant: this is the only module of the library that asks the machine what time it is. Everything else is handed a
`Clock`.
"""

from __future__ import annotations

import sys
import time


class SystemClock:
    """The machine's own clocks.

    `steady` is CLOCK_BOOTTIME on Linux, and CLOCK_MONOTONIC_RAW on macOS, where ``time.monotonic()`` stops while
    the lid is closed. Windows' and other systems' ``time.monotonic()`` is taken as it is.
    """

    if sys.platform == "linux":

        def steady(self) -> float:
            """Seconds since boot, suspended time included."""
            return time.clock_gettime(time.CLOCK_BOOTTIME)

    elif sys.platform == "darwin":

        def steady(self) -> float:
            """Seconds since boot, suspended time included (mach_continuous_time)."""
            return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)

    else:

        def steady(self) -> float:
            """Seconds since some fixed instant."""
            return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()
