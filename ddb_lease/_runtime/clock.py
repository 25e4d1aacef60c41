"""This machine's clocks.

Invariant: only this module of the library reads the machine's clocks. Everything else gets a `Clock`.
"""

from __future__ import annotations

import functools
import sys
import time


class SystemClock:
    """The machine's own clocks.

    Attributes:
        steady: Seconds since boot, suspended time included: CLOCK_BOOTTIME on Linux, and CLOCK_MONOTONIC_RAW
            (mach_continuous_time) on macOS, where ``time.monotonic()`` stops while the lid is closed. On Windows and
            other systems it is ``time.monotonic()`` as it is.
        wall: Seconds since the epoch.
    """

    # The functions themselves, not wrappers: each operation calls them many times.
    if sys.platform == "linux":
        steady = staticmethod(functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME))
    elif sys.platform == "darwin":
        steady = staticmethod(functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC_RAW))
    else:
        steady = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
