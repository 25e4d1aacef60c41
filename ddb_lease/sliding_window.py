"""A sliding window: what a user imports. At most N permits in any T seconds, exactly.

Invariants: it is the synchronous way to drive a `WindowCore`, and decides nothing itself. It has no `release`:
releasing a used permit would break the window.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import ParamSpec, TypeVar

from ddb_lease._numbers import checked_timeout
from ddb_lease._protocol.retry import TRY_SECONDS
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.decorators import Wording, decorate, require_timeout
from ddb_lease._runtime.holds_nothing import HoldsNothing
from ddb_lease._runtime.mistaken import NotAsync
from ddb_lease._runtime.rates.first_guesses import OF_A_WINDOW, FirstGuesses, named_arguments
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.window_core import TRIES, TooLate, WindowCore
from ddb_lease.dynamodb import Client, Session
from ddb_lease.models import BucketStatus, Seconds, Timing, WindowDecision
from ddb_lease.rate_events import OnRateEvent

P = ParamSpec("P")
R = TypeVar("R")

_BLOCK = "`window.acquire()` takes a permit; make one window for the process."

_LIMITED = Wording(
    name="SlidingWindow.limited",
    inside="Call `window.acquire()` in its body.",
    otherwise="Use `limited` of ddb_lease.aio.SlidingWindow.",
    passes_lease=False,
)


class SlidingWindow(NotAsync, BelongsHere, FirstGuesses):
    """At most `max_tokens` permits in any `period` seconds, over all processes that use the name.

    It is exact, where `RateLimiter` is quick: of any `max_tokens` + 1 permits, the last is returned at least `period`
    after the first, by true time, whatever the machines' clocks show. The time that counts is when `acquire` returns,
    not what its caller does later. All permits may come at once. Making a window sends nothing; the first acquire
    creates it in the table. Thread-safe. Use one object for each process and name.

    The price: each permit has an item of its own, and comes back late, some 2 to 4 s after the period (the front ends'
    clocks may differ, an answer may take time, and we know only to a second or two when a lease has expired). So use it
    for few permits and long periods: not for more than a thousand permits, or for periods of a few seconds.

    It is a bucket of leases that nobody releases. A `LeaseBucket` of the same name would take permits away; releasing
    one of its leases by hand would give a permit back too early.

    Args:
        name: The window's name in the table; any non-empty string of up to 2048 bytes.
        max_tokens: How many permits there are in any `period`, 1 to 100,000. If the window exists, the stored number
            applies.
        period: Seconds, or a timedelta; 300 days at most. If the window exists with a shorter period, it is refused; a
            longer stored period is used.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for the holder, shown by `status`; ``host:pid`` by default.
        timing: `front_end_skew`, `retention` and `max_clock_skew` are used.
        on_event: Called with each event, for metrics: see `ddb_lease.rate_events`. There are no bookings and policies.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> from ddb_lease import SlidingWindow, local
        >>> with SlidingWindow("sign-ups", max_tokens=2, period=60, **local.connect()) as window:
        ...     [window.try_acquire() for _ in range(3)]
        [True, True, False]
    """

    _instead = "pass its name and settings, and make one there"
    _block = "`window.acquire()`, or use ddb_lease.aio in asyncio"
    _called = "window"

    @named_arguments("SlidingWindow('sign-ups', max_tokens=5, period=3600)", OF_A_WINDOW)
    def __init__(
        self,
        name: str,
        *,
        max_tokens: int,
        period: Seconds,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        on_event: OnRateEvent | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._window = WindowCore(
            name,
            max_tokens=max_tokens,
            period=period,
            table=table,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            owner=owner,
            timing=timing,
            runtime=runtime,
            on_event=on_event,
        )
        self._core = self._window.bucket
        self._hooks = HoldsNothing(self._core)  # its slots outlive the process, and may be used until its end
        process.register(self._hooks)
        self.period = self._window.period
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return f"<SlidingWindow {self.name!r} in table {self.table!r}>"

    def try_acquire(self) -> bool:
        """Take a permit if one is available now.

        In a window of more than 128 permits, it looks at up to three times 128: there False means "none found quickly".

        Returns:
            Whether it took one.

        Raises:
            StoreUnavailable: The service did not answer in five tries, of one to six requests each. A permit may be
                lost for a period.
            StoreRejected: No table, no permission: trying again will not help.
            ConfigurationError: The window exists with a shorter period.

        Cost: as `LeaseBucket.try_acquire`: 1 PutItem (1 WCU), or one Query if no permit can be had (three if there are
        more than 128).
        """
        return self._try().allowed

    def acquire(self, *, timeout: Seconds | None = None) -> None:
        """Wait for a permit, and take it.

        Threads of one process wait in a queue, first come, first served; among processes there is no order.

        Args:
            timeout: Seconds, or a timedelta, to wait at most, besides one request's time; None waits for ever.

        Raises:
            RateTimeout: None was available in time. It is an `AcquireTimeout`; its `retry_after` is that of `check`.
            StoreUnavailable: The service did not answer until the timeout; without a timeout, it has never answered
                in 20 s. A permit may be lost for a period.
            StoreRejected: As in `try_acquire`.
            ConfigurationError: `timeout` is not a timeout, or as in `try_acquire`.

        Cost: as `LeaseBucket.acquire`; waiters write nothing, and read about once a second for the whole process.
        """
        decision = self._use(self._core.deadline(timeout), patient=True)
        if not decision.allowed:
            raise self._window.timed_out(timeout, decision)

    def check(self, *, timeout: Seconds | None = 0) -> WindowDecision:
        """Take a permit if it can be had in time, and tell when one can be: at once, as `try_acquire`, or as `acquire`.

        A task that must not wait comes back later by it: `retry_after` is the time until the first permit in use is
        back, as far as this process knows. It is no promise, as others may be faster.

        Args:
            timeout: Seconds, or a timedelta, to wait for it at most; 0: it is to be had at once. Where it cannot be had
                in time, the decision says so: there is no `RateTimeout`.

        Raises:
            StoreUnavailable: As in `try_acquire` and `acquire`, and so are the other errors.

        Cost: that of `try_acquire` or `acquire`, and no more.

        Example:
            >>> from ddb_lease import SlidingWindow, local
            >>> with SlidingWindow("mails", max_tokens=1, period=60, **local.connect()) as window:
            ...     first, second = window.check(), window.check()
            >>> first.allowed, second.allowed, 60 < second.retry_after < 65
            (True, False, True)
        """
        if checked_timeout(timeout) == 0:
            return self._try()
        return self._use(self._core.deadline(timeout), patient=True)

    def limited(self, timeout: Seconds | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function to wait for a permit before each call; `timeout` and errors as in `acquire`.

        It refuses what `RateLimiter.limited` refuses.
        """
        require_timeout(timeout, wording=_LIMITED)

        @contextlib.contextmanager
        def admitted() -> Iterator[None]:
            self.acquire(timeout=timeout)
            yield

        return functools.partial(decorate, enter=admitted, wording=_LIMITED)

    def status(self) -> BucketStatus:
        """Read the window: its permits are `free`, those used are its leases. 1 Query for each 1,000 slots or MB.

        Raises:
            UnknownBucket: It does not exist (yet): the first acquire creates it.
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return self._core.run(self._core.status())

    def close(self) -> None:
        """Close the connections; it admits nothing any more. Raises nothing, and gives no permit back."""
        self._core.begin_closing()  # nothing is held, so there is nothing to release
        self._core.close_connections()

    def __enter__(self) -> SlidingWindow:
        self._core.block.enter(closed=self._core.state.closed, instead=_BLOCK)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._core.block.leave(exc, instead=_BLOCK)
        finally:
            self.close()

    def _try(self) -> WindowDecision:
        return self._use(self._core.deadline(TRY_SECONDS), patient=False)

    def _use(self, deadline: float, *, patient: bool) -> WindowDecision:
        """Win a slot, and let it expire, unless none came free in time."""
        with self._window.reporting() as ended:
            for _ in range(TRIES):
                with contextlib.suppress(TooLate):
                    return ended(self._use_once(deadline, patient=patient))
            raise self._window.too_slow()

    def _use_once(self, deadline: float, *, patient: bool) -> WindowDecision:
        core = self._core
        wakeup = core.runtime.wakeup()
        pending = self._window.begin(deadline, patient=patient, wake=wakeup.wake)
        # An interrupt may come between any two instructions here: all of them are inside this block.
        try:
            outcome = core.driver.run(pending.operation, wakeup, observe=pending.observe)
            return self._window.used(pending, outcome)
        except BaseException:
            core.abandon(pending)
            raise
