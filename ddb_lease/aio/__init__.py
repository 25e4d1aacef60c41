"""Leases and rates for asyncio: `LeaseBucket`, `Lease` and `RateLimiter` as of `ddb_lease`, awaited.

See ``docs/asyncio.md``.
"""

from __future__ import annotations

from ddb_lease.aio.bucket import LeaseBucket
from ddb_lease.aio.key_limiter import KeyLimiter
from ddb_lease.aio.lease import Lease
from ddb_lease.aio.rate_limiter import RateLimiter
from ddb_lease.aio.reservation import Reservation

__all__ = ["KeyLimiter", "Lease", "LeaseBucket", "RateLimiter", "Reservation"]
