"""The synchronous driver: runs a procedure against a store, on the calling thread.

Laws of this room:

- A procedure decides; the driver only carries requests out, waits, and tells the service's time what it learns.
- An interrupt ends a run wherever it strikes. What the procedure left open is for the driver's caller to clean up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from ddb_lease.clock import ServiceTime
from ddb_lease.messages import Answer, Effect, Pause, Reply, Request
from ddb_lease.retry import Procedure

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


class Bell:
    """Ends a pause early. One thread pauses on it; any thread may wake."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait this long, or until woken; a wake that came before the pause counts."""
        self._event.wait(seconds)
        self._event.clear()

    def wake(self) -> None:
        """End the pause under way, or the next one."""
        self._event.set()


class Driver:
    """Carries out requests of one bucket.

    Attributes:
        on_moved: Called when an answer moved deadlines or brought up doubt about the service's time.
    """

    def __init__(self, *, sender: Sender, time: ServiceTime, on_moved: Callable[[], None]) -> None:
        self._sender = sender
        self._time = time
        self.on_moved = on_moved

    def perform(self, request: Request) -> Answer:
        """Send one request once, and learn the time from its answer."""
        sent = self._time.stopwatch()
        reply = self._sender.send(request)
        if reply.genuine and self._time.observe(sent=sent, received=self._time.stopwatch(), date=reply.date):
            self.on_moved()
        return reply.answer

    def run(self, procedure: Procedure[Result], pause: Callable[[float], None]) -> Result:
        """Run a procedure to its end.

        Args:
            procedure: What to run.
            pause: Waits so many seconds, or less if woken.

        Returns:
            The procedure's result.

        Raises:
            BaseException: What the procedure raises, or what interrupts it. It is then not resumed: an interrupt may
                have struck in the midst of it.
        """
        try:
            effect = next(procedure)
            while True:
                effect = procedure.send(self._carry_out(effect, pause))
        except StopIteration as stop:
            result: Result = stop.value
            return result

    def _carry_out(self, effect: Effect, pause: Callable[[float], None]) -> Answer | None:
        if isinstance(effect, Pause):
            pause(effect.seconds)
            return None
        return self.perform(effect)
