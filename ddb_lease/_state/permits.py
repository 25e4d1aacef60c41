"""What one process knows of a rate: the last `tat` seen, the permits in hand, and who waits for some.

Invariants:

- The `tat` seen is a hint that saves requests. It may be too early, as others charge meanwhile: a charge's condition
  tells. It is never too late, as `tat` never falls, so nothing is sent before what it says; except where somebody
  deleted or changed the item, which is noticed when that time has come.
- Permits in hand are charged already. Each is of its own time: the first of a charge at once, one more each interval.
  So a process that takes many with one write hands them out no faster than it could have taken them one by one.
- Those who wait stand in line, first come, first served. The first one sends for all that matters: what it learns, the
  others know. Whoever will not wait stands in line too, and is told at once where those in front take all there is.
- No I/O and no clock: times come in, in nanoseconds of the service's clock. A lock, as threads share it, and a
  reentrant one, as a signal handler may end a wait while its own thread is in here; nobody is called while it is held.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ddb_lease._protocol.records import Rate

STALE_SECONDS = 15.0
"""If the first in line has not been back for so long after it should, others stop relying on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Permits of one charge that are still in hand: the first from `first` on, one more each interval."""

    first: int
    count: int


class PermitWaiter:
    """A place in line; the line knows it weakly, so that of a waiter that was torn away it falls vacant by itself.

    Args:
        wake: Ends its holder's pause, from any thread.
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
        trouble: Why the last attempt came to nothing; None where the table answered it.
    """

    def __init__(self, rate: Rate, *, lanes: int, chance: Random) -> None:
        self._rate = rate
        self._lanes = lanes
        self._chance = chance
        self._lock = threading.RLock()
        self._tat: int | None = None
        self._hand: deque[Batch] = deque()
        self._queue: list[weakref.ref[PermitWaiter]] = []
        self.lane = chance.randrange(lanes)
        self.trouble: Exception | None = None
        self._expected_at = math.inf

    @property
    def tat(self) -> int | None:
        """As last seen; None where it was not, or there was none."""
        return self._tat

    def learn(self, tat: int | None) -> None:
        """Keep what the item showed last; those who will not wait hear of it."""
        with self._lock:
            self._tat, self.trouble = tat, None
        self._wake_impatient()

    def failed(self, cause: Exception) -> None:
        """An attempt came to nothing: those who will not wait hear of it."""
        self.trouble = cause
        self._wake_impatient()

    def charged(self, *, tat: int, taken: int, used: int) -> None:
        """A charge of so many permits was admitted, that left `tat`; `used` are spent, those in hand first."""
        interval, tolerance = self._rate.interval_ns, self._rate.tolerance_ns
        with self._lock:
            self._tat, self.trouble = tat, None
            self._hand.append(Batch(first=tat - (taken - 1) * interval - tolerance, count=taken))
            self._spend(used)

    def take(self, count: int, *, now: int) -> bool:
        """Spend permits in hand, if so many are there and all due."""
        with self._lock:
            if self.in_hand < count or self._due(count) > now:
                return False
            self._spend(count)
            return True

    def take_at_once(self, count: int, *, now: int) -> bool:
        """The same, unless somebody waits."""
        with self._lock:
            return not self._places() and self.take(count, now=now)

    def ready_at(self, count: int, *, now: int) -> int:
        """When so many permits can be had at the earliest, as far as is known; a time up to `now` is as good as now."""
        with self._lock:
            missing = count - self.in_hand
            if missing <= 0:
                return self._due(count)
            tat = now if self._tat is None else max(self._tat, now)
            return tat + missing * self._rate.interval_ns - self._rate.tolerance_ns

    @property
    def in_hand(self) -> int:
        """How many permits are in hand, due or not."""
        with self._lock:
            return sum(batch.count for batch in self._hand)

    def wanted_before(self, waiter: PermitWaiter | None) -> int:
        """How many permits those want who stand before this place, or before a newcomer."""
        with self._lock:
            total = 0
            for other in self._places():
                if other is waiter:
                    break
                total += other.count
            return total

    def join(self, waiter: PermitWaiter) -> None:
        """Stand in line, at its end."""
        with self._lock:
            self._queue.append(weakref.ref(waiter))

    def leave(self, waiter: PermitWaiter) -> None:
        """Leave the line, wherever one stands in it; whoever is first then is woken."""
        with self._lock:
            self._queue = [there for there in self._queue if there() is not waiter]
            first = self._places()[:1]
        for other in first:
            other.wake()

    def my_turn(self, waiter: PermitWaiter, *, now: float) -> bool:
        """Whether this one may ask: it stands first, or who does has not been seen for long, as on a loop that stands.

        Args:
            waiter: In line.
            now: On the steady clock.
        """
        with self._lock:
            first = self._places()[:1] == [waiter]
            if first or now > self._expected_at:
                self._expected_at = now + STALE_SECONDS
                return True
            return False

    def rests(self, waiter: PermitWaiter, *, until: float) -> None:
        """The first in line comes back at this time of the steady clock, and is not missed before."""
        with self._lock:
            if self._places()[:1] == [waiter]:
                self._expected_at = until + STALE_SECONDS

    def wake_all(self) -> None:
        """Wake everybody in line."""
        with self._lock:
            woken = self._places()
        for waiter in woken:
            waiter.wake()

    def empty(self) -> None:
        """Let go of the permits in hand: they are forgone."""
        with self._lock:
            self._hand.clear()

    def after_fork_in_child(self) -> None:
        """In a forked child: the permits and the lane are the parent's, nobody waits, and no lock is held."""
        self._lock = threading.RLock()
        self._queue.clear()
        self._hand.clear()
        self.trouble = None
        self._expected_at = math.inf
        self.lane = self._chance.randrange(self._lanes)

    def _wake_impatient(self) -> None:
        with self._lock:
            woken = [waiter for waiter in self._places() if not waiter.patient]
        for waiter in woken:
            waiter.wake()

    def _places(self) -> list[PermitWaiter]:
        places = [waiter for waiter in (there() for there in self._queue) if waiter is not None]
        if len(places) < len(self._queue):
            self._queue = [there for there in self._queue if there() is not None]
        return places

    def _due(self, count: int) -> int:
        """When the last of the first so many in hand is due."""
        for batch in self._hand:
            if count <= batch.count:
                return batch.first + (count - 1) * self._rate.interval_ns
            count -= batch.count
        raise ValueError("not so many are in hand")

    def _spend(self, count: int) -> None:
        while count and self._hand:  # what was in hand may have been forgone meanwhile: the limiter was closed
            batch = self._hand.popleft()
            spent = min(count, batch.count)
            count -= spent
            if spent < batch.count:
                first = batch.first + spent * self._rate.interval_ns
                self._hand.appendleft(Batch(first=first, count=batch.count - spent))
