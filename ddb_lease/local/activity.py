"""Who is using the engine, and may it stop?

Laws: the decision to stop and the admission of a request exclude each other. Once closed, nothing is
admitted; whoever was admitted keeps the engine up for a whole idle time more.
"""

import threading
import time

from ddb_lease.local.clock import Clock


class Activity:
    """Counts the requests under way and remembers the last one. Thread-safe.

    Args:
        clock: Any steady seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._under_way = 0
        self._closed = False
        self._last_s = clock()

    def enter(self) -> bool:
        """Begin a request; False if the engine is stopping, and then `leave` must not be called."""
        with self._changed:
            if self._closed:
                return False
            self._under_way += 1
            self._last_s = self._clock()
            return True

    def leave(self) -> None:
        """End a request that was admitted."""
        with self._changed:
            self._under_way -= 1
            self._last_s = self._clock()
            self._changed.notify_all()

    def close_if_idle(self, idle_s: float) -> bool:
        """Close if nothing is under way and the last request is `idle_s` seconds back."""
        with self._changed:
            is_idle = self._under_way == 0 and self._clock() - self._last_s >= idle_s
            self._closed = self._closed or is_idle
            return self._closed

    def close(self, *, timeout_s: float) -> bool:
        """Admit nothing more and wait for what is under way; False if that took too long."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._under_way == 0, timeout_s)
