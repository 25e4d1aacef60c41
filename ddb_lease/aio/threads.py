"""Threads for calls that may block, so that no loop does; their number is bounded, however many calls wait.

Invariants:

- It knows no loop: a job's result is a `concurrent.futures.Future`.
- Threads are started when needed, and end when idle. They do not keep the interpreter from exiting; those of
  `concurrent.futures` would, as long as a request hangs.
- A job that is cancelled before its turn never runs. One that has begun runs to its end.
"""

from __future__ import annotations

import collections
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ddb_lease._state.log import queued as _log

Result = TypeVar("Result")

IDLE_SECONDS = 10.0
"""How long a thread waits for its next job."""


class Threads:
    """At most `most` daemon threads, and a queue of waiting jobs; first come, first served."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """In a forked child: it has none of the threads, and must not wait for a lock of the parent."""
        self._changed = threading.Condition()
        self._jobs: collections.deque[tuple[Future[Any], Callable[[], Any]]] = collections.deque()
        self._alive = 0
        self._idle = 0

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Run a job on one of the threads, with the context variables of the caller.

        Returns:
            Its result.

        Raises:
            RuntimeError: No thread runs, and none can be started.
        """
        future: Future[Result] = Future()
        job = functools.partial(contextvars.copy_context().run, job)
        with self._changed:
            self._jobs.append((future, job))
            if self._idle < len(self._jobs) and self._alive < self._most:
                self._start()
            self._changed.notify()
        return future

    def _start(self) -> None:
        self._alive += 1
        try:
            threading.Thread(target=self._work, name="ddb-lease-request", daemon=True).start()
        except RuntimeError:
            self._alive -= 1
            if not self._alive:
                self._jobs.clear()
                raise
            _log.warning("no thread can be started to send requests; the running threads continue")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._jobs, IDLE_SECONDS)
                self._idle -= 1
                if not self._jobs:
                    self._alive -= 1
                    return
                future, job = self._jobs.popleft()
            _do(future, job)
            del future, job  # an idle thread must not keep them alive


def _do(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 - it is for the waiting caller
        future.set_exception(error)
    else:
        future.set_result(result)
