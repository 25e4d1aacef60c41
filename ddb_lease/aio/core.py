"""The core of the asyncio API: drives `BucketCore`'s operations without blocking a loop.

Invariants:

- It decides nothing and keeps no list of held leases: `BucketCore` does, with the heartbeat and the rules for forks and
  the exit. It only awaits what would block there.
- If a cancelled acquire may have leased something, a worker releases it once the request in flight has ended. Only
  `shut` and the exit wait for that, so neither a second cancellation nor the loop's end can prevent it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ddb_lease._numbers import shown
from ddb_lease._protocol.messages import Answer, Unknown
from ddb_lease._protocol.outcomes import Outcome
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.adopting import begin_adopt, kept
from ddb_lease._runtime.bucket_arguments import checked_lease_id
from ddb_lease._runtime.bucket_core import (
    BucketCore,
    PendingAcquire,
    drop_ticket_of,
    give_back_all,
)
from ddb_lease._runtime.ending import BY_ITS_ID, has_ended, tell_blocks, tell_holder
from ddb_lease._runtime.give_back import CLOSE_SECONDS, release_later
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.origin import Caller, caller, hand_out
from ddb_lease._runtime.ports import Lock
from ddb_lease._runtime.resetting import resetting
from ddb_lease._state.log import queued as _log
from ddb_lease._state.service_time import Clock
from ddb_lease.aio.driver import Driver, Wakeup, answer_of, running_loop
from ddb_lease.aio.threads import Threads
from ddb_lease.errors import ConfigurationError, LeaseError, StoreError
from ddb_lease.models import BucketStatus, Data, Repaired, Resized, Seconds

Result = TypeVar("Result")
Kept = TypeVar("Kept")

MAX_REQUESTS = 16
"""The most threads of one bucket: at 5 ms a request, 3,000 requests a second."""

_MOST_REQUESTS = 1_000


class _Debt:
    """What a cancelled acquire may have left leased. Released once, by the first thread to come."""

    def __init__(self, pay: Callable[[], None], wakeup: Wakeup) -> None:
        self._pay = pay
        self._taken = threading.Lock()
        self._paid = threading.Event()
        self._landed = threading.Event()
        wakeup.landed(self._landed.set)

    def pay(self) -> None:
        """Release it, unless another thread does."""
        if self._taken.acquire(blocking=False):
            try:
                self._pay()
            finally:
                self._paid.set()

    def settle(self, seconds: float) -> None:
        """Make sure that it is released, within about so many seconds; on this thread if necessary."""
        if self._landed.wait(seconds):
            self.pay()
            self._paid.wait(seconds)


class Debts:
    """What cancelled acquires may have left leased, until it is released."""

    def __init__(self) -> None:
        self._open: set[_Debt] = set()  # each call on it is atomic

    def __len__(self) -> int:
        return len(self._open)

    def add(self, debt: _Debt) -> None:
        """One more."""
        self._open.add(debt)

    def discard(self, debt: _Debt) -> None:
        """It is paid."""
        self._open.discard(debt)

    def settle(self, deadline: float, clock: Clock) -> None:
        """Make sure that all is released, until about this time of the steady clock."""
        for debt in list(self._open):
            debt.settle(max(0.0, deadline - clock.steady()))


class AsyncBucket:
    """Drives one bucket's operations on whichever loop runs.

    Args:
        core: The bucket.
        max_requests: The most threads for requests.

    Attributes:
        core: The bucket.
        driver: Drives its operations.
        debts: What cancelled acquires may have left leased.
    """

    def __init__(self, core: BucketCore, *, max_requests: int) -> None:
        self.core = core
        self._threads = Threads(max_requests)
        self.debts = Debts()
        self.driver = Driver(blocking=core.driver, threads=self._threads)
        process.register(self)

    def new_wakeup(self) -> Wakeup:
        """What a task of the running loop pauses on."""
        return Wakeup(self.core.runtime)

    async def run(self, operation: Operation[Result]) -> Result:
        """Drive an operation to its end."""
        return await self.driver.run(operation, self.new_wakeup(), observe=self.core.observe)

    async def acquire(
        self,
        timeout: Seconds | None,
        data: Data | None,
        *,
        count: int,
        patient: bool,
        handle: Callable[[HeldLease], Kept],
        priority: int = 0,
        hold_at_least: Seconds | None = None,
    ) -> Kept | PendingAcquire:
        """Win a lease and make its handle; the acquire itself if there is none in time.

        Cancelled, it leaves nothing leased.
        """
        running_loop()  # under another library's, this says what is needed
        core, called, task = self.core, caller(), asyncio.current_task()
        deadline, by = core.deadline(timeout), None if task is None else weakref.ref(task)

        def begin(wake: Callable[[], None]) -> PendingAcquire:
            return core.begin_acquire(
                deadline,
                data,
                count=count,
                patient=patient,
                wake=wake,
                by=by,
                priority=priority,
                hold_at_least=hold_at_least,
            )

        return await self.win(begin, self._keeper(handle, called, by))

    async def adopt(self, token: str, data: Data | None, *, handle: Callable[[HeldLease], Kept]) -> Kept:
        """Adopt a lease and make its handle. Cancelled, it leaves nothing leased."""
        running_loop()
        core, called, task = self.core, caller(), asyncio.current_task()
        keep = self._keeper(handle, called, None if task is None else weakref.ref(task))
        return kept(await self.win(lambda wake: begin_adopt(core, token, data, wake=wake), keep))

    def _keeper(
        self, handle: Callable[[HeldLease], Kept], called: Caller, by: weakref.ref[Any] | None
    ) -> Callable[[PendingAcquire, Outcome], Kept | PendingAcquire]:
        """What makes the handle of what was won; it gives the acquire itself if nothing was."""
        core = self.core

        def keep(pending: PendingAcquire, outcome: Outcome) -> Kept | PendingAcquire:
            held = core.hold(pending, outcome)
            if held is None:
                return pending
            lease = handle(held)
            hand_out(held, lease, at=core.runtime.clock.steady(), caller=called, by=by)
            return lease

        return keep

    async def win(
        self,
        begin: Callable[[Callable[[], None]], PendingAcquire],
        keep: Callable[[PendingAcquire, Outcome], Kept],
    ) -> Kept:
        """Drive an acquire. Cancelled, or where `keep` raises, it leaves nothing leased.

        Args:
            begin: Begins it; gets what ends its pauses.
            keep: Makes of its outcome what is returned.
        """
        wakeup = self.new_wakeup()
        pending = begin(wakeup.wake)
        try:
            outcome = await self.driver.run(pending.operation, wakeup, observe=pending.observe)
            # Nothing can be cancelled between here and the caller's next await: the caller gets what was won.
            return keep(pending, outcome)
        except BaseException:
            self._owe(pending, wakeup)
            raise

    async def settled(self) -> None:
        """Wait until what acquires may have left leased is released, for some seconds at most."""
        deadline = self.core.deadline(CLOSE_SECONDS)
        if self.debts:
            with contextlib.suppress(RuntimeError):  # no thread is to be had to wait on: workers settle them
                await self.driver.call(lambda: self.debts.settle(deadline, self.core.runtime.clock))

    async def release(self, lease_id: str) -> bool:
        """Release a lease by its id."""
        slots = checked_lease_id(lease_id)
        held = self.core.ours(lease_id)
        if held is None:
            return bool(await self.run(self.core.release(lease_id, slots, fence=None)))
        told = tell_holder(held, here=asyncio.current_task(), why=BY_ITS_ID)
        return await (self._release_told(held) if told else self.give_back(held))

    async def revoke(self, lease_id: str) -> bool:
        """Ask a lease's holder for its slots back."""
        marked = await self.driver.run(self.core.revoke(lease_id), self.new_wakeup())
        if marked:
            self.core.revoked(lease_id)
        return marked

    async def resize(self, max_tokens: int) -> Resized:
        """Change how many tokens the bucket has."""
        return await self.run(self.core.resize(max_tokens))

    async def repair(self) -> Repaired:
        """Recount the slots."""
        return await self.run(self.core.repair())

    async def reset(self) -> int:
        """End all leases; returns how many this ended."""
        ended = 0
        with resetting(self.core, await self.status(), here=asyncio.current_task()) as found:
            for each in found:
                if each.held is None:
                    ended += bool(await self.run(self.core.release(each.lease_id, each.slots, fence=each.fence)))
                else:
                    ended += await (self._release_told(each.held) if each.told else self.give_back(each.held))
        await self.repair()
        return ended

    async def status(self) -> BucketStatus:
        """Read the bucket."""
        return await self.run(self.core.status())

    async def close(self) -> None:
        """Release all leases, and wait for the clean-up of cancelled acquires."""
        core = self.core
        leases = core.begin_closing()
        if leases:  # one that was never used may be closed where no loop runs
            tell_blocks(leases, here=asyncio.current_task())
        releasing = [asyncio.ensure_future(self._give_back_quietly(held)) for held in leases]
        try:
            if releasing:
                _, late = await asyncio.wait(releasing, timeout=CLOSE_SECONDS)
                for each in late:
                    each.cancel()
                if late:
                    await asyncio.wait(late)  # they end at once, and workers go on
            await self.settled()
        finally:
            for each in releasing:  # if we are cancelled, they are too
                each.cancel()
            release_later(list(core.leases.values()))  # cancelled before their release began
            if core.owed:
                _log.warning(
                    "leases of bucket %r are not released yet, and expire otherwise: %d", core.name, len(core.owed)
                )
            core.close_connections()

    async def give_back(self, held: HeldLease) -> bool:
        """Release a lease without blocking the loop. If cancelled, a worker does it."""
        if not held.begin_release():
            return False
        try:
            serial = await self._enter(held)
            try:
                return await self.driver.run(held.end.sending(), self.new_wakeup(), observe=held.observe)
            finally:
                if serial is not None:
                    serial.release()
                held.end.finish()
        except StoreError:
            raise
        except BaseException:
            held.release_later()
            raise

    async def hand_over(self, held: HeldLease, within: object) -> str:
        """Hand a lease over on a thread. If cancelled, nobody gets the token: it ends, unless nothing had begun."""
        handing = self.driver.submit(lambda: held.hand_over(within))

        def take_back(handed: Future[str]) -> None:
            if not handed.cancelled() and handed.exception() is None:
                held.take_back()

        try:
            return await answer_of(handing)
        except Exception:
            raise  # its own answer
        except BaseException:
            if not handing.cancelled():  # it has begun: whatever comes of it, nobody may believe in the lease from here
                held.release_later()
                handing.add_done_callback(take_back)
            raise

    # Called by `process`.

    def after_fork_in_child(self) -> None:
        """In a forked child: it has none of the threads, and the parent releases its leftovers itself."""
        self.core.after_fork_in_child()
        self._threads.after_fork_in_child()
        self.debts = Debts()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: release what is held, then what cancelled acquires left."""
        self.core.at_exit(deadline)
        self.debts.settle(deadline, self.core.runtime.clock)

    # Internals.

    async def _enter(self, held: HeldLease) -> Lock | None:
        """Wait for a renewal in progress; returns the lease's lock, or None if we do not hold it."""
        serial = held.attempts.serial
        if serial.acquire(blocking=False):
            return serial
        try:
            entering = self.driver.submit(lambda: serial.acquire(timeout=held.patience))
        except RuntimeError:  # no thread is to be had to wait on: the table's conditions make it safe not to wait
            return None

        def leave(entered: Future[bool]) -> None:
            if not entered.cancelled() and entered.result():
                serial.release()

        try:
            return serial if await answer_of(entering) else None
        except BaseException:
            entering.add_done_callback(leave)
            raise

    async def _release_told(self, held: HeldLease) -> bool:
        """Release a lease whose holder was told, once it has stopped or has had its grace."""
        try:
            await self._wait_for_holder(held)
        except BaseException:
            held.end.send_after_stopping()
            raise
        await self.give_back(held)
        return has_ended(held)  # the block that was told may have released it already

    async def _wait_for_holder(self, held: HeldLease, *, most: float = math.inf) -> None:
        wakeup = self.new_wakeup()
        for pause in held.end.stopping.wait(wakeup.wake, most=most):
            await wakeup.pause(pause.seconds)

    async def _give_back_quietly(self, held: HeldLease) -> None:
        await self._wait_for_holder(held, most=CLOSE_SECONDS / 2)
        try:
            await self.give_back(held)
        except LeaseError as error:
            _log.info("not released yet, and expires otherwise: %s", error)

    def _owe(self, pending: PendingAcquire, wakeup: Wakeup) -> None:
        self.core.state.hints.leave(pending.waiter)
        if not pending.open_grants and pending.waiter.ticket is None:
            return

        def pay() -> None:
            try:
                unanswered = () if _is_answered(wakeup.flight) else pending.unanswered
                give_back_all(self.core, pending.open_grants, unanswered=unanswered)
                drop_ticket_of(pending.waiter, self.core)
            finally:
                self.debts.discard(debt)

        debt = _Debt(pay, wakeup)
        self.debts.add(debt)
        core = self.core
        wakeup.landed(lambda: core.runtime.heartbeat().workers.submit(debt.pay, line=core.state))


def _is_answered(flight: Future[Answer] | None) -> bool:
    """Whether the last request of a run, which has ended, cannot be carried out any more without our knowing."""
    if flight is None or flight.cancelled():
        return True
    return flight.exception() is None and not isinstance(flight.result(), Unknown)


def checked_max_requests(max_requests: object) -> int:
    """How many requests may be in flight at once.

    Raises:
        ConfigurationError: It is not a whole number from 1 to the limit.
    """
    if isinstance(max_requests, bool) or not isinstance(max_requests, int) or not 1 <= max_requests <= _MOST_REQUESTS:
        raise ConfigurationError(
            f"max_requests must be a whole number from 1 to {_MOST_REQUESTS:,}, not {shown(max_requests)}"
        )
    return max_requests
