"""Jobs that the calling thread does together with workers, until a deadline.

Invariants:

- The calling thread works too. Workers only make it faster: at the interpreter's exit perhaps none can be started.
- No job is begun after the deadline, and the caller waits for workers no longer than that.
- Each job has its first go before any has its second: one that fails delays no other.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.workers import Workers
from ddb_lease._state.log import queued as _log
from ddb_lease._state.service_time import Clock

HELPERS: Final = 16
"""The most workers that help the calling thread."""


class Parallel:
    """Runs jobs, each once or several times.

    Args:
        jobs: Each is called with the number of its go, from 1 up, and returns whether it wants another one.
        workers: Those that help.
        clock: Whose steady clock the deadline is on.
        wakeup: What the caller waits on.
        deadline: When to stop.
    """

    def __init__(
        self,
        jobs: Sequence[Callable[[int], bool]],
        *,
        workers: Workers,
        clock: Clock,
        wakeup: Wakeup,
        deadline: float,
    ) -> None:
        self._workers = workers
        self._clock = clock
        self._wakeup = wakeup
        self._deadline = deadline
        self._waiting = deque((job, 1) for job in jobs)  # each call on it is atomic
        self._open = set(range(len(jobs)))  # likewise

    def run(self) -> None:
        """Do all of them; returns when all are done, or at the deadline."""
        with contextlib.suppress(Exception):  # without help it only takes longer
            for _ in range(min(HELPERS, len(self._open) - 1)):
                self._workers.submit(self._work, line=self)
        self._work()
        while self._open and self._left() > 0.0:
            self._wakeup.pause(self._left())

    def _work(self) -> None:
        """Do what waits, on any thread."""
        while self._left() > 0.0:
            try:
                job, go = self._waiting.popleft()
            except IndexError:
                return
            if _wants_more(job, go):
                self._waiting.append((job, go + 1))
                continue
            self._open.pop()
            if not self._open:
                self._wakeup.wake()

    def _left(self) -> float:
        return self._deadline - self._clock.steady()


def _wants_more(job: Callable[[int], bool], go: int) -> bool:
    try:
        return job(go)
    except Exception:  # noqa: BLE001 - one job's trouble is not the others'
        _log.exception("a release failed (a bug); the slot is free when its lease expires")
        return False
