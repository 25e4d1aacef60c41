"""A lease: what a user gets from `LeaseBucket.acquire`.

Invariant: it is a handle, and decides nothing: `_runtime.held_lease` does all the work. Two handles of one lease are
equal.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ddb_lease._runtime.arguments import require_callback
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.mistaken import NotAsync
from ddb_lease._state.log import log as _log
from ddb_lease.errors import ConfigurationError, LossReason, StoreError
from ddb_lease.models import Data, Seconds

OnLost = Callable[["Lease"], object]

_AWAITED_BY = "Leases of ddb_lease.aio take coroutine functions; here, give a plain function."


class Lease(NotAsync, BelongsHere):
    """A claim on one token slot, or on several, renewed in the background until it is released or lost.

    Several slots form one lease: acquired together, with one deadline, released together. Losing one slot loses the
    lease.

    Only `LeaseBucket.acquire` and `try_acquire` make it. It outlives the thread that acquired it, and any thread of the
    process may use it. Leaving its ``with`` block releases it. (An interrupt at the very instant at which the block is
    entered or left can prevent that, as in all of Python: then the lease is held until the process ends, or until
    `LeaseBucket.close`, and released there.) If it is dropped unreleased, it stays leased and renewed until then; a
    `ResourceWarning` and the log say so.

    If the lease is lost meanwhile, the block ends as if nothing had happened: call `check` in it, and at its end before
    you rely on what was done.

    Promised: while `check` returns, no other holder anywhere believes that it has this slot. Not promised: that your
    work between two calls of `check` takes less time than the margin. If the resource that you write to can compare
    numbers, pass it `fence` with each write.

    Attributes:
        id: Unique for every acquisition.
        slot: The token's number, 0 up to ``max_tokens - 1``; of several, the lowest.
        slots: The numbers of all tokens of this lease, mostly one.
        fence: The fencing token (Kleppmann, "How to do distributed locking", 2016): rises strictly with every
            lease of the slot; with several slots, with every lease of any of them.
        owner: Who acquired it.
        data: What was attached to it.
        waited: Seconds from the call of `acquire` until it was had, on the steady clock.
    """

    _instead = "pass its id, which LeaseBucket.release takes, and its fence, with the bucket's name"

    _block = "`with bucket.acquire() as lease:`, or use ddb_lease.aio in asyncio"

    def __init__(self, held: HeldLease, *, on_lost: OnLost | None = None) -> None:
        self.id = held.id
        self.slots = held.slots
        self.slot = held.slot
        self.fence = held.fence
        self.owner = held.owner
        self.data: Data = held.data
        self.waited = held.waited
        self._held = held
        self._entered = False
        self._on_lost: OnLost | None = None
        if on_lost is not None:
            self.on_lost = on_lost

    def __repr__(self) -> str:
        return repr(self._held)

    def __eq__(self, other: object) -> bool:
        return self._held is other._held if isinstance(other, Lease) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._held)

    @property
    def grace(self) -> float:
        """Seconds between the deadline and the earliest moment at which another holder can have the slot.

        It is the time for the lost-callback.
        """
        return self._held.grace

    @property
    def held(self) -> bool:
        """Whether we hold the lease at this moment. No I/O."""
        return self._held.held

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is surely ours if no renewal succeeds any more; 0.0 once it is not held."""
        return self._held.remaining

    @property
    def lost(self) -> LossReason | None:
        """Why the lease was lost; None while it is held, and after a release by its holder. No I/O."""
        return self._held.lost

    @property
    def on_lost(self) -> OnLost | None:
        """Called once with the lease when it is lost, on a thread for callbacks: no heartbeat waits for it.

        A plain function of one argument. It is called at the deadline at the latest, `Timing.grace` seconds before
        anyone else can hold the slot (except for reasons taken and gone, when somebody may have it already). If you set
        it on a lost lease, it is called at once. At most 32 of one bucket run at once, and one more for each that has
        run for 10 s: if it takes long, let it set a flag, or start a thread.

        Raises:
            ConfigurationError: On setting it: it cannot be called with the lease alone, or is a coroutine function or
                a generator function, whose body nobody would run. The lease and its callback stay as they were.
        """
        return self._on_lost

    @on_lost.setter
    def on_lost(self, callback: OnLost | None) -> None:
        require_on_lost(callback)
        self._on_lost = callback
        self._held.loss.on_lost = None if callback is None else lambda: self._call(callback)

    def check(self) -> None:
        """Make sure that we hold the lease. No I/O; takes a few microseconds at most.

        Raises:
            LeaseLost: We do not, and will not again: stop what it guards. `reason` says why.
        """
        self._held.check()

    def renew(self) -> None:
        """Renew now, on the calling thread, in addition to the heartbeat. One UpdateItem a slot, 1 WCU each.

        Raises:
            LeaseLost: We do not hold the lease (any more).
            StoreUnavailable: No usable answer; the lease is held until its deadline, and the heartbeat continues.
            StoreRejected: The service refuses for good; held until its deadline as well.
        """
        self._held.renew()

    def release(self) -> bool:
        """Release all slots of the lease. One UpdateItem a slot, 1 WCU each; waiters of this process wake at once.

        The lease is not held any more as soon as this is called, whatever happens to the request. It is the holder's
        own word, whichever thread calls it: no loss, and the lost-callback is not called. If a block works under it,
        the block learns of it by `check`. To end a lease under its holder, who is told, use `LeaseBucket.release`.

        Returns:
            Whether this call ended the lease in the table, on at least one of its slots. False normally means that
            nothing changed: another holder had it by then, or nobody, as on a second call. Exception: if an answer was
            lost and another holder took the slot before the release was sent again, our first sending may have ended
            it.

        Raises:
            StoreUnavailable: No usable answer in some seconds. It is sent again in the background, about every half
                minute, and at the interpreter's exit; else the slot comes back when the lease expires. May be called
                again.
            StoreRejected: The service refuses for good. It is sent once more at the interpreter's exit; else the slot
                comes back when the lease expires.

        If it is interrupted, a worker sends it, or the interpreter's exit. Only an interrupt at the very first
        instant, before any of its code has run, leaves the lease held; it may be called again then.
        """
        return self._held.release()

    def hand_over(self, *, within: Seconds = 30.0) -> str:
        """Hand the lease over: stop being its holder, and return a token by which one process adopts it.

        Pass the token on, as in a queue's message, to `LeaseBucket.adopt`. Until somebody adopts it, nobody holds the
        lease, and nobody else can get its slots. If nobody does in time, they are free. First end all work that
        it guards here: when this returns, the lease is not held any more, and `check` raises `LeaseLost` (reason
        ``handed_over``). Nothing is renewed or released here any more, neither at the end of a ``with`` block, nor by
        `LeaseBucket.close`, nor at the process's end. It is no loss: the lost-callback is not called, and `lost` stays
        None.

        Args:
            within: For how long it can be adopted at least: seconds, or a timedelta, up to a year. If the lease has
                longer than that, it can be adopted for as long.

        Returns:
            The token: printable text of some 150 bytes and a third more than the bucket's name has, safe in a URL. Who
            has it, and may write to the table, can adopt the lease; it holds no other secret.

        Raises:
            LeaseLost: We do not hold the lease (any more). There is no token.
            StoreUnavailable: No usable answer in some seconds, in which it was sent again. There is no token, and the
                lease is held and renewed as before; call it again. If a request was carried out unseen, `status` shows
                the lease as handed over until it ends, though this process works on with it, and its slots stay
                leased for `within` if the process crashes.
            StoreRejected: The service refuses for good; else as above.
            ConfigurationError: `within` cannot work, or the lease was acquired with `hold_at_least`: its adopter would
                not keep the slot closed. Nothing was sent, and the lease is held.

        Cost: one UpdateItem a slot, 1 WCU each; to adopt it, as much again. If it is interrupted, the lease is held
        still, or a worker releases it.
        """
        return self._held.hand_over(within)

    def conditions(self, *, plain: bool = False) -> list[dict[str, Any]]:
        """Checks for a transaction of your own, which then happens only while the slots carry this lease. No I/O.

        ``client.transact_write_items(TransactItems=[*lease.conditions(), {"Put": ...}])``: if the lease was released,
        adopted, or its slot leased to anybody else meanwhile, nothing of the transaction happens, whatever any clock
        says. If it has expired in the table and nobody took the slot yet, the transaction happens. It must be for the
        same account and region.

        Args:
            plain: With plain values, for a client of boto3's resource (``table.meta.client``), which types them itself.

        Returns:
            One ``ConditionCheck`` for each slot, to be put before your own items.

        Raises:
            LeaseLost: We do not hold the lease (any more).

        Cost: 2 WCU a slot, as part of your transaction. If a check fails, boto3 raises ``TransactionCanceledException``
        whose ``CancellationReasons`` begin with one for each slot: ``ConditionalCheckFailed`` means that the lease is
        gone; ``TransactionConflict`` that a renewal or another transaction was under way at that moment: try again.
        """
        return self._held.conditions(plain=plain)

    def __enter__(self) -> Lease:
        try:
            if self._entered and self._held.held:
                raise ConfigurationError(
                    f"lease {self.id} is entered already, by a block that releases it: use it as it is"
                )
            self._entered = True
            self._held.end.stopping.enter(self, by=threading.current_thread(), guarded=False)
            self.check()
        except ConfigurationError:
            raise  # the block that it is in goes on
        except BaseException:
            with contextlib.suppress(StoreError):  # report the loss, not this error
                self.release()  # `__exit__` will not be called
            self._held.end.stopping.leave(self)
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
            tell = _log.warning if self._held.lost is None else _log.info  # the log has the loss already
            tell("not released yet, and expires otherwise: %s", error)
        except BaseException:
            self._held.release_later()  # interrupted, perhaps before the release began: nobody else would call it again
            raise
        finally:
            self._held.end.stopping.leave(self)

    def _give_up(self) -> None:
        if not self._entered:
            self._held.release_later()

    def _call(self, callback: OnLost) -> None:
        returned = callback(self)
        if inspect.iscoroutine(returned):  # a plain function that returns one cannot be told before
            returned.close()
            raise ConfigurationError(f"on_lost returned a coroutine, and nobody awaits it. {_AWAITED_BY}")


def require_on_lost(callback: object) -> None:
    """Check a lost-callback when it is given.

    Raises:
        ConfigurationError: It would fail, or not run, when the lease is lost.
    """
    require_callback(callback, what="on_lost", gets="the lease", coroutines=_AWAITED_BY)
