"""The offset of the service's clock from our steady clock: what answers tell about it. A pure state machine.

Invariants:

- What is assumed of the service: of any `WINDOW` answers in a row that carry a ``Date``, at most two carry wrong ones
  that agree with each other. "Wrong" means further off than the service's front ends may differ.
- So of any three answers that agree with one another at least one is right, and a bound that each of three supports
  holds (Marzullo's interval intersection, with two of three liars). Only such *strict* bounds show that another's lease
  has expired, hand out a grant, extend a lease, or bring a deadline forward.
- Bounds that two answers support are narrower, sooner. They serve for guesses, and for what a third answer verifies
  before anybody relies on it.
- An answer that contradicts what we knew begins a doubt. Until it ends, the bounds are the hull of all answers. It ends
  when three of the last `WINDOW` answers agree with one another, or when an answer confirms what three or more had told
  before. The order of the answers does not matter, and neither side wins by fewer than three.
- A steady clock that stood still (a paused virtual machine) makes everything known before wrong at once. Three new
  answers overrule it, however many they contradict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ddb_lease.models import OSCILLATOR_DRIFT

AGREEING = 3
"""How many answers must agree with one another before they are certain: one more than may agree and be wrong."""

WINDOW = 5
"""Of how many answers in a row, at most: the least number of which three are right when two are wrong."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds on the offset between the service's clock and the steady one, in seconds, as of steady time `at`."""

    low: float
    high: float
    at: float

    @staticmethod
    def told(date: float, *, sent: float, received: float) -> Interval:
        """The bounds that one answer gives.

        The service stamped it at some moment in between: the oscillators may have drifted since that, too.

        Args:
            date: Its ``Date`` in seconds since the epoch, cut to a second.
            sent: When the request was sent, on the steady clock.
            received: When the answer was there.
        """
        drift = OSCILLATOR_DRIFT * max(0.0, received - sent)
        return Interval(low=date - received - drift, high=date + 1.0 - sent + drift, at=received)

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
    """What several answers that agree with one another say about the offset, as of steady time `at`.

    Attributes:
        lows: The highest lower bounds among them, up to `AGREEING`, the highest first.
        highs: The lowest upper bounds among them, up to `AGREEING`, the lowest first.
        answers: How many answers there are.
    """

    lows: tuple[float, ...]
    highs: tuple[float, ...]
    at: float
    answers: int

    @staticmethod
    def of(*samples: Interval) -> Evidence:
        """What these answers say, as of the same time."""
        lows = sorted((sample.low for sample in samples), reverse=True)
        highs = sorted(sample.high for sample in samples)
        return Evidence(tuple(lows[:AGREEING]), tuple(highs[:AGREEING]), samples[-1].at, len(samples))

    @property
    def certain(self) -> bool:
        """Whether at least one of them is certainly right."""
        return self.answers >= AGREEING

    def allowed_by(self, supporters: int, now: float) -> Interval:
        """Bounds at steady time `now` that so many answers each support: if one fewer of them is wrong, they hold.

        With fewer answers, the bounds that all of them support.
        """
        place = min(supporters, len(self.lows)) - 1
        grown = OSCILLATOR_DRIFT * max(0.0, now - self.at)
        return Interval(self.lows[place] - grown, self.highs[place] + grown, now)

    def widened(self, now: float) -> Evidence:
        """The same at a later time, as both oscillators may have drifted."""
        grown = OSCILLATOR_DRIFT * max(0.0, now - self.at)
        lows = tuple(low - grown for low in self.lows)
        return Evidence(lows, tuple(high + grown for high in self.highs), now, self.answers)

    def joined(self, sample: Interval) -> Evidence | None:
        """With one more answer, as of the same time; None if it contradicts them."""
        if max(self.lows[0], sample.low) > min(self.highs[0], sample.high):
            return None
        lows = sorted((*self.lows, sample.low), reverse=True)
        highs = sorted((*self.highs, sample.high))
        return Evidence(tuple(lows[:AGREEING]), tuple(highs[:AGREEING]), sample.at, self.answers + 1)


@dataclass(frozen=True, slots=True)
class Offset:
    """What we know about the offset: fed one answer at a time.

    Attributes:
        trusted: The answers that we believe.
        recent: The latest answers that no certain ones contain, up to `WINDOW`: at first contact all of them; later
            those since a contradiction.
        doubt: The hull of all answers since the first contradiction; None if there is none.
        overruled: What was certain until the latest answer, if that answer made us believe others instead.
    """

    trusted: Evidence
    recent: tuple[Interval, ...] = ()
    doubt: Interval | None = None
    overruled: Evidence | None = None

    @staticmethod
    def first(sample: Interval) -> Offset:
        """The state after the first answer."""
        return Offset(Evidence.of(sample), recent=(sample,))

    @property
    def certain(self) -> bool:
        """Whether three answers have agreed with one another: then the strict bounds are strict."""
        return self.trusted.certain

    def bounds(self, now: float) -> Interval:
        """The bounds at steady time `now` that no single wrong answer moves."""
        return self._bounds(2, now)

    def strict_bounds(self, now: float) -> Interval:
        """The bounds at steady time `now` that no two wrong answers move, if `certain`."""
        return self._bounds(AGREEING, now)

    def both_bounds(self, now: float) -> tuple[Interval, Interval, bool]:
        """`bounds`, `strict_bounds` and `certain`, in one call: each claim reads them twice."""
        return self._bounds(2, now), self._bounds(AGREEING, now), self.trusted.certain

    def told(self, date: float, *, sent: float, received: float) -> Offset:
        """The state after one more answer, of this date; the arguments are those of `Interval.told`."""
        return self.updated(Interval.told(date, sent=sent, received=received))

    def updated(self, sample: Interval) -> Offset:
        """The state after one more answer."""
        now = sample.at
        trusted = self.trusted.widened(now)
        agreed = trusted.joined(sample)
        if agreed is not None and self.doubt is None:
            return Offset(agreed, recent=() if agreed.certain else (*self.recent, sample))
        before = tuple(answer.widened(now) for answer in self.recent[1 - WINDOW :])
        if agreed is not None and trusted.certain and not _supports_others(sample, before, trusted):
            return Offset(agreed)
        recent = (*before, sample)
        agreeing = _agreeing(recent)
        if len(agreeing) >= AGREEING:
            return Offset(Evidence.of(*agreeing), overruled=trusted if trusted.certain else None)
        # At first contact, those before the contradiction may be the wrong ones: `trusted` has their hull.
        doubt = sample if self.doubt is None else self.doubt.widened(now).hull(sample)
        return Offset(trusted, recent, doubt)

    def _bounds(self, supporters: int, now: float) -> Interval:
        trusted = self.trusted.allowed_by(supporters, now)
        return trusted if self.doubt is None else trusted.hull(self.doubt.widened(now))


def _supports_others(sample: Interval, recent: Sequence[Interval], trusted: Evidence) -> bool:
    """Whether an answer, such as one that took long, fits answers too that contradict the trusted ones."""
    return any(trusted.joined(other) is None and sample.meet(other) is not None for other in recent)


def _agreeing(samples: Sequence[Interval]) -> list[Interval]:
    """The most of these answers that have a point in common: one of the lower bounds is such a point."""
    return max(([other for other in samples if other.low <= one.low <= other.high] for one in samples), key=len)
