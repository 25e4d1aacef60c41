"""Contact of one limiter with the service: whether it answers, how long a decision waits for it, and what decides then.

Invariants:

- A decision waits for the service for its budget at most: for `patience` requests are sent (again), and the rest of the
  budget is for the pause and the request under way then.
- Only what the service did not answer makes an outage. Throttling, conflicts and refusals are answers; a request that
  is throttled for a whole budget is decided without the table all the same, by itself.
- Threads share it. Each transition is reported once.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Final

from ddb_lease._protocol.messages import Answer, Rejected, Unknown, Unsent
from ddb_lease._protocol.rates.contact import Contact
from ddb_lease._state.rates.local_book import LocalBook
from ddb_lease.models import OnUnavailable

SENDING_PART: Final = 0.8
"""Of the budget, requests apart: for so much of it they are sent again. The rest is the longest pause between two."""

TOLD_AFTER_SECONDS: Final = 1.0
"""Without a budget: after so long without an answer it counts as an outage, for events only."""

MOST_TRANSITIONS: Final = 100
"""Transitions that wait to be reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """An outage has begun."""

    cause: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An outage has ended, after so many seconds."""

    seconds: float


class ServiceContact:
    """The contact of one limiter of one process.

    Args:
        on_unavailable: What decides where the service does not answer in time.
        budget: Seconds for a decision; None: as long as the call takes.
        call_seconds: How long one request may take.
        share: Of the rate, for ``local``.

    Attributes:
        cause: Why the last request that had no answer had none; None: each was answered.
        local: What this process has admitted by itself.
        beside: The same of parents that are in other limiters, by their limiters' names.
        transitions: What is to be reported.
    """

    def __init__(
        self, *, on_unavailable: OnUnavailable, budget: float | None, call_seconds: float, share: float
    ) -> None:
        self.on_unavailable = on_unavailable
        self.budget = budget
        free = TOLD_AFTER_SECONDS if budget is None else budget - call_seconds
        self.patience = free if budget is None else free * SENDING_PART
        self.longest_pause = None if budget is None else free * (1 - SENDING_PART)
        self.cause: Exception | None = None
        self.local = LocalBook(share)
        self.beside: dict[str, LocalBook] = {}
        self.transitions: deque[Began | Ended] = deque(maxlen=MOST_TRANSITIONS)
        self._contact = Contact()
        self._lock = threading.RLock()
        self._prober: weakref.ref[object] | None = None

    @property
    def down(self) -> bool:
        """Whether this is an outage, and decisions do not wait for the service."""
        return self.budget is not None and self._contact.down

    @property
    def outage(self) -> Exception | None:
        """Why this is an outage: what the last request raised that had no answer. None: it is none."""
        return self.cause if self.down else None

    def asks_in(self, now: float) -> float:
        """Seconds until a caller may ask the service again; 0.0 if it may now."""
        contact = self._contact
        return max(0.0, contact.asks_at - now) if contact.down else 0.0

    def book_of(self, name: str, contact: ServiceContact | None) -> LocalBook:
        """The local book of a limiter in which a parent is: its own, if it decides by that too; else one kept here.

        Args:
            name: The limiter's name.
            contact: Its contact.
        """
        if contact is not None and contact.on_unavailable == "local":
            return contact.local
        with self._lock:
            return self.beside.setdefault(name, LocalBook(self.local.share))

    def may_ask(self, booking: object, *, now: float) -> bool:
        """Whether this caller asks the service: in an outage, one at a time does."""
        if not self.down:
            return True
        with self._lock:
            if self._prober is not None and self._prober() is booking:
                return True
            if self.budget is None or not self._contact.may_probe(now):
                return False
            self._contact = self._contact.probed(now, budget=self.budget)
            self._prober = weakref.ref(booking)
            return True

    def gives_up(self, *, since: float, now: float) -> bool:
        """Whether a call that had no answer since then stops asking."""
        return self.budget is not None and (self._contact.down or now - since >= self.patience)

    def note(self, answer: Answer | None, *, sent: float, now: float) -> None:
        """Note what came of a request, for all callers."""
        if isinstance(answer, Rejected) or (isinstance(answer, Unknown) and answer.raised_here):
            return  # it says nothing of the service
        if isinstance(answer, (Unsent, Unknown)):
            self._failed(answer.cause, sent=sent, now=now)
        else:
            self._answered(now)

    def after_fork_in_child(self) -> None:
        """In a forked child: make a new lock, and wait for no thread of the parent."""
        self._lock = threading.RLock()
        self._prober = None

    def _failed(self, cause: Exception, *, sent: float, now: float) -> None:
        with self._lock:
            before = self._contact
            self.cause = cause  # before there is an outage: others see that without the lock, and need its cause
            self._contact = before.unanswered(sent=sent, now=now, patience=self.patience)
            if self._contact.down and not before.down:
                self.transitions.append(Began(cause=cause))

    def _answered(self, now: float) -> None:
        with self._lock:
            before = self._contact
            self._contact = before.answered(now=now)
            self._prober = None
            if before.down and before.failing_since is not None:
                self.transitions.append(Ended(seconds=now - before.failing_since))
