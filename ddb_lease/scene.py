"""The scene: what surrounds the procedures of one bucket in one process.

Laws of this room: it gathers what is passed in, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ddb_lease import protocol
from ddb_lease.clock import ServiceTime
from ddb_lease.memory import Memory
from ddb_lease.model import Counter, Settings, Timing
from ddb_lease.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What surrounds the procedures of one bucket in one process."""

    bucket: str
    wanted: Settings
    timing: Timing
    time: ServiceTime
    chance: Random
    memory: Memory
    adopt: Callable[[Counter, bool], None]
    """Called with each counter seen, and whether it is surely the latest: adopts stored settings, and warns of others
    once."""

    ours: Callable[[str], bool]
    """Whether this process holds a lease of this id."""

    require_open: Callable[[], None]
    """Raises once the bucket is closed: nobody waits on for a closed one."""

    def lease_ms(self) -> int:
        """The length of a lease: the stored setting rules."""
        counter = self.memory.counter
        return counter.lease_ms if counter else self.wanted.lease_ms

    def ttl(self, now_hi: int, *, fence: int, expires_at: int | None = None) -> int:
        """The TTL attribute of a slot written now."""
        retention = self.timing.retention
        return protocol.ttl_for(now_hi=now_hi, expires_at=expires_at, fence=fence, retention_seconds=retention)

    def token(self) -> str:
        """A request token: one for each attempt, kept over its resends."""
        return f"{self.chance.getrandbits(128):032x}"
