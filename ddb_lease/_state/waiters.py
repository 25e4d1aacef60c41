"""The queue of one process's waiters for slots of one bucket.

Invariants:

- Waiters are served in the order in which they came, those of a higher priority first. The first one looks for all.
  When it leaves, the next is woken;
  when slots come free, as many waiters are woken as these can serve. So the process sends one poll, however many of its
  threads wait. If the first wants several slots together, the next that wants fewer looks too: it may be served while
  the first still waits.
- No I/O, no clock, and no lock: `Hints` guards the queue. No waiter is woken while that lock is held.
- The queue stays consistent if a signal handler calls it in the middle of any of its methods.
"""

from __future__ import annotations

import heapq
import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ddb_lease._protocol.queueing import Standing
from ddb_lease._protocol.records import PER_TRANSACTION
from ddb_lease._protocol.tickets import HIGHEST_PRIORITY, Ticket


@dataclass(eq=False)
class Waiter:
    """A place in the queue; `wake` ends its holder's pause, from any thread.

    The queue has only a weak reference to it: if an interrupt ends a waiter before it leaves, its place disappears.

    Attributes:
        wake: Ends its holder's pause.
        count: How many slots it wants together.
        priority: Those of a higher one come first.
        place: What the queue is sorted by.
        ticket: Its ticket in an ordered bucket's queue, once it may be in the table.
        standing: Where it stood in that queue, as it last saw; None if it has not looked.
    """

    wake: Callable[[], None]
    count: int = 1
    priority: int = 0
    place: tuple[int, int] = (0, -1)
    ticket: Ticket | None = None
    standing: Standing | None = None


class WaitQueue:
    """Waiters in the order in which they came. Finding the first costs the same however many others wait."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], OrderedDict[tuple[int, int], weakref.ref[Waiter]]] = {}
        self._serial = itertools.count()

    def __len__(self) -> int:
        return sum(map(len, list(self._places.values())))

    def __contains__(self, waiter: Waiter) -> bool:
        places = self._places.get(_kind(waiter))
        reference = None if places is None else places.get(waiter.place)
        return reference is not None and reference() is waiter

    def is_first(self, waiter: Waiter, free: int) -> bool | None:
        """Whether a waiter is one of the `first`; None if it is not in the queue."""
        return waiter in self.first(free) if waiter in self else None

    def join(self, waiter: Waiter, free: int) -> bool:
        """Join at the end; returns whether the waiter is one of the `first`."""
        waiter.place = HIGHEST_PRIORITY - waiter.priority, next(self._serial)
        self._places.setdefault(_kind(waiter), OrderedDict())[waiter.place] = weakref.ref(waiter)
        return waiter in self.first(free)

    def leave(self, waiter: Waiter) -> bool:
        """Leave from any place, if the waiter is in the queue; returns whether others are left."""
        if waiter in self:
            self._places[_kind(waiter)].pop(waiter.place, None)
        return any(list(self._places.values()))

    def all(self) -> list[Waiter]:
        """All waiters."""
        return [waiter for _, waiter in heapq.merge(*(self._front(kind, len(self)) for kind in list(self._places)))]

    def first(self, free: int) -> list[Waiter]:
        """The longest prefix of waiters that `free` slots can satisfy, and some more, which look for slots as well.

        Those are any later waiters that want fewer slots than all before them.
        """
        fronts = [
            # Of the waiters of one priority that want equally many, only these can be among the first.
            self._front(kind, free // kind[1] + 1)
            for kind, places in list(self._places.items())
            if places
        ]
        if not fronts:
            return []
        first: list[Waiter] = []
        least = PER_TRANSACTION + 1
        for _, waiter in fronts[0] if len(fronts) == 1 else heapq.merge(*fronts):
            served = waiter.count <= free
            if served or waiter.count < least:
                first.append(waiter)
            if served:
                free -= waiter.count
            least = min(least, waiter.count)
            if free <= 0 and least == 1:
                break
        return first

    def _front(self, kind: tuple[int, int], most: int) -> list[tuple[tuple[int, int], Waiter]]:
        places = self._places[kind]
        while True:
            front: list[tuple[tuple[int, int], Waiter]] = []
            vacant: list[tuple[int, int]] = []
            for place, reference in tuple(itertools.islice(places.items(), most)):
                waiter = reference()
                if waiter is None:
                    vacant.append(place)
                else:
                    front.append((place, waiter))
            if not vacant:
                return front
            for place in vacant:
                places.pop(place, None)


def _kind(waiter: Waiter) -> tuple[int, int]:
    """Within these, waiters are in the order in which they came."""
    return waiter.priority, waiter.count
