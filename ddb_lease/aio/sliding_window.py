"""A sliding window for asyncio: what a user imports. At most N permits in any T seconds, exactly.

Invariants: it is the asynchronous way to drive a `WindowCore`, and decides nothing itself. It has no `release`:
releasing a used permit would break the window. Nothing here blocks the event loop that it is awaited on. Making one
does: that reads boto3's models, once a process.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ddb_lease._numbers import checked_timeout
from ddb_lease._protocol.retry import TRY_SECONDS
from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.decorators import Wording, decorate_async, require_timeout
from ddb_lease._runtime.mistaken import NotSync
from ddb_lease._runtime.rates.first_guesses import OF_A_WINDOW, FirstGuesses, named_arguments
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.window_core import TRIES, TooLate, WindowCore
from ddb_lease.aio.acquiring import no_block
from ddb_lease.aio.core import MAX_REQUESTS, AsyncBucket, checked_max_requests
from ddb_lease.aio.driver import running_loop
from ddb_lease.dynamodb import Client, Session
from ddb_lease.models import BucketStatus, Seconds, Timing, WindowDecision
from ddb_lease.rate_events import OnRateEvent

P = ParamSpec("P")
R = TypeVar("R")

_BLOCK = "`await window.acquire()` takes a permit; make one window for the process."

_LIMITED = Wording(
    name="aio.SlidingWindow.limited",
    inside="Write `await window.acquire()` in its body.",
    otherwise="Write `async def`, or use `limited` of ddb_lease.SlidingWindow.",
    passes_lease=False,
)


class SlidingWindow(NotSync, BelongsHere, FirstGuesses):
    """As `ddb_lease.SlidingWindow`, for asyncio: methods that send requests are awaited.

    It makes the same promise on the same items, and may share its name with synchronous windows. Requests are sent on
    at most `max_requests` threads of its own, which end when idle. Waiting needs no thread, and all waiters of one
    object share one queue. It belongs to no event loop: you may make it outside of any, and use it from several.

    A permit whose answer the loop hands over too late, as it was blocked for a second, is not used: its slot is given
    back, and another one is tried for.

    Args:
        name: The window's name in the table; see `ddb_lease.SlidingWindow`, here and below.
        max_tokens: How many permits there are in any `period`, 1 to 100,000.
        period: Seconds, or a timedelta; 300 days at most.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for the holder, shown by `status`; ``host:pid`` by default.
        timing: `front_end_skew`, `retention` and `max_clock_skew` are used.
        on_event: A plain function, called with each event: see `ddb_lease.rate_events`.
        max_requests: How many requests may be in flight at once.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> import asyncio
        >>> from ddb_lease import local
        >>> from ddb_lease.aio import SlidingWindow
        >>> async def main():
        ...     async with SlidingWindow("invitations", max_tokens=2, period=60, **local.connect()) as window:
        ...         return [await window.try_acquire() for _ in range(3)]
        >>> asyncio.run(main())
        [True, True, False]
    """

    _instead = "pass its name and settings, and make one there"
    _block = "`await window.acquire()`"
    _called = "window"
    _awaits = "await "

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
        max_requests: int = MAX_REQUESTS,
        runtime: Runtime | None = None,
    ) -> None:
        max_requests = checked_max_requests(max_requests)
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
        self._bucket = AsyncBucket(self._core, max_requests=max_requests)
        self.period = self._window.period
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return f"<SlidingWindow {self.name!r} in table {self.table!r}>"

    @no_block("`if await window.try_acquire():`")
    async def try_acquire(self) -> bool:
        """Take a permit if one is available now; as `ddb_lease.SlidingWindow.try_acquire`.

        Returns:
            Whether it took one.

        Raises:
            StoreUnavailable: The service did not answer in five tries, of one to six requests each. A permit may be
                lost for a period.
            StoreRejected: No table, no permission: trying again will not help.
            ConfigurationError: The window exists with a shorter period.
        """
        return (await self._try()).allowed

    @no_block("`await window.acquire()` before the work")
    async def acquire(self, *, timeout: Seconds | None = None) -> None:
        """Wait for a permit, and take it; as `ddb_lease.SlidingWindow.acquire`.

        If it is cancelled, it ends at once, and no permit is used: if a request in flight still wins one, that is given
        back in the background.

        Args:
            timeout: Seconds, or a timedelta, to wait at most, besides one request's time; None waits for ever.

        Raises:
            RateTimeout: None was available in time. It is an `AcquireTimeout`; its `retry_after` is that of `check`.
            StoreUnavailable: The service did not answer until the timeout; without a timeout, it has never answered
                in 20 s. A permit may be lost for a period.
            StoreRejected: As in `try_acquire`.
            ConfigurationError: `timeout` is not a timeout, or as in `try_acquire`.
        """
        decision = await self._use(self._core.deadline(timeout), patient=True)
        if not decision.allowed:
            raise self._window.timed_out(timeout, decision)

    @no_block("`decision = await window.check()`")
    async def check(self, *, timeout: Seconds | None = 0) -> WindowDecision:
        """Take a permit if it can be had in time, and tell when one can be; as `ddb_lease.SlidingWindow.check`.

        If it is cancelled, it ends as `acquire` does.

        Args:
            timeout: Seconds, or a timedelta, to wait for it at most; 0: it is to be had at once.

        Raises:
            StoreUnavailable: As in `try_acquire` and `acquire`, and so are the other errors.
        """
        if checked_timeout(timeout) == 0:
            return await self._try()
        return await self._use(self._core.deadline(timeout), patient=True)

    def limited(
        self, timeout: Seconds | None = None
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Decorate a coroutine function to wait for a permit before each call; `timeout` and errors as in `acquire`.

        It refuses what `aio.RateLimiter.limited` refuses.
        """
        require_timeout(timeout, wording=_LIMITED)

        @contextlib.asynccontextmanager
        async def admitted() -> AsyncIterator[None]:
            await self.acquire(timeout=timeout)
            yield

        return functools.partial(decorate_async, enter=admitted, wording=_LIMITED)

    async def status(self) -> BucketStatus:
        """Read the window: its permits are `free`, those used are its leases. 1 Query for each 1,000 slots or MB.

        Raises:
            UnknownBucket: It does not exist (yet): the first acquire creates it.
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return await self._bucket.status()

    async def close(self) -> None:
        """Close the connections; it admits nothing any more. Raises nothing, and gives no used permit back."""
        await self._bucket.close()

    async def __aenter__(self) -> SlidingWindow:
        running_loop()  # here, once: without a loop the block's end would fail as well
        self._core.block.enter(closed=self._core.state.closed, instead=_BLOCK)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._core.block.leave(exc, instead=_BLOCK)
        finally:
            await self.close()

    async def _try(self) -> WindowDecision:
        return await self._use(self._core.deadline(TRY_SECONDS), patient=False)

    async def _use(self, deadline: float, *, patient: bool) -> WindowDecision:
        """Win a slot, and let it expire, unless none came free in time."""
        window = self._window
        with window.reporting() as ended:
            for _ in range(TRIES):
                try:
                    decision = await self._bucket.win(
                        lambda wake: window.begin(deadline, patient=patient, wake=wake), window.used
                    )
                except TooLate:
                    await self._bucket.settled()  # its slot is free again then
                else:
                    return ended(decision)
            raise window.too_slow()
