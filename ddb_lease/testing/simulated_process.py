"""One simulated process, with a heartbeat of its own and a connection to the engine that can be cut.

Invariants:

- A request that passes is really sent. The environment only decides whether it passes, and dates the answer.
- Random times repeat from run to run. Random names (lease ids, request tokens) never do, as an engine remembers them.
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
    """What an outage cuts."""

    REQUESTS = enum.auto()
    """No request arrives, and the sender knows it."""
    ANSWERS = enum.auto()
    """Requests arrive and are carried out; their answers are lost."""


_BITS_OF_A_NAME = 64
"""From so many on; a draw among slots or windows takes fewer, and is the same in every run."""


class Chance(Random):
    """Draws the same times and numbers in every run, but never the same name twice."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        # Of their own, so that how many numbers are drawn moves no time.
        self._numbers = Random(seed)  # noqa: S311 - nothing secret

    def getrandbits(self, bits: int, /) -> int:
        """Random bits: so many that they make a lease id or a request token are new ones in every run."""
        return (_names if bits >= _BITS_OF_A_NAME else self._numbers).getrandbits(bits)


class OneAtATime:
    """A lock that does not block a thread which holds it already.

    A lost-callback runs on the thread that found the loss, which may be in a renewal, and it may release the lease.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; False at once if this thread holds it already."""
        me = threading.get_ident()
        if self._inside == me:
            return False
        inside = self._lock.acquire(blocking, timeout)
        if inside:
            self._inside = me
        return inside

    def release(self) -> None:
        """Release the lock."""
        self._inside = None
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(slots=True, kw_only=True, eq=False)
class SimulatedProcess:
    """One process of an environment.

    Attributes:
        clock: The environment's.
        wakeup: Makes the `Wakeup`s that its threads wait on.
        seed: The seed of its random times.
        cut: What an outage cuts of its traffic.
        asleep: Whether the process is suspended; then nothing of it runs.
        stores: The stores of its buckets.
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
        """The runtime of its buckets."""
        return Runtime(
            clock=self.clock,
            chance=Chance(self.seed),
            heartbeats=self.heartbeats,
            wrap=self._wrap,
            wakeup=self.wakeup,
            skips_time=True,
            lock=OneAtATime,
        )

    def beat(self) -> None:
        """Do what is due, unless asleep."""
        if not self.asleep:
            self.heartbeats.turn(slept=False)

    def wake(self) -> None:
        """Wake up, and do what became due meanwhile."""
        self.asleep, self.heartbeats.slept = False, True
        try:
            self.heartbeats.turn(slept=True)
        finally:
            self.heartbeats.slept = False

    def close_stores(self) -> None:
        """Close the connections."""
        for store in self.stores:
            store.close()

    def _wrap(self, store: Sender) -> FaultyStore:
        faulty = FaultyStore(store, self)
        self.stores.append(faulty)
        return faulty


class FaultyStore:
    """Wraps a bucket's store: loses what an outage cuts, and dates answers by the environment's clock."""

    def __init__(self, store: Sender, process: SimulatedProcess) -> None:
        self._store = store
        self._process = process

    def send(self, request: Request) -> Reply:
        """Send one request once, or not."""
        cut = self._process.cut
        if cut is Cut.REQUESTS:
            return _unanswered(Unsent(cause=ConnectionError("an outage of the test environment: no connection")))
        reply = self._store.send(request)
        if cut is Cut.ANSWERS:
            return _unanswered(Unknown(cause=ConnectionError("an outage of the test environment: the answer is lost")))
        if not reply.genuine:
            return reply
        return replace(reply, date=float(math.floor(self._process.clock.wall())))

    def fit(self, lease_seconds: float) -> None:
        """Serve leases of this length."""
        self._store.fit(lease_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def after_fork_in_child(self) -> None:
        """Drop the parent's connections."""
        self._store.after_fork_in_child()


def _unanswered(answer: Unsent | Unknown) -> Reply:
    return Reply(answer=answer, genuine=False, date=None)
