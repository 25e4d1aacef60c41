"""The driver for asyncio: runs any procedure without blocking the loop.

Invariants:

- It is the synchronous driver's twin: the same procedures, the same `perform`. Requests go through `Threads`, pauses
  are awaited on the loop.
- It belongs to no loop: each run is on the loop that runs at that moment, and many may be at once, on several loops.
- Cancelling ends a run at any point, and at once. A request in flight then continues on its thread: the clean-up asks
  the run's `Wakeup` when it has ended.
- A result from another thread goes to its loop; if that loop is closed, it is dropped without an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError as NeverBegun
from concurrent.futures import Future
from typing import Final, TypeVar

from ddb_lease._protocol.messages import Answer, AtOnce, Each, Effect, Pause
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.driver import Driver as Blocking
from ddb_lease._runtime.instrumentation import Observer
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.threads import Threads
from ddb_lease.errors import ConfigurationError, StoreUnavailable

Result = TypeVar("Result")

NO_THREAD: Final = StoreUnavailable("no thread was free to send the request in time: see `max_requests`")


LEAST_SECONDS: Final = 0.25
"""How long a request waits for a thread, however late it comes: a thread that is free may take a moment."""


def tell(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> bool:
    """Call something on a loop soon, from any thread; returns whether the loop is still open."""
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:  # closed
        return False
    return True


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop that runs here.

    Raises:
        ConfigurationError: None does: this is another library's event loop, or none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise ConfigurationError(
        "ddb_lease.aio needs asyncio, and no loop of asyncio runs here: use asyncio.run, or anyio with its asyncio "
        "backend. Under trio or curio, call ddb_lease's synchronous API on threads"
    )


class Wakeup:
    """Ends a pause early. One task pauses on it, on one loop; any thread may wake it.

    Args:
        runtime: Where pauses take no real time, as in a test environment, the runtime's own wakeup lets the time pass.

    Attributes:
        flight: The last request that its run sent, answered or not.
    """

    def __init__(self, runtime: Runtime | None = None) -> None:
        self._skipping = runtime.wakeup() if runtime is not None and runtime.skips_time else None
        self._loop = running_loop()
        self._rung = False
        self._pausing: asyncio.Future[None] | None = None
        self.flight: Future[Answer] | None = None

    async def pause(self, seconds: float) -> None:
        """Wait this long, or until woken; a wake that came before the pause counts."""
        if self._skipping is not None:
            self._skipping.pause(seconds)
            await asyncio.sleep(0)  # other tasks have their turn
            return
        if not self._rung:
            self._pausing = self._loop.create_future()
            over = self._loop.call_later(seconds, _end, self._pausing)
            try:
                await self._pausing
            finally:
                over.cancel()
                self._pausing = None
        self._rung = False

    async def sleep(self, seconds: float) -> None:
        """Wait this long; a wake meanwhile ends the next pause."""
        if self._skipping is not None:
            self._skipping.sleep(seconds)
            seconds = 0.0
        await asyncio.sleep(seconds)

    def wake(self) -> None:
        """End the current pause, or the next one."""
        if self._skipping is not None:
            self._skipping.wake()
            return
        self._rung = True
        tell(self._loop, self._ring)

    def landed(self, then: Callable[[], object]) -> None:
        """Call something once no request of the run is in flight: now, or on the thread that sent it."""
        if self.flight is None:
            then()
        else:
            self.flight.add_done_callback(lambda _: then())

    def _ring(self) -> None:
        if self._rung and self._pausing is not None:  # it must not end a later pause than the one it was meant for
            _end(self._pausing)


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Driver:
    """Carries out requests of one bucket, for tasks.

    Args:
        blocking: Sends them.
        threads: Where they are sent.
        begin_within: Seconds that a request waits for a thread at most; then it is not sent. None: as long as it takes.
    """

    def __init__(self, *, blocking: Blocking, threads: Threads, begin_within: float | None = None) -> None:
        self._blocking = blocking
        self._threads = threads
        self._begin_within = begin_within

    def by(self, blocking: Blocking) -> Driver:
        """The same for another bucket or rate: on the same threads."""
        if blocking is self._blocking:
            return self
        return Driver(blocking=blocking, threads=self._threads, begin_within=self._begin_within)

    async def run(
        self,
        operation: Operation[Result],
        wakeup: Wakeup,
        *,
        observe: Observer | None = None,
        within: float | None = None,
    ) -> Result:
        """Run a procedure to its end.

        Args:
            operation: What to run.
            wakeup: What to wait on.
            observe: Called with each request and its answer, on the thread that sent it.
            within: Seconds from now on within which its requests are to be on a thread, or are not sent; one that comes
                late waits `LEAST_SECONDS` all the same. None: as long as it takes.

        Returns:
            The procedure's result.

        Raises:
            BaseException: What the procedure raises, or what cancels it. It is then not resumed.
        """
        try:
            effect = next(operation)
            begin_by = None if within is None else running_loop().time() + within
            while True:
                effect = operation.send(await self._carry_out(effect, wakeup, observe, begin_by))
        except StopIteration as stop:
            result: Result = stop.value
            return result

    async def call(self, job: Callable[[], Result]) -> Result:
        """Run something that may block on one of the threads. Once it has begun, cancelling does not end it."""
        return await answer_of(self.submit(job))

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Submit something that may block to one of the threads."""
        return self._threads.submit(job)

    async def _carry_out(
        self, effect: Effect, wakeup: Wakeup, observe: Observer | None, begin_by: float | None
    ) -> Answer | None:
        if isinstance(effect, Pause):
            if effect.wakeable:
                await wakeup.pause(effect.seconds)
            else:
                await wakeup.sleep(effect.seconds)
            return None
        request = effect

        def perform() -> Answer:
            if isinstance(request, AtOnce):  # on this thread, with the help of workers
                return self._blocking.perform_at_once(request.looks, observe=observe)
            answer = self._blocking.perform(request)
            if observe is not None:
                observe(request, answer)
            return answer

        try:
            wakeup.flight = self._threads.submit(perform)
        except RuntimeError as error:  # no thread is to be had: a later try may get one
            if isinstance(request, AtOnce):
                return Each(answers=tuple(self._blocking.not_sent(look, error) for look in request.looks))
            return self._blocking.not_sent(request, error)
        within = self._to_begin(begin_by)
        if within is None or isinstance(request, AtOnce):
            return await answer_of(wakeup.flight)
        waiting = running_loop().call_later(within, wakeup.flight.cancel)
        try:
            return await answer_of(wakeup.flight)
        except NeverBegun:
            return self._blocking.not_sent(request, NO_THREAD)
        finally:
            waiting.cancel()

    def _to_begin(self, begin_by: float | None) -> float | None:
        """Seconds that a request may wait for a thread."""
        if begin_by is None:
            return self._begin_within
        left = max(LEAST_SECONDS, begin_by - running_loop().time())
        return left if self._begin_within is None else min(left, self._begin_within)


async def answer_of(flight: Future[Result]) -> Result:
    """Wait for another thread's result. If cancelled, that thread finishes alone, or never begins."""
    loop = running_loop()
    landed: asyncio.Future[None] = loop.create_future()
    flight.add_done_callback(lambda _: tell(loop, lambda: _end(landed)))
    try:
        await landed
    except BaseException:
        flight.cancel()  # if it has not begun, it never will
        raise
    return flight.result()
