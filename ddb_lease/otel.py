"""OpenTelemetry metrics from a bucket's events; needs the extra ``otel``, which brings OpenTelemetry's API only.

Invariants:

- This module imports events and OpenTelemetry's API, and nothing else of the package.
- Attributes have few values: the bucket's name, an operation, a reason; never a lease's id or a slot.

| instrument | kind, unit | attributes besides ``ddb_lease.bucket`` |
|---|---|---|
| ``ddb_lease.acquired`` | counter, {lease} | |
| ``ddb_lease.acquire.wait`` | histogram, s | |
| ``ddb_lease.acquire.requests`` | histogram, {request} | |
| ``ddb_lease.held`` | up-down counter, {lease} | |
| ``ddb_lease.renewed`` | counter, {lease} | |
| ``ddb_lease.renewal.late`` | histogram, s | |
| ``ddb_lease.released`` | counter, {lease} | |
| ``ddb_lease.lost`` | counter, {lease} | ``ddb_lease.reason`` |
| ``ddb_lease.contended`` | counter, {request} | ``ddb_lease.reason`` |
| ``ddb_lease.throttled`` | counter, {request} | ``ddb_lease.operation``, ``ddb_lease.limit`` |
| ``ddb_lease.re_minted`` | counter, {slot} | |
"""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import Meter

from ddb_lease.events import Acquired, Contended, Event, Lost, OnEvent, Released, ReMinted, Renewed, Throttled

__all__ = ["instrument"]

BUCKET: Final = "ddb_lease.bucket"
LIMIT: Final = "ddb_lease.limit"
OPERATION: Final = "ddb_lease.operation"
REASON: Final = "ddb_lease.reason"

WAIT_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
"""From one round trip to a queue of hours."""

LATE_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 120.0)
"""A lease of 60 s is in danger from 40 s on."""

REQUESTS: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Normally one; three for the first acquire; about one more for each second of waiting."""


def instrument(meter: Meter) -> OnEvent:
    """Make the instruments, and a callable that records a bucket's events with them.

    One is enough for a process: an attribute tells buckets apart. Recording takes microseconds, and no I/O.

    Args:
        meter: The application's meter.

    Returns:
        A callable for `on_event` of a `LeaseBucket`. It ignores events that it does not know.

    Raises:
        ModuleNotFoundError: On import of this module, if OpenTelemetry's API is not installed.

    Example:
        >>> from opentelemetry.metrics import get_meter
        >>> from ddb_lease import LeaseBucket, local, otel
        >>> on_event = otel.instrument(get_meter("ddb_lease"))
        >>> bucket = LeaseBucket("crawl", max_tokens=2, on_event=on_event, **local.connect())
    """
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
            case Contended():
                contended.add(1, {**bucket, REASON: event.reason})
            case Throttled():
                throttled.add(1, {**bucket, OPERATION: event.operation, LIMIT: event.limit})
            case ReMinted():
                re_minted.add(1, bucket)

    return record
