"""Signing: by which time a request is signed, and whether a refusal for its time is worth another signature. Pure.

A signature carries a time, and the service refuses those more than some minutes off: with a wrong wall clock, no lease
could be had or kept, whatever the protocol promises without one.

Invariants:

- The wall clock signs until something stronger speaks against it: a refusal, or three answers that agree with one
  another. That a request was accepted says that its time was right, whatever a single odd Date says.
- What a refusal said rules until three answers agree and none contradicts them. The refusal was the service's own
  judgement on the time that we thought right.
- A refused signature means that nothing happened: the same request may be sent again as it is. It is, at once, by the
  Date of the refusal. Once is enough if that Date is right. Two in a row may be odd, and may agree with one another
  (see `_state.offset`): the third is right.
"""

from __future__ import annotations

from typing import Final

TOLERATED_SECONDS: Final = 60.0
"""By how much the wall clock may differ from the service's before we sign by the service's: the service allows for some
minutes, of which a request may need a part to arrive."""

MOST_REPEATS: Final = 3
"""How often one request is signed anew: two odd Dates in a row, and a right one."""


def time_to_sign_by(*, wall: float, agreed: float | None, told: float | None) -> float | None:
    """The time for a signature; None: the wall clock's. All in seconds since the epoch.

    Args:
        wall: What this machine's wall clock says.
        agreed: The service's time, as three answers agree; None if they do not yet.
        told: The service's time by the last refusal; None if there was none, or better is known since.
    """
    time = agreed if told is None else told
    return None if time is None or abs(wall - time) <= TOLERATED_SECONDS else time


def worth_another_signature(refusals: int) -> bool:
    """Whether a request that was refused so often for its time is to be signed by the last refusal's Date, and sent."""
    return refusals <= MOST_REPEATS
