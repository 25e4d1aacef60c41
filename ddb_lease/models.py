"""Public values: the time budget around a lease, and what methods return to users and operators.

Invariants:

- Values only: frozen, slotted, keyword-only. No I/O, no clock, no boto3.
- Times are seconds as floats; their names end in `_seconds`, or their docstring names the unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, get_args

from ddb_lease._numbers import as_seconds, long_text, positive, shown
from ddb_lease.errors import ConfigurationError

Data = Mapping[str, Any]
"""What a holder attaches to a lease: string keys; strings, numbers, booleans, None, lists and maps of these, 31 deep.

Numbers are DynamoDB's, of up to 38 digits. A whole number comes back as int (2.0 as 2), any other as float, or as
Decimal if no float holds it.
"""

Seconds = float | timedelta
"""A time that a user gives: a number of seconds (an int, a float, a Fraction; not a string, Decimal or bool), or a
timedelta."""

Order: TypeAlias = Literal["any", "fifo"]
"""In which order a full bucket's slots go to its waiters: in any, or first come, first served: see `LeaseBucket`."""

ORDERS: tuple[Order, ...] = get_args(Order)
"""Each order."""

OnUnavailable: TypeAlias = Literal["raise", "allow", "deny", "local"]
"""How a rate decides while the service does not answer: see `RateLimiter`."""

DecidedBy: TypeAlias = Literal["table", "allow", "deny", "local"]
"""Who decided whether permits were had: the table, or the `on_unavailable` of the limiter."""

MARGINS_PER_LEASE = 3
"""A lease shorter than this many margins leaves no room for a missed heartbeat, and is refused."""

_STEPS = 100
"""Steps to the shortest lease. Each leaves a sixth of the distance, or more if the grace is a larger part of it."""

OSCILLATOR_DRIFT = 200e-6
"""How far a machine's steady clock may run fast or slow, as a fraction: 200 parts per million, 17 s a day.
Uncorrected quartz stays below half of it."""

PERMIT_KEY = "ddb_lease"
"""In the data of a leased slot: it is a permit of a window, which nobody holds, renews or releases."""

CLOSED_MARK = "closed-"
"""In the id of a lease that nobody holds: it keeps its slot closed, as its last holder asked for."""

_LEAST = {"front_end_skew": 0, "grace": 0, "grace_part": 0, "grace_most": 0, "retention": 3600, "max_clock_skew": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The time budget around a lease. The defaults suit the real service; all values are seconds.

    Attributes:
        front_end_skew: How far the clocks of the service's front ends may differ from one another.
        grace: Time for the lost-callback, between the holder's deadline and the earliest moment at which another can
            hold the slot. None: `grace_part` of the lease, at most `grace_most`.
        grace_part: A fraction of the lease; a twentieth by default.
        grace_most: Two seconds by default.
        retention: How long a slot's item stays after its last activity or expiry before DynamoDB's TTL may
            delete it. At least an hour, as a request can be under way for a quarter of an hour.
        max_clock_skew: How far this machine's wall clock may be wrong. It is believed only if the service's answers
            carry no `Date`. Otherwise, a clock that is further off costs the first acquire one Query more.
    """

    front_end_skew: float = 1.0
    grace: float | None = None
    grace_part: float = 0.05
    grace_most: float = 2.0
    retention: float = 86_400.0
    max_clock_skew: float = 2.0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            given = getattr(self, name)
            if given is None and name == "grace":
                continue
            seconds = as_seconds(given)
            if not (math.isfinite(seconds) and seconds >= least):
                raise ConfigurationError(f"Timing: {name} must be a number from {least} up, not {shown(given)}")
            if isinstance(given, timedelta):
                object.__setattr__(self, name, seconds)

    def grace_for(self, lease_seconds: float) -> float:
        """Seconds for the lost-callback of a lease of this length."""
        return min(self.grace_most, self.grace_part * lease_seconds) if self.grace is None else self.grace

    def margin_for(self, lease_seconds: float) -> float:
        """Seconds by which a holder stops believing before the lease expires in the table.

        The front ends' clocks may differ, both steady clocks may drift apart while the lease runs, and the
        lost-callback needs its time before anyone else can hold the slot.
        """
        drift = 2 * OSCILLATOR_DRIFT * lease_seconds
        return self.front_end_skew + drift + self.grace_for(lease_seconds)

    def require_room(self, lease_seconds: float) -> None:
        """Refuse a lease that is too short for its margin.

        Raises:
            ConfigurationError: The lease is shorter than three margins. Nothing was sent.
        """
        if not lease_seconds >= MARGINS_PER_LEASE * self.margin_for(lease_seconds):
            raise ConfigurationError(
                f"a lease of {lease_seconds:g} s is too short: its margin is "
                f"{long_text(self.margin_for(lease_seconds), '.3g')}, and a lease must be three margins long: "
                f"at least {long_text(self._shortest(), '.1f')}, as the margin grows with the lease"
            )

    def _shortest(self) -> float:
        """The shortest lease that has room, rounded up to a tenth of a second: the margin grows with the lease."""
        shortest = 0.0
        for _ in range(_STEPS):
            shortest = MARGINS_PER_LEASE * self.margin_for(shortest)
        return math.ceil(round(shortest * 10, 6)) / 10 if math.isfinite(shortest) else shortest


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a rate limiter: so many permits in so much time, and so many at once.

    Of the permits used in any t seconds it admits at most ``permits / per * t + burst``. A limiter takes up to a
    million permits a second, and a burst that comes back within a year.

    Attributes:
        permits: How many; a number above 0.
        per: The time in which they are admitted: seconds, or a timedelta.
        burst: How many at once, a whole number; None for those of one `per`, `permits` rounded down, and one at least.

    Raises:
        ConfigurationError: A number is none, or not above 0.

    Example:
        >>> from ddb_lease.models import Limit
        >>> requests, tokens = Limit(100, per=60), Limit(90_000, per=60, burst=10_000)
        >>> tokens.burst
        10000
    """

    permits: float
    per: Seconds = 1.0
    burst: int | None = None

    def __post_init__(self) -> None:
        positive("permits", self.permits)
        positive("per", self.per)
        burst: object = 1 if self.burst is None else self.burst
        if isinstance(burst, bool) or not isinstance(burst, int) or burst < 1:
            raise ConfigurationError(f"burst must be a whole number from 1 up, not {shown(burst)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDecision:
    """One limit of a key when it was decided; see `Decision`.

    Attributes:
        remaining: Permits that can still be had at once.
        retry_after: Seconds until one can be had; 0.0 if one can.
        reset_after: Seconds until the whole burst can be had, if nobody takes any.
    """

    remaining: int
    retry_after: float
    reset_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether permits were taken, and how much is left: what an HTTP service answers its client.

    The figures are those of the tightest limit, as this process knows them; others may be faster.

    Attributes:
        allowed: Whether the permits were taken.
        remaining: Permits that can still be had at once.
        retry_after: Seconds until the permits asked for can be had; 0.0 if they were taken.
        reset_after: Seconds until the whole burst can be had, if nobody takes any.
        limits: Every limit by name.
        tightest: The limit that made or would make one wait longest; with none, the one with the least left.
        decided_by: ``table``, as usual. While the service does not answer, the limiter's `on_unavailable` decides:
            ``local`` then has the figures of this process's share; ``allow`` and ``deny`` have none to be relied on.
        blocked_seconds: Until the block of the key, or of one of its parents, ends; 0.0 if there is none.
        settings: The limits that hold, by name, as far as this process knows: those of the stored policy, and of the
            key's override where it has one. Under parents, of each the one whose figures `limits` has.
    """

    allowed: bool
    remaining: int
    retry_after: float
    reset_after: float
    limits: Mapping[str, LimitDecision]
    tightest: str
    decided_by: DecidedBy = "table"
    blocked_seconds: float = 0.0
    settings: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDecision:
    """Whether a permit of a `SlidingWindow` was taken, and if not, when to ask again.

    Attributes:
        allowed: Whether the permit was taken.
        retry_after: Seconds until the first of the permits in use is back, as far as this process knows; 0.0 if one was
            taken. It is right to about a second, as the service's time is known no better. Others may take that permit
            first, so it is no promise; a permit that others used too late and gave back comes earlier. 1.0 where
            nothing is known.
    """

    allowed: bool
    retry_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStatus:
    """A rate, or one key of it, as one read shows it. It is stale as soon as you have it.

    Attributes:
        available: Permits that can be had at once, besides those that processes hold by `prefetch`.
        wait_seconds: Until one can be had; 0 if one is available.
        in_hand: Permits that this process holds by `prefetch`.
        stored: Rate, per and burst of the stored policy, which rules, if they differ from this limiter's own. None:
            they are the same, or no policy is stored yet.
        uncertainty_seconds: How far this process's estimate of the service's time may be off.
        limits: Every limit by name. The figures above are those of the tightest one.
        key: The key; empty for a rate without keys.
        settings: The limits that hold: those of the stored policy, and of the key's override where it has one.
        override: The limits in which the key differs from the policy.
        blocked_seconds: Until the block of the key ends; 0 if it is not blocked.
    """

    name: str
    table: str
    rate: float
    per: float
    burst: int
    available: int
    wait_seconds: float
    in_hand: int
    stored: tuple[float, float, int] | None
    uncertainty_seconds: float
    limits: Mapping[str, LimitDecision]
    key: str
    settings: Mapping[str, Limit]
    override: Mapping[str, Limit]
    blocked_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resized:
    """What a resize did.

    Attributes:
        before: `max_tokens` as it was.
        after: `max_tokens` as it is.
        retired: Slots that were taken out of circulation.
        running: Leases that run on there until they are released or expire.
    """

    before: int
    after: int
    retired: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did.

    Attributes:
        max_tokens: As it is; a repair does not change it.
        before: `minted` as it was.
        after: `minted` as it is: the slots in circulation.
        retired: Slots beyond `max_tokens` that were taken out of circulation.
    """

    max_tokens: int
    before: int
    after: int
    retired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What a change of a bucket's settings did.

    Attributes:
        before: The order as it was.
        after: The order as it is.
    """

    before: Order
    after: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """A process that waits for slots of a bucket with ``order="fifo"``, in a `BucketStatus`.

    Attributes:
        place: Its place in the queue; the first has 1.
        owner: Who waits.
        since: When it came, by the service's clock, in UTC.
        count: How many slots it wants together.
        priority: 9 is served first, 0 last.
    """

    place: int
    owner: str
    since: datetime
    count: int
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseInfo:
    """One lease on one slot, in a `BucketStatus`. A lease on several slots has one `LeaseInfo` for each.

    Attributes:
        age_seconds: Since its acquisition, by the service's clock; right to about a second, as that clock is known from
            dates in whole seconds, and 0.0 where it would be less.
        remaining_seconds: Until it expires in the table; negative if it has expired and nobody claimed the slot yet.
            Right to about a second: it may be a little more than the length of a lease.
    """

    lease_id: str
    slot: int
    fence: int
    owner: str
    data: Data
    age_seconds: float
    remaining_seconds: float
    revoked: bool
    retired: bool

    @property
    def expired(self) -> bool:
        """Whether the lease has expired in the table."""
        return self.remaining_seconds < 0

    @property
    def closed(self) -> bool:
        """Whether nobody holds it: it keeps its slot closed, as its last holder, the `owner`, asked for."""
        return self.lease_id.partition("-")[2].startswith(CLOSED_MARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketStatus:
    """A bucket, read page by page: not a snapshot, and stale as soon as you have it.

    Attributes:
        minted: The counter's count of slots.
        in_circulation: Slots that exist and are not retired.
        leases: Every lease in the table, by slot, expired ones included.
        order: In which order a full bucket's slots go to its waiters.
        queue: Who waits for slots of a bucket with ``order="fifo"``, first to last; the first 32 at most.
        waiting: How many wait, `queue` and the others: the processes, not their threads.
    """

    name: str
    table: str
    max_tokens: int
    lease_seconds: float
    minted: int
    in_circulation: int
    leases: tuple[LeaseInfo, ...]
    order: Order = "any"
    queue: tuple[Waiter, ...] = ()
    waiting: int = 0

    @property
    def free(self) -> int:
        """Tokens without a running lease: so many leases can be had now."""
        held = sum(not lease.expired and lease.slot < self.max_tokens for lease in self.leases)
        return max(0, self.max_tokens - held)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name in {"slots", "held", "holders"}:
                raise AttributeError(
                    f"a BucketStatus has no {name!r}: `leases` has a LeaseInfo for each leased slot, `free` says how "
                    "many can be had"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    @property
    def drift(self) -> int:
        """`minted` above the slots in circulation; the next acquirer that meets it repairs it."""
        return self.minted - self.in_circulation
