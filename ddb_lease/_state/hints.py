"""What one process remembers of a bucket, and who in it waits: hints that save requests, never a ground for safety.

Invariants:

- Every hint may be stale; a request built on one is guarded by its condition. Losing all of it costs a look.
- A free slot is handed to one thread only, so that two of one process do not race for the same one.
- Waiters stand in line. The first one looks for all; the next is woken when it leaves, and as many as there are free
  slots for are woken when some come free. So a process polls as one, however many threads wait in it. Where the first
  wants several slots together, so does the next who wants fewer: it may be served while the first waits on.
- No I/O and no clock: times come in. A lock, as threads share it, and a reentrant one, as a signal handler may
  release a lease while its own thread is in here; nobody is called while it is held.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from random import Random

from ddb_lease._protocol.decisions import is_idle
from ddb_lease._protocol.records import PER_TRANSACTION, Counter, Slot, View
from ddb_lease._state.fairness import Fairness

_STALE_SECONDS = 15.0
"""If the first in line has not tried for this long, others stop relying on it."""


_STALE_NUMBERS = 64
"""Numbers in the pool of free slots, besides twice as many as there are, before those that were taken are swept out."""


class Waiter:
    """A place in the waiting line; `wake` ends its holder's pause, from any thread.

    The line knows it weakly: the place of a waiter that was torn away without leaving falls vacant by itself.

    Args:
        wake: Ends its holder's pause.
        count: How many slots it wants together.
    """

    def __init__(self, wake: Callable[[], None], count: int = 1) -> None:
        self.wake = wake
        self.count = count
        self.place = -1


class WaitQueue:
    """Those who wait, in the order of their coming. What the first of them cost does not grow with the others.

    It stays whole where a signal handler comes back for it amid any of its methods.
    """

    def __init__(self) -> None:
        self._places: dict[int, OrderedDict[int, weakref.ref[Waiter]]] = {}
        self._serial = itertools.count()

    def __len__(self) -> int:
        return sum(map(len, list(self._places.values())))

    def __contains__(self, waiter: Waiter) -> bool:
        places = self._places.get(waiter.count)
        place = None if places is None else places.get(waiter.place)
        return place is not None and place() is waiter

    def join(self, waiter: Waiter) -> None:
        waiter.place = next(self._serial)
        self._places.setdefault(waiter.count, OrderedDict())[waiter.place] = weakref.ref(waiter)

    def leave(self, waiter: Waiter) -> None:
        if waiter in self:
            self._places[waiter.count].pop(waiter.place, None)

    def all(self) -> list[Waiter]:
        return [waiter for _, waiter in heapq.merge(*(self._front(count, len(self)) for count in list(self._places)))]

    def first(self, free: int) -> list[Waiter]:
        """Those at its head whom so many free slots are enough for, and who else is to look for some."""
        fronts = [
            # Of those who want as many as each other, no more than these can be among the first.
            self._front(count, free // count + 1)
            for count, places in list(self._places.items())
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

    def _front(self, count: int, most: int) -> list[tuple[int, Waiter]]:
        places = self._places[count]
        while True:
            front: list[tuple[int, Waiter]] = []
            vacant: list[int] = []
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


class FreeSlots:
    """Numbers of slots last seen free, each with its fence; one is drawn in constant time, however many they are.

    It stays whole where a signal handler comes back for it amid any of its methods: the dict alone says what is there,
    and a draw passes over what is left in the pool of what was taken.
    """

    def __init__(self) -> None:
        self._fences: dict[int, int] = {}
        self._pool: list[int] = []

    def __len__(self) -> int:
        return len(self._fences)

    def __contains__(self, number: object) -> bool:
        return number in self._fences

    def numbers(self) -> list[int]:
        """All of them."""
        return list(self._fences)

    def put(self, number: int, fence: int) -> None:
        """Remember one, or its new fence."""
        if number not in self._fences:
            self._pool.append(number)
        self._fences[number] = fence

    def take(self, number: int) -> int | None:
        """Forget one; returns its fence, None where it was not there."""
        return self._fences.pop(number, None)

    def take_among(self, numbers: range) -> None:
        """Forget all of these."""
        for number in numbers if len(numbers) < len(self) else [n for n in self.numbers() if n in numbers]:
            self.take(number)

    def clear(self) -> None:
        """Forget all."""
        self._fences.clear()

    def draw(self, chance: Random) -> int | None:
        """One of them, by chance; it stays. None where there is none."""
        while self._fences:
            pool = self._pool
            if not pool or len(pool) > _STALE_NUMBERS + 2 * len(self._fences):
                pool = self._pool = list(self._fences)
            place = chance.randrange(len(pool))
            number = pool[place]
            if number in self._fences:
                return number
            pool[place] = pool[-1]
            pool.pop()
        return None


class Hints:
    """Hints about one bucket, shared by all threads of a process.

    Attributes:
        turn: When this process lets others have what it has had.
        look_at: When the next look is due, of all that wait here for a full bucket.
        looked_at: When a look last showed the counter.
        news: Counts what a look that was under way meanwhile does not know of: slots released here, and wakes of all.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counter: Counter | None = None
        self._free = FreeSlots()
        self._own_release = -1
        self.fairness = Fairness()
        self.look_at = -math.inf
        self.looked_at = -math.inf
        self.news = 0
        self._queue = WaitQueue()
        self._tried_at = 0.0

    @property
    def counter(self) -> Counter | None:
        """The counter as last seen."""
        return self._counter

    def learn_counter(self, counter: Counter, *, sure: bool = False) -> bool:
        """Keep the newest counter; returns whether its settings are other than those known.

        One seen for `sure` (consistently, or with a write) is kept whatever its `rev`: a bucket that was deleted and
        made anew may count from a lower one. Else the higher `rev` is the newer.
        """
        with self._lock:
            known = self._counter
            if sure or known is None or counter.rev >= known.rev:
                self._counter = counter
            return known is None or known.settings != counter.settings

    def forget(self) -> None:
        """The bucket is gone: what was known of it is void."""
        with self._lock:
            self._counter = None
            self._free.clear()
            self.look_at = -math.inf

    def forget_free(self) -> None:
        """Whatever was last seen free may be so no more: look."""
        with self._lock:
            self._free.clear()
            self.look_at = -math.inf

    def learn_view(self, view: View, *, by: Waiter | None = None, since: int | None = None) -> None:
        """Keep which slots a look showed as free; wake as many waiters, but not the one that looked.

        Args:
            view: What it showed.
            by: Who looked.
            since: `news` when it was sent: what was released here after that, it may show as leased.
        """
        with self._lock:
            own = self._own_release
            kept = None if since in {None, self.news} else self._free.take(own)
            self._free.take_among(view.covered)
            if kept is not None:
                self._free.put(own, kept)
            for number, slot in view.slots.items():
                if _is_free(slot):
                    self._free.put(number, slot.fence)
            woken = self._to_be_served()
        _wake(woken, but=by)

    def learn_slot(self, number: int, slot: Slot | None, *, by: Waiter | None = None) -> None:
        """Keep what became of one slot; a free one wakes a waiter, but not the one that found out."""
        with self._lock:
            if slot is None or not _is_free(slot):
                self._free.take(number)
                return
            self._free.put(number, slot.fence)
            woken = self._to_be_served()
        _wake(woken, but=by)

    def take_free(self, chance: Random, *, elsewhere: bool = False) -> tuple[int, int] | None:
        """A slot last seen free, and its fence; it is then remembered no more.

        The one that this process released last comes first: nobody else is as likely to know of it. Where none was,
        one is drawn.

        Args:
            chance: Draws one.
            elsewhere: Rather any other than the one released last.
        """
        with self._lock:
            counter = self._counter
            if counter is None:
                return None
            own = self._free.take(self._own_release) if elsewhere and len(self._free) > 1 else None
            if own is not None:
                other = self._free.draw(chance)
                self._free.put(self._own_release, own)
                fence = None if other is None else self._free.take(other)
                if other is not None and fence is not None and other < counter.max_tokens:
                    return other, fence
            while True:
                number = self._own_release if self._own_release in self._free else self._free.draw(chance)
                if number is None:
                    return None
                fence = self._free.take(number)
                if fence is not None and number < counter.max_tokens:
                    return number, fence

    def take_free_together(self, count: int, chance: Random) -> list[tuple[int, int]]:
        """So many slots last seen free, and their fences, to be remembered no more; none where there are not enough."""
        with self._lock:
            counter = self._counter
            known = [n for n in self._free.numbers() if counter is not None and n < counter.max_tokens]
            if len(known) < count:
                return []
            taken = [(number, self._free.take(number)) for number in chance.sample(known, count)]
            return [(number, fence) for number, fence in taken if fence is not None]

    @property
    def free(self) -> int:
        """How many slots were last seen free, and are not handed out."""
        return len(self._free)

    def released(self, number: int, slot: Slot, *, now: float) -> None:
        """This process released a slot itself: the best guess for its next acquire, and for its waiters."""
        self._own_release = number
        self.news += 1
        self.fairness.released(now)
        self.learn_slot(number, slot)

    def join(self, waiter: Waiter) -> None:
        """Stand in line, at its end."""
        with self._lock:
            self._queue.join(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Leave the line, wherever one stands in it; whoever is first then is woken."""
        with self._lock:
            self._queue.leave(waiter)
            woken = self._first_in_line()
        _wake(woken)

    def wake_all(self) -> None:
        """Wake everybody in line, to look anew."""
        with self._lock:
            self.look_at = -math.inf
            self.news += 1
            woken = self._queue.all()
        _wake(woken)

    def my_turn(self, waiter: Waiter | None, *, now: float) -> bool:
        """Whether this waiter may send requests: it stands among the first, or those in front seem to be stuck."""
        with self._lock:
            waiting = waiter is not None and waiter in self._queue
            turn = not waiting or waiter in self._first_in_line() or now - self._tried_at > _STALE_SECONDS
            if turn and waiting:
                self._tried_at = now
            return turn

    def empty(self) -> None:
        """After a fork: nobody waits in the child, and no lock of the parent's is held there."""
        self._lock = threading.RLock()
        self._queue = WaitQueue()

    def _to_be_served(self) -> list[Waiter]:
        """Of the first in line, those whom the free slots are enough for: the others would look in vain."""
        return [waiter for waiter in self._first_in_line() if waiter.count <= len(self._free)]

    def _first_in_line(self) -> list[Waiter]:
        return self._queue.first(len(self._free))


def _is_free(slot: Slot) -> bool:
    return is_idle(slot, expired_before=0) and not slot.retired


def _wake(tickets: list[Waiter], but: Waiter | None = None) -> None:
    # A waiter that woke itself by what it saw would poll without pausing.
    for waiter in tickets:
        if waiter is not but:
            waiter.wake()
