"""Buckets for pyrate-limiter, over all processes; needs the extra ``pyrate``.

Invariants:

- They decide nothing: `RateLimiter` does, by GCRA, as pyrate-limiter's own `GCRA` does: of each rate, in any t
  milliseconds, at most ``limit / interval * t + burst``. A `Rate`'s `burst` is its limit unless it says otherwise.
- No item is kept, so none can be looked at (`peek`), and nothing leaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

try:
    from pyrate_limiter import AbstractBucket, Rate, RateItem
    from pyrate_limiter import Decision as Answer
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "ddb_lease.adapters.pyrate needs pyrate-limiter: pip install 'ddb-lease[pyrate]'", name=missing.name
    ) from missing

from ddb_lease import aio
from ddb_lease.errors import TooManyPermits
from ddb_lease.models import Decision, Limit, RateStatus
from ddb_lease.rate_limiter import RateLimiter

__all__ = ["AsyncDynamoDBBucket", "DynamoDBBucket"]


class DynamoDBBucket(AbstractBucket):
    """A bucket of pyrate-limiter in DynamoDB: ``Limiter(DynamoDBBucket("api", [Rate(5, Duration.SECOND)]))``.

    The first use stores the rates under the name, as `RateLimiter` does; those rule for all processes from then on.
    Another `limit` or `burst` of a `Rate` changes nothing then: use `RateLimiter.set_policy`, by the names
    ``per_<interval>_ms``. Another `interval` is another limit, which the stored rates do not have: `put` raises
    `ConfigurationError`; give the bucket another name. An item that weighs more than a stored burst is never let in.

    Args:
        name: The rate's name in the table.
        rates: As for any bucket of pyrate-limiter.
        key: Which key of it; "" for one without keys. Each has the rates to itself.
        **settings: As for `RateLimiter`: `table`, `session`, `client`, `endpoint_url`, `on_unavailable`, ...

    Raises:
        ConfigurationError: A setting cannot work. `StoreUnavailable` and `StoreRejected` come from `put`, `flush`
            and `count`.

    Cost: `put` 1 WCU; nothing while a denial is remembered. `count` 1 RCU; `flush` 1 RCU and 1 WCU.

    Example:
        >>> from ddb_lease import local
        >>> from ddb_lease.adapters.pyrate import DynamoDBBucket
        >>> from pyrate_limiter import Duration, Limiter, Rate
        >>> with Limiter(DynamoDBBucket("pyrate", [Rate(2, Duration.MINUTE)], **local.connect())) as limiter:
        ...     [limiter.try_acquire("item", blocking=False) for _ in range(3)]
        [True, True, False]
    """

    is_async = False

    def __init__(self, name: str, rates: list[Rate], *, key: str = "", **settings: Any) -> None:  # noqa: ANN401 - several
        self.rates = rates
        self._limiter = RateLimiter(name, limits=_limits(self.rates), **settings)
        self._of = self._limiter.key(key) if key else self._limiter
        self._retry_ms = 0

    def put(self, item: RateItem) -> bool:
        """Take the item's weight of every rate, if all of it can be had at once."""
        by, wait_ms = _never(self.rates, item), -1
        if item.weight and by is None:
            try:
                by, wait_ms = _denied(self.rates, self._of.check(**_permits(self.rates, item)))
            except TooManyPermits:  # of the stored rates, or of an override
                by = self.rates[0]
        self._retry_ms, self.failing_rate = wait_ms, by  # of the last call; others may be under way
        return by is None

    def put_decision(self, item: RateItem) -> Answer:
        """The same, with how long to wait."""
        return Answer() if self.put(item) else _answer(self.failing_rate, self.waiting(item))

    def waiting(self, item: RateItem) -> int:
        """Milliseconds until such an item could be put, by the last answer; -1: never."""
        return -1 if _never(self.rates, item) else self._retry_ms if self.failing_rate else 0

    def leak(self, current_timestamp: int | None = None) -> int:  # noqa: ARG002 - as pyrate-limiter calls it
        """Nothing is kept that could leak."""
        return 0

    def flush(self) -> None:
        """Forgive all that was taken, for all processes."""
        self._of.reset()
        self.failing_rate = None

    def count(self) -> int:
        """Units that are taken and have not come back, of the rate with most of them."""
        return _taken(self.rates, self._of.status())

    def peek(self, index: int) -> None:
        """No item is kept."""

    def close(self) -> None:
        """Close the limiter."""
        self._limiter.close()


class AsyncDynamoDBBucket(AbstractBucket):
    """As `DynamoDBBucket`, for asyncio: `Limiter.try_acquire_async` does not block the loop. Make it while one runs.

    Args:
        name: The rate's name in the table.
        rates: As for any bucket of pyrate-limiter.
        key: Which key of it.
        **settings: As for `ddb_lease.aio.RateLimiter`.
    """

    is_async = True

    def __init__(self, name: str, rates: list[Rate], *, key: str = "", **settings: Any) -> None:  # noqa: ANN401 - several
        self.rates = rates
        self._limiter = aio.RateLimiter(name, limits=_limits(self.rates), **settings)
        self._of = self._limiter.key(key) if key else self._limiter
        self._retry_ms = 0

    async def put(self, item: RateItem) -> bool:
        """As `DynamoDBBucket.put`."""
        by, wait_ms = _never(self.rates, item), -1
        if item.weight and by is None:
            try:
                by, wait_ms = _denied(self.rates, await self._of.check(**_permits(self.rates, item)))
            except TooManyPermits:  # of the stored rates, or of an override
                by = self.rates[0]
        self._retry_ms, self.failing_rate = wait_ms, by  # of the last call; others may be under way
        return by is None

    async def put_decision(self, item: RateItem) -> Answer:
        """As `DynamoDBBucket.put_decision`."""
        return Answer() if await self.put(item) else _answer(self.failing_rate, self.waiting(item))

    def waiting(self, item: RateItem) -> int:
        """As `DynamoDBBucket.waiting`."""
        return -1 if _never(self.rates, item) else self._retry_ms if self.failing_rate else 0

    async def leak(self, current_timestamp: int | None = None) -> int:  # noqa: ARG002 - as pyrate-limiter calls it
        """Nothing is kept that could leak."""
        return 0

    async def flush(self) -> None:
        """As `DynamoDBBucket.flush`."""
        await self._of.reset()
        self.failing_rate = None

    async def count(self) -> int:
        """As `DynamoDBBucket.count`."""
        return _taken(self.rates, await self._of.status())

    async def peek(self, index: int) -> None:
        """No item is kept."""

    def close(self) -> None:
        """Close the limiter, as `Limiter.close` wants it: without awaiting."""
        self._limiter._core.close()  # noqa: SLF001 - what its own `close` does on a thread

    async def aclose(self) -> None:
        """Close the limiter."""
        await self._limiter.close()


def _name(rate: Rate) -> str:
    return f"per_{rate.interval}_ms"


def _limits(rates: Sequence[Rate]) -> dict[str, Limit]:
    return {_name(rate): Limit(rate.limit, per=rate.interval / 1000, burst=rate.burst) for rate in rates}


def _permits(rates: Sequence[Rate], item: RateItem) -> dict[str, int]:
    return {_name(rate): item.weight for rate in rates}


def _never(rates: Sequence[Rate], item: RateItem) -> Rate | None:
    """The rate of which an item asks for more than it ever allows at once."""
    return next((rate for rate in rates if item.weight > rate.burst), None)


def _denied(rates: Sequence[Rate], decision: Decision) -> tuple[Rate | None, int]:
    """The rate that denies, and for how many milliseconds."""
    if decision.allowed:
        return None, 0
    by = next((rate for rate in rates if _name(rate) == decision.tightest), rates[0])
    return by, math.ceil(1000 * max(decision.retry_after, decision.blocked_seconds))


def _answer(by: Rate | None, wait_ms: int) -> Answer:
    return Answer(failing_rate=by, retry_after_ms=None if wait_ms < 0 else wait_ms)


def _taken(rates: Sequence[Rate], status: RateStatus) -> int:
    names = [_name(rate) for rate in rates]
    return max((status.settings[name].burst or 0) - status.limits[name].remaining for name in names)
