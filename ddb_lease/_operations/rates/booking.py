"""Booking: from "I want these permits" to using them, request by request.

Invariants:

- A charge is one conditional write, and nothing is read in order to decide. What to send is chosen by the item as last
  seen; a refused charge brings the item, and is planned anew.
- The first in a key's queue sends one charge at a time, for all who wait and may book now. Its answer says when their
  permits are due; each sleeps until then, and sends nothing more.
- An attempt with an unknown outcome that others wait for is not given up before `ATTEMPT_SECONDS`, whoever sends it.
- Permits that are booked far ahead are forgone, and booked anew, where a new policy, an override or a reset admits
  them earlier: see `using`.
- Who cannot be served within its timeout is told as soon as that is known. Nobody is told so whose permits another has
  booked meanwhile.
- A call with a `grace` keeps its place after its timeout where it only stood behind others, and nothing denies its
  permits: it goes on as a try. Its permits may be in the charge that is under way.
- A call that a signal handler's fork has doubled ends in the child with an error: its permits are its parent's.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Final

from ddb_lease._operations.rates.flights import FlightSender
from ddb_lease._operations.rates.memory import known_to_rely_on, looks_in, nothing_denies
from ddb_lease._operations.rates.policy import ensure_policy
from ddb_lease._operations.rates.preparing import (
    ATTEMPT_SECONDS,
    just_read,
    prepare_to_charge,
    read_before_refusing,
    require_usable,
    too_many,
)
from ddb_lease._operations.rates.settling import WAIT_FOR_ANOTHER_SECONDS, clear_overdue, leave_behind
from ddb_lease._operations.rates.using import PADDING_NS, until_used
from ddb_lease._operations.sync_time import never_reached
from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.outcomes import (
    Admission,
    Admitted,
    Booked,
    Busy,
    Denied,
    LostRace,
    OutOfTurn,
    Unavailable,
)
from ddb_lease._protocol.rates.batching import MOST_TOGETHER, Batch, Place, Wait, plan
from ddb_lease._protocol.rates.charging import (
    HeldBack,
    NeverEnough,
    NotBefore,
    StalePolicy,
    Wanted,
    earliest_due,
    limits_of,
    without_charges,
)
from ddb_lease._protocol.rates.records import KeyState, Policy
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._protocol.retry import LONGEST_DENIAL_SECONDS, Operation, RetryPolicy, admitting
from ddb_lease._state.rates.booking import Booking, Flight
from ddb_lease._state.rates.key_book import KeyBook, last_seen, wake
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease.errors import ConfigurationError

BRANCHES: Final = 6
"""Requests that one attempt may make, unknown answers apart. A charge of one limit needs two at most; one of several
limits may be refused again while others charge in between."""


LINGER_SECONDS: Final = 0.001
"""How long the first in the queue waits for others, where the last charge booked for more than wait now: those that it
served come again at once, or not soon."""

LINGER_WITHIN_SECONDS: Final = 0.01
"""For how long after a charge that is done."""

AHEAD_NS: Final = 20_000_000
"""How far ahead permits are taken where another process charged first: a few times what a request takes."""

OUTRUN_SECONDS: Final = 1.0
"""For how long after that."""


IN_FRONT: Final = 100
"""How many of those in front a waiter counts to see whether it can be served in time: each waiter does so."""

HELD_SECONDS: Final = 1.0
"""After how long it is tried again where reservations hold all there is."""


def take_permits(
    state: LimiterState, key: str, book: KeyBook, booking: Booking, *, process: str
) -> Operation[Admission]:
    """Get the permits that a caller wants, and wait until they are due.

    Args:
        state: The limiter's state.
        key: The key; empty for a limiter without keys.
        book: The key's book.
        booking: In its queue already.
        process: As `state.process` was before it joined.

    Returns:
        `Admitted`, or why not.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: The limiter was closed, the stored policy can never admit this, or this is a child that was
            forked amid the call.
    """
    tries = _Tries(state, key, book, booking, process)
    while True:
        outcome = yield from tries.run()
        if not isinstance(outcome, Booked):
            last: Admission = yield from _patience(state, book, booking).after(outcome, tries.run)
            outcome = last
        if not isinstance(outcome, Booked):
            with state.lock:  # who books for it does so under the lock, on another thread
                if booking.due is None:
                    if not (booking.grace and is_undecided(state, book, booking.wanted, outcome)):
                        return outcome
                    booking.go_on(now=state.time.steady())
                    continue
        if (yield from until_used(state, key, book, booking, process=process)):
            return Admitted()


def is_undecided(state: LimiterState, book: KeyBook, wanted: Wanted, outcome: Admission) -> bool:
    """Whether a call has ended without an answer to itself, and nothing known denies its permits."""
    return isinstance(outcome, (OutOfTurn, LostRace)) and nothing_denies(state, book, wanted)


def _patience(state: LimiterState, book: KeyBook, booking: Booking) -> RetryPolicy:
    contact = state.contact
    return admitting(
        steady=state.time.steady,
        deadline=booking.deadline,
        chance=state.chance,
        patient=booking.patient,
        give_up=_gives_up(state, book, booking),
        longest_pause=math.inf if contact is None or contact.longest_pause is None else contact.longest_pause,
        looks_in=lambda: looks_in(state, book),
    )


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


class _Tries:
    """The tries of one call."""

    def __init__(self, state: LimiterState, key: str, book: KeyBook, booking: Booking, process: str) -> None:
        self._state = state
        self._key = key
        self._book = book
        self._booking = booking
        self._process = process
        self._sender = FlightSender(state, key, book, booking)

    def run(self) -> Operation[Admission]:
        """One try: from the permits in hand, or with one attempt at a charge."""
        state, book, booking = self._state, self._book, self._booking
        if book.spares is not None and (now := state.rate_time.now_ns()) is not None:
            with state.lock:
                dealt = book.deal(now=now, steady=state.time.steady())
            wake(dealt, but=booking)
        if booking.due is not None:
            return Booked(due=booking.due)
        began, contact = state.time.steady(), state.contact
        with state.lock:
            mine = book.my_turn(booking, now=began)
        require_usable(state, self._process)  # in a forked child, nobody stands in front, and nobody would wake it
        outage = None if contact is None else contact.outage
        if contact is not None and outage is not None and not (mine and contact.may_ask(booking, now=began)):
            return Unavailable(cause=outage)
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
            if booking.due is not None:
                return  # just now, by another caller: the attempt under way is that of who is first now
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
        wake(others, but=booking)

    def _behind_others(self) -> Admission:
        """What can be told without sending, as others stand in front."""
        state, book, booking = self._state, self._book, self._booking
        now, policy = state.rate_time.now_ns(), state.policy
        with state.lock:
            trouble = book.trouble
            known = None
            if now is not None and policy is not None and book.flight is None:
                # A try does not wait until those in front look again: by what they know, they have all there is.
                relied = known_to_rely_on(policy, book, booking.wanted, now=now)
                waits = booking.patient or trouble is not None
                known = relied if waits else last_seen(book)
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
        failure = yield from prepare_to_charge(
            state, give_up_at=self._gives_up_at(), budget_ends=self._budget_ends, wake=booking.wake
        )
        if failure is not None:
            return failure
        give_up_at = self._gives_up_at()
        if book.flight is None and self._others_come():
            yield Pause(seconds=LINGER_SECONDS, wakeable=False)
        for branch in range(BRANCHES):
            if booking.due is not None:
                return Booked(due=booking.due)
            yield from self._clear_the_way(give_up_at, again=branch > 0)
            step = self._plan()
            outcome: Admission | StalePolicy | None
            match step:
                case Flight():
                    outcome = yield from self._sender.send(step, give_up_at)
                case NeverEnough():
                    if just_read(state, book):
                        raise too_many(step, rate=state.name)
                    outcome = yield from read_before_refusing(state, self._key, give_up_at=give_up_at)
                case _:
                    outcome = step
            if isinstance(outcome, StalePolicy):
                shown = 0 if book.known is None else book.known.rev
                outcome = yield from ensure_policy(
                    state, newer=True, shown=shown, deadline=give_up_at, wake=booking.wake
                )
            if outcome is not None:
                return outcome
        return LostRace()

    def _clear_the_way(self, give_up_at: float, *, again: bool) -> Operation[None]:
        """Before a charge is planned: sweep what is overdue, let others settle first, and read a policy that is old."""
        state, book = self._state, self._book
        kept = book.kept  # read once: another thread may learn the item just now. A tuple has no holds
        if book.ledger is not None or (isinstance(kept, KeyState) and kept.holds):
            yield from clear_overdue(state, self._key, book, deadline=give_up_at)
            if self._booking.wanted.reserved and book.ledger is not None and book.ledger.settlers:
                yield Pause(seconds=WAIT_FOR_ANOTHER_SECONDS, wakeable=True)
            again = True
        if again:  # the last answer may have taken long
            yield from ensure_policy(state, deadline=give_up_at, wake=self._booking.wake)

    def _gives_up_at(self) -> float:
        """Until when one attempt is sent again, on the steady clock."""
        return min(self._booking.deadline, self._state.time.steady() + ATTEMPT_SECONDS, self._budget_ends())

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
        policy, now = state.policy, state.rate_time.known_now_ns()
        if policy is None:
            raise ConfigurationError("no policy: a defect of this library")
        with state.lock:
            if self._booking.due is not None:  # just now, by another caller
                return Booked(due=self._booking.due)
            if book.flight is not None and book.flight.uncertain:
                return book.flight
            self._require_possible(policy)
            steady = state.time.steady()
            known = known_to_rely_on(policy, book, self._booking.wanted, now=now)
            most = sum(limit.burst for limit in limits_of(policy, known).values())
            waiting, places = book.places(min(most, MOST_TOGETHER), now=steady)
            require_usable(state, self._process)  # in a child that was forked meanwhile, nobody waits
            step = plan(policy, known, places, now=now, prefetch=self._prefetch(policy, places))
            match step:
                case Batch():
                    batch = tuple((weakref.ref(one), one.wanted) for one in waiting[: step.size])
                    before = book.flight
                    book.flight = flight = Flight(
                        # Never the id of another plan: a late copy of that one would pass for a charge of this one.
                        attempt=f"{state.chance.getrandbits(64):016x}",
                        batch=batch,
                        wanted=step.wanted,
                        horizon=step.horizon,
                        planned_at=now,
                        refusals=before.refusals if before else 0,
                    )
                    self._sender.plan(flight, policy, known, now=now)
                    return flight
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

    def _require_possible(self, policy: Policy) -> None:
        missing = [name for name in self._booking.wanted.limits if name not in policy.limits]
        if missing:
            raise ConfigurationError(
                f"the stored policy of rate {self._state.name!r} has no limit {missing[0]!r}: it has "
                f"{', '.join(sorted(policy.limits))}"
            )


def _give_up(book: KeyBook, now: int | None) -> None:
    """No attempt is under way any more; if one was carried out all the same, what it holds is looked for later."""
    flight, book.flight = book.flight, None
    if flight is not None and flight.uncertain and flight.wanted.reserved:
        leave_behind(book, flight.sent, now or 0)


def _sum(wanted: list[Wanted]) -> Wanted:
    total: dict[str, int] = {}
    for one in wanted:
        for permits in (one.booked, one.reserved):
            for name, count in permits.items():
                total[name] = total.get(name, 0) + count
    return Wanted(booked=total)


def _denied(at: int, now: int) -> Denied:
    return Denied(retry_in=(max(0, at - now) + PADDING_NS) / NS)
