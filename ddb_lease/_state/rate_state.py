"""What the operations of one rate limiter know: settings, time, chance, permits, and whether it is closed.

Invariants: it is below the operations, and they read it directly, so no callback is passed down to them. It decides
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ddb_lease._protocol.records import Rate
from ddb_lease._state.permits import Permits
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import ConfigurationError


@dataclass(slots=True, kw_only=True)
class RateState:
    """The state of one limiter in one process.

    Attributes:
        name: The rate's name.
        rate: Its settings.
        prefetch: How many permits to take with one charge, at least.
        retention: Seconds that the item stays after its last use.
        time: Bounds on the service's time.
        chance: A source of randomness that no two processes share.
        permits: What this process knows of the rate, and the queue.
        closed: Whether the limiter is closed. It never opens again.
    """

    name: str
    rate: Rate
    prefetch: int
    retention: float
    time: ServiceTime
    chance: Random
    permits: Permits
    closed: bool = False

    def closed_error(self) -> ConfigurationError:
        """The error of a closed limiter."""
        return ConfigurationError(f"the limiter of rate {self.name!r} is closed")
