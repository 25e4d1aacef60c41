"""A bucket for asyncio: what a user imports.

Invariants:

- It has the methods of the synchronous bucket, awaited, and decides nothing itself.
- Nothing here blocks the event loop, except making a bucket: that reads boto3's models, once a process.
- It belongs to no loop: each call runs on the loop on which it is awaited.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from ddb_lease._protocol.retry import TRY_SECONDS
from ddb_lease._runtime.arguments import DEFAULT_TABLE, checked_hold_ms
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.bucket_arguments import require_count, require_priority
from ddb_lease._runtime.bucket_core import BucketCore, PendingAcquire, timed_out
from ddb_lease._runtime.decorators import PassesLeaseAwaited, Wording, decorate_async, require_timeout
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.mistaken import NoLease, NotSync
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.acquiring import no_block
from ddb_lease.aio.core import MAX_REQUESTS, AsyncBucket, checked_max_requests
from ddb_lease.aio.driver import running_loop
from ddb_lease.aio.lease import Lease, OnLost, require_on_lost
from ddb_lease.aio.lease_block import LeaseBlock
from ddb_lease.dynamodb import Client, Session
from ddb_lease.events import OnEvent
from ddb_lease.models import BucketStatus, Configured, Data, Order, Repaired, Resized, Seconds, Timing

_BLOCK = "`async with bucket.lease() as lease:` holds a lease for a block; make one bucket for the process."

_HOLDS = "`async with bucket.lease() as lease:`"

_LEASED = Wording(
    name="aio.LeaseBucket.leased",
    inside="Write `async with bucket.lease() as lease:` around the work in its body.",
    otherwise="Write `async def`, or use `leased` of ddb_lease.LeaseBucket.",
    passes_lease=True,
)


class LeaseBucket(NoLease, NotSync, BelongsHere):
    """As `ddb_lease.LeaseBucket`, for asyncio: methods that send requests are awaited.

    It follows the same rules on the same table, and may share a bucket with synchronous clients. Requests are sent on
    at most `max_requests` threads of its own, which end when idle; waiting needs no thread. The process's heartbeat
    threads renew its leases: a blocked loop loses no lease.

    It belongs to no loop: you may make it outside of any, and use it from several, in several threads, and again after
    a loop was closed. A lease's lost-callback runs on the loop that acquired it. After a fork the child may use it, and
    holds nothing. At the interpreter's exit the leases still held are released, without a loop.

    Args:
        name: The bucket's name in the table; any non-empty string of up to 2048 bytes.
        max_tokens: How many leases there can be at once, 1 to 100,000.
        lease_seconds: Length of a lease; see `ddb_lease.LeaseBucket`.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for the holder, shown by `status`; ``host:pid`` by default.
        timing: The time budget around a lease.
        order: In which order waiters are served, ``any`` or ``fifo``; see `ddb_lease.LeaseBucket`.
        on_event: Called with each event, see `ddb_lease.LeaseBucket`: on the loop, or on another thread. It must be
            quick.
        max_requests: How many requests may be in flight at once; further ones wait, first come, first served. Clients
            that boto3 makes keep up to 50 connections.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> import asyncio
        >>> from ddb_lease import local
        >>> from ddb_lease.aio import LeaseBucket
        >>> async def main():
        ...     async with LeaseBucket("nightly-report", max_tokens=4, **local.connect()) as bucket:
        ...         async with bucket.lease(timeout=300) as lease:
        ...             await asyncio.sleep(0.01)  # cancelled, should the lease be lost
        ...             return lease.held
        >>> asyncio.run(main())
        True
    """

    _instead = "pass its name and settings, and make one there"
    _block = _HOLDS

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int,
        lease_seconds: Seconds = 60.0,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        order: Order | None = None,
        on_event: OnEvent | None = None,
        max_requests: int = MAX_REQUESTS,
        runtime: Runtime | None = None,
    ) -> None:
        max_requests = checked_max_requests(max_requests)
        self._core = BucketCore(
            name,
            max_tokens=max_tokens,
            lease_seconds=lease_seconds,
            table=table,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            owner=owner,
            timing=timing,
            order=order,
            on_event=on_event,
            runtime=runtime,
        )
        self._bucket = AsyncBucket(self._core, max_requests=max_requests)
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return repr(self._core)

    @property
    def owner(self) -> str:
        """The owner given, or ``host:pid`` of the calling process."""
        return self._core.owner

    def lease(
        self,
        timeout: Seconds | None = None,
        *,
        count: int = 1,
        data: Data | None = None,
        on_lost: OnLost | None = None,
        priority: int = 0,
        hold_at_least: Seconds | None = None,
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold a lease for a block, guarded: ``async with bucket.lease(timeout=60) as lease:``.

        It is `acquire`, `Lease.guard` and `Lease.release` in one. If the lease is lost, the block's task is cancelled,
        and the block ends with `LeaseLost`.

        Args:
            timeout: As in `acquire`.
            count: As in `acquire`.
            data: As in `acquire`.
            on_lost: As in `acquire`.
            priority: As in `acquire`.
            hold_at_least: As in `acquire`.

        Raises:
            LeaseLost: At the block's end: the lease was lost meanwhile. It is not held any more.
            AcquireTimeout: As in `acquire`, whose other errors it raises too; the block was not entered.

        Example:
            >>> import asyncio
            >>> from ddb_lease import local
            >>> from ddb_lease.aio import LeaseBucket
            >>> async def main():
            ...     async with LeaseBucket("exports", max_tokens=1, **local.connect()) as bucket:
            ...         async with bucket.lease(timeout=60) as lease:
            ...             return f"on slot {lease.slot}"
            >>> asyncio.run(main())
            'on slot 0'
        """

        def acquire() -> Awaitable[Lease]:
            return self.acquire(
                timeout, count=count, data=data, on_lost=on_lost, priority=priority, hold_at_least=hold_at_least
            )

        return LeaseBlock(acquire)

    @no_block(_HOLDS)
    async def acquire(
        self,
        timeout: Seconds | None = None,
        *,
        count: int = 1,
        data: Data | None = None,
        on_lost: OnLost | None = None,
        priority: int = 0,
        hold_at_least: Seconds | None = None,
    ) -> Lease:
        """Wait for a slot, or for several together, and lease it.

        All tasks and threads that use this object wait in one queue, first come, first served. Waiting for a full
        bucket needs no write and no thread, only about one eventually consistent read a second for the whole process.
        If it is cancelled, it ends at once and leaves no lease behind: if a request in flight still wins one, that is
        released in the background.

        Await it in the task that uses the lease. If you run it in a task of its own and drop that task's result, nobody
        releases the lease, and it is renewed until the bucket is closed; a `ResourceWarning` and the log say so.

        Args:
            timeout: Seconds, or a timedelta, to wait at most, besides one request's time; None waits for ever.
            count: How many slots, 1 to 99, in one lease; see `ddb_lease.LeaseBucket.acquire`.
            data: What to attach to the lease for others to read: string keys, values as in JSON.
            on_lost: See `Lease.on_lost`.
            priority: 0 to 9; see `ddb_lease.LeaseBucket.acquire`.
            hold_at_least: Seconds, or a timedelta, for which the slot goes to nobody else after it was acquired; see
                `ddb_lease.LeaseBucket.acquire`.

        Returns:
            The lease, held and renewed in the background.

        Raises:
            AcquireTimeout: Nothing came free in time. Nothing is held.
            StoreUnavailable: The service did not answer until the timeout, or so late that the lease was given back;
                without a timeout, it has never answered in 20 s. Nothing is held; a slot that an unanswered request
                took is free when its lease expires.
            StoreRejected: No table, no permission: waiting will not help. Nothing is held.
            ConfigurationError: The arguments cannot work, the bucket has fewer slots than wanted, or the stored lease
                is too short for this client's margin. Nothing is held.

        Cost: that of `ddb_lease.LeaseBucket.acquire`; without contention 1 PutItem, 1 WCU.
        """
        lease = await self._win(
            timeout, data, on_lost, count=count, patient=True, priority=priority, hold_at_least=hold_at_least
        )
        if isinstance(lease, PendingAcquire):
            raise timed_out(self._core, timeout, count, lease.waiter.standing)
        return lease

    @no_block(_HOLDS)
    async def try_acquire(
        self,
        *,
        count: int = 1,
        data: Data | None = None,
        on_lost: OnLost | None = None,
        hold_at_least: Seconds | None = None,
    ) -> Lease | None:
        """Lease a slot, or `count` of them, if so many are free now; see `ddb_lease.LeaseBucket.try_acquire`.

        Args:
            count: As in `acquire`.
            data: As in `acquire`.
            on_lost: As in `acquire`.
            hold_at_least: As in `acquire`.

        Returns:
            The lease, or None if the bucket is full (or has too few free slots), or other clients were faster.

        Raises:
            StoreUnavailable: The service did not answer in five tries, of one to six requests each, or too late. Else
                as in `acquire`.
            StoreRejected: As in `acquire`.
            ConfigurationError: As in `acquire`.

        Cost: as `acquire`. On a full bucket one Query and no write; three Queries if it has more than 128 slots. If
        other clients took the slots that this process remembers as free, up to two PutItems fail first (1 WCU each).
        """
        lease = await self._win(TRY_SECONDS, data, on_lost, count=count, patient=False, hold_at_least=hold_at_least)
        return None if isinstance(lease, PendingAcquire) else lease

    @no_block(_HOLDS)
    async def adopt(self, token: str, *, data: Data | None = None, on_lost: OnLost | None = None) -> Lease:
        """Adopt a lease that another process, or this one, has handed over; see `ddb_lease.LeaseBucket.adopt`.

        If it is cancelled, it ends at once and leaves no lease behind: if a request in flight still adopts the lease,
        that is released in the background.

        Args:
            token: What `Lease.hand_over` returned.
            data: As in `acquire`; None for none, the giver's is not kept.
            on_lost: As in `acquire`.

        Returns:
            The lease, held and renewed in the background.

        Raises:
            LeaseLost: It cannot be adopted any more; `reason` says why. Nothing is held.
            StoreUnavailable: No usable answer. Nothing is held: if a request may have been carried out, the lease is
                released, or expires. If none was, the token is as good as before; adopt again.
            StoreRejected: No table, no permission: trying again will not help. Nothing is held.
            ConfigurationError: It is no token, is damaged, or is of another bucket; or as in `acquire`. Nothing was
                written, and the token is as good as before.

        Cost: that of `ddb_lease.LeaseBucket.adopt`: 1 UpdateItem, 1 WCU.

        Example:
            >>> import asyncio
            >>> from ddb_lease import local
            >>> from ddb_lease.aio import LeaseBucket
            >>> async def main():
            ...     async with LeaseBucket("uploads", max_tokens=2, **local.connect()) as bucket:
            ...         token = await (await bucket.acquire(timeout=60)).hand_over(within=30)
            ...         async with await bucket.adopt(token) as lease:
            ...             return lease.held
            >>> asyncio.run(main())
            True
        """
        if on_lost is not None:
            require_on_lost(on_lost)

        def handle(held: HeldLease) -> Lease:
            return Lease(held, bucket=self._bucket, on_lost=on_lost)

        return await self._bucket.adopt(token, data, handle=handle)

    def leased(
        self,
        timeout: Seconds | None = None,
        *,
        count: int = 1,
        data: Data | None = None,
        priority: int = 0,
        hold_at_least: Seconds | None = None,
    ) -> PassesLeaseAwaited[Lease]:
        """Decorate a coroutine function: each call gets its own lease, as first argument; see `lease`.

        The lease comes after `self` or `cls`, and callers do not see it, as with `ddb_lease.LeaseBucket.leased`. A
        plain function is refused, unless it wraps a coroutine function (by `functools.wraps`); so are async generator
        functions and classes, and results whose work is not done, such as tasks.

        Args:
            timeout: As in `acquire`.
            count: As in `acquire`.
            data: As in `acquire`.
            priority: As in `acquire`.
            hold_at_least: As in `acquire`.

        Raises:
            ConfigurationError: When it decorates: the function cannot be guarded, or an argument cannot work. When the
                function is awaited: it returned work that is not done, after all that it did itself. Calls also raise
                what `lease` raises.

        Example:
            >>> import asyncio
            >>> from ddb_lease import local
            >>> from ddb_lease.aio import LeaseBucket
            >>> bucket = LeaseBucket("reports", max_tokens=1, **local.connect())
            >>> @bucket.leased(timeout=60)
            ... async def report(lease, day):
            ...     return f"report of {day} on slot {lease.slot}"
            >>> asyncio.run(report("Monday"))
            'report of Monday on slot 0'
        """
        require_timeout(timeout, wording=_LEASED)
        require_count(count)
        require_priority(priority)
        if hold_at_least is not None:
            checked_hold_ms(hold_at_least)
        return functools.partial(
            decorate_async,
            enter=lambda: self.lease(timeout, count=count, data=data, priority=priority, hold_at_least=hold_at_least),
            wording=_LEASED,
        )

    async def release(self, lease_id: str) -> bool:
        """Release a lease by its id, from any task, process or machine; see `ddb_lease.LeaseBucket.release`.

        If it was acquired by this object, a guarded block of another task is cancelled first, and ended when this
        sends the release; not a block of the task that calls this, which is the holder itself.

        Returns:
            Whether this ended the lease. False: nobody holds this lease (any more); nothing changed.

        Raises:
            ConfigurationError: This is not a lease id. Nothing was sent.
            StoreUnavailable: No usable answer in some seconds; may be repeated.
            StoreRejected: The service refuses for good.
        """
        return await self._bucket.release(lease_id)

    async def revoke(self, lease_id: str) -> bool:
        """Ask a lease's holder for its slots back; see `ddb_lease.LeaseBucket.revoke`.

        Returns:
            Whether the lease was held, and is marked now. False: nobody holds this lease (any more); nothing changed.

        Raises:
            ConfigurationError: This is not a lease id. Nothing was sent.
            StoreUnavailable: No usable answer in some seconds; may be repeated.
            StoreRejected: The service refuses for good.
        """
        return await self._bucket.revoke(lease_id)

    async def resize(self, max_tokens: int) -> Resized:
        """Change how many tokens the bucket has, while it is in use; see `ddb_lease.LeaseBucket.resize`.

        Args:
            max_tokens: The new number of tokens, 1 to 100,000.

        Returns:
            What was done; nothing if the bucket already has that size.

        Raises:
            ConfigurationError: `max_tokens` cannot work. Nothing was sent.
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            Overtaken: Another resize came in between, and this one stopped.
            StoreUnavailable: The service did not answer, or other clients keep changing the counter. The bucket has its
                old size, the new one, or one in between; it is consistent: resize again. The same after a cancellation.
            StoreRejected: The service refuses for good; else as above.
        """
        return await self._bucket.resize(max_tokens)

    async def configure(self, *, order: Order) -> Configured:
        """Change in which order the bucket's waiters are served; see `ddb_lease.LeaseBucket.configure`.

        Args:
            order: ``fifo`` or ``any``.

        Returns:
            What was done; nothing if the bucket already has that order.

        Raises:
            ConfigurationError: `order` is none. Nothing was sent.
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer, or other clients keep changing the counter. The bucket has its
                old order or the new one; may be repeated. The same after a cancellation.
            StoreRejected: The service refuses for good; else as above.
        """
        return await self._bucket.run(self._core.configure(order=order))

    async def repair(self) -> Repaired:
        """Recount the slots; see `ddb_lease.LeaseBucket.repair`.

        Returns:
            What was done.

        Raises:
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer, or other clients keep changing the counter; may be repeated.
            StoreRejected: The service refuses for good.
        """
        return await self._bucket.repair()

    async def reset(self) -> int:
        """End all leases now, held or not, and repair the bucket; see `ddb_lease.LeaseBucket.reset`.

        Returns:
            How many leases this ended.

        Raises:
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer. Some leases may have ended; may be repeated.
            StoreRejected: The service refuses for good; else as above.
        """
        return await self._bucket.reset()

    async def status(self) -> BucketStatus:
        """Read the bucket: limits, minted slots, all leases, and who waits for it, if it is ordered.

        Cost: 1 consistent Query for each 1,000 slots or MB; if it is ordered, another one, eventually consistent, for
        each 1,000 waiters.

        Raises:
            UnknownBucket: It does not exist (yet).
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return await self._bucket.status()

    async def close(self) -> None:
        """Release all leases taken through this object, and close its connections. It cannot acquire any more.

        None of them is held any more as soon as this is called. If another task is in the block of one, that one is
        lost (reason released), as by `release`, and a guarded block is cancelled. They are released concurrently,
        `max_requests` at a time; it also waits for the clean-up of cancelled acquires. It takes 5 s and one request's
        timeout at most, however many leases there are and whatever the service does. If it is cancelled, it ends at
        once, and workers continue the releases.

        Raises nothing. A release that was not answered in time is logged and sent again in the background, and once
        more at the interpreter's exit; without any answer, the slot is free when the lease expires.
        """
        await self._bucket.close()

    async def __aenter__(self) -> LeaseBucket:
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

    # Internals.

    async def _win(
        self,
        timeout: Seconds | None,
        data: Data | None,
        on_lost: OnLost | None,
        *,
        count: int,
        patient: bool,
        priority: int = 0,
        hold_at_least: Seconds | None = None,
    ) -> Lease | PendingAcquire:
        if on_lost is not None:
            require_on_lost(on_lost)

        def handle(held: HeldLease) -> Lease:
            return Lease(held, bucket=self._bucket, on_lost=on_lost)

        return await self._bucket.acquire(
            timeout,
            data,
            count=count,
            patient=patient,
            handle=handle,
            priority=priority,
            hold_at_least=hold_at_least,
        )
