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


def _spawn(job: Callable[[], None]) -> None:
    try:
        threading.Thread(target=job, name="ddb-lease-lost", daemon=True).start()
    except RuntimeError:
        job()  # no thread can be started: rather on this thread than late


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The environment of a bucket; tests and simulators bring their own.

    Attributes:
        clock: This machine's clocks.
        chance: A source of randomness that no two processes share, not even after a fork.
        heartbeats: The process's heartbeat.
        wrap: Wraps the store, to watch it or to make it fail.
        wakeup: Makes what a waiting thread pauses on.
        skips_time: Whether a pause on such a wakeup takes no real time: tasks of an event loop pause on it too, then.
        spawn: Runs a lost-callback, not on the calling thread.
        lock: Makes what serialises the renewals and the release of one lease.
    """

    clock: Clock = field(default_factory=SystemClock)
    chance: Random = field(default_factory=SystemRandom)
    heartbeats: Heartbeats | None = None
    wrap: Callable[[Sender], Sender] = field(default=lambda store: store)
    wakeup: Callable[[], Wakeup] = Wakeup
    skips_time: bool = False
    spawn: Callable[[Callable[[], None]], None] = _spawn
    lock: Callable[[], Lock] = threading.Lock

    def heartbeat(self) -> Heartbeats:
        """Its own heartbeat, else the process's; a forked child has a new one."""
        return self.heartbeats or process.heartbeats()
