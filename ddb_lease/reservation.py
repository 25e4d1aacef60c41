"""A reservation of a rate limiter's permits: what `reserve` returns.

Invariants: it is the synchronous way to drive a `ReservationCore`, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.mistaken import NotAsync
from ddb_lease._runtime.rates.reservation_core import ReservationCore, note_all
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.errors import ConfigurationError, StoreError


class Reservation(NotAsync, BelongsHere):
    """Permits that are held for work whose cost is known only afterwards: tokens of a model, bytes of an answer.

    `RateLimiter.reserve` and `KeyLimiter.reserve` return it. While it is held, all of it counts as used. `settle` tells
    what was used: of what was not, permits come back at once; more than was reserved is a debt, which later permits
    wait for. Use it as a block: if it ends without `settle`, by an exception too, all permits count as used.

    It must be settled within `settle_within` seconds. After that, it counts in full: any process of the limiter that
    charges the key may sweep it then, 2 s later. So what a process held when it died comes back by itself. At the
    interpreter's exit nothing is settled.

    It belongs to its process: in a forked child, `settle` and the block's end do nothing. It is thread-safe.

    Example:
        >>> from ddb_lease import Limit, RateLimiter, local
        >>> limits = {"requests": Limit(60, per=60), "tokens": Limit(90_000, per=60)}
        >>> with RateLimiter("model", limits=limits, **local.connect()) as llm:
        ...     with llm.key("team-7").reserve(requests=1, tokens=4_000, timeout=30) as reservation:
        ...         answer_tokens = 700  # the work
        ...         reservation.settle(tokens=answer_tokens)
        True
    """

    _instead = "reserve in the process that does the work"
    _block = "`with limiter.reserve() as reservation:`, or use ddb_lease.aio in asyncio"

    def __init__(self, parts: Sequence[ReservationCore], runtime: Runtime) -> None:
        self._parts = tuple(parts)
        self._reservation = self._parts[0]
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

    def settle(self, n: int | None = None, /, **used: int) -> bool:
        """Tell how many permits were used. Once; the first call counts.

        Permits must have been used by then. A limit that is not named counts in full, so ``settle()`` gives nothing
        back.

        Args:
            n: Of the one unnamed limit: 0 or more.
            **used: The same by limit, for a limiter with several: fewer than reserved, or more.

        Returns:
            Whether these numbers count. False: all of it counts as used, as the time was over, the key was reset, or
            this is a forked child; or the service did not answer within 10 s, which the log says. Then the next
            settlement of this process for the key brings these numbers; if none comes in time, all counts as used.

        Raises:
            ConfigurationError: It is settled already, the limiter is closed, or a number or name cannot be. Nothing was
                sent. After the last of these, it may be called again.
            StoreRejected: The service refuses for good. It counts in full when its time is over.

        Cost: 1 UpdateItem (1 WCU) for all reservations of the key that this process settles at the same time, and
            nothing is read. One more where the process reserved, or others charged, at the same moment. The same for
            each parent of the key.
        """
        note_all(self._parts, n, used)
        deadline = self._reservation.deadline()
        told = [self._settled(part, deadline) for part in self._parts]
        return all(told)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reservation.settled:
            return
        try:
            self.settle()
        except (StoreError, ConfigurationError) as error:
            self._reservation.failed(error)

    def _settled(self, part: ReservationCore, deadline: float) -> bool:
        wakeup = self._runtime.wakeup()
        with part.settling(wakeup.wake, deadline=deadline) as operation:
            outcome = part.driver.run(operation, wakeup)
        return part.conclude(outcome)
