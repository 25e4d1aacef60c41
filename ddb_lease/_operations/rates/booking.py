"""Booking: from "I want these permits" to using them, request by request.

Invariants:

- A charge is one conditional write, and nothing is read in order to decide. What to send is chosen by the item as last
  seen; a refused charge brings the item, and is planned anew.
- The first in a key's queue sends one charge at a time, for all who wait and may book now. Its answer says when their
  permits are due; each sleeps until then, and sends nothing more.
- An attempt has one id for all its sendings, and charges the same permits for the same callers each time. If the item
  that refused it shows the id, an earlier sending was charged: it counts once, and its permits are due by the item as
  it is then, which is the later time.
- An attempt that is given up with an unknown outcome was not booked. If it was charged, its permits are forgone. While
  others wait for it, it is not given up before `ATTEMPT_SECONDS`, whoever sends it.
- Who cannot be served within its timeout is told as soon as that is known.
- A call that a signal handler's fork has doubled ends in the child with an error: its permits are its parent's.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any, Final

from ddb_lease._operations.rates.policy import ensure_policy
from ddb_lease._operations.rates.settling import WAIT_FOR_ANOTHER_SECONDS, clear_overdue, enter
from ddb_lease._operations.resend import UNANSWERED, send_until
from ddb_lease._operations.sync_time import confirm, never_reached, without_time
from ddb_lease._protocol.messages import Conflict, Pause, Rejected, ThrottledAnswer, Unknown, Unsent
from ddb_lease._protocol.outcomes import (
    Admission,
    Admitted,
    Booked,
    Busy,
    Denied,
    LostRace,
    OutOfTurn,
    Unavailable,
    failure_of,
)
from ddb_lease._protocol.rates.batching import MOST_TOGETHER, Batch, Place, Wait, plan
from ddb_lease._protocol.rates.charging import (
    REMEMBERED,
    Attempt,
    HeldBack,
    NeverEnough,
    NotBefore,
    StalePolicy,
    Wanted,
    due_times,
    earliest_due,
    is_charged,
    limits_of,
    propose,
    remembered_until,
    without_charges,
)
from ddb_lease._protocol.rates.messages import Charge, KeyIs, KeyRefused, KeyWritten, ReadKey
from ddb_lease._protocol.rates.records import KeyState, Policy
from ddb_lease._protocol.rates.validation import NS, SINGLE
from ddb_lease._protocol.retry import LONGEST_DENIAL_SECONDS, Operation, admitting, resending
from ddb_lease._state.rates.hold_ledger import left_behind
from ddb_lease._state.rates.key_book import Booking, Flight, KeyBook
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease._state.rates.pace import Pace
from ddb_lease._state.rates.use_gate import UseGate
from ddb_lease.errors import ConfigurationError, StoreUnavailable

BRANCHES: Final = 6
"""Requests that one attempt may make, unknown answers apart. A charge of one limit needs two at most; one of several
limits may be refused again while others charge in between."""

ATTEMPT_SECONDS: Final = 5.0
"""How long an attempt with an unknown outcome is sent again."""

TRIES_WHEN_UNKNOWN: Final = 6
"""How often one attempt is sent in all while its answers are lost."""

SLACK_NS: Final = 10_000_000
"""How much later than necessary a refused charge of several limits is proposed; twice as much after each refusal."""

LINGER_SECONDS: Final = 0.001
"""How long the first in the queue waits for others, where the last charge booked for more than wait now: those that it
served come again at once, or not soon."""

LINGER_WITHIN_SECONDS: Final = 0.01
"""For how long after a charge that is done."""

AHEAD_NS: Final = 20_000_000
"""How far ahead permits are taken where another process charged first: a few times what a request takes."""

OUTRUN_SECONDS: Final = 1.0
"""For how long after that."""

PREFETCHED_PARTS: Final = 1_000
"""Into how many parts prefetched permits are split at most, each due with its last permit: a rate of bytes may have
millions of them."""

IN_FRONT: Final = 100
"""How many of those in front a waiter counts to see whether it can be served in time: each waiter does so."""

HELD_SECONDS: Final = 1.0
"""After how long it is tried again where reservations hold all there is."""

HELD_AHEAD_NS: Final = 2_000_000_000
"""How much later than expected a reservation may be due: others may charge just before. A hold's time counts from then
on, so with the whole horizon, holds of dead processes would stay for so much longer."""

_NO_ANSWER: Final = StoreUnavailable("the service did not answer")

_PADDING_NS: Final = 1_000
"""Added to a wait, as a pause that ends a moment too soon would be followed by another."""


def book(state: LimiterState, key: str, book: KeyBook, booking: Booking) -> Operation[Admission]:
    """Get the permits that a caller wants, and wait until they are due.

    Args:
        state: The limiter's state.
        key: The key; empty for a limiter without keys.
        book: The key's book.
        booking: In its queue already.

    Returns:
        `Admitted`, or why not.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: The limiter was closed, or the stored policy can never admit this.
    """
    tries, process = _Tries(state, key, book, booking), state.process
    outcome = yield from tries.run()
    if not isinstance(outcome, Booked):
        contact = state.contact
        policy = admitting(
            steady=state.time.steady,
            deadline=booking.deadline,
            chance=state.chance,
            patient=booking.patient,
            give_up=_gives_up(state, book, booking),
            longest_pause=math.inf if contact is None or contact.longest_pause is None else contact.longest_pause,
        )
        last: Admission = yield from policy.after(outcome, tries.run)
        outcome = last
    if isinstance(outcome, Booked):
        yield from _until_used(state, book, booking, process)
        return Admitted()
    return outcome


def _gives_up(state: LimiterState, book: KeyBook, booking: Booking) -> Callable[[Admission], bool]:
    """When a call stops asking: where the service was never reached, and where the call's budget is used up."""
    never, contact = never_reached(state.time, since=booking.began), state.contact

    def give_up(outcome: Admission) -> bool:
        if never(outcome):
            return True
        if contact is None or not isinstance(outcome, (Busy, Unavailable)):
            return False
        now = state.time.steady()
        since = now if book.failing_since is None else max(book.failing_since, booking.began)
        return contact.gives_up(since=since, now=now)

    return give_up


def known_denial(state: LimiterState, book: KeyBook, wanted: Wanted, *, now: int) -> NotBefore | HeldBack | None:
    """Why permits cannot be had now, by memory alone; None: ask the table."""
    policy, known = state.policy, book.known
    if policy is None or known is None:
        return None
    denial = earliest_due(policy, known, wanted, now=now)
    if isinstance(denial, NotBefore):
        return denial if denial.at > now and _remembered(policy, known, book.known_at, denial, now) else None
    return None


def known_to_rely_on(policy: Policy, book: KeyBook, wanted: Wanted, *, now: int) -> KeyState | None:
    """The item as last seen, where that is still to be relied on; what is left of it where only the table can tell."""
    known = book.known
    if known is None:
        return None
    denial = earliest_due(policy, known, wanted, now=now)
    if isinstance(denial, NotBefore) and denial.at > now and not _remembered(policy, known, book.known_at, denial, now):
        return without_charges(known)
    return known


def _remembered(policy: Policy, known: KeyState, known_at: int, denial: NotBefore, now: int) -> bool:
    return now < remembered_until(denial, known, limits_of(policy, known), now=known_at)


def _until_used(state: LimiterState, book: KeyBook, booking: Booking, process: str) -> Operation[None]:
    """Wait until booked permits are due, and let them pass the gate. The booking is then without permits: used."""
    while True:
        state.require_usable(process)
        now, due = state.rate_time.now_ns(), booking.due
        if due is None or now is None:
            raise ConfigurationError("permits were used twice: a defect of this library")
        wait = due - now
        if wait <= 0:
            with state.lock:
                wait = _pass(state, book, booking, now=now)
                woken = book.used(booking) if wait == 0 else []
                if wait == 0 and book.pace is not None:
                    book.pace.note(max(booking.wanted.booked.values(), default=0), now=state.time.steady())
            _wake(woken, but=booking)
            if wait == 0:
                return
        yield Pause(seconds=(wait + _PADDING_NS) / NS, wakeable=True)


def _pass(state: LimiterState, book: KeyBook, booking: Booking, *, now: int) -> int:
    """Let permits that are due pass the gate, in the order of their due times; returns how long they still wait."""
    wait = book.waits_for_others(booking, now=now)
    if wait:
        return wait
    gate = book.gate = book.gate or UseGate()
    limits = state.limits if state.policy is None else limits_of(state.policy, book.known)
    wait = gate.wait_ns(booking.wanted, limits, now=round(state.time.steady() * NS))
    booking.comes_at = now + wait
    return wait


class _Tries:
    """The tries of one call."""

    def __init__(self, state: LimiterState, key: str, book: KeyBook, booking: Booking) -> None:
        self._state = state
        self._key = key
        self._book = book
        self._booking = booking
        self._process = state.process
        self._sent_at = 0

    def run(self) -> Operation[Admission]:
        """One try: from the permits in hand, or with one attempt at a charge."""
        state, book, booking = self._state, self._book, self._booking
        state.require_usable(self._process)
        now = state.rate_time.now_ns()
        if now is not None:
            with state.lock:
                dealt = book.deal(now=now, steady=state.time.steady())
            _wake(dealt, but=booking)
        if booking.due is not None:
            return Booked(due=booking.due)
        began, contact = state.time.steady(), state.contact
        with state.lock:
            mine = book.my_turn(booking, now=began)
        if contact is not None and contact.down and not (mine and contact.may_ask(booking, now=began)):
            return Unavailable(cause=contact.cause or _NO_ANSWER)
        if not mine:
            return self._behind_others()
        outcome = yield from self._at_the_front()
        if booking.due is not None:  # by whom took over, where we were overdue
            return Booked(due=booking.due)
        self._note(outcome, began)
        return outcome

    def _is_awaited(self, flight: Flight | None) -> bool:
        """Whether an attempt may have been charged for others who wait: the next of them sends it again."""
        now = self._state.rate_time.now_ns()
        if flight is None or not flight.uncertain or now is None or now - flight.planned_at > ATTEMPT_SECONDS * NS:
            return False
        return any(one is not self._booking and self._book.awaits(one) for one in (ref() for ref, _ in flight.batch))

    def _note(self, outcome: Admission, began: float) -> None:
        """Note for others how a try of the first in the queue ended, and wake those that it concerns."""
        state, book, booking = self._state, self._book, self._booking
        with state.lock:
            if not self._is_awaited(book.flight):
                _give_up(book, state.rate_time.now_ns())
            if isinstance(outcome, (Busy, Unavailable)):
                book.trouble = outcome.cause
                book.failing_since = began if book.failing_since is None else book.failing_since
            else:
                book.failing_since = None
            if isinstance(outcome, Denied) and booking.patient:
                book.rests(booking, until=state.time.steady() + min(outcome.retry_in, LONGEST_DENIAL_SECONDS))
            others = book.others()
        _wake(others, but=booking)

    def _behind_others(self) -> Admission:
        """What can be told without sending, as others stand in front."""
        state, book, booking = self._state, self._book, self._booking
        now, policy = state.rate_time.now_ns(), state.policy
        with state.lock:
            trouble = book.trouble
            known = None
            if now is not None and policy is not None and book.flight is None:
                known = known_to_rely_on(policy, book, booking.wanted, now=now)
            if now is not None and policy is not None and known is not None:
                in_front = book.in_front_of(booking, most=IN_FRONT)
                wanted = _sum([*(other.wanted for other in in_front), booking.wanted])
                due = earliest_due(policy, known, wanted, now=now)
                left = booking.place(now=state.time.steady()).left
                if isinstance(due, (HeldBack, NeverEnough)) and not booking.patient:
                    return _denied(now + 1, now)
                if isinstance(due, NeverEnough):  # together; by itself it is not served any earlier
                    due = earliest_due(policy, known, booking.wanted, now=now)
                if isinstance(due, NotBefore) and due.at > now + left:
                    return _denied(due.at, now)
        return OutOfTurn() if booking.patient or trouble is None else Unavailable(cause=trouble)

    def _at_the_front(self) -> Operation[Admission]:
        state, book, booking = self._state, self._book, self._booking
        give_up_at = min(booking.deadline, state.time.steady() + ATTEMPT_SECONDS, self._budget_ends())
        failure = yield from prepare_to_charge(state, give_up_at, self._budget_ends())
        if failure is not None:
            return failure
        if book.flight is None and self._others_come():
            yield Pause(seconds=LINGER_SECONDS, wakeable=False)
        for branch in range(BRANCHES):
            if booking.due is not None:
                return Booked(due=booking.due)
            yield from self._clear_the_way(give_up_at, again=branch > 0)
            state.require_usable(self._process)
            step = self._plan()
            outcome: Admission | StalePolicy | None
            match step:
                case Flight():
                    outcome = yield from self._fly(step, give_up_at)
                case NeverEnough():
                    outcome = yield from _look_for_override(
                        state, self._key, booking.wanted, refused=step, give_up_at=give_up_at
                    )
                case _:
                    outcome = step
            if isinstance(outcome, StalePolicy):
                shown = 0 if book.known is None else book.known.rev
                outcome = yield from ensure_policy(state, newer=True, shown=shown, deadline=give_up_at)
            if outcome is not None:
                return outcome
        return LostRace()

    def _clear_the_way(self, give_up_at: float, *, again: bool) -> Operation[None]:
        """Before a charge is planned: read a policy that is old, sweep what is overdue, and let others settle first."""
        state, book, known = self._state, self._book, self._book.known
        if again:  # the last answer may have taken long
            yield from ensure_policy(state, deadline=give_up_at)
        if book.ledger is None and (known is None or not known.holds):
            return
        yield from clear_overdue(state, self._key, book, deadline=give_up_at)
        if self._booking.wanted.reserved and book.ledger is not None and book.ledger.settlers:
            yield Pause(seconds=WAIT_FOR_ANOTHER_SECONDS, wakeable=True)

    def _budget_ends(self) -> float:
        """Until when requests are sent again, on the steady clock, by the budget of a decision."""
        contact, since = self._state.contact, self._book.failing_since
        if contact is None or contact.budget is None:
            return math.inf
        now = self._state.time.steady()
        if contact.down:
            return now  # this call is the probe: one answer is enough
        return contact.patience + (now if since is None else max(since, self._booking.began))

    def _others_come(self) -> bool:
        book = self._book
        lately = self._state.time.steady() - book.last_end < LINGER_WITHIN_SECONDS
        with self._state.lock:
            return lately and 1 < book.last_size > len(book.waiting(book.last_size))

    def _plan(self) -> Flight | Admission | StalePolicy | NeverEnough:
        """The charge to send: one that another caller left behind, or a new one; or why none."""
        state, book = self._state, self._book
        policy, now = state.policy, _reliable(state)
        if policy is None:
            raise ConfigurationError("no policy: a defect of this library")
        with state.lock:
            if self._booking.due is not None:  # just now, by another caller
                return Booked(due=self._booking.due)
            if book.flight is not None and book.flight.uncertain:
                return book.flight
            self._require_possible(policy)
            steady = state.time.steady()
            most = sum(limit.burst for limit in limits_of(policy, book.known).values())
            places = [booking.place(now=steady) for booking in book.waiting(min(most, MOST_TOGETHER))]
            step = plan(policy, self._known(policy, now), places, now=now, prefetch=self._prefetch(policy, places))
            match step:
                case Batch():
                    batch = tuple((weakref.ref(one), one.wanted) for one in book.waiting(step.size))
                    before = book.flight
                    book.flight = Flight(
                        # Never the id of another plan: a late copy of that one would pass for a charge of this one.
                        attempt=f"{state.chance.getrandbits(64):016x}",
                        batch=batch,
                        wanted=step.wanted,
                        horizon=step.horizon,
                        planned_at=now,
                        refusals=before.refusals if before else 0,
                    )
                    return book.flight
                case Wait() | NotBefore():
                    return Denied(retry_in=step.seconds) if isinstance(step, Wait) else _denied(step.at, now)
                case HeldBack():
                    book.doubted, book.known = book.known, without_charges(book.known)  # the table shows what came back
                    return Denied(retry_in=HELD_SECONDS / 2, spread=HELD_SECONDS)
                case StalePolicy() | NeverEnough():
                    return step

    def _prefetch(self, policy: Policy, places: list[Place]) -> int:
        """How many permits to take at least: as set, and some more where guesses of the branch went wrong lately.

        That happens where several processes together want a little less than a fast rate: `tat` is then about now, and
        whoever charged last was a moment faster. Some permits more put `tat` far enough ahead for all of them; this
        process uses them next. They are never more than it uses in half a second: what it does not use is lost to all,
        and then `tat` is ahead because of that, guesses go wrong again, and a rate that nobody needs is used up.
        """
        state, book = self._state, self._book
        steady = state.time.steady()
        if steady - book.outrun_at > OUTRUN_SECONDS or len(policy.limits) > 1 or book.pace is None:
            return state.prefetch
        (limit,) = policy.limits.values()
        wanted = sum(sum(place.wanted.booked.values()) for place in places)
        more = min(AHEAD_NS // limit.interval, limit.burst // 8, int(book.pace.a_second(now=steady) / 2))
        return max(state.prefetch, wanted + more) if more else state.prefetch

    def _known(self, policy: Policy, now: int) -> KeyState | None:
        return known_to_rely_on(policy, self._book, self._booking.wanted, now=now)

    def _require_possible(self, policy: Policy) -> None:
        missing = [name for name in self._booking.wanted.limits if name not in policy.limits]
        if missing:
            raise ConfigurationError(
                f"the stored policy of rate {self._state.name!r} has no limit {missing[0]!r}: it has "
                f"{', '.join(sorted(policy.limits))}"
            )

    def _fly(self, flight: Flight, give_up_at: float) -> Operation[Admission | StalePolicy | None]:
        """Send a flight until its outcome is known; None: it was refused, and is to be planned anew."""
        state, book = self._state, self._book
        answer = yield from self._send_until_known(flight, give_up_at)
        now = _reliable(state)
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
            case NotBefore() | HeldBack() | NeverEnough() | StalePolicy():
                with state.lock:
                    if flight.uncertain and flight.wanted.reserved:
                        book.ledger = left_behind(book.ledger, now=now)
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
            book.learn(found, now=now, since=self._sent_at, process=state.process)
            steady = state.time.steady()
            woken = book.book(flight, dues[:size], list(zip(dues[size:], more, strict=True)), now=steady)
            # If those for whom it was charged are gone, their permits are for those who wait now.
            woken += book.deal(now=now, steady=steady)
            settlers = [] if book.ledger is None else book.ledger.settlers[:1]
        _wake(woken, but=self._booking)
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
        if state.closed:
            raise state.closed_error()
        policy, now = state.policy, _reliable(state)
        if policy is None:
            raise ConfigurationError("no policy: a defect of this library")
        with state.lock:
            known = self._known(policy, now)
            horizon = max(0, flight.horizon - (now - flight.planned_at))
            if flight.wanted.reserved:
                horizon = min(horizon, _expected_wait(policy, known, flight.wanted, now) + HELD_AHEAD_NS)
            proposal = propose(
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
            if not isinstance(proposal, Charge):
                return proposal
            flight.sent.append(proposal)
            before, flight.uncertain = flight.uncertain, True  # if we are interrupted now, nobody knows
            self._sent_at = now
        answer: Any = yield proposal
        with state.lock:
            if book.flight is flight:
                flight.uncertain = before or isinstance(answer, Unknown)
        return answer


def _give_up(book: KeyBook, now: int | None) -> None:
    """No attempt is under way any more; if one was carried out all the same, what it holds is looked for later."""
    flight, book.flight = book.flight, None
    if flight is not None and flight.uncertain and flight.wanted.reserved:
        book.ledger = left_behind(book.ledger, now=now or 0)


def prepare_to_charge(
    state: LimiterState, give_up_at: float, budget_ends: float
) -> Operation[Busy | Unavailable | None]:
    """Have a policy and the time; returns why we have not."""
    failure = yield from ensure_policy(state, deadline=give_up_at)
    if failure is not None:
        return failure
    if state.rate_time.now_ns() is None:
        failed = yield from confirm(state.time, until=budget_ends)
        if state.rate_time.now_ns() is None:
            return without_time(failed)
    if state.closed:
        raise state.closed_error()
    return None


def _expected_wait(policy: Policy, known: KeyState | None, wanted: Wanted, now: int) -> int:
    due = earliest_due(policy, known, wanted, now=now)
    return due.at - now if isinstance(due, NotBefore) else 0


def _look_for_override(
    state: LimiterState, key: str, wanted: Wanted, *, refused: NeverEnough, give_up_at: float
) -> Operation[Admission | None]:
    """Read the key, as it may have an override that allows more; None: it was read just now.

    Raises:
        ConfigurationError: What was read shows that the limits never allow it.
    """
    policy, book, now = state.policy, state.book(key), _reliable(state)
    if now - book.known_at < REMEMBERED and policy is not None:
        due = earliest_due(policy, book.known, wanted, now=now)
        if isinstance(due, NeverEnough):
            what = "n" if refused.limit == SINGLE else refused.limit
            raise ConfigurationError(
                f"{what} must be a whole number from 1 to {refused.burst:,} (the burst of the stored policy's limit "
                f"{refused.limit!r}, or of the key's override)"
            )
    return (yield from look_at_key(state, key, give_up_at=give_up_at))


def look_at_key(state: LimiterState, key: str, *, give_up_at: float) -> Operation[Busy | Unavailable | None]:
    """Read a key and learn what its item shows; returns why it could not be read, if it could not."""
    since = state.rate_time.now_ns()
    answer, _ = yield from send_until(
        ReadKey(key=key),
        again=UNANSWERED,
        time=state.time,
        chance=state.chance,
        tries=TRIES_WHEN_UNKNOWN,
        deadline=give_up_at,
    )
    if not isinstance(answer, KeyIs):
        return failure_of(answer)
    with state.lock:
        state.book(key).learn(answer.state, now=_reliable(state), since=since, process=state.process)
    return None


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


def _sum(wanted: list[Wanted]) -> Wanted:
    total: dict[str, int] = {}
    for one in wanted:
        for permits in (one.booked, one.reserved):
            for name, count in permits.items():
                total[name] = total.get(name, 0) + count
    return Wanted(booked=total)


def _wake(bookings: list[Booking], *, but: Booking) -> None:
    for booking in bookings:
        if booking is not but:
            booking.wake()


def _reliable(state: LimiterState) -> int:
    now = state.rate_time.now_ns()
    if now is None:
        raise ConfigurationError("the time is unknown again: a defect of this library")
    return now


def _denied(at: int, now: int) -> Denied:
    return Denied(retry_in=(max(0, at - now) + _PADDING_NS) / NS)
