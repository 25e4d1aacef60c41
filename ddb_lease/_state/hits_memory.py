"""What one process knows of hits: the items as last seen, the service's time, chance.

Invariants:

- It decides nothing. What it remembers is a hint: each write requires that it fits the item as it is. A denial alone
  rests on it, for `DENIAL_SECONDS`.
- The `MOST` items that were used last are remembered.
- One lock guards it. Nothing waits while it is held.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from random import Random
from typing import Final

from ddb_lease._protocol.hits import FixedHits, Hits, HitsKey, SlidingHits
from ddb_lease._protocol.rates.validation import NS
from ddb_lease._state.rates.rate_time import RateTime
from ddb_lease._state.service_time import ServiceTime

MOST: Final = 10_000
"""Items that one storage remembers."""

DENIAL_SECONDS: Final = 1.0
"""How long what was seen denies hits without a request. Only a `clear` gives hits back: it may be missed so long."""


@dataclass(slots=True, kw_only=True)
class HitsMemory:
    """What one storage knows in one process.

    Attributes:
        name: Its name in the table.
        time: Bounds on the service's time.
        rate_time: The estimate that hits go by, as rates do.
        chance: A source of randomness that no two processes share.
        seconds: How long a call tries to get an answer.
    """

    name: str
    time: ServiceTime
    rate_time: RateTime
    chance: Random
    seconds: float
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: OrderedDict[HitsKey, tuple[Hits | None, float]] = field(default_factory=OrderedDict)

    def now(self) -> int | None:
        """The service's time in ms; None: ask for it first."""
        now = self.rate_time.now_ns()
        return None if now is None else now * 1000 // NS

    def learn(self, key: HitsKey, hits: Hits | None) -> None:
        """An item was seen just now; None: it was seen that there is none."""
        with self._lock:
            self._seen[key] = hits, self.time.steady()
            self._seen.move_to_end(key)
            if len(self._seen) > MOST:
                self._seen.popitem(last=False)

    def fixed(self, key: HitsKey) -> FixedHits | None:
        """A fixed window as last seen."""
        with self._lock:
            hits, _ = self._seen.get(key, (None, 0.0))
        return hits if isinstance(hits, FixedHits) else None

    def sliding(self, key: HitsKey) -> tuple[SlidingHits | None, bool]:
        """A sliding window as last seen, and whether that was just now."""
        with self._lock:
            hits, at = self._seen.get(key, (None, 0.0))
        recent = self.time.steady() - at < DENIAL_SECONDS
        return (hits, recent) if isinstance(hits, SlidingHits) else (None, False)

    def forget_all(self) -> None:
        """Nothing is known any more."""
        with self._lock:
            self._seen.clear()

    def after_fork_in_child(self) -> None:
        """In a forked child: make a new lock, as a thread of the parent may have held the old one."""
        self._lock = threading.Lock()
