"""Threads for what may block, so that no loop does: at most so many, whatever waits for them.

Invariants:

- It knows no loop: what a job came to is a `concurrent.futures.Future`.
- Threads are started when needed, and end when idle. None of them keeps the interpreter from exiting; those of
  `concurrent.futures` would, for as long as a request hangs.
- A job that was cancelled before its turn is never done. One that is under way is done to its end.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_log = logging.getLogger("ddb_lease")

Result = TypeVar("Result")

IDLE_SECONDS = 10.0
"""How long a thread waits for its next job."""


class Threads:
    """At most `most` daemon threads, and a queue of what waits for them; first come, first served."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """In a forked child: none of the threads is here, and no lock of the parent's is held."""
        self._changed = threading.Condition()
        self._jobs: collections.deque[tuple[Future[Any], Callable[[], Any]]] = collections.deque()
        self._alive = 0
        self._idle = 0

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Have a job done by some thread.

        Returns:
            What it comes to.

        Raises:
            RuntimeError: No thread can be had, and none is there.
        """
        future: Future[Result] = Future()
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
            del future, job  # not to be kept alive while idle


def _do(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 - it is for whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
