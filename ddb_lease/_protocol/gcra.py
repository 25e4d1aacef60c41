"""GCRA: the decisions of a rate limit. Pure functions of values.

The generic cell rate algorithm (ITU-T I.371, in its form as virtual scheduling) keeps one number: `tat`, the
theoretical arrival time, at which all permits admitted so far are paid for. A permit costs an interval; n permits are
admitted if ``max(tat, now) + n * interval`` lies at most `burst` intervals ahead of `now`, and `tat` then moves
there.

Invariants:

- All times are whole nanoseconds, so that additions lose nothing. Milliseconds are too coarse beyond 1,000/s, and so
  are microseconds: at 3,000/s an interval is 333.3 of them. Rounding each charge breaks the burst (five permits of 3/s
  at once, taken one by one, come to a microsecond more than five intervals); rounding the interval once costs up to a
  tenth of the rate. Nanoseconds, rounded up once, lose a thousandth at 1,000,000/s, and nothing measurable at the
  thousand writes a second that an item takes.
- The table decides, by a charge's condition. This module decides which of the two branches to send, and whether to send
  anything: `tat` never falls while the item lives, so a denial holds until the time that it gives.
- A charge only moves `tat` forward. While `now` is right, permits admitted in any time are at most `rate` * time +
  `burst`; if senders' clocks differ, the distance between the slowest and the fastest comes on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from ddb_lease._protocol.records import LONGEST_LEASE_MS, Meter, Rate
from ddb_lease.errors import ConfigurationError

NS = 1_000_000_000
"""Nanoseconds in a second."""

FASTEST = 1_000_000
"""The most permits a second: an interval of a thousand nanoseconds, whose rounding costs at most a thousandth."""

_LARGEST = 10**15
"""The largest int accepted: beyond any sensible rate or time, and exact as a float."""

LONGEST_NS = LONGEST_LEASE_MS * 1_000_000
"""A year: the longest time that a burst may take to come back."""


@dataclass(frozen=True, slots=True)
class Idle:
    """All permits admitted so far are paid for: the charge counts from now."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Some permits are not paid for yet, and the burst allows more: the charge is added to `tat`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Not before `at`, in nanoseconds since the epoch."""

    at: int


Plan: TypeAlias = Idle | Busy | Later


def rate_of(rate: object, per: object, burst: object) -> Rate:
    """Check a limiter's settings.

    Args:
        rate: Permits.
        per: Seconds in which they are admitted.
        burst: Permits at once; None for those of one `per`, and one at least.

    Raises:
        ConfigurationError: They cannot work.
    """
    permits, seconds = _positive("rate", rate), _positive("per", per)
    interval = math.ceil(seconds * NS / permits)
    if permits > FASTEST * seconds:
        raise ConfigurationError(f"rate may be up to {FASTEST:,} permits a second, not {rate!r} in {per!r} s")
    if burst is None:
        burst = max(1, math.floor(permits))
    if isinstance(burst, bool) or not isinstance(burst, int) or burst < 1:
        raise ConfigurationError(f"burst must be a whole number from 1 up, not {burst!r}")
    if burst * interval > LONGEST_NS:
        raise ConfigurationError(f"a burst of {burst:,} permits would take more than a year to come back")
    return Rate(rate=float(permits), per=float(seconds), burst=burst, interval_ns=interval)


def plan(tat: int | None, *, now: int, needed: int, tolerance: int) -> Plan:
    """How to send a charge of which `needed` must be admitted at once.

    Args:
        tat: As last seen; None if nothing was charged, or nothing is known.
        now: The service's time.
        needed: At most `tolerance`: a burst.
        tolerance: How far ahead a charge may reach.
    """
    if tat is None or tat < now:
        return Idle()
    earliest = tat + needed - tolerance
    return Busy() if earliest <= now else Later(at=earliest)


def is_own(meter: Meter | None, *, lane: int, attempt: str) -> bool:
    """Whether a charge was refused because an earlier sending of the same attempt had been admitted."""
    return meter is not None and meter.lanes.get(lane) == attempt


def available(meter: Meter | None, rate: Rate, *, now: int) -> tuple[int, int]:
    """How many permits could be had now, and after how many nanoseconds one can."""
    tat = meter.tat if meter is not None and meter.tat is not None else now
    room = now + rate.tolerance_ns - max(tat, now)
    return max(0, room // rate.interval_ns), max(0, rate.interval_ns - room)


def _positive(what: str, value: object) -> Fraction:
    # A float is read by its text, as 0.1 means 0.1; by the base type's own, whatever a subclass does.
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return Fraction(int(value))
    if isinstance(value, float) and math.isfinite(value) and value > 0:
        return Fraction(float.__repr__(value))
    raise ConfigurationError(f"{what} must be a number above 0, not {value!r}")
