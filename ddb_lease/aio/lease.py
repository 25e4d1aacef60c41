"""A lease in the hands of a task.

Invariants:

- It is the synchronous lease, seen from a loop. Renewing, and finding out that it is lost, happen on the heartbeat's
  threads: a blocked loop loses no lease, and is only told late.
- The lost-callback runs on the loop that acquired the lease. The slot is given back early only after it has returned,
  and after the blocks that the lease guarded have ended.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease.aio.core import AsyncBucket
from ddb_lease.aio.driver import tell
from ddb_lease.aio.guard import Guard
from ddb_lease.errors import LossReason, StoreError
from ddb_lease.models import Data

_log = logging.getLogger("ddb_lease")

OnLost = Callable[["Lease"], object]

_LOOK_SECONDS = 1.0
"""How often who waits for a callback makes sure that its loop is still there."""


class Lease:
    """As `ddb_lease.Lease`, for asyncio: what sends requests is awaited.

    Made by `ddb_lease.aio.LeaseBucket` only. It outlives the task that took it, and may be used from any task; what is
    not awaited, from any thread. Leaving ``async with lease`` releases it. `guard` cancels a block when it is lost.

    What is promised, and what is not, is as there. Besides: a loop that is blocked is told of a loss when it runs
    again, and not before; `check` and `held` tell the truth at any time.

    Attributes:
        id: Unique for every acquisition.
        slot: The token's number, 0 up to ``max_tokens - 1``; of several, the lowest.
        slots: The numbers of all tokens that were taken together, mostly one.
        fence: The fencing token: rises strictly with every lease of the slot; of several slots, with every lease of any
            of them.
        owner: Who acquired it.
        data: What was attached to it.
        grace: Seconds between the deadline and the earliest moment at which another can hold the slot: the time that
            the loop, the lost-callback and the end of a guarded block have together.
    """

    def __init__(self, held: HeldLease, *, bucket: AsyncBucket, on_lost: OnLost | None) -> None:
        self.id = held.id
        self.slots = held.slots
        self.slot = held.slot
        self.fence = held.fence
        self.owner = held.owner
        self.data: Data = held.data
        self.grace = held.grace
        self._held = held
        self._bucket = bucket
        self._loop = asyncio.get_running_loop()
        self._guards: set[Guard] = set()
        self._on_lost: OnLost | None = None
        if on_lost is not None:
            self.on_lost = on_lost

    def __repr__(self) -> str:
        return repr(self._held)

    @property
    def held(self) -> bool:
        """Whether the lease is ours at this moment. No I/O."""
        return self._held.held

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is surely ours if no renewal succeeds any more; 0.0 once it is not held."""
        return self._held.remaining

    @property
    def reason(self) -> LossReason | None:
        """Why the lease was lost; None while it is held, and after a release by us. No I/O."""
        return self._held.lost

    @property
    def on_lost(self) -> OnLost | None:
        """Called once with the lease when it is lost: a function, or a coroutine function, on the loop that acquired.

        The loop is asked for it at the deadline at the latest, `grace` seconds before anyone else can hold the slot
        (except for reasons taken and gone, when somebody may have it already). So it has begun before that if the loop
        is not blocked for so long. A revoked lease's slot is given back only once it has returned, however long that
        takes, and the lease has not expired. Set on a lease that is lost already, it is called at once. Where the loop
        is closed by then, it is not called, and the log says so.
        """
        return self._on_lost

    @on_lost.setter
    def on_lost(self, callback: OnLost | None) -> None:
        self._on_lost = callback
        self._held.end.on_lost = None if callback is None else lambda: self._call(callback)

    def check(self) -> None:
        """Make sure that the lease is ours. No I/O; from any thread.

        Raises:
            LeaseLost: It is not, and will not be again: stop what it guards. `reason` says why.
        """
        self._held.check()

    def guard(self) -> Guard:
        """Guard a block: ``async with lease.guard():``. `ddb_lease.aio.LeaseBucket.lease` does it for its whole block.

        When the lease is lost, the task that entered the block is cancelled, and what it awaits with it, a
        `asyncio.TaskGroup` as a whole; at the block's end that cancellation becomes `LeaseLost`, as `asyncio.timeout`
        makes it a `TimeoutError`. A block that ends by itself, but after the loss, raises `LeaseLost` too. Another
        error passes, and so does a cancellation by anyone else. The block is not ended while the loop is blocked.

        On Python 3.10, which does not count cancellations, one by somebody else in the very turn of the loop before
        the loss is taken for the guard's own.

        Returns:
            A context manager, for one block, once. Entering it is a `check`.

        Raises:
            LeaseLost: On entering: the lease is not ours (any more). At the end: see above. From the loss on, it does
                not guard any more.

        Example:
            >>> import asyncio
            >>> from ddb_lease import local
            >>> from ddb_lease.aio import LeaseBucket
            >>> async def main():
            ...     async with LeaseBucket("imports", max_tokens=2, **local.connect()) as bucket:
            ...         async with await bucket.acquire(timeout=60) as lease:
            ...             async with lease.guard():
            ...                 await asyncio.sleep(0.01)
            ...             return lease.held
            >>> asyncio.run(main())
            True
        """
        return Guard(self._held, among=self._guards)

    async def lost(self) -> LossReason:
        """Wait until the lease is lost, or released by us.

        Raises nothing. Costs no request and no thread.

        Returns:
            Why it was lost; `LossReason.RELEASED` where it was released, and `LossReason.FORKED` in a forked child.
        """
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def tell_us() -> None:
            tell(loop, told.set)

        if not self._held.over:
            self._held.end.watch(tell_us)
            try:
                await told.wait()
            finally:
                self._held.end.unwatch(tell_us)
        return self._held.reason

    async def renew(self) -> None:
        """Renew now, besides what the heartbeat does, on a thread of the bucket's. One UpdateItem a slot, 1 WCU each.

        Cancelled, it goes on in the background, and nothing is lost by it.

        Raises:
            LeaseLost: The lease is not ours (any more).
            StoreUnavailable: No usable answer; the lease is held until its deadline, and the heartbeat goes on.
            StoreRejected: The service refuses for good; held until its deadline as well.
        """
        await self._bucket.driver.call(self._held.renew)

    async def release(self) -> bool:
        """Give the slot back, or all of them. One UpdateItem a slot, 1 WCU each; waiters of this process need no poll.

        From its first instruction on, the lease is not held any more. Cancelled, it ends at once, and a worker releases
        in the background.

        Returns:
            Whether this call ended the lease in the table; see `ddb_lease.Lease.release`.

        Raises:
            StoreUnavailable: No usable answer in some seconds; the slot comes back when the lease expires. May be
                called again.
            StoreRejected: The service refuses for good; the slot comes back when the lease expires.
        """
        if _running_loop() is None:
            # The collector closes a block whose loop has ended: what would be awaited is done by a worker.
            self._bucket.release_behind(self._held)
            return False
        return await self._bucket.give_back(self._held)

    async def __aenter__(self) -> Lease:
        try:
            self.check()
        except BaseException:
            with suppress(StoreError):  # that the lease is lost is what counts
                await self.release()  # `__aexit__` will not be called
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.release()
        except StoreError as error:
            # The body's outcome is what counts: a release that failed must neither mask nor replace it.
            _log.warning("lease %s was not released and will expire: %s", self.id, error)

    # Behind the scenes.

    def _call(self, callback: OnLost) -> None:
        """On the thread of the loss: have the callback run on the loop, and wait for it."""
        over = threading.Event()
        calls: list[asyncio.Task[None]] = []  # the loop knows its tasks weakly

        def begin() -> None:
            calls.append(self._loop.create_task(self._call_here(callback)))
            calls[0].add_done_callback(lambda _: over.set())

        if not tell(self._loop, begin):
            _log.warning("lease %s is lost, and its lost-callback is not called: its loop is closed", self.id)
            return
        if _running_loop() is self._loop:
            return  # there was no thread to be had for this: the loop cannot wait for itself
        while not over.wait(_LOOK_SECONDS) and not self._loop.is_closed():
            pass

    async def _call_here(self, callback: OnLost) -> None:
        try:
            returned = callback(self)
            if inspect.isawaitable(returned):
                await returned
        except Exception:  # noqa: BLE001 - the user's own; the lease's end must go on
            _log.exception("the lost-callback of lease %s failed", self.id)
        for guard in list(self._guards):
            await guard.over()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
