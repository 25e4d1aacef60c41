"""A lease for asyncio: what a user gets from `aio.LeaseBucket.acquire`.

Invariants:

- It wraps the synchronous lease for a loop. The heartbeat's threads renew it and notice its loss: a blocked loop loses
  no lease, it only learns of a loss late.
- The lost-callback runs on the loop that acquired the lease. The slot is released early only after the callback has
  returned and the guarded blocks have ended.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from ddb_lease._runtime.arguments import require_callback
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.loss import Unfinished
from ddb_lease._runtime.mistaken import NotSync
from ddb_lease._state.log import queued as _log
from ddb_lease.aio.core import AsyncBucket
from ddb_lease.aio.driver import tell
from ddb_lease.aio.guard import Guard
from ddb_lease.errors import ConfigurationError, LossReason, StoreError
from ddb_lease.models import Data, Seconds

OnLost = Callable[["Lease"], object]


class Lease(NotSync, BelongsHere):
    """As `ddb_lease.Lease`, for asyncio: methods that send requests are awaited.

    Only `ddb_lease.aio.LeaseBucket` makes it. It outlives the task that acquired it. Any task may use it, and any
    thread its methods that are not awaited. Leaving ``async with lease`` releases it. `guard` cancels a block when it
    is lost.

    It promises the same as `ddb_lease.Lease`. In addition: a blocked loop learns of a loss only when it runs again;
    `check` and `held` are right at any time.

    Attributes:
        id: Unique for every acquisition.
        slot: The token's number, 0 up to ``max_tokens - 1``; of several, the lowest.
        slots: The numbers of all tokens of this lease, mostly one.
        fence: The fencing token: rises strictly with every lease of the slot; with several slots, with every lease of
            any of them.
        owner: Who acquired it.
        data: What was attached to it.
        waited: Seconds from the call of `acquire` until it was had, on the steady clock.
    """

    _instead = "pass its id, which LeaseBucket.release takes, and its fence, with the bucket's name"
    _block = "`async with bucket.lease() as lease:`"

    def __init__(self, held: HeldLease, *, bucket: AsyncBucket, on_lost: OnLost | None) -> None:
        self.id = held.id
        self.slots = held.slots
        self.slot = held.slot
        self.fence = held.fence
        self.owner = held.owner
        self.data: Data = held.data
        self.waited = held.waited
        self._held = held
        self._entered = False
        self._bucket = bucket
        self._loop = asyncio.get_running_loop()
        self._guards: set[Guard] = set()
        self._on_lost: OnLost | None = None
        if on_lost is not None:
            self.on_lost = on_lost

    def __repr__(self) -> str:
        return repr(self._held)

    @property
    def grace(self) -> float:
        """Seconds between the deadline and the earliest moment at which another holder can have the slot.

        It is the time for the loop, the lost-callback and the end of a guarded block together.
        """
        return self._held.grace

    @property
    def held(self) -> bool:
        """Whether we hold the lease at this moment. No I/O."""
        return self._held.held

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is surely ours if no renewal succeeds any more; 0.0 once it is not held."""
        return self._held.remaining

    @property
    def reason(self) -> LossReason | None:
        """Why the lease was lost; None while it is held, and after a release by its holder. No I/O."""
        return self._held.lost

    @property
    def on_lost(self) -> OnLost | None:
        """Called once with the lease when it is lost: a function, or a coroutine function, on the loop that acquired.

        It is scheduled on the loop at the deadline at the latest, `grace` seconds before anyone else can hold the slot
        (except for reasons taken and gone, when somebody may have it already). So it begins before that unless the loop
        is blocked for so long. The slot of a revoked lease is released only after it has returned, however long that
        takes, unless the lease expires first. If you set it on a lost lease, it is called at once. If the loop is
        closed by then, it is not called, and the log says so. Whatever it returns is awaited if it can be.

        Raises:
            ConfigurationError: On setting it: it cannot be called with the lease alone, or is a generator function,
                whose body nobody would run. The lease and its callback stay as they were.
        """
        return self._on_lost

    @on_lost.setter
    def on_lost(self, callback: OnLost | None) -> None:
        require_on_lost(callback)
        self._on_lost = callback
        self._held.loss.on_lost = None if callback is None else lambda: self._call(callback)

    def check(self) -> None:
        """Make sure that we hold the lease. No I/O; from any thread.

        Raises:
            LeaseLost: We do not, and will not again: stop what it guards. `reason` says why.
        """
        self._held.check()

    def guard(self) -> Guard:
        """Guard a block: ``async with lease.guard():``. `ddb_lease.aio.LeaseBucket.lease` does it for its whole block.

        When the lease is lost, the task that entered the block is cancelled, with whatever it awaits (an
        `asyncio.TaskGroup` as a whole). At the block's end the guard turns that cancellation into `LeaseLost`, as
        `asyncio.timeout` turns one into a `TimeoutError`. A block that ends by itself after the loss raises `LeaseLost`
        too. Other errors pass, and so do cancellations by anyone else. A blocked loop delays the end of the block.

        Python 3.10 does not count cancellations: another cancellation in the same turn of the loop, just before the
        loss, is taken for the guard's own.

        Returns:
            A context manager, for one block, once. Entering it is a `check`.

        Raises:
            LeaseLost: On entering: we do not hold the lease (any more). At the end: see above. After the loss it guards
                nothing.

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
        """Wait until the lease is lost, or we release it or hand it over.

        Raises nothing. Costs no request and no thread.

        Returns:
            Why it was lost; `LossReason.RELEASED` if it was released, by whomever (`reason` is None if by its holder),
            `LossReason.HANDED_OVER` if it was handed over, and `LossReason.FORKED` in a forked child.
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
        """Renew now, in addition to the heartbeat, on a thread of the bucket. One UpdateItem a slot, 1 WCU each.

        If it is cancelled, the renewal continues in the background, and the lease stays held.

        Raises:
            LeaseLost: We do not hold the lease (any more).
            StoreUnavailable: No usable answer; the lease is held until its deadline, and the heartbeat continues.
            StoreRejected: The service refuses for good; held until its deadline as well.
        """
        await self._bucket.driver.call(self._held.renew)

    async def release(self) -> bool:
        """Release all slots of the lease. One UpdateItem a slot, 1 WCU each; waiters of this process wake at once.

        The lease is not held any more as soon as this is called. If it is cancelled, it ends at once, and a worker
        releases in the background. It is the holder's own word, whichever task calls it: a guarded block goes on, and
        learns of it by `check` or `lost`. To end a block from outside, use `LeaseBucket.release`.

        Returns:
            Whether this call ended the lease in the table; see `ddb_lease.Lease.release`.

        Raises:
            StoreUnavailable: No usable answer in some seconds. It is sent again in the background, about every half
                minute, and at the interpreter's exit; else the slot comes back when the lease expires. May be called
                again.
            StoreRejected: The service refuses for good. It is sent once more at the interpreter's exit; else the slot
                comes back when the lease expires.
        """
        if _running_loop() is None:
            # The garbage collector closes a block whose loop has ended: a worker does what we would await.
            self._held.release_later()
            return False
        return await self._bucket.give_back(self._held)

    async def hand_over(self, *, within: Seconds = 30.0) -> str:
        """Hand the lease over, and return a token by which one process adopts it; see `ddb_lease.Lease.hand_over`.

        A guarded block goes on: it is no loss. If it is cancelled, as by a timeout, nobody gets the token, and the
        lease is not held any more: `check` raises from that instant, and it is released in the background. Only if it
        is cancelled before anything was sent, the lease is held still; `held` tells.

        Args:
            within: For how long it can be adopted at least: seconds, or a timedelta, up to a year. If the lease has
                longer than that, it can be adopted for as long.

        Returns:
            The token.

        Raises:
            LeaseLost: We do not hold the lease (any more). There is no token.
            StoreUnavailable: No usable answer. There is no token, and the lease is held and renewed as before.
            StoreRejected: The service refuses for good; else as above.
            ConfigurationError: `within` cannot work, or the lease was acquired with `hold_at_least`. Nothing was sent,
                and the lease is held.

        Cost: one UpdateItem a slot, 1 WCU each; to adopt it, as much again.
        """
        return await self._bucket.hand_over(self._held, within)

    def conditions(self, *, plain: bool = False) -> list[dict[str, Any]]:
        """Checks for a transaction of your own, which then happens only while the slots carry this lease. No I/O.

        See `ddb_lease.Lease.conditions`.

        Args:
            plain: With plain values, for a client of boto3's resource (``table.meta.client``), which types them itself.

        Returns:
            One ``ConditionCheck`` for each slot, to be put before your own items.

        Raises:
            LeaseLost: We do not hold the lease (any more).
        """
        return self._held.conditions(plain=plain)

    async def __aenter__(self) -> Lease:
        try:
            if self._entered and self._held.held:
                raise ConfigurationError(
                    f"lease {self.id} is entered already, by a block that releases it: use it as it is"
                )
            self._entered = True
            self._held.end.stopping.enter(self, by=asyncio.current_task(), guarded=False)
            self.check()
        except ConfigurationError:
            raise  # the block that it is in goes on
        except BaseException:
            with suppress(StoreError):  # report the loss, not this error
                await self.release()  # `__aexit__` will not be called
            self._held.end.stopping.leave(self)
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
            # A failed release must neither mask nor replace the body's outcome.
            tell = _log.warning if self._held.lost is None else _log.info  # the log has the loss already
            tell("not released yet, and expires otherwise: %s", error)
        finally:
            self._held.end.stopping.leave(self)

    # Internals.

    def _give_up(self) -> None:
        if not self._entered:
            self._held.release_later()

    def _call(self, callback: OnLost) -> Unfinished | None:
        """On a thread for callbacks, which must not wait: begin the callback on the loop."""
        loop, unfinished = self._loop, Unfinished(self._loop.is_closed)
        calls: list[asyncio.Task[None]] = []  # the loop has only weak references to its tasks

        def begin() -> None:
            calls.append(loop.create_task(self._call_here(callback)))
            calls[0].add_done_callback(lambda _: unfinished.end())

        if tell(loop, begin):
            return unfinished
        _log.warning("lease %s is lost, and its lost-callback is not called: its loop is closed", self.id)
        return None

    async def _call_here(self, callback: OnLost) -> None:
        try:
            returned = callback(self)
            if inspect.isawaitable(returned):
                await returned
        except Exception:  # noqa: BLE001 - the user's own; the lease's end must go on
            _log.exception("the lost-callback of lease %s failed", self.id)
        for guard in list(self._guards):
            await guard.over()


def require_on_lost(callback: object) -> None:
    """Check a lost-callback when it is given. Coroutine functions are welcome, and so is whatever returns an awaitable.

    Raises:
        ConfigurationError: It would fail, or not run, when the lease is lost.
    """
    require_callback(callback, what="on_lost", gets="the lease")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
