"""Admission: the procedure from "I want n permits" to having them, request by request.

Invariants:

- A charge is one conditional write, and nothing is read for deciding. Which of its branches to send is guessed from the
  last `tat` seen; a wrong guess comes back with the item, and is put right by one more request.
- An attempt has one id for all its sendings. One that finds its own id in the item that refused it was admitted by an
  earlier sending: it is neither charged again nor denied. Where another process of the same lane wrote over it, it is
  charged again: the strict side.
- Each sending is reckoned for its own time. One with the time of an earlier sending would charge the past, which may be
  paid for, and admit in the present.
- An attempt that is given up with an unknown outcome was not admitted; if it was charged, its permits are forgone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random

from ddb_lease._operations.sync_time import TIME_UNKNOWN, confirm
from ddb_lease._protocol.gcra import NS, Idle, Later, is_own, plan
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
from ddb_lease._protocol.outcomes import Admission, Admitted, Busy, Denied, LostRace, OutOfTurn, Unavailable
from ddb_lease._protocol.records import Meter, Rate
from ddb_lease._protocol.retry import FIRST_CONTACT_SECONDS, Operation, admitting, resending
from ddb_lease._state.permits import Permits, PermitWaiter
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.errors import ConfigurationError, StoreUnavailable

BRANCHES = 4
"""Requests that one attempt may make, unknown answers apart: a guess, its correction, and as many again."""

ATTEMPT_SECONDS = 5.0
"""How long an attempt with an unknown outcome is sent again. A permit is of the time of its sending: what was admitted
long ago and is only recognised now would come on top of what the rate has allowed since."""

TRIES_WHEN_UNKNOWN = 6
"""How often one attempt is sent in all while its answers are lost."""

LONGEST_SPREAD_SECONDS = 1.0
"""Over how long those spread, at most, who lost a permit to others again and again."""

STATUS_TRIES = 5
"""How often a meter is read until there is an answer."""

_PADDING_NS = 1_000
"""Added to a wait, as a pause that ends a moment too soon would be followed by another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateState:
    """What surrounds the procedures of one limiter in one process. It decides nothing.

    Attributes:
        prefetch: How many permits to take with one charge, at least.
        retention: Seconds that the item stays after its last use.
        require_open: Raises once the limiter is closed.
    """

    rate: Rate
    prefetch: int
    retention: float
    time: ServiceTime
    chance: Random
    permits: Permits
    require_open: Callable[[], None]

    def is_sure(self) -> bool:
        """Whether what memory knows may be reckoned with the time as it is known now."""
        return self.time.confirmed and not self.time.unsettled

    def now_ns(self) -> int:
        """The service's time, as well as it is known."""
        return self.time.middle_ns()[0]


def admit(state: RateState, waiter: PermitWaiter, *, deadline: float) -> Operation[Admission]:
    """Get the permits that a place in line is for.

    Args:
        state: The rate's state.
        waiter: In line already.
        deadline: When to give up, on the steady clock; `math.inf` for never.

    Returns:
        `Admitted`, or why not.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: The limiter was closed.
    """
    policy = admitting(
        steady=state.time.steady,
        deadline=deadline,
        chance=state.chance,
        patient=waiter.patient,
        give_up=_never_reached(state.time),
    )
    outcome: Admission = yield from policy(_Tries(state, waiter, deadline).run)
    return outcome


def read_meter(state: RateState, *, deadline: float) -> Operation[Meter | None]:
    """Read a rate's item, and learn the time if it is not known.

    Raises:
        StoreUnavailable: The service did not answer, or its answers do not tell its time.
        StoreRejected: The service refuses for good.
    """

    def once() -> Generator[ReadMeter, Answer, Answer]:
        return (yield ReadMeter())

    policy = resending(
        again=lambda answer: isinstance(answer, (Unknown, Unsent, Conflict, ThrottledAnswer)),
        steady=state.time.steady,
        deadline=deadline,
        chance=state.chance,
        tries=STATUS_TRIES,
    )
    answer: Answer = yield from policy(once)
    match answer:
        case Metered():
            yield from confirm(state.time)
            if not state.time.known:
                raise TIME_UNKNOWN
            return answer.meter
        case Unknown() | Unsent() | Conflict() | ThrottledAnswer():
            raise StoreUnavailable(f"the rate cannot be read: {answer.cause}") from answer.cause
        case _:
            raise _defect(answer)


def _never_reached(time: ServiceTime) -> Callable[[Admission], bool]:
    # An outage is waited out; an endpoint that has never answered is more likely a wrong one.
    started = time.steady()

    def give_up(outcome: Admission) -> bool:
        silent = time.steady() - started >= FIRST_CONTACT_SECONDS
        return isinstance(outcome, Unavailable) and silent and not time.known

    return give_up


class _Tries:
    """The tries of one call."""

    def __init__(self, state: RateState, waiter: PermitWaiter, deadline: float) -> None:
        self._state = state
        self._waiter = waiter
        self._deadline = deadline
        self._denied = 0

    def run(self) -> Operation[Admission]:
        """One try: from what is in hand, or with one attempt at a charge."""
        state, waiter = self._state, self._waiter
        state.require_open()
        if state.is_sure():
            hopeless = self._hopeless()
            if hopeless is not None:
                return hopeless
        if not state.permits.my_turn(waiter, now=state.time.steady()):
            trouble = state.permits.trouble
            return OutOfTurn() if waiter.patient or trouble is None else Unavailable(cause=trouble)
        outcome = yield from self._try()
        match outcome:
            case Denied():
                state.permits.rests(waiter, until=state.time.steady() + outcome.retry_in)
            case Busy() | Unavailable():
                state.permits.failed(outcome.cause)
            case _:
                pass
        return outcome

    def _try(self) -> Operation[Admission]:
        state, waiter = self._state, self._waiter
        yield from confirm(state.time)
        if not state.is_sure():
            return Unavailable(cause=TIME_UNKNOWN)
        now = state.now_ns()
        if state.permits.take(waiter.count, now=now):
            return Admitted()
        ready = state.permits.ready_at(waiter.count, now=now)
        if ready > now:
            return self._later(ready, now)
        return (yield from self._attempt())

    def _hopeless(self) -> Denied | None:
        """What is not to be had in time, whoever is in front; without waiting, what those in front leave nothing of."""
        state, waiter = self._state, self._waiter
        now = state.now_ns()
        before = 0 if waiter.patient else state.permits.wanted_before(waiter)
        denied = self._later(state.permits.ready_at(before + waiter.count, now=now), now)
        if waiter.patient:
            late = denied.retry_in > 0 and state.time.steady() + denied.retry_in > self._deadline
            return denied if late else None
        return denied if denied.retry_in > 0 else None

    def _later(self, ready: int, now: int) -> Denied:
        return Denied(retry_in=(ready - now + _PADDING_NS) / NS if ready > now else 0.0, spread=0.0)

    def _attempt(self) -> Operation[Admission]:
        state, permits = self._state, self._state.permits
        needed = self._waiter.count - permits.in_hand
        taken = max(needed, state.prefetch)
        lane, attempt = permits.lane, f"{state.chance.getrandbits(64):016x}"
        give_up_at = min(self._deadline, state.time.steady() + ATTEMPT_SECONDS)
        for _ in range(BRANCHES):
            answer = yield from self._settle(needed, taken, lane, attempt, give_up_at)
            match answer:
                case Later():
                    return self._outrun(answer)
                case Charged():
                    permits.charged(tat=answer.tat, taken=taken, used=self._waiter.count)
                    return Admitted()
                case Uncharged(meter=Meter(tat=int(tat))) if is_own(answer.meter, lane=lane, attempt=attempt):
                    # Others may have charged since, and ours lies before theirs: what is left is due by then.
                    permits.charged(tat=tat, taken=taken, used=self._waiter.count)
                    return Admitted()
                case Uncharged():
                    permits.learn(answer.meter.tat if answer.meter else None)
                case Conflict() | ThrottledAnswer():
                    return Busy(cause=answer.cause)
                case Unsent() | Unknown():
                    return Unavailable(cause=answer.cause)
                case _:
                    raise _defect(answer)
        return LostRace()

    def _settle(self, needed: int, taken: int, lane: int, attempt: str, give_up_at: float) -> Operation[Answer | Later]:
        """Send an attempt until its outcome is known, reckoned anew each time; `Later` where that says not to."""
        state, interval = self._state, self._state.rate.interval_ns
        uncertain: list[bool] = []

        def once() -> Operation[Answer | Later]:
            state.require_open()
            # An odd answer may have come in since: by a time in doubt, the rate would be charged for hours.
            yield from confirm(state.time)
            if not state.is_sure():
                return Unknown(cause=TIME_UNKNOWN) if uncertain else Unsent(cause=TIME_UNKNOWN)
            now, tolerance = state.now_ns(), state.rate.tolerance_ns
            step = plan(state.permits.tat, now=now, needed=needed * interval, tolerance=tolerance)
            if isinstance(step, Later):
                return step
            answer = yield Charge(
                idle=isinstance(step, Idle),
                now=now,
                at_most=now + tolerance - needed * interval,
                taken=taken * interval,
                lane=lane,
                attempt=attempt,
                rate=state.rate,
                ttl=-(-(now + tolerance + taken * interval) // NS) + round(state.retention),
            )
            if isinstance(answer, Unknown):
                uncertain.append(True)
            return answer  # type: ignore[return-value] # a request is answered; only a pause is not

        def again(answer: Answer | Later) -> bool:
            # Once it may have been admitted, any other attempt would be a second charge.
            unanswered = isinstance(answer, (Conflict, ThrottledAnswer, Unsent))
            return isinstance(answer, Unknown) or (unanswered and bool(uncertain))

        policy = resending(
            again=again,
            steady=state.time.steady,
            deadline=give_up_at,
            chance=state.chance,
            tries=TRIES_WHEN_UNKNOWN,
        )
        answer: Answer | Later = yield from policy(once)
        return answer

    def _outrun(self, later: Later) -> Denied:
        """Denied by the table: others charged since. Who meets that again and again gives them room."""
        charge = self._waiter.count * self._state.rate.interval_ns / NS
        spread = charge * 2.0 ** min(self._denied - 1, 30) if self._denied else 0.0
        self._denied += 1
        denied = self._later(later.at, self._state.now_ns())
        return Denied(retry_in=denied.retry_in, spread=min(LONGEST_SPREAD_SECONDS, spread))


def _defect(answer: object) -> Exception:
    if isinstance(answer, Rejected):
        return answer.error
    return ConfigurationError(f"an answer that no request of ours has: {answer}")
