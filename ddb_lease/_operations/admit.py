"""Admission: from "I want n permits" to having them, request by request.

Invariants:

- A charge is one conditional write, and nothing is read in order to decide. We guess which of its branches to send from
  the last `tat` seen. A wrong guess is refused with the item, and corrected by one more request.
- An attempt has one id for all its sendings. If its own id is in the item that refused it, an earlier sending was
  admitted: it is neither charged again nor denied. If another process of the same lane overwrote the id, it is charged
  again: the strict side.
- Each sending is decided by the time at which it is sent, which is confirmed once for it. A sending with the time of an
  earlier one would charge the past, which may be paid for, and admit in the present.
- An attempt that is given up with an unknown outcome was not admitted. If it was charged, its permits are forgone.
"""

from __future__ import annotations

from ddb_lease._operations.resend import require_answered, resend_until_answered
from ddb_lease._operations.sync_time import confirm, never_reached, without_time
from ddb_lease._protocol.gcra import BusyBranch, FromHand, IdleBranch, Later, Step, is_own
from ddb_lease._protocol.messages import (
    Answer,
    Charge,
    Charged,
    Conflict,
    Metered,
    ReadMeter,
    Rejected,
    ThrottledAnswer,
    Uncharged,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.outcomes import Admission, Admitted, Busy, Denied, LostRace, OutOfTurn, Unavailable, failure_of
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._protocol.records import Meter
from ddb_lease._protocol.retry import Operation, admitting, resending
from ddb_lease._state.permits import PermitWaiter
from ddb_lease._state.rate_state import RateState
from ddb_lease.errors import ConfigurationError, StoreUnavailable

BRANCHES = 4
"""Requests that one attempt may make, unknown answers apart: a guess, its correction, and as many again."""

ATTEMPT_SECONDS = 5.0
"""How long an attempt with an unknown outcome is sent again. A permit counts from when it was sent: one that was
admitted long ago, and is recognised only now, would come on top of what the rate has allowed since."""

TRIES_WHEN_UNKNOWN = 6
"""How often one attempt is sent in all while its answers are lost."""

LONGEST_SPREAD_SECONDS = 1.0
"""Over how many seconds the next tries are spread, at most, where others took the permits again and again."""

STATUS_TRIES = 5
"""How often a meter is read until there is an answer."""

_PADDING_NS = 1_000
"""Added to a wait, as a pause that ends a moment too soon would be followed by another."""


def admit(state: RateState, waiter: PermitWaiter, *, began: float, deadline: float) -> Operation[Admission]:
    """Get the permits that a waiter wants.

    Args:
        state: The rate's state.
        waiter: In the queue already.
        began: When the call began, on the steady clock.
        deadline: When to give up, on the steady clock; `math.inf` for never.

    Returns:
        `Admitted`, or why not.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: The limiter was closed.
    """
    tries = _Tries(state, waiter, deadline)
    outcome = yield from tries.run(now=began)
    if isinstance(outcome, Admitted):
        return outcome
    policy = admitting(
        steady=state.time.steady,
        deadline=deadline,
        chance=state.chance,
        patient=waiter.patient,
        give_up=never_reached(state.time, since=began),
    )
    last: Admission = yield from policy.after(outcome, tries.run)
    return last


def read_meter(state: RateState, *, deadline: float) -> Operation[Meter | None]:
    """Read a rate's item, and learn the time if it is not known.

    Raises:
        StoreUnavailable: The service did not answer, or its answers do not tell its time.
        StoreRejected: The service refuses for good.
    """
    last, _ = yield from resend_until_answered(
        state.time, state.chance, ReadMeter, tries=STATUS_TRIES, deadline=deadline
    )
    answer = require_answered(last, "the rate cannot be read")
    if not isinstance(answer, Metered):
        raise _defect(answer)
    failed = yield from confirm(state.time)
    if not state.time.known:
        cause = without_time(failed).cause
        raise StoreUnavailable(f"the rate cannot be read: {cause}") from cause
    return answer.meter


class _Tries:
    """The tries of one call."""

    def __init__(self, state: RateState, waiter: PermitWaiter, deadline: float) -> None:
        self._state = state
        self._waiter = waiter
        self._deadline = deadline
        self._denied = 0

    def run(self, *, now: float | None = None) -> Operation[Admission]:
        """One try: from the permits in hand, or with one attempt at a charge.

        Args:
            now: The time on the steady clock, where the caller knows it.
        """
        state, waiter = self._state, self._waiter
        if state.closed:
            raise state.closed_error()
        steady = state.time.steady() if now is None else now
        if not state.permits.my_turn(waiter, now=steady):
            return self._behind_others()
        outcome = yield from self._at_the_front(steady)
        match outcome:
            case Denied() if waiter.patient and not self._is_late(outcome):
                state.permits.rests(waiter, until=state.time.steady() + outcome.retry_in)
            case Busy() | Unavailable():
                state.permits.failed(outcome.cause)
            case _:
                pass
        return outcome

    def _behind_others(self) -> Admission:
        """What can be told without sending, as others stand in front."""
        state, waiter = self._state, self._waiter
        now = state.time.reliable_ns()
        if now is not None:
            step = state.permits.step_for(waiter, now=now)
            if isinstance(step, Later):
                denied = _denied(step, now)
                if not waiter.patient or self._is_late(denied):
                    return denied
        trouble = state.permits.trouble
        return OutOfTurn() if waiter.patient or trouble is None else Unavailable(cause=trouble)

    def _at_the_front(self, steady: float) -> Operation[Admission]:
        state = self._state
        now = state.time.reliable_ns()
        failed: Answer | None = None
        if now is None:
            failed = yield from confirm(state.time)
            if state.closed:
                raise state.closed_error()
            now, steady = state.time.reliable_ns(), state.time.steady()
        if now is None:
            return without_time(failed)
        step = state.permits.begin(self._waiter, now=now)
        match step:
            case FromHand():
                return Admitted()
            case Later():
                return _denied(step, now)
            case IdleBranch() | BusyBranch():
                attempt = _Attempt(state, step, now)
                return (yield from self._carry_out(attempt, min(self._deadline, steady + ATTEMPT_SECONDS)))

    def _is_late(self, denied: Denied) -> bool:
        return self._state.time.steady() + denied.retry_in > self._deadline

    def _carry_out(self, attempt: _Attempt, give_up_at: float) -> Operation[Admission]:
        permits = self._state.permits
        for _ in range(BRANCHES):
            answer = yield from attempt.send_until_known(give_up_at)
            match answer:
                case Later():
                    return self._outrun(answer)
                case Charged():
                    permits.charged(tat=answer.tat, taken=attempt.taken, used=self._waiter.count)
                    return Admitted()
                case Uncharged(meter=Meter(tat=tat)) if attempt.is_in(answer.meter):
                    # Others may have charged since, and ours lies before theirs: what is left is due by then.
                    permits.charged(tat=tat, taken=attempt.taken, used=self._waiter.count)
                    return Admitted()
                case Uncharged():
                    permits.learn(answer.meter.tat if answer.meter else None)
                case Conflict() | ThrottledAnswer():
                    return Busy(cause=answer.cause)
                case Unsent() | Unknown():
                    return failure_of(answer)
                case _:
                    raise _defect(answer)
        return LostRace()

    def _outrun(self, later: Later) -> Denied:
        """Denied by the table, as others charged since. Where that happens again and again, the next try is spread."""
        charge = self._waiter.count * self._state.rate.interval_ns / NS
        spread = charge * 2.0 ** min(self._denied - 1, 30) if self._denied else 0.0
        self._denied += 1
        now, _ = self._state.time.middle_ns()
        return _denied(later, now, spread=min(LONGEST_SPREAD_SECONDS, spread))


class _Attempt:
    """One attempt at a charge: one id for all its sendings, each decided by its own time.

    Args:
        state: The rate's state.
        step: What was decided for the first sending.
        now: For which time.

    Attributes:
        taken: How many permits it charges.
    """

    def __init__(self, state: RateState, step: IdleBranch | BusyBranch, now: int) -> None:
        self._state = state
        self._first: tuple[Step, int] | None = (step, now)
        self._missing = step.missing
        self._lane = state.permits.lane
        self._id = f"{state.chance.getrandbits(64):016x}"
        self._may_be_charged = False
        self.taken = max(step.missing, state.prefetch)

    def is_in(self, meter: Meter | None) -> bool:
        """Whether the item shows this attempt."""
        return is_own(meter, lane=self._lane, attempt=self._id)

    def send_until_known(self, give_up_at: float) -> Operation[Answer | Later]:
        """Send it until its outcome is known; `Later` where it must not be sent now."""
        state = self._state
        self._may_be_charged = False  # what was refused for good is not
        answer = yield from self._send()
        if not self._is_undecided(answer):
            return answer
        policy = resending(
            again=self._is_undecided,
            steady=state.time.steady,
            deadline=give_up_at,
            chance=state.chance,
            tries=TRIES_WHEN_UNKNOWN,
        )
        last: Answer | Later = yield from policy.after(answer, self._send)
        return last

    def _send(self) -> Operation[Answer | Later]:
        """Send it once."""
        state, rate = self._state, self._state.rate
        if self._first is not None:
            (step, now), self._first = self._first, None
        else:
            if state.closed:
                raise state.closed_error()
            # An odd answer may have come in since. By a time in doubt, the rate would be charged for hours.
            failed = yield from confirm(state.time)
            reliable = state.time.reliable_ns()
            if reliable is None:
                cause = without_time(failed).cause
                return Unknown(cause=cause) if self._may_be_charged else Unsent(cause=cause)
            now = reliable
            step = state.permits.another_sending(self._missing, now=now)
        if isinstance(step, Later):
            return step
        interval = rate.interval_ns
        tolerance = rate.burst * interval
        answer = yield Charge(
            idle=isinstance(step, IdleBranch),
            now=now,
            at_most=now + tolerance - self._missing * interval,
            taken=self.taken * interval,
            lane=self._lane,
            attempt=self._id,
            rate=rate,
            ttl=-(-(now + tolerance + self.taken * interval) // NS) + round(state.retention),
        )
        if isinstance(answer, Unknown):
            self._may_be_charged = True
        return answer  # type: ignore[return-value] # a request is answered; only a pause is not

    def _is_undecided(self, answer: Answer | Later) -> bool:
        # Once it may have been admitted, any other attempt would be a second charge.
        unanswered = isinstance(answer, (Conflict, ThrottledAnswer, Unsent))
        return isinstance(answer, Unknown) or (unanswered and self._may_be_charged)


def _denied(later: Later, now: int, *, spread: float = 0.0) -> Denied:
    wait = later.at - now
    return Denied(retry_in=(wait + _PADDING_NS) / NS if wait > 0 else 0.0, spread=spread)


def _defect(answer: object) -> Exception:
    if isinstance(answer, Rejected):
        return answer.error
    return ConfigurationError(f"unexpected answer: {answer}")
