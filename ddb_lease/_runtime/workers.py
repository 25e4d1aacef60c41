"""Workers: threads for what may block, such as renewals.

Invariants:

- It knows no lease, no bucket and no request: a job is a callable, and belongs to a line.
- Trouble in one line delays no other: lines are served in turn, and none may have all workers.
- Threads are few while no job waits, more while one does, and bounded.
- A worker survives whatever its job raises, and does not keep the interpreter from exiting.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import queue
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ddb_lease._state.service_time import Clock

_log = logging.getLogger("ddb_lease")

WORKERS = 8
"""The number of workers that are kept; more exist only while jobs wait."""

WAITING_SECONDS = 0.1
"""If a job has waited this long, calls are slow or hang: start more workers."""

MOST_WORKERS = 128
"""The most workers: in an outage, every call hangs until its timeout."""

MOST_IN_LINE = 32
"""The most workers for the jobs of one line, so that one bucket's outage leaves some for the other lines. With more
lines each may have fewer, so that one is always left for a new line."""


@dataclass(order=True, slots=True)
class _Job:
    by: float
    serial: int
    since: float = field(compare=False)
    do: Callable[[], object] = field(compare=False)


@dataclass(slots=True)
class _Line:
    """One line: the waiting jobs, most urgent first; how many run now, and how many may run at once."""

    most: int
    running: int = 0
    jobs: list[_Job] = field(default_factory=list)

    def startable(self, share: int) -> int:
        """How many of its jobs may start now, if no line may have more than this share of the workers."""
        return max(0, min(len(self.jobs), min(self.most, share) - self.running))


class Workers:
    """A few daemon threads for calls that may block; they do not keep the interpreter from exiting.

    Lines (one for each bucket) are served in turn; within a line the most urgent job comes first. While jobs wait,
    there are more workers: so a slow service delays no renewal, and trouble in one line delays no other line.
    """

    def __init__(self, clock: Clock, *, limit: int = WORKERS) -> None:
        self._clock = clock
        self._limit = limit
        self._lock = threading.RLock()
        self._lines: dict[Hashable, _Line] = {}
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._idle = 0
        self._busy = 0
        self._relieved_at = -math.inf
        self._serial = itertools.count()
        self._names = itertools.count(1)
        self._closed = False

    def submit(self, job: Callable[[], object], *, line: Hashable = None, by: float = 0.0) -> None:
        """Run a job soon on a worker; what it raises is logged.

        Args:
            job: What to do.
            line: What it belongs to. None for jobs that are not urgent; only a few of these run at a time.
            by: When it should be done; compared within its line only.
        """
        with self._lock:
            if line not in self._lines:
                self._lines[line] = _Line(self._limit if line is None else MOST_IN_LINE)
            heapq.heappush(self._lines[line].jobs, _Job(by, next(self._serial), self._clock.steady(), job))
        self._rings.put(None)
        self.relieve()

    def relieve(self) -> None:
        """Start workers if jobs wait: a few at once, and more if jobs have waited long.

        The heartbeat calls it at each turn too, to retry when a thread could not be started.
        """
        missing = started = 0
        if self._closed:
            return
        try:
            with self._lock:
                limit = self._limit
                if self.relief_in() <= 0.0:
                    limit, self._relieved_at = MOST_WORKERS, self._clock.steady()
                missing = max(0, min(self._missing(), limit - self._idle - self._busy))
                self._idle += missing
            while started < missing:
                name = f"ddb-lease-worker-{next(self._names)}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
                started += 1
        except RuntimeError:  # no more threads for now: the running ones continue
            _log.warning("no thread can be started to renew leases; it will be retried")
        finally:
            # Threads that were not started, even because of an interrupt, must not count as idle for ever.
            with self._lock:
                self._idle -= missing - started

    def keep_ready(self, count: int) -> None:
        """Have at least so many workers, up to those that are always kept: at a time when none can be started."""
        count = min(count, self._limit)
        while self._idle + self._busy < count and not self._closed:
            with self._lock:
                self._idle += 1
            try:
                name = f"ddb-lease-worker-{next(self._names)}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
            except BaseException as error:
                with self._lock:
                    self._idle -= 1
                if isinstance(error, RuntimeError):
                    return  # no more threads for now
                raise

    def start_no_more(self) -> None:
        """From now on the running workers do all: the interpreter exits, and starts no thread any more."""
        self._closed = True

    def relief_in(self) -> float:
        """Seconds until a job has waited so long that more workers are needed; infinite if none waits."""
        with self._lock:
            if self._missing() <= 0 or self._idle + self._busy >= MOST_WORKERS:
                return math.inf
            share = self._share()
            lines = list(self._lines.values())
            waiting_since = min(line.jobs[0].since for line in lines if line.startable(share) > 0)
            return max(waiting_since, self._relieved_at) + WAITING_SECONDS - self._clock.steady()

    def _missing(self) -> int:
        share = self._share()
        return sum(line.startable(share) for line in list(self._lines.values())) - self._idle

    def _share(self) -> int:
        """How many workers one line may have, so that as many are left for one more line."""
        return max(1, MOST_WORKERS // (len(self._lines) + 1))

    def _work(self) -> None:
        while True:
            self._rings.get()
            while self._do_next():
                pass
            with self._lock:
                if self._idle + self._busy > self._limit and self._missing() < 0:
                    self._idle -= 1
                    return  # an extra worker: enough others are kept

    def _do_next(self) -> bool:
        with self._lock:
            taken = self._take()
            if taken is None:
                return False
            line, job = taken
            line.running += 1
            self._idle -= 1
            self._busy += 1
        failed: BaseException | None = None
        try:
            job.do()
        except BaseException as error:  # noqa: BLE001 - a worker survives whatever its job raises
            failed = error
        with self._lock:
            line.running -= 1
            self._idle += 1
            self._busy -= 1
        if failed is not None:
            _say(failed)
        return True

    def _take(self) -> tuple[_Line, _Job] | None:
        share = self._share()
        for key, line in list(self._lines.items()):
            if line.startable(share) > 0:
                self._lines[key] = self._lines.pop(key)  # next time the other lines come first
                return line, heapq.heappop(line.jobs)
            if not line.jobs and not line.running:
                del self._lines[key]
        return None


def _say(failed: BaseException) -> None:
    with contextlib.suppress(Exception):  # a log handler that raises must not end a worker either
        _log.error("a lease's background work failed; it will be retried when due", exc_info=failed)
