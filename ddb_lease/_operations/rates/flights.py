"""One attempt at a charge: sent until its outcome is known; then its permits are dealt out.

Invariants:

- An attempt has one id for all its sendings, and charges the same permits for the same callers each time. If the item
  that refused it shows the id, an earlier sending was charged: it counts once, and its permits are due by the item as
  it is then, which is the later time.
- An attempt that is given up with an unknown outcome was not booked. If it was charged, its permits are forgone.
- Whoever sends may be served meanwhile by another thread, and another is then first: it plans no other attempt while
  this one may be charged and is not dealt out; and what was planned anew is not sent any more.
"""

from __future__ import annotations

from typing import Any, Final

from ddb_lease._operations.rates.memory import known_to_rely_on
from ddb_lease._operations.rates.preparing import TRIES_WHEN_UNKNOWN
from ddb_lease._operations.rates.settling import enter, leave_behind
from ddb_lease._protocol.messages import Conflict, Rejected, ThrottledAnswer, Unknown, Unsent
from ddb_lease._protocol.outcomes import Admission, Booked, Busy, failure_of
from ddb_lease._protocol.rates.charging import (
    Attempt,
    Denial,
    HeldBack,
    NeverEnough,
    NotBefore,
    StalePolicy,
    Wanted,
    due_times,
    earliest_due,
    is_charged,
    propose,
)
from ddb_lease._protocol.rates.messages import Charge, KeyRefused, KeyWritten
from ddb_lease._protocol.rates.records import KeyState, Policy
from ddb_lease._protocol.retry import Operation, resending
from ddb_lease._state.rates.booking import Booking, Flight
from ddb_lease._state.rates.key_book import KeyBook, wake
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease._state.rates.pace import Pace
from ddb_lease._state.rates.remembered_key import Remembered
from ddb_lease.errors import ConfigurationError

SLACK_NS: Final = 10_000_000
"""How much later than necessary a refused charge of several limits is proposed; twice as much after each refusal."""

PREFETCHED_PARTS: Final = 1_000
"""Into how many parts prefetched permits are split at most, each due with its last permit: a rate of bytes may have
millions of them."""

HELD_AHEAD_NS: Final = 2_000_000_000
"""How much later than expected a reservation may be due: others may charge just before. A hold's time counts from then
on, so with the whole horizon, holds of dead processes would stay for so much longer."""


class FlightSender:
    """Sends the attempts of one call.

    Args:
        state: The limiter's state.
        key: The key.
        book: The key's book.
        booking: The caller that sends, in its queue.
    """

    def __init__(self, state: LimiterState, key: str, book: KeyBook, booking: Booking) -> None:
        self._state = state
        self._key = key
        self._book = book
        self._booking = booking
        self._planned: tuple[Policy, Remembered, Charge | Denial] | None = None  # by what, and what
        self._sent_at = 0

    def plan(self, flight: Flight, policy: Policy, known: KeyState | None, *, now: int) -> None:
        """Plan the first sending of a new flight by what it was itself planned by. The limiter's lock is held."""
        self._planned = policy, self._book.kept, self._propose(flight, policy, known, now)

    def send(self, flight: Flight, give_up_at: float) -> Operation[Admission | StalePolicy | None]:
        """Send a flight until its outcome is known; None: it was refused, and is to be planned anew."""
        state, book = self._state, self._book
        answer = yield from self._send_until_known(flight, give_up_at)
        now = state.rate_time.known_now_ns()
        match answer:
            case KeyWritten():
                return self._booked(flight, flight.sent[-1:], answer.state, now)
            case KeyRefused() if flight.sent and is_charged(flight.sent[-1], answer.state):
                return self._booked(flight, flight.sent, answer.state, now)
            case KeyRefused():
                with state.lock:
                    if book.known is not None and flight.sent and flight.sent[-1].limits[0].branch == "idle":
                        book.outrun_at, book.pace = state.time.steady(), book.pace or Pace()
                    book.learn(answer.state, now=now, since=self._sent_at, process=state.process)
                    book.trouble = None  # the table answered
                    flight.uncertain = False
                    flight.refusals += 1
                return None
            case None | NotBefore() | HeldBack() | NeverEnough() | StalePolicy():
                with state.lock:
                    if flight.uncertain and flight.wanted.reserved:
                        leave_behind(book, flight.sent, now)
                    flight.uncertain = False  # if an earlier sending was charged, its permits are forgone
                return None
            case Conflict() | ThrottledAnswer():
                return Busy(cause=answer.cause)
            case Unsent() | Unknown():
                return failure_of(answer)
            case Rejected():
                raise answer.error
            case _:
                raise ConfigurationError(f"unexpected answer: {answer}")

    def _booked(self, flight: Flight, sent: list[Charge], found: KeyState | None, now: int) -> Admission | None:
        state, book = self._state, self._book
        if found is None:
            raise ConfigurationError("a charge left no item: a defect of this library")
        counts, more, interval = _shares(flight)
        dues = due_times(sent, found, [count * interval for count in (*counts, *more)])
        size = len(counts)
        with state.lock:
            if flight.wanted.reserved:
                enter(book, flight, sent, dues[0])
            woken = book.charged(
                flight,
                found,
                dues[:size],
                list(zip(dues[size:], more, strict=True)),
                since=self._sent_at,
                now=now,
                steady=state.time.steady(),
                process=state.process,
            )
            settlers = [] if book.ledger is None else book.ledger.settlers[:1]
        wake(woken, but=self._booking)
        for settler in settlers:
            settler.wake()
        return None if self._booking.due is None else Booked(due=self._booking.due)

    def _send_until_known(self, flight: Flight, give_up_at: float) -> Operation[Any]:
        answer = yield from self._send(flight)
        if not _is_undecided(flight, answer):
            return answer
        policy = resending(
            again=lambda answer: self._booking.due is None and _is_undecided(flight, answer),
            steady=self._state.time.steady,
            deadline=give_up_at,
            chance=self._state.chance,
            tries=TRIES_WHEN_UNKNOWN,
        )
        return (yield from policy.after(answer, lambda: self._send(flight)))

    def _send(self, flight: Flight) -> Operation[Any]:
        """Send it once, as of now."""
        state, book = self._state, self._book
        planned, self._planned = self._planned, None
        if state.closed:
            raise state.closed_error()
        with state.lock:
            if flight.shown is not None:
                return KeyRefused(state=flight.shown)  # as the table would have answered
            if book.flight is not flight:
                return None  # just now, another caller was served, and has planned another in its place
            # It is planned anew where it is sent again, and where another caller has just learned more.
            policy, known, proposal = planned or (None, None, None)
            if proposal is None or policy is not state.policy or known is not book.kept:
                proposal = self._plan_again(flight)
            if not isinstance(proposal, Charge):
                return proposal
            flight.sent.append(proposal)
            before, flight.uncertain = flight.uncertain, True  # if we are interrupted now, nobody knows
        answer: Any = yield proposal
        with state.lock:
            if book.flight is flight:
                # What is written is still to be dealt out: until then, nobody may plan another in its place.
                flight.uncertain = before or isinstance(answer, (Unknown, KeyWritten))
        return answer

    def _plan_again(self, flight: Flight) -> Charge | Denial:
        """What to send for it by what is known now."""
        policy, now = self._state.policy, self._state.rate_time.known_now_ns()
        if policy is None:
            raise ConfigurationError("no policy: a defect of this library")
        known = known_to_rely_on(policy, self._book, self._booking.wanted, now=now)
        return self._propose(flight, policy, known, now)

    def _propose(self, flight: Flight, policy: Policy, known: KeyState | None, now: int) -> Charge | Denial:
        state = self._state
        horizon = max(0, flight.horizon - (now - flight.planned_at))
        if flight.wanted.reserved:
            horizon = min(horizon, _expected_wait(policy, known, flight.wanted, now) + HELD_AHEAD_NS)
        self._sent_at = now
        return propose(
            policy,
            known,
            flight.wanted,
            attempt=Attempt(
                key=self._key,
                id=flight.attempt,
                lane=state.lane,
                process=state.process,
                settle_by=now + horizon + flight.wanted.settle_within,
            ),
            now=now,
            horizon=horizon,
            retention=round(state.retention),
            slack=SLACK_NS << min(flight.refusals - 1, 6) if flight.refusals else 0,
        )


def _expected_wait(policy: Policy, known: KeyState | None, wanted: Wanted, now: int) -> int:
    due = earliest_due(policy, known, wanted, now=now)
    return due.at - now if isinstance(due, NotBefore) else 0


def _is_undecided(flight: Flight, answer: object) -> bool:
    # Once it may have been charged, any other attempt would be a second charge.
    unanswered = isinstance(answer, (Conflict, ThrottledAnswer, Unsent))
    return isinstance(answer, Unknown) or (unanswered and flight.uncertain)


def _shares(flight: Flight) -> tuple[list[int], list[int], int]:
    """How many permits each caller gets, the same of each part of those that are prefetched, and what a permit costs.

    By what was sent last: since it was planned, the policy may have changed. For several limits, nothing is prefetched,
    and all are due together: one permit for each caller stands for all of its own.
    """
    names = flight.wanted.limits
    if len(names) != 1 or flight.wanted.reserved:
        return [1] * len(flight.batch), [], 0
    (name,) = names
    part = next(part for part in flight.sent[-1].limits if part.name == name)
    counts = [wanted.booked[name] for _, wanted in flight.batch]
    more = flight.wanted.booked[name] - sum(counts)
    each = max(1, -(-more // PREFETCHED_PARTS))
    parts = [each] * (more // each) + ([more % each] if more % each else [])
    return counts, parts, part.charged // flight.wanted.booked[name]
