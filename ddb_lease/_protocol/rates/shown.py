"""Policies and standings as users know them: `Limit` and `LimitDecision`, with seconds in place of nanoseconds."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ddb_lease._protocol.rates.records import LimitPolicy
from ddb_lease._protocol.rates.standing import LimitStanding
from ddb_lease._protocol.rates.validation import NS
from ddb_lease.models import Limit, LimitDecision


def shown_limits(limits: Mapping[str, LimitPolicy]) -> dict[str, Limit]:
    """Limits as they were given, by name."""
    return {name: _limit(limit) for name, limit in limits.items()}


def shown_standings(limits: Mapping[str, LimitStanding]) -> dict[str, LimitDecision]:
    """What is left of limits, and when more can be had, by name."""
    return {
        name: LimitDecision(remaining=one.remaining, retry_after=one.retry_after / NS, reset_after=one.reset_after / NS)
        for name, one in limits.items()
    }


@functools.lru_cache(maxsize=1024)
def _limit(limit: LimitPolicy) -> Limit:
    return Limit(limit.permits, per=limit.per, burst=limit.burst)
