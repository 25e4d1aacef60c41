"""The windows of a large bucket: which of them this process has searched lately, and which comes next.

A look shows one window. If nothing is known to be free, an acquire searches, without a pause, all windows that this
process has not searched lately; after that it waits, and each poll looks at the next few windows.

Invariants:

- A window that showed nothing is searched again only after `lately` seconds: by then polls have come round to it. So a
  process that waits for a full bucket reads what its polls read, and each window once more at most.
- Every window comes up in turn, from a random one on: processes do not all look at the same slots.
- It has no clock and no randomness of its own. Threads share it without a lock: in a race two of them look at the same
  window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from random import Random

from ddb_lease._protocol.retry import LONGEST_POLL_SECONDS

POLLED = 3
"""Windows that one poll of a full bucket looks at, and that each try looks at, whatever was searched before."""

TAKEN_SECONDS = 10.0
"""How long a window is left to the acquire that took it to look at. It is given back before, unless that acquire was
interrupted."""


def lately(windows: int) -> float:
    """Seconds within which polls come round to each of so many windows, however long the pauses between them are."""
    return (math.ceil(windows / POLLED) + 1) * LONGEST_POLL_SECONDS


class Windows:
    """One bucket's windows, numbered from 0.

    Attributes:
        count: How many there are, as far as is known.
    """

    def __init__(self) -> None:
        self.count = 0
        self._tokens = 0
        self._next = 0
        self._searched: dict[int, float] = {}
        self._taken: dict[int, float] = {}

    def arrange(self, count: int, chance: Random, *, tokens: int) -> None:
        """Take note of how many there are, of a bucket of so many tokens.

        If the bucket was resized, what was searched before says nothing.
        """
        if tokens != self._tokens:
            self._tokens = tokens
            self.forget()
        if count != self.count:
            self.count, self._next = count, chance.randrange(count)

    def forget(self) -> None:
        """What was seen is no guide any more."""
        self._searched, self._taken = {}, {}

    def in_turn(self, most: int, *, but: Container[int]) -> list[int]:
        """The next windows in turn, searched lately or not.

        Args:
            most: How many at most.
            but: Those not worth a look.
        """
        return self._pick(most, but, lambda _: True)

    def unsearched(self, most: int, *, but: Container[int], now: float) -> list[int]:
        """The next windows in turn that this process has not searched lately, and that no other acquire looks at.

        They are taken until `searched` or `give_back` is called.

        Args:
            most: How many at most.
            but: Those not worth a look.
            now: The steady time.
        """

        def is_free(window: int) -> bool:
            return self._taken.get(window, -math.inf) <= now - TAKEN_SECONDS and self._is_due(window, now)

        found = self._pick(most, but, is_free)
        self._taken.update((window, now) for window in found)
        return found

    def all_searched(self, *, but: Container[int], now: float) -> bool:
        """Whether this process has searched all windows lately; see `unsearched`."""
        return not any(window not in but and self._is_due(window, now) for window in range(self.count))

    def searched(self, window: int, *, at: float) -> None:
        """A look that was sent at steady time `at` has shown nothing for us there."""
        self._searched[window] = at
        self._taken.pop(window, None)

    def give_back(self, window: int) -> None:
        """It was not looked at, or not to the end."""
        self._taken.pop(window, None)

    def _is_due(self, window: int, now: float) -> bool:
        return self._searched.get(window, -math.inf) < now - lately(self.count)

    def _pick(self, most: int, but: Container[int], wanted: Callable[[int], bool]) -> list[int]:
        found: list[int] = []
        first, count = self._next, self.count
        for step in range(count):
            window = (first + step) % count
            if window not in but and wanted(window):
                found.append(window)
                self._next = (window + 1) % count
                if len(found) == most:
                    break
        return found
