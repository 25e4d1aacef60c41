"""A peer: one process as a stage has it, with a heartbeat of its own, and a line to the engine that can be cut.

Invariants:

- A request that goes through is really sent. The stage only decides whether it goes through, and dates the answer.
- How times are drawn repeats itself from run to run; names (lease ids, request tokens) never do, as engines know them
  again.
"""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random, SystemRandom

from ddb_lease._protocol.messages import Reply, Request, Unknown, Unsent
from ddb_lease._runtime.ports import Sender, Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.testing.clock import MovableClock
from ddb_lease.testing.manual_heartbeat import ManualHeartbeats

_names = SystemRandom()


class Cut(enum.Enum):
    """What an outage takes away."""

    REQUESTS = enum.auto()
    """No request arrives, and its sender knows it."""
    ANSWERS = enum.auto()
    """Requests arrive and are carried out; their answers are lost."""


class Chance(Random):
    """Draws the same times in every run, but never the same name twice."""

    def getrandbits(self, bits: int, /) -> int:
        """What lease ids and tokens are made of."""
        return _names.getrandbits(bits)


class OneAtATime:
    """A `Lock` for threads, that lets a thread which is inside already pass by instead of waiting for itself.

    A lost-callback runs on the thread that found the loss, which may be renewing; and it may release the lease.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Go in; False at once for whoever is inside already."""
        me = threading.get_ident()
        if self._inside == me:
            return False
        inside = self._lock.acquire(blocking, timeout)
        if inside:
            self._inside = me
        return inside

    def release(self) -> None:
        """Come out."""
        self._inside = None
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(slots=True, kw_only=True, eq=False)
class SimulatedProcess:
    """One process of those on a stage.

    Attributes:
        clock: The stage's.
        wakeup: Makes what its threads pause on.
        seed: What its times are drawn from.
        cut: What an outage takes from it.
        asleep: Whether its process is suspended: then nothing of it runs.
        lines: The stores of its buckets.
    """

    clock: MovableClock
    wakeup: Callable[[], Wakeup]
    seed: int
    cut: Cut | None = None
    asleep: bool = False
    stores: list[FaultyStore] = field(default_factory=list)
    heartbeats: ManualHeartbeats = field(init=False)

    def __post_init__(self) -> None:
        self.heartbeats = ManualHeartbeats(self.clock)

    def runtime(self) -> Runtime:
        """What its buckets run on."""
        return Runtime(
            clock=self.clock,
            chance=Chance(self.seed),
            heartbeats=self.heartbeats,
            wrap=self._wrap,
            wakeup=self.wakeup,
            spawn=lambda job: job(),
            lock=OneAtATime,
        )

    def beat(self) -> None:
        """Do what is due, unless asleep."""
        if not self.asleep:
            self.heartbeats.turn(slept=False)

    def wake(self) -> None:
        """Wake up from sleep, and do what was due meanwhile."""
        self.asleep, self.heartbeats.slept = False, True
        try:
            self.heartbeats.turn(slept=True)
        finally:
            self.heartbeats.slept = False

    def close_stores(self) -> None:
        """Let go of connections."""
        for line in self.stores:
            line.close()

    def _wrap(self, store: Sender) -> FaultyStore:
        line = FaultyStore(store, self)
        self.stores.append(line)
        return line


class FaultyStore:
    """Stands between a bucket and its store: loses what an outage loses, and dates answers by the stage's clock."""

    def __init__(self, store: Sender, process: SimulatedProcess) -> None:
        self._store = store
        self._process = process

    def send(self, request: Request) -> Reply:
        """Send one request once, or not."""
        cut = self._process.cut
        if cut is Cut.REQUESTS:
            return _unanswered(Unsent(cause=ConnectionError("an outage on the test's stage: no connection")))
        reply = self._store.send(request)
        if cut is Cut.ANSWERS:
            return _unanswered(Unknown(cause=ConnectionError("an outage on the test's stage: the answer is lost")))
        if not reply.genuine:
            return reply
        return replace(reply, date=float(math.floor(self._process.clock.wall())))

    def fit(self, lease_seconds: float) -> None:
        """Serve leases of this length."""
        self._store.fit(lease_seconds)

    def close(self) -> None:
        """Let go of connections."""
        self._store.close()

    def after_fork_in_child(self) -> None:
        """Let go of what is the parent's."""
        self._store.after_fork_in_child()


def _unanswered(answer: Unsent | Unknown) -> Reply:
    return Reply(answer=answer, genuine=False, date=None)
