"""A simulated process: the shipped `LeaseBucket` with its heartbeat, on simulated clocks, threads and chance.

Invariants:

- It reimplements nothing of the library. It simulates only what the library gets from outside (`Runtime`): clocks,
  pauses, locks that are held across a request, threads, chance, and the boto3 client.
- A frozen process does nothing until it is thawed; a dead one never does anything again, though its requests may still
  be in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from ddb_lease import Lease, LeaseBucket, Timing
from ddb_lease._runtime.heartbeat import Heartbeats, Naps
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.models import Order
from scripts.harness.inside import core_of, held_of
from scripts.harness.network import Client, Network
from scripts.harness.simulated_machine import Machine, SimulatedLock, SimulatedWakeup
from scripts.harness.world import Actor, World

BUCKET = "bucket"
TABLE = "table"
TIMING = Timing(retention=3600.0)


@dataclass(eq=False)
class Held:
    """A lease that a process's user got, and what the user was told about it.

    Attributes:
        told_lost: When its lost-callback was called, in true time.
        blind: Whether the steady clock missed time since it was acquired: then the holder believes too long, until it
            finds out.
        at_least: For how many seconds it was acquired at least; 0.0: not asked for.
    """

    lease: Lease
    process: Process
    told_lost: float | None = None
    blind: bool = False
    at_least: float = 0.0

    def believes(self) -> bool:
        """Whether the holder believes at this instant: the test of `check`, without its side effects."""
        held = held_of(self.lease)
        return self.process.alive and not held._forked and held.belief.holds(self.process.clock.steady())


class Process(Machine):
    """One process of one bucket's users.

    Attributes:
        held: Every lease that its user got and that has not ended.
    """

    def __init__(
        self,
        name: str,
        *,
        world: World,
        network: Network,
        seed: int,
        max_tokens: int,
        lease_seconds: float,
        rate: float = 0.0,
        wall: float = 0.0,
        order: Order | None = None,
    ) -> None:
        super().__init__(name, world=world, seed=seed, lease_seconds=lease_seconds, rate=rate, wall=wall)
        self.held: list[Held] = []
        self.heartbeats = simulated_heartbeats(self)
        self.bucket = LeaseBucket(
            BUCKET,
            max_tokens=max_tokens,
            lease_seconds=lease_seconds,
            table=TABLE,
            client=Client(network, self, lease_seconds),
            owner=name,
            timing=TIMING,
            order=order,
            runtime=Runtime(
                clock=self.clock,
                chance=Random(f"{seed} {name} chance"),
                heartbeats=self.heartbeats,
                wakeup=lambda: SimulatedWakeup(self),
                lock=lambda: SimulatedLock(self),
            ),
        )

    def thaw(self) -> None:
        """Let it continue; no holder knows yet that its steady clock stood still, if it did."""
        missed = self.clock.missed
        super().thaw()
        if self.clock.missed > missed:
            for held in self.held:
                held.blind = True

    def crash(self) -> None:
        """It dies at once; its requests stay in flight."""
        super().crash()
        self.held.clear()

    def vanish(self) -> None:
        """The simulation is over: leave nothing that this interpreter would release at its own exit."""
        core_of(self.bucket).leases.clear()
        core_of(self.bucket).owed.clear()


class _Workers:
    """Threads for jobs that may block: one for each job, as the simulation has enough."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def submit(self, job: Callable[[], object], **_: object) -> None:
        self._process.act("worker", job)

    def ensure_one(self) -> None:
        """There always is one."""

    def relieve(self) -> None:
        """There is never a shortage of threads here."""

    def keep_ready(self, count: int) -> None:
        """Nor is one ever too late to be started."""

    def relief_in(self) -> float:
        return float("inf")


class _Thread:
    """A thread of a simulated process: none where the process is dead."""

    def __init__(self, actor: Actor | None) -> None:
        self._actor = actor

    def is_alive(self) -> bool:
        return self._actor is not None and self._actor.alive


class SimulatedNaps(Naps):
    """Naps in simulated time. Successive ones are slept as one: between them a heartbeat finds that nothing is due.

    Attributes:
        due_in: Seconds until something is due, as `Heartbeats.due_in`.
    """

    def __init__(self, process: Process) -> None:
        super().__init__(process.clock, SimulatedWakeup(process))
        self.due_in: Callable[[], float] = lambda: float("inf")
        self._process = process

    def sleep(self, seconds: float) -> None:
        process, now = self._process, self.clock.steady()
        until = max(seconds, self.due_in())
        self.planned, self.asleep_until = now + seconds, now + until
        self.wakeup.pause(until)
        thawed_now = process.thawed_at == process.world.now
        awake_until = process.froze_at if thawed_now else self.clock.steady()
        self.planned = max(self.planned, awake_until)


def simulated_heartbeats(process: Process) -> Heartbeats:
    """The shipped heartbeat, its thread an actor, its naps in simulated time."""
    workers: Any = _Workers(process)
    naps = SimulatedNaps(process)
    heartbeats = Heartbeats(
        process.clock, workers, workers, naps=naps, start=lambda run: _Thread(process.act("heartbeat", run))
    )
    naps.due_in = heartbeats.due_in
    return heartbeats
