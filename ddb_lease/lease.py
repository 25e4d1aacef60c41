"""A lease in its holder's hands: what a user gets from `LeaseBucket.acquire`.

Invariant: it is a handle, and decides nothing. All that happens to the lease is in `_runtime.held_lease`;
two handles of one lease are equal.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from types import TracebackType

from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease.errors import LossReason, StoreError
from ddb_lease.models import Data

_log = logging.getLogger("ddb_lease")


class Lease:
    """A renewable claim on one token slot, or on several, renewed in the background until it is released or lost.

    Several slots are one lease: taken together, with one deadline; losing one loses it, and they are released together.

    Made by `LeaseBucket.acquire` and `try_acquire` only. It outlives the thread that took it, may be used from any
    thread of the process, and is released on leaving its ``with`` block.

    What is promised: while `check` returns, no other holder anywhere believes to have this slot. What is not: that the
    work between two calls of `check` takes less time than the margin; whoever writes to a resource that can compare
    numbers should hand it `fence` with each write.

    Attributes:
        id: Unique for every acquisition.
        slot: The token's number, 0 up to ``max_tokens - 1``; of several, the lowest.
        slots: The numbers of all tokens that were taken together, mostly one.
        fence: The fencing token (Kleppmann, "How to do distributed locking", 2016): rises strictly with every
            lease of the slot; of several slots, with every lease of any of them.
        owner: Who acquired it.
        data: What was attached to it.
        grace: Seconds between the deadline and the earliest moment at which another can hold the slot: the time that
            the lost-callback has.
    """

    def __init__(self, held: HeldLease, *, on_lost: Callable[[Lease], object] | None = None) -> None:
        self.id = held.id
        self.slots = held.slots
        self.slot = held.slot
        self.fence = held.fence
        self.owner = held.owner
        self.data: Data = held.data
        self.grace = held.grace
        self._held = held
        self._on_lost: Callable[[Lease], object] | None = None
        if on_lost is not None:
            self.on_lost = on_lost

    def __repr__(self) -> str:
        return repr(self._held)

    def __eq__(self, other: object) -> bool:
        return self._held is other._held if isinstance(other, Lease) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._held)

    @property
    def held(self) -> bool:
        """Whether the lease is ours at this moment. No I/O."""
        return self._held.held

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is surely ours if no renewal succeeds any more; 0.0 once it is not held."""
        return self._held.remaining

    @property
    def lost(self) -> LossReason | None:
        """Why the lease was lost; None while it is held, and after a release by us. No I/O."""
        return self._held.lost

    @property
    def on_lost(self) -> Callable[[Lease], object] | None:
        """Called once with the lease when it is lost, on a thread of its own.

        It is called at the deadline at the latest, `Timing.grace` seconds before anyone else can hold the slot (except
        for reasons taken and gone, when somebody may have it already). Set on a lease that is lost already, it is
        called at once.
        """
        return self._on_lost

    @on_lost.setter
    def on_lost(self, callback: Callable[[Lease], object] | None) -> None:
        self._on_lost = callback
        self._held.end.on_lost = None if callback is None else lambda: callback(self)

    def check(self) -> None:
        """Make sure that the lease is ours. No I/O; a fraction of a microsecond up to a few.

        Raises:
            LeaseLost: It is not, and will not be again: stop what it guards. `reason` says why.
        """
        self._held.check()

    def renew(self) -> None:
        """Renew now, on the calling thread, besides what the heartbeat does. One UpdateItem a slot, 1 WCU each.

        Raises:
            LeaseLost: The lease is not ours (any more).
            StoreUnavailable: No usable answer; the lease is held until its deadline, and the heartbeat goes on.
            StoreRejected: The service refuses for good; held until its deadline as well.
        """
        self._held.renew()

    def release(self) -> bool:
        """Give the slot back, or all of them. One UpdateItem a slot, 1 WCU each; waiters of this process need no poll.

        From its first instruction on, the lease is not held any more, whatever becomes of the request.

        Returns:
            Whether this call ended the lease in the table, on one of its slots at least. False normally means that
            nothing changed: it was another's by then, or nobody's, as on a second call. Exception: if an answer was
            lost and another took the slot before the release was sent again, our first sending may have ended it.

        Raises:
            StoreUnavailable: No usable answer in some seconds; the slot comes back when the lease expires. May be
                called again.
            StoreRejected: The service refuses for good; the slot comes back when the lease expires.
        """
        return self._held.release()

    def __enter__(self) -> Lease:
        try:
            self.check()
        except BaseException:
            with contextlib.suppress(StoreError):  # that the lease is lost is what counts
                self.release()  # `__exit__` will not be called
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
            # The body's outcome is what counts: a release that failed must neither mask nor replace it.
            _log.warning("lease %s was not released and will expire: %s", self.id, error)
