"""Instrumentation: turns requests and answers into events, and calls the user's `on_event` with them.

Invariants:

- No decision depends on it: it only observes, and catches what `on_event` raises.
- Without an `on_event` none of these objects exists: callers have None instead, and make no event.
- `on_event` is called with no lock held. Code that holds a lock adds events to `PendingEvents` and reports them later.
- A thread of the library's own never calls `on_event`, which may hang: it queues the event (see `EventCalls`).
- It reads no clock: times come in as arguments.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from ddb_lease._protocol import messages
from ddb_lease._protocol.messages import (
    Adopt,
    Answer,
    BringBack,
    Claim,
    Conflict,
    Mint,
    Refused,
    Release,
    Renew,
    Request,
    Retire,
    Take,
)
from ddb_lease._protocol.records import Grant, Slot
from ddb_lease._protocol.tickets import PutTicket
from ddb_lease._runtime.event_calls import EventCalls
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.events import Acquired, Contended, Event, HandedOver, Lost, OnEvent, Released, ReMinted, Throttled

Observer: TypeAlias = Callable[[Request, Answer], None]
"""Called with each request that was sent and its answer."""


def ignore(request: Request, answer: Answer) -> None:
    """An observer that does nothing."""


def both(one: Observer, other: Observer) -> Observer:
    """An observer that calls two."""

    def observe(request: Request, answer: Answer) -> None:
        one(request, answer)
        other(request, answer)

    return observe


class EventReporter:
    """Reports one bucket's events. Thread-safe.

    Args:
        bucket: The bucket's name.
        on_event: The user's callback.
        runtime: Its heartbeat has threads for callbacks.
    """

    def __init__(self, bucket: str, on_event: OnEvent, *, runtime: Runtime) -> None:
        self.bucket = bucket
        self._calls = EventCalls(f"bucket {bucket!r}", on_event, runtime=runtime, kept=(Released, Lost, HandedOver))
        self.after_fork_in_child()

    def tell(self, event: Event) -> None:
        """Report it, now or behind those that wait: see `EventCalls`."""
        self._calls.tell(event)

    def queue(self, event: Event) -> None:
        """Report it soon, on a thread for callbacks."""
        self._calls.queue(event)

    def observe(self, request: Request, answer: Answer) -> None:
        """Report what an answer shows."""
        event = noticed(self.bucket, request, answer)
        if event is not None:
            self.tell(event)

    def begin(self, event: Acquired) -> None:
        """Report a lease's beginning; its end is reported only after that."""
        self._held.add(event.lease_id)
        self.tell(event)

    def end(self, event: Released | Lost | HandedOver) -> None:
        """Report its end, once. A claim that was released before any caller had it has no end to report."""
        try:
            self._held.remove(event.lease_id)
        except KeyError:
            return
        if isinstance(event, Lost):
            self.queue(event)  # whatever thread noticed it, with whatever lock it holds
        else:
            self.tell(event)

    def after_fork_in_child(self) -> None:
        """In a forked child: the leases belong to the parent, which reports them."""
        self._held: set[str] = set()  # each call on it is atomic
        self._calls.after_fork_in_child()


class AcquireObserver:
    """Watches one acquire.

    Args:
        reporter: Calls `on_event`.
        now: When it began, on the steady clock.
    """

    def __init__(self, reporter: EventReporter, *, now: float) -> None:
        self._reporter = reporter
        self._began = now
        self._requests = 0
        self._ticket = ""
        self._last: Claim | Mint | Take | None = None

    def observe(self, request: Request, answer: Answer) -> None:
        """Count a request, and report what its answer shows."""
        self._requests += 1
        if isinstance(request, (Claim, Mint, Take)):
            self._last = request
        elif isinstance(request, PutTicket):
            self._ticket = request.ticket.name
        self._reporter.observe(request, answer)

    def won(self, grant: Grant, *, now: float) -> None:
        """Report that the last claim won, and what it minted again."""
        bucket, last = self._reporter.bucket, self._last
        if isinstance(last, (Mint, Take)) and last.re_mint:
            for slot in last.mints if isinstance(last, Take) else (last.slot,):
                self._reporter.tell(ReMinted(bucket=bucket, slot=slot))
        self._reporter.begin(
            Acquired(
                bucket=bucket,
                lease_id=grant.lease_id,
                slots=grant.slots,
                fence=grant.fence,
                waited_seconds=now - self._began,
                requests=self._requests,
                ticket=self._ticket,
            )
        )


class PendingEvents:
    """One lease's events, kept while a lock is held. Any thread may add or report them; each event is reported once.

    Args:
        reporter: Calls `on_event`.
        planned: When the first renewal is planned, on the steady clock.
    """

    def __init__(self, reporter: EventReporter, *, planned: float) -> None:
        self.reporter = reporter
        self.planned = planned
        self._noted: deque[Event] = deque()

    def observe(self, request: Request, answer: Answer) -> None:
        """Add what an answer shows."""
        event = noticed(self.reporter.bucket, request, answer)
        if event is not None:
            self.note(event)

    def note(self, event: Event) -> None:
        """Add an event, to be reported later."""
        self._noted.append(event)

    def tell(self, *, queued: bool = False) -> None:
        """Report what was added.

        Args:
            queued: Whether only to queue it. Otherwise `on_event` may be called: no lock may be held.
        """
        while True:
            try:
                event = self._noted.popleft()
            except IndexError:
                return
            if queued:
                self.reporter.queue(event)
            else:
                self.reporter.tell(event)


def noticed(bucket: str, request: Request, answer: Answer) -> Contended | Throttled | None:
    """What an answer shows about other clients, or about the service."""
    match answer:
        case messages.ThrottledAnswer(limit=limit):
            return Throttled(bucket=bucket, operation=request_name(request), limit=limit)
        case Conflict():
            return Contended(bucket=bucket, operation=request_name(request), slots=_slots(request), reason="conflict")
        case Refused() if isinstance(request, (Claim, Mint, Take)):
            taken = _taken(request, answer)
            if not taken:
                return None
            return Contended(bucket=bucket, operation=request_name(request), slots=taken, reason="taken")
        case _:
            return None


def request_name(request: Request) -> str:
    """What an event calls a request: ``bring_back`` for `BringBack`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(request).__name__).lower()


def _slots(request: Request) -> tuple[int, ...]:
    match request:
        case Take() | Adopt() | Retire():
            return request.slots
        case Claim() | Mint() | BringBack() | Renew() | Release():
            return (request.slot,)
        case _:
            return ()


def _taken(request: Claim | Mint | Take, answer: Refused) -> tuple[int, ...]:
    """The slots that another client took; not those that our earlier sending took, nor any gone or retired."""
    found = answer.found if isinstance(request, Take) else {request.slot: answer.slot}
    return tuple(
        number
        for number, slot in sorted(found.items())
        if slot is not None and not slot.retired and not _is_ours(slot, request)
    )


def _is_ours(slot: Slot, request: Claim | Mint | Take) -> bool:
    return slot.lease is not None and slot.lease.lease_id == request.lease.lease_id
