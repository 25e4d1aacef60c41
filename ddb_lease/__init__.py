"""Renewable leases on Amazon DynamoDB, for long-running jobs on many machines.

At most `max_tokens` holders at once, each with a lease that is renewed while it works, comes back when its machine
dies, and is never held twice.
"""

from __future__ import annotations

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
    StoreError,
    StoreRejected,
    StoreUnavailable,
    UnknownBucket,
)
from ddb_lease.lease import Lease
from ddb_lease.limiter import RateLimiter
from ddb_lease.model import BucketStatus, LeaseInfo, RateStatus, Repaired, Resized, Timing
from ddb_lease.tokens import DynamoDBTokenBucket
from ddb_lease.window import SlidingWindow

__all__ = [
    "AcquireTimeout",
    "BucketStatus",
    "ConfigurationError",
    "DynamoDBTokenBucket",
    "EngineError",
    "Lease",
    "LeaseBucket",
    "LeaseError",
    "LeaseInfo",
    "LeaseLost",
    "LossReason",
    "Overtaken",
    "RateLimiter",
    "RateStatus",
    "Repaired",
    "Resized",
    "SlidingWindow",
    "StoreError",
    "StoreRejected",
    "StoreUnavailable",
    "Timing",
    "UnknownBucket",
    "client_config",
]
