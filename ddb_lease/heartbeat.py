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
import queue
import threading
from collections.abc import Callable
from typing import Protocol

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

STUCK_SECONDS = 2.0
"""A worker busy with one job for longer is taken to be stuck, and another may be started in its place."""

WORKERS = 8
"""Workers at most that are not stuck."""

MOST_WORKERS = 64
"""Workers at most, stuck ones included: in an outage, every call hangs until its timeout."""


class Beating(Protocol):
    """Something that must be looked after in time. Compared by identity."""

    def due_in(self) -> float:
        """Seconds until it is due, from now; infinite for never."""
        ...

    def beat(self, *, slept: bool) -> None:
        """Do what is due, without blocking. `slept`: the process was not running when it became due."""
        ...


class Schedule:
    """Who is due when: a heap with lazy deletion. Thread-safe; calls nobody under its lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._heap: list[tuple[float, int, Beating]] = []
        self._due: dict[Beating, tuple[float, int]] = {}
        self._serial = itertools.count()

    def put(self, beating: Beating, due: float) -> None:
        """Schedule, or reschedule."""
        with self._lock:
            self._push(beating, due)

    def move(self, beating: Beating, due: float) -> None:
        """Reschedule what is still scheduled."""
        with self._lock:
            if beating in self._due:
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


class Workers:
    """A few daemon threads for what may block; none of them keeps the interpreter from exiting."""

    def __init__(self, clock: Clock, *, limit: int = WORKERS) -> None:
        self._clock = clock
        self._limit = limit
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._busy: dict[int, float] = {}
        self._idle = 0
        self._names = itertools.count(1)

    def submit(self, job: Callable[[], object]) -> None:
        """Have a job done soon by some worker; what it raises is logged."""
        self._jobs.put(job)
        self.relieve()

    def relieve(self) -> None:
        """Start a worker if jobs wait for one: at once for a new job, and later where workers got stuck.

        Called with each turn of the heartbeat as well, so that a thread that could not be started is tried again.
        """
        with self._lock:
            now = self._clock.steady()
            working = sum(now - since < STUCK_SECONDS for since in self._busy.values())
            wanted = self._idle < self._jobs.qsize() and self._idle + working < self._limit
            if not wanted or self._idle + len(self._busy) >= MOST_WORKERS:
                return
            self._idle += 1
        worker = threading.Thread(target=self._work, name=f"ddb-lease-worker-{next(self._names)}", daemon=True)
        try:
            worker.start()
        except RuntimeError:  # no more threads to be had for now: the others must do
            with self._lock:
                self._idle -= 1
            _log.warning("no thread can be started to renew leases; it is tried again")

    def _work(self) -> None:
        me = threading.get_ident()
        while True:
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
                self._busy[me] = self._clock.steady()
            try:
                job()
            except BaseException:  # noqa: BLE001 - a worker survives whatever its job raises
                _log.exception("a lease's background work failed; it is tried again when due")
            with self._lock:
                since = self._busy.pop(me)
                if self._clock.steady() - since >= STUCK_SECONDS and self._idle + len(self._busy) >= self._limit:
                    return  # replaced while it was stuck
                self._idle += 1


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
            pause = RECOVERY_SECONDS
            try:
                beating.beat(slept=slept)
                pause = max(SHORTEST_SECONDS, beating.due_in())
            except BaseException:  # noqa: BLE001 - one lease's trouble is not the others'
                _log.exception("a heartbeat failed; it is tried again")
            self._schedule.move(beating, self._clock.steady() + pause)

    def nap(self) -> float:
        """Seconds to sleep before the next turn."""
        first = self._schedule.first()
        if first is None:
            return NAP_SECONDS
        return min(NAP_SECONDS, max(0.0, first - self._clock.steady()))

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
