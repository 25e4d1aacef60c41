"""A leader for asyncio: what a user imports.

Invariants:

- As `ddb_lease.leader`: who holds the one token of the bucket leads, and a tenure's lost-callback is called once,
  before the place is given away.
- `on_elected` runs in a task of its own, which the tenure's end cancels. The heartbeat's threads renew the lease: a
  blocked loop loses no leadership, it only learns of a loss late.
- The place is given away only when both have ended, however often `run` is cancelled. Where the loop is closed, they
  have ended with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any

from ddb_lease._numbers import checked_timeout
from ddb_lease._runtime.arguments import DEFAULT_TABLE, require_callback
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.bucket_core import BucketCore, PendingAcquire
from ddb_lease._runtime.give_back import release_later
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.leadership import (
    ASIDE_SECONDS,
    AWAY_TEXT,
    CALLBACK_TEXT,
    ENDED_TEXT,
    LEADER_SECONDS,
    RESERVED_SECONDS,
    STAND_SECONDS,
    cancelled_by_others,
    is_own_loss,
    leader_of,
    pause_when_away,
    require_one_leader,
    require_work,
    used_before,
)
from ddb_lease._runtime.mistaken import NotSync
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.log import queued as _log
from ddb_lease.aio.core import MAX_REQUESTS, AsyncBucket, checked_max_requests
from ddb_lease.aio.driver import Wakeup, running_loop, tell
from ddb_lease.aio.lease import Lease
from ddb_lease.dynamodb import Client, Session
from ddb_lease.errors import ConfigurationError, LossReason, StoreUnavailable, UnknownBucket
from ddb_lease.events import OnEvent
from ddb_lease.models import Data, LeaseInfo, Seconds, Timing

OnElected = Callable[[Lease], object]
OnLost = Callable[[Lease], object]


class Leader(NotSync, BelongsHere):
    """As `ddb_lease.Leader`, for asyncio: `on_elected` is a coroutine function, and is cancelled when it is over.

    Either give callbacks to `run`, or let it run in the background (``async with Leader("scheduler") as leader:``) and
    ask `is_leader`. `on_elected` runs in a task of its own. When it returns, this process goes on leading. When the
    lease is lost, or `stop` is called, or `run` is cancelled, that task is cancelled, and `on_lost` is called at the
    same time; both are awaited, then the place is given up. `on_lost` is called once for each time that this process
    was elected.

    If `on_elected` raises, `on_lost` is called, the place is given up, and the exception ends `run`. (If it raises
    `LeaseLost` because its lease is lost, that is no error, and the next election is waited for.) An exception of
    `on_lost` is logged.

    It promises what `ddb_lease.Leader` promises. In addition: a blocked loop loses no leadership, but learns of a loss
    only when it runs again; ``lease.check()`` and `is_leader` are right at any time, on any thread.

    Args:
        name: What is led; see `ddb_lease.Leader`.
        on_elected: Called with the lease when this process is elected: a coroutine function, or a function that starts
            something.
        on_lost: Called with that lease when this process does not lead any more, or is to stop: a function, or a
            coroutine function. ``lease.reason`` says why, and is None if it gives the place up itself.
        lease_seconds: Length of the lease; see `ddb_lease.LeaseBucket`.
        data: What others see of the leader, by `current`.
        table: The DynamoDB table.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for this process, shown by `current`; ``host:pid`` by default.
        timing: The time budget around the lease.
        on_event: Called with each event of the bucket; see `ddb_lease.Leader`.
        max_requests: How many requests may be in flight at once; see `LeaseBucket`.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Cost: that of `ddb_lease.Leader`.

    Example:
        >>> import asyncio
        >>> from ddb_lease import local
        >>> from ddb_lease.aio import Leader
        >>> async def lead(lease):
        ...     print("elected")
        ...     leader.stop()
        ...     await asyncio.sleep(60)  # cancelled
        >>> leader = Leader("scheduler", on_elected=lead, on_lost=lambda lease: print("over"), **local.connect())
        >>> asyncio.run(leader.run())
        elected
        over
    """

    _instead = "pass its name and settings, and make one there"
    _block = "`async with leader:`"

    def __init__(
        self,
        name: str,
        *,
        on_elected: OnElected | None = None,
        on_lost: OnLost | None = None,
        lease_seconds: Seconds = LEADER_SECONDS,
        data: Data | None = None,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        on_event: OnEvent | None = None,
        max_requests: int = MAX_REQUESTS,
        runtime: Runtime | None = None,
    ) -> None:
        require_callback(on_elected, what="on_elected", gets="the lease")
        require_callback(on_lost, what="on_lost", gets="the lease")
        max_requests = checked_max_requests(max_requests)
        self._core = BucketCore(
            name,
            max_tokens=1,
            lease_seconds=lease_seconds,
            table=table,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            owner=owner,
            timing=timing,
            on_event=on_event,
            runtime=runtime,
        )
        self._core.before_exit = self._end_before
        self._bucket = AsyncBucket(self._core, max_requests=max_requests)
        self._core.state.leads = True
        self.name = self._core.name
        self.table = self._core.table
        self._on_elected, self._on_lost, self._data = on_elected, on_lost, data
        self._lease: Lease | None = None
        self._begun = self._stopping = self._ending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._wakeup: Wakeup | None = None
        self._task: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._over = threading.Event()

    def __repr__(self) -> str:
        word = "leads" if self.is_leader else "stopped" if self._stopping else "follows" if self._begun else "new"
        return f"<Leader {self.name!r} {word}>"

    @property
    def is_leader(self) -> bool:
        """Whether this process leads at this moment. No I/O; False from the moment at which `stop` is called."""
        lease, loop = self._lease, self._loop
        if lease is None or loop is None or loop.is_closed():
            return False
        return not self._ending and not self._stopping and lease.held

    @property
    def fence(self) -> int | None:
        """The fencing token: rises with each election; None while this process does not lead. No I/O."""
        lease = self._lease
        return lease.fence if lease is not None and self.is_leader else None

    async def current(self) -> LeaseInfo | None:
        """Read who leads, whichever process that is; None if nobody does. 1 Query, consistent (0.5 to 1 RCU).

        Raises:
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        try:
            return leader_of(await self._bucket.status())
        except UnknownBucket:
            return None

    async def run(self) -> None:
        """Wait to be elected, lead, and wait again, until `stop` is called (perhaps before), or this is cancelled.

        An outage of the service is waited out, and told in the log. If it is cancelled, the place is given up first.

        Raises:
            StoreRejected: No table, no permission: waiting will not help. This process does not lead.
            ConfigurationError: There is no `on_elected`, it has run before, or the bucket has more than one token. This
                process does not lead.

        What `on_elected` raises it raises too; the place is given up.
        """
        require_work(self._on_elected, block="async with leader:")
        if self._begin():
            try:
                await self._run()
            finally:
                await self._close()

    def start(self) -> None:
        """Do in a task of its own what `run` does; returns at once. What `run` raises is logged, and raised by `join`.

        Raises:
            ConfigurationError: It has run before, or no loop runs.
        """
        running_loop()
        if self._begin():
            self._task = asyncio.create_task(self._run_quietly(), name=f"ddb-lease-leader-{self.name}")

    def stop(self) -> None:
        """Stop leading, or waiting, in order: `on_elected` is cancelled, `on_lost` called, and the place is free.

        It only tells, and returns at once; `run` returns, or `join`, when it is done. Any thread may call it. Raises
        nothing. Where the loop is closed already, no callback can be called, and only the place is given up.
        """
        self._stopping = True
        self._core.begin_closing()  # ends an acquire that waits; a lease that is held stays held
        wakeup, loop, stopped = self._wakeup, self._loop, self._stopped
        if wakeup is not None:
            wakeup.wake()
        if loop is None or stopped is None or tell(loop, stopped.set):
            return
        release_later(list(self._core.leases.values()))  # the loop is closed, and with it has ended what ran on it

    async def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until what `start` has begun is over; returns whether it is. It sends nothing, and stops nothing.

        Called by `on_lost`, it returns False at once: what it would wait for waits for that.

        Args:
            timeout: Seconds, or a timedelta, to wait at most; None waits for ever.

        Raises what ended it, once, if that was an error: see `run`.
        """
        task, here = self._task, asyncio.current_task()
        if here is not None and here is self._telling:
            return False
        if task is None or task is here:
            return task is None
        await asyncio.wait({task}, timeout=checked_timeout(timeout))
        if not task.done():
            return False
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    async def __aenter__(self) -> Leader:
        self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if exc is None:
            await self.join()
        else:
            with contextlib.suppress(Exception):  # it is logged; the block's own error goes on
                await self.join()

    # Internals.

    def _begin(self) -> bool:
        """Note that it runs; returns whether it is to: not if it was stopped before."""
        if self._begun:
            raise used_before(self.name)
        self._loop, self._stopped = running_loop(), asyncio.Event()
        self._begun = True
        return not self._stopping

    def _end_before(self, deadline: float) -> None:
        """Called by the bucket at the interpreter's exit: stop in order, with some time left for the release."""
        loop = self._loop
        if loop is None or not loop.is_running():
            return
        self.stop()
        self._over.wait(max(0.0, deadline - RESERVED_SECONDS - self._core.runtime.clock.steady()))

    async def _close(self) -> None:
        self._stopping = True
        try:
            await self._bucket.close()
        finally:
            self._over.set()

    async def _run_quietly(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - `join` raises it
            _log.exception(ENDED_TEXT, self.name)
            self._error = error
        finally:
            await self._close()

    async def _run(self) -> None:
        while not self._stopping:
            lease = await self._elected()
            if lease is None:
                return
            self._lease, self._ending = lease, False
            try:
                async with lease:
                    require_one_leader(self.name, tokens=self._core.state.settings.max_tokens, slot=lease.slot)
                    await self._lead(lease)
            except Exception as error:
                if not is_own_loss(error, lease.id):
                    raise
            finally:
                self._lease = None
            if lease.reason is LossReason.REVOKED:
                await self._wait(ASIDE_SECONDS)

    async def _elected(self) -> Lease | None:
        """Wait for the leader's place; None once we stop."""
        failures = 0
        while not self._stopping:
            try:
                won = await self._bucket.acquire(
                    STAND_SECONDS, self._data, count=1, patient=True, handle=self._handed_out
                )
                if not isinstance(won, PendingAcquire):
                    return won
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                if failures == 1:
                    _log.warning(AWAY_TEXT, self.name, error)
                await self._wait(pause_when_away(failures, self._core.runtime.chance))
            except ConfigurationError:
                if not self._core.state.closed:  # by `stop`, or by the exit
                    raise
                break
        return None

    async def _wait(self, seconds: float) -> None:
        """Wait before the next election, unless we stop."""
        self._wakeup = self._bucket.new_wakeup()
        if not self._stopping:
            await self._wakeup.pause(seconds)

    def _handed_out(self, held: HeldLease) -> Lease:
        return Lease(held, bucket=self._bucket, on_lost=None)

    async def _lead(self, lease: Lease) -> None:
        if self._stopped is None or self._stopping:
            return
        work = asyncio.create_task(self._work(lease))
        ends = [asyncio.create_task(lease.lost()), asyncio.create_task(self._stopped.wait())]
        try:
            await asyncio.wait({work, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ending = True
            ended_by_us = not work.done()
            for task in (work, *ends):
                task.cancel()
            self._telling = asyncio.create_task(self._tell_lost(lease))
            try:
                await _ended({work, self._telling, *ends})
            finally:
                if not work.cancelled():
                    work.exception()  # seen, also where a cancellation of ours takes its place
        if not work.cancelled():
            work.result()
        elif not ended_by_us:
            raise cancelled_by_others(self.name)

    async def _work(self, lease: Lease) -> None:
        """What is elected for; it leads on when that has returned."""
        if self._on_elected is not None:
            made = self._on_elected(lease)
            if inspect.isawaitable(made):
                await made
        await asyncio.Event().wait()

    async def _tell_lost(self, lease: Lease) -> None:
        try:
            if self._on_lost is not None:
                made = self._on_lost(lease)
                if inspect.isawaitable(made):
                    await made
        except Exception:  # noqa: BLE001 - the user's own; the end of the tenure must go on
            _log.exception(CALLBACK_TEXT, self.name)


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until all have ended, also if this is cancelled meanwhile: that is raised only then."""
    cancelled: asyncio.CancelledError | None = None
    while open_tasks := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(open_tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
