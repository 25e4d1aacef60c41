"""GCRA: the decisions of a rate limit. Values in, values out.

The generic cell rate algorithm (ITU-T I.371, in its form as virtual scheduling) keeps one number: `tat`, the
theoretical arrival time. Until then, all permits admitted so far are paid for. A permit costs one interval. A charge of
n permits is admitted where ``max(tat, now) + n * interval`` lies at most `burst` intervals ahead of `now`, and `tat`
then moves there.

Invariants:

- `decide` is the one place that says whether a rate admits now. Whatever asks that (a try from memory, a waiter, each
  sending of a charge, the wait that a limiter tells) asks this function.
- All arithmetic is in whole nanoseconds, so adding loses nothing. Milliseconds are too coarse beyond 1,000/s, and so
  are microseconds: at 3,000/s an interval is 333.3 of them. Rounding each charge breaks the burst (five permits of 3/s
  at once, taken one by one, come to a microsecond more than five intervals). Rounding the interval once costs up to a
  tenth of the rate. Nanoseconds, rounded up once, lose a thousandth at 1,000,000/s, and nothing measurable at the
  thousand writes a second that an item takes.
- The table decides, by a charge's condition. Here we choose which of the two branches to send, and whether to send at
  all: `tat` never falls while the item lives, so a denial stands until the time it names.
- Charges to one item only ever move `tat` on. Where `now` is right, the permits admitted in any time are at most
  `rate` * time + `burst`. Where senders' clocks are off, the time between the slowest and the fastest comes on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from ddb_lease._numbers import shown
from ddb_lease._protocol.rates.validation import FASTEST, LONGEST_NS, NS, positive
from ddb_lease._protocol.records import Meter, Rate
from ddb_lease.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Permits of one charge that are still in hand: the first is due at `first`, one more each interval."""

    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What one process knows of a rate.

    Attributes:
        tat: As last seen; None where nothing was seen, or nothing was charged.
        batches: The permits in hand, in the order in which they are spent.
    """

    tat: int | None = None
    batches: tuple[Batch, ...] = ()

    @property
    def in_hand(self) -> int:
        """How many permits are in hand, due or not."""
        return sum(batch.count for batch in self.batches)

    def due(self, count: int, *, interval: int) -> int:
        """When the last of the first `count` permits in hand is due."""
        for batch in self.batches:
            if count <= batch.count:
                return batch.first + (count - 1) * interval
            count -= batch.count
        raise ValueError("not so many are in hand")

    def charged(self, *, tat: int, taken: int, interval: int, tolerance: int) -> Balance:
        """After a charge of `taken` permits that left the item at `tat`."""
        first = tat - (taken - 1) * interval - tolerance
        return Balance(tat=tat, batches=(*self.batches, Batch(first=first, count=taken)))

    def spent(self, count: int, *, interval: int) -> Balance:
        """After `count` permits in hand were used, or as many as there are."""
        left = list(self.batches)
        while count and left:
            batch = left.pop(0)
            used = min(count, batch.count)
            count -= used
            if used < batch.count:
                left.insert(0, Batch(first=batch.first + used * interval, count=batch.count - used))
        return Balance(tat=self.tat, batches=tuple(left))


@dataclass(frozen=True, slots=True)
class FromHand:
    """The permits in hand are enough, and due: nothing is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleBranch:
    """All permits admitted so far are paid for: charge the `missing` permits from now on."""

    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyBranch:
    """Some permits are not paid for yet, but there is capacity: charge the `missing` permits on top of `tat`."""

    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Not to be had before `at`, in nanoseconds since the epoch."""

    at: int


Step: TypeAlias = FromHand | IdleBranch | BusyBranch | Later


def rate_of(rate: object, per: object, burst: object) -> Rate:
    """A limiter's settings, checked.

    Args:
        rate: Permits.
        per: The time in which they are admitted: seconds, or a timedelta.
        burst: Permits at once; None for those of one `per`, and one at least.

    Raises:
        ConfigurationError: They cannot work.
    """
    permits, seconds = (
        positive("rate", rate),
        positive("per", per.total_seconds() if isinstance(per, timedelta) else per),
    )
    interval = math.ceil(seconds * NS / permits)
    if permits > FASTEST * seconds:
        raise ConfigurationError(f"rate may be up to {FASTEST:,} permits a second, not {shown(rate)} in {shown(per)} s")
    if burst is None:
        burst = max(1, math.floor(permits))
    if isinstance(burst, bool) or not isinstance(burst, int) or burst < 1:
        raise ConfigurationError(f"burst must be a whole number from 1 up, not {shown(burst)}")
    if burst * interval > LONGEST_NS:
        raise ConfigurationError(f"a burst of {shown(burst)} permits would take more than a year to come back")
    return Rate(rate=float(permits), per=float(seconds), burst=burst, interval_ns=interval)


def decide(balance: Balance, count: int, *, now: int, interval: int, tolerance: int) -> Step:
    """Whether so many permits can be had now, and how; or when they can.

    Args:
        balance: What this process knows. Others may have charged since; the table then refuses the charge.
        count: How many permits, together.
        now: The service's time.
        interval: What one permit costs.
        tolerance: How far ahead of `now` a charge may reach: a burst.
    """
    missing = count - balance.in_hand
    if missing <= 0:
        due = balance.due(count, interval=interval)
        return FromHand() if due <= now else Later(at=due)
    tat = now if balance.tat is None else balance.tat
    idle = balance.tat is None or tat < now
    earliest = max(tat, now) + missing * interval - tolerance
    if earliest > now:
        return Later(at=earliest)
    return IdleBranch(missing=missing) if idle else BusyBranch(missing=missing)


def is_own(meter: Meter | None, *, lane: int, attempt: str) -> bool:
    """Whether a charge was refused because the item shows this attempt: an earlier sending of it was admitted."""
    return meter is not None and meter.lanes.get(lane) == attempt


def available(meter: Meter | None, rate: Rate, *, now: int) -> tuple[int, int]:
    """How many permits could be had now, and after how many nanoseconds one can."""
    tat = meter.tat if meter is not None else now
    capacity = now + rate.tolerance_ns - max(tat, now)
    return max(0, capacity // rate.interval_ns), max(0, rate.interval_ns - capacity)
