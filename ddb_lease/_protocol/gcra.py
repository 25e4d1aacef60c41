"""GCRA: the decisions of a rate limit. Values in, values out.

The generic cell rate algorithm (ITU-T I.371, in its form as virtual scheduling) keeps one number: `tat`, the
theoretical arrival time, until which all that was admitted is paid for. A permit costs an interval; n permits are
admitted where ``max(tat, now) + n * interval`` lies at most `burst` intervals ahead of `now`, and `tat` then moves
there.

Invariants:

- All is reckoned in whole nanoseconds, so that nothing is lost by adding. Milliseconds are too coarse beyond 1,000/s,
  and microseconds too: at 3,000/s an interval is 333.3 of them. Rounded for each charge, that breaks the burst (five
  permits of 3/s at once, taken one by one, come to a microsecond more than five intervals); rounded once, for the
  interval, up to a tenth of the rate. Nanoseconds, rounded up once, lose a thousandth at 1,000,000/s, and nothing that
  anyone could measure at the thousand writes a second that an item takes.
- The table decides, by a charge's condition. What is decided here is which of its two branches to send, and whether to
  send anything: `tat` never falls while the item lives, so a denial stands until the time it names.
- Charges to one item only ever move `tat` on. Over any time in which `now` is told right, permits admitted are thus at
  most `rate` * time + `burst`; where senders' clocks are off, the time between the slowest and the fastest comes on
  top.
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
"""Permits a second, at most: an interval of a thousand nanoseconds, whose rounding costs no more than a thousandth."""

_LARGEST = 10**15
"""Of a number that is given as an int: beyond any rate or time that makes sense, and exact as a float."""

LONGEST_NS = LONGEST_LEASE_MS * 1_000_000
"""A year: what a burst may take to come back, at most."""


@dataclass(frozen=True, slots=True)
class Idle:
    """All that was admitted is paid for: the charge counts from now on."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Something is not paid for yet, and there is room: the charge comes on top of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """No room before `at`, in nanoseconds since the epoch."""

    at: int


Plan: TypeAlias = Idle | Busy | Later


def rate_of(rate: object, per: object, burst: object) -> Rate:
    """A limiter's settings, checked.

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
    """What to do with a charge of which `needed` must be admitted at once.

    Args:
        tat: As last seen; None where nothing was charged, or nothing is known.
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
    # A float by way of its text: 0.1 is meant as 0.1. The base types' own, whatever a subclass makes of it.
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return Fraction(int(value))
    if isinstance(value, float) and math.isfinite(value) and value > 0:
        return Fraction(float.__repr__(value))
    raise ConfigurationError(f"{what} must be a number above 0, not {value!r}")
