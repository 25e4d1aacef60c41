"""Leases of several buckets at once for asyncio, all or none: `ddb_lease.aio.acquire_all`.

Invariants:

- `_protocol.together` says what to do next; here it is awaited.
- Cancelled, it leaves nothing held: workers release what it had, and nothing waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from ddb_lease._protocol.retry import TRY_SECONDS
from ddb_lease._protocol.together import GiveBack, Rest, TryFor, WaitFor, together
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.bucket_core import PendingAcquire
from ddb_lease._runtime.give_back import release_later
from ddb_lease._runtime.mistaken import NotSync
from ddb_lease._runtime.together_core import WantedTogether, checked_permits, lost_of
from ddb_lease._state.log import log as _log
from ddb_lease.aio.bucket import LeaseBucket
from ddb_lease.aio.key_limiter import KeyLimiter
from ddb_lease.aio.lease import Lease, OnLost, require_on_lost
from ddb_lease.aio.rate_limiter import RateLimiter
from ddb_lease.errors import ConfigurationError, LossReason, StoreError
from ddb_lease.models import Data, Seconds


class Leases(NotSync, BelongsHere):
    """As `ddb_lease.Leases`, for asyncio: leases of several buckets, acquired together.

    Leaving the ``async with`` block releases all of them. `Lease.guard` of one of them cancels a block when that one is
    lost.

    Attributes:
        leases: Each lease, in the order in which the buckets were given.
    """

    _instead = "pass the ids of its leases"
    _block = "`async with await acquire_all([...]) as leases:`"

    def __init__(self, leases: Sequence[Lease]) -> None:
        self.leases = tuple(leases)
        self._held = [lease._held for lease in self.leases]  # noqa: SLF001 - a handle of the same leases
        self._entered = False

    def __repr__(self) -> str:
        return f"<Leases {', '.join(map(repr, self.leases))}>"

    def __iter__(self) -> Iterator[Lease]:
        return iter(self.leases)

    @property
    def held(self) -> bool:
        """Whether we hold all of them at this moment. No I/O."""
        return all(held.held for held in self._held)

    @property
    def remaining(self) -> float:
        """Seconds for which all are surely ours if no renewal succeeds any more; 0.0 once one is not held. No I/O."""
        return min(held.remaining for held in self._held)

    @property
    def reason(self) -> LossReason | None:
        """Why the first one that is lost was lost; None while none is. No I/O."""
        return lost_of(self._held)

    def check(self) -> None:
        """Make sure that we hold all of them. No I/O; from any thread.

        Raises:
            LeaseLost: We do not: stop what they guard. It names the lease that is not held. The others are held until
                they are released.
        """
        for held in self._held:
            held.check()

    async def release(self) -> bool:
        """Release all of them. One UpdateItem a slot, 1 WCU each. If it is cancelled, workers release the rest.

        Returns:
            Whether this ended all of them in the table; see `ddb_lease.Lease.release`.

        Raises:
            StoreError: One could not be released; all others are. As for `Lease.release`, it is sent again in the
                background.
        """
        try:
            failed: StoreError | None = None
            ended = []
            for held in self._held:
                held.begin_release()
            for lease in self.leases:
                try:
                    ended.append(await lease.release())
                except StoreError as error:
                    failed = failed or error
        except BaseException:
            for held in self._held:
                held.release_later()
            raise
        if failed is not None:
            raise failed
        return all(ended)

    async def __aenter__(self) -> Leases:
        try:
            if self._entered and self.held:
                raise ConfigurationError(
                    "these leases are entered already, by a block that releases them: use them there"
                )
            self._entered = True
            for held in self._held:
                held.end.stopping.enter(self, by=asyncio.current_task(), guarded=False)
            self.check()
        except ConfigurationError:
            raise  # the block that they are in goes on
        except BaseException:
            with contextlib.suppress(StoreError):  # report the loss, not this error
                await self.release()  # `__aexit__` will not be called
            self._leave()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.release()
        except StoreError as error:
            # A failed release must neither mask nor replace the body's outcome.
            _log.warning("not released yet, and expires otherwise: %s", error)
        except BaseException:
            release_later(self._held)  # perhaps before the release began: nobody else would call it again
            raise
        finally:
            self._leave()

    def _leave(self) -> None:
        for held in self._held:
            held.end.stopping.leave(self)

    def _give_up(self) -> None:
        if not self._entered:
            for held in self._held:
                held.release_later()


async def acquire_all(
    buckets: Iterable[LeaseBucket | tuple[LeaseBucket, int]],
    *,
    timeout: Seconds | None = None,
    rate: RateLimiter | KeyLimiter | tuple[RateLimiter | KeyLimiter, int] | None = None,
    data: Data | None = None,
    on_lost: OnLost | None = None,
) -> Leases:
    """Lease slots of several buckets, all or none, within one timeout; see `ddb_lease.acquire_all`.

    If it is cancelled, nothing stays held: workers release what it had.

    Args:
        buckets: The buckets, each once; a pair of a bucket and a count for several slots.
        timeout: Seconds, or a timedelta, to wait at most for all of it; None waits for ever.
        rate: A limiter, a key of one, or a pair of one and a number: permits that are taken last.
        data: What to attach to each lease.
        on_lost: Called once, with the first lease that is lost after all were had; see `Lease.on_lost`.

    Returns:
        All leases, held and renewed in the background: a block.

    Raises:
        AcquireTimeout: Not all could be had in time. Nothing is held, and no permit was spent.
        LeaseLost: One was lost while the others or the permits were waited for. Nothing is held.
        ConfigurationError: The arguments cannot work. Nothing is held.
        StoreUnavailable: As in `LeaseBucket.acquire`. Nothing is held.
        StoreRejected: As in `LeaseBucket.acquire`. Nothing is held.

    Cost: that of `ddb_lease.acquire_all`; without contention that of an `acquire` of each bucket, and of the rate.

    Example:
        >>> import asyncio
        >>> from ddb_lease import local
        >>> from ddb_lease.aio import LeaseBucket, acquire_all
        >>> async def main():
        ...     at = local.connect()
        ...     async with LeaseBucket("tenant-8", max_tokens=2, **at) as tenant:
        ...         async with LeaseBucket("everybody", max_tokens=50, **at) as everybody:
        ...             async with await acquire_all([tenant, everybody], timeout=60) as leases:
        ...                 return leases.held
        >>> asyncio.run(main())
        True
    """
    permits = checked_permits(rate, (RateLimiter, KeyLimiter))
    if on_lost is not None:
        require_on_lost(on_lost)
    return await _Together(buckets, timeout=timeout, data=data, on_lost=on_lost).acquire(permits)


class _FirstLoss:
    """Calls back once, with the first of several leases that is lost. The others wait until it is over.

    A revoked lease's slot is free when its callback is over: by then the one that was called has stopped the work.
    """

    def __init__(self, callback: OnLost) -> None:
        self._callback = callback
        self._calling = asyncio.Lock()
        self._told = False

    async def tell(self, lease: Lease) -> None:
        async with self._calling:
            if not self._told:
                self._told = True
                returned = self._callback(lease)
                if inspect.isawaitable(returned):
                    await returned


class _Together:
    """One `acquire_all`."""

    def __init__(
        self,
        buckets: Iterable[LeaseBucket | tuple[LeaseBucket, int]],
        *,
        timeout: Seconds | None,
        data: Data | None,
        on_lost: OnLost | None,
    ) -> None:
        self._wanted: WantedTogether[LeaseBucket] = WantedTogether(
            buckets, kind=LeaseBucket, timeout=timeout, data=data
        )
        self._data = data
        self._on_lost = None if on_lost is None else _FirstLoss(on_lost).tell
        self._at: dict[int, Lease] = {}

    async def acquire(self, permits: tuple[RateLimiter | KeyLimiter, int] | None) -> Leases:
        try:
            leases = await self._acquire_each()
            if permits is not None:
                limiter, number = permits
                await limiter.acquire(number, timeout=self._wanted.left())
                leases.check()
            if self._on_lost is not None:  # not before: what is given back again has nothing to tell
                for lease in leases:
                    lease.on_lost = self._on_lost
            return leases
        except BaseException as error:
            if self._at:
                _log.info("acquire_all gives back what it had: %s", error)
            try:
                if isinstance(error, Exception):
                    await self._give_back()
            finally:
                self._release_later()  # what is left, where it was cancelled
            raise

    async def _acquire_each(self) -> Leases:
        wanted = self._wanted
        bucket, _ = wanted.parts[0]
        moves = together(len(wanted.parts), wanted.core.state.chance)
        move = next(moves)
        with contextlib.suppress(StopIteration):
            while True:
                worked = True
                match move:
                    case WaitFor(place):
                        if not await self._take(place, wanted.left(), patient=True):
                            raise wanted.timed_out(place)
                    case TryFor(place):
                        left = wanted.left()
                        seconds = TRY_SECONDS if left is None else min(left, TRY_SECONDS)
                        worked = await self._take(place, seconds, patient=False)
                        if not worked:
                            wanted.require_time(place)
                    case GiveBack():
                        await self._give_back()
                    case Rest(seconds):
                        await bucket._bucket.run(wanted.rest(seconds))  # noqa: SLF001 - each API's own class
                move = moves.send(worked)
        leases = Leases([self._at[place] for place in range(len(wanted.parts))])
        leases.check()  # one may have been lost while the others were waited for
        return leases

    async def _take(self, place: int, timeout: float | None, *, patient: bool) -> bool:
        bucket, count = self._wanted.parts[place]
        lease = await bucket._win(  # noqa: SLF001 - as its own acquire
            timeout, self._data, None, count=count, patient=patient
        )
        if isinstance(lease, PendingAcquire):
            return False
        self._at[place] = lease
        return True

    async def _give_back(self) -> None:
        """Release what was had. In an outage one release waits for answers, and workers send the others meanwhile.

        If it is cancelled, all is in `_at` still.
        """
        had = list(self._at.values())
        for lease in had:
            lease._held.begin_release()  # noqa: SLF001 - a handle of the same lease
        try:
            for lease in had:
                await lease.release()
        except StoreError:  # it is sent again in the background
            self._release_later()
        self._at = {}

    def _release_later(self) -> None:
        release_later([lease._held for lease in self._at.values()])  # noqa: SLF001 - a handle of the same lease
