"""Renewable leases and rate limits on Amazon DynamoDB, for long-running jobs on many machines.

At most `max_tokens` holders at once, each with a lease that is renewed while it works, comes back when its machine
dies, and is never held twice.

Public: this module, and `adapters`, `aio`, `local`, `testing`, `events`, `rate_events`, `errors`, `models` and `otel`.
Whatever starts with an underscore, and `dynamodb` and `cli`, may change at any time.
"""

from __future__ import annotations

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from ddb_lease.bucket import LeaseBucket
    from ddb_lease.dynamodb import client_config
    from ddb_lease.errors import (
        AcquireTimeout,
        ConfigurationError,
        EngineError,
        LeaseError,
        LeaseLost,
        LossReason,
        Overtaken,
        RateTimeout,
        StoreError,
        StoreRejected,
        StoreUnavailable,
        TooManyPermits,
        UnknownBucket,
    )
    from ddb_lease.key_limiter import KeyLimiter
    from ddb_lease.leader import Leader
    from ddb_lease.lease import Lease
    from ddb_lease.models import (
        BucketStatus,
        Configured,
        Decision,
        LeaseInfo,
        Limit,
        LimitDecision,
        RateStatus,
        Repaired,
        Resized,
        Timing,
        Waiter,
        WindowDecision,
    )
    from ddb_lease.rate_limiter import RateLimiter
    from ddb_lease.reservation import Reservation
    from ddb_lease.signals import exit_on_sigterm
    from ddb_lease.sliding_window import SlidingWindow
    from ddb_lease.together import Leases, acquire_all
    from ddb_lease.token_bucket import DynamoDBTokenBucket

__all__ = [
    "AcquireTimeout",
    "BucketStatus",
    "ConfigurationError",
    "Configured",
    "Decision",
    "DynamoDBTokenBucket",
    "EngineError",
    "KeyLimiter",
    "Leader",
    "Lease",
    "LeaseBucket",
    "LeaseError",
    "LeaseInfo",
    "LeaseLost",
    "Leases",
    "Limit",
    "LimitDecision",
    "LossReason",
    "Overtaken",
    "RateLimiter",
    "RateStatus",
    "RateTimeout",
    "Repaired",
    "Reservation",
    "Resized",
    "SlidingWindow",
    "StoreError",
    "StoreRejected",
    "StoreUnavailable",
    "Timing",
    "TooManyPermits",
    "UnknownBucket",
    "Waiter",
    "WindowDecision",
    "acquire_all",
    "client_config",
    "exit_on_sigterm",
]

_MODULES = {
    "LeaseBucket": "bucket",
    "Lease": "lease",
    "Leases": "together",
    "acquire_all": "together",
    "KeyLimiter": "key_limiter",
    "Leader": "leader",
    "RateLimiter": "rate_limiter",
    "Reservation": "reservation",
    "SlidingWindow": "sliding_window",
    "DynamoDBTokenBucket": "token_bucket",
    "client_config": "dynamodb",
    "exit_on_sigterm": "signals",
    **dict.fromkeys(
        (
            "BucketStatus",
            "Configured",
            "Decision",
            "LeaseInfo",
            "Limit",
            "LimitDecision",
            "RateStatus",
            "Repaired",
            "Resized",
            "Timing",
            "Waiter",
            "WindowDecision",
        ),
        "models",
    ),
}
"""Where each public name is, errors apart. A name is imported when it is first used: a program that only limits a rate
does not pay for leases, and `import ddb_lease` costs next to nothing."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
