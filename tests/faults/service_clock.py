"""The service's clock, and its judgement on the times of signatures. For a `Proxy` to decide by.

Invariants:

- It refuses what the service refuses, in its words: a signature more than five minutes off, and one whose key is of
  another day than its time. A refused request does not reach the engine.
- Each answer has the service's Date, an engine's too. Odd Dates, and answers without one, are for the test to ask for.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta, timezone

from tests.faults.proxy import Asked, Fate, refusal

TOLERANCE = 300.0
"""Seconds by which a signature may be off."""

_STAMP = "%Y%m%dT%H%M%SZ"
_CODE = "InvalidSignatureException"


class ServiceClock:
    """Decides the fate of requests by the times of their signatures.

    Attributes:
        ahead: By how many seconds the service's clock is ahead of this machine's.
        dated: Whether its refusals have a Date.
        odd: The errors of the Dates of the next refusals, in seconds.
        refuses: How many of the next requests of an operation are refused whatever their time is.
        asked: The requests that came, in order.
    """

    def __init__(self, *, ahead: float = 0.0, dated: bool = True) -> None:
        self.ahead = ahead
        self.dated = dated
        self.odd: list[float] = []
        self.refuses: Counter[str] = Counter()
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Fate:
        self.asked.append(asked)
        signed = datetime.strptime(asked.stamp, _STAMP).replace(tzinfo=timezone.utc)
        if asked.scope_date != asked.stamp[:8]:
            return self._refused("scope", f"Date in Credential scope does not match: '{asked.scope_date}'")
        now = datetime.fromtimestamp(time.time() + self.ahead, timezone.utc)
        bound, off = timedelta(seconds=TOLERANCE), signed - now
        if off < -bound or self.refuses[asked.operation]:
            self.refuses[asked.operation] = max(0, self.refuses[asked.operation] - 1)
            oldest = f"{now - bound:{_STAMP}} ({now:{_STAMP}} - 5 min.)"
            return self._refused("untimely", f"Signature expired: {asked.stamp} is now earlier than {oldest}")
        if off > bound:
            latest = f"{now + bound:{_STAMP}} ({now:{_STAMP}} + 5 min.)"
            return self._refused("untimely", f"Signature not yet current: {asked.stamp} is still later than {latest}")
        return Fate(name="accepted", ahead=self.ahead)

    def off(self, asked: Asked) -> float:
        """By how many seconds a request's signature was ahead of the service's clock, as of now."""
        signed = datetime.strptime(asked.stamp, _STAMP).replace(tzinfo=timezone.utc)
        return signed.timestamp() - time.time() - self.ahead

    def _refused(self, name: str, said: str) -> Fate:
        ahead = self.ahead + (self.odd.pop(0) if self.odd else 0.0) if self.dated else None
        return Fate(name=name, commits=False, says=refusal(_CODE, said, of="com.amazon.coral.service#"), ahead=ahead)
