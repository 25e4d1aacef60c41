"""A rate limit: what a user imports.

Invariants: it puts the rooms below together, and decides nothing itself.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from ddb_lease._operations.admit import RateState, admit, read_meter
from ddb_lease._protocol import gcra
from ddb_lease._protocol.outcomes import Admission, Admitted, Busy, OutOfTurn, Unavailable
from ddb_lease._protocol.records import Meter, Rate
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import DEFAULT_TABLE, checked_text
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.permits import Permits, PermitWaiter
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.dynamodb import ConnectionSettings, Store
from ddb_lease.dynamodb.items import LANES
from ddb_lease.errors import AcquireTimeout, ConfigurationError, StoreUnavailable
from ddb_lease.models import RateStatus, Timing

P = ParamSpec("P")
R = TypeVar("R")

_ANSWER_SECONDS: Final = 30.0
"""The client is set up as for leases of this length: an answer that takes more than a tenth of it is given up."""

_STATUS_SECONDS: Final = 10.0
_TRY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """So many permits, by when on the steady clock, and whether they are waited for."""

    count: int
    deadline: float
    patient: bool


class RateLimiter:
    """At most `rate` permits in `per` seconds, and `burst` at once, over all processes that use the name.

    GCRA (ITU-T I.371) on one item: each admission is one conditional write, and nothing is read for deciding. Making
    one sends nothing, and needs nothing made before. Thread-safe; one for each process and name is best, as its threads
    then share one line and all that is known of the rate. After a fork the child may use it, and holds no permits of
    its parent's. It may have the name of a bucket, and has nothing to do with it.

    Of permits taken in any t seconds, counted at the times at which their requests were sent: at most ``rate * t +
    burst``, and ``rate * s`` more, where s is how far the clocks of those who send lie apart: twice the
    `uncertainty_seconds` of `status` and, of the real service, the second by which its front ends may differ. That
    comes on top once, and not again for each second. With `prefetch`, what processes hold comes on top too. A permit is
    used as much later as its answer takes.

    What is not promised: order among processes. Nor that a permit which is charged is used: one whose answer is lost
    for good is forgone. All limiters of one name should have the same settings, as each charges the one item by its
    own.

    Args:
        name: The rate's name in the table; any non-empty string of up to 2048 bytes.
        rate: How many permits there are in `per` seconds; up to a million a second. Less than one is fine.
        per: Seconds.
        burst: How many permits can be had at once after a quiet time; as many as in one `per`, by default, and one at
            least. It takes ``burst * per / rate`` seconds to come back, a year at most.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults will not do.
        client: A DynamoDB client instead, made with `client_config`, as botocore must not retry by itself.
        endpoint_url: Another endpoint than DynamoDB's own.
        prefetch: Take so many permits with one write, if not more are wanted anyway, and hand them out in this process,
            each when it is due. It divides the cost of a permit by as much; others wait as much longer meanwhile, and
            what is in hand when the process ends is forgone.
        timing: `retention`, `max_clock_skew` and `front_end_skew` are used.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> from ddb_lease import RateLimiter, local
        >>> with RateLimiter("mail", rate=5, per=60, burst=2, **local.connect()) as limiter:
        ...     [limiter.try_acquire() for _ in range(3)]
        [True, True, False]
    """

    def __init__(
        self,
        name: str,
        *,
        rate: float,
        per: float = 1.0,
        burst: int | None = None,
        table: str = DEFAULT_TABLE,
        session: Any = None,  # noqa: ANN401 - boto3 sessions and clients have no static type
        client: Any = None,  # noqa: ANN401 - as above
        endpoint_url: str | None = None,
        prefetch: int = 0,
        timing: Timing | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.name = checked_text("a rate's name", name)
        self.table = checked_text("table", table)
        self._rate = gcra.rate_of(rate, per, burst)
        self._runtime = runtime or Runtime()
        timing = timing or Timing()
        connection = ConnectionSettings(session=session, client=client, endpoint_url=endpoint_url)
        store = Store(table=table, bucket=self.name, connection=connection, lease_seconds=_ANSWER_SECONDS)
        self._store = self._runtime.wrap(store)
        self._time = ServiceTime(
            self._runtime.clock, max_clock_skew=timing.max_clock_skew, front_end_skew=timing.front_end_skew
        )
        self._driver = Driver(sender=self._store, time=self._time, runtime=self._runtime)
        self._permits = Permits(self._rate, lanes=LANES, chance=self._runtime.chance)
        self._state = RateState(
            rate=self._rate,
            prefetch=_checked_prefetch(prefetch, self._rate),
            retention=timing.retention,
            time=self._time,
            chance=self._runtime.chance,
            permits=self._permits,
            require_open=self._require_open,
        )
        self._closed = False
        process.register(self)

    def __repr__(self) -> str:
        return f"<RateLimiter {self.name!r} in table {self.table!r}>"

    @property
    def burst(self) -> int:
        """How many permits can be had at once, at most."""
        return self._rate.burst

    def try_acquire(self, n: int = 1) -> bool:
        """Take n permits if they are to be had at once: all or none.

        A denial is remembered: until the time it tells, the answer is False and nothing is sent. It is also False where
        threads of this process wait for all that there is: what comes next is theirs.

        Returns:
            Whether they were had.

        Raises:
            ConfigurationError: n is more than `burst`, or no whole number from 1 up. Nothing was sent.
            StoreUnavailable: The service did not answer in five tries, of one to six requests each, or its answers do
                not tell its time. What was charged unknown to us is forgone.
            StoreRejected: No table, no permission: trying again will not help.

        Cost: 1 UpdateItem (1 WCU), and one more where others have charged since this process last saw the item and its
            guess was wrong; a denial by the table costs as much, one from memory nothing. The first time also two
            Queries of one item, eventually consistent, as two answers must stand for the time; likewise after an hour
            or more without any request.
        """
        known = self._at_once(n)
        return self._got(self._admit(self._trying(n))) if known is None else known

    def acquire(self, n: int = 1, *, timeout: float | None = None) -> None:
        """Wait for n permits, and take them: all together.

        Threads of one process wait in line, first come, first served; among processes there is no order, and who wants
        many may wait long where others take few. Nothing is sent before the permits are due.

        Args:
            n: How many, up to `burst`.
            timeout: Seconds to wait at most, besides one request's time; None waits for ever.

        Raises:
            AcquireTimeout: They are not to be had in time; raised as soon as that is known.
            ConfigurationError: The arguments cannot work. Nothing was sent.
            StoreUnavailable: The service did not answer until the timeout; without a timeout, it has never answered
                in 20 s. What was charged unknown to us is forgone.
            StoreRejected: As in `try_acquire`.

        Cost: as `try_acquire`; where several processes want more than there is, a wait that another ends first costs
            one denial (1 WCU), and the next is spread out.
        """
        wanted = self._waiting(n, timeout)
        if wanted is not None and not self._got(self._admit(wanted)):
            raise self._too_late(n, timeout)

    def wait_time(self, n: int = 1) -> float:
        """Seconds until n permits could be had, as far as this process knows without asking: no I/O.

        From what the item showed last, those of this process who wait served first. Others may be faster; 0.0 also
        where nothing is known yet.

        Raises:
            ConfigurationError: n is more than `burst`, or no whole number from 1 up.
        """
        _require_permits(n, self._rate.burst)
        if not self._time.known:
            return 0.0
        now = self._state.now_ns()
        ready = self._permits.ready_at(self._permits.wanted_before(None) + n, now=now)
        return max(0, ready - now) / gcra.NS

    def status(self) -> RateStatus:
        """Read the rate: what is available, and who set it. One consistent Query of one item (1 RCU).

        The first time also one more, eventually consistent, for the time. A rate that was never used is all available.

        Raises:
            StoreUnavailable: The service did not answer, or its answers do not tell its time.
            StoreRejected: The service refuses for good, or the item is not of this library's shape.
        """
        return self._status_of(self._driver.run(self._reading(), self._runtime.wakeup()))

    def limited(self, timeout: float | None = None, *, n: int = 1) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function to wait for permits before each call.

        Args:
            timeout: As in `acquire`, whose errors it raises.
            n: How many permits a call takes.

        Example:
            >>> from ddb_lease import RateLimiter, local
            >>> limiter = RateLimiter("lookups", rate=100, **local.connect())
            >>> @limiter.limited(timeout=10)
            ... def look_up(key):
            ...     return f"value of {key}"
            >>> look_up("k")
            'value of k'
        """
        _require_permits(n, self._rate.burst)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            @functools.wraps(function)
            def when_admitted(*args: P.args, **kwargs: P.kwargs) -> R:
                self.acquire(n, timeout=timeout)
                return function(*args, **kwargs)

            return when_admitted

        return decorate

    def close(self) -> None:
        """Close the connections; those who wait are told, and it admits nobody any more. Raises nothing.

        Permits in hand are forgone. Giving them back would move `tat` back, and then no denial could be remembered:
        another process may have been told already when to come again.
        """
        self._closed = True
        self._permits.empty()
        self._permits.wake_all()
        self._store.close()

    def __enter__(self) -> RateLimiter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # What `process` asks for.

    def after_fork_in_child(self) -> None:
        """In a forked child: hold no permit of the parent's, share no lane and no connection."""
        self._permits.after_fork_in_child()
        self._time.after_fork_in_child()
        self._store.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: permits in hand are forgone, and nothing is to be done."""

    # What both faces are made of: this one, and `aio`'s.

    def _at_once(self, n: int) -> bool | None:
        """What memory answers to a try: taken from what is in hand, or denied; None: the table must be asked."""
        self._require_open()
        _require_permits(n, self._rate.burst)
        if not self._state.is_sure():
            return None
        now = self._state.now_ns()
        if self._permits.take_at_once(n, now=now):
            return True
        wanted = self._permits.wanted_before(None) + n
        return False if self._permits.ready_at(wanted, now=now) > now else None

    def _trying(self, n: int) -> Wanted:
        """What a try asks the table for."""
        return Wanted(count=n, deadline=self._time.steady() + _TRY_SECONDS, patient=False)

    def _waiting(self, n: int, timeout: float | None) -> Wanted | None:
        """What one who waits asks for; None where it was in hand, and is taken."""
        self._require_open()
        _require_permits(n, self._rate.burst)
        if timeout is not None and not timeout >= 0:
            raise ConfigurationError(f"timeout must be 0 or more seconds, not {timeout!r}")
        if self._state.is_sure() and self._permits.take_at_once(n, now=self._state.now_ns()):
            return None
        deadline = math.inf if timeout is None else self._time.steady() + timeout
        return Wanted(count=n, deadline=deadline, patient=True)

    @staticmethod
    def _got(outcome: Admission) -> bool:
        """Whether the permits were had."""
        return isinstance(outcome, Admitted)

    def _too_late(self, n: int, timeout: float | None) -> AcquireTimeout:
        """The error of one who has waited in vain."""
        permits = "no permit" if n == 1 else f"no {n} permits"
        return AcquireTimeout(f"{permits} of rate {self.name!r} to be had in {timeout:g} s")

    # Behind the scenes.

    def _admit(self, wanted: Wanted) -> Admission:
        wakeup = self._runtime.wakeup()
        with self._in_line(wanted, wakeup.wake) as operation:
            outcome = self._driver.run(operation, wakeup)
        return self._concluded(outcome)

    @contextlib.contextmanager
    def _in_line(self, wanted: Wanted, wake: Callable[[], None]) -> Iterator[Operation[Admission]]:
        """Stand in line for as long as the procedure runs, whatever ends it."""
        waiter = PermitWaiter(wake, count=wanted.count, patient=wanted.patient)
        # An interrupt may strike between any two instructions here.
        try:
            self._permits.join(waiter)
            yield admit(self._state, waiter, deadline=wanted.deadline)
        finally:
            try:
                self._permits.leave(waiter)
            except BaseException:  # interrupted amid it: a place that stays in front would hold everybody up
                self._permits.leave(waiter)
                raise

    def _concluded(self, outcome: Admission) -> Admission:
        self._require_open()  # closed while we waited: it admits nobody any more
        trouble = self._permits.trouble
        if isinstance(outcome, OutOfTurn) and trouble is not None:
            outcome = Unavailable(cause=trouble)  # those in front could not ask for us
        if isinstance(outcome, (Busy, Unavailable)):
            raise StoreUnavailable(f"no permit of rate {self.name!r}: {outcome.cause}") from outcome.cause
        return outcome

    def _reading(self) -> Operation[Meter | None]:
        return read_meter(self._state, deadline=self._time.steady() + _STATUS_SECONDS)

    def _status_of(self, meter: Meter | None) -> RateStatus:
        now, uncertainty = self._time.middle_ns()
        available, wait = gcra.available(meter, self._rate, now=now)
        rate, stored = self._rate, meter.settings if meter else None
        return RateStatus(
            name=self.name,
            table=self.table,
            rate=rate.rate,
            per=rate.per,
            burst=rate.burst,
            available=available,
            wait_seconds=wait / gcra.NS,
            in_hand=self._permits.in_hand,
            stored=None if stored == (rate.rate, rate.per, rate.burst) else stored,
            uncertainty_seconds=uncertainty / gcra.NS,
        )

    def _require_open(self) -> None:
        if self._closed:
            raise ConfigurationError(f"the limiter of rate {self.name!r} is closed")


def _checked_prefetch(prefetch: object, rate: Rate) -> int:
    if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 0:
        raise ConfigurationError(f"prefetch must be a whole number from 0 up, not {prefetch!r}")
    if prefetch * rate.interval_ns > gcra.LONGEST_NS:
        raise ConfigurationError(f"prefetch is too large: {prefetch:,} permits of this rate come in more than a year")
    return prefetch


def _require_permits(n: object, burst: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= burst:
        raise ConfigurationError(f"n must be a whole number from 1 to {burst:,} (the burst), not {n!r}")
