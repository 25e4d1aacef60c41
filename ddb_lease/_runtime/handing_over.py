"""Handing a lease over: the renewal after which its holder is none any more.

Invariants:

- The holder stops believing when the renewal is answered, before anybody can have the token. Whatever else comes of it
  leaves the lease held.
- It is sent as a renewal by hand is, by `renewer`; the thread that hands over holds `serial`.
"""

from __future__ import annotations

import contextvars
from typing import Final

from ddb_lease._numbers import as_seconds, shown
from ddb_lease._protocol.lease_state import Renewal, State
from ddb_lease._protocol.messages import Answer, Request
from ddb_lease._protocol.records import LONGEST_LEASE_MS
from ddb_lease._runtime.attempts import Attempts
from ddb_lease._runtime.instrumentation import Observer
from ddb_lease._runtime.renewer import BatchCall, PlannedRenewal, RenewalAnswers
from ddb_lease.errors import ConfigurationError, LossReason

HANDED_OVER_TEXT: Final = "{owner} (handed over)"
"""The owner that people read until the lease is adopted."""


SHORTEST_SECONDS: Final = 0.001
"""Times in the table are whole milliseconds."""


class HandOver:
    """One attempt to hand a lease over: what the renewer works with (`renewer.Renewable`).

    Args:
        lease: The lease's attempts.
        within_ms: How long the lease must not expire at least.
        owner: Who hands it over.

    Attributes:
        until: The expiry that was asked for, in ms; 0 if nothing was sent.
    """

    def __init__(self, lease: Attempts, *, within_ms: int, owner: str) -> None:
        self.id = lease.id
        self.slots = lease.slots
        self.belief = lease.belief
        self.batch: BatchCall | None = None
        self.until = 0
        self._renewal: Renewal | None = None
        self._lease = lease
        self._within_ms = within_ms
        self._owner = HANDED_OVER_TEXT.format(owner=owner)

    @property
    def done(self) -> bool:
        """Whether this attempt has handed the lease over."""
        belief = self.belief
        return belief.state is State.HANDED_OVER and belief.handed_over_by is self._renewal

    @property
    def observe(self) -> Observer | None:
        """Called with each of its requests and the answer; None if nobody listens."""
        events = self._lease.events
        return None if events is None else events.observe

    @property
    def surroundings(self) -> contextvars.Context:
        """The context variables of its acquire."""
        return self._lease.surroundings

    def wait_for_worker(self) -> None:
        """Nothing: it is never in a queue."""

    def moves(self) -> None:
        """Nothing: the caller waits for it."""

    def settled(self, request: Request, answer: Answer) -> None:
        """A read of the service's time that it waited for was answered."""
        if self.observe is not None:
            self.observe(request, answer)

    def begin(self) -> bool:
        """Whether it may be sent: the caller has made sure."""
        return True

    def plan(self) -> PlannedRenewal | None:
        """The requests to send now; None if the lease is not held, or the service's time is too uncertain."""
        planned = self._lease.plan(within_ms=self._within_ms, owner=self._owner)
        self._renewal = None if planned is None else planned.renewal
        self.until = 0 if planned is None else planned.renewal.expires_at
        return planned

    def apply(self, planned: PlannedRenewal, answers: RenewalAnswers) -> LossReason | None:
        """Take note of the answers; returns why the lease is lost, if they lose it. Calls no user code."""
        if self.observe is not None:
            for request, each in zip(planned.requests, answers.answers, strict=False):  # the rest was not sent
                self.observe(request, each)
        with self._lease.lock:
            return self.belief.end_hand_over(planned.renewal, answers.decisive, self._lease.steady())

    def end(self) -> None:
        """Nothing: the caller releases what it took."""

    def drop(self) -> None:
        """Nothing: it is never in a queue."""

    def after(self) -> None:
        """Report what happened, with no lock held."""
        self._lease.after()


def checked_within(within: object) -> int:
    """For how long a lease is handed over, in ms.

    Raises:
        ConfigurationError: It is no time of a millisecond up to a year.
    """
    seconds = as_seconds(within)
    if not SHORTEST_SECONDS <= seconds <= LONGEST_LEASE_MS / 1000:
        raise ConfigurationError(f"within must be a number of seconds above 0, up to a year, not {shown(within)}")
    return round(seconds * 1000)
