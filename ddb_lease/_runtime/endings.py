"""How a process ends besides by the interpreter's exit: children of `multiprocessing` and of what is built on it.

A child that was forked by `multiprocessing`, by its fork server, or by billiard (Celery) ends by `os._exit`: up to some
Python version its exit handlers never run, and later ones forget what the parent registered. Their own finalizers do;
not in Celery's pool, whose processes run nothing at their end but the receivers of a signal of Celery's.

Invariants:

- Nothing is imported for this: a module that is not there already ends no process.
- It is done when a process holds its first lease, as these modules clear what was registered before a child began.
- Nothing is released while a thread of the process, other than a daemon, still runs: it may hold a lease.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

_LATE: Final = -100
"""After all finalizers of `multiprocessing` itself, and after the child's own children."""

_forked = False


def expect(at_exit: Callable[[], None]) -> None:
    """Make sure that this runs when the process ends; called once a process."""
    for package in ("multiprocessing", "billiard"):
        util: Any = sys.modules.get(f"{package}.util")
        if util is None or not (_forked or _is_child(package)):
            continue
        util.Finalize(None, _after_threads, args=(at_exit,), exitpriority=_LATE)
        atexit.unregister(at_exit)
        atexit.register(at_exit)
    celery: Any = sys.modules.get("celery.signals")
    if celery is not None and _forked:
        celery.worker_process_shutdown.connect(lambda **_: at_exit(), weak=False, dispatch_uid=__name__)


def after_fork_in_child() -> None:
    """In a forked child: it may end without the interpreter's exit."""
    global _forked  # noqa: PLW0603 - one for each process is the point
    _forked = True


def is_exiting() -> bool:
    """Whether the finalizers of `multiprocessing` or billiard run: an exception there would keep ours from running."""
    utils: list[Any] = [sys.modules.get(f"{package}.util") for package in ("multiprocessing", "billiard")]
    return bool([util for util in utils if util is not None and util.is_exiting()])


def _is_child(package: str) -> bool:
    process: Any = sys.modules.get(f"{package}.process")
    parent = getattr(process, "parent_process", None)
    return parent is not None and parent() is not None


def _after_threads(at_exit: Callable[[], None]) -> None:
    """Finalizers come before the process waits for its threads: wait for them, in one that it waits for too."""
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if not others:
        at_exit()
        return

    def wait() -> None:
        for thread in others:
            thread.join()
        at_exit()

    threading.Thread(target=wait, name="ddb-lease-exit", daemon=False).start()
