"""What the face for asyncio stands on: the synchronous bucket and lease, driven without blocking the loop.

Invariants:

- It decides nothing, and keeps no list of its own of what is held: that is the synchronous bucket's, with its
  heartbeat, its rules for forks and for the exit. Only what would block is awaited here instead.
- Whatever a cancelled acquire may have leased is given back, by a worker, once the request under way has ended. Nobody
  waits for that but `shut` and the exit; so neither a second cancellation nor the loop's end can prevent it.
- A watcher is told on any thread, once, when its lease has been lost or released; it finds its own way to its loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.retry import Operation
from ddb_lease.aio.driver import Driver, Wakeup, answer_of
from ddb_lease.aio.threads import Threads
from ddb_lease.bucket import LeaseBucket, PendingAcquire, leases_of
from ddb_lease.errors import ConfigurationError, LeaseError, LossReason
from ddb_lease.lease import RELEASE_SECONDS, RELEASE_TRIES, Lease
from ddb_lease.models import BucketStatus, Data, Repaired, Resized

_log = logging.getLogger("ddb_lease")

Result = TypeVar("Result")
Kept = TypeVar("Kept")

MAX_REQUESTS = 16
"""Threads of one bucket at most: at 5 ms a request, 3,000 requests a second."""

_MOST_REQUESTS = 1_000


class Held(Lease):
    """A lease whose end can be watched, and that is released without blocking a loop."""

    def __init__(self, grant: Grant, **what: Any) -> None:  # noqa: ANN401 - see `Lease`
        self._watchers: list[Callable[[], object]] = []
        self._ended = False
        super().__init__(grant, **what)

    @property
    def reason(self) -> LossReason:
        """Why it is not held any more."""
        return self._reason()

    @property
    def over(self) -> bool:
        """Whether it has been lost or released, or is the parent's; watchers have been told, or never will be."""
        return self._ended or self._forked

    def watch(self, tell: Callable[[], object]) -> None:
        """Tell somebody when it has been lost or released; at once where it has."""
        with self._lock:
            late = self._ended
            if not late:
                self._watchers.append(tell)
        if late:
            tell()

    def unwatch(self, tell: Callable[[], object]) -> None:
        """Tell them no more."""
        with self._lock:
            if tell in self._watchers:
                self._watchers.remove(tell)

    async def give_back(self, driver: Driver, wakeup: Wakeup) -> bool:
        """As `release`. Cancelled, it is left to a worker."""
        if not self._begin_release():
            return False
        try:
            mine = await self._enter(driver)
        except BaseException:
            with self._ending(mine=False):
                raise
        with self._ending(mine=mine):
            return await driver.run(
                self._releasing(tries=RELEASE_TRIES, seconds=RELEASE_SECONDS), wakeup, observe=self._observe
            )

    async def _enter(self, driver: Driver) -> bool:
        """Wait for a renewal that is under way; returns whether we are through the turnstile."""
        if self._serial.acquire(blocking=False):
            return True
        patience = self._patience()
        entering = driver.submit(lambda: self._serial.acquire(timeout=patience))
        try:
            return await answer_of(entering)
        except BaseException:
            entering.add_done_callback(self._leave)
            raise

    def _leave(self, entered: Future[bool]) -> None:
        if not entered.cancelled() and entered.result():
            self._serial.release()

    def _aftermath(self) -> None:
        self._tell_watchers()
        super()._aftermath()

    def _end(self) -> None:
        super()._end()
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        with self._lock:
            self._ended = True
            watchers, self._watchers = self._watchers, []
        for tell in watchers:
            tell()


class _Debt:
    """What an acquire that was cut short may have left leased; paid once, by whoever comes first."""

    def __init__(self, pay: Callable[[], None], wakeup: Wakeup) -> None:
        self._pay = pay
        self._taken = threading.Lock()
        self._paid = threading.Event()
        self._landed = threading.Event()
        wakeup.landed(self._landed.set)

    def pay(self) -> None:
        """Pay it, unless somebody else does."""
        if self._taken.acquire(blocking=False):
            try:
                self._pay()
            finally:
                self._paid.set()

    def settle(self, seconds: float) -> None:
        """See to it that it is paid, in about so many seconds; without another thread if need be."""
        if self._landed.wait(seconds):
            self.pay()
            self._paid.wait(seconds)


class Core(LeaseBucket):
    """A bucket, and what drives it on whichever loop runs."""

    def __init__(self, name: str, *, max_requests: int, **settings: Any) -> None:  # noqa: ANN401 - see `LeaseBucket`
        given: object = max_requests
        if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= _MOST_REQUESTS:
            raise ConfigurationError(
                f"max_requests must be a whole number from 1 to {_MOST_REQUESTS:,}, not {max_requests!r}"
            )
        self._threads = Threads(max_requests)
        self._debts: set[_Debt] = set()  # each call on it is atomic
        super().__init__(name, **settings)
        self.driver = Driver(blocking=self._driver, threads=self._threads)

    def new_wakeup(self) -> Wakeup:
        """What a task of the running loop waits on."""
        return Wakeup()

    async def win(
        self, timeout: float | None, data: Data | None, *, count: int, patient: bool, keep: Callable[[Held], Kept]
    ) -> Kept | None:
        """Win a lease and hand it to `keep`; None where there is none in time. Cancelled, it leaves nothing leased."""

        def hold(grant: Grant) -> Kept:
            return keep(self._keep(Held(grant, context=self._lease_context(), on_lost=None)))

        wakeup = self.new_wakeup()
        pending = self._begin_acquire(self._deadline(timeout), data, count=count, patient=patient, wake=wakeup.wake)
        try:
            with self._in_line(pending):
                outcome = await self.driver.run(pending.operation, wakeup, observe=pending.observe)
            # From here to the caller's next await nothing can be cancelled: what is won is handed out.
            return self._conclude(pending, outcome, hold)
        except BaseException:
            self._owe(pending, wakeup)
            raise

    def timed_out(self, timeout: float | None, count: int) -> LeaseError:
        """What to raise where nothing came free in time."""
        return self._timed_out(timeout, count)

    async def end(self, lease_id: str) -> bool:
        """As `release`."""
        slots, held = self._whose(lease_id)
        if held is not None:
            return await self._end_held(held)
        return bool(await self._do(self._ending_of(lease_id, slots, fence=None)))

    async def mark(self, lease_id: str) -> bool:
        """As `revoke`."""
        return await self.driver.run(self._revoking(lease_id), self.new_wakeup())

    async def set_size(self, max_tokens: int) -> Resized:
        """As `resize`."""
        return await self._do(self._resizing(max_tokens))

    async def mend(self) -> Repaired:
        """As `repair`."""
        return await self._do(self._repairing())

    async def end_all(self) -> int:
        """As `reset`."""
        ended = 0
        for lease_id, slots, fence in leases_of(await self.read()):
            held = self._leases.get(lease_id)
            if held:
                ended += await self._end_held(held)
            else:
                ended += bool(await self._do(self._ending_of(lease_id, slots, fence=fence)))
        self._hints.wake_all()
        await self.mend()
        return ended

    async def read(self) -> BucketStatus:
        """As `status`."""
        return await self._do(self._reading())

    async def shut(self) -> None:
        """As `close`; what cancelled acquires left is waited for, too."""
        try:
            await asyncio.gather(*(self._end_quietly(held) for held in self._begin_closing()))
            if self._debts:
                await self.driver.call(lambda: self._settle(self._deadline(RELEASE_SECONDS)))
        finally:
            for held in list(self._leases.values()):  # cancelled before it could begin with them
                self.release_behind(held)
            self._store.close()

    def release_behind(self, held: Lease) -> None:
        """Release a lease on a worker: no loop is to be had, or to be waited for."""
        self._heartbeats().workers.submit(held.release)

    # What `process` asks for.

    def after_fork_in_child(self) -> None:
        """As `LeaseBucket`'s; the parent pays its debts itself."""
        super().after_fork_in_child()
        self._threads.after_fork_in_child()
        self._debts = set()

    def at_exit(self, deadline: float) -> None:
        """As `LeaseBucket`'s; and pay what cancelled acquires left."""
        super().at_exit(deadline)
        self._settle(deadline)

    # Behind the scenes.

    async def _do(self, operation: Operation[Result]) -> Result:
        return await self.driver.run(operation, self.new_wakeup(), observe=self._observe)

    def _end_held(self, held: Lease) -> Coroutine[Any, Any, bool]:
        return cast("Held", held).give_back(self.driver, self.new_wakeup())  # all that we keep are

    async def _end_quietly(self, held: Lease) -> None:
        try:
            await self._end_held(held)
        except LeaseError as error:
            _log.warning("lease %s was not released, and ends by expiry: %s", held.id, error)

    def _owe(self, pending: PendingAcquire, wakeup: Wakeup) -> None:
        self._hints.leave(pending.waiter)
        if not pending.open_grants:
            return

        def pay() -> None:
            try:
                self._give_back_all(pending)
            finally:
                self._debts.discard(debt)

        debt = _Debt(pay, wakeup)
        self._debts.add(debt)
        wakeup.landed(lambda: self._heartbeats().workers.submit(debt.pay))

    def _settle(self, deadline: float) -> None:
        for debt in list(self._debts):
            debt.settle(max(0.0, deadline - self._runtime.clock.steady()))
