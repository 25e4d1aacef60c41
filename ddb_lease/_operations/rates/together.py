"""Permits of a key and of its parents: all of them, or none.

Invariants:

- One transaction charges all of them, as of the time at which all are due: other charges in between may refuse it, and
  nothing moves it. It is planned by the items as last seen; a refused one brings the items, and is planned anew.
- A transaction whose outcome is unknown is sent again as it was, with its token: it happens once.
- Each caller sends for itself, and there is no order among callers. A transaction may conflict with other writes of the
  same items; it is then tried again after a pause.
- A hold that is overdue and cannot be swept keeps nobody from charging: it counts as held, and is tried again later.
- Policies, and sweeps, are each limiter's own business, and are sent to its own store: see `prepare`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ddb_lease._operations.rates.booking import BRANCHES, HELD_SECONDS
from ddb_lease._operations.rates.flights import SLACK_NS
from ddb_lease._operations.rates.memory import known_to_rely_on, looks_in
from ddb_lease._operations.rates.policy import MEANWHILE_SECONDS, ensure_policy
from ddb_lease._operations.rates.preparing import (
    ATTEMPT_SECONDS,
    just_read,
    prepare_to_charge,
    read_before_refusing,
    require_usable,
    too_many,
)
from ddb_lease._operations.rates.settling import clear_overdue, held_by, hold, leave_behind
from ddb_lease._operations.rates.using import PADDING_NS
from ddb_lease._operations.resend import UNANSWERED, UNKNOWN, send_until
from ddb_lease._operations.sync_time import never_reached
from ddb_lease._protocol.messages import Done, Pause
from ddb_lease._protocol.outcomes import Admission, Admitted, Booked, Busy, Denied, LostRace, Unavailable, failure_of
from ddb_lease._protocol.rates.batching import Batch, Place, Wait, plan
from ddb_lease._protocol.rates.charging import (
    Attempt,
    HeldBack,
    KeyWanted,
    NeverEnough,
    NotBefore,
    StalePolicy,
    Wanted,
    earliest_due,
    is_charged,
    propose_together,
    without_charges,
)
from ddb_lease._protocol.rates.messages import Charge, ChargeTogether, TogetherRefused
from ddb_lease._protocol.rates.records import KeyState
from ddb_lease._protocol.rates.settling import SWEPT_AFTER
from ddb_lease._protocol.rates.together import after_others
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._protocol.retry import Operation, admitting
from ddb_lease._state.rates.callers import Callers
from ddb_lease._state.rates.hold_ledger import Held
from ddb_lease._state.rates.key_book import KeyBook
from ddb_lease._state.rates.limiter_state import POLICY_SECONDS, LimiterState
from ddb_lease.errors import ConfigurationError

MOST_PREPARED: Final = 8
"""How often one call prepares before it pauses: a policy may change again, and there may be more holds than are swept
at once."""

SWEEPS_AGAIN_SECONDS: Final = 1.0
"""After how long a call tries again to sweep holds that it could not sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A key, or one of its parents.

    Attributes:
        state: Its limiter's state.
        key: The key; empty for a limiter without keys.
        book: The key's book.
        wanted: Permits of its limits.
    """

    state: LimiterState
    key: str
    book: KeyBook
    wanted: Wanted


def _nobody() -> None:
    """Wakes nobody."""


@dataclass(eq=False, kw_only=True)
class Call:
    """One caller.

    Attributes:
        members: The key first, then its parents; all of one table.
        began: When the call began, on the steady clock.
        deadline: When it gives up.
        patient: Whether it waits.
        failing_since: When the first of the tries in a row began that have failed; None if the last one did not.
        held: What it holds of each member, once that is charged.
        handed_over: Whether somebody has got its reservation.
        sending: The charge that reserves, and that is not known yet.
        wake: Ends its pause, from any thread.
        process: The process that it is a call of.
        prepared: How often in a row it was prepared, and then not charged.
        sweeps_at: When holds that are overdue are a reason to prepare again, on the steady clock.
    """

    members: tuple[Member, ...]
    began: float
    deadline: float
    patient: bool
    failing_since: float | None = None
    held: list[Held] = field(default_factory=list)
    handed_over: bool = False
    sending: ChargeTogether | None = None
    prepared: int = 0
    sweeps_at: float = -math.inf
    wake: Callable[[], None] = _nobody
    process: str = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.members[0].state.process

    def join(self) -> None:
        """Join the callers of each member."""
        for member in self.members:
            with member.state.lock:
                member.book.callers = member.book.callers or Callers()
                member.book.callers.join(self)

    def leave(self) -> None:
        """End it, from any place: nobody uses what it holds, unless it was handed over; what it sends is not its own.

        If a charge that it left behind is carried out, this process's next call settles in full what that holds.
        """
        for member in self.members:
            with member.state.lock:
                if member.book.callers is not None:
                    member.book.callers.leave(self)
        _forget_sending(self, known=False)
        if not self.handed_over:
            for member, held in zip(self.members, self.held, strict=False):
                with member.state.lock:
                    held.give_up()


@dataclass(frozen=True, slots=True)
class Unprepared:
    """A policy is stale, or a hold is overdue: `prepare` first."""


def prepare(member: Member, call: Call) -> Operation[Admission]:
    """Have what a charge of one member needs: its policy, and no holds that are overdue. It is sent to its own store.

    What the key's own limiter decides in an outage, and within which budget, holds for its parents too.

    Returns:
        `Admitted` once it is done; or why not, at the deadline.

    Raises:
        StoreRejected: The service refuses for good.
    """
    state, book, first = member.state, member.book, call.members[0].state

    def once() -> Operation[Admission]:
        require_usable(first, call.process)
        failure = yield from prepare_to_charge(
            state, give_up_at=_gives_up_at(first, call), budget_ends=lambda: _budget_ends(first, call)
        )
        give_up_at, known, policy = _gives_up_at(first, call), book.known, state.policy
        if failure is None and known is not None and policy is not None and known.rev > policy.rev:
            failure = yield from ensure_policy(state, newer=True, shown=known.rev, deadline=give_up_at)
        if failure is not None:
            return failure
        if _is_too_much(member) and not just_read(state, book):
            failure = yield from read_before_refusing(state, member.key, give_up_at=give_up_at)
            if failure is not None:
                return failure
        known = book.known
        if book.ledger is not None or (known is not None and known.holds):
            yield from _sweep(member, call, give_up_at)
        return Admitted()

    outcome: Admission = yield from _until_admitted(once, first, call)
    return outcome


def charge_together(call: Call) -> Operation[Admission | Unprepared]:
    """Get permits of all members, and wait until they are due; it is sent to the first member's store.

    Returns:
        `Admitted`, or why not; `Unprepared`: prepare the members, and call it again.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: A limiter was closed, or a stored policy can never admit this.
    """
    charging, state = _Charging(call), call.members[0].state
    outcome: Any = yield from _until_admitted(charging.once, state, call)
    if isinstance(outcome, Booked):
        yield from _until_used(call, outcome.due)
        return Admitted()
    if not isinstance(outcome, Unprepared):
        return outcome  # type: ignore[no-any-return] # as annotated
    left, call.prepared = call.deadline - state.time.steady(), call.prepared + 1
    if call.prepared > MOST_PREPARED and (left <= 0 or not call.patient):
        return LostRace()
    if call.prepared > MOST_PREPARED:
        yield Pause(seconds=min(left, state.chance.uniform(0.0, SWEEPS_AGAIN_SECONDS)), wakeable=True)
    return outcome


def _sweep(member: Member, call: Call, give_up_at: float) -> Operation[None]:
    """Clear what is overdue. What is left may have conflicted, or may be too much for one call: it waits a while."""
    state, book = member.state, member.book
    before = _overdue(book.known, state.rate_time.now_ns())
    yield from clear_overdue(state, member.key, book, deadline=give_up_at)
    left = _overdue(book.known, state.rate_time.now_ns())
    if left and (left >= before or call.prepared >= MOST_PREPARED):
        call.sweeps_at = state.time.steady() + SWEEPS_AGAIN_SECONDS


def _is_too_much(member: Member) -> bool:
    """Whether the limits never allow it, as far as is known. An override may."""
    policy, now = member.state.policy, member.state.rate_time.now_ns()
    if policy is None or now is None or any(name not in policy.limits for name in member.wanted.limits):
        return False
    return isinstance(earliest_due(policy, member.book.known, member.wanted, now=now), NeverEnough)


def _until_admitted(once: Callable[[], Operation[Any]], state: LimiterState, call: Call) -> Operation[Any]:
    contact, steady = state.contact, state.time.steady

    def tried() -> Operation[Any]:
        began = steady()
        if contact is not None and (cause := contact.outage) is not None and not contact.may_ask(call, now=began):
            return Unavailable(cause=cause)
        outcome = yield from once()
        if not isinstance(outcome, (Busy, Unavailable)):
            call.failing_since = None
        elif call.failing_since is None:
            call.failing_since = began
        return outcome

    never = never_reached(state.time, since=call.began)

    def give_up(outcome: Admission) -> bool:
        if contact is None or never(outcome) or not isinstance(outcome, (Busy, Unavailable)):
            return never(outcome)
        now = steady()
        return contact.gives_up(since=now if call.failing_since is None else call.failing_since, now=now)

    policy = admitting(
        steady=steady,
        deadline=call.deadline,
        chance=state.chance,
        patient=call.patient,
        give_up=give_up,
        longest_pause=math.inf if contact is None or contact.longest_pause is None else contact.longest_pause,
        looks_in=lambda: min(looks_in(member.state, member.book) for member in call.members),
    )
    return (yield from policy.after((yield from tried()), tried))


def _gives_up_at(state: LimiterState, call: Call) -> float:
    """Until when one attempt is sent again, on the steady clock."""
    return min(call.deadline, state.time.steady() + ATTEMPT_SECONDS, _budget_ends(state, call))


def _budget_ends(state: LimiterState, call: Call) -> float:
    """Until when requests are sent again, on the steady clock, by the budget of a decision."""
    contact, now = state.contact, state.time.steady()
    if contact is None or contact.budget is None:
        return math.inf
    if contact.down:
        return now  # this call is the probe: one answer is enough
    return contact.patience + (now if call.failing_since is None else call.failing_since)


class _Charging:
    """The tries of one call."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._planned: list[KeyWanted] = []
        self._first = call.members[0].state

    def once(self) -> Operation[Admission | Unprepared]:
        """One try: some transactions, until one is charged, or it is known when to come again."""
        for refusals in range(BRANCHES):
            step = self._plan(refusals)
            if not isinstance(step, ChargeTogether):
                return step
            self._call.prepared = 0
            outcome = yield from self._send(step)
            if outcome is not None:
                return outcome
        return LostRace()

    def _plan(self, refusals: int) -> ChargeTogether | Denied | Unprepared:
        call, now = self._call, self._first.rate_time.now_ns()
        require_usable(self._first, call.process)
        if now is None:
            return Unprepared()
        steady = self._first.time.steady()
        left = min(call.deadline - steady, 1e9) if call.patient else 0.0
        age = max(0, round((steady - call.began) * NS))
        place = Place(wanted=Wanted(), left=max(0, round(left * NS)), age=age)
        attempt = f"{self._first.chance.getrandbits(64):016x}"
        waits, horizon, keys = [0.0], 1 << 62, []
        for member in call.members:
            step = _plan_one(member, place, attempt, now=now, sweeps=steady >= call.sweeps_at)
            match step:
                case Wait():
                    waits.append(step.seconds)
                case Denied() | Unprepared():
                    return step
                case (ahead, key):
                    horizon = min(horizon, ahead)
                    keys.append(key)
        if len(keys) < len(call.members):
            return Denied(retry_in=max(waits))
        proposal = propose_together(
            keys,
            token=f"{self._first.chance.getrandbits(128):032x}",
            now=now,
            horizon=horizon,
            retention=round(self._first.retention),
            slack=SLACK_NS << min(refusals - 1, 6) if refusals else 0,
        )
        match proposal:
            case ChargeTogether():
                self._planned = keys
                return replace(proposal, charges=tuple(map(_addressed, proposal.charges, call.members, keys)))
            case NotBefore():  # within another member's horizon, but not within the shortest
                return Denied(retry_in=(proposal.at - now - horizon + PADDING_NS) / NS)
            case _:
                return Unprepared()

    def _send(self, request: ChargeTogether) -> Operation[Admission | None]:
        # The ledgers of the keys must not take what is charged meanwhile for something that nobody holds.
        self._call.sending = request
        for member, charge in zip(self._call.members, request.charges, strict=True):
            if charge.hold is not None:
                with member.state.lock:
                    member.book.reserving = {**(member.book.reserving or {}), charge.attempt: charge.hold_before}
        outcome, known = yield from self._send_until_known(request)
        _forget_sending(self._call, known=known)
        return outcome

    def _send_until_known(self, request: ChargeTogether) -> Operation[tuple[Admission | None, bool]]:
        """Returns the outcome, None if it was refused; and whether it is known whether it was carried out."""
        state = self._first
        since = state.rate_time.now_ns()
        give_up_at = _gives_up_at(state, self._call)
        answer, uncertain = yield from send_until(
            request, again=UNKNOWN, time=state.time, chance=state.chance, tries=BRANCHES, deadline=give_up_at
        )
        if uncertain and isinstance(answer, UNANSWERED):
            answer, _ = yield from send_until(
                request, again=UNANSWERED, time=state.time, chance=state.chance, tries=BRANCHES, deadline=give_up_at
            )
        require_usable(state, self._call.process)
        if isinstance(answer, Done):
            self._charged(request.charges, (None,) * len(request.charges))
            return Booked(due=request.charges[0].due), True
        if not isinstance(answer, TogetherRefused):
            return failure_of(answer), not uncertain
        if any(map(is_charged, request.charges, answer.found)):
            self._charged(request.charges, answer.found)
            return Booked(due=request.charges[0].due), True
        now = state.rate_time.now_ns() or 0
        for member, failed, found in zip(self._call.members, answer.failed, answer.found, strict=True):
            if failed:
                with member.state.lock:
                    member.book.learn(found, now=now, process=member.state.process, since=since)
        return None, True

    def _charged(self, charges: Sequence[Charge], found: Sequence[KeyState | None]) -> None:
        now = self._first.rate_time.now_ns() or 0
        for member, charge, shown, key in zip(self._call.members, charges, found, self._planned, strict=True):
            with member.state.lock:
                state = shown or after_others(charge, key.state, member.book.known)
                if member.wanted.reserved:
                    held = held_by([charge], member.wanted, charge.due)
                    self._call.held.append(held)
                    hold(member.book, [charge], held)
                    # At the same moment: a charge that is in the ledger and not known yet would pass for another one.
                    _forget_reserving(member, charge)
                member.book.learn(state, now=now, process=member.state.process, guessed=shown is None)


def _forget_sending(call: Call, *, known: bool) -> None:
    """The charge that a call has sent is over, or is left behind: whether it was carried out is then not known."""
    request, call.sending = call.sending, None
    if request is not None:
        for member, charge in zip(call.members, request.charges, strict=True):
            with member.state.lock:
                _forget_reserving(member, charge)
                if charge.hold is not None and not known:
                    leave_behind(member.book, [charge], member.state.rate_time.now_ns() or 0)


def _forget_reserving(member: Member, charge: Charge) -> None:
    if member.book.reserving:
        member.book.reserving.pop(charge.attempt, None)


def _plan_one(
    member: Member, place: Place, attempt: str, *, now: int, sweeps: bool
) -> tuple[int, KeyWanted] | Wait | Denied | Unprepared:
    """What is wanted of one member, and how far ahead it may be booked; or why it cannot be had now."""
    state, policy = member.state, member.state.policy
    if state.closed:
        raise state.closed_error()
    if policy is None or (sweeps and _overdue(member.book.known, now)):
        return Unprepared()
    if state.time.steady() - state.policy_at >= POLICY_SECONDS + MEANWHILE_SECONDS:
        return Unprepared()  # who waits for long meets a new policy, though nobody charges under it
    _require_limits(member)
    known = known_to_rely_on(policy, member.book, member.wanted, now=now)
    step = plan(policy, known, [replace(place, wanted=member.wanted)], now=now)
    if isinstance(step, Wait):
        return step
    if not isinstance(step, Batch):
        return _denied(step, member, now)
    own = Attempt(
        key=member.key,
        id=attempt,
        lane=state.lane,
        process=state.process,
        settle_by=now + step.horizon + member.wanted.settle_within,
    )
    return step.horizon, KeyWanted(policy=policy, state=known, wanted=member.wanted, attempt=own)


def _addressed(charge: Charge, member: Member, key: KeyWanted) -> Charge:
    """A charge with its limiter's name, and a hold that ends as long after the due time as was asked for.

    Args:
        charge: Of this member.
        member: Whose.
        key: By what it was planned. By now, others may have seen, or forgotten, what the item shows.
    """
    held = charge.hold
    if held is not None:
        before = None if key.state is None else key.state.holds.get(charge.process)
        until = max(charge.due + member.wanted.settle_within, 0 if before is None else before.until)
        held = replace(held, until=min(held.until, until))
    return replace(charge, limiter=member.state.name, hold=held)


def _until_used(call: Call, due: int) -> Operation[None]:
    """Wait until permits are due, and let them pass the gates of all members, at one moment."""
    states = sorted({id(member.state): member.state for member in call.members}.values(), key=id)
    while True:
        require_usable(call.members[0].state, call.process)
        for state in states:
            if state.closed:
                raise state.closed_error()
        times = [state.rate_time.now_ns() for state in states]
        wait = max(0 if now is None else due - now for now in times)
        if wait <= 0:
            wait = _pass(call, states)
        if wait == 0:
            require_usable(call.members[0].state, call.process)
            return
        yield Pause(seconds=(wait + PADDING_NS) / NS, wakeable=True)


def _pass(call: Call, states: Sequence[LimiterState]) -> int:
    """Let permits pass all gates, or none: who waited between two of them would be used later than the first one knows.

    Args:
        call: Whose permits.
        states: Those of its members whose locks are still to be taken: always in this order.
    """
    if states:
        with states[0].lock:
            return _pass(call, states[1:])
    wait = 0
    for passes in (False, True):
        if wait == 0:
            wait = max(member.state.wait_at_gate(member.book, member.wanted, passes=passes) for member in call.members)
    return wait


def _denied(step: object, member: Member, now: int) -> Denied | Unprepared:
    match step:
        case NotBefore():
            return Denied(retry_in=(max(0, step.at - now) + PADDING_NS) / NS)
        case HeldBack():
            book = member.book
            with member.state.lock:
                book.doubted, book.known = book.known, without_charges(book.known)  # the table shows what came back
            return Denied(retry_in=HELD_SECONDS / 2, spread=HELD_SECONDS)
        case StalePolicy():
            return Unprepared()
        case NeverEnough():
            if not just_read(member.state, member.book):
                return Unprepared()
            raise too_many(step, rate=member.state.name)
        case _:
            raise ConfigurationError(f"unexpected plan: {step}")


def _overdue(known: KeyState | None, now: int | None) -> int:
    """How many holds may be swept."""
    if known is None or now is None:
        return 0
    return sum(hold.until + SWEPT_AFTER < now for hold in known.holds.values())


def _require_limits(member: Member) -> None:
    limits = member.state.limits
    for name in member.wanted.limits:
        if name not in limits:
            raise ConfigurationError(
                f"the stored policy of rate {member.state.name!r} has no limit {name!r}: it has "
                f"{', '.join(sorted(limits))}"
            )
