"""What the runtime needs from outside: a sender of requests, a lock, and something to wait on.

Invariant: production has one of each, here or in `dynamodb`; the test kit and the simulator bring their own.
"""

from __future__ import annotations

import contextlib
import threading
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


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class Wakeup:
    """Ends a pause early. One thread pauses on it; any thread or signal handler may wake it.

    It waits for a lock that is taken, and that a wake releases. An `Event` may deadlock if a signal handler sets it
    while its own thread waits for it. A `SimpleQueue` waits for ever, before Python 3.13, if a signal interrupts the
    wait and the time is over when the handler has run, or when the thread has the interpreter again. It waits in
    slices: a signal that arrives just before the thread begins to wait does not end that wait, and its handler runs
    only after it.
    """

    _quiet: threading.Lock = field(default_factory=_taken_lock, init=False)

    def pause(self, seconds: float) -> None:
        """Wait this long, or until woken; a wake that came before the pause counts."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            if self._quiet.acquire(timeout=min(left, SLICE_SECONDS)):
                return
        self._quiet.acquire(blocking=False)

    def sleep(self, seconds: float) -> None:
        """Wait this long; a wake meanwhile ends the next pause."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))

    def wake(self) -> None:
        """End the current pause, or the next one."""
        with contextlib.suppress(RuntimeError):  # a wake before it was not seen yet, or is just being seen
            self._quiet.release()
