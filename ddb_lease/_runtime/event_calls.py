"""Calling the user's `on_event`: on which thread, in which order, and what becomes of what it raises.

Invariants:

- It is called with no lock held, on a thread of the user's; or the event is queued, and a thread for callbacks calls.
- A thread of the library's own never calls it, as it may hang. While events are queued, later ones are queued behind
  them, so that they keep their order.
- Events of two threads have no order, but for changes of one state (`note`): these are told one after the other.
- The queue is bounded. What it raises is logged, the first time, and reaches no caller; an interrupt passes through.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.log import in_background
from ddb_lease._state.log import queued as _log

AnEvent = TypeVar("AnEvent")

MOST_QUEUED = 10_000
"""The most events that wait for one `on_event`. Those that must not be missing wait all the same."""


class EventCalls(Generic[AnEvent]):
    """Calls one `on_event`. Thread-safe.

    Args:
        whose: Whose events these are, for the log: ``bucket 'nightly'``.
        on_event: The user's callback.
        runtime: Its heartbeat has threads for callbacks.
        kept: Kinds of events that are never dropped.
    """

    def __init__(
        self, whose: str, on_event: Callable[[AnEvent], object], *, runtime: Runtime, kept: tuple[type, ...] = ()
    ) -> None:
        self._whose = whose
        self._on_event = on_event
        self._runtime = runtime
        self._kept = kept
        self._complained = self._telling = self._told_here = self._telling_noted = False
        self.after_fork_in_child()

    def tell(self, event: AnEvent) -> None:
        """Report it: now, on a thread of the user's, unless earlier events wait; else behind them.

        An interrupt passes through; the first other exception of `on_event` is logged.
        """
        if in_background() or self._queued:
            self.queue(event)
        else:
            self._tell_now(event)

    def note(self, change: AnEvent) -> None:
        """Note a change of a state, for `tell_noted`. The state's lock is held: so changes have an order."""
        self._noted.append(change)

    def tell_noted(self) -> None:
        """Report the changes that were noted, in order: while one thread reports them, others leave theirs to it."""
        while self._noted:
            with self._lock:
                if self._telling_noted:
                    return
                self._telling_noted = True
            try:
                while self._noted:
                    self.tell(self._noted.popleft())
            finally:
                self._telling_noted = False

    def queue(self, event: AnEvent) -> None:
        """Report it soon, on a thread for callbacks."""
        with self._lock:
            if len(self._queued) >= MOST_QUEUED and not isinstance(event, self._kept):
                self._complain("on_event of %s is too slow: events are dropped; this is logged once")
                return
            self._queued.append(event)
            if self._telling:
                return
            self._telling = True
        try:
            self._runtime.heartbeat().call_back(self._tell_queued, line=self)
        except BaseException:
            self._telling = False  # interrupted: the next event starts it
            raise

    def after_fork_in_child(self) -> None:
        """In a forked child: what waits is the parent's, which reports it."""
        self._lock = threading.RLock()
        self._queued: deque[AnEvent] = deque()
        self._noted: deque[AnEvent] = deque()
        self._telling = self._told_here = self._telling_noted = False

    def _tell_queued(self) -> None:
        with self._lock:
            if self._told_here:
                return  # an interrupt came just when the other had been started
            self._told_here = True
        while True:
            with self._lock:
                if not self._queued:
                    self._telling = self._told_here = False
                    return
                event = self._queued[0]
            try:
                self._tell_now(event)
            except BaseException as error:  # noqa: BLE001 - the later events are told all the same
                self._complain("on_event of %s failed; later errors are not logged", error)
            self._queued.popleft()  # only now: an event that is told meanwhile comes after it

    def _tell_now(self, event: AnEvent) -> None:
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 - the user's own; it harms no lease and no permit
            self._complain("on_event of %s failed; later errors are not logged", error)

    def _complain(self, text: str, error: BaseException | None = None) -> None:
        if not self._complained:
            self._complained = True  # it may fail at every event: log it once
            _log.error(text, self._whose, exc_info=error)
