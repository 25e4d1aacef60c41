"""Time: the steady clock of this machine, and bounds on the service's clock.

Invariants:

- Nothing below `_runtime` reads the machine's clocks: it gets a `Clock` or a `ServiceTime`.
- No wall clock of a client is trusted. DynamoDB has no server-side ``now()``, but every genuine answer carries a
  ``Date`` header: the service's clock, cut to a second. An answer sent for at steady time ``t0`` and received at
  ``t1`` with ``Date`` D says that the offset (service minus steady) lies in ``[D - t1, D + 1 s - t0]``, widened by the
  oscillators' drift since. `offset` says what several answers tell, and how many wrong ones it withstands.
- Two wrong answers must neither make another holder's lease look expired, nor make ours last longer, nor leave us
  without bounds. So three answers must agree before a lease is seen as expired, before a grant is handed out, and
  before a deadline moves; and each bound that any of these uses is one that three answers support.
- Two answers that agree are enough to write what a third verifies before anybody relies on it: a claim of a free slot.
  Its own answer is the third. This machine's wall clock may object, and then a third comes first; it can do no more.
- A steady clock that stood still (a paused virtual machine) shows as an offset that moved up. What was computed with a
  lower offset ends earlier, by `ServiceTime.late_by`: computed for each lease, as each has its own offset.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Protocol

from ddb_lease._state.log import queued as _log
from ddb_lease._state.offset import AGREEING, Interval, Offset
from ddb_lease.models import OSCILLATOR_DRIFT

WIDE_SECONDS = 2.0
"""If the bounds are further apart than this, we ask for the time again before anything is written by them. A few fresh
answers leave less, unless they took long. While idle, narrow bounds widen to this in an hour and a quarter."""


class Clock(Protocol):
    """This machine's own clocks; injected everywhere."""

    def steady(self) -> float:
        """Seconds since some fixed instant; never stepped, and counting while the machine is suspended."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch by this machine's clock; only the fallback of last resort uses it."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What we know at one instant, read once before something is written or decided by the time.

    All times are in whole milliseconds since the epoch.

    Attributes:
        steady: The steady clock, in seconds.
        expired_before_ms: See `ServiceTime.expired_before_ms`.
        high_ms: The service's time is no later, as no single wrong answer can deny.
        latest_ms: The same, as no two wrong answers can deny, if `certain`: a lease that is held is extended by it.
        latest_within_seconds: How far it may be ahead: how far the strict bounds are apart. 0 if answers without a
            ``Date`` made us fall back to this machine's wall clock: those bounds are as wide as configured, and asking
            again does not help.
        confirmed: Whether something may be written by these bounds that is verified before anybody relies on it.
        certain: Whether three answers agree.
        doubtful: Whether the latest answers contradict what we knew.
        wide: Whether the bounds are too far apart for an expiry to be written by them.
    """

    steady: float
    expired_before_ms: int
    high_ms: int
    latest_ms: int
    latest_within_seconds: float
    confirmed: bool
    certain: bool
    doubtful: bool
    wide: bool


class ServiceTime:
    """Bounds on the service's clock for one client, and the steady clock that measures deadlines.

    Thread-safe. Reading takes no lock: the state is one immutable value, replaced whole.

    Attributes:
        max_clock_skew: How far the wall clock is expected to be wrong, in seconds. If answers carry no usable ``Date``,
            the bounds are the wall clock plus and minus this, and a warning is logged once.
        front_end_skew: By how many seconds honest answers of one service may disagree.
        steady: Seconds of the steady clock, which measures deadlines.
    """

    def __init__(self, clock: Clock, *, max_clock_skew: float = 2.0, front_end_skew: float = 1.0) -> None:
        self.max_clock_skew = max_clock_skew
        self.front_end_skew = front_end_skew
        self.steady = clock.steady
        self._clock = clock
        self._lock = threading.RLock()
        self._offset: Offset | None = None
        self._candidate: Offset | None = None
        self._dateless = 0
        self._by_wall = False

    def late_by(self, offset: float) -> float:
        """How much earlier something ends that was computed with this offset of the service's clock from ours.

        It is never negative, and 0 as long as the offset may have been right. If the trusted answers say that the
        service's clock is certainly ahead of it, because our steady clock stood still since, it is the most by which it
        may be ahead. Whatever is doubtful counts against the holder: two answers show that it is ahead, and by how much
        is bounded by three.
        """
        # No calls: this is on the way of each `check`.
        state = self._offset
        if state is None or state.trusted.answers < AGREEING:
            return 0.0
        trusted = state.trusted
        low, high = trusted.lows[1], trusted.highs[AGREEING - 1]
        drift = OSCILLATOR_DRIFT * max(0.0, self.steady() - trusted.at)
        return high + drift - offset if low - drift > offset else 0.0

    @property
    def known(self) -> bool:
        """Whether we know the service's time at all; before that, nothing may be claimed.

        Answers without a ``Date`` count only after three of them in a row, and only if no three answers with a ``Date``
        agree: a single odd answer must not make us trust this machine's wall clock.
        """
        return self._offset is not None or self._by_wall

    @property
    def confirmed(self) -> bool:
        """Whether something may be written by `now_ms` that is verified before anybody relies on it.

        It may if two answers agree, and this machine's wall clock does not object; or if three agree.
        """
        offset = self._offset
        return self._by_wall if offset is None else self._is_confirmed(offset)

    @property
    def certain(self) -> bool:
        """Whether three answers agree, so that no two wrong ones can have misled us."""
        offset = self._offset
        return self._by_wall if offset is None else offset.certain

    @property
    def doubtful(self) -> bool:
        """Whether the latest answers contradict what we knew: ask again soon."""
        offset = self._offset
        return offset is not None and offset.doubt is not None

    @property
    def unsettled(self) -> bool:
        """Whether to ask again before something is written by `now_ms`: it is in doubt, or wide after idling."""
        offset = self._offset
        return offset is not None and (offset.doubt is not None or _is_wide(offset.bounds(self.steady())))

    @property
    def unsettled_strictly(self) -> bool:
        """The same for `Reading.latest_ms`, by which leases that are held already are extended."""
        offset = self._offset
        return offset is not None and (offset.doubt is not None or _is_wide(offset.strict_bounds(self.steady())))

    def observe(self, *, sent: float, received: float, date: float | None) -> bool:
        """Learn from one genuine answer (one that carries a request id).

        Args:
            sent: `steady` before the request was sent.
            received: `steady` after its answer arrived.
            date: The answer's ``Date`` in seconds since the epoch; None if it has no readable one.

        Returns:
            Whether deadlines may have moved, or doubt began or ended: heartbeats should check again.
        """
        with self._lock:
            if date is None:
                self._note_dateless()
                return False
            self._dateless = 0
            before = self._offset
            if before is None:
                return self._note_date(Interval.told(date, sent=sent, received=received))
            after = self._offset = before.told(date, sent=sent, received=received)
        if after.overruled is not None:
            missed = after.trusted.lows[0] - after.overruled.highs[0]
            if missed > self.front_end_skew:
                _log.warning("the steady clock of this machine missed %.1f s: deadlines are brought forward", missed)
        return after.overruled is not None or (before.doubt is None) != (after.doubt is None)

    def now_ms(self) -> tuple[int, int]:
        """Bounds on the service's time, in whole milliseconds since the epoch: (no later than, no earlier than).

        No single wrong answer moves them, once there are two.

        Raises:
            RuntimeError: It is not known yet; ask `known` first.
        """
        offset, now = self._offset, self.steady()
        return self._wall_ms() if offset is None else _to_ms(offset.bounds(now), now)

    def expired_before_ms(self) -> int:
        """A lease whose `expires_at` is below this has certainly expired.

        It is 0, so that none has, until three answers agree: two wrong ones must not steal a lease.

        Raises:
            RuntimeError: It is not known yet; ask `known` first.
        """
        offset, now = self._offset, self.steady()
        if offset is None:
            return self._wall_ms()[0]
        return _to_ms(offset.strict_bounds(now), now)[0] if offset.certain else 0

    def read(self) -> Reading | None:
        """All we know, at one instant; None if the service's time is not known yet."""
        offset, now = self._offset, self.steady()
        if offset is not None:
            bounds, strict_bounds, certain = offset.both_bounds(now)
            earliest_ms, latest_ms = _to_ms(strict_bounds, now)
            return Reading(
                now,
                earliest_ms if certain else 0,
                math.ceil((now + bounds.high) * 1000),
                latest_ms,
                strict_bounds.high - strict_bounds.low,
                confirmed=certain or self._is_confirmed(offset),
                certain=certain,
                doubtful=offset.doubt is not None,
                wide=_is_wide(bounds),
            )
        if self._by_wall:
            low_ms, high_ms = self._wall_ms()
            return Reading(now, low_ms, high_ms, high_ms, 0.0, confirmed=True, certain=True, doubtful=False, wide=False)
        return None

    def agreed_now(self) -> float | None:
        """The service's time as three answers agree, in seconds since the epoch; None before they do.

        It is the middle of what they say, whether or not a later answer contradicts them: the middle of bounds in
        doubt may be nobody's time.
        """
        state = self._offset
        if state is None or state.trusted.answers < AGREEING:
            return None
        trusted = state.trusted
        return self.steady() + (trusted.lows[AGREEING - 1] + trusted.highs[AGREEING - 1]) / 2

    def bounds(self, now: float) -> Interval:
        """Bounds on the offset between the service's clock and the steady one, as of steady time `now`, in seconds.

        Raises:
            RuntimeError: They are not known yet; ask `known` first.
        """
        offset = self._offset
        if offset is not None:
            return offset.bounds(now)
        if not self._by_wall:
            raise RuntimeError("the service's time is not known before its first answer")
        wall = self._clock.wall() - now
        return Interval(wall - self.max_clock_skew, wall + self.max_clock_skew, now)

    def agreed_bounds(self, now: float) -> Interval | None:
        """The same if more than one answer supports them and none contradicts them; else None."""
        offset = self._offset
        if offset is None:
            return self.bounds(now) if self._by_wall else None
        bounds, _, certain = offset.both_bounds(now)
        return bounds if offset.doubt is None and (certain or self._is_confirmed(offset)) else None

    def after_fork_in_child(self) -> None:
        """In a forked child: make a new lock, as another thread of the parent may have held the old one."""
        self._lock = threading.RLock()

    def _is_confirmed(self, offset: Offset) -> bool:
        return offset.certain or (offset.trusted.answers > 1 and not self._wall_objects(offset))

    def _wall_objects(self, offset: Offset) -> bool:
        """Whether this machine's wall clock is further from the bounds than it is expected to be wrong."""
        now = self.steady()
        bounds, wall = offset.bounds(now), self._clock.wall() - now
        return not bounds.low - self.max_clock_skew <= wall <= bounds.high + self.max_clock_skew

    def _wall_ms(self) -> tuple[int, int]:
        """Bounds by this machine's wall clock, the last resort, in whole milliseconds since the epoch."""
        if not self._by_wall:
            raise RuntimeError("the service's time is not known before its first answer")
        wall = self._clock.wall()
        return math.floor((wall - self.max_clock_skew) * 1000), math.ceil((wall + self.max_clock_skew) * 1000)

    def _note_date(self, sample: Interval) -> bool:
        """The first answer with a Date; or, on the wall-clock fallback, one of three that must agree to replace it."""
        if not self._by_wall:
            self._offset = Offset.first(sample)
            return False
        agreed = self._candidate.trusted.widened(sample.at).joined(sample) if self._candidate else None
        self._candidate = Offset(agreed) if agreed else Offset.first(sample)
        if self._candidate.trusted.answers < AGREEING:
            return False
        self._offset, self._candidate = self._candidate, None
        return True

    def _note_dateless(self) -> None:
        self._candidate = None
        if self.certain:
            return
        self._dateless += 1
        if self._dateless >= AGREEING:
            self._by_wall = True
            self._offset = None  # one or two answers with a Date among several without were the wrong ones
            _log.warning(
                "the service's answers carry no Date: falling back to this machine's wall clock, "
                "taken to be right within %g s (max_clock_skew)",
                self.max_clock_skew,
            )


def _to_ms(bounds: Interval, now: float) -> tuple[int, int]:
    """Bounds on the offset as bounds on the service's time, in whole milliseconds since the epoch."""
    return math.floor((now + bounds.low) * 1000), math.ceil((now + bounds.high) * 1000)


def _is_wide(bounds: Interval) -> bool:
    return bounds.high - bounds.low > WIDE_SECONDS
