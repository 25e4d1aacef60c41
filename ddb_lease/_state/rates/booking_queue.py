"""A queue of callers: first come, first served, and each leaves from any place.

Invariants:

- It has only weak references: if an interrupt ends a caller before it leaves, its place disappears.
- Joining, leaving and looking for the first take the same time however many wait: thousands of tasks of an event loop
  may wait for one key, and each of them looks now and then.
- No clock. The limiter's lock guards it, and is reentrant: a signal handler may change it between two steps of a loop,
  so loops go over copies.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from itertools import islice
from typing import Generic, TypeVar

Caller = TypeVar("Caller")


class BookingQueue(Generic[Caller]):
    """A queue; its owner makes it when somebody waits."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: OrderedDict[int, weakref.ref[Caller]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._places)

    def __contains__(self, caller: object) -> bool:
        place = self._places.get(id(caller))
        return place is not None and place() is caller

    def join(self, caller: Caller) -> None:
        """Join at the end."""
        self._places.pop(id(caller), None)  # one that is gone, and had the same id
        self._places[id(caller)] = weakref.ref(caller)

    def leave(self, caller: Caller) -> bool:
        """Leave, from any place, if it is in the queue; returns whether anybody is left."""
        if caller in self:
            self._places.pop(id(caller), None)
        return bool(self._places)

    def first(self) -> Caller | None:
        """The first one that still exists."""
        for number in self._places:
            place = self._places.get(number)
            caller = None if place is None else place()
            if caller is not None:
                return caller
            break
        return self._first_of_many()

    def waiting(self, most: int | None = None) -> list[Caller]:
        """Those who wait, in order, at most so many."""
        places = self._places.values()
        copied = list(places) if most is None else list(islice(places, most))
        return [caller for caller in (place() for place in copied) if caller is not None]

    def _first_of_many(self) -> Caller | None:
        """The same, where the first place has no owner any more; such places are removed."""
        for number, place in list(self._places.items()):
            caller = place()
            if caller is not None:
                return caller
            self._places.pop(number, None)
        return None
