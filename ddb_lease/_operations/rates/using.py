"""Using permits: a caller sleeps until they are due, and they pass the gate.

Invariants:

- Permits that are due pass in the order of their due times, over the callers of a process; and the gate keeps one
  process within the rate by its own steady clock.
- Permits that are booked far ahead are looked after: every 30 s the policy and the key are read again, by one caller of
  the process. Where the key shows less than when they were booked (a new policy, an override, a reset), and new ones
  would be due earlier, they are forgone: nobody uses them, so no limit admits more for it.
- A look that fails changes nothing: the permits are still booked.
"""

from __future__ import annotations

import contextlib
from typing import Final

from ddb_lease._operations.rates.memory import looks_in
from ddb_lease._operations.rates.policy import ensure_policy
from ddb_lease._operations.rates.preparing import ATTEMPT_SECONDS, look_at_key, require_usable
from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.rates.charging import REMEMBERED, NotBefore, earliest_due
from ddb_lease._protocol.rates.records import KeyState
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.key_book import KeyBook, gave_back, last_seen, wake
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease.errors import ConfigurationError, StoreRejected

PADDING_NS: Final = 1_000
"""Added to a wait, as a pause that ends a moment too soon would be followed by another."""

FAR_NS: Final = 5_000_000_000
"""Permits that are due sooner are waited for, whatever happens."""

GAIN_NS: Final = 2_000_000_000
"""They are booked anew only if that brings them forward by more than this."""

LOOK_AGAIN_SECONDS: Final = 5.0
"""How long a caller sleeps before it sees whether others have looked, or after a look that failed."""


def until_used(state: LimiterState, key: str, book: KeyBook, booking: Booking, *, process: str) -> Operation[bool]:
    """Wait until booked permits are due, and let them pass the gate.

    Args:
        state: The limiter's state.
        key: The key.
        book: Its book.
        booking: Whose permits.
        process: The process that booked them.

    Returns:
        Whether they are used: the booking is then without permits. If not, they were forgone, as new ones would be due
        earlier, and the booking is in the queue again.

    Raises:
        ConfigurationError: The limiter was closed, or this is a child that was forked amid the call.
    """
    shown: tuple[KeyState | None] | None = None  # the key as it was once they were booked
    while True:
        require_usable(state, process)
        now, due = state.rate_time.now_ns(), booking.due
        if due is None or now is None:
            raise ConfigurationError("permits were used twice: a defect of this library")
        wait, pause = due - now, due - now
        if wait <= 0:
            wait, woken = state.use(book, booking, now=now)
            if woken:
                wake(woken, but=booking)
            if wait == 0:
                require_usable(state, process)
                return True
            pause = wait
        shown = shown or (last_seen(book),)
        if due - now > FAR_NS:
            again_in = yield from _look(state, key, book, booking)
            now = state.rate_time.known_now_ns()
            if _forgone(state, book, booking, shown[0], now=now):
                return False
            pause = max(0, min(due - now, round((again_in if again_in > 0 else LOOK_AGAIN_SECONDS) * NS)))
        yield Pause(seconds=(pause + PADDING_NS) / NS, wakeable=True)


def _look(state: LimiterState, key: str, book: KeyBook, booking: Booking) -> Operation[float]:
    """Read what is old, if it is this caller's turn; returns in how many seconds to look again."""
    again_in, contact = looks_in(state, book), state.contact
    if (
        again_in > 0
        or book.booked is None
        or not book.booked.is_last(booking)
        or (contact is not None and contact.down)
    ):
        return again_in
    ends = state.time.steady() + ATTEMPT_SECONDS
    with contextlib.suppress(StoreRejected):
        yield from ensure_policy(state, deadline=ends, wake=booking.wake)
        if state.rate_time.known_now_ns() - book.known_at >= REMEMBERED:
            yield from look_at_key(state, key, give_up_at=ends)
            with state.lock:
                others = book.everybody()
            wake(others, but=booking)
    return 0.0


def _forgone(state: LimiterState, book: KeyBook, booking: Booking, shown: KeyState | None, *, now: int) -> bool:
    """Give up permits that are booked, if new ones would be due earlier; returns whether they were.

    Args:
        state: Of the limiter.
        book: Of the key.
        booking: Its permits are due later.
        shown: The key as it was after they were booked.
        now: The service's time.
    """
    policy, known = state.policy, last_seen(book)
    if policy is None or shown is None or booking.due is None:
        return False
    if policy.rev <= shown.rev and not gave_back(shown, known):
        return False
    due = earliest_due(policy, known, booking.wanted, now=now)
    if not isinstance(due, NotBefore) or due.at + GAIN_NS >= booking.due:
        return False
    with state.lock:
        woken = book.forgo(booking)
    wake(woken, but=booking)
    return True
