"""Admission: the procedure from "I want n permits" to having them, request by request.

Laws of this room:

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
from random import Random

from ddb_lease.allowance import Allowance, Place
from ddb_lease.asking import UNTOLD, confirm
from ddb_lease.clock import ServiceTime
from ddb_lease.errors import ConfigurationError, StoreUnavailable
from ddb_lease.gcra import NS, Idle, Later, is_own, plan
from ddb_lease.messages import (
    Answer,
    Charge,
    Charged,
    Conflict,
    Metered,
    ReadMeter,
    Rejected,
    Throttled,
    Uncharged,
    Unknown,
    Unsent,
)
from ddb_lease.model import Meter, Rate
from ddb_lease.outcomes import Admission, Admitted, Busy, Denied, Lost, OutOfTurn, Unavailable
from ddb_lease.retry import FIRST_CONTACT_SECONDS, Procedure, admitting, resending
from ddb_lease.values import dataclass

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
class LimiterScene:
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
    allowance: Allowance
    require_open: Callable[[], None]

    def is_sure(self) -> bool:
        """Whether what memory knows may be reckoned with the time as it is known now."""
        return self.time.confirmed and not self.time.unsettled

    def now_ns(self) -> int:
        """The service's time, as well as it is known."""
        return self.time.middle_ns()[0]


def admit(scene: LimiterScene, place: Place, *, deadline: float) -> Procedure[Admission]:
    """Get the permits that a place in line is for.

    Args:
        scene: The limiter's surroundings.
        place: In line already.
        deadline: When to give up, on the steady clock; `math.inf` for never.

    Returns:
        `Admitted`, or why not.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: The limiter was closed.
    """
    policy = admitting(
        steady=scene.time.steady,
        deadline=deadline,
        chance=scene.chance,
        patient=place.patient,
        give_up=_never_reached(scene.time),
    )
    outcome: Admission = yield from policy(_Tries(scene, place, deadline).run)
    return outcome


def read_meter(scene: LimiterScene, *, deadline: float) -> Procedure[Meter | None]:
    """Read a rate's item, and learn the time if it is not known.

    Raises:
        StoreUnavailable: The service did not answer, or its answers do not tell its time.
        StoreRejected: The service refuses for good.
    """

    def once() -> Generator[ReadMeter, Answer, Answer]:
        return (yield ReadMeter())

    policy = resending(
        again=lambda answer: isinstance(answer, (Unknown, Unsent, Conflict, Throttled)),
        steady=scene.time.steady,
        deadline=deadline,
        chance=scene.chance,
        tries=STATUS_TRIES,
    )
    answer: Answer = yield from policy(once)
    match answer:
        case Metered():
            yield from confirm(scene.time)
            if not scene.time.known:
                raise UNTOLD
            return answer.meter
        case Unknown() | Unsent() | Conflict() | Throttled():
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

    def __init__(self, scene: LimiterScene, place: Place, deadline: float) -> None:
        self._scene = scene
        self._place = place
        self._deadline = deadline
        self._denied = 0

    def run(self) -> Procedure[Admission]:
        """One try: from what is in hand, or with one attempt at a charge."""
        scene, place = self._scene, self._place
        scene.require_open()
        if scene.is_sure():
            hopeless = self._hopeless()
            if hopeless is not None:
                return hopeless
        if not scene.allowance.my_turn(place, now=scene.time.steady()):
            trouble = scene.allowance.trouble
            return OutOfTurn() if place.patient or trouble is None else Unavailable(cause=trouble)
        outcome = yield from self._try()
        match outcome:
            case Denied():
                scene.allowance.rests(place, until=scene.time.steady() + outcome.retry_in)
            case Busy() | Unavailable():
                scene.allowance.failed(outcome.cause)
            case _:
                pass
        return outcome

    def _try(self) -> Procedure[Admission]:
        scene, place = self._scene, self._place
        yield from confirm(scene.time)
        if not scene.is_sure():
            return Unavailable(cause=UNTOLD)
        now = scene.now_ns()
        if scene.allowance.take(place.count, now=now):
            return Admitted()
        ready = scene.allowance.ready_at(place.count, now=now)
        if ready > now:
            return self._later(ready, now)
        return (yield from self._attempt())

    def _hopeless(self) -> Denied | None:
        """What is not to be had in time, whoever is in front; without waiting, what those in front leave nothing of."""
        scene, place = self._scene, self._place
        now = scene.now_ns()
        before = 0 if place.patient else scene.allowance.wanted_before(place)
        denied = self._later(scene.allowance.ready_at(before + place.count, now=now), now)
        if place.patient:
            late = denied.retry_in > 0 and scene.time.steady() + denied.retry_in > self._deadline
            return denied if late else None
        return denied if denied.retry_in > 0 else None

    def _later(self, ready: int, now: int) -> Denied:
        return Denied(retry_in=(ready - now + _PADDING_NS) / NS if ready > now else 0.0, spread=0.0)

    def _attempt(self) -> Procedure[Admission]:
        scene, allowance = self._scene, self._scene.allowance
        needed = self._place.count - allowance.in_hand
        taken = max(needed, scene.prefetch)
        lane, attempt = allowance.lane, f"{scene.chance.getrandbits(64):016x}"
        give_up_at = min(self._deadline, scene.time.steady() + ATTEMPT_SECONDS)
        for _ in range(BRANCHES):
            answer = yield from self._settle(needed, taken, lane, attempt, give_up_at)
            match answer:
                case Later():
                    return self._outrun(answer)
                case Charged():
                    allowance.charged(tat=answer.tat, taken=taken, used=self._place.count)
                    return Admitted()
                case Uncharged(meter=Meter(tat=int(tat))) if is_own(answer.meter, lane=lane, attempt=attempt):
                    # Others may have charged since, and ours lies before theirs: what is left is due by then.
                    allowance.charged(tat=tat, taken=taken, used=self._place.count)
                    return Admitted()
                case Uncharged():
                    allowance.learn(answer.meter.tat if answer.meter else None)
                case Conflict() | Throttled():
                    return Busy(cause=answer.cause)
                case Unsent() | Unknown():
                    return Unavailable(cause=answer.cause)
                case _:
                    raise _defect(answer)
        return Lost()

    def _settle(self, needed: int, taken: int, lane: int, attempt: str, give_up_at: float) -> Procedure[Answer | Later]:
        """Send an attempt until its outcome is known, reckoned anew each time; `Later` where that says not to."""
        scene, interval = self._scene, self._scene.rate.interval_ns
        uncertain: list[bool] = []

        def once() -> Procedure[Answer | Later]:
            scene.require_open()
            # An odd answer may have come in since: by a time in doubt, the rate would be charged for hours.
            yield from confirm(scene.time)
            if not scene.is_sure():
                return Unknown(cause=UNTOLD) if uncertain else Unsent(cause=UNTOLD)
            now, tolerance = scene.now_ns(), scene.rate.tolerance_ns
            step = plan(scene.allowance.tat, now=now, needed=needed * interval, tolerance=tolerance)
            if isinstance(step, Later):
                return step
            answer = yield Charge(
                idle=isinstance(step, Idle),
                now=now,
                at_most=now + tolerance - needed * interval,
                taken=taken * interval,
                lane=lane,
                attempt=attempt,
                rate=scene.rate,
                ttl=-(-(now + tolerance + taken * interval) // NS) + round(scene.retention),
            )
            if isinstance(answer, Unknown):
                uncertain.append(True)
            return answer  # type: ignore[return-value] # a request is answered; only a pause is not

        def again(answer: Answer | Later) -> bool:
            # Once it may have been admitted, any other attempt would be a second charge.
            unanswered = isinstance(answer, (Conflict, Throttled, Unsent))
            return isinstance(answer, Unknown) or (unanswered and bool(uncertain))

        policy = resending(
            again=again,
            steady=scene.time.steady,
            deadline=give_up_at,
            chance=scene.chance,
            tries=TRIES_WHEN_UNKNOWN,
        )
        answer: Answer | Later = yield from policy(once)
        return answer

    def _outrun(self, later: Later) -> Denied:
        """Denied by the table: others charged since. Who meets that again and again gives them room."""
        charge = self._place.count * self._scene.rate.interval_ns / NS
        spread = charge * 2.0 ** min(self._denied - 1, 30) if self._denied else 0.0
        self._denied += 1
        denied = self._later(later.at, self._scene.now_ns())
        return Denied(retry_in=denied.retry_in, spread=min(LONGEST_SPREAD_SECONDS, spread))


def _defect(answer: object) -> Exception:
    if isinstance(answer, Rejected):
        return answer.error
    return ConfigurationError(f"an answer that no request of ours has: {answer}")
