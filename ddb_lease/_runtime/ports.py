"""What the runtime needs from outside: a sender of requests, a lock, and something to wait on.

Invariant: production has one of each, here or in `dynamodb`; the test kit and the simulator bring their own.
"""

from __future__ import annotations

import contextlib
import queue
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol

from ddb_lease._protocol.messages import Reply, Request

SLICE_SECONDS: Final = 1.0
"""How long a thread waits at a time: so long a signal may wait for its handler."""


class Sender(Protocol):
    """What the library needs from a store. The simulator implements it too."""

    def send(self, request: Request) -> Reply:
        """Send one request once, and wait for its answer."""
        ...

    def fit(self, lease_seconds: float) -> None:
        """Prepare for leases of this length: the stored one, once it is known."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...

    def after_fork_in_child(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        ...


class Lock(Protocol):
    """A lock that may be held while a thread waits for an answer: `threading.Lock`, or a simulator's."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool:
        """Take the lock, waiting at most so many seconds; -1 waits for ever. Returns whether we hold it."""
        ...

    def release(self) -> None:
        """Release the lock."""
        ...

    def __enter__(self) -> bool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


@dataclass(eq=False)
class Wakeup:
    """Ends a pause early. One thread pauses on it; any thread or signal handler may wake it.

    It uses a `SimpleQueue`, which is reentrant: an `Event` may deadlock if a signal handler sets it while its own
    thread waits for it. It waits in slices: a signal that arrives just before the thread begins to wait does not end
    that wait, and its handler runs only after it.
    """

    _rings: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue, init=False)

    def pause(self, seconds: float) -> None:
        """Wait this long, or until woken; a wake that came before the pause counts."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0 and self._rings.empty():
            with contextlib.suppress(queue.Empty):
                self._rings.get(timeout=min(left, SLICE_SECONDS))
                break
        with contextlib.suppress(queue.Empty):
            while True:
                self._rings.get_nowait()

    def sleep(self, seconds: float) -> None:
        """Wait this long; a wake meanwhile ends the next pause."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))

    def wake(self) -> None:
        """End the current pause, or the next one."""
        self._rings.put(None)
