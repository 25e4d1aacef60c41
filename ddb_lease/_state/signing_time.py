"""The time to sign requests by: the wall clock's, or the service's where the two differ.

Invariants:

- It decides nothing: `_protocol.signing` does. Here is what it decides by: the clocks, what `ServiceTime` knows, and
  what the service said when it last refused a signature for its time.
- Signatures need minutes, leases milliseconds. So this knows nothing that `ServiceTime` rests on, and a Date that
  misleads a signature moves no expiry and no deadline.
"""

from __future__ import annotations

from datetime import timedelta

from ddb_lease._protocol.signing import time_to_sign_by, worth_another_signature
from ddb_lease._state.log import queued as _log
from ddb_lease._state.service_time import Clock, ServiceTime


class SigningTime:
    """By which time the requests of one bucket, or of one rate, are signed. Thread-safe.

    Args:
        time: What is known of the service's time.
        clock: This machine's clocks.
    """

    def __init__(self, time: ServiceTime, clock: Clock) -> None:
        self._time = time
        self._clock = clock
        self._told: float | None = None  # the offset of the service's clock from the steady one, by a refusal
        self._said = False

    def at(self) -> float | None:
        """The time to sign a request by now, in seconds since the epoch; None: the wall clock's, as botocore does."""
        wall, agreed, told = self._clock.wall(), self._time.agreed_now(), self._told
        if told is not None:
            if agreed is not None and not self._time.doubtful:
                self._told = told = None  # better is known since
            else:
                told += self._clock.steady()
        at = time_to_sign_by(wall=wall, agreed=agreed, told=told)
        if at is not None and not self._said:
            self._say(wall - at)
        return at

    def refused(self, date: float | None, *, received: float, refusals: int) -> bool:
        """Note that a signature was refused for its time, to sign by the refusal's Date from now on.

        Args:
            date: The refusal's ``Date`` in seconds since the epoch; None if it has no readable one.
            received: When it came, on the steady clock.
            refusals: How often the same request was refused, this time included.

        Returns:
            Whether to sign and send the same request again, at once. Nothing has come of it yet.
        """
        if date is None:
            return False
        self._told = date + 0.5 - received  # a Date is cut to a second
        return worth_another_signature(refusals)

    def _say(self, off: float) -> None:
        self._said = True
        _log.warning(
            "this machine's wall clock is %s %s the service's: requests are signed by the service's time. Set the "
            "clock: other programs, and what fetches credentials, go by it",
            timedelta(seconds=round(abs(off))),
            "ahead of" if off > 0 else "behind",
        )
