"""Events of rates: what a `RateLimiter` or a `SlidingWindow` reports to its `on_event`, for metrics.

Invariants:

- Values only, frozen, each with the rate's name and the key; the key is empty for a rate without keys, and where the
  event concerns all keys. No decision depends on them.
- Each is reported on the thread that calls (with `ddb_lease.aio`: on the loop's), with no lock held, before the call
  returns. While earlier events of the limiter wait for a thread for callbacks, later ones are queued behind them. Of a
  window with `ddb_lease.aio`, `RateThrottled` comes on the thread that sent the request.
- `PolicyChanged`, `Unavailable` and `Available` come in order, however many threads notice: while one thread reports
  such an event, it reports those that others notice then, too.
- A window has one limit, ``permits``, no bookings and no policy; when a permit comes back it does not say.
- Every call that asks for permits ends with one `Admitted` or one `Denied`, or raises `StoreUnavailable` or another
  error; one that is interrupted ends with neither. `reserve` ends with `Reserved` in place of `Admitted`.
- Fields with many values (the key) are apart from fields with few (rate, limit, `decided_by`).

Example:
    >>> from ddb_lease import RateLimiter, local, rate_events
    >>> def on_event(event):
    ...     match event:
    ...         case rate_events.Admitted():
    ...             print(f"admitted {event.permits['permits']} of {event.rate}")
    ...         case rate_events.Denied():
    ...             print(f"denied by {event.decided_by}")
    >>> with RateLimiter("news", rate=5, per=60, burst=2, on_event=on_event, **local.connect()) as limiter:
    ...     [limiter.try_acquire(2), limiter.try_acquire()]
    admitted 2 of news
    denied by table
    [True, False]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ddb_lease.events import ThrottledBy
from ddb_lease.models import DecidedBy, Limit, OnUnavailable

__all__ = [
    "Admitted",
    "Available",
    "Booked",
    "Denied",
    "OnRateEvent",
    "PolicyChanged",
    "RateEvent",
    "RateThrottled",
    "Reserved",
    "Settled",
    "Unavailable",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A call got its permits, and they are due: use them now.

    Attributes:
        rate: The rate's name.
        key: The key.
        permits: How many, by limit; a rate with one unnamed limit has it under ``permits``.
        waited_seconds: From the call until now, on the steady clock: for the answer, and until the permits were due.
        decided_by: ``table``, as usual; or the setting of `on_unavailable` that decided while the service did not
            answer.
    """

    rate: str
    key: str
    permits: Mapping[str, int]
    waited_seconds: float
    decided_by: DecidedBy = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A call did not get its permits: `try_acquire` or `check` said no, or `acquire` timed out.

    Attributes:
        rate: The rate's name.
        key: The key.
        permits: How many were wanted, by limit.
        limit: The limit that comes last, as far as this process knows; empty if it does not.
        retry_after: Seconds until the permits could be had, as far as this process knows.
        waited_seconds: From the call until now, on the steady clock.
        decided_by: As in `Admitted`. What this process remembers of the table counts as the table.
    """

    rate: str
    key: str
    permits: Mapping[str, int]
    limit: str
    retry_after: float
    waited_seconds: float
    decided_by: DecidedBy = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """A call's permits are booked, and due later: the call sleeps until then. `Admitted` follows.

    Attributes:
        rate: The rate's name.
        key: The key.
        permits: How many, by limit.
        due_in_seconds: Until they are due.
    """

    rate: str
    key: str
    permits: Mapping[str, int]
    due_in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A call got a reservation: its permits are held until it is settled.

    Attributes:
        rate: The rate's name.
        key: The key.
        permits: How many are held, by limit.
        waited_seconds: As in `Admitted`.
        decided_by: As in `Admitted`.
    """

    rate: str
    key: str
    permits: Mapping[str, int]
    waited_seconds: float
    decided_by: DecidedBy = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A reservation was settled: what was used counts from now on.

    Attributes:
        rate: The rate's name.
        key: The key.
        reserved: How many permits were held, by limit.
        used: How many were used, by limit; it may be more than were held.
        written: Whether the table confirmed it. If not, the reservation counts in full after its time.
    """

    rate: str
    key: str
    reserved: Mapping[str, int]
    used: Mapping[str, int]
    written: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    """This process follows another policy than before; once for each change that it meets.

    Attributes:
        rate: The rate's name.
        key: Empty: the policy is that of all keys.
        limits: The limits by name, as they are now.
    """

    rate: str
    limits: Mapping[str, Limit]
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateThrottled:
    """DynamoDB throttled a request; it is sent again after a pause.

    Attributes:
        rate: The rate's name.
        key: The key; empty for a request that concerns all keys.
        operation: What was sent: ``charge``, ``read_policy`` and so on.
        limit: What throttles: see `ddb_lease.events.Throttled`.
    """

    rate: str
    key: str
    operation: str
    limit: ThrottledBy = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The service does not answer: an outage begins. Throttling alone is none.

    Attributes:
        rate: The rate's name.
        key: Empty: an outage concerns all keys.
        on_unavailable: How decisions are made from now on.
        cause: What became of the last request, for people.
    """

    rate: str
    on_unavailable: OnUnavailable
    cause: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """The service answers again. It follows `Unavailable`.

    Attributes:
        rate: The rate's name.
        key: Empty: an outage concerns all keys.
        seconds: How long the outage took, from the first request that was not answered.
    """

    rate: str
    seconds: float
    key: str = ""


RateEvent: TypeAlias = (
    Admitted | Denied | Booked | Reserved | Settled | PolicyChanged | RateThrottled | Unavailable | Available
)
"""All events that `on_event` of a rate can be called with. There may be more later: ignore what you do not know."""

OnRateEvent: TypeAlias = Callable[[RateEvent], object]
"""The type of `on_event` of a `RateLimiter` and of a `SlidingWindow`."""
