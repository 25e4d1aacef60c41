"""A rate limit for asyncio: what a user imports.

Invariants: it has what the synchronous limiter has, awaited, and decides nothing itself. Nothing here blocks the
loop that it is awaited on, but making a limiter: that reads boto3's models, once a process.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ddb_lease._protocol.outcomes import Admission
from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.core import MAX_REQUESTS
from ddb_lease.aio.driver import Driver, Wakeup
from ddb_lease.aio.threads import Threads
from ddb_lease.models import RateStatus, Timing
from ddb_lease.rate_limiter import RateLimiter as Blocking
from ddb_lease.rate_limiter import Wanted

P = ParamSpec("P")
R = TypeVar("R")


class _Core(Blocking):
    """The synchronous limiter, driven by tasks."""

    def __init__(self, name: str, *, max_requests: int, **settings: Any) -> None:  # noqa: ANN401 - see `RateLimiter`
        super().__init__(name, **settings)
        self._threads = Threads(max_requests)
        self._on_loop = Driver(blocking=self._driver, threads=self._threads)

    async def try_for(self, n: int) -> bool:
        """`RateLimiter.try_acquire`."""
        known = self._at_once(n)
        return self._got(await self._ask(self._trying(n))) if known is None else known

    async def wait_for(self, n: int, timeout: float | None) -> None:
        """`RateLimiter.acquire`."""
        wanted = self._waiting(n, timeout)
        if wanted is not None and not self._got(await self._ask(wanted)):
            raise self._too_late(n, timeout)

    async def read_status(self) -> RateStatus:
        """Read the rate."""
        return self._status_of(await self._on_loop.run(self._reading(), Wakeup()))

    async def _ask(self, wanted: Wanted) -> Admission:
        wakeup = Wakeup()
        with self._in_line(wanted, wakeup.wake) as operation:
            outcome = await self._on_loop.run(operation, wakeup)
        return self._concluded(outcome)

    def after_fork_in_child(self) -> None:
        """As there; and none of the threads is here."""
        super().after_fork_in_child()
        self._threads.after_fork_in_child()


class RateLimiter:
    """As `ddb_lease.RateLimiter`, for asyncio: what sends requests is awaited.

    It is that limiter, on the same item, with the same promise, and may share its name with synchronous ones. Requests
    are sent on at most `max_requests` threads of its own, which end when idle; waiting costs none, and those who wait
    on one object stand in one line. It belongs to no loop: it may be made outside of any, and used from several.

    Args:
        name: The rate's name in the table.
        rate: How many permits there are in `per` seconds; see `ddb_lease.RateLimiter`, here and below.
        per: Seconds.
        burst: How many permits can be had at once after a quiet time.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults will not do.
        client: A DynamoDB client instead, made with `client_config`, as botocore must not retry by itself.
        endpoint_url: Another endpoint than DynamoDB's own.
        prefetch: Take so many permits with one write, and hand them out in this process.
        timing: `retention`, `max_clock_skew` and `front_end_skew` are used.
        max_requests: How many requests may be under way at once.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> import asyncio
        >>> from ddb_lease import local
        >>> from ddb_lease.aio import RateLimiter
        >>> async def main():
        ...     async with RateLimiter("letters", rate=5, per=60, burst=2, **local.connect()) as limiter:
        ...         return [await limiter.try_acquire() for _ in range(3)]
        >>> asyncio.run(main())
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
        max_requests: int = MAX_REQUESTS,
        runtime: Runtime | None = None,
    ) -> None:
        self._core = _Core(
            name,
            max_requests=max_requests,
            rate=rate,
            per=per,
            burst=burst,
            table=table,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            prefetch=prefetch,
            timing=timing,
            runtime=runtime,
        )
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return repr(self._core)

    @property
    def burst(self) -> int:
        """How many permits can be had at once, at most."""
        return self._core.burst

    async def try_acquire(self, n: int = 1) -> bool:
        """Take n permits if they are to be had at once: all or none. As `ddb_lease.RateLimiter.try_acquire`.

        Cancelled while its request is under way, it may have been charged: those permits are forgone.

        Returns:
            Whether they were had.

        Raises:
            ConfigurationError: n is more than `burst`, or no whole number from 1 up. Nothing was sent.
            StoreUnavailable: The service did not answer in five tries, of one to six requests each. What was charged
                unknown to us is forgone.
            StoreRejected: No table, no permission: trying again will not help.
        """
        return await self._core.try_for(n)

    async def acquire(self, n: int = 1, *, timeout: float | None = None) -> None:
        """Wait for n permits, and take them: all together. As `ddb_lease.RateLimiter.acquire`.

        Cancelled while it waits, it is charged nothing; while its request is under way, it may have been: those permits
        are forgone. The next in line goes on.

        Args:
            n: How many, up to `burst`.
            timeout: Seconds to wait at most, besides one request's time; None waits for ever.

        Raises:
            AcquireTimeout: They are not to be had in time; raised as soon as that is known.
            ConfigurationError: The arguments cannot work. Nothing was sent.
            StoreUnavailable: As in `try_acquire`; without a timeout, the service has never answered in 20 s.
            StoreRejected: As in `try_acquire`.
        """
        await self._core.wait_for(n, timeout)

    def wait_time(self, n: int = 1) -> float:
        """Seconds until n permits could be had, as far as this process knows without asking: no I/O, not awaited.

        Raises:
            ConfigurationError: n is more than `burst`, or no whole number from 1 up.
        """
        return self._core.wait_time(n)

    async def status(self) -> RateStatus:
        """Read the rate: what is available, and who set it. One consistent Query of one item (1 RCU).

        Raises:
            StoreUnavailable: The service did not answer, or its answers do not tell its time.
            StoreRejected: The service refuses for good, or the item is not of this library's shape.
        """
        return await self._core.read_status()

    def limited(
        self, timeout: float | None = None, *, n: int = 1
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Decorate a coroutine function to wait for permits before each call.

        Args:
            timeout: As in `acquire`, whose errors it raises.
            n: How many permits a call takes.

        Example:
            >>> import asyncio
            >>> from ddb_lease import local
            >>> from ddb_lease.aio import RateLimiter
            >>> limiter = RateLimiter("queries", rate=100, **local.connect())
            >>> @limiter.limited(timeout=10)
            ... async def look_up(key):
            ...     return f"value of {key}"
            >>> asyncio.run(look_up("k"))
            'value of k'
        """

        def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
            @functools.wraps(function)
            async def when_admitted(*args: P.args, **kwargs: P.kwargs) -> R:
                await self.acquire(n, timeout=timeout)
                return await function(*args, **kwargs)

            return when_admitted

        return decorate

    async def close(self) -> None:
        """Close the connections; those who wait are told, and it admits nobody any more. Raises nothing.

        Permits in hand are forgone.
        """
        self._core.close()

    async def __aenter__(self) -> RateLimiter:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
