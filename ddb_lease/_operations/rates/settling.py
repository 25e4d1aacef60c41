"""Settling: from "so much was used" to the table's knowing it, and sweeping what nobody settles.

Invariants:

- A settlement is one conditional write, and nothing is read for it. Only if this process's hold seems to be gone, the
  item is read, as what was seen last may be older than the reservation.
- One caller sends for all that settle at that moment. A settlement whose outcome is unknown is sent again, by whoever
  comes next, with the same id: it happens once.
- If a charge that reserves was given up, and may have been carried out, the item is read too: else nobody would settle
  it before its time.
- A hold that is past its time is swept by whoever meets it before a charge: settled in full, on condition that it is as
  seen. So nobody has to look for holds of processes that died.
- Nothing here fails a charge: what cannot be swept now is swept by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ddb_lease._operations.resend import UNANSWERED, send_until
from ddb_lease._protocol.messages import Pause, Rejected
from ddb_lease._protocol.outcomes import Busy, LostRace, OutOfTurn, Unavailable, failure_of
from ddb_lease._protocol.rates.charging import Attempt, Wanted
from ddb_lease._protocol.rates.messages import Charge, KeyIs, KeyRefused, KeyWritten, ReadKey, Settle
from ddb_lease._protocol.rates.records import LANES, Hold
from ddb_lease._protocol.rates.settling import Reserved, Swept, settle, sweep
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.rates.booking import Flight
from ddb_lease._state.rates.hold_ledger import Held, HoldLedger, Settlement, Settler, covers
from ddb_lease._state.rates.key_book import KeyBook
from ddb_lease._state.rates.limiter_state import LimiterState

TRIES: Final = 6
"""How often a settlement is sent while it is not answered; and how often it is made anew where it is refused."""

SECONDS: Final = 10.0
"""How long one call tries to settle."""

MOST_SWEPT: Final = 8
"""Holds that one charge sweeps first, at most: each costs a request."""

WAIT_FOR_ANOTHER_SECONDS: Final = 0.1
"""How long a settlement waits for the answer to a charge that reserves, and such a charge for that to a settlement, at
most: each needs to know what the other makes of the process's hold."""

CONTENDED_SECONDS: Final = 0.5
"""The longest pause after the service has refused a settlement `TRIES` times, as others write the item too."""

_TURN_SECONDS: Final = 1.0
"""How long a caller that another one sends for sleeps at most before it looks again."""

NotSettled: TypeAlias = Busy | LostRace | OutOfTurn | Unavailable


def settle_held(state: LimiterState, key: str, book: KeyBook, settler: Settler) -> Operation[NotSettled | None]:
    """Settle a reservation whose `used` is set, together with all others of the key that are to be settled.

    Args:
        state: The limiter's state.
        key: The key; empty for a limiter without keys.
        book: The key's book, which the settler has joined.
        settler: Who settles.

    Returns:
        None once it is over: `Held.counted` says how. Otherwise why it is not known to be: the next settlement of this
        process settles it too.

    Raises:
        StoreRejected: The service refuses for good.
        ConfigurationError: The limiter was closed.
    """
    failure: NotSettled | None = None
    while settler.held.counted is None:
        if state.closed:
            raise state.closed_error()
        left = settler.deadline - state.time.steady()
        if left <= 0:
            return failure or OutOfTurn()
        ledger = book.ledger
        if ledger is None or not ledger.my_turn(settler):
            yield Pause(seconds=min(left, _TURN_SECONDS), wakeable=True)
            continue
        if reserves(book):
            # Both would change the hold at the same moment, and one of them in vain.
            yield Pause(seconds=min(left, WAIT_FOR_ANOTHER_SECONDS), wakeable=True)
        failure = yield from _Sending(state, key, book, ledger).run(settler.deadline)
        with state.lock:
            settlers, bookings = ledger.others(settler), book.others()
            callers = [] if book.callers is None else list(book.callers)[:1]  # all at once would only conflict
        for other in settlers:
            other.wake()
        for waiter in [*bookings, *callers]:
            waiter.wake()  # there may be room for them by now
        if isinstance(failure, Unavailable) and settler.held.counted is None:
            return failure
        if failure is not None:  # others write the item too: the service answers, and so it will be settled
            yield Pause(seconds=max(0.0, min(left, state.chance.uniform(0.0, CONTENDED_SECONDS))), wakeable=True)
    return None


def clear_overdue(state: LimiterState, key: str, book: KeyBook, *, deadline: float) -> Operation[None]:
    """Sweep holds that are past their time, as far as the item was seen; and settle what this process left behind.

    Raises:
        StoreRejected: The service refuses for good.
    """
    for _ in range(MOST_SWEPT):
        with state.lock:
            request = _sweep(state, key, book)
        if request is None:
            break
        since = state.rate_time.now_ns()
        answer: Any = yield request
        if isinstance(answer, Rejected):
            raise answer.error
        if not isinstance(answer, (KeyWritten, KeyRefused)):
            return
        _learn(state, book, answer.state, since)
    ledger = book.ledger
    if ledger is not None and not ledger.settlers:
        yield from _Sending(state, key, book, ledger).run(deadline)


def reserves(book: KeyBook) -> bool:
    """Whether a charge that reserves is under way, and not answered yet."""
    flight = book.flight
    return bool(book.reserving) or (flight is not None and bool(flight.sent) and bool(flight.wanted.reserved))


def enter(book: KeyBook, flight: Flight, sent: Sequence[Charge], due: int) -> None:
    """Enter a reservation whose charge is known into the ledger. Call it before the item that shows it is learned.

    Args:
        book: The key's book, whose flight this is; its limiter's lock is held.
        flight: The charge.
        sent: Each sending that may be the one that was charged.
        due: When the permits are due.
    """
    if book.flight is not flight:
        return  # another caller has entered it
    held = held_by(sent, flight.wanted, due)
    booking = flight.batch[0][0]()
    if booking is not None and booking in book.waiting():
        booking.held = held  # first: an interrupt may come before it is in the ledger, and then nobody uses it
    else:
        held.give_up()
    hold(book, sent, held)


def held_by(sent: Sequence[Charge], wanted: Wanted, due: int) -> Held:
    """What a charge reserved; arguments as for `enter`. Give it to whoever uses it, and then to `hold`."""
    return Held(
        reserved={
            part.name: Reserved(
                permits=wanted.reserved[part.name], interval=part.reserved // wanted.reserved[part.name]
            )
            for part in sent[-1].limits
            if part.reserved
        },
        # A recognised attempt may be due later than the sending that was charged reckoned with.
        until=min(due + wanted.settle_within, *(charge.hold.until for charge in sent if charge.hold is not None)),
    )


def hold(book: KeyBook, sent: Sequence[Charge], held: Held) -> None:
    """Enter what a charge reserved into the ledger."""
    if book.ledger is None:
        book.ledger = HoldLedger()
    book.ledger.add(held, bases=[charge.hold_before for charge in sent], attempt=sent[-1].attempt)


def leave_behind(book: KeyBook, sent: Sequence[Charge], now: int) -> None:
    """Note that a charge that reserves is given up, and may have been carried out; its limiter's lock is held."""
    book.ledger = book.ledger or HoldLedger()
    book.ledger.left_behind(sent[-1].attempt, bases=[charge.hold_before for charge in sent], now=now)


@dataclass(frozen=True, slots=True)
class _Gone:
    """The item as last seen does not hold these entries any more."""

    entries: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class _Unsure:
    """Only the item shows what a charge that was given up has left."""


class _Sending:
    """Sends what is to be settled of one key."""

    def __init__(self, state: LimiterState, key: str, book: KeyBook, ledger: HoldLedger) -> None:
        self._state = state
        self._key = key
        self._book = book
        self._ledger = ledger

    def run(self, deadline: float) -> Operation[NotSettled | None]:
        """Send settlements until nothing is to be settled, or one of them fails; returns why."""
        state, ledger = self._state, self._ledger
        checked: list[Held] = []  # what was in the ledger when the last request was sent
        for _ in range(TRIES):
            with state.lock:
                step = self._next()
                if isinstance(step, _Gone) and all(held in checked for held in step.entries):
                    ledger.lose(list(step.entries))
                    continue
                checked = list(ledger.entries)
            if step is None:
                return None
            since = state.rate_time.now_ns()
            answer = yield from self._ask(step, deadline)
            if not isinstance(answer, (KeyWritten, KeyRefused, KeyIs)):
                return failure_of(answer)
            if isinstance(answer, KeyWritten) and isinstance(step, Settlement):
                with state.lock:
                    ledger.over(step, counted=True)
            if isinstance(step, _Unsure):
                ledger.looked(now=state.rate_time.now_ns() or 0)
            _learn(state, self._book, answer.state, since)  # this shows whether an earlier sending happened
        return LostRace()

    def _ask(self, step: Settlement | _Gone | _Unsure, deadline: float) -> Operation[Any]:
        state = self._state
        last: Settle | ReadKey = ReadKey(key=self._key)

        def made() -> Settle | ReadKey:
            nonlocal last
            if isinstance(step, Settlement):
                with state.lock:
                    if self._ledger.under_way is not step:
                        return ReadKey(key=self._key)  # another caller has found out that it happened, or cannot
                    last = self._made(step) or last
                    step.bases.add(last.hold_before if isinstance(last, Settle) else "")
            return last

        answer, _ = yield from send_until(
            made(), anew=made, again=UNANSWERED, time=state.time, chance=state.chance, tries=TRIES, deadline=deadline
        )
        return answer

    def _next(self) -> Settlement | _Gone | _Unsure | None:
        """What is to be settled; the limiter's lock is held."""
        state, ledger = self._state, self._ledger
        hold, now = self._hold(), state.rate_time.now_ns()
        if now is None:
            return None
        if ledger.is_unsure(now=now) and not reserves(self._book):
            return _Unsure()
        if hold is not None and self._is_made_anew(hold):
            ledger.made_anew()
        swept = ledger.swept(hold)
        if swept or hold is None:
            return _Gone(tuple(swept)) if swept else None
        if ledger.under_way is not None and not covers(hold, ledger.under_way):
            ledger.under_way = None
        return ledger.settlement(
            hold,
            process=state.process,
            lane=_lane(state),
            attempt=f"{state.chance.getrandbits(64):016x}",
            reserving=reserves(self._book),
            now=now,
        )

    def _made(self, settlement: Settlement) -> Settle | None:
        """The request, as of now; None if what it settles is not held any more."""
        state, hold = self._state, self._hold()
        policy, now = state.policy, state.rate_time.now_ns()
        if hold is None or policy is None or now is None or not covers(hold, settlement):
            return None
        request = settle(
            policy,
            self._ledger.seen,
            {name: Reserved(permits=amount, interval=1) for name, amount in settlement.held.items()},
            settlement.used,
            attempt=Attempt(key=self._key, id=settlement.attempt, lane=settlement.lane, process=settlement.process),
            known=(hold.attempt,),  # the ledger knows by the amounts whether it was swept
            now=now,
            retention=round(state.retention),
        )
        return None if isinstance(request, Swept) else request

    def _is_made_anew(self, hold: Hold) -> bool:
        """Whether a charge that is not answered yet, or was given up, made the hold anew."""
        flight, without_base = self._book.flight, {None}
        if self._ledger.starts_with(hold.attempt):
            return True
        if flight is not None and hold.attempt == flight.attempt:
            return {charge.hold_before for charge in flight.sent} == without_base
        reserving = self._book.reserving or {}
        return hold.attempt in reserving and reserving[hold.attempt] is None

    def _hold(self) -> Hold | None:
        seen = self._ledger.seen
        return None if seen is None else seen.holds.get(self._state.process)


def _sweep(state: LimiterState, key: str, book: KeyBook) -> Settle | None:
    known, policy, now = book.known, state.policy, state.rate_time.now_ns()
    if known is None or not known.holds or policy is None or now is None:
        return None
    # This process's own hold too: nobody else may be left to sweep it.
    attempt = Attempt(key=key, id=f"{state.chance.getrandbits(64):016x}", lane=_lane(state))
    return sweep(policy, known, attempt=attempt, now=now, retention=round(state.retention))


def _learn(state: LimiterState, book: KeyBook, found: Any, since: int | None) -> None:  # noqa: ANN401 - a key's state
    now = state.rate_time.now_ns()
    with state.lock:
        book.learn(found, now=book.known_at if now is None else now, process=state.process, since=since)


def _lane(state: LimiterState) -> int:
    """Where settlements are recorded. Not where charges of this process are: they would overwrite each other's."""
    return (state.lane + LANES // 2) % LANES
