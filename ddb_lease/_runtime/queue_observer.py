"""Watches one waiter of an ordered bucket, and reports its place to `on_event`.

Invariants: as in `instrumentation`: it only observes, and exists only where somebody listens. It finds the place in the
same answer by the same decision as the operation.
"""

from __future__ import annotations

from dataclasses import replace

from ddb_lease._protocol import queueing
from ddb_lease._protocol.messages import Answer, Request
from ddb_lease._protocol.tickets import LookAtQueue, PutTicket, QueueSeen, Ticket
from ddb_lease._runtime.instrumentation import EventReporter
from ddb_lease._state.bucket_state import BucketState
from ddb_lease.events import Waiting


class QueueObserver:
    """Watches one acquire.

    Args:
        reporter: Calls `on_event`.
        state: The bucket's state: it tells which tickets have expired, and which want too many slots.
        began: When the acquire began, on the steady clock.
    """

    def __init__(self, reporter: EventReporter, *, state: BucketState, began: float) -> None:
        self._reporter = reporter
        self._state = state
        self._began = began
        self._own: Ticket | None = None
        self._seen: QueueSeen | None = None
        self._told: tuple[int, bool] | None = None

    def observe(self, request: Request, answer: Answer) -> None:
        """Report the place whenever an answer shows another one."""
        if isinstance(request, PutTicket):
            self._own = request.ticket
        elif isinstance(request, LookAtQueue) and request.last_of is None and isinstance(answer, QueueSeen):
            before = self._seen.tickets if request.after is not None and self._seen is not None else ()
            self._seen = replace(answer, tickets=before + answer.tickets)
        else:
            return
        own, seen, time, counter = self._own, self._seen, self._state.time, self._state.hints.counter
        if own is None or seen is None or counter is None or not time.known:
            return
        stands = queueing.standing(
            seen.tickets, own, more=seen.more, now_ms=time.now_ms()[0], max_tokens=counter.max_tokens
        )
        if (stands.place, stands.exact) == self._told:
            return
        self._told = stands.place, stands.exact
        waited = time.steady() - self._began
        self._reporter.tell(
            Waiting(
                bucket=self._reporter.bucket,
                place=stands.place,
                exact=stands.exact,
                waited_seconds=waited,
                count=own.count,
                priority=own.priority,
                ticket=own.name,
            )
        )
