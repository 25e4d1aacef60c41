"""What a limiter decides by itself where the service does not answer within a decision's budget.

Invariants:

- Under parents, the key's own limiter decides for all. With ``local``, permits are of the shares of all, or of none.
- It sends nothing. Whether the service answers again is found out by the calls that ask it, one at a time.
- ``local`` books at most `LOCAL_HORIZON_SECONDS` ahead: a caller that waits longer asks for the service again in
  between, and so meets its recovery.
- A booking here is not in the table. If the service answers meanwhile, it is used all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.outcomes import Admission, Busy, DecidedHere, OutOfTurn, Unavailable
from ddb_lease._protocol.rates.charging import Denial, NotBefore, Wanted, limits_of
from ddb_lease._protocol.rates.records import LimitPolicy, Policy
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease._state.rates.local_book import LocalBook
from ddb_lease._state.rates.service_contact import ServiceContact

LOCAL_HORIZON_SECONDS: Final = 5.0
"""How far ahead permits are booked here."""

AGAIN_SECONDS: Final = 1.0
"""After how long a waiting caller asks again."""


def noting(operation: Operation[Admission], state: LimiterState, contact: ServiceContact) -> Operation[Admission]:
    """The same operation; what comes of its requests is noted as contact with the service."""
    answer: Any = None
    while True:
        try:
            effect = operation.send(answer)
        except StopIteration as stop:
            outcome: Admission = stop.value
            return outcome
        sent = state.time.steady()
        answer = yield effect
        if not isinstance(effect, Pause):
            contact.note(answer, sent=sent, now=state.time.steady())


def unanswered(outcome: Admission, trouble: Exception | None) -> Exception | None:
    """Why the table has not decided; None: it has.

    Args:
        outcome: Of a call.
        trouble: Why the callers in front of it could not ask.
    """
    if isinstance(outcome, (Busy, Unavailable)):
        return outcome.cause
    return trouble if isinstance(outcome, OutOfTurn) else None


@dataclass(frozen=True, slots=True)
class Beside:
    """A parent of a key of which permits are wanted."""

    state: LimiterState
    key: str
    wanted: Wanted


def decide_here(
    state: LimiterState,
    contact: ServiceContact,
    key: str,
    wanted: Wanted,
    *,
    deadline: float,
    patient: bool,
    beside: Sequence[Beside] = (),
) -> Operation[DecidedHere | None]:
    """Decide without the table, and wait until the permits may be used.

    Args:
        state: Of the limiter.
        contact: Its settings are `allow`, `deny` or `local`.
        key: Of which key permits are wanted.
        wanted: The permits.
        deadline: When to give up, on the steady clock.
        patient: Whether to wait for permits.
        beside: The key's parents.

    Returns:
        The decision; None: ask the service again.
    """
    if contact.on_unavailable == "allow":
        return DecidedHere(allowed=True, by="allow")
    began = state.time.steady()
    if contact.on_unavailable == "deny":
        return DecidedHere(allowed=False, by="deny", retry_in=contact.asks_in(began))
    left = max(0.0, deadline - began)
    now, horizon = round(began * NS), round(min(left, LOCAL_HORIZON_SECONDS) * NS) if patient else 0
    books = [contact.local, *(contact.book_of(one.state.name, one.state.contact) for one in beside)]
    members = [Beside(state, key, wanted), *beside]
    shares = [_Local(one.state, book, one.key, one.wanted) for one, book in zip(members, books, strict=True)]
    due = _take(shares, now=now, horizon=horizon)
    if isinstance(due, int):
        while (wait := due / NS - state.time.steady()) > 0:
            yield Pause(seconds=wait, wakeable=False)
            if state.closed:
                raise state.closed_error()
        return DecidedHere(allowed=True, by="local")
    if not patient or left <= 0:
        retry_in = (due.at - now) / NS if isinstance(due, NotBefore) else contact.asks_in(began)
        return DecidedHere(allowed=False, by="local", retry_in=max(0.0, retry_in))
    yield Pause(seconds=min(left, AGAIN_SECONDS), wakeable=False)
    return None


@dataclass(frozen=True, slots=True)
class _Local:
    """Permits of one key, and the book of this process's share that they are taken of."""

    state: LimiterState
    book: LocalBook
    key: str
    wanted: Wanted

    @property
    def asked(self) -> tuple[str, Wanted, Mapping[str, LimitPolicy]]:
        """What to ask the book for."""
        return self.key, _possible(self.state, self.wanted), limits_here(self.state, self.key)


def _take(shares: Sequence[_Local], *, now: int, horizon: int, locked: int = 0) -> int | Denial:
    """Take permits of all shares, for the time at which the last of them can be had; or of none."""
    states = sorted({id(share.state): share.state for share in shares}.values(), key=id)
    if locked < len(states):  # always in this order
        with states[locked].lock:
            return _take(shares, now=now, horizon=horizon, locked=locked + 1)
    at = now
    for share in shares:
        due = share.book.due(*share.asked, now=now)
        if not isinstance(due, NotBefore) or due.at > now + horizon:
            return due
        at = max(at, due.at)
    for share in shares:
        share.book.take(*share.asked, now=now, horizon=horizon, at=at)
    return at


def limits_here(state: LimiterState, key: str) -> Mapping[str, LimitPolicy]:
    """The limits that hold for a key, as far as this process knows."""
    return limits_of(Policy(limits=state.limits, rev=0), state.book(key).known)


def _possible(state: LimiterState, wanted: Wanted) -> Wanted:
    """What is wanted, without limits that the policy has no more."""
    limits = state.limits
    if all(name in limits for name in wanted.limits):
        return wanted
    booked, reserved = (
        {name: count for name, count in some.items() if name in limits} for some in (wanted.booked, wanted.reserved)
    )
    return Wanted(booked=booked, reserved=reserved)
