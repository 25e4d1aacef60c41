"""Heartbeats: liveness. One thread looks after all leases of a process; a few workers do what may block.

Laws of this room:

- It knows when something is due, not what: no ownership rule, no request. What is due is a `Beating`.
- The heartbeat thread never does I/O and never calls a user's code, so one slow call delays no other lease.
- It survives every exception, and is started again when it is gone. After a fork the child starts anew, with nothing.
- A sleep is at most `NAP_SECONDS` long: a sleeping thread does not notice that the machine was suspended.
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
from typing import Protocol, TypeAlias

from ddb_lease.clock import Clock

_log = logging.getLogger("ddb_lease")

NAP_SECONDS = 1.0
"""The longest that the heartbeat thread sleeps at a time."""

LATE_SECONDS = 0.5
"""Waking up this much later than planned means that the process was not running."""

SHORTEST_SECONDS = 0.01
"""The heartbeat looks after one lease at most so often, whatever is urgent."""

RECOVERY_SECONDS = 0.5
"""The pause after a lease's heartbeat failed by a defect."""

STALE_ENTRIES = 64
"""Entries of the schedule, besides twice as many as there are leases, before the stale ones are swept out."""

WORKERS = 8
"""Workers that are kept; more are there only while jobs have to wait."""

WAITING_SECONDS = 0.1
"""A job that has waited for a worker for so long gets another one: calls are slow, or hang."""

MOST_WORKERS = 128
"""Workers at most: in an outage, every call hangs until its timeout."""

MOST_IN_LINE = 32
"""Workers at most for the jobs of one line, so that one bucket's outage leaves some for the others."""


class Beating(Protocol):
    """Something that must be looked after in time. Compared by identity."""

    def due_in(self) -> float:
        """Seconds until it is due, from now; infinite for never."""
        ...

    def beat(self, *, slept: bool) -> None:
        """Do what is due, without blocking. `slept`: the process was not running when it became due."""
        ...


Entry: TypeAlias = tuple[float, int]
"""When something is due, and a serial number that no other entry has."""


class Schedule:
    """Who is due when: a heap with lazy deletion. Thread-safe; calls nobody under its lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._heap: list[tuple[float, int, Beating]] = []
        self._due: dict[Beating, Entry] = {}
        self._serial = itertools.count()

    def put(self, beating: Beating, due: float) -> None:
        """Schedule, or reschedule."""
        with self._lock:
            self._push(beating, due)

    def entry(self, beating: Beating) -> Entry | None:
        """Its latest entry; None where it is not scheduled."""
        return self._due.get(beating)

    def move(self, beating: Beating, due: float, *, unless_moved_from: Entry | None = None) -> None:
        """Reschedule what is still scheduled; where an entry is given, only if it is still the latest."""
        with self._lock:
            entry = self._due.get(beating)
            if entry is not None and unless_moved_from in {None, entry}:
                self._push(beating, due)

    def drop(self, beating: Beating) -> None:
        """Unschedule, if scheduled."""
        with self._lock:
            self._due.pop(beating, None)
            self._tidy()

    def all(self) -> list[Beating]:
        """All that is scheduled."""
        with self._lock:
            return list(self._due)

    def due(self, now: float) -> list[Beating]:
        """All that is due by now; it stays scheduled, to be moved."""
        found = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                due, serial, beating = heapq.heappop(self._heap)
                if self._due.get(beating) == (due, serial):
                    found.append(beating)
        return found

    def first(self) -> float | None:
        """When the first one is due; may be early, by one that was moved."""
        with self._lock:
            return self._heap[0][0] if self._heap else None

    def _push(self, beating: Beating, due: float) -> None:
        entry = (due, next(self._serial))
        self._due[beating] = entry
        heapq.heappush(self._heap, (*entry, beating))
        self._tidy()

    def _tidy(self) -> None:
        # What was dropped or moved leaves its old entry behind; a long lease's would stay for as long.
        if len(self._heap) > STALE_ENTRIES + 2 * len(self._due):
            self._heap = [(*entry, beating) for beating, entry in self._due.items()]
            heapq.heapify(self._heap)


@dataclass(order=True, slots=True)
class _Job:
    by: float
    serial: int
    since: float = field(compare=False)
    do: Callable[[], object] = field(compare=False)


@dataclass(slots=True)
class _Line:
    """The jobs of one line: those that wait, most urgent first; how many are done now, and how many may be at once."""

    most: int
    running: int = 0
    jobs: list[_Job] = field(default_factory=list)

    def startable(self) -> int:
        """How many of its jobs may be started now."""
        return min(len(self.jobs), self.most - self.running)


class Workers:
    """A few daemon threads for what may block; none of them keeps the interpreter from exiting.

    Lines (buckets, say) are served in turn; within a line, what must be done soonest comes first. While jobs have to
    wait, there are more workers; so a slow service delays no renewal, and one line's trouble no other line.
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

    def submit(self, job: Callable[[], object], *, line: Hashable = None, by: float = 0.0) -> None:
        """Have a job done soon by some worker; what it raises is logged.

        Args:
            job: What to do.
            line: What it belongs to. None for what does not hurry, of which only a few are done at a time.
            by: When it should be done; compared within its line only.
        """
        with self._lock:
            if line not in self._lines:
                self._lines[line] = _Line(self._limit if line is None else MOST_IN_LINE)
            heapq.heappush(self._lines[line].jobs, _Job(by, next(self._serial), self._clock.steady(), job))
        self._rings.put(None)
        self.relieve()

    def relieve(self) -> None:
        """Start workers if jobs wait for some: a few at once, and more where jobs have waited for long.

        Called with each turn of the heartbeat as well, so that a thread that could not be started is tried again.
        """
        with self._lock:
            limit = self._limit
            if self.relief_in() <= 0.0:
                limit, self._relieved_at = MOST_WORKERS, self._clock.steady()
            missing = max(0, min(self._missing(), limit - self._idle - self._busy))
            self._idle += missing
        for _ in range(missing):
            worker = threading.Thread(target=self._work, name=f"ddb-lease-worker-{next(self._names)}", daemon=True)
            try:
                worker.start()
            except RuntimeError:  # no more threads to be had for now: the others must do
                with self._lock:
                    self._idle -= 1
                _log.warning("no thread can be started to renew leases; it is tried again")

    def relief_in(self) -> float:
        """Seconds until jobs have waited for so long that there should be more workers; infinite where none waits."""
        with self._lock:
            if self._missing() <= 0 or self._idle + self._busy >= MOST_WORKERS:
                return math.inf
            waiting_since = min(line.jobs[0].since for line in list(self._lines.values()) if line.startable() > 0)
            return max(waiting_since, self._relieved_at) + WAITING_SECONDS - self._clock.steady()

    def _missing(self) -> int:
        return sum(line.startable() for line in list(self._lines.values())) - self._idle

    def _work(self) -> None:
        while True:
            self._rings.get()
            while self._do_next():
                pass
            with self._lock:
                if self._idle + self._busy > self._limit and self._missing() < 0:
                    self._idle -= 1
                    return  # it helped out while others were kept

    def _do_next(self) -> bool:
        with self._lock:
            taken = self._take()
            if taken is None:
                return False
            line, job = taken
            line.running += 1
            self._idle -= 1
            self._busy += 1
        try:
            job.do()
        except BaseException:  # noqa: BLE001 - a worker survives whatever its job raises
            _log.exception("a lease's background work failed; it is tried again when due")
        with self._lock:
            line.running -= 1
            self._idle += 1
            self._busy -= 1
        return True

    def _take(self) -> tuple[_Line, _Job] | None:
        for key, line in list(self._lines.items()):
            if line.startable() > 0:
                self._lines[key] = self._lines.pop(key)  # the others come first, next time
                return line, heapq.heappop(line.jobs)
            if not line.jobs and not line.running:
                del self._lines[key]
        return None


class Heartbeats:
    """Looks after all leases of a process."""

    def __init__(self, clock: Clock, workers: Workers) -> None:
        self.workers = workers
        self._clock = clock
        self._schedule = Schedule()
        self._lock = threading.RLock()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # reentrant, where an Event is not
        self._thread: threading.Thread | None = None
        self._planned = clock.steady()

    def add(self, beating: Beating) -> None:
        """Look after it from now on."""
        self._schedule.put(beating, self._clock.steady() + beating.due_in())
        self.ensure_running()
        self._bell.put(None)

    def drop(self, beating: Beating) -> None:
        """Look after it no more."""
        self._schedule.drop(beating)

    def reconsider(self, beating: Beating) -> None:
        """It may be due at another time now."""
        self._schedule.move(beating, self._clock.steady() + beating.due_in())
        self._bell.put(None)

    def reconsider_all(self) -> None:
        """All may be due at other times now."""
        for beating in self._schedule.all():
            self._schedule.move(beating, self._clock.steady() + beating.due_in())
        self._bell.put(None)

    def overslept(self) -> bool:
        """Whether the heartbeat thread should long have woken up: the process was not running."""
        return self._clock.steady() - self._planned > LATE_SECONDS

    def ensure_running(self) -> None:
        """Start the heartbeat thread, if there is none."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._planned = self._clock.steady()
                self._thread = threading.Thread(target=self._run, name="ddb-lease-heartbeat", daemon=True)
                self._thread.start()

    def turn(self, *, slept: bool) -> None:
        """Do all that is due now."""
        self.workers.relieve()
        for beating in self._schedule.due(self._clock.steady()):
            pause, entry = RECOVERY_SECONDS, self._schedule.entry(beating)
            try:
                beating.beat(slept=slept)
                pause = max(SHORTEST_SECONDS, beating.due_in())
            except BaseException:  # noqa: BLE001 - one lease's trouble is not the others'
                _log.exception("a heartbeat failed; it is tried again")
            # Unless a worker has rescheduled it meanwhile, who knows more.
            self._schedule.move(beating, self._clock.steady() + pause, unless_moved_from=entry)

    def nap(self) -> float:
        """Seconds to sleep before the next turn."""
        first = self._schedule.first()
        due_in = NAP_SECONDS if first is None else max(0.0, first - self._clock.steady())
        return min(NAP_SECONDS, due_in, self.workers.relief_in())

    def _run(self) -> None:
        while True:
            try:
                seconds = self.nap()
                self._planned = self._clock.steady() + seconds
                self._sleep(seconds)
                self.turn(slept=self.overslept())
            except BaseException:  # noqa: BLE001 - a heartbeat that dies quietly loses every lease
                _log.exception("the heartbeat thread met a defect, and goes on")
                self._sleep(LATE_SECONDS)

    def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._bell.get(timeout=seconds)
            while True:
                self._bell.get_nowait()
