"""A rate limiter for asyncio: what a user imports.

Invariants: it is the asynchronous way to drive a `RateLimiterCore`, and decides nothing itself. Nothing here blocks the
event loop that it is awaited on. Making a limiter does: that reads boto3's models, once a process.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ddb_lease._protocol.rates.validation import checked_key
from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.decorators import KeyFunction, Wording, checked_key_function, decorate_async, require_timeout
from ddb_lease._runtime.mistaken import NotSync
from ddb_lease._runtime.rates.family import checked_parents
from ddb_lease._runtime.rates.first_guesses import OF_A_LIMITER, FirstGuesses, named_arguments
from ddb_lease._runtime.rates.given import limits_given
from ddb_lease._runtime.rates.limiter_core import RateLimiterCore
from ddb_lease._runtime.rates.reservation_core import SETTLE_WITHIN
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.acquiring import no_block
from ddb_lease.aio.core import MAX_REQUESTS, checked_max_requests
from ddb_lease.aio.driver import Driver, Wakeup, running_loop
from ddb_lease.aio.key_limiter import KeyLimiter
from ddb_lease.aio.reservation import Reservation
from ddb_lease.aio.threads import Threads
from ddb_lease.dynamodb import Client, ConnectionSettings, Session
from ddb_lease.models import Decision, Limit, OnUnavailable, RateStatus, Seconds, Timing
from ddb_lease.rate_events import OnRateEvent

P = ParamSpec("P")
R = TypeVar("R")

_BLOCK = "`await limiter.acquire()` takes a permit; make one limiter for the process."

_LIMITED = Wording(
    name="aio.RateLimiter.limited",
    inside="Write `await limiter.acquire()` in its body.",
    otherwise="Write `async def`, or use `limited` of ddb_lease.RateLimiter.",
    passes_lease=False,
)


class RateLimiter(NotSync, BelongsHere, FirstGuesses):
    """As `ddb_lease.RateLimiter`, for asyncio: methods that send requests are awaited.

    It makes the same promise on the same item, and may share its name with synchronous limiters. Requests are sent on
    at most `max_requests` threads of its own, which end when idle. Waiting needs no thread, and all waiters of one
    object share one queue. It belongs to no event loop: you may make it outside of any, and use it from several.

    Args:
        name: The rate's name in the table.
        rate: Permits in `per` seconds; see `ddb_lease.RateLimiter`, here and below.
        per: Seconds, or a timedelta.
        burst: How many permits can be had at once after a quiet time; by default the number of one `per`.
        limits: Limits by name instead of `rate`, `per` and `burst`: calls then name the permits, and take all or none.
            Up to ten.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        prefetch: Take at least this many permits with one write, the burst at most, and hand them out in this process.
        timing: `retention`, `max_clock_skew` and `front_end_skew` are used.
        on_event: A plain function, called with each event, on the loop's thread: see `ddb_lease.rate_events`.
        on_unavailable: What decides where the service does not answer within `budget`.
        budget: Seconds for a decision, with the wait for one of the `max_requests` threads.
        local_share: The part of the rate that this process admits by itself, for ``local``.
        max_requests: How many requests may be in flight at once.

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

    _instead = "pass its name and settings, and make one there"
    _block = "`await limiter.acquire()`"
    _called = "limiter"
    _awaits = "await "

    @named_arguments("RateLimiter('mail-api', rate=10, per=60, burst=1)", OF_A_LIMITER)
    def __init__(
        self,
        name: str,
        *,
        rate: float | None = None,
        per: Seconds = 1.0,
        burst: int | None = None,
        limits: Mapping[str, Limit] | None = None,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        prefetch: int = 0,
        timing: Timing | None = None,
        on_event: OnRateEvent | None = None,
        on_unavailable: OnUnavailable = "raise",
        budget: Seconds | None = None,
        local_share: float = 0.1,
        max_requests: int = MAX_REQUESTS,
        runtime: Runtime | None = None,
    ) -> None:
        threads = Threads(checked_max_requests(max_requests))
        self._runtime = runtime or Runtime()
        self._core = RateLimiterCore(
            name,
            limits=limits_given(rate, per, burst, limits),
            table=table,
            connection=ConnectionSettings(session=session, client=client, endpoint_url=endpoint_url),
            prefetch=prefetch,
            timing=timing,
            runtime=self._runtime,
            on_event=on_event,
            on_unavailable=on_unavailable,
            budget=budget,
            local_share=local_share,
            fork_aware=(threads,),
        )
        contact = self._core.state.contact
        self._driver = Driver(
            blocking=self._core.driver,
            threads=threads,
            begin_within=None if contact is None or contact.budget is None else contact.patience,
        )
        self._all = KeyLimiter(self._core, self._driver, self._runtime, "")
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return repr(self._core)

    @property
    def burst(self) -> int:
        """How many permits can be had at once, at most; of several limits, the smallest."""
        return min(limit.burst for limit in self._core.state.limits.values())

    @no_block("`if await limiter.try_acquire():`")
    async def try_acquire(self, n: int = 1, **permits: int) -> bool:
        """Take n permits if they can be had at once: all or none. As `ddb_lease.RateLimiter.try_acquire`.

        If it is cancelled while its request is in flight, permits may have been charged. They are forgone, unless
        another caller of this process takes them.

        Args:
            n: How many, up to `burst`, for a limiter with one unnamed limit.
            **permits: How many of each limit, for a limiter with several.

        Returns:
            Whether the permits were taken.

        Raises:
            ConfigurationError: n is more than `burst`, or not a whole number from 1 up. Mostly nothing was sent; see
                `ddb_lease.RateLimiter.try_acquire`.
            StoreUnavailable: The service did not answer in five tries, of one to six requests each. Permits that
                were charged without our knowing are forgone.
            StoreRejected: No table, no permission: trying again will not help.
        """
        return await self._all.try_acquire(n, **permits)

    @no_block("`await limiter.acquire()` before the work")
    async def acquire(self, n: int = 1, *, timeout: Seconds | None = None, **permits: int) -> None:
        """Wait for n permits, and take them all together. As `ddb_lease.RateLimiter.acquire`.

        It books the permits with one write, and sleeps until they are due. If it is cancelled before it has booked,
        nothing is charged, and the next waiter takes its turn. If it is cancelled later, or while its request is in
        flight, its permits go to another caller of this process that wants them within a second of their due time, and
        are else forgone.

        Args:
            n: How many, up to `burst`.
            timeout: Seconds, or a timedelta, to wait at most, besides the time of one request; None waits for ever.
            **permits: How many of each limit, for a limiter with several.

        Raises:
            RateTimeout: The permits cannot be had in time; raised as soon as that is known. It is an `AcquireTimeout`,
                and names the rate, the key and the limit that lets wait longest, how long that takes, and a block.
            ConfigurationError: The arguments cannot work. Nothing was sent.
            StoreUnavailable: As in `try_acquire`; without a timeout, the service has never answered in 20 s.
            StoreRejected: As in `try_acquire`.
        """
        await self._all.acquire(n, timeout=timeout, **permits)

    @no_block("`async with await limiter.reserve() as reservation:`")
    async def reserve(
        self, n: int = 1, *, timeout: Seconds | None = None, settle_within: Seconds = SETTLE_WITHIN, **permits: int
    ) -> Reservation:
        """Wait for n permits, and hold them until it is known how many were used. As `ddb_lease.RateLimiter.reserve`.

        If it is cancelled after its permits were charged, none of them counts as used: they come back with the next
        settlement of this process for the key. If none comes within `settle_within`, all of them count as used.

        Args:
            n: How many, up to `burst`: as many as may be needed.
            timeout: As in `acquire`.
            settle_within: Seconds, or a timedelta, after which all permits count as used.
            **permits: How many of each limit, for a limiter with several.

        Returns:
            A `Reservation`: ``async with await limiter.reserve(5) as reservation:``.

        Raises:
            RateTimeout: As in `acquire`, and so are its other errors. Nothing is held.
        """
        return await self._all.reserve(n, timeout=timeout, settle_within=settle_within, **permits)

    def wait_time(self, n: int = 1, **permits: int) -> float:
        """Seconds until n permits could be had, as far as this process knows: no I/O, not awaited.

        Raises:
            ConfigurationError: n is more than `burst`, or not a whole number from 1 up.
        """
        return self._all.wait_time(n, **permits)

    async def check(self, n: int = 1, *, timeout: Seconds | None = 0, **permits: int) -> Decision:
        """Take permits if they can be had in time, and tell what is left: at once, as `try_acquire`, or as `acquire`.

        A service that limits its clients answers with it: `allowed`, `remaining`, `retry_after`, `reset_after`, of each
        limit and of the tightest one.

        Args:
            n: How many, up to `burst`.
            timeout: Seconds, or a timedelta, to wait for them at most; 0: they are to be had at once. Where they cannot
                be had in time, the decision says so, as soon as that is known: there is no `RateTimeout`.
            **permits: How many of each limit, for a limiter with several.

        Raises:
            ConfigurationError: As in `try_acquire`; and so are its other errors.

        Cost: that of `try_acquire` or `acquire`, and no more.
        """
        return await self._all.check(n, timeout=timeout, **permits)

    def key(self, key: str, *, under: Sequence[KeyLimiter | RateLimiter] = ()) -> KeyLimiter:
        """A view of one key, such as a customer or a host: limits of its own, under this limiter's policy. No I/O.

        Args:
            key: Any string of 1 to 512 bytes.
            under: Its parents; see `ddb_lease.RateLimiter.key`.

        Raises:
            ConfigurationError: The key is empty, or too long; or the parents cannot be charged with it.
        """
        checked = checked_parents(under, (RateLimiter, KeyLimiter))
        views = [parent._all if isinstance(parent, RateLimiter) else parent for parent in checked]  # noqa: SLF001 - its own class
        above = [relative for view in views for relative in view._relatives]  # noqa: SLF001 - a view of ours
        return KeyLimiter(self._core, self._driver, self._runtime, checked_key(key), above)

    async def policy(self) -> Mapping[str, Limit]:
        """Read the stored policy, by which all processes limit: the limits by name. One consistent Query (1 RCU).

        A limiter with one unnamed limit has it under ``permits``. Before its first use, a limiter's own limits.

        Raises:
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return await self._driver.run(self._core.steering.policy(), Wakeup(self._runtime))

    async def set_policy(self, limit: Limit | None = None, /, **limits: Limit | None) -> Mapping[str, Limit]:
        """Change the stored policy, for all processes: the one unnamed limit, or limits by name; None removes one.

        A process follows as soon as it meets an item that was charged under the new policy, and within some 30 s at
        most, and so do its waiters.
        What was charged under the old one blocks nobody for longer than the new burst takes to come back.

        Returns:
            The policy as it is then.

        Raises:
            ConfigurationError: A limit cannot work, or none would be left. Nothing was changed.
            StoreUnavailable: The service did not answer, or others changed the policy at the same time.
            StoreRejected: The service refuses for good.

        Cost: one Query and one UpdateItem.
        """
        return await self._driver.run(self._core.steering.set_policy(limit, limits), Wakeup(self._runtime))

    async def override(self, /, *limit: Limit | None, **limits: Limit | None) -> Mapping[str, Limit]:
        """As `KeyLimiter.override`, for a limiter without keys; mostly `set_policy` is what you want.

        A process that has not met the override yet, by a charge or by `status`, refuses more than the policy's burst.

        Raises:
            ConfigurationError: As in `KeyLimiter.override`, and so are its other errors.
        """
        return await self._all.override(*limit, **limits)

    async def block(self, seconds: Seconds) -> None:
        """As `KeyLimiter.block`, for a limiter without keys. Permits of its keys can be had all the same.

        Raises:
            ConfigurationError: As in `KeyLimiter.block`, and so are its other errors.
        """
        await self._all.block(seconds)

    async def unblock(self) -> None:
        """As `KeyLimiter.unblock`, for a limiter without keys.

        Raises:
            StoreUnavailable: As in `KeyLimiter.unblock`, and so are its other errors.
        """
        await self._all.unblock()

    async def reset(self) -> None:
        """As `KeyLimiter.reset`, for a limiter without keys. It resets none of its keys.

        Raises:
            StoreUnavailable: As in `KeyLimiter.reset`, and so are its other errors.
        """
        await self._all.reset()

    async def keys(self) -> AsyncIterator[RateStatus]:
        """Find out who used it lately: ``async for key in limiter.keys():``; as `ddb_lease.RateLimiter.keys`.

        Raises:
            StoreUnavailable: While iterating: the service did not answer.
            StoreRejected: While iterating: the service refuses for good.

        Cost: 64 Queries, eventually consistent, one after the other and as the iterator goes on; one more for each
            1,000 keys of a shard.
        """
        listing = self._core.steering.listing()
        while listing.more:
            for key in await self._driver.run(listing.page(), Wakeup(self._runtime)):
                yield key

    async def status(self) -> RateStatus:
        """Read the rate: what is available, and the limits that hold. One consistent Query of one item (1 RCU).

        It writes nothing; its further costs are those of `ddb_lease.RateLimiter.status`.

        Raises:
            StoreUnavailable: The service did not answer, or its answers do not tell its time.
            StoreRejected: The service refuses for good, or the item is not of this library's shape.
        """
        return await self._all.status()

    def limited(
        self, timeout: Seconds | None = None, *, n: int = 1, key: KeyFunction | None = None, **permits: int
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Decorate a coroutine function to wait for permits before each call.

        A plain function is refused, unless it wraps a coroutine function (by `functools.wraps`); so are async generator
        functions and classes.

        Args:
            timeout: As in `acquire`, whose errors calls raise.
            n: How many permits a call takes.
            key: A plain function that gets a call's arguments, `self` among them, and returns the key whose permits the
                call takes. What it raises, the call raises, and so it does where it returns no key, with
                `ConfigurationError`: then the function is not called, and no permit is taken.
            **permits: The same by limit, for a limiter with several.

        Raises:
            ConfigurationError: When it decorates: an argument cannot work, or the function cannot be limited. When the
                function is awaited: it returned work that has not begun; the permits are used.

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
            >>> @limiter.limited(timeout=10, key=lambda user, **_: user)
            ... async def greet(user, *, loud=False):
            ...     return f"hello {user}"
            >>> asyncio.run(greet("ann"))
            'hello ann'
        """
        require_timeout(timeout, wording=_LIMITED)
        of_call = checked_key_function(key, wording=_LIMITED)
        self._core.wanted(n, permits, "" if key is None else None, asks=False)

        @contextlib.asynccontextmanager
        async def admitted(key: str = "") -> AsyncIterator[None]:
            await (self.key(key) if key else self._all).acquire(n, timeout=timeout, **permits)
            yield

        return functools.partial(decorate_async, enter=admitted, wording=_LIMITED, key=of_call)

    async def close(self) -> None:
        """Close the connections. Waiters get an error, and no permit is admitted any more. Raises nothing.

        Permits that are booked or in hand are forgone.
        """
        self._core.close()

    async def __aenter__(self) -> RateLimiter:
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
