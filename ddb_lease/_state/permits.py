"""What one process knows of a rate, shared by its threads: the last `tat` seen, the permits in hand, and the queue.

Invariants:

- The `tat` seen is a hint that saves requests. It may be too early, as others charge meanwhile; then the condition of a
  charge fails. It is never too late, as `tat` never falls, so nothing is sent before the time it gives. The one
  exception is an item that somebody deleted or changed: we notice when that time has come.
- Permits in hand are charged already. Each has its own due time: the first of a charge at once, one more each interval.
  So a process that takes many permits with one write hands them out no faster than it could have taken them singly.
- Waiters queue: first come, first served. The first one sends for all, and the others share what it learns. A caller
  that does not wait queues too, and is denied at once if those in front take all there is.
- `gcra.decide` decides; this class applies it to the value `Balance`, under a lock.
- No I/O and no clock: times come in, in nanoseconds of the service's clock.
- The lock is reentrant, as a signal handler may end a wait while its own thread holds it. No waiter is woken while it
  is held.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from random import Random

from ddb_lease._protocol.gcra import Balance, FromHand, Later, Step, decide
from ddb_lease._protocol.records import Rate

STALE_SECONDS = 15.0
"""If the first in the queue is overdue by this much, the others stop relying on it."""


class PermitWaiter:
    """A place in the queue.

    The queue has only a weak reference to it: if an interrupt ends a waiter before it leaves, its place disappears.

    Args:
        wake: Ends its owner's pause, from any thread.
        count: How many permits it wants together.
        patient: Whether it waits for them.
    """

    def __init__(self, wake: Callable[[], None], *, count: int, patient: bool) -> None:
        self.wake = wake
        self.count = count
        self.patient = patient


class Permits:
    """What one process knows of a rate, shared by its threads.

    Args:
        rate: The limiter's settings.
        lanes: How many lanes there are to choose from.
        chance: Chooses the lane.

    Attributes:
        lane: Where this process's attempts are noted.
        trouble: Why the last attempt failed; None if the table answered it.
    """

    def __init__(self, rate: Rate, *, lanes: int, chance: Random) -> None:
        self._interval = rate.interval_ns
        self._tolerance = rate.tolerance_ns
        self._lanes = lanes
        self._chance = chance
        self._lock = threading.RLock()
        self._balance = Balance()
        self._queue: list[weakref.ref[PermitWaiter]] = []
        self._expected_at = math.inf  # when the first in the queue will try again, on the steady clock
        self.lane = chance.randrange(lanes)
        self.trouble: Exception | None = None

    @property
    def balance(self) -> Balance:
        """What we know now."""
        return self._balance

    # What is available.

    def at_once(self, count: int, *, now: int) -> bool | None:
        """The answer from memory to a newcomer that does not wait.

        Returns:
            True: the permits were in hand, nobody waits, and they are spent. False: what we know denies them. None: ask
            the table.
        """
        with self._lock:
            step = self.newcomer_step(count, now=now)
            if isinstance(step, FromHand) and not self._waiting():
                self._balance = self._balance.spent(count, interval=self._interval)
                return True
            return False if isinstance(step, Later) else None

    def newcomer_step(self, count: int, *, now: int) -> Step:
        """What to do for a newcomer, after all current waiters."""
        with self._lock:
            return self._decide(self.wanted_before(None) + count, now)

    def step_for(self, waiter: PermitWaiter, *, now: int) -> Step:
        """What to do for a waiter. One that is not patient comes after all in front of it."""
        with self._lock:
            before = 0 if waiter.patient else self.wanted_before(waiter)
            return self._decide(before + waiter.count, now)

    def begin(self, waiter: PermitWaiter, *, now: int) -> Step:
        """As `step_for`, for the waiter whose turn it is. If the permits are in hand, they are spent."""
        with self._lock:
            before = 0 if waiter.patient else self.wanted_before(waiter)
            step = self._decide(before + waiter.count, now)
            if before and not isinstance(step, Later):
                step = self._decide(waiter.count, now)  # those in front are overdue, and enough is left for them too
            if isinstance(step, FromHand):
                self._balance = self._balance.spent(waiter.count, interval=self._interval)
            return step

    def another_sending(self, missing: int, *, now: int) -> Step:
        """What to do about an attempt in progress: it still wants `missing` permits, whatever is in hand by now."""
        tat = self._balance.tat
        return decide(Balance(tat=tat), missing, now=now, interval=self._interval, tolerance=self._tolerance)

    # The outcome of an attempt.

    def learn(self, tat: int | None) -> None:
        """Keep the `tat` that the item showed last, and wake the callers that do not wait."""
        with self._lock:
            self._balance, self.trouble = replace(self._balance, tat=tat), None
        self._wake_impatient()

    def failed(self, cause: Exception) -> None:
        """Keep why an attempt failed, and wake the callers that do not wait."""
        self.trouble = cause
        self._wake_impatient()

    def charged(self, *, tat: int, taken: int, used: int) -> None:
        """Note an admitted charge of `taken` permits, that left `tat`. `used` are spent, those in hand first."""
        with self._lock:
            charged = self._balance.charged(tat=tat, taken=taken, interval=self._interval, tolerance=self._tolerance)
            # Fewer may be in hand than are used: closing the limiter meanwhile drops those in hand.
            self._balance, self.trouble = charged.spent(used, interval=self._interval), None

    def empty(self) -> None:
        """Drop the permits in hand."""
        with self._lock:
            self._balance = replace(self._balance, batches=())

    # The queue.

    def wanted_before(self, waiter: PermitWaiter | None) -> int:
        """How many permits the waiters in front of this place want, or those in front of a newcomer."""
        with self._lock:
            total = 0
            for other in self._waiting():
                if other is waiter:
                    break
                total += other.count
            return total

    def join(self, waiter: PermitWaiter) -> None:
        """Join the queue at its end."""
        with self._lock:
            self._queue.append(weakref.ref(waiter))

    def leave(self, waiter: PermitWaiter) -> None:
        """Leave the queue, from any place in it, and wake the one that is first then."""
        with self._lock:
            self._queue = [place for place in self._queue if place() is not waiter]
            first = self._waiting()[:1]
        for other in first:
            other.wake()

    def my_turn(self, waiter: PermitWaiter, *, now: float) -> bool:
        """Whether this waiter may send: it is first, or the first is overdue, as on an event loop that is blocked.

        Args:
            waiter: In the queue.
            now: On the steady clock.
        """
        with self._lock:
            first = self._waiting()[:1] == [waiter]
            if first or now > self._expected_at:
                self._expected_at = now + STALE_SECONDS
                return True
            return False

    def rests(self, waiter: PermitWaiter, *, until: float) -> None:
        """Note that the first in the queue tries again at this time of the steady clock. It is not overdue before."""
        with self._lock:
            if self._waiting()[:1] == [waiter]:
                self._expected_at = until + STALE_SECONDS

    def wake_all(self) -> None:
        """Wake every waiter."""
        with self._lock:
            woken = self._waiting()
        for waiter in woken:
            waiter.wake()

    def after_fork_in_child(self) -> None:
        """In a forked child: permits and lane are the parent's, nobody waits, and the old lock may be held for ever."""
        self._lock = threading.RLock()
        self._queue.clear()
        self._balance = replace(self._balance, batches=())
        self.trouble = None
        self._expected_at = math.inf
        self.lane = self._chance.randrange(self._lanes)

    # Internals.

    def _decide(self, count: int, now: int) -> Step:
        return decide(self._balance, count, now=now, interval=self._interval, tolerance=self._tolerance)

    def _wake_impatient(self) -> None:
        with self._lock:
            woken = [waiter for waiter in self._waiting() if not waiter.patient]
        for waiter in woken:
            waiter.wake()

    def _waiting(self) -> list[PermitWaiter]:
        """The waiters in the queue, without places whose waiter is gone."""
        waiting = [waiter for waiter in (place() for place in self._queue) if waiter is not None]
        if len(waiting) < len(self._queue):
            self._queue = [place for place in self._queue if place() is not None]
        return waiting
