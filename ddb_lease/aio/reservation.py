"""A reservation of a rate limiter's permits, for asyncio.

Invariants: it is the asynchronous way to drive a `ReservationCore`, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.mistaken import NotSync
from ddb_lease._runtime.rates.reservation_core import ReservationCore, note_all
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.driver import Driver, Wakeup
from ddb_lease.errors import ConfigurationError, StoreError


class Reservation(NotSync, BelongsHere):
    """As `ddb_lease.Reservation`, for asyncio: `settle` is awaited, and the block is ``async with``.

    If `settle` is cancelled, its numbers stay noted: the next settlement of this process for the key brings them, and
    if none comes in time, all permits count as used.

    Example:
        >>> import asyncio
        >>> from ddb_lease import Limit, local
        >>> from ddb_lease.aio import RateLimiter
        >>> async def main():
        ...     limits = {"requests": Limit(60, per=60), "tokens": Limit(90_000, per=60)}
        ...     async with RateLimiter("chat", limits=limits, **local.connect()) as llm:
        ...         async with await llm.key("team-7").reserve(requests=1, tokens=4_000, timeout=30) as reservation:
        ...             return await reservation.settle(tokens=700)
        >>> asyncio.run(main())
        True
    """

    _instead = "reserve in the process that does the work"
    _block = "`async with await limiter.reserve() as reservation:`"

    def __init__(self, parts: Sequence[ReservationCore], driver: Driver, runtime: Runtime) -> None:
        self._parts = tuple(parts)
        self._reservation = self._parts[0]
        self._driver = driver
        self._runtime = runtime

    def __repr__(self) -> str:
        return repr(self._reservation)

    @property
    def permits(self) -> Mapping[str, int]:
        """What was reserved, by limit; under ``permits`` if the limiter has one unnamed limit. No I/O."""
        return self._reservation.permits

    @property
    def settled(self) -> bool:
        """Whether `settle` was called, or the block has ended. No I/O."""
        return self._reservation.settled

    @property
    def remaining(self) -> float:
        """Seconds until it counts in full; 0.0 once it is settled, or counts in full. No I/O."""
        return min(part.remaining for part in self._parts)

    async def settle(self, n: int | None = None, /, **used: int) -> bool:
        """Tell how many permits were used. Once; the first call counts. As `ddb_lease.Reservation.settle`.

        Args:
            n: Of the one unnamed limit: 0 or more.
            **used: The same by limit, for a limiter with several: fewer than reserved, or more.

        Returns:
            Whether these numbers count.

        Raises:
            ConfigurationError: It is settled already, the limiter is closed, or a number or name cannot be. Nothing was
                sent.
            StoreRejected: The service refuses for good. It counts in full when its time is over.
        """
        note_all(self._parts, n, used)
        deadline = self._reservation.deadline()
        told = [await self._settled(part, deadline) for part in self._parts]
        return all(told)

    async def __aenter__(self) -> Reservation:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reservation.settled:
            return
        try:
            await self.settle()
        except (StoreError, ConfigurationError) as error:
            self._reservation.failed(error)

    async def _settled(self, part: ReservationCore, deadline: float) -> bool:
        wakeup = Wakeup(self._runtime)
        with part.settling(wakeup.wake, deadline=deadline) as operation:
            outcome = await self._driver.by(part.driver).run(operation, wakeup)
        return part.conclude(outcome)
