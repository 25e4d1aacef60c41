"""The process: what a fork and the interpreter's exit mean for leases.

Invariants:

- After a fork the child holds nothing and releases nothing: its parent goes on holding.
- At the interpreter's exit, leases still held are released, in bounded time.
- One heartbeat serves the whole process.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Protocol

from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.workers import Workers

EXIT_SECONDS = 5.0
"""How long an exiting interpreter is kept, at most, for releasing leases (and one request's timeout more)."""


class LifecycleHooks(Protocol):
    """What must know of forks and of the exit."""

    def after_fork_in_child(self) -> None:
        """Let go of all that is the parent's."""
        ...

    def at_exit(self, deadline: float) -> None:
        """Release what is held, starting no request after `deadline` on the steady clock."""
        ...


_registered: weakref.WeakSet[LifecycleHooks] = weakref.WeakSet()
_lock = threading.RLock()
_heartbeats: Heartbeats | None = None


def heartbeats() -> Heartbeats:
    """The process's one heartbeat."""
    global _heartbeats  # noqa: PLW0603 - one for each process is the point
    with _lock:
        if _heartbeats is None:
            clock = SystemClock()
            _heartbeats = Heartbeats(clock, Workers(clock))
        return _heartbeats


def register(inhabitant: LifecycleHooks) -> None:
    """Tell it of forks and of the exit, as long as it lives."""
    _registered.add(inhabitant)


def _after_fork_in_child() -> None:
    global _heartbeats, _lock  # noqa: PLW0603 - the parent's thread does not exist here, its locks may be held for ever
    _lock = threading.RLock()
    _heartbeats = None
    for inhabitant in list(_registered):
        inhabitant.after_fork_in_child()


def _at_exit() -> None:
    deadline = SystemClock().steady() + EXIT_SECONDS
    for inhabitant in list(_registered):
        inhabitant.at_exit(deadline)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
