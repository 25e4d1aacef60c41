"""The gate: when permits that are due may be used, so that one process alone never exceeds its rate.

Permits are due by the estimate of the service's time, and are used when an answer has come and a thread has woken.
Both take a little longer for one permit than for the next, so permits may come together that were due one after the
other. The gate is a plain GCRA on the steady clock, passed at the moment of use: in any t seconds, at most
``rate * t + burst`` pass. The wait is as long as such delays differ: some milliseconds.

Invariants:

- Only booked permits pass it. A reservation is settled lower than it was charged, and a gate that counted all of it
  would hold back what the table gives again.
- It never admits anything by itself: only permits that are charged and due come to it.
- All times are whole nanoseconds of the steady clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import cast

from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.records import LimitPolicy


class UseGate:
    """The gate of one key in one process. Not thread-safe: its key's lock guards it."""

    __slots__ = ("_tats",)

    def __init__(self) -> None:
        self._tats: tuple[str | int, ...] = ()  # name, tat, name, tat: a dict would take three times as much memory

    def wait_ns(self, wanted: Wanted, limits: Mapping[str, LimitPolicy], *, now: int, passes: bool = True) -> int:
        """How long these permits must still wait; 0: they have passed, and count as used now.

        Args:
            wanted: The permits.
            limits: Those that hold for the key.
            now: On the steady clock.
            passes: Whether they pass if they may; otherwise nothing is counted.
        """
        tats = cast("dict[str, int]", dict(zip(self._tats[::2], self._tats[1::2], strict=True)))
        costs = {name: n * limits[name].interval for name, n in wanted.booked.items() if n and name in limits}
        was = {name: _tat(tats.get(name, now), limits[name], now) for name in costs}
        # What was booked under a larger burst passes as if it were the whole burst.
        earliest = max((tat + min(0, costs[name] - limits[name].tolerance) for name, tat in was.items()), default=now)
        if earliest > now:
            return earliest - now
        if not passes:
            return 0
        tats.update({name: tat + costs[name] for name, tat in was.items()})
        self._tats = tuple(chain.from_iterable(tats.items()))
        return 0


def _tat(tat: int, limit: LimitPolicy, now: int) -> int:
    # What passed under another policy holds nobody back for longer than the limit's own burst takes to come back.
    return max(now, min(tat, now + limit.tolerance))
