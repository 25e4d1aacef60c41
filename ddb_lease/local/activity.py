"""Counts the requests in progress, and decides when an idle engine may stop.

Invariants: the decision to stop and the admission of a request exclude each other. Once closed, no request is
admitted. Every admitted request keeps the engine up for one more idle time.
"""

import threading
import time

from ddb_lease.local.clock import Clock


class Activity:
    """Counts the requests in progress and remembers when the last one was seen. Thread-safe.

    Args:
        clock: Any clock that counts seconds steadily.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._in_progress = 0
        self._closed = False
        self._last_s = clock()

    def enter(self) -> bool:
        """Begin a request. False if the engine is stopping: then do not call `leave`."""
        with self._changed:
            if self._closed:
                return False
            self._in_progress += 1
            self._last_s = self._clock()
            return True

    def leave(self) -> None:
        """End a request that was admitted."""
        with self._changed:
            self._in_progress -= 1
            self._last_s = self._clock()
            self._changed.notify_all()

    def close_if_idle(self, idle_s: float) -> bool:
        """Close if no request is in progress and the last one was `idle_s` seconds ago; whether it is closed."""
        with self._changed:
            is_idle = self._in_progress == 0 and self._clock() - self._last_s >= idle_s
            self._closed = self._closed or is_idle
            return self._closed

    def close(self, *, timeout_s: float) -> bool:
        """Admit no more requests and wait for those in progress; False if that took too long."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: self._in_progress == 0, timeout_s)
