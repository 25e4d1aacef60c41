"""A simulated machine: a process's clocks, threads, pauses and locks, on simulated time.

Invariants:

- It knows nothing of what runs on it: `simulated_process` runs a `LeaseBucket`, `simulated_limiter` a `RateLimiter`.
- A frozen machine does nothing until it is thawed; a dead one never does anything again, though its requests may still
  be in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from random import Random

from ddb_lease._runtime.ports import Wakeup
from scripts.harness.dates import Dates, Lie
from scripts.harness.world import Actor, World


class Clock:
    """A process's clocks: a steady one that runs a little fast or slow, and a wall clock that may be wrong."""

    def __init__(self, world: World, *, rate: float, wall: float) -> None:
        self.off = wall
        self.missed = 0.0
        self._world = world
        self._began = world.now
        self.rate = 1.0 + rate

    def steady(self) -> float:
        return 1_000.0 + (self._world.now - self._began - self.missed) * self.rate

    def wall(self) -> float:
        return self._world.now + self.off


class Machine:
    """A process without what it runs: its clocks, its threads, and what befalls it.

    Attributes:
        luck: Randomness for the faults of its requests; `luck_of_reads` for what its reads show.
        lease_seconds: What the network's faults are as long as.
        frozen: Whether it is stopped now; `froze_at` is its steady time when it last was, `thawed_at` the true time
            at which it continued.
        dated_answers: How many answers in a row, to requests sent since it was last thawed (after so many as
            `sent_when_thawed`), told it the service's time.
        dateless: How many of its requests in a row were answered without a Date, because of faults.
        lie: A wrong Date that it is yet to be told.
        dates: How wrong the Dates were that it was told last.
        cut_until: Until when none of its requests arrives.
        requests: How many it has sent.
    """

    def __init__(
        self, name: str, *, world: World, seed: int, lease_seconds: float, rate: float = 0.0, wall: float = 0.0
    ) -> None:
        self.name = name
        self.world = world
        self.seed = seed
        self.lease_seconds = lease_seconds
        self.alive = True
        self.frozen = False
        self.cut_until = 0.0
        self.requests = 0
        self.actors: list[Actor] = []
        self.luck = Random(f"{seed} {name} luck")
        self.clock = Clock(world, rate=rate, wall=wall)
        self.thawed_at = float("-inf")
        self.froze_at = 0.0
        self.dated_answers = 0
        self.dateless = 0
        self.lie: Lie | None = None
        self.dates = Dates()
        self.sent_when_thawed = 0
        self._frozen_at = 0.0
        self._stands = False
        self._thawing: list[Callable[[], None]] = []
        self._serial = 0

    @cached_property
    def luck_of_reads(self) -> Random:
        """Made at its first use: few need it, and seeding is slow."""
        return Random(f"{self.seed} {self.name} reads")

    def act(self, what: str, job: Callable[[], object]) -> Actor | None:
        """Start a thread in this process; a dead one starts none."""
        if not self.alive:
            return None
        self._serial += 1
        self.actors = [actor for actor in self.actors if actor.alive]
        actor = Actor(self.world, f"{self.name} {what} {self._serial}", job)
        self.actors.append(actor)
        self.world.adopt(actor)
        self.world.after(0.0, lambda: self.when_running(actor.wake))
        return actor

    def when_running(self, happens: Callable[[], object]) -> None:
        """Do something to it now, or when it is thawed; nothing if it is dead."""
        if self.frozen:
            self._thawing.append(lambda: self.when_running(happens))
        elif self.alive:
            happens()

    def wait(self, seconds: float) -> bool:
        """Called on one of its threads: suspend for so long by its own clock; returns False if woken before."""
        actor = self.world.current
        assert actor is not None
        if actor.dead:
            actor.suspend()
        ticket = actor.waiting

        def ring() -> None:
            if actor.waiting == ticket:
                actor.wake(True)

        if seconds < 1e9:
            # By its own clock, and a little more: true time is no finer than that, and must advance.
            self.world.after(max(0.0, seconds) / self.clock.rate + 1e-6, lambda: self.when_running(ring))
        return bool(actor.suspend())

    def freeze(self, *, stands: bool) -> None:
        """Stop it; its steady clock continues, or stands still (`stands`)."""
        if self.alive and not self.frozen:
            self.frozen, self._frozen_at, self._stands = True, self.world.now, stands
            self.froze_at = self.clock.steady()

    def thaw(self) -> None:
        """Let it continue: all that should have happened to it happens now, in order."""
        if not self.frozen:
            return
        self.frozen = False
        self.thawed_at = self.world.now
        if self._stands:
            self.clock.missed += self.world.now - self._frozen_at
            self.dated_answers = 0
            self.sent_when_thawed = self.requests
        thawing, self._thawing = self._thawing, []
        for happens in thawing:
            self.world.after(0.0, happens)

    def crash(self) -> None:
        """It dies at once; its requests stay in flight."""
        self.alive = False
        self.frozen = False
        for actor in list(self.actors):
            actor.kill()


class SimulatedWakeup(Wakeup):
    """Pauses on simulated time."""

    def __init__(self, process: Machine) -> None:
        super().__init__()
        self._process = process
        self._rung = False
        self._sleeper: tuple[Actor, int] | None = None

    def pause(self, seconds: float) -> None:
        if not self._rung:
            actor = self._process.world.current
            assert actor is not None
            self._sleeper = (actor, actor.waiting)
            self._process.wait(seconds)
            self._sleeper = None
        self._rung = False

    def sleep(self, seconds: float) -> None:
        self._process.wait(seconds)

    def wake(self) -> None:
        self._rung = True
        if self._sleeper is None:
            return
        (actor, ticket), self._sleeper = self._sleeper, None
        # As an event of its own: the waking thread continues first.
        self._process.world.after(
            0.0,
            lambda: self._process.when_running(lambda: actor.wake(False) if actor.waiting == ticket else None),
        )


class SimulatedLock:
    """A lock whose waiters wait on simulated time."""

    def __init__(self, process: Machine) -> None:
        self._process = process
        self._taken = False
        self._waiters: list[SimulatedWakeup] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        deadline = float("inf") if timeout < 0 else self._process.world.now + timeout
        while self._taken:
            left = deadline - self._process.world.now
            if not blocking or left <= 0:
                return False
            wakeup = SimulatedWakeup(self._process)
            self._waiters.append(wakeup)
            wakeup.pause(left)
        self._taken = True
        return True

    def release(self) -> None:
        self._taken = False
        waiters, self._waiters = self._waiters, []
        for wakeup in waiters:
            wakeup.wake()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()
