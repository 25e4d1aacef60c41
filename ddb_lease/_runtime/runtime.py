"""The environment of buckets and limiters: clocks, randomness, threads and locks, in one value.

Invariant: production uses the defaults; tests, the test kit and the simulator pass their own, and change nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random, SystemRandom

from ddb_lease._runtime import process
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.ports import Lock, Sender, Wakeup
from ddb_lease._state.service_time import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The environment of a bucket; tests and simulators bring their own.

    Attributes:
        clock: This machine's clocks.
        chance: A source of randomness that no two processes share, not even after a fork.
        heartbeats: The process's heartbeat, with its threads.
        wrap: Wraps the store, to watch it or to make it fail.
        wakeup: Makes what a waiting thread pauses on.
        skips_time: Whether a pause on such a wakeup takes no real time: tasks of an event loop pause on it too, then.
        lock: Makes what serialises the renewals and the release of one lease.
    """

    clock: Clock = field(default_factory=SystemClock)
    chance: Random = field(default_factory=SystemRandom)
    heartbeats: Heartbeats | None = None
    wrap: Callable[[Sender], Sender] = field(default=lambda store: store)
    wakeup: Callable[[], Wakeup] = Wakeup
    skips_time: bool = False
    lock: Callable[[], Lock] = threading.Lock

    def heartbeat(self) -> Heartbeats:
        """Its own heartbeat, else the process's; a forked child has a new one."""
        return self.heartbeats or process.heartbeats()
