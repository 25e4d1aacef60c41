"""The core of a rate limiter: what the synchronous and the asyncio API have in common.

Invariants:

- It returns operations, and each API drives them: this module sends nothing and waits for nothing.
- It handles forks, the interpreter's exit and closing; the APIs do not.
- It belongs to one process and one rate; all threads share it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from ddb_lease._numbers import checked_timeout, shown
from ddb_lease._operations.admit import admit, read_meter
from ddb_lease._protocol import gcra
from ddb_lease._protocol.gcra import Later
from ddb_lease._protocol.outcomes import Admission, Admitted, Busy, OutOfTurn, Unavailable, reason_text
from ddb_lease._protocol.rates.validation import LONGEST_NS, NS
from ddb_lease._protocol.records import Rate
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import checked_text, checked_timing
from ddb_lease._runtime.block import ClosingBlock
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.permits import Permits, PermitWaiter
from ddb_lease._state.rate_state import RateState
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.dynamodb import ConnectionSettings, Store
from ddb_lease.dynamodb.items import LANES
from ddb_lease.errors import AcquireTimeout, ConfigurationError, StoreUnavailable
from ddb_lease.models import RateStatus, Seconds, Timing

_ANSWER_SECONDS: Final = 30.0
"""The client's timeouts are those for leases of this length: an answer may take a tenth of it."""

_STATUS_SECONDS: Final = 10.0
_TRY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one call asks the table for.

    Attributes:
        count: How many permits.
        began: When the call began, on the steady clock.
        deadline: When to give up, on the steady clock.
        patient: Whether it waits for them.
    """

    count: int
    began: float
    deadline: float
    patient: bool


class ForkAware(Protocol):
    """What must be told of forks."""

    def after_fork_in_child(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        ...


class RateLimiterCore:
    """One rate limiter of one process, without a way to wait: the APIs add that.

    Args:
        name: The rate's name.
        rate: Permits.
        per: Seconds in which they are admitted.
        burst: Permits at once; None for as many as `rate`.
        table: The DynamoDB table.
        connection: How to reach it.
        prefetch: How many permits to take with one charge, at least.
        timing: Retention and clock skews.
        runtime: Clocks, threads and locks.
        fork_aware: What else of this limiter must be told of forks.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Attributes:
        state: What its operations know.
        driver: Carries out requests, on the calling thread.
        block: The `with` block that closes it.
    """

    def __init__(
        self,
        name: str,
        *,
        rate: float,
        per: Seconds,
        burst: int | None,
        table: str,
        connection: ConnectionSettings,
        prefetch: int,
        timing: Timing | None,
        runtime: Runtime,
        fork_aware: tuple[ForkAware, ...] = (),
    ) -> None:
        self.name = checked_text("a rate's name", name)
        self.table = checked_text("table", table)
        settings = gcra.rate_of(rate, per, burst)
        timing = checked_timing(timing)
        time = ServiceTime(runtime.clock, max_clock_skew=timing.max_clock_skew, front_end_skew=timing.front_end_skew)
        signing = SigningTime(time, runtime.clock)
        store = Store(
            table=table, bucket=self.name, connection=connection, lease_seconds=_ANSWER_SECONDS, signing=signing
        )
        self._store = runtime.wrap(store)
        self.state = RateState(
            name=self.name,
            rate=settings,
            prefetch=_checked_prefetch(prefetch, settings),
            retention=timing.retention,
            time=time,
            chance=runtime.chance,
            permits=Permits(settings, lanes=LANES, chance=runtime.chance),
        )
        self.driver = Driver(
            sender=self._store, time=time, signing=signing, runtime=runtime, whose=f"rate {self.name!r}"
        )
        self.block = ClosingBlock(f"rate {self.name!r}")
        self._clock = runtime.clock
        self._fork_aware: tuple[ForkAware, ...] = (self.state.permits, time, self._store, *fork_aware)
        process.register(self)

    def __repr__(self) -> str:
        return f"<RateLimiter {self.name!r} in table {self.table!r}>"

    # The part of a call that needs no I/O.

    def try_at_once(self, n: int) -> bool | Wanted:
        """What memory answers to a try: taken from the permits in hand, or denied; else what to ask the table for."""
        state = self.state
        self.block.use()
        if state.closed:
            raise state.closed_error()
        self.require_permits(n)
        now = state.time.reliable_ns()
        known = None if now is None else state.permits.at_once(n, now=now)
        if known is not None:
            return known
        began = self._clock.steady()
        return Wanted(count=n, began=began, deadline=began + _TRY_SECONDS, patient=False)

    def wait_for(self, n: int, timeout: Seconds | None) -> Wanted | None:
        """What a call that waits asks the table for; None if the permits were in hand, and are now taken."""
        state = self.state
        self.block.use()
        if state.closed:
            raise state.closed_error()
        self.require_permits(n)
        seconds = checked_timeout(timeout)
        now = state.time.reliable_ns()
        if now is not None and state.permits.at_once(n, now=now):
            return None
        began = self._clock.steady()
        return Wanted(count=n, began=began, deadline=math.inf if seconds is None else began + seconds, patient=True)

    def wait_time(self, n: int) -> float:
        """Seconds until n permits could be had, as far as this process knows."""
        self.block.use()
        self.require_permits(n)
        time = self.state.time
        if not time.known:
            return 0.0
        now, _ = time.middle_ns()
        step = self.state.permits.newcomer_step(n, now=now)
        return (step.at - now) / NS if isinstance(step, Later) else 0.0

    def require_permits(self, n: object) -> None:
        """Check how many permits are wanted.

        Raises:
            ConfigurationError: n is more than the burst, or not a whole number from 1 up.
        """
        burst = self.state.rate.burst
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= burst:
            raise ConfigurationError(f"n must be a whole number from 1 to {burst:,} (the burst), not {shown(n)}")

    # Operations, for an API to drive.

    @contextlib.contextmanager
    def in_queue(self, wanted: Wanted, wake: Callable[[], None]) -> Iterator[Operation[Admission]]:
        """Stay in the queue while the operation runs, whatever ends it.

        Args:
            wanted: What to ask the table for.
            wake: Ends the caller's pause, from any thread.
        """
        waiter = PermitWaiter(wake, count=wanted.count, patient=wanted.patient)
        # An interrupt may come between any two instructions here.
        try:
            self.state.permits.join(waiter)
            yield admit(self.state, waiter, began=wanted.began, deadline=wanted.deadline)
        finally:
            try:
                self.state.permits.leave(waiter)
            except BaseException:  # interrupted: a place left at the front would block all others
                self.state.permits.leave(waiter)
                raise

    def conclude(self, outcome: Admission) -> bool:
        """Whether the permits were taken.

        Raises:
            ConfigurationError: The limiter was closed while we waited. It admits nothing any more.
            StoreUnavailable: The service did not answer.
        """
        if self.state.closed:
            raise self.state.closed_error()
        trouble = self.state.permits.trouble
        if isinstance(outcome, OutOfTurn) and trouble is not None:
            outcome = Unavailable(cause=trouble)  # the waiters in front could not ask for us
        if isinstance(outcome, (Busy, Unavailable)):
            raise StoreUnavailable(f"no permit of rate {self.name!r}: {reason_text(outcome.cause)}") from outcome.cause
        return isinstance(outcome, Admitted)

    def timed_out(self, n: int, timeout: Seconds | None) -> AcquireTimeout:
        """The error of a call that timed out."""
        permits = "no permit" if n == 1 else f"no {n} permits"
        return AcquireTimeout(f"{permits} of rate {self.name!r} available within {checked_timeout(timeout):g} s")

    def status(self) -> Operation[RateStatus]:
        """Read the rate.

        Raises:
            StoreUnavailable: The service did not answer, or its answers do not tell its time.
            StoreRejected: The service refuses for good.
        """
        self.block.use()
        state, rate = self.state, self.state.rate
        meter = yield from read_meter(state, deadline=self._clock.steady() + _STATUS_SECONDS)
        now, uncertainty = state.time.middle_ns()
        available, wait = gcra.available(meter, rate, now=now)
        stored = meter.settings if meter else None
        return RateStatus(
            name=self.name,
            table=self.table,
            rate=rate.rate,
            per=rate.per,
            burst=rate.burst,
            available=available,
            wait_seconds=wait / NS,
            in_hand=state.permits.balance.in_hand,
            stored=None if stored == (rate.rate, rate.per, rate.burst) else stored,
            uncertainty_seconds=uncertainty / NS,
        )

    # Closing, fork and exit.

    def close(self) -> None:
        """Close the connections and wake all waiters, which then raise. Permits in hand are dropped."""
        self.state.closed = True
        self.state.permits.empty()
        self.state.permits.wake_all()
        self._store.close()

    def after_fork_in_child(self) -> None:
        """In a forked child: hold none of the parent's permits, and share no lane, lock or connection with it."""
        for part in self._fork_aware:
            part.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: permits in hand are dropped, and there is nothing to do."""


def _checked_prefetch(prefetch: object, rate: Rate) -> int:
    if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 0:
        raise ConfigurationError(f"prefetch must be a whole number from 0 up, not {shown(prefetch)}")
    if prefetch * rate.interval_ns > LONGEST_NS:
        raise ConfigurationError(f"prefetch is too large: {shown(prefetch)} permits of this rate take more than a year")
    return prefetch
