"""Time: the steady clock of this machine, and bounds on the service's clock.

Invariants:

- Nothing below `_runtime` reads the machine's clocks: it gets a `Clock` or a `ServiceTime`.
- No wall clock of a client is trusted. DynamoDB has no server-side ``now()``, but every genuine answer carries a
  ``Date`` header: the service's clock, cut to a second. An answer sent for at steady time ``t0`` and received at
  ``t1`` with ``Date`` D says that the offset (service minus steady) lies in ``[D - t1, D + 1 s - t0]``; answers are
  intersected, and widened by the oscillators' drift since (Marzullo's interval intersection, one source).
- One wrong answer must neither make another holder's lease look expired, nor make ours last longer, nor leave us
  without bounds. So each bound needs two answers, however well one of them fits; while answers contradict one another,
  the bounds are the hull of all of them; and once three agree with one another, we believe those.
- A steady clock that stood still (a paused virtual machine) shows as an offset that moved up. What was computed with a
  lower offset ends earlier, by `ServiceTime.late_by`: computed for each lease, as each has its own offset.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Protocol

from ddb_lease._state.log import queued as _log
from ddb_lease.models import OSCILLATOR_DRIFT

AGREEING = 3
"""How many answers in a row must agree with one another before they overrule what we knew."""

WIDE_SECONDS = 2.0
"""If the bounds are further apart than this, we ask for the time again before anything is written by them. Two fresh
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
class Interval:
    """Bounds on the offset between the service's clock and the steady one, in seconds, as of steady time `at`."""

    low: float
    high: float
    at: float

    def widened(self, now: float) -> Interval:
        """The same bounds at a later time, as both oscillators may have drifted."""
        grown = OSCILLATOR_DRIFT * max(0.0, now - self.at)
        return Interval(self.low - grown, self.high + grown, now)

    def meet(self, other: Interval) -> Interval | None:
        """What both allow, or None if they contradict each other."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high, self.at) if low <= high else None

    def hull(self, other: Interval) -> Interval:
        """What at least one of them allows, and everything between."""
        return Interval(min(self.low, other.low), max(self.high, other.high), self.at)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What several answers that agree with one another say about the offset.

    Attributes:
        by_one: What all of them allow: a single answer may determine either bound.
        by_two: Bounds that two answers each support, so that a single wrong answer moves neither. With only one
            answer, its own bounds.
        answers: How many answers there are.
    """

    by_one: Interval
    by_two: Interval
    answers: int

    @staticmethod
    def of(sample: Interval) -> Evidence:
        """What a single answer says."""
        return Evidence(sample, sample, 1)

    def widened(self, now: float) -> Evidence:
        """The same at a later time, as both oscillators may have drifted."""
        return Evidence(self.by_one.widened(now), self.by_two.widened(now), self.answers)

    def joined(self, sample: Interval) -> Evidence | None:
        """With one more answer, as of the same time; None if it contradicts them."""
        one, two = self.by_one, self.by_two
        met = one.meet(sample)
        if met is None:
            return None
        # The second highest lower bound and the second lowest upper bound: of any two answers, at least one is honest.
        low, high = min(one.low, sample.low), max(one.high, sample.high)
        if self.answers > 1:
            low, high = max(two.low, low), min(two.high, high)
        return Evidence(met, Interval(low, high, sample.at), self.answers + 1)


@dataclass(frozen=True, slots=True)
class Offset:
    """What we know about the offset: a pure state machine, fed one sample at a time.

    Attributes:
        trusted: The answers that we believe.
        rival: The latest answers, if they contradict the trusted ones but not one another.
        doubt: The hull of all answers since the first contradiction; None if there is none.
        overruled: What was trusted until the latest sample, if that sample made us believe the rivals instead.
    """

    trusted: Evidence
    rival: Evidence | None = None
    doubt: Interval | None = None
    overruled: Evidence | None = None

    @staticmethod
    def first(sample: Interval) -> Offset:
        """The state after the first sample."""
        return Offset(Evidence.of(sample))

    @property
    def confirmed(self) -> bool:
        """Whether a second answer has agreed with the first."""
        return self.trusted.answers > 1

    def bounds(self, now: float) -> Interval:
        """The bounds in force at steady time `now`."""
        trusted = self.trusted.by_two
        return (trusted if self.doubt is None else trusted.hull(self.doubt)).widened(now)

    def updated(self, sample: Interval) -> Offset:
        """The state after one more sample."""
        now = sample.at
        trusted = self.trusted.widened(now)
        agreed = trusted.joined(sample)
        rival = self.rival.widened(now).joined(sample) if self.rival else None
        if agreed is not None and rival is None:
            return Offset(agreed)  # what we knew is confirmed, and nothing supports the rival: it was a wrong answer
        doubt = sample if self.doubt is None else self.doubt.widened(now).hull(sample)
        rival = rival or Evidence.of(sample)
        # Two answers overrule a single first one: else a second wrong answer could confirm it against them.
        overruled = rival.answers >= min(AGREEING, trusted.answers + 1)
        return Offset(rival, overruled=trusted) if overruled else Offset(trusted, rival, doubt)


@dataclass(frozen=True, slots=True)
class Reading:
    """What we know at one instant, read once before something is written or decided by the time.

    Attributes:
        steady: The steady clock.
        low_ms: The service's time is no earlier, in whole milliseconds since the epoch.
        high_ms: Nor later.
        confirmed: Whether more than one answer supports these bounds.
        doubtful: Whether the latest answers contradict what we knew.
        wide: Whether the bounds are too far apart for an expiry to be written by them.
    """

    steady: float
    low_ms: int
    high_ms: int
    confirmed: bool
    doubtful: bool
    wide: bool


class ServiceTime:
    """Bounds on the service's clock for one client, and the steady clock that measures deadlines.

    Thread-safe. Reading takes no lock: the state is one immutable value, replaced whole.

    Attributes:
        max_clock_skew: For answers without a usable ``Date`` only: then the bounds are the wall clock plus and
            minus this many seconds, and a warning is logged once.
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

        It is 0 as long as the offset may have been right. If the trusted answers say that the service's clock is
        certainly ahead of it, because our steady clock stood still since, it is the most by which it may be ahead.
        """
        state = self._offset
        if state is None or not state.confirmed:
            return 0.0
        known = state.trusted.by_two
        drift = OSCILLATOR_DRIFT * max(0.0, self.steady() - known.at)
        return known.high + drift - offset if known.low - drift > offset else 0.0

    @property
    def known(self) -> bool:
        """Whether we know the service's time at all; before that, nothing may be claimed.

        Answers without a ``Date`` count only after three of them in a row, and only if no two answers with a ``Date``
        agree: a single odd answer must not make us trust this machine's wall clock.
        """
        return self._offset is not None or self._by_wall

    @property
    def doubtful(self) -> bool:
        """Whether the latest answers contradict what we knew: ask again soon."""
        offset = self._offset
        return offset is not None and offset.doubt is not None

    @property
    def unsettled(self) -> bool:
        """Whether to ask again before something is written by the bounds: they are in doubt, or wide after idling."""
        return self.doubtful or self.wider_than(WIDE_SECONDS)

    def wider_than(self, seconds: float) -> bool:
        """Whether the bounds are further apart than so many seconds: an expiry written by them may be that far ahead.

        Always False if answers without a ``Date`` made us fall back to this machine's wall clock: the bounds are then
        as wide as configured, and asking again does not help.
        """
        offset = self._offset
        if offset is None:
            return False
        bounds = offset.bounds(self.steady())
        return bounds.high - bounds.low > seconds

    def observe(self, *, sent: float, received: float, date: float | None) -> bool:
        """Learn from one genuine answer (one that carries a request id).

        Args:
            sent: `steady` before the request was sent.
            received: `steady` after its answer arrived.
            date: The answer's ``Date`` in seconds since the epoch; None if it has no readable one.

        Returns:
            Whether deadlines may have moved, or doubt began or ended: heartbeats should check again.
        """
        # The service stamped the answer at some moment in between: the oscillators may have drifted since that, too.
        drift = OSCILLATOR_DRIFT * max(0.0, received - sent)
        with self._lock:
            if date is None:
                self._note_dateless()
                return False
            self._dateless = 0
            sample = Interval(low=date - received - drift, high=date + 1.0 - sent + drift, at=received)
            before = self._offset
            if before is None:
                return self._note_date(sample)
            after = self._offset = before.updated(sample)
        if after.overruled is not None:
            missed = after.trusted.by_one.low - after.overruled.by_one.high
            if missed > self.front_end_skew:
                _log.warning("the steady clock of this machine missed %.1f s: deadlines are brought forward", missed)
        return after.overruled is not None or (before.doubt is None) != (after.doubt is None)

    def now_ms(self) -> tuple[int, int]:
        """Bounds on the service's time, in whole milliseconds since the epoch: (no later than, no earlier than).

        Raises:
            RuntimeError: It is not known yet; ask `known` first.
        """
        offset, now = self._offset, self.steady()
        if offset is not None:
            bounds = offset.bounds(now)
            return math.floor((now + bounds.low) * 1000), math.ceil((now + bounds.high) * 1000)
        if self._by_wall:
            wall = self._clock.wall()
            return math.floor((wall - self.max_clock_skew) * 1000), math.ceil((wall + self.max_clock_skew) * 1000)
        raise RuntimeError("the service's time is not known before its first answer")

    def read(self) -> Reading | None:
        """All we know, at one instant; None if the service's time is not known yet."""
        offset, now = self._offset, self.steady()
        if offset is not None:
            bounds = offset.bounds(now)
            return Reading(
                now,
                math.floor((now + bounds.low) * 1000),
                math.ceil((now + bounds.high) * 1000),
                confirmed=offset.trusted.answers > 1,
                doubtful=offset.doubt is not None,
                wide=bounds.high - bounds.low > WIDE_SECONDS,
            )
        if self._by_wall:
            low_ms, high_ms = self.now_ms()
            return Reading(now, low_ms, high_ms, confirmed=True, doubtful=False, wide=False)
        return None

    def middle_ns(self) -> tuple[int, int]:
        """The middle of the bounds on the service's time, and how far it may be off: whole nanoseconds since the epoch.

        It is the guess with the smallest worst error. Rates use it, as a small error does them little harm; what only
        one holder may have at a time uses `now_ms`.

        Raises:
            RuntimeError: It is not known yet; ask `known` first.
        """
        offset, now = self._offset, self.steady()
        if offset is not None:
            bounds = offset.bounds(now)
            middle, error = now + (bounds.low + bounds.high) / 2, (bounds.high - bounds.low) / 2
        elif self._by_wall:
            middle, error = self._clock.wall(), self.max_clock_skew
        else:
            raise RuntimeError("the service's time is not known before its first answer")
        return round(middle * 1_000_000_000), math.ceil(error * 1_000_000_000)

    def reliable_ns(self) -> int | None:
        """The middle of the bounds on the service's time, if something may be written by it; None: ask first.

        It may if more than one answer supports the bounds, none contradicts them, and they are not wide. It reads the
        clock once, so both parts are of one moment.
        """
        offset = self._offset
        if offset is None:
            return self.middle_ns()[0] if self._by_wall else None
        now = self._clock.steady()
        bounds = offset.bounds(now)
        if not offset.confirmed or offset.doubt is not None or bounds.high - bounds.low > WIDE_SECONDS:
            return None
        return round((now + (bounds.low + bounds.high) / 2) * 1_000_000_000)

    def expired_before_ms(self) -> int:
        """A lease whose `expires_at` is below this has certainly expired.

        It is 0, so that none has, until two answers agree: a single wrong first answer must not steal a lease.
        """
        offset = self._offset
        return self.now_ms()[0] if offset is None or offset.confirmed else 0

    @property
    def confirmed(self) -> bool:
        """Whether `expired_before_ms` can recognise an expired lease yet."""
        offset = self._offset
        return self._by_wall if offset is None else offset.confirmed

    def after_fork_in_child(self) -> None:
        """In a forked child: make a new lock, as another thread of the parent may have held the old one."""
        self._lock = threading.RLock()

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
        if self.confirmed:
            return
        self._dateless += 1
        if self._dateless >= AGREEING:
            self._by_wall = True
            self._offset = None  # a single answer with a Date among several without was the wrong one
            _log.warning(
                "the service's answers carry no Date: falling back to this machine's wall clock, "
                "taken to be right within %g s (max_clock_skew)",
                self.max_clock_skew,
            )
