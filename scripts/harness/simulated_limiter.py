"""A simulated process with a rate limiter: the shipped `RateLimiter` on simulated clocks, threads and chance.

Invariants: as in `simulated_process`. It reimplements nothing of the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from ddb_lease import Limit, RateLimiter, Timing
from ddb_lease._runtime.runtime import Runtime
from scripts.harness.inside import core_of
from scripts.harness.network import Client, Network
from scripts.harness.simulated_machine import Machine, SimulatedLock, SimulatedWakeup
from scripts.harness.world import World

LIMITER = "rate"
TABLE = "table"
RETENTION = 3600
TIMING = Timing(retention=float(RETENTION))
ANSWER_SECONDS = 30.0
"""The client's timeouts are a tenth of it, as the library's own for rates."""

FAULT_SECONDS = 4.0
"""How long the network's faults are: what takes up to two leases there takes up to eight seconds here."""


class LimiterProcess(Machine):
    """One process of one limiter's users."""

    def __init__(
        self,
        name: str,
        *,
        world: World,
        network: Network,
        seed: int,
        limits: Mapping[str, Limit],
        prefetch: int = 0,
        rate: float = 0.0,
        wall: float = 0.0,
    ) -> None:
        super().__init__(name, world=world, seed=seed, lease_seconds=FAULT_SECONDS, rate=rate, wall=wall)
        self.runtime = Runtime(
            clock=self.clock,
            chance=Random(f"{seed} {name} chance"),
            wakeup=lambda: SimulatedWakeup(self),
            lock=lambda: SimulatedLock(self),
        )
        self.limiter = RateLimiter(
            LIMITER,
            limits=limits,
            table=TABLE,
            client=Client(network, self, ANSWER_SECONDS),
            prefetch=prefetch,
            timing=TIMING,
            runtime=self.runtime,
        )

    def told_ns(self) -> int | None:
        """What it believes the service's time to be, in nanoseconds; None before it knows."""
        return core_of(self.limiter).state.rate_time.now_ns()

    @property
    def hold(self) -> str:
        """The name of its holds in the table."""
        return core_of(self.limiter).state.process
