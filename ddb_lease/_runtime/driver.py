"""The synchronous driver: runs a procedure against a store, on the calling thread.

Invariants:

- A procedure decides; the driver only carries requests out, waits, and tells the service's time what it learns.
- An interrupt ends a run wherever it strikes. What the procedure left open is for the driver's caller to clean up.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeVar

from ddb_lease._protocol.messages import Answer, Effect, Pause, Reply, Request
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.instrumentation import Observer
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import ServiceTime

Result = TypeVar("Result")


class Sender(Protocol):
    """What the rest of the house needs of a store; a simulator is one too."""

    def send(self, request: Request) -> Reply:
        """Send one request once, and wait for its answer."""
        ...

    def fit(self, lease_seconds: float) -> None:
        """Serve leases of this length: the bucket's own, once it is known."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...

    def after_fork_in_child(self) -> None:
        """Let go of what is the parent's."""
        ...


class Lock(Protocol):
    """Lets one thread through at a time, while it waits for an answer: `threading.Lock`, or a simulator's."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool:
        """Go in, waiting at most so many seconds; -1 for ever. Returns whether one is in."""
        ...

    def release(self) -> None:
        """Come out."""
        ...

    def __enter__(self) -> bool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


class Wakeup:
    """Ends a pause early. One thread pauses on it; any thread may wake, and any signal handler.

    A `SimpleQueue`, as it is reentrant: an `Event` may deadlock when a handler sets what its own thread waits for.
    """

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def pause(self, seconds: float) -> None:
        """Wait this long, or until woken; a wake that came before the pause counts."""
        with contextlib.suppress(queue.Empty):
            self._rings.get(timeout=min(seconds, threading.TIMEOUT_MAX))
            while True:
                self._rings.get_nowait()

    def sleep(self, seconds: float) -> None:
        """Wait this long; a wake meanwhile ends the next pause."""
        threading.Event().wait(seconds)

    def wake(self) -> None:
        """End the pause under way, or the next one."""
        self._rings.put(None)


class Driver:
    """Carries out requests of one bucket.

    Attributes:
        on_moved: Called when an answer moved deadlines or brought up doubt about the service's time.
        state: The bucket's, whose stored lease length the sender is made to fit; None for what has none.
    """

    def __init__(
        self,
        *,
        sender: Sender,
        time: ServiceTime,
        on_moved: Callable[[], None],
        state: BucketState | None = None,
    ) -> None:
        self._sender = sender
        self._time = time
        self._state = state
        self._settings = state and state.settings
        self.on_moved = on_moved

    def perform(self, request: Request) -> Answer:
        """Send one request once, and learn the time from its answer."""
        sent = self._time.steady()
        reply = self._sender.send(request)
        if reply.genuine and self._time.observe(sent=sent, received=self._time.steady(), date=reply.date):
            self.on_moved()
        return reply.answer

    def run(self, operation: Operation[Result], wakeup: Wakeup, *, observe: Observer | None = None) -> Result:
        """Run a procedure to its end.

        Args:
            operation: What to run.
            wakeup: What to wait on.
            observe: Shown each request and its answer, on this thread.

        Returns:
            The procedure's result.

        Raises:
            BaseException: What the procedure raises, or what interrupts it. It is then not resumed: an interrupt may
                have struck in the midst of it.
        """
        try:
            effect = next(operation)
            while True:
                effect = operation.send(self._carry_out(effect, wakeup, observe))
        except StopIteration as stop:
            result: Result = stop.value
            return result

    def _carry_out(self, effect: Effect, wakeup: Wakeup, observe: Observer | None) -> Answer | None:
        if isinstance(effect, Pause):
            if effect.wakeable:
                wakeup.pause(effect.seconds)
            else:
                wakeup.sleep(effect.seconds)
            return None
        if self._state is not None and self._state.settings is not self._settings:
            self._settings = self._state.settings
            self._sender.fit(self._settings.lease_ms / 1000)
        answer = self.perform(effect)
        if observe is not None:
            observe(effect, answer)
        return answer
