"""Heartbeats: liveness. One thread serves all leases of a process; `workers` do what may block.

Invariants:

- It knows when something is due, not what: no ownership rule, no request. It serves any `Scheduled` object.
- The heartbeat thread never does I/O and never calls user code, log handlers included, so one slow call delays no
  other lease. `workers` send requests, `callbacks` call user code.
- The threads that a lease needs exist before it does: if no more are to be had later, it is renewed all the same.
- It survives every exception, and is restarted if it is gone. After a fork the child starts with an empty schedule.
- A sleep is at most `NAP_SECONDS` long: a sleeping thread does not notice that the machine was suspended.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.workers import Workers
from ddb_lease._state import log
from ddb_lease._state.log import BackgroundThread
from ddb_lease._state.log import queued as _log
from ddb_lease._state.service_time import Clock

NAP_SECONDS = 1.0
"""The longest that the heartbeat thread sleeps at a time."""

LATE_SECONDS = 0.5
"""If the thread wakes this much later than planned, the process was not running."""

SHORTEST_SECONDS = 0.01
"""The shortest time between two turns for one lease, however urgent it is."""

RECOVERY_SECONDS = 0.5
"""The pause after a lease's heartbeat failed because of a bug."""

STALE_ENTRIES = 64
"""Stale entries are removed when the schedule has this many entries more than twice the number of leases."""


class RenewalGroup(Protocol):
    """Renews leases, several at a time. Compared by identity."""

    def ahead(self) -> float:
        """Seconds by which a lease of the group may be renewed early when another one is due."""
        ...

    def renew(self, leases: Sequence[Any]) -> None:
        """Start renewing leases of the group; does not block."""
        ...


class Scheduled(Protocol):
    """Something that is due at a time: a lease. Compared by identity."""

    @property
    def group(self) -> RenewalGroup:
        """The group that renews it."""
        ...

    def due_in(self) -> float:
        """Seconds until it is due, from now; infinite for never."""
        ...

    def beat(self, *, slept: bool) -> bool:
        """Do what is due, without blocking. `slept`: the process was not running when it became due.

        Returns:
            Whether it is to be renewed now, by its group.
        """
        ...


Entry: TypeAlias = tuple[float, int]
"""When something is due, and a serial number that no other entry has."""


class Schedule:
    """What is due when: a heap with lazy deletion. Thread-safe; calls no scheduled object while it holds its lock.

    An interrupt may strike between any two steps, on a user's thread. So the steps come in such an order that what was
    scheduled stays scheduled, what is half dropped can be dropped again, and no reader relies on a step that may lack.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Entries refer to objects by number, so that a stale one keeps no lease, and no bucket, from being collected.
        self._heap: list[Entry] = []
        self._by_serial: dict[int, Scheduled] = {}
        self._due: dict[Scheduled, Entry] = {}
        self._groups: dict[Scheduled, RenewalGroup] = {}
        self._members: dict[RenewalGroup, set[Scheduled]] = {}
        self._serial = itertools.count()

    def put(self, scheduled: Scheduled, due: float, *, group: RenewalGroup | None = None) -> None:
        """Schedule, or reschedule."""
        with self._lock:
            self._push(scheduled, due)
            if group is not None:
                self._groups[scheduled] = group
                self._members.setdefault(group, set()).add(scheduled)

    def entry(self, scheduled: Scheduled) -> Entry | None:
        """Its latest entry; None if it is not scheduled."""
        return self._due.get(scheduled)

    def move(self, scheduled: Scheduled, due: float, *, unless_moved_from: Entry | None = None) -> bool:
        """Reschedule what is still scheduled; if an entry is given, only while that is the latest.

        Returns:
            Whether it was rescheduled.
        """
        with self._lock:
            entry = self._due.get(scheduled)
            if entry is None or unless_moved_from not in {None, entry}:
                return False
            self._push(scheduled, due)
            return True

    def drop(self, scheduled: Scheduled) -> None:
        """Unschedule, if scheduled."""
        with self._lock:
            group = self._groups.get(scheduled)
            members = None if group is None else self._members.get(group)
            if group is not None and members is not None:
                members.discard(scheduled)
                if not members:
                    self._members.pop(group, None)
            self._groups.pop(scheduled, None)
            entry = self._due.get(scheduled)
            if entry is not None:
                self._by_serial.pop(entry[1], None)
                self._due.pop(scheduled, None)
            self._tidy()

    def all(self) -> list[Scheduled]:
        """All that is scheduled."""
        with self._lock:
            return list(self._due)

    def due(self, now: float) -> list[Scheduled]:
        """All that is due by now; it stays scheduled, to be moved."""
        found = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                entry = heapq.heappop(self._heap)
                scheduled = self._by_serial.get(entry[1])
                if scheduled is not None and self._due.get(scheduled) == entry:
                    found.append(scheduled)
                else:
                    self._by_serial.pop(entry[1], None)
        return found

    def due_between(self, now: float, until: float, *, of: RenewalGroup) -> list[Scheduled]:
        """All of a group that is due after `now`, up to `until`; it stays scheduled, to be moved."""
        with self._lock:
            entries = [(self._due.get(scheduled), scheduled) for scheduled in self._members.get(of, ())]
        found = [(entry, scheduled) for entry, scheduled in entries if entry is not None and now < entry[0] <= until]
        return [scheduled for _, scheduled in sorted(found, key=lambda entry: entry[0])]

    def first(self) -> float | None:
        """When the first one is due; may be too early if that one was moved."""
        with self._lock:
            return self._heap[0][0] if self._heap else None

    def _push(self, scheduled: Scheduled, due: float) -> None:
        before, entry = self._due.get(scheduled), (due, next(self._serial))
        self._by_serial[entry[1]] = scheduled
        heapq.heappush(self._heap, entry)
        self._due[scheduled] = entry
        if before is not None:
            self._by_serial.pop(before[1], None)
        self._tidy()

    def _tidy(self) -> None:
        # Dropping or moving leaves the old entry behind; that of a long lease would stay as long as the lease.
        if len(self._heap) > STALE_ENTRIES + 2 * len(self._due):
            heap = list(self._due.values())
            heapq.heapify(heap)
            self._heap = heap


@dataclass(eq=False)
class Naps:
    """The naps of one thread; any thread may ask, and ring.

    Attributes:
        planned: When the thread means to be awake, or meant to, by the steady clock.
        asleep_until: Until when nothing needs to wake it that is due later; infinite while it plans its next nap.
    """

    clock: Clock
    wakeup: Wakeup = field(default_factory=Wakeup)
    planned: float = field(init=False)
    asleep_until: float = field(init=False, default=math.inf)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """The thread starts now: it is not late."""
        self.planned = self.clock.steady()

    def plan(self) -> None:
        """The next nap is being planned: whatever is scheduled meanwhile ends it, as the plan may have missed it."""
        self.asleep_until = math.inf

    def sleep(self, seconds: float) -> None:
        """Sleep this long, or until rung."""
        self.planned = self.asleep_until = self.clock.steady() + seconds
        self.wakeup.pause(seconds)

    def recover(self) -> None:
        """Sleep after a defect, for long enough not to spin."""
        self.wakeup.pause(LATE_SECONDS)

    def ring(self, due: float) -> None:
        """Wake the thread if it would sleep past this: each needless wake costs the caller a thread switch.

        If it should have woken up already, the clock jumped while it slept.
        """
        if due < self.asleep_until or self.overslept():
            self.wakeup.wake()

    def overslept(self) -> bool:
        """Whether the thread is overdue by so much that the process was not running."""
        return self.clock.steady() - self.planned > LATE_SECONDS


class Running(Protocol):
    """A thread that was started, as `threading.Thread`."""

    def is_alive(self) -> bool:
        """Whether it is still running."""
        ...


def start_thread(run: Callable[[], None]) -> Running:
    """Start a heartbeat's thread, and before it the one that its messages need.

    Raises:
        RuntimeError: No thread can be started.
    """
    log.ensure_running()
    thread = BackgroundThread(target=run, name="ddb-lease-heartbeat")
    thread.start()
    return thread


class Heartbeats:
    """Serves all leases of a process.

    Attributes:
        workers: Send requests.
        callbacks: Call user code: lost-callbacks and `on_event`.

    Args:
        naps: How its thread sleeps.
        start: Starts its thread.
    """

    def __init__(
        self,
        clock: Clock,
        workers: Workers,
        callbacks: Workers | None = None,
        *,
        naps: Naps | None = None,
        start: Callable[[Callable[[], None]], Running] = start_thread,
    ) -> None:
        self.workers = workers
        self.callbacks = callbacks or Workers(clock, name="ddb-lease-callback")
        self._clock = clock
        self._schedule = Schedule()
        self._lock = threading.RLock()
        self._naps = naps or Naps(clock)
        self._start = start
        self._thread: Running | None = None

    def add(self, scheduled: Scheduled) -> None:
        """Serve it from now on.

        Raises:
            RuntimeError: A thread that it needs does not exist, and cannot be started.
        """
        due = self._clock.steady() + scheduled.due_in()
        self._schedule.put(scheduled, due, group=scheduled.group)
        self.ensure_running()
        self._naps.ring(due)

    def drop(self, scheduled: Scheduled) -> None:
        """Stop serving it."""
        self._schedule.drop(scheduled)

    def call_back(self, job: Callable[[], object], *, line: Hashable) -> None:
        """Call user code soon, on a thread for that. Starts no thread here: a signal handler may call this."""
        self.callbacks.submit(job, line=line, may_start=False)
        if self.callbacks.relief_in() < math.inf:
            self._naps.wakeup.wake()  # it must wait, unless the heartbeat starts another thread

    def reconsider(self, scheduled: Scheduled) -> None:
        """It may be due at another time now."""
        self._naps.ring(self._move(scheduled))

    def reconsider_all(self) -> None:
        """All may be due at other times now."""
        self._naps.ring(min(map(self._move, self._schedule.all()), default=math.inf))

    def overslept(self) -> bool:
        """Whether the heartbeat thread is overdue by so much that the process was not running."""
        return self._naps.overslept()

    def ensure_running(self) -> None:
        """Start the heartbeat thread, if there is none; before that, one thread for each of all else.

        They stay. So if no thread is to be had later, leases are renewed one after another all the same.

        Raises:
            RuntimeError: No thread can be started.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self.workers.ensure_one()
                self.callbacks.ensure_one()
                self._naps.start()
                self._thread = self._start(self._run)

    def turn(self, *, slept: bool) -> None:
        """Do all that is due now."""
        self.workers.relieve()
        self.callbacks.relieve()
        now = self._clock.steady()
        due = self._schedule.due(now)
        for group in {scheduled.group for scheduled in due}:
            if (ahead := _ahead(group)) > 0.0:
                due += self._schedule.due_between(now, now + ahead, of=group)
        for group, leases in self._beat(due, slept=slept).items():
            try:
                group.renew(leases)
            except BaseException:  # noqa: BLE001 - one group's trouble is not the others'
                _log.exception("a heartbeat failed; it will be retried")

    def nap(self) -> float:
        """Seconds to sleep before the next turn."""
        relief_in = min(self.workers.relief_in(), self.callbacks.relief_in())
        return min(NAP_SECONDS, max(0.0, self.due_in()), max(0.0, relief_in))

    def _beat(self, due: Sequence[Scheduled], *, slept: bool) -> dict[RenewalGroup, list[Scheduled]]:
        """Serve each; returns those to renew, by group."""
        to_renew: dict[RenewalGroup, list[Scheduled]] = {}
        for scheduled in due:
            pause, entry = RECOVERY_SECONDS, self._schedule.entry(scheduled)
            try:
                if scheduled.beat(slept=slept):
                    to_renew.setdefault(scheduled.group, []).append(scheduled)
                pause = max(SHORTEST_SECONDS, scheduled.due_in())
            except BaseException:  # noqa: BLE001 - one lease's trouble is not the others'
                _log.exception("a heartbeat failed; it will be retried")
            # Unless another thread, which knows more, has rescheduled it in the meantime; or dropped it before, and has
            # perhaps added it again.
            if entry is not None:
                self._schedule.move(scheduled, self._clock.steady() + pause, unless_moved_from=entry)
        return to_renew

    def due_in(self) -> float:
        """Seconds until something is due; infinity where nothing is scheduled."""
        first = self._schedule.first()
        return math.inf if first is None else first - self._clock.steady()

    def scheduled(self) -> list[Scheduled]:
        """All that is looked after."""
        return self._schedule.all()

    def _move(self, scheduled: Scheduled) -> float:
        """Reschedule it; returns when it is due, infinite if it is not scheduled."""
        # If another thread has moved it since we asked, ask again: the first answer may be out of date.
        while (entry := self._schedule.entry(scheduled)) is not None:
            due = self._clock.steady() + scheduled.due_in()
            if self._schedule.move(scheduled, due, unless_moved_from=entry):
                return due
        return math.inf

    def _run(self) -> None:
        while True:
            try:
                self._naps.plan()
                self._naps.sleep(self.nap())
            except BaseException:  # noqa: BLE001 - a heartbeat that dies quietly loses every lease
                _log.exception("the heartbeat thread raised, and continues")
                self._naps.recover()
            try:
                self.turn(slept=self.overslept())
            except BaseException:  # noqa: BLE001 - as above
                _log.exception("the heartbeat thread raised, and continues")
                self._naps.recover()


def _ahead(group: RenewalGroup) -> float:
    try:
        return group.ahead()
    except BaseException:  # noqa: BLE001 - it comes early for economy's sake only
        _log.exception("a heartbeat failed; what is due is still done")
        return 0.0
