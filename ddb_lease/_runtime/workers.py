"""Workers: threads for what may block, such as renewals.

Invariants:

- It knows no lease, no bucket and no request: a job is a callable, and belongs to a line.
- Trouble in one line delays no other: lines are served in turn, none may have all workers, and a line of which no job
  runs gets a worker whatever the others do.
- Threads are few while no job waits, more while one does, and bounded. One is there before the first job is.
- A job that runs for long is written off: it counts neither against its line nor against the limit, and its thread
  ends with it. If such jobs have half of all threads, their lines get no more until some of them end.
- A worker survives whatever its job raises, and does not keep the interpreter from exiting.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import queue
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ddb_lease._state.log import BackgroundThread
from ddb_lease._state.log import queued as _log
from ddb_lease._state.service_time import Clock

WORKERS = 8
"""The number of workers that are kept; more exist only while jobs wait."""

WAITING_SECONDS = 0.1
"""If a job has waited this long, calls are slow or hang: start more workers."""

MOST_WORKERS = 128
"""The most workers, except for those with the only running job of their line: in an outage, every call hangs until its
timeout."""

MOST_IN_LINE = 32
"""The most workers for the jobs of one line, so that one bucket's outage leaves some for the other lines. With more
lines each may have fewer."""

WRITTEN_OFF_SECONDS = 10.0
"""A job that has run this long hangs, and is written off: no call of ours takes so long by its timeouts."""

MOST_THREADS = 1_024
"""The most threads in all: of lines that have one each, and of jobs that were written off."""


@dataclass(order=True, slots=True)
class _Job:
    by: float
    serial: int
    since: float = field(compare=False)
    do: Callable[[], object] = field(compare=False)


@dataclass(slots=True)
class _Line:
    """One line: the waiting jobs, most urgent first; how many run now, how many may, and how many were written off."""

    most: int
    running: int = 0
    hanging: int = 0
    closed: bool = False  # its jobs hang, and so many that it gets no more threads for now
    jobs: list[_Job] = field(default_factory=list)

    def first(self) -> int:
        """1 if a job waits and none runs: it may start whatever the other lines do."""
        return int(bool(self.jobs) and not self.running and not self.closed)

    def startable(self, share: int, room: int) -> int:
        """How many of its jobs may start now.

        Args:
            share: The most workers for one line.
            room: How many workers there may be beyond those with the first job of a line.
        """
        if self.closed:
            return 0
        first = self.first()
        return first + max(0, min(len(self.jobs) - first, min(self.most, share) - self.running - first, room - first))


@dataclass(slots=True, eq=False)
class _Run:
    """A job that runs."""

    line: _Line
    began: float
    written_off: bool = False


class Workers:
    """A few daemon threads for calls that may block; they do not keep the interpreter from exiting.

    Lines (one for each bucket) are served in turn; within a line the most urgent job comes first. While jobs wait,
    there are more workers: so a slow service delays no renewal, and trouble in one line delays no other line.

    Args:
        clock: This machine's clocks.
        limit: How many are kept.
        name: What the threads are called.
    """

    def __init__(self, clock: Clock, *, limit: int = WORKERS, name: str = "ddb-lease-worker") -> None:
        self._clock = clock
        self._limit = limit
        self._name = name
        self._lock = threading.RLock()
        self._lines: dict[Hashable, _Line] = {}
        self._runs: dict[_Run, None] = {}  # that count, the oldest first
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._idle = 0
        self._busy = 0
        self._written_off = 0
        self._relieved_at = -math.inf
        self._complained = False
        self._serial = itertools.count()
        self._names = itertools.count(1)
        self._closed = False

    @property
    def idle(self) -> int:
        """How many workers have no job; those that are being started are counted."""
        return self._idle

    def submit(
        self, job: Callable[[], object], *, line: Hashable = None, by: float = 0.0, may_start: bool = True
    ) -> None:
        """Run a job soon on a worker; what it raises is logged.

        Args:
            job: What to do.
            line: What it belongs to. None for jobs that are not urgent; only a few of these run at a time.
            by: When it should be done; compared within its line only.
            may_start: Whether this thread may start a worker. If not, `relieve` does: it comes within a heartbeat's
                nap. A signal handler must not start a thread, as it may have interrupted the start of another.
        """
        with self._lock:
            if line not in self._lines:
                self._lines[line] = _Line(self._limit if line is None else MOST_IN_LINE)
            heapq.heappush(self._lines[line].jobs, _Job(by, next(self._serial), self._clock.steady(), job))
        self._rings.put(None)
        if may_start or not self._idle + self._busy:
            self.relieve()

    def ensure_one(self) -> None:
        """Start a worker if there is none: jobs are done, one after another, if no thread is to be had later.

        Raises:
            RuntimeError: No thread can be started.
        """
        with self._lock:
            if self._idle + self._busy > 0:
                return
            self._idle += 1
        self._start(1)

    def relieve(self) -> None:
        """Start workers if jobs wait: a few at once, and more if jobs have waited long.

        The heartbeat calls it at each turn too, to retry when a thread could not be started.
        """
        if self._closed:
            return
        with self._lock:
            self._write_off()
            missing = self._to_start()
            self._idle += missing
        try:
            self._start(missing)
        except RuntimeError:  # no more threads for now: the running ones continue
            if not self._complained:
                self._complained = True
                _log.warning("no thread can be started to renew leases; it will be retried")

    def keep_ready(self, count: int) -> None:
        """Have at least so many workers, up to those that are always kept: at a time when none can be started."""
        with self._lock:
            missing = 0 if self._closed else max(0, min(count, self._limit) - self._idle - self._busy)
            self._idle += missing
        with contextlib.suppress(RuntimeError):  # no more threads for now: the running ones do all
            self._start(missing)

    def start_no_more(self) -> None:
        """From now on the running workers do all: the interpreter exits, and starts no thread any more."""
        self._closed = True

    def relief_in(self) -> float:
        """Seconds until a job has waited so long that more workers are needed; infinite if none waits."""
        with self._lock:
            if self._startable_threads() <= 0:
                return math.inf
            share, room = self._share(), self._room()
            lines = list(self._lines.values())
            waiting_since = min(line.jobs[0].since for line in lines if line.startable(share, room) > 0)
            return max(waiting_since, self._relieved_at) + WAITING_SECONDS - self._clock.steady()

    def _to_start(self) -> int:
        """How many workers to start now."""
        startable = self._startable_threads()
        if self.relief_in() <= 0.0:
            self._relieved_at = self._clock.steady()
            return startable
        return max(0, min(startable, self._limit - self._idle - self._busy))

    def _startable_threads(self) -> int:
        """How many workers could be started, and would have a job."""
        first = sum(line.first() for line in list(self._lines.values()))
        more = max(0, min(self._missing(), MOST_WORKERS - self._idle - self._busy))
        alive = self._idle + self._busy + self._written_off
        return min(max(more, first - self._idle), MOST_THREADS - alive)

    def _missing(self) -> int:
        share, room = self._share(), self._room()
        return sum(line.startable(share, room) for line in list(self._lines.values())) - self._idle

    def _room(self) -> int:
        return max(0, MOST_WORKERS - self._busy)

    def _share(self) -> int:
        """How many workers one line may have, so that as many are left for one more line."""
        active = sum(bool(line.jobs or line.running) for line in list(self._lines.values()))
        return max(1, MOST_WORKERS // (active + 1))

    def _write_off(self) -> None:
        before = self._clock.steady() - WRITTEN_OFF_SECONDS
        while self._runs and (run := next(iter(self._runs))).began <= before:
            self._forget(run)
            run.written_off = True
            run.line.hanging += 1
            self._written_off += 1
            self._close_lines()

    def _close_lines(self) -> None:
        """If jobs hang in half of all threads, give no more to the lines in which they do: others need the rest."""
        hanging = [line for line in list(self._lines.values()) if line.hanging]
        half = MOST_THREADS // 2
        for line in hanging:
            line.closed = self._written_off >= half and line.hanging >= max(1, half // len(hanging))

    def _forget(self, run: _Run) -> None:
        """It does not count any more."""
        del self._runs[run]
        run.line.running -= 1
        self._busy -= 1

    def _start(self, count: int) -> None:
        """Start workers that count as idle already."""
        started = 0
        try:
            while started < count:
                BackgroundThread(target=self._work, name=f"{self._name}-{next(self._names)}").start()
                started += 1
                self._complained = False
        finally:
            # Threads that were not started, even because of an interrupt, must not count as idle for ever.
            with self._lock:
                self._idle -= count - started

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
            run, job = taken
            self._idle -= 1
        failed: BaseException | None = None
        try:
            job.do()
        except BaseException as error:  # noqa: BLE001 - a worker survives whatever its job raises
            failed = error
        with self._lock:
            if run.written_off:
                self._written_off -= 1
                run.line.hanging -= 1
                run.line.closed = False
                self._close_lines()
            else:
                self._forget(run)
            self._idle += 1
        if failed is not None:
            _log.error("a lease's background work failed; it will be retried when due", exc_info=failed)
        return True

    def _take(self) -> tuple[_Run, _Job] | None:
        share, room = self._share(), self._room()
        for key, line in list(self._lines.items()):
            if line.startable(share, room) > 0:
                self._lines[key] = self._lines.pop(key)  # next time the other lines come first
                job = heapq.heappop(line.jobs)
                line.running += 1
                run = _Run(line, self._clock.steady())
                self._runs[run] = None
                self._busy += 1
                return run, job
            if not (line.jobs or line.running or line.hanging):
                del self._lines[key]
        return None
