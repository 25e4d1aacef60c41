"""Leases and rates for asyncio: the classes of `ddb_lease` that have these names, awaited.

See ``docs/asyncio.md``.
"""

from __future__ import annotations

from ddb_lease.aio.bucket import LeaseBucket
from ddb_lease.aio.key_limiter import KeyLimiter
from ddb_lease.aio.leader import Leader
from ddb_lease.aio.lease import Lease
from ddb_lease.aio.rate_limiter import RateLimiter
from ddb_lease.aio.reservation import Reservation
from ddb_lease.aio.sliding_window import SlidingWindow
from ddb_lease.aio.together import Leases, acquire_all

__all__ = [
    "KeyLimiter",
    "Leader",
    "Lease",
    "LeaseBucket",
    "Leases",
    "RateLimiter",
    "Reservation",
    "SlidingWindow",
    "acquire_all",
]
