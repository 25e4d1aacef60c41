"""One key of a rate limiter, for asyncio: a light view.

Invariants: it is the asynchronous way to drive a `RateLimiterCore` for one key, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ddb_lease._operations.together import Call
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._runtime.family import NOT_PREPARED, Family, Relative
from ddb_lease._runtime.rate_limiter_core import RateLimiterCore, Wish
from ddb_lease._runtime.reservation_core import SETTLE_WITHIN, reserved
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.acquiring import no_block
from ddb_lease.aio.driver import Driver, Wakeup
from ddb_lease.aio.reservation import Reservation, reserve
from ddb_lease.models import Decision, RateStatus, Seconds


class KeyLimiter:
    """As `ddb_lease.key_limiter.KeyLimiter`, for asyncio: one key of an `aio.RateLimiter`.

    Attributes:
        key: The key.
    """

    __slots__ = ("_core", "_driver", "_family", "_runtime", "key")

    def __init__(
        self, core: RateLimiterCore, driver: Driver, runtime: Runtime, key: str, above: Sequence[Relative] = ()
    ) -> None:
        self._core = core
        self._driver = driver
        self._runtime = runtime
        self.key = key
        self._family = Family(Relative(core, key), above) if above else None

    @property
    def _relatives(self) -> tuple[Relative, ...]:
        """The key, and its parents."""
        return (Relative(self._core, self.key),) if self._family is None else self._family.members

    def __repr__(self) -> str:
        return f"<key {self.key!r} of {self._core!r}>"

    @no_block("`if await limiter.try_acquire():`")
    async def try_acquire(self, n: int = 1, **permits: int) -> bool:
        """Take permits of this key if they can be had at once; as `RateLimiter.try_acquire`."""
        if self._family is not None:
            return await self._try_all(self._family, self._family.wanted(n, permits))
        return await self._try(self._core.wanted(n, permits))

    @no_block("`await limiter.acquire()` before the work")
    async def acquire(self, n: int = 1, *, timeout: Seconds | None = None, **permits: int) -> None:
        """Wait for permits of this key, and take them; as `RateLimiter.acquire`.

        Args:
            n: How many, up to the burst.
            timeout: Seconds, or a timedelta, to wait at most; None waits for ever.
            **permits: How many of each limit, for a limiter with several.
        """
        if self._family is not None:
            await self._take_all(self._family, self._family.wanted(n, permits), timeout)
            return
        wanted = self._core.wanted(n, permits)
        wish = self._core.wait_for(self.key, wanted, timeout)
        if wish is not None and not await self._ask(wish):
            raise self._core.timed_out(wanted, timeout)

    @no_block("`async with await limiter.reserve() as reservation:`")
    async def reserve(
        self, n: int = 1, *, timeout: Seconds | None = None, settle_within: Seconds = SETTLE_WITHIN, **permits: int
    ) -> Reservation:
        """Wait for permits of this key, and hold them until it is known how many were used; as `RateLimiter.reserve`.

        Args:
            n: How many, up to the burst.
            timeout: Seconds, or a timedelta, to wait at most; None waits for ever.
            settle_within: Seconds, or a timedelta, after which all permits count as used.
            **permits: How many of each limit, for a limiter with several.
        """
        if self._family is not None:
            call = await self._take_all(self._family, self._family.reserved(n, permits, settle_within), timeout)
            return Reservation(self._family.reservations(call), self._driver, self._runtime)
        wish = self._core.to_hold(self.key, reserved(self._core, n, permits, settle_within), timeout)
        return await reserve(self._core, self._driver, self._runtime, wish, timeout)

    async def check(self, n: int = 1, **permits: int) -> Decision:
        """Take permits of this key if they can be had at once, and tell what is left; as `RateLimiter.check`."""
        if self._family is not None:
            all_wanted = self._family.wanted(n, permits)
            allowed = await self._try_all(self._family, all_wanted)
            return self._family.decision(all_wanted, allowed=allowed)
        wanted = self._core.wanted(n, permits)
        allowed = await self._try(wanted)
        return self._core.decision(self.key, wanted, allowed=allowed)

    def wait_time(self, n: int = 1, **permits: int) -> float:
        """Seconds until permits of this key could be had, as far as this process knows; no I/O, not awaited."""
        if self._family is not None:
            return self._family.wait_time(self._family.wanted(n, permits))
        return self._core.wait_time(self.key, self._core.wanted(n, permits))

    async def status(self) -> RateStatus:
        """Read the key; as `RateLimiter.status`."""
        return await self._driver.run(self._core.status(self.key), Wakeup(self._runtime))

    async def _try(self, wanted: Wanted) -> bool:
        known = self._core.try_at_once(self.key, wanted)
        return await self._ask(known) if isinstance(known, Wish) else known

    async def _ask(self, wish: Wish) -> bool:
        wakeup = Wakeup(self._runtime)
        with self._core.in_queue(wish, wakeup.wake) as operation:
            outcome = await self._driver.run(operation, wakeup)
        return self._core.conclude(wish, outcome)

    async def _try_all(self, family: Family, wanted: Sequence[Wanted]) -> bool:
        if family.denied_by_memory(wanted):
            return False
        with family.call(wanted, None, patient=False) as call:
            return family.conclude(call, await self._drive(family, call))

    async def _take_all(self, family: Family, wanted: Sequence[Wanted], timeout: Seconds | None) -> Call:
        with family.call(wanted, timeout, patient=True) as call:
            if not family.conclude(call, await self._drive(family, call)):
                raise self._core.timed_out(wanted[0], timeout)
            return call

    async def _drive(self, family: Family, call: Call) -> object:
        wakeup = Wakeup(self._runtime)
        for step in family.steps(call):
            outcome = await self._driver.by(step.driver).run(step.operation, wakeup)
            if step.ends(outcome):
                return outcome
        return NOT_PREPARED
