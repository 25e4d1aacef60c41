"""What one process remembers of a bucket: hints that save requests. Safety does not depend on them.

Invariants:

- Every hint may be stale; the condition of a request that is built on one protects it. Losing all hints costs a look.
- A free slot is given to one thread only, so that two threads of one process do not race for it.
- A slot that comes free wakes as many waiters of this process as it can serve (see `waiters`).
- No I/O and no clock: times come in as arguments. Threads share it under a lock. The lock is reentrant, as a signal
  handler may release a lease while its own thread holds it. No callback runs while it is held.
"""

from __future__ import annotations

import math
import threading
from random import Random

from ddb_lease._protocol.decisions import is_idle
from ddb_lease._protocol.records import Counter, Slot, View
from ddb_lease._state.closed_slots import ClosedSlots
from ddb_lease._state.fairness import Fairness
from ddb_lease._state.unminted import Unminted
from ddb_lease._state.waiters import Waiter, WaitQueue
from ddb_lease._state.windows import Windows

_STALE_SECONDS = 15.0
"""If the first waiter has not tried for this long, the others stop relying on it."""

_STALE_NUMBERS = 64
"""Taken numbers are removed from the pool when it has this many more than twice the number of free slots."""


class FreeSlots:
    """Numbers of slots last seen free, each with its fence. Drawing one takes constant time, however many there are.

    It stays consistent if a signal handler calls it in the middle of any of its methods: only the dict says what is
    there, and a draw skips numbers in the pool that were taken.
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
        """Forget one; returns its fence, None if it was not there."""
        return self._fences.pop(number, None)

    def take_among(self, numbers: range) -> None:
        """Forget all of these."""
        for number in numbers if len(numbers) < len(self) else [n for n in self.numbers() if n in numbers]:
            self.take(number)

    def clear(self) -> None:
        """Forget all."""
        self._fences.clear()

    def draw(self, chance: Random) -> int | None:
        """A random one, which stays; None if there is none."""
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
        counter: The counter as last seen; None if none was. Set by `learn_counter`.
        fairness: When this process leaves its slots to others.
        windows: Which windows of a large bucket were searched lately.
        next_look_at: When the next look is due, for all waiters of this process.
        looked_at: When a look last showed the counter.
        closed: Which slots are closed, for people.
        changes: How often this process released slots, or woke all waiters. A look that was in flight at that time does
            not show the change.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.counter: Counter | None = None
        self._free = FreeSlots()
        self._unminted = Unminted()
        self.closed = ClosedSlots()
        self._own_release = -1
        self.fairness = Fairness()
        self.windows = Windows()
        self.next_look_at = -math.inf
        self.looked_at = -math.inf
        self.changes = 0
        self._queue = WaitQueue()
        self._tried_at = 0.0

    @property
    def waiting(self) -> int:
        """How many waiters are in the queue."""
        return len(self._queue)

    def learn_counter(self, counter: Counter, *, sure: bool = False) -> bool:
        """Keep the newest counter; returns whether its settings differ from those known.

        A counter that is `sure` (from a consistent read or a write) is kept whatever its `rev`: a bucket that was
        deleted and created again may start from a lower one. Otherwise the higher `rev` is newer.
        """
        with self._lock:
            known = self.counter
            if sure or known is None or counter.rev >= known.rev:
                self.counter = counter
            return known is None or known.settings != counter.settings

    def forget(self) -> None:
        """The bucket is gone: forget what we knew of it."""
        with self._lock:
            self.counter = None
            self._free.clear()
            self._unminted.clear()
            self.closed = ClosedSlots()
            self.windows.forget()
            self.next_look_at = -math.inf

    def forget_free(self) -> None:
        """The slots last seen free or missing may have been taken since: the next acquire looks first."""
        with self._lock:
            self._free.clear()
            self._unminted.clear()
            self.next_look_at = -math.inf

    def learn_view(
        self, view: View, *, by: Waiter | None = None, since: int | None = None, at: float | None = None
    ) -> None:
        """Keep which slots a look showed as free, or as missing; wake as many waiters as are free, except `by`.

        Args:
            view: What it showed.
            by: The waiter that looked.
            since: `changes` when the look was sent: it may show a slot as leased that this process released later.
            at: When it was sent, on the steady clock; None: what it shows as missing is not kept.
        """
        self.closed.learn(view.slots.values())
        with self._lock:
            if at is not None and self.counter is not None:
                self._unminted.learn(view.covered, view.slots.keys(), below=self.counter.max_tokens, at=at)
            own = self._own_release
            kept = None if since in {None, self.changes} else self._free.take(own)
            self._free.take_among(view.covered)
            if kept is not None:
                self._free.put(own, kept)
            for number, slot in view.slots.items():
                if _is_free(slot):
                    self._free.put(number, slot.fence)
            woken = self._to_be_served()
        _wake(woken, but=by)

    def learn_slot(self, number: int, slot: Slot | None, *, by: Waiter | None = None) -> None:
        """Keep the new state of one slot; a free one wakes a waiter, except the one that found out."""
        if slot is not None:
            self.closed.learn([slot])
        with self._lock:
            if slot is None or not _is_free(slot):
                self._free.take(number)
                if slot is not None:
                    self._unminted.learn_slot(number)
                return
            self._free.put(number, slot.fence)
            woken = self._to_be_served()
        _wake(woken, but=by)

    def take_free(self, chance: Random, *, elsewhere: bool = False) -> tuple[int, int] | None:
        """Take a slot last seen free, and its fence; it is then forgotten.

        The slot that this process released last comes first: others are least likely to know of it. Else one is drawn.

        Args:
            chance: Draws one.
            elsewhere: Prefer any other slot to the one released last.
        """
        with self._lock:
            counter = self.counter
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
        """Take `count` slots last seen free, and their fences; none if there are not enough."""
        with self._lock:
            counter = self.counter
            known = [n for n in self._free.numbers() if counter is not None and n < counter.max_tokens]
            if len(known) < count:
                return []
            taken = [(number, self._free.take(number)) for number in chance.sample(known, count)]
            return [(number, fence) for number, fence in taken if fence is not None]

    def take_unminted(self, chance: Random, *, now: float) -> int | None:
        """Take the number of a slot that was seen missing lately, if the counter shows room; it is then forgotten."""
        with self._lock:
            counter = self.counter
            if counter is None or counter.minted >= counter.max_tokens:
                return None
            return self._unminted.draw(chance, below=counter.max_tokens, now=now)

    def forget_unminted(self) -> None:
        """A mint was refused: what was seen missing is no guide any more."""
        with self._lock:
            self._unminted.clear()

    @property
    def free(self) -> int:
        """How many slots were last seen free, and have not been taken here."""
        return len(self._free)

    def released(self, number: int, *, fence: int, now: float) -> None:
        """This process released a slot itself: the best guess for its next acquire, and for its waiters."""
        self._own_release = number
        self.changes += 1
        self.fairness.released(now)
        with self._lock:
            self._free.put(number, fence)
            ordered = self.counter is not None and self.counter.order == "fifo"
            woken = self._first() if ordered else self._to_be_served()
        _wake(woken)

    def join(self, waiter: Waiter, *, now: float) -> bool:
        """Join the queue at its end; returns whether the waiter may send requests at once, as `is_first` does."""
        with self._lock:
            return self._may_try(now, first=self._queue.join(waiter, self._room))

    def leave(self, waiter: Waiter) -> None:
        """Leave the queue, from any place in it; the first waiters are then woken."""
        with self._lock:
            woken = self._first() if self._queue.leave(waiter) else []
        _wake(woken)

    def wake_all(self) -> None:
        """Wake all waiters, to look again."""
        with self._lock:
            self.next_look_at = -math.inf
            self.changes += 1
            woken = self._queue.all()
        _wake(woken)

    def is_first(self, waiter: Waiter | None, *, now: float) -> bool:
        """Whether this waiter may send requests: it is among the first, or those in front seem to be stuck.

        None, or a waiter that is not in the queue, always may.
        """
        if waiter is None:
            return True
        with self._lock:
            first = self._queue.is_first(waiter, self._room)
            return first is None or self._may_try(now, first=first)

    def empty(self) -> None:
        """In a forked child: forget the waiters, and make a new lock."""
        self._lock = threading.RLock()
        self._queue = WaitQueue()

    def rely_until(self, at: float) -> None:
        """The first waiter tries again at this time, and not before: the others need not."""
        self._tried_at = max(self._tried_at, at)

    def _may_try(self, now: float, *, first: bool) -> bool:
        if first or now - self._tried_at > _STALE_SECONDS:
            self._tried_at = now
            return True
        return False

    def _to_be_served(self) -> list[Waiter]:
        """The first waiters for which there are enough free slots: the others would look in vain."""
        return [waiter for waiter in self._first() if waiter.count <= self._room]

    def _first(self) -> list[Waiter]:
        return self._queue.first(self._room)

    @property
    def _room(self) -> int:
        """For how many free slots waiters of this process may look: in an ordered bucket, others may come first."""
        return 0 if self.counter is not None and self.counter.order == "fifo" else len(self._free)


def _is_free(slot: Slot) -> bool:
    return is_idle(slot, expired_before=0) and not slot.retired


def _wake(waiters: list[Waiter], but: Waiter | None = None) -> None:
    # A waiter that woke itself with what it saw would poll without a pause.
    for waiter in waiters:
        if waiter is not but:
            waiter.wake()
