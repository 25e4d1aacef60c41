"""What works under a lease: its blocks, and its lost-callback. Whoever ends the lease by its id waits for these.

Invariants:

- It is asked only where this process itself ends a lease under its holder: the holder is told first, and has the
  lease's grace to stop, as after any other loss. Then the slot is given back, whether it has stopped or not.
- A guarded block ends when it is told. A block that is not guarded cannot be ended: nobody waits for it.
- Nobody waits for itself: not the lost-callback that ends its own lease once more.
- It keeps neither a block alive nor the thread or task that is in it: a task that is dropped with its loop ends its
  block. One that has ended without leaving its block cannot be told, and nobody waits for it.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ddb_lease._protocol.messages import Pause

_calling: contextvars.ContextVar[Stopping | None] = contextvars.ContextVar("ddb_lease_lost_callback", default=None)
"""Of the lease whose lost-callback runs here, or in a task that it has begun."""


class Stopping:
    """What works under one lease.

    Args:
        steady: Reads the steady clock.
        grace: Gives the seconds that its holder has to stop.
    """

    def __init__(self, steady: Callable[[], float], *, grace: Callable[[], float]) -> None:
        self._steady = steady
        self._grace = grace
        self._blocks: dict[int, tuple[weakref.ref[Any] | None, bool]] = {}  # by their `id`; each call on it is atomic
        self._called_back = False
        self._until = math.inf
        self._wakes: list[Callable[[], None]] = []  # likewise
        self._lock = threading.RLock()

    def enter(self, block: object, *, by: object, guarded: bool) -> None:
        """A block begins.

        Args:
            block: The block.
            by: The thread or task that is in it.
            guarded: Whether a loss ends it.
        """
        self._blocks[id(block)] = None if by is None else weakref.ref(by), guarded

    def leave(self, block: object) -> None:
        """A block has ended."""
        self._blocks.pop(id(block), None)
        self._look()

    def works_elsewhere(self, here: object) -> bool:
        """Whether another thread or task than this one is in a block of the lease."""
        return any(by is not here for by, _ in self._working())

    def works_here(self, here: object) -> bool:
        """Whether this thread or task is in a block of the lease."""
        return any(by is here for by, _ in self._working())

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """The lost-callback is called in this block, or begun on a loop."""
        before = _calling.set(self)
        try:
            yield
        finally:
            _calling.reset(before)

    def called_back(self) -> None:
        """The lost-callback has returned, or there is none."""
        self._called_back = True
        self._look()

    def begin(self) -> None:
        """Its holder is to stop: the grace begins, once."""
        with self._lock:
            self._until = min(self._until, self._steady() + self._grace())

    def wait(self, wake: Callable[[], None], *, most: float = math.inf) -> Iterator[Pause]:
        """Wait until its holder has stopped, or has had the grace; not at all if nobody has told it to.

        Args:
            wake: Ends a pause, from any thread.
            most: Seconds to wait at most.
        """
        until = 0.0 if self._until == math.inf else min(self._until, self._steady() + most)
        self._wakes.append(wake)
        try:
            while not self._has_stopped() and (left := until - self._steady()) > 0.0:
                yield Pause(seconds=left, wakeable=True)
        finally:
            self._wakes.remove(wake)

    @property
    def is_awaited(self) -> bool:
        """Whether its holder was told to stop, has not stopped yet, and has some of its grace left."""
        return self._until < math.inf and not self._has_stopped() and self._steady() < self._until

    @property
    def until(self) -> float:
        """When the grace ends, on the steady clock; infinite if nobody has told its holder to stop."""
        return self._until

    def abandon_to_parent(self) -> None:
        """In a forked child: make a new lock, and forget the parent's blocks."""
        self._lock = threading.RLock()
        self._blocks, self._wakes = {}, []

    def _has_stopped(self) -> bool:
        if _calling.get() is self:
            return True
        return self._called_back and not any(guarded for _, guarded in self._working())

    def _working(self) -> list[tuple[object, bool]]:
        """Who is in a block, and whether a loss ends it; None for what is neither in a thread nor in a task."""
        found: list[tuple[object, bool]] = []
        for ref, guarded in list(self._blocks.values()):
            by = None if ref is None else ref()
            if ref is None or (by is not None and not _has_ended(by)):
                found.append((by, guarded))
        return found

    def _look(self) -> None:
        if self._has_stopped():
            for wake in list(self._wakes):
                wake()


def _has_ended(worker: Any) -> bool:  # noqa: ANN401 - a task of any loop
    """Whether a thread or task is over."""
    return bool(not worker.is_alive() if isinstance(worker, threading.Thread) else worker.done())
