"""One key of a rate limiter, for asyncio: a light view.

Invariants: it is the asynchronous way to drive a `RateLimiterCore` for one key, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.rate_limiter_core import RateLimiterCore, Verdict, Wish
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.acquiring import no_block
from ddb_lease.aio.driver import Driver, Wakeup
from ddb_lease.models import Decision, Limit, RateStatus, Seconds

Result = TypeVar("Result")


class KeyLimiter:
    """As `ddb_lease.key_limiter.KeyLimiter`, for asyncio: one key of an `aio.RateLimiter`.

    Attributes:
        key: The key.
    """

    __slots__ = ("_core", "_driver", "_runtime", "key")

    def __init__(self, core: RateLimiterCore, driver: Driver, runtime: Runtime, key: str) -> None:
        self._core = core
        self._driver = driver
        self._runtime = runtime
        self.key = key

    def __repr__(self) -> str:
        return f"<key {self.key!r} of {self._core!r}>"

    @no_block("`if await limiter.try_acquire():`")
    async def try_acquire(self, n: int = 1, **permits: int) -> bool:
        """Take permits of this key if they can be had at once; as `RateLimiter.try_acquire`."""
        return bool(await self._try(self._core.wanted(n, permits, self.key)))

    @no_block("`await limiter.acquire()` before the work")
    async def acquire(self, n: int = 1, *, timeout: Seconds | None = None, **permits: int) -> None:
        """Wait for permits of this key, and take them; as `RateLimiter.acquire`.

        Args:
            n: How many, up to the burst.
            timeout: Seconds, or a timedelta, to wait at most; None waits for ever.
            **permits: How many of each limit, for a limiter with several.
        """
        wanted = self._core.wanted(n, permits, self.key)
        wish = self._core.wait_for(self.key, wanted, timeout)
        if wish is not None and not await self._ask(wish):
            raise self._core.timed_out(wanted, timeout)

    async def check(self, n: int = 1, **permits: int) -> Decision:
        """Take permits of this key if they can be had at once, and tell what is left; as `RateLimiter.check`."""
        wanted = self._core.wanted(n, permits, self.key)
        allowed = await self._try(wanted)
        return self._core.decision(self.key, wanted, allowed=allowed)

    def wait_time(self, n: int = 1, **permits: int) -> float:
        """Seconds until permits of this key could be had, as far as this process knows; no I/O, not awaited."""
        return self._core.wait_time(self.key, self._core.wanted(n, permits, self.key))

    async def status(self) -> RateStatus:
        """Read the key; as `ddb_lease.KeyLimiter.status`."""
        return await self._run(self._core.steering.status(self.key))

    async def override(self, /, *limit: Limit | None, **limits: Limit | None) -> Mapping[str, Limit]:
        """Let limits of this key differ from the policy, for all processes; as `ddb_lease.KeyLimiter.override`.

        Args:
            *limit: A `Limit`, for a limiter with one unnamed limit; or None, which removes the whole override.
            **limits: Limits by name; None removes one from the override.

        Returns:
            The limits that hold for the key then, by name.

        Raises:
            ConfigurationError: A limit cannot work, or the policy has none of this name. Nothing was changed.
            StoreUnavailable: The service did not answer, or others changed the key at the same time, again and again.
                The override is as before or as wanted, also after a cancellation; may be repeated.
            StoreRejected: The service refuses for good. Nothing was changed.
        """
        return await self._run(self._core.steering.override(self.key, limit, limits))

    async def block(self, seconds: Seconds) -> None:
        """Let nobody have permits of this key for so long from now on; as `ddb_lease.KeyLimiter.block`.

        Args:
            seconds: How long: seconds, or a timedelta; a year at most.

        Raises:
            ConfigurationError: It is no such time. Nothing was sent.
            StoreUnavailable: As `override`; the key may be blocked.
            StoreRejected: The service refuses for good. Nothing was changed.
        """
        await self._run(self._core.steering.block(self.key, seconds))

    async def unblock(self) -> None:
        """End a block of this key; as `ddb_lease.KeyLimiter.unblock`."""
        await self._run(self._core.steering.unblock(self.key))

    async def reset(self) -> None:
        """Forgive this key all that was charged, and end its block; as `ddb_lease.KeyLimiter.reset`."""
        await self._run(self._core.steering.reset(self.key))

    async def _run(self, operation: Operation[Result]) -> Result:
        return await self._driver.run(operation, Wakeup(self._runtime))

    async def _try(self, wanted: Wanted) -> Verdict:
        known = self._core.try_at_once(self.key, wanted)
        return await self._ask(known) if isinstance(known, Wish) else Verdict(allowed=known)

    async def _ask(self, wish: Wish) -> Verdict:
        while True:
            wakeup = Wakeup(self._runtime)
            with self._core.in_queue(wish, wakeup.wake) as operation:
                outcome = await self._driver.run(operation, wakeup)
            instead = self._core.without_answer(wish, outcome)
            if instead is None:
                return self._core.conclude(wish, outcome)
            decided = await self._driver.run(instead, wakeup)
            if decided is not None:
                return self._core.conclude(wish, decided)
