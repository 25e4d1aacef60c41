"""A heartbeat without a thread: the environment runs it when it moves the clock.

Invariants: everything runs on the calling thread, and only when called.
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
    """Workers that run each job at once, on the calling thread."""

    def submit(self, job: Callable[[], object], **_: object) -> None:
        """Run the job now; its errors are raised here."""
        job()

    def ensure_one(self) -> None:
        """Nothing: the calling thread is the worker."""

    def relieve(self) -> None:
        """Nothing: no job ever waits."""

    def keep_ready(self, count: int) -> None:
        """Nothing: no job ever waits."""

    def relief_in(self) -> float:
        """Infinity: no job ever waits."""
        return math.inf


class ManualHeartbeats(Heartbeats):
    """A heartbeat without a thread: the test runs it.

    Attributes:
        slept: What `overslept` returns: whether the process was suspended when something became due.
        started: How often a heartbeat thread would have been started or found running.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, InlineWorkers(clock), InlineWorkers(clock))
        self.slept = False
        self.started = 0

    def ensure_running(self) -> None:
        """Count the call; there is no thread."""
        self.started += 1

    def overslept(self) -> bool:
        """Whether the process was suspended, as the test says."""
        return self.slept

    def leases(self) -> list[Lease]:
        """All leases that are held, and some that were lost and must be cleaned up."""
        return [Lease(held) for held in self.scheduled() if isinstance(held, HeldLease)]
