"""What the runtime needs of the outside: a sender of requests, a lock, and something to wait on.

Invariant: production has one of each here or in `dynamodb`; the test kit and the simulator bring their own.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from ddb_lease._protocol.messages import Reply, Request


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


@dataclass(eq=False)
class Wakeup:
    """Ends a pause early. One thread pauses on it; any thread may wake, and any signal handler.

    A `SimpleQueue`, as it is reentrant: an `Event` may deadlock when a handler sets what its own thread waits for.
    """

    _rings: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue, init=False)

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
