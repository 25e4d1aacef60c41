"""What stands behind a public object: the one door to it, for tests, benchmarks and the simulator.

Invariant: nobody else of them names the attributes that keep it. What is behind the door has no private part for them
either: they call the methods that the library's own modules call.
"""

from __future__ import annotations

from typing import Any


def core_of(owner: Any) -> Any:
    """What does the work of a bucket, a leader, a window, a token bucket, a limiter or a key, of either API."""
    return owner._core


def async_core_of(bucket: Any) -> Any:
    """What awaits for an asyncio bucket, in front of its core."""
    return bucket._bucket


def held_of(lease: Any) -> Any:
    """The `HeldLease` of a lease of either API."""
    return lease._held
