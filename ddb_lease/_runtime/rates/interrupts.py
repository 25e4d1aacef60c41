"""What an interrupt leaves behind of a call for permits, and who cleans it up.

Invariant: an interrupt may come at any point. What nobody gets, nobody uses; and nobody who has permits sleeps on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.hold_ledger import Held
from ddb_lease._state.rates.limiter_state import LimiterState


def interrupted(state: LimiterState, key: str, booking: Booking) -> None:
    """Clean up after a call that an interrupt ended, or an error.

    Nobody uses what it reserved. Others may have been dealt permits, and not been woken: who has none sleeps on.
    """
    with state.lock:
        if booking.held is not None:
            booking.held.give_up()
        everybody = state.book(key).everybody()
    for other in everybody:
        other.wake()


@contextlib.contextmanager
def handing_over(state: LimiterState, held: Sequence[Held]) -> Iterator[None]:
    """If the block is interrupted, nobody gets what was reserved, and nobody uses it."""
    try:
        yield
    except BaseException:
        with state.lock:
            for one in held:
                one.give_up()
        raise
