"""What may go wrong around leases in a process, and buckets of real threads to try it on.

The DynamoDB is the simulator's, in this process: nothing here depends on an engine.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from ddb_lease import Lease, LeaseBucket, Timing
from ddb_lease._protocol.messages import Renew
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.workers import Workers
from scripts.harness.simulated_engine import Simulated
from tests.support import Tap, eventually

TABLE = "leases"
LEASE = 5.0
"""Seconds; not fewer, as a machine that stands still for a second must not take the leases."""
PATIENCE = 60.0

_serial = itertools.count()


class Process:
    """Buckets of one process: one heartbeat and its threads, for all of them."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.engine = Simulated()
        self.heartbeats = Heartbeats(clock, Workers(clock))
        self._buckets: list[LeaseBucket] = []

    def bucket(self, *, max_tokens: int = 1, lease_seconds: float = LEASE, **settings: Any) -> LeaseBucket:
        """A new bucket; its `tap` sees each request first."""
        tap = Tap()
        made: Any = LeaseBucket(
            f"bucket-{next(_serial)}",
            max_tokens=max_tokens,
            lease_seconds=lease_seconds,
            table=TABLE,
            session=self.engine.session(),
            timing=Timing(front_end_skew=0.1, grace=0.1),
            runtime=Runtime(heartbeats=self.heartbeats, wrap=tap.around),
            **settings,
        )
        made.tap = tap
        self._buckets.append(made)
        return made

    def rob(self, lease: Lease, bucket: LeaseBucket) -> None:
        """Delete a lease's slots by hand: its next renewal finds it gone."""
        for slot in lease.slots:
            key = {"pk": {"S": bucket.name}, "sk": {"S": f"slot#{slot:05d}"}}
            self.engine.execute("delete_item", TableName=TABLE, Key=key)

    def close(self) -> None:
        """Release everything."""
        for bucket in self._buckets:
            bucket.close()


def outlives(lease: Lease, bucket: Any, *, renewals: int = 4) -> None:
    """Wait until a lease was renewed so often that it has outlived its first expiry, and is held."""
    outlive([lease], bucket, renewals=renewals)


def outlive(leases: list[Lease], bucket: Any, *, renewals: int) -> None:
    """The same of several at once."""
    until = {lease: renewed(bucket, lease) + renewals for lease in leases}
    eventually(
        lambda: all(renewed(bucket, lease) >= until[lease] or not lease.held for lease in leases), within=PATIENCE
    )
    for lease in leases:
        lease.check()


def renewed(bucket: Any, lease: Lease) -> int:
    """How often its renewal was sent."""

    return sum(1 for request in bucket.tap.of(Renew) if request.lease_id == lease.id)


def threads(name: str) -> set[threading.Thread]:
    """The threads whose name begins so."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(name)}


class Told:
    """A lost-callback that says when it was called."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.called = threading.Event()
        self.on: list[str] = []
        self._then = then

    def __call__(self, lease: Lease) -> None:
        self.on.append(threading.current_thread().name)
        self.called.set()
        self._then()
