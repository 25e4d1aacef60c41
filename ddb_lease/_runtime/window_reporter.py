"""The events of one sliding window: those of a rate, without bookings and policies.

Invariants:

- No decision depends on it: it only observes. Without an `on_event` there is none, and no event is made.
- An outage begins with a call that raises `StoreUnavailable`, and ends with the next one that the table decides.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from ddb_lease._protocol.messages import Answer, Request, ThrottledAnswer
from ddb_lease._runtime import process
from ddb_lease._runtime.event_calls import EventCalls
from ddb_lease._runtime.instrumentation import Observer, request_name
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.errors import StoreUnavailable
from ddb_lease.models import WindowDecision
from ddb_lease.rate_events import (
    Admitted,
    Available,
    Denied,
    OnRateEvent,
    RateEvent,
    RateThrottled,
    Unavailable,
)

Ended: TypeAlias = Callable[[WindowDecision], WindowDecision]
"""What a call tells how it ended; returns the same."""

_PERMIT: Final = "permits"
"""The name of the one limit of a window."""


class WindowReporter:
    """Reports the events of one window. Thread-safe.

    Args:
        name: The window's name.
        on_event: The user's callback.
        runtime: Its clock, and its threads for callbacks.
    """

    def __init__(self, name: str, on_event: OnRateEvent, *, runtime: Runtime) -> None:
        self._name = name
        self._clock = runtime.clock
        self._calls: EventCalls[RateEvent] = EventCalls(
            f"window {name!r}", on_event, runtime=runtime, kept=(Unavailable, Available)
        )
        self.after_fork_in_child()
        process.register(self)

    @contextlib.contextmanager
    def reporting(self) -> Iterator[Ended]:
        """Report how a call ends: call what this gives with it."""
        began = self._clock.steady()

        def ended(decision: WindowDecision) -> WindowDecision:
            self._answers()
            waited = self._clock.steady() - began
            if decision.allowed:
                self._calls.tell(Admitted(rate=self._name, key="", permits={_PERMIT: 1}, waited_seconds=waited))
            else:
                self._calls.tell(
                    Denied(
                        rate=self._name,
                        key="",
                        permits={_PERMIT: 1},
                        limit=_PERMIT,
                        retry_after=decision.retry_after,
                        waited_seconds=waited,
                    )
                )
            return decision

        try:
            yield ended
        except StoreUnavailable as error:
            self._fails(began, error)
            raise

    def observing(self, also: Observer) -> Observer:
        """An observer of a call's requests, which reports throttling."""

        def observe(request: Request, answer: Answer) -> None:
            also(request, answer)
            if isinstance(answer, ThrottledAnswer):
                operation = request_name(request)
                self._calls.tell(RateThrottled(rate=self._name, key="", operation=operation, limit=answer.limit))

        return observe

    def after_fork_in_child(self) -> None:
        """In a forked child: events that wait are the parent's."""
        self._lock = threading.RLock()
        self._failing_since: float | None = None
        self._calls.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: there is nothing to do."""

    def _fails(self, began: float, error: StoreUnavailable) -> None:
        with self._lock:
            if self._failing_since is None:
                self._failing_since = began
                self._calls.note(Unavailable(rate=self._name, on_unavailable="raise", cause=str(error)))
        self._calls.tell_noted()

    def _answers(self) -> None:
        with self._lock:
            since, self._failing_since = self._failing_since, None
            if since is not None:
                self._calls.note(Available(rate=self._name, seconds=self._clock.steady() - since))
        self._calls.tell_noted()


@contextlib.contextmanager
def unreported() -> Iterator[Ended]:
    """In place of `WindowReporter.reporting`, where nobody listens."""
    yield lambda decision: decision
