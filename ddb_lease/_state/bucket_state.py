"""The scene: what surrounds the procedures of one bucket in one process.

Invariants: it gathers what is passed in, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ddb_lease._protocol import decisions
from ddb_lease._protocol.records import Counter, Settings
from ddb_lease._state.hints import Hints
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.models import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketState:
    """What surrounds the procedures of one bucket in one process."""

    bucket: str
    wanted: Settings
    timing: Timing
    time: ServiceTime
    chance: Random
    hints: Hints
    adopt: Callable[[Counter, bool], None]
    """Called with each counter seen, and whether it is surely the latest: adopts stored settings, and warns of others
    once."""

    ours: Callable[[str], bool]
    """Whether this process holds a lease of this id."""

    require_open: Callable[[], None]
    """Raises once the bucket is closed: nobody waits on for a closed one."""

    def lease_ms(self) -> int:
        """The length of a lease: the stored setting rules."""
        counter = self.hints.counter
        return counter.lease_ms if counter else self.wanted.lease_ms

    def ttl(self, now_hi: int, *, fence: int, expires_at: int | None = None) -> int:
        """The TTL attribute of a slot written now."""
        retention = self.timing.retention
        return decisions.ttl_for(now_hi=now_hi, expires_at=expires_at, fence=fence, retention_seconds=retention)

    def token(self) -> str:
        """A request token: one for each attempt, kept over its resends."""
        return f"{self.chance.getrandbits(128):032x}"
