"""The events of one limiter: turns its calls, and what comes of their requests, into events.

Invariants:

- No decision depends on it: it only observes. Without an `on_event` there is none, and no event is made.
- It reports on the calling thread, with no lock held.
- A change of policy, and the beginning and the end of an outage, are reported once, by whichever caller notices first.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

from ddb_lease._protocol.messages import Pause, ThrottledAnswer
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._protocol.rates.charging import NotBefore, Wanted, earliest_due
from ddb_lease._protocol.rates.records import Policy
from ddb_lease._protocol.rates.shown import shown_limits
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.event_calls import EventCalls
from ddb_lease._runtime.instrumentation import request_name
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease._state.rates.service_contact import Began, ServiceContact
from ddb_lease.models import DecidedBy
from ddb_lease.rate_events import (
    Admitted,
    Available,
    Booked,
    Denied,
    OnRateEvent,
    PolicyChanged,
    RateEvent,
    RateThrottled,
    Reserved,
    Unavailable,
)

Result = TypeVar("Result")


class RateReporter:
    """Reports the events of one limiter. Thread-safe.

    Args:
        state: Of the limiter.
        on_event: The user's callback.
        runtime: Its clock, and its threads for callbacks.
    """

    def __init__(self, state: LimiterState, on_event: OnRateEvent, *, runtime: Runtime) -> None:
        self._state = state
        self._calls: EventCalls[RateEvent] = EventCalls(
            f"rate {state.name!r}", on_event, runtime=runtime, kept=(Unavailable, Available)
        )
        self._lock = threading.RLock()
        self._rev: int | None = None

    def tell(self, event: RateEvent) -> None:
        """Report an event, now or behind those that wait: see `EventCalls`."""
        self._calls.tell(event)

    def decided(self, key: str, wanted: Wanted, *, allowed: bool, began: float | None, by: DecidedBy) -> None:
        """Report how a call ended.

        Args:
            key: Of which key permits were wanted.
            wanted: The permits.
            allowed: Whether it got them.
            began: When it began, on the steady clock; None: just now.
            by: Who decided.
        """
        waited = 0.0 if began is None else self._state.time.steady() - began
        permits = _counts(wanted)
        if allowed:
            kind = Reserved if wanted.reserved else Admitted
            self.tell(kind(rate=self._state.name, key=key, permits=permits, waited_seconds=waited, decided_by=by))
            return
        limit, retry_after = self._why_not(key, wanted)
        self.tell(
            Denied(
                rate=self._state.name,
                key=key,
                permits=permits,
                limit=limit,
                retry_after=retry_after,
                waited_seconds=waited,
                decided_by=by,
            )
        )

    def watch(self, operation: Operation[Result], key: str, booking: Booking | None = None) -> Operation[Result]:
        """The same operation; what it shows is reported.

        Args:
            operation: Of a call.
            key: Of which key.
            booking: The call's, if it wants permits.
        """
        answer: Any = None
        booked = False
        while True:
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            finally:
                self.report_changes()
            if not booked and booking is not None and isinstance(effect, Pause):
                booked = self._report_booked(key, booking)
            answer = yield effect
            if isinstance(answer, ThrottledAnswer) and not isinstance(effect, Pause):
                about = getattr(effect, "key", "")
                self.tell(
                    RateThrottled(rate=self._state.name, key=about, operation=request_name(effect), limit=answer.limit)  # type: ignore[arg-type] # `AtOnce` asks for no rate
                )

    def report_changes(self) -> None:
        """Report what has changed for all keys: the policy, and whether the service answers."""
        contact, policy = self._state.contact, self._state.policy
        if contact is not None and contact.transitions:
            self._note_contact(contact)
        if policy is not None and policy.rev != self._rev:
            self._note_policy(policy)
        self._calls.tell_noted()

    def after_fork_in_child(self) -> None:
        """In a forked child: events that wait are the parent's."""
        self._lock = threading.RLock()
        self._calls.after_fork_in_child()

    def _note_contact(self, contact: ServiceContact) -> None:
        name = self._state.name
        with self._lock:
            while contact.transitions:
                seen = contact.transitions.popleft()
                if isinstance(seen, Began):
                    cause = reason_text(seen.cause)
                    self._calls.note(Unavailable(rate=name, on_unavailable=contact.on_unavailable, cause=cause))
                else:
                    self._calls.note(Available(rate=name, seconds=seen.seconds))

    def _note_policy(self, policy: Policy) -> None:
        with self._lock:
            before, self._rev = self._rev, max(policy.rev, self._rev or policy.rev)
            if before is not None and before < policy.rev:
                self._calls.note(PolicyChanged(rate=self._state.name, limits=shown_limits(policy.limits)))

    def _report_booked(self, key: str, booking: Booking) -> bool:
        due, now = booking.due, self._state.rate_time.now_ns()
        if due is None or now is None:
            return False
        if due > now:
            self.tell(
                Booked(rate=self._state.name, key=key, permits=_counts(booking.wanted), due_in_seconds=(due - now) / NS)
            )
        return True

    def _why_not(self, key: str, wanted: Wanted) -> tuple[str, float]:
        """The limit that comes last, and in how many seconds the permits could be had, as far as is known."""
        state, now = self._state, self._state.rate_time.now_ns()
        policy, known = state.policy, state.book(key).known
        if now is None or policy is None or any(name not in policy.limits for name in wanted.limits):
            return "", 0.0
        due = earliest_due(policy, known, wanted, now=now)
        if isinstance(due, NotBefore):
            return due.limit, max(0, due.at - now) / NS
        return getattr(due, "limit", ""), 0.0


def _counts(wanted: Wanted) -> dict[str, int]:
    return {name: wanted.booked.get(name, 0) + wanted.reserved.get(name, 0) for name in wanted.limits}
