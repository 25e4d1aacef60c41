"""Leases of several buckets at once, all or none: what a user imports as `acquire_all`.

Invariants:

- `_protocol.together` says what to do next; here it is done on the calling thread.
- Whatever ends an acquire before all is held, an interrupt too, leaves nothing held: each lease is noted before its
  bucket hands it out.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from ddb_lease._protocol.retry import TRY_SECONDS
from ddb_lease._protocol.together import GiveBack, Rest, TryFor, WaitFor, together
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.give_back import release_later
from ddb_lease._runtime.mistaken import NotAsync
from ddb_lease._runtime.together_core import WantedTogether, checked_permits, lost_of
from ddb_lease._state.log import log as _log
from ddb_lease.bucket import LeaseBucket
from ddb_lease.errors import ConfigurationError, LossReason, StoreError
from ddb_lease.key_limiter import KeyLimiter
from ddb_lease.lease import Lease, OnLost, require_on_lost
from ddb_lease.models import Data, Seconds
from ddb_lease.rate_limiter import RateLimiter


class Leases(NotAsync, BelongsHere):
    """Leases of several buckets that were acquired together. `acquire_all` returns it.

    Each is renewed in the background as any lease. Leaving the ``with`` block releases all of them. Losing one does not
    end the others, but `check` raises then.

    Attributes:
        leases: Each lease, in the order in which the buckets were given.
    """

    _instead = "pass the ids of its leases"
    _block = "`with acquire_all([...]) as leases:`, or use ddb_lease.aio in asyncio"

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
    def lost(self) -> LossReason | None:
        """Why the first one that is lost was lost; None while none is. No I/O."""
        return lost_of(self._held)

    def check(self) -> None:
        """Make sure that we hold all of them. No I/O.

        Raises:
            LeaseLost: We do not: stop what they guard. It names the lease that is not held. The others are held until
                they are released.
        """
        for held in self._held:
            held.check()

    def release(self) -> bool:
        """Release all of them. One UpdateItem a slot, 1 WCU each.

        None is held any more as soon as this is called.

        Returns:
            Whether this ended all of them in the table; see `Lease.release`.

        Raises:
            StoreError: One could not be released; all others are. As for `Lease.release`, it is sent again in the
                background.
        """
        try:
            failed: StoreError | None = None
            ended = []
            for held in self._held:
                held.begin_release()
            for held in self._held:
                try:
                    ended.append(held.release())
                except StoreError as error:
                    failed = failed or error
        except BaseException:
            release_later(self._held)
            raise
        if failed is not None:
            raise failed
        return all(ended)

    def __enter__(self) -> Leases:
        try:
            if self._entered and self.held:
                raise ConfigurationError(
                    "these leases are entered already, by a block that releases them: use them there"
                )
            self._entered = True
            for held in self._held:
                held.end.stopping.enter(self, by=threading.current_thread(), guarded=False)
            self.check()
        except ConfigurationError:
            raise  # the block that they are in goes on
        except BaseException:
            with contextlib.suppress(StoreError):  # report the loss, not this error
                self.release()  # `__exit__` will not be called
            self._leave()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except StoreError as error:
            # A failed release must neither mask nor replace the body's outcome.
            _log.warning("not released yet, and expires otherwise: %s", error)
        except BaseException:
            release_later(self._held)  # interrupted, perhaps before the release began: nobody else would call it again
            raise
        finally:
            self._leave()

    def _leave(self) -> None:
        for held in self._held:
            held.end.stopping.leave(self)

    def _give_up(self) -> None:
        if not self._entered:
            release_later(self._held)


def acquire_all(
    buckets: Iterable[LeaseBucket | tuple[LeaseBucket, int]],
    *,
    timeout: Seconds | None = None,
    rate: RateLimiter | KeyLimiter | tuple[RateLimiter | KeyLimiter, int] | None = None,
    data: Data | None = None,
    on_lost: OnLost | None = None,
) -> Leases:
    """Lease slots of several buckets, all or none, within one timeout.

    While it waits for one bucket it holds none of the others. As soon as it has that one, it takes the others if they
    are free; else it gives all back, and waits for the one that was full. So no order of the buckets leads to a
    deadlock, and who waits for a full bucket takes no other bucket's slots from anybody. There is no order among those
    who want several: in a bucket with ``order="fifo"`` that others wait for, it has its turn only while it waits for
    that one. So name one such bucket at most.

    Args:
        buckets: The buckets, of any tables and sessions, each once; a pair of a bucket and a count for several slots.
        timeout: Seconds, or a timedelta, to wait at most for all of it; None waits for ever.
        rate: A limiter, a key of one, or a pair of one and a number: permits that are taken last, with all leases in
            hand. If they cannot be had in time, none is spent. For permits of several rates, give a key under parents:
            see `RateLimiter.key`.
        data: What to attach to each lease.
        on_lost: Called once, with the first lease that is lost after all were had; see `Lease.on_lost`. One that is
            lost before ends the call with `LeaseLost`.

    Returns:
        All leases, held and renewed in the background: a block.

    Raises:
        AcquireTimeout: Not all could be had in time. Nothing is held, and no permit was spent. It names the bucket or
            the rate (`RateTimeout`) that was missing last.
        LeaseLost: One was lost, as by a revocation, while the others or the permits were waited for. Nothing is held.
            Permits are spent if it was lost after they were had.
        ConfigurationError: The arguments cannot work, as in `LeaseBucket.acquire` and `RateLimiter.acquire`; or a
            bucket is named twice, be it through two sessions. Nothing is held.
        StoreUnavailable: As in `LeaseBucket.acquire`. Nothing is held.
        StoreRejected: As in `LeaseBucket.acquire`. Nothing is held.

    Cost without contention: that of an `acquire` of each bucket, and of the rate. Each time that a bucket was full: a
    claim and a release of each of those before it, and a Query.

    Example:
        >>> from ddb_lease import LeaseBucket, acquire_all, local
        >>> at = local.connect()
        >>> tenant, everybody = LeaseBucket("tenant-7", max_tokens=2, **at), LeaseBucket("all", max_tokens=50, **at)
        >>> with acquire_all([tenant, everybody], timeout=60) as leases:
        ...     leases.check()
        ...     len(leases.leases)
        2
    """
    permits = checked_permits(rate, (RateLimiter, KeyLimiter))
    if on_lost is not None:
        require_on_lost(on_lost)
    return _Together(buckets, timeout=timeout, data=data, on_lost=on_lost).acquire(permits)


class _FirstLoss:
    """Calls back once, with the first of several leases that is lost. The others wait for it to return.

    A revoked lease's slot is free when its callback has returned: by then the one that was called has stopped the work.
    """

    def __init__(self, callback: OnLost) -> None:
        self._callback = callback
        self._calling = threading.RLock()  # a loss may be noticed in the callback itself
        self._told = False

    def __call__(self, lease: Lease) -> object:
        with self._calling:
            if self._told:
                return None
            self._told = True
            return self._callback(lease)


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
        self._on_lost = None if on_lost is None else _FirstLoss(on_lost)
        self._had: list[Lease] = []
        self._at: dict[int, Lease] = {}

    def acquire(self, permits: tuple[RateLimiter | KeyLimiter, int] | None) -> Leases:
        try:
            return self._acquire_all(permits)
        except BaseException as error:
            try:
                if self._had:
                    _log.info("acquire_all gives back what it had: %s", error)
                self._give_back()
            except BaseException:  # a second interrupt
                release_later([lease._held for lease in self._had])  # noqa: SLF001 - a handle of the same leases
                raise
            raise

    def _acquire_all(self, permits: tuple[RateLimiter | KeyLimiter, int] | None) -> Leases:
        leases = self._acquire_each()
        if permits is not None:
            limiter, number = permits
            limiter.acquire(number, timeout=self._wanted.left())
            leases.check()
        if self._on_lost is not None:  # not before: what is given back again has nothing to tell
            for lease in leases:
                lease.on_lost = self._on_lost
        return leases

    def _acquire_each(self) -> Leases:
        wanted = self._wanted
        moves = together(len(wanted.parts), wanted.core.state.chance)
        move = next(moves)
        with contextlib.suppress(StopIteration):
            while True:
                worked = True
                match move:
                    case WaitFor(place):
                        if not self._take(place, wanted.left(), patient=True):
                            raise wanted.timed_out(place)
                    case TryFor(place):
                        left = wanted.left()
                        seconds = TRY_SECONDS if left is None else min(left, TRY_SECONDS)
                        worked = self._take(place, seconds, patient=False)
                        if not worked:
                            wanted.require_time(place)
                    case GiveBack():
                        self._give_back()
                    case Rest(seconds):
                        wanted.core.run(wanted.rest(seconds))
                move = moves.send(worked)
        leases = Leases([self._at[place] for place in range(len(wanted.parts))])
        leases.check()  # one may have been lost while the others were waited for
        return leases

    def _take(self, place: int, timeout: float | None, *, patient: bool) -> bool:
        bucket, count = self._wanted.parts[place]
        lease = bucket._acquire(  # noqa: SLF001 - as its own acquire; it notes the lease before an interrupt can come
            timeout, self._data, None, count=count, patient=patient, had=self._had
        )
        if lease is None:
            return False
        self._at[place] = lease
        return True

    def _give_back(self) -> None:
        """Release what was had. In an outage one release waits for answers, and workers send the others meanwhile.

        If it is interrupted, all is in `_had` still.
        """
        held = [lease._held for lease in self._had]  # noqa: SLF001 - a handle of the same leases
        for each in held:
            each.begin_release()
        try:
            for each in held:
                each.release()
        except StoreError:  # it is sent again in the background
            release_later(held)
        self._had, self._at = [], {}
