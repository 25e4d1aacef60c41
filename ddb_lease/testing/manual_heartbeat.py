"""A heartbeat without a thread: whatever moves the clock turns it.

Invariant: everything runs on the calling thread, and only when asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.workers import Workers
from ddb_lease._state.service_time import Clock
from ddb_lease.lease import Lease


class InlineWorkers(Workers):
    """Workers that do it at once, on the calling thread."""

    def submit(self, job: Callable[[], object], **_: object) -> None:
        """Do it now; what it raises is raised here."""
        job()

    def relieve(self) -> None:
        """Nobody ever waits here."""

    def relief_in(self) -> float:
        """Never."""
        return math.inf


class ManualHeartbeats(Heartbeats):
    """A heartbeat without a thread: the test turns it.

    Attributes:
        slept: What `overslept` answers: whether the process was not running when something became due.
        started: How often a thread would have been started, or found to be there.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, InlineWorkers(clock))
        self.slept = False
        self.started = 0

    def ensure_running(self) -> None:
        """There is no thread to run."""
        self.started += 1

    def overslept(self) -> bool:
        """Whether the process was not running, as the test says."""
        return self.slept

    def due_in(self) -> float:
        """Seconds until somebody must be looked after; infinite where there is nobody."""
        first = self._schedule.first()
        return math.inf if first is None else first - self._clock.steady()

    def leases(self) -> list[Lease]:
        """Those that are looked after: all that are held, and some that were lost and have to be cleaned up."""
        return [Lease(held) for held in self._schedule.all() if isinstance(held, HeldLease)]
