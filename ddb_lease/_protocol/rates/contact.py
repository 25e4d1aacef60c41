"""Contact with the service: whether it answers, and who asks it while it does not. A circuit breaker, pure.

Invariants:

- A state is frozen: an event takes it to the next one. Times are on the steady clock, and come in as arguments.
- One failure among answers is no outage: it begins with a request that was sent after the last answer, and lasts for
  `patience` without any.
- In an outage one caller at a time asks the service: the probe. The next one may ask `PROBE_SECONDS` later, whatever
  became of the first. Any answer ends the outage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

PROBE_SECONDS: Final = 1.0
"""How often the service is asked in an outage, at most. So long an outage that is over may go on for us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What is known of the service's answers.

    Attributes:
        answered_at: When the last answer came.
        failing_since: When the first request was sent that has no answer, and none came since; None if there is none.
        down: Whether this is an outage.
        asks_at: When the next caller may ask; only in an outage.
    """

    answered_at: float = -math.inf
    failing_since: float | None = None
    down: bool = False
    asks_at: float = -math.inf

    def answered(self, *, now: float) -> Contact:
        """The service answered a request, if only to refuse it."""
        return Contact(answered_at=max(now, self.answered_at))  # threads may come in another order

    def unanswered(self, *, sent: float, now: float, patience: float) -> Contact:
        """A request had no answer.

        Args:
            sent: When it was sent.
            now: When that was known.
            patience: How long nothing is answered before it counts as an outage.
        """
        if sent < self.answered_at:
            return self  # others were answered meanwhile
        since = sent if self.failing_since is None else self.failing_since
        if self.down or now - since < patience:
            return replace(self, failing_since=since)
        return replace(self, failing_since=since, down=True, asks_at=now + PROBE_SECONDS)

    def may_probe(self, now: float) -> bool:
        """Whether the next caller asks the service, in an outage."""
        return now >= self.asks_at

    def probed(self, now: float, *, budget: float) -> Contact:
        """A caller asks, and has so long until it knows."""
        return replace(self, asks_at=now + max(PROBE_SECONDS, budget))
