"""The process: what a fork and the interpreter's exit mean for leases.

Invariants:

- After a fork the child holds nothing and releases nothing: the parent still holds its leases.
- At the interpreter's exit, the leases still held are released in bounded time; after that none is acquired. So they
  are when `multiprocessing`, or a pool of processes on top of it, ends a child without the interpreter's exit.
- One heartbeat serves the whole process.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
import weakref
from typing import Protocol

from ddb_lease._runtime import endings
from ddb_lease._runtime.clock import SystemClock
from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.parallel import Parallel
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.workers import Workers
from ddb_lease._state import log

EXIT_SECONDS = 5.0
"""How long releasing leases may delay the interpreter's exit (and one request's timeout more)."""

LEASES_PER_WORKER = 16
"""A process that holds more has workers ready, as an exiting interpreter starts none."""


_THREADS_SECONDS = 0.05
"""How often the exit looks whether a thread has ended that cannot be joined."""

LOG_SECONDS = 1.0
"""How long the log's handlers may delay the interpreter's exit."""


class LifecycleHooks(Protocol):
    """What must be told of forks and of the exit."""

    def after_fork_in_child(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        ...

    def at_exit(self, deadline: float) -> None:
        """Release what is held; start no request after `deadline` on the steady clock."""
        ...


_unjoined: list[threading.Thread] = []
_prepared = _ended = False
_registered: weakref.WeakSet[LifecycleHooks] = weakref.WeakSet()
_lock = threading.RLock()
_heartbeats: Heartbeats | None = None


def heartbeats() -> Heartbeats:
    """The process's heartbeat."""
    global _heartbeats  # noqa: PLW0603 - one for each process is the point
    with _lock:
        if _heartbeats is None:
            clock = SystemClock()
            _heartbeats = Heartbeats(clock, Workers(clock))
        return _heartbeats


def register(inhabitant: LifecycleHooks) -> None:
    """Tell it of forks and of the exit while it exists; at once if the exit has been."""
    with _lock:  # the exit lists them
        _registered.add(inhabitant)
    if _ended:
        inhabitant.at_exit(SystemClock().steady())


def prepare_end(leases: int) -> int:
    """This process holds so many leases of one bucket: make sure, once, that its end is noticed.

    Returns:
        How many workers to have ready for the end, as none can be started then: enough for the leases, and one for each
        further bucket, as far as workers are kept. Buckets that do not answer must not take all the time.
    """
    global _prepared  # noqa: PLW0603 - one for each process is the point
    if not _prepared:
        endings.expect(_at_exit)
        _prepared = True  # last: an interrupt before it lets the next lease try again
    return max((leases + len(_registered)) // LEASES_PER_WORKER, len(_registered) - 1)


def wait_at_exit_for(thread: threading.Thread) -> None:
    """Release nothing at the exit before this thread has ended: Python takes it for ended, and does not wait itself."""
    _unjoined.append(thread)


def is_exiting() -> bool:
    """Whether the process ends already: what interrupts it now keeps leases from being released."""
    return _ended or endings.is_exiting()


def _after_fork_in_child() -> None:
    global _heartbeats, _lock, _prepared  # noqa: PLW0603 - the parent's thread does not exist here, its locks may be held for ever
    log.after_fork_in_child()
    _lock = threading.RLock()
    _heartbeats = None
    _prepared = False  # its end is one of its own
    endings.after_fork_in_child()
    for inhabitant in list(_registered):
        inhabitant.after_fork_in_child()


def _at_exit() -> None:
    global _ended  # noqa: PLW0603 - as above
    while any(thread in threading.enumerate() for thread in _unjoined):
        threading.Event().wait(_THREADS_SECONDS)
    _ended = True
    clock = SystemClock()
    deadline = clock.steady() + EXIT_SECONDS
    workers = heartbeats().workers
    if sys.version_info >= (3, 12):
        workers.start_no_more()  # an exiting interpreter refuses to start threads
    with _lock:  # other threads may go on, and make further ones
        inhabitants = list(_registered)
    jobs = [functools.partial(_end, inhabitant, deadline) for inhabitant in inhabitants]
    Parallel(jobs, workers=workers, clock=clock, wakeup=Wakeup(), deadline=deadline).run()
    log.flush(LOG_SECONDS)


def _end(inhabitant: LifecycleHooks, deadline: float, _go: int) -> bool:
    inhabitant.at_exit(deadline)
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
