"""OpenTelemetry metrics from events of buckets and rates; needs the extra ``otel``: OpenTelemetry's API only.

Invariants:

- This module imports events and OpenTelemetry's API, and nothing else of the package.
- Attributes have few values: the bucket's name, an operation, a reason; never a lease's id or a slot. A rate's key
  is an attribute only if it is asked for: metrics grow with each value of it.
- There are metrics, and no spans: who traces botocore's calls sees ours, in the span of the caller.

| instrument | kind, unit | attributes besides ``ddb_lease.bucket`` |
|---|---|---|
| ``ddb_lease.acquired`` | counter, {lease} | |
| ``ddb_lease.acquire.wait`` | histogram, s | |
| ``ddb_lease.acquire.requests`` | histogram, {request} | |
| ``ddb_lease.held`` | up-down counter, {lease} | |
| ``ddb_lease.renewed`` | counter, {lease} | |
| ``ddb_lease.renewal.late`` | histogram, s | |
| ``ddb_lease.released`` | counter, {lease} | |
| ``ddb_lease.handed_over`` | counter, {lease} | |
| ``ddb_lease.lost`` | counter, {lease} | ``ddb_lease.reason`` |
| ``ddb_lease.contended`` | counter, {request} | ``ddb_lease.reason`` |
| ``ddb_lease.throttled`` | counter, {request} | ``ddb_lease.operation``, ``ddb_lease.limit`` |
| ``ddb_lease.re_minted`` | counter, {slot} | |

| instrument | kind, unit | attributes besides ``ddb_lease.rate`` |
|---|---|---|
| ``ddb_lease.rate.admitted`` | counter, {call} | ``ddb_lease.decided_by`` |
| ``ddb_lease.rate.permits`` | counter, {permit} | ``ddb_lease.rate.limit`` |
| ``ddb_lease.rate.wait`` | histogram, s | |
| ``ddb_lease.rate.denied`` | counter, {call} | ``ddb_lease.rate.limit``, ``ddb_lease.decided_by`` |
| ``ddb_lease.rate.booked`` | counter, {call} | |
| ``ddb_lease.rate.reserved`` | counter, {permit} | ``ddb_lease.rate.limit`` |
| ``ddb_lease.rate.used`` | counter, {permit} | ``ddb_lease.rate.limit`` |
| ``ddb_lease.rate.policy_changed`` | counter, {change} | |
| ``ddb_lease.rate.throttled`` | counter, {request} | ``ddb_lease.operation``, ``ddb_lease.limit`` |
| ``ddb_lease.rate.unavailable`` | up-down counter, {limiter} | |
| ``ddb_lease.rate.outage`` | histogram, s | |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, get_args

try:
    from opentelemetry.metrics import Counter, Meter
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "ddb_lease.otel needs OpenTelemetry's API: pip install 'ddb-lease[otel]'", name=missing.name
    ) from missing

from ddb_lease import rate_events
from ddb_lease.events import (
    Acquired,
    Contended,
    Event,
    HandedOver,
    Lost,
    Released,
    ReMinted,
    Renewed,
    Throttled,
    Waiting,
)
from ddb_lease.rate_events import RateEvent

__all__ = ["instrument"]

BUCKET: Final = "ddb_lease.bucket"
DECIDED_BY: Final = "ddb_lease.decided_by"
KEY: Final = "ddb_lease.key"
LIMIT: Final = "ddb_lease.limit"
OPERATION: Final = "ddb_lease.operation"
RATE: Final = "ddb_lease.rate"
RATE_LIMIT: Final = "ddb_lease.rate.limit"
REASON: Final = "ddb_lease.reason"

WAIT_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
"""From one round trip to a queue of hours."""

LATE_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 120.0)
"""A lease of 60 s is in danger from 40 s on."""

REQUESTS: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Normally one; three for the first acquire; about one more for each second of waiting."""


_RATE_EVENTS: Final = get_args(RateEvent)

_RecordRate: TypeAlias = Callable[[RateEvent, dict[str, str]], None]
"""Records an event of a rate, with the attributes that all of its metrics have."""


def instrument(meter: Meter, *, keys: bool = False) -> Callable[[Event | RateEvent], None]:
    """Make the instruments, and a callable that records events of buckets and of rates with them.

    One is enough for a process: an attribute tells buckets and rates apart. Recording takes microseconds, and no I/O.

    Args:
        meter: The application's meter.
        keys: Whether a rate's key is an attribute, ``ddb_lease.key``. A metric has a series for each value: only for
            rates with few keys, of your own choosing.

    Returns:
        A callable for `on_event` of a `LeaseBucket`, a `RateLimiter` or a `SlidingWindow`. It ignores events that it
        does not know.

    Raises:
        ModuleNotFoundError: On import of this module, if OpenTelemetry's API is not installed.

    Example:
        >>> from opentelemetry.metrics import get_meter
        >>> from ddb_lease import LeaseBucket, local, otel
        >>> on_event = otel.instrument(get_meter("ddb_lease"))
        >>> bucket = LeaseBucket("crawl", max_tokens=2, on_event=on_event, **local.connect())
    """
    record_bucket, record_call, record_rate = _for_buckets(meter), _for_calls(meter), _for_rates(meter)

    def record(event: Event | RateEvent) -> None:
        match event:
            case Acquired() | Renewed() | Released() | Lost() | HandedOver() | Contended() | Throttled() | ReMinted():
                record_bucket(event)
            case _ if isinstance(event, _RATE_EVENTS):
                rate = {RATE: event.rate, KEY: event.key} if keys and event.key else {RATE: event.rate}
                record_call(event, rate)
                record_rate(event, rate)
            case _:
                pass  # of a later version

    return record


def _for_buckets(meter: Meter) -> Callable[[Event], None]:  # noqa: C901 - one branch for each event
    acquired = meter.create_counter("ddb_lease.acquired", unit="{lease}", description="Leases acquired")
    wait = meter.create_histogram(
        "ddb_lease.acquire.wait",
        unit="s",
        description="From the call of acquire until the lease was acquired",
        explicit_bucket_boundaries_advisory=WAIT_SECONDS,
    )
    requests = meter.create_histogram(
        "ddb_lease.acquire.requests",
        unit="{request}",
        description="Requests sent until the lease was acquired",
        explicit_bucket_boundaries_advisory=REQUESTS,
    )
    held = meter.create_up_down_counter("ddb_lease.held", unit="{lease}", description="Leases held by this process")
    renewed = meter.create_counter("ddb_lease.renewed", unit="{lease}", description="Renewals that succeeded")
    late = meter.create_histogram(
        "ddb_lease.renewal.late",
        unit="s",
        description="How much later than planned a renewal was answered",
        explicit_bucket_boundaries_advisory=LATE_SECONDS,
    )
    released = meter.create_counter("ddb_lease.released", unit="{lease}", description="Leases given back")
    lost = meter.create_counter("ddb_lease.lost", unit="{lease}", description="Leases lost")
    handed_over = meter.create_counter("ddb_lease.handed_over", unit="{lease}", description="Leases handed over")
    contended = meter.create_counter(
        "ddb_lease.contended", unit="{request}", description="Requests that met another client"
    )
    throttled = meter.create_counter("ddb_lease.throttled", unit="{request}", description="Requests throttled")
    re_minted = meter.create_counter("ddb_lease.re_minted", unit="{slot}", description="Missing slots minted again")

    def record(event: Event) -> None:
        bucket = {BUCKET: event.bucket}
        match event:
            case Acquired():
                acquired.add(1, bucket)
                held.add(1, bucket)
                wait.record(event.waited_seconds, bucket)
                requests.record(event.requests, bucket)
            case Renewed():
                renewed.add(1, bucket)
                late.record(event.late_seconds, bucket)
            case Released():
                released.add(1, bucket)
                held.add(-1, bucket)
            case Lost():
                lost.add(1, {**bucket, REASON: event.reason.value})
                held.add(-1, bucket)
            case HandedOver():
                handed_over.add(1, bucket)
                held.add(-1, bucket)
            case Contended():
                contended.add(1, {**bucket, REASON: event.reason})
            case Throttled():
                throttled.add(1, {**bucket, OPERATION: event.operation, LIMIT: event.limit})
            case ReMinted():
                re_minted.add(1, bucket)
            case Waiting():
                pass  # how long it waited is recorded when it is over

    return record


def _for_calls(meter: Meter) -> _RecordRate:
    admitted = meter.create_counter("ddb_lease.rate.admitted", unit="{call}", description="Calls that got permits")
    permits = meter.create_counter("ddb_lease.rate.permits", unit="{permit}", description="Permits admitted")
    wait = meter.create_histogram(
        "ddb_lease.rate.wait",
        unit="s",
        description="From the call until its permits were due",
        explicit_bucket_boundaries_advisory=WAIT_SECONDS,
    )
    denied = meter.create_counter("ddb_lease.rate.denied", unit="{call}", description="Calls that got no permits")
    booked = meter.create_counter("ddb_lease.rate.booked", unit="{call}", description="Calls that booked ahead")
    reserved = meter.create_counter("ddb_lease.rate.reserved", unit="{permit}", description="Permits reserved")
    used = meter.create_counter("ddb_lease.rate.used", unit="{permit}", description="Permits used of those reserved")

    def record(event: RateEvent, rate: dict[str, str]) -> None:
        match event:
            case rate_events.Admitted():
                admitted.add(1, {**rate, DECIDED_BY: event.decided_by})
                wait.record(event.waited_seconds, rate)
                _add_each(permits, event.permits, rate)
            case rate_events.Denied():
                denied.add(1, {**rate, RATE_LIMIT: event.limit, DECIDED_BY: event.decided_by})
            case rate_events.Booked():
                booked.add(1, rate)
            case rate_events.Reserved():
                wait.record(event.waited_seconds, rate)
                _add_each(reserved, event.permits, rate)
            case rate_events.Settled():
                _add_each(used, event.used, rate)
            case _:
                pass

    return record


def _for_rates(meter: Meter) -> _RecordRate:
    changed = meter.create_counter(
        "ddb_lease.rate.policy_changed", unit="{change}", description="Changes of the policy that were followed"
    )
    throttled = meter.create_counter("ddb_lease.rate.throttled", unit="{request}", description="Requests throttled")
    unavailable = meter.create_up_down_counter(
        "ddb_lease.rate.unavailable", unit="{limiter}", description="Limiters whose service does not answer"
    )
    outage = meter.create_histogram(
        "ddb_lease.rate.outage",
        unit="s",
        description="How long the service did not answer",
        explicit_bucket_boundaries_advisory=WAIT_SECONDS,
    )

    def record(event: RateEvent, rate: dict[str, str]) -> None:
        match event:
            case rate_events.PolicyChanged():
                changed.add(1, rate)
            case rate_events.RateThrottled():
                throttled.add(1, {**rate, OPERATION: event.operation, LIMIT: event.limit})
            case rate_events.Unavailable():
                unavailable.add(1, rate)
            case rate_events.Available():
                unavailable.add(-1, rate)
                outage.record(event.seconds, rate)
            case _:
                pass

    return record


def _add_each(counter: Counter, permits: Mapping[str, int], rate: dict[str, str]) -> None:
    for name, count in permits.items():
        counter.add(count, {**rate, RATE_LIMIT: name})
