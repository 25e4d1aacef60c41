"""The local book: what this process has admitted of each key by itself, while the service did not answer.

Invariants:

- Of each key it admits, in any t seconds, at most ``share * (rate * t + burst)``, and one permit at least; on the
  steady clock, for all threads of the process together.
- A key is forgotten only when all its permits are paid for. So memory is bounded by `MOST_KEYS` that are not; further
  keys share one entry. A key that gets an entry of its own begins where the shared one stands: the strict side.
- No I/O and no clock. The limiter's lock guards it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Final

from ddb_lease._protocol.rates.charging import Denial, NotBefore, Wanted, earliest_due
from ddb_lease._protocol.rates.local_share import charged, is_idle, share_of
from ddb_lease._protocol.rates.records import KeyState, LimitPolicy

MOST_KEYS: Final = 10_000
"""Keys with an entry of their own."""

_LOOKED_AT: Final = 16
"""Of how many old entries we see, for each new one, whether they may go."""


class LocalBook:
    """What one limiter has admitted by itself in one process.

    Args:
        share: Of the rate; more than 0, and 1 at most.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._keys: OrderedDict[str, KeyState] = OrderedDict()
        self._shared: KeyState | None = None

    def due(self, key: str, wanted: Wanted, limits: Mapping[str, LimitPolicy], *, now: int) -> Denial:
        """When permits could be had, as `NotBefore`, or why never; arguments as for `take`. Nothing is charged."""
        return earliest_due(share_of(limits, self.share), self.state_of(key), wanted, now=now)

    def take(
        self, key: str, wanted: Wanted, limits: Mapping[str, LimitPolicy], *, now: int, horizon: int, at: int = 0
    ) -> int | Denial:
        """Charge permits that are due within the horizon; returns when they are due, or why they are not had.

        Args:
            key: Of which key.
            wanted: Permits of `limits`.
            limits: As they hold for the key.
            now: On the steady clock, in nanoseconds.
            horizon: How much later the permits may be due, in nanoseconds.
            at: When they are used at the earliest: those of others are, with which they are taken together.
        """
        policy = share_of(limits, self.share)
        own, state = self._entry(key, now)
        due = earliest_due(policy, state, wanted, now=now)
        if not isinstance(due, NotBefore) or max(due.at, at) > now + horizon:
            return due
        after = charged(policy, state, wanted, due=max(due.at, at))
        if own:
            self._keys[key] = after
        else:
            self._shared = after
        return max(due.at, at)

    def state_of(self, key: str) -> KeyState | None:
        """Where a key stands."""
        return self._keys.get(key, self._shared)

    def __len__(self) -> int:
        return len(self._keys)

    def _entry(self, key: str, now: int) -> tuple[bool, KeyState | None]:
        """Whether a key has, or gets, an entry of its own; and what it stands at."""
        found = self._keys.get(key)
        if found is not None:
            self._keys.move_to_end(key)
            return True, found
        if self._shared is not None and is_idle(self._shared, now=now):
            self._shared = None
        for old in [old for old in islice(self._keys, _LOOKED_AT) if is_idle(self._keys[old], now=now)]:
            del self._keys[old]
        return len(self._keys) < MOST_KEYS, self._shared
