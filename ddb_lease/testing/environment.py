"""A test environment: buckets on one engine and one clock, which the test moves.

Invariants:

- Time passes in steps. A step ends when something is due, and the thread that moves the clock does what is due then.
  So an hour brings the same events in the same order, whether it takes one second or two.
- Waiting makes the time pass: a waiter of a full bucket sees a minute pass at once, and all leases renewed meanwhile.
- The environment knows a bucket by the runtime that it gave it, and does not look inside.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Protocol

from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._state.log import log as _log
from ddb_lease.bucket import LeaseBucket
from ddb_lease.dynamodb import ConnectionSettings, Session
from ddb_lease.errors import ConfigurationError, LeaseError, LeaseLost, LossReason, UnknownBucket
from ddb_lease.lease import Lease
from ddb_lease.models import Timing
from ddb_lease.testing.clock import MovableClock
from ddb_lease.testing.operator import Operator
from ddb_lease.testing.simulated_process import Cut, SimulatedProcess
from ddb_lease.testing.wakeup import TimeSkippingWakeup

_LEAST_STEP: Final = 0.01
"""Seconds: the shortest step, as the heartbeat handles one lease no more often."""

_AFTERWARDS: Final = 0.001
"""Seconds after a deadline, when the deadline has certainly passed."""

_FILL_SECONDS: Final = 60.0
"""For one slot, on the environment's clock. It takes two seconds to see that a lease has expired."""

_ROOMY: Final = Timing(front_end_skew=0.0, grace=0.0)
"""For other processes: no lease that a bucket may have is too short for it."""


class AnyLease(Protocol):
    """A `ddb_lease.Lease`, or a `ddb_lease.aio.Lease`."""

    id: str

    def check(self) -> None:
        """Make sure that it is held."""
        ...


class TestEnvironment:
    """Buckets on a clock that the test moves: hours pass at once, and leases are renewed, lost and waited for in them.

    Each bucket that it makes, and each `connect`, stands for a process of its own. No thread of ours runs: heartbeats
    run, and lost-callbacks are called, on the thread that moves the clock, before the clock moves on. Waiting for a
    slot moves the clock too. So a test with one thread never waits, and sees the same in every run.

    Code for asyncio makes its buckets by ``aio.LeaseBucket(name, max_tokens=1, **environment.connect())``.

    Do not use it when threads, tasks or processes wait for each other: a waiter can burn an hour of simulated time
    before another one runs. Use the fixture `lease_table`, on real time.

    Args:
        table: The DynamoDB table, which must exist.
        session: A `boto3.Session` for it.
        endpoint_url: The engine.
        longest_wait: Seconds of simulated time after which a waiter gets a `RuntimeError`.

    Attributes:
        clock: The time: `MovableClock.steady`, and `MovableClock.wall`, which is the service's clock too.

    Example:
        >>> from ddb_lease import local
        >>> from ddb_lease.testing import TestEnvironment
        >>> with TestEnvironment(**local.connect()) as environment:
        ...     bucket = environment.bucket(max_tokens=2)
        ...     lease = bucket.acquire(on_lost=lambda lease: print("stop:", lease.lost))
        ...     environment.lose(lease, reason="taken")
        stop: taken
    """

    __test__ = False  # for pytest, which would collect a class of this name

    def __init__(
        self,
        *,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        endpoint_url: str | None = None,
        longest_wait: float = 3600.0,
    ) -> None:
        self.clock = MovableClock(wall=float(math.floor(time.time())))
        self._place = {"table": table, "session": session, "endpoint_url": endpoint_url}
        self._operator = Operator(
            table=table, connection=ConnectionSettings(session=session, endpoint_url=endpoint_url)
        )
        self._longest_wait = longest_wait
        self._moving = threading.Lock()
        self._serial = itertools.count()
        self._processes: list[SimulatedProcess] = []
        self._strangers: list[SimulatedProcess] = []
        self._buckets: list[LeaseBucket] = []
        self._theirs: list[Lease] = []
        self._outage: Cut | None = None

    def __repr__(self) -> str:
        return f"<TestEnvironment of {len(self._processes)} processes at {self.clock.steady():.3f} s>"

    def connect(self) -> dict[str, Any]:
        """Keyword arguments for a bucket or a limiter that the code under test makes itself, of either API.

        They are what `local.connect` returns.

        All buckets made with one result stand for one process: they share one heartbeat.

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> with TestEnvironment(**local.connect()) as environment:
            ...     bucket = LeaseBucket("nightly-report", max_tokens=4, **environment.connect())
            ...     bucket.acquire().release()
            True
        """
        return self._arguments(self._process())

    def bucket(
        self,
        name: str | None = None,
        *,
        max_tokens: int = 1,
        lease_seconds: float = 60.0,
        owner: str | None = None,
        timing: Timing | None = None,
    ) -> LeaseBucket:
        """A bucket in this environment, in a process of its own; closed with the environment.

        Args:
            name: As in `LeaseBucket`; None for a name that no other test has. A second bucket of one name is the same
                pool of tokens, used by another process.
            max_tokens: As in `LeaseBucket`.
            lease_seconds: As in `LeaseBucket`.
            owner: As in `LeaseBucket`.
            timing: As in `LeaseBucket`.

        Raises:
            ConfigurationError: As in `LeaseBucket`.
        """
        return self._bucket(
            self._process(),
            name or f"bucket-{uuid.uuid4().hex}",
            max_tokens=max_tokens,
            lease_seconds=lease_seconds,
            owner=owner,
            timing=timing,
        )

    @property
    def leases(self) -> list[Lease]:
        """All leases held here, except those of `fill`; also those that the code under test hides. No I/O."""
        return [lease for process in self._mine() for lease in process.heartbeats.leases() if lease.held]

    # Time.

    def advance(self, seconds: float) -> None:
        """Let time pass: leases are renewed as they become due, or lost at their deadlines.

        It costs what it does in production: some three renewals in each `lease_seconds` for each lease.

        Raises:
            ConfigurationError: `seconds` is negative or infinite.
        """
        if not 0 <= seconds < math.inf:
            raise ConfigurationError(f"advance takes a number of seconds from 0 up, not {seconds!r}")
        self._pass(seconds)
        self._beat()

    def suspend(self, seconds: float) -> None:
        """Let time pass while this machine is suspended: no heartbeat runs, and then the machine wakes up.

        Leases whose deadline has passed by then are lost (reason suspended). The holders that `fill` makes are on other
        machines, and awake. Raises only what `advance` raises.
        """
        self._suspend(seconds, self._mine())

    def stand_still(self, seconds: float) -> None:
        """Let time pass that this machine's steady clock misses, as when a virtual machine is paused.

        The machine finds out from answers: deadlines come forward with the next renewal. Raises nothing.
        """
        with self._moving:
            self.clock.stand_still(seconds)

    # Faults.

    def lose(self, lease: AnyLease, *, reason: LossReason | str) -> None:
        """Lose a lease, by what loses leases in production. When this returns, its callback has run.

        The callback of an asyncio lease is called by its loop, and a block that it guards is cancelled by it. If this
        is called on that loop, both happen as soon as the caller awaits something.

        Args:
            lease: A held lease, of a bucket in this environment; of `ddb_lease.aio` too.
            reason: Why. ``taken``: somebody releases it by its id, and its slot is free. ``gone``: somebody deletes
                its item. ``revoked``: an operator asks for it back; the slot is free at once if the lease has a
                callback, else when the holder releases it, or when it expires. A renewal finds these three at once.
                ``unreachable``: its process does not reach the service until the deadline. ``suspended``: its process
                sleeps past the deadline. These two let the time pass until then; other processes live on, and the slot
                comes back as in production: when the lease has expired in the table, a margin later.

        Raises:
            LeaseLost: The lease is not held. Nothing was done.
            ConfigurationError: There is no such reason, or the lease is not of this environment. Nothing was done.
            StoreUnavailable: There is an outage, so no renewal finds the loss.
        """
        if reason not in _LOSSES:
            raise ConfigurationError(f"a lease is lost for one of {', '.join(map(str, _LOSSES))}, not {reason!r}")
        leases = ((own, process) for process in self._processes for own in process.heartbeats.leases())
        held = next((found for found in leases if found[0].id == lease.id), None)
        lease.check()
        if held is None:
            raise ConfigurationError(f"lease {lease.id} is of no bucket in this environment")
        own, process = held
        self._bring_about(LossReason(reason), own, process)
        if own.lost != reason:
            raise RuntimeError(f"lease {lease.id} should be lost ({reason}) and is not: {lease!r}")

    @contextlib.contextmanager
    def outage(self, *, answers_only: bool = False) -> Iterator[None]:
        """While this block runs, the service does not answer; `advance` brings leases to their deadlines.

        The holders that `fill` makes are elsewhere, and reach the service.

        Args:
            answers_only: Requests arrive and are carried out, and only their answers are lost. Else no request arrives.

        Raises:
            ConfigurationError: There is an outage already.

        Example:
            >>> from ddb_lease import StoreUnavailable, local
            >>> with TestEnvironment(**local.connect()) as environment, environment.outage():
            ...     try:
            ...         environment.bucket().acquire(timeout=30)
            ...     except StoreUnavailable:
            ...         print("try again later")
            try again later
        """
        if self._outage is not None:
            raise ConfigurationError("there is an outage already")
        self._cut(Cut.ANSWERS if answers_only else Cut.REQUESTS)
        try:
            yield
        finally:
            self._cut(None)

    def fill(self, bucket: LeaseBucket) -> list[Lease]:
        """Fill a bucket: other processes take all free slots. `bucket` itself must be able to reach the service.

        Their leases are renewed as time passes, whatever happens to this machine.

        Returns:
            Their leases. Release one, and one slot is free.

        Raises:
            StoreError: The bucket cannot be read.
            LeaseError: They could not take all slots, as others were faster.

        Example:
            >>> from ddb_lease import local
            >>> with TestEnvironment(**local.connect()) as environment:
            ...     bucket = environment.bucket(max_tokens=3)
            ...     theirs = environment.fill(bucket)
            ...     len(theirs), bucket.try_acquire()
            (3, None)
        """
        try:
            status = bucket.status()
        except UnknownBucket:
            bucket.acquire(timeout=_FILL_SECONDS).release()  # this creates the bucket, with its own settings
            status = bucket.status()
        stranger = self._bucket(
            self._process(stranger=True),
            bucket.name,
            max_tokens=status.max_tokens,
            lease_seconds=status.lease_seconds,
            owner="a stranger",
            timing=_ROOMY,
        )
        theirs = [stranger.acquire(timeout=_FILL_SECONDS) for _ in range(status.free)]
        self._theirs += theirs  # a test that does not keep them has not dropped its own
        return theirs

    # The end.

    def close(self) -> None:
        """Release all leases in this environment, and close its buckets. Raises nothing."""
        for bucket in self._buckets:
            bucket.close()
        for process in self._processes:
            for lease in process.heartbeats.leases():
                try:
                    lease.release()
                except LeaseError as error:
                    _log.warning("lease %s was not released and will expire: %s", lease.id, error)
            process.close_stores()
        self._operator.close()

    def __enter__(self) -> TestEnvironment:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Private.

    def _process(self, *, stranger: bool = False) -> SimulatedProcess:
        process = SimulatedProcess(
            clock=self.clock,
            wakeup=lambda: TimeSkippingWakeup(let_pass=self._pass, patience=self._longest_wait),
            seed=next(self._serial),
        )
        if stranger:
            self._strangers.append(process)
        else:
            process.cut = self._outage
        self._processes.append(process)
        return process

    def _mine(self) -> list[SimulatedProcess]:
        return [process for process in self._processes if process not in self._strangers]

    def _arguments(self, process: SimulatedProcess) -> dict[str, Any]:
        return self._place | {"runtime": process.runtime()}

    def _bucket(self, process: SimulatedProcess, name: str, **settings: Any) -> LeaseBucket:  # noqa: ANN401 - `LeaseBucket`'s own
        bucket = LeaseBucket(name, **settings, **self._arguments(process))
        self._buckets.append(bucket)
        return bucket

    def _bring_about(self, reason: LossReason, lease: Lease, process: SimulatedProcess) -> None:
        match reason:
            case LossReason.TAKEN:
                self._bucket(
                    self._process(stranger=True),
                    self._operator.bucket_of(lease.id),
                    max_tokens=1,
                    timing=_ROOMY,
                ).release(lease.id)
                _renew(lease)
            case LossReason.GONE:
                self._operator.delete(lease.id)
                _renew(lease)
            case LossReason.REVOKED:
                self._operator.revoke(lease.id)
                _renew(lease)
            case LossReason.SUSPENDED:
                self._suspend(lease.remaining + _AFTERWARDS, [process])
            case _:
                cut, process.cut = process.cut, Cut.REQUESTS
                try:
                    self.advance(lease.remaining + _AFTERWARDS)
                finally:
                    process.cut = cut

    def _suspend(self, seconds: float, processes: list[SimulatedProcess]) -> None:
        for process in processes:
            process.asleep = True
        try:
            self.advance(seconds)
        finally:
            for process in processes:
                process.wake()

    def _cut(self, cut: Cut | None) -> None:
        self._outage = cut
        for process in self._mine():
            process.cut = cut

    def _pass(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> float:
        left = seconds
        while left > 0 and not until():
            with self._moving:
                step = min(left, max(_LEAST_STEP, self._due_in()))
                self.clock.pass_time(step)
            left -= step
            self._beat()
        return seconds - left

    def _due_in(self) -> float:
        return min((process.heartbeats.due_in() for process in self._processes if not process.asleep), default=math.inf)

    def _beat(self) -> None:
        for process in list(self._processes):
            process.beat()


Stage = TestEnvironment
"""The name of `TestEnvironment` in earlier versions."""

_LOSSES: Final = (
    LossReason.TAKEN,
    LossReason.GONE,
    LossReason.REVOKED,
    LossReason.UNREACHABLE,
    LossReason.SUSPENDED,
)


def _renew(lease: Lease) -> None:
    with contextlib.suppress(LeaseLost):  # as intended
        lease.renew()
