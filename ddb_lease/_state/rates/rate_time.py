"""The time that rates go by: one slewed estimate of the service's time for one process.

`ServiceTime` gives bounds, and the middle of bounds jumps whenever an answer narrows them. A rate that went by it would
admit `rate` permits more for each second of a jump. So rates go by an estimate that moves smoothly inside the bounds.

Invariants:

- The estimate starts at the upper bound and then only follows the steady clock, unless an answer shows that it lies
  outside the bounds. The true time is never above the upper bound, so nearly every correction is downwards.
- Downwards, the estimate runs slower, by `SLOWER`. A slow clock admits fewer permits: for each second of correction it
  forgoes `rate` of them, once. The estimate is never ahead for long: half a second is gone in one.
- Upwards, the estimate runs faster by `OSCILLATOR_DRIFT` at most, and only while it is certainly behind. That happens
  where the service's oscillator runs faster than ours. By the service's clock, which the rate is defined by, no permit
  is admitted too early then: the estimate only makes up for what it lost. By our own clock the rate is higher by that
  much, two ten-thousandths at most, and `gate` (in `_state.rates.use_gate`) takes even that away from one process.
- So the estimate never jumps, and one process alone admits at most ``rate * t + burst`` in any t seconds.
- Two faults end that. The steady clock stood still, as in a paused virtual machine: the time is then certainly more
  than `BEHIND_SECONDS` later than we thought. It did pass, so the estimate steps up to the lower bound, and admits
  nothing that true time would not. And the first answers were wrong: the estimate is `AHEAD_SECONDS` ahead or more. It
  steps down, as every charge made by it would close the rate for others. A step down admits nothing, as `tat` stays.
- While answers contradict one another, the estimate follows the steady clock alone.
- No I/O and no clock of its own. Reading costs no request.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from ddb_lease._state.offset import Interval
from ddb_lease._state.service_time import WIDE_SECONDS, ServiceTime
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import OSCILLATOR_DRIFT

SLOWER: Final = 1 / 2
"""By how much the estimate runs slower than the steady clock while it is ahead. What a correction costs in permits does
not depend on it; how long does: until then, the process that is ahead is served before the others."""

BEHIND_SECONDS: Final = 1.0
"""An estimate that is certainly behind by more than this was stopped: drift alone is corrected long before."""

AHEAD_SECONDS: Final = 5.0
"""An estimate that is certainly ahead by more than this came from wrong answers: slewing would take minutes."""

_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated offset of the service's clock from the steady one, as of steady time `at`; both in seconds."""

    offset: float
    at: float

    @staticmethod
    def first(bounds: Interval) -> Estimate:
        """The estimate that the first usable bounds give."""
        return Estimate(bounds.high, bounds.at)

    def moved(self, bounds: Interval | None, *, now: float) -> Estimate:
        """The estimate at steady time `now`.

        Args:
            bounds: On the offset, as of `now`; None while answers contradict one another.
            now: On the steady clock.
        """
        if now <= self.at:
            return self
        offset, elapsed = self.offset, now - self.at
        if bounds is None:
            return Estimate(offset, now)  # this time is over: later bounds must not correct for it too, at once
        if offset > bounds.high:
            within = offset - bounds.high <= AHEAD_SECONDS
            offset = max(bounds.high, offset - SLOWER * elapsed) if within else bounds.high
        elif offset < bounds.low:
            within = bounds.low - offset <= BEHIND_SECONDS
            offset = min(bounds.low, offset + OSCILLATOR_DRIFT * elapsed) if within else bounds.low
        return Estimate(offset, now)


class RateTime:
    """The slewed time of one process, for all its limiters of one table. Thread-safe.

    Args:
        time: What the answers tell.

    Attributes:
        known: Whether it was told once: from then on it always is.
    """

    def __init__(self, time: ServiceTime) -> None:
        self.known = False
        self._time = time
        self._lock = threading.RLock()
        self._estimate: Estimate | None = None

    def now_ns(self) -> int | None:
        """The estimated time of the service, in whole nanoseconds since the epoch; None: ask for the time first.

        It costs no request.
        """
        with self._lock:
            now = self._time.steady()
            bounds = self._time.agreed_bounds(now)
            if self._estimate is None:
                if bounds is None or bounds.high - bounds.low > WIDE_SECONDS + 2 * self._time.max_clock_skew:
                    return None
                self._estimate, self.known = Estimate.first(bounds), True
            estimate = self._estimate = self._estimate.moved(bounds, now=now)
            # Each in nanoseconds first: a float of the sum is exact to a quarter of a microsecond only.
            return round(now * _NS) + round(estimate.offset * _NS)

    def known_now_ns(self) -> int:
        """The same, where it is known by now."""
        now = self.now_ns()
        if now is None:
            raise ConfigurationError("the time is unknown again: a defect of this library")
        return now

    def uncertainty_ns(self) -> int:
        """By how much the estimate may be off, in nanoseconds; 0 while it is not known."""
        with self._lock:
            now, estimate = self._time.steady(), self._estimate
            if estimate is None:
                return 0
            bounds = self._time.bounds(now)
            return round(max(bounds.high - estimate.offset, estimate.offset - bounds.low, 0.0) * _NS)

    def after_fork_in_child(self) -> None:
        """In a forked child: make a new lock, as another thread of the parent may have held the old one."""
        self._lock = threading.RLock()
