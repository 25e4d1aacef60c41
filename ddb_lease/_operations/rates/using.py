"""Using permits: a caller sleeps until they are due, and they pass the gate.

Invariants: permits that are due pass in the order of their due times, over the callers of a process; and the gate
keeps one process within the rate by its own steady clock.
"""

from __future__ import annotations

from typing import Final

from ddb_lease._protocol.messages import Pause
from ddb_lease._protocol.rates.charging import limits_of
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._protocol.retry import Operation
from ddb_lease._state.rates.key_book import Booking, KeyBook, wake
from ddb_lease._state.rates.limiter_state import LimiterState
from ddb_lease._state.rates.use_gate import UseGate
from ddb_lease.errors import ConfigurationError

PADDING_NS: Final = 1_000
"""Added to a wait, as a pause that ends a moment too soon would be followed by another."""


def until_used(state: LimiterState, book: KeyBook, booking: Booking, *, process: str) -> Operation[None]:
    """Wait until booked permits are due, and let them pass the gate. The booking is then without permits: used.

    Args:
        state: The limiter's state.
        book: The key's book.
        booking: Whose permits.
        process: The process that booked them.

    Raises:
        ConfigurationError: The limiter was closed, or this is a child that was forked amid the call.
    """
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
            wake(woken, but=booking)
            if wait == 0:
                return
        yield Pause(seconds=(wait + PADDING_NS) / NS, wakeable=True)


def _pass(state: LimiterState, book: KeyBook, booking: Booking, *, now: int) -> int:
    """Let permits that are due pass the gate, in the order of their due times; returns how long they still wait."""
    wait = 0 if book.booked is None else book.booked.waits_for_others(booking, now=now)
    if wait:
        return wait
    gate = book.gate = book.gate or UseGate()
    limits = state.limits if state.policy is None else limits_of(state.policy, book.known)
    wait = gate.wait_ns(booking.wanted, limits, now=round(state.time.steady() * NS))
    booking.comes_at = now + wait
    return wait
