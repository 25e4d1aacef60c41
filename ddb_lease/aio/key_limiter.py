"""One key of a rate limiter, for asyncio: a light view.

Invariants: it is the asynchronous way to drive a `RateLimiterCore` for one key, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ddb_lease._numbers import checked_timeout
from ddb_lease._operations.rates.together import Call
from ddb_lease._protocol.outcomes import Admitted
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.rates.family import Family, Relative
from ddb_lease._runtime.rates.first_guesses import FirstGuesses
from ddb_lease._runtime.rates.interrupts import handing_over
from ddb_lease._runtime.rates.limiter_core import RateLimiterCore
from ddb_lease._runtime.rates.reservation_core import SETTLE_WITHIN, ReservationCore, reserved
from ddb_lease._runtime.rates.wish import Verdict, Wish
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates.hold_ledger import Held
from ddb_lease.aio.acquiring import no_block
from ddb_lease.aio.driver import Driver, Wakeup
from ddb_lease.aio.reservation import Reservation
from ddb_lease.errors import RateTimeout
from ddb_lease.models import Decision, Limit, RateStatus, Seconds

Result = TypeVar("Result")


class KeyLimiter(FirstGuesses):
    """As `ddb_lease.key_limiter.KeyLimiter`, for asyncio: one key of an `aio.RateLimiter`.

    Attributes:
        key: The key.
    """

    _called = "key"
    _awaits = "await "

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

    def _as_whole(self) -> KeyLimiter:
        """The limiter itself, under the parents of this key."""
        above = [one for one in self._relatives[1:] if (one.core.name, one.key) != (self._core.name, "")]
        return KeyLimiter(self._core, self._driver, self._runtime, "", above)

    def __repr__(self) -> str:
        return f"<key {self.key!r} of {self._core!r}>"

    @no_block("`if await limiter.try_acquire():`")
    async def try_acquire(self, n: int = 1, **permits: int) -> bool:
        """Take permits of this key if they can be had at once; as `RateLimiter.try_acquire`."""
        if self._family is not None:
            return bool(await self._try_all(self._family, self._family.wanted(n, permits)))
        return bool(await self._try(self._core.wanted(n, permits, self.key)))

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
        wanted = self._core.wanted(n, permits, self.key)
        verdict = await self._wait(wanted, timeout)
        if not verdict:
            raise self._timed_out(wanted, timeout, verdict)

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
            return await self._hold_all(self._family, self._family.reserved(n, permits, settle_within), timeout)
        wanted = reserved(self._core, n, permits, settle_within, key=self.key)
        wish = self._core.to_hold(self.key, wanted, timeout)
        held: list[Held] = []
        with handing_over(self._core.state, held):
            verdict = await self._ask(wish, held)
            if not verdict:
                raise self._timed_out(wanted, timeout, verdict)
            return Reservation([ReservationCore.booked(self._core, wish, held)], self._driver, self._runtime)

    async def check(self, n: int = 1, *, timeout: Seconds | None = 0, **permits: int) -> Decision:
        """Take permits of this key if they can be had in time, and tell what is left; as `RateLimiter.check`.

        Args:
            n: How many, up to the burst.
            timeout: Seconds, or a timedelta, to wait for them at most; 0: they are to be had at once.
            **permits: How many of each limit, for a limiter with several.
        """
        patient = checked_timeout(timeout) != 0
        if self._family is not None:
            family, each = self._family, self._family.wanted(n, permits)
            return family.decision(
                each, await (self._wait_all(family, each, timeout) if patient else self._try_all(family, each))
            )
        wanted = self._core.wanted(n, permits, self.key)
        verdict = await (self._wait(wanted, timeout, decides=True) if patient else self._try(wanted, decides=True))
        return self._core.answers.decision(self.key, wanted, allowed=verdict)

    def wait_time(self, n: int = 1, **permits: int) -> float:
        """Seconds until permits of this key could be had, as far as this process knows; no I/O, not awaited."""
        if self._family is not None:
            return self._family.wait_time(self._family.wanted(n, permits, asks=False))
        return self._core.answers.wait_time(self.key, self._core.wanted(n, permits, self.key, asks=False))

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

    async def _try(self, wanted: Wanted, *, decides: bool = False) -> Verdict:
        known = self._core.try_at_once(self.key, wanted, decides=decides)
        return await self._ask(known) if isinstance(known, Wish) else Verdict(allowed=known)

    async def _wait(self, wanted: Wanted, timeout: Seconds | None, *, decides: bool = False) -> Verdict:
        wish = self._core.wait_for(self.key, wanted, timeout, decides=decides)
        return Verdict(allowed=True) if wish is None else await self._ask(wish)

    async def _ask(self, wish: Wish, held: list[Held] | None = None) -> Verdict:
        while True:
            wakeup = Wakeup(self._runtime)
            with self._core.in_queue(wish, wakeup.wake) as (operation, booking):
                outcome = await self._driver.run(operation, wakeup, within=self._core.seconds_left(wish))
            if held is not None and booking.held is not None and isinstance(outcome, Admitted):
                held.append(booking.held)
            verdict = self._core.verdict(wish, outcome)
            if isinstance(verdict, Verdict):
                return verdict
            decided = await self._driver.run(verdict, wakeup)
            if decided is not None:
                return self._core.conclude(wish, decided)

    def _timed_out(self, wanted: Wanted, timeout: Seconds | None, verdict: Verdict) -> RateTimeout:
        answers = self._core.answers
        return answers.timed_out(self.key, wanted, timeout, lack=answers.lack(self.key, wanted, verdict))

    async def _try_all(self, family: Family, wanted: Sequence[Wanted]) -> Verdict:
        if family.denied_by_memory(wanted):
            return Verdict(allowed=False)
        with family.call(wanted, None, patient=False) as call:
            return await self._ask_all(family, call)

    async def _wait_all(self, family: Family, wanted: Sequence[Wanted], timeout: Seconds | None) -> Verdict:
        with family.call(wanted, timeout, patient=True) as call:
            return await self._ask_all(family, call)

    async def _take_all(self, family: Family, wanted: Sequence[Wanted], timeout: Seconds | None) -> None:
        verdict = await self._wait_all(family, wanted, timeout)
        if not verdict:
            raise family.timed_out(wanted, timeout, verdict)

    async def _hold_all(self, family: Family, wanted: Sequence[Wanted], timeout: Seconds | None) -> Reservation:
        with family.call(wanted, timeout, patient=True) as call:
            verdict = await self._ask_all(family, call)
            if not verdict:
                raise family.timed_out(wanted, timeout, verdict)
            return Reservation(family.reservations(call), self._driver, self._runtime)

    async def _ask_all(self, family: Family, call: Call) -> Verdict:
        while True:
            wakeup = Wakeup(self._runtime)
            outcome: Any = None
            for step in family.steps(call, wakeup.wake):
                outcome = await self._driver.by(step.driver).run(
                    step.operation, wakeup, within=family.seconds_left(call)
                )
                if step.ends(outcome):
                    break
            verdict = family.verdict(call, outcome)
            if isinstance(verdict, Verdict):
                return verdict
            decided = await self._driver.run(verdict, wakeup)
            if decided is not None:
                return family.conclude(call, decided)
