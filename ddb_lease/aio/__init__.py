"""Leases for asyncio: `LeaseBucket` and `Lease` as of `ddb_lease`, awaited. See ``docs/asyncio.md``."""

from __future__ import annotations

from ddb_lease.aio.bucket import LeaseBucket
from ddb_lease.aio.lease import Lease

__all__ = ["Lease", "LeaseBucket"]
