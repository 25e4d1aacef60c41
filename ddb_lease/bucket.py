"""A bucket: what a user imports.

Invariants:

- It is only an API: `BucketCore` wires the layers together and returns operations; here they are driven on the calling
  thread.
- An interrupt of an acquire leaves no slot leased: whatever may be leased is released before the interrupt continues.
  After a second interrupt, a worker releases it, or the interpreter's exit.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ddb_lease._protocol.retry import TRY_SECONDS
from ddb_lease._runtime import process
from ddb_lease._runtime.adopting import begin_adopt, brought_nothing
from ddb_lease._runtime.arguments import DEFAULT_TABLE, checked_hold_ms
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.bucket_arguments import checked_lease_id, require_count, require_priority
from ddb_lease._runtime.bucket_core import BucketCore, PendingAcquire, timed_out
from ddb_lease._runtime.decorators import PassesLease, Wording, decorate, require_timeout
from ddb_lease._runtime.ending import BY_ITS_ID, release_told, tell_blocks, tell_holder
from ddb_lease._runtime.give_back import CLOSE_SECONDS, give_back, release_later
from ddb_lease._runtime.invocations import Fitting, OnBusy, decorate_handler
from ddb_lease._runtime.mistaken import NoLease, NotAsync
from ddb_lease._runtime.origin import Caller, caller, hand_out
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.resetting import end_all
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.log import queued as _log
from ddb_lease.dynamodb import Client, Session
from ddb_lease.events import OnEvent
from ddb_lease.lease import Lease, OnLost, require_on_lost
from ddb_lease.models import BucketStatus, Configured, Data, Order, Repaired, Resized, Seconds, Timing

_BLOCK = "`with bucket.acquire() as lease:` holds a lease for a block; make one bucket for the process."

_LEASED = Wording(
    name="LeaseBucket.leased",
    inside="Write `with bucket.acquire() as lease:` around the work in its body, or do all work before it returns.",
    otherwise="Use `leased` of ddb_lease.aio.LeaseBucket.",
    passes_lease=True,
)


class LeaseBucket(NoLease, NotAsync, BelongsHere):
    """A named, shared pool of at most `max_tokens` tokens, each leased by one holder at a time.

    Making one sends nothing. The first acquire creates the bucket in the table with these settings. If the bucket
    exists, its stored settings apply, and one warning names the difference. Thread-safe. Use one object for each
    process and bucket name: its threads then share one poll. After a fork the child may use it, and holds nothing.

    ``with LeaseBucket(...) as bucket:`` closes it at the block's end, and acquires nothing. Entering one that is closed
    or entered raises `ConfigurationError`. It cannot be copied or pickled.

    Args:
        name: The bucket's name in the table; any non-empty string of up to 2048 bytes.
        max_tokens: How many leases there can be at once, 1 to 100,000. If the bucket exists, the stored number counts.
            To open one without knowing it, ask: ``LeaseBucket(name, max_tokens=1).status()`` has `max_tokens` and
            `lease_seconds`, and creates and compares nothing. ``ddb-lease run`` without ``--max-tokens`` does so.
        lease_seconds: Length of a lease, in seconds or as a timedelta; at least three margins (see `Timing`). It is
            renewed every third of this. The slot of a crashed holder is free again at most this long, plus 2 s, after
            the last renewal; or, if it was acquired with `hold_at_least`, when that time has passed.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for the holder, shown by `status`; ``host:pid`` by default.
        timing: The time budget around a lease.
        order: ``fifo``: first come, first served, over all processes, the higher priority first; for work that is held
            for seconds and more. ``any``: whoever looks first when a slot comes free. It is stored with the bucket, so
            that all clients follow. None, the default: what is stored, and ``any`` for a new bucket.
        on_event: Called with each event, for metrics: see `ddb_lease.events`, which also says on which thread. If it is
            slow, an acquire, a renewal by hand or a release waits for it; no heartbeat does. It must not use the bucket
            or its leases. It is called with no lock held. The first exception that it raises is logged; none has any
            other effect. Without it, no event is made.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> from ddb_lease import LeaseBucket, local
        >>> bucket = LeaseBucket("nightly-report", max_tokens=4, lease_seconds=60, **local.connect())
        >>> with bucket.acquire(timeout=300) as lease:
        ...     lease.check()
    """

    _instead = "pass its name and settings, and make one there"
    _block = "`with bucket.acquire() as lease:`, or use ddb_lease.aio in asyncio"

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int,
        lease_seconds: Seconds = 60.0,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        order: Order | None = None,
        on_event: OnEvent | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._core = BucketCore(
            name,
            max_tokens=max_tokens,
            lease_seconds=lease_seconds,
            table=table,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            owner=owner,
            timing=timing,
            order=order,
            on_event=on_event,
            runtime=runtime,
        )
        process.register(self._core)
        self.name = self._core.name
        self.table = self._core.table

    def __repr__(self) -> str:
        return repr(self._core)

    @property
    def owner(self) -> str:
        """The owner given, or ``host:pid`` of the calling process."""
        return self._core.owner

    def acquire(
        self,
        timeout: Seconds | None = None,
        *,
        count: int = 1,
        data: Data | None = None,
        on_lost: OnLost | None = None,
        priority: int = 0,
        hold_at_least: Seconds | None = None,
    ) -> Lease:
        """Wait for a slot, or for several together, and lease it.

        Threads of one process wait in a queue, first come, first served; among processes there is no order. Waiting for
        a full bucket needs no write, only about one eventually consistent read a second for the whole process (two if
        the bucket has more than 128 slots).

        With ``order="fifo"`` all processes' waiters stand in one queue: by priority, then by arrival. A waiter for
        several slots is not overtaken. The event `Waiting` tells the place. One who dies is passed over after 1.5 s.

        Args:
            timeout: Seconds, or a timedelta, to wait at most, besides one request's time; None waits for ever.
            count: How many slots, 1 to 99: all or nothing, in one lease. A waiter holds none of them until it gets all,
                and waiters that want fewer may keep taking what comes free. One request renews 25 slots. If the service
                refuses batches, slots are renewed one after another, and all these round trips must fit well into a
                third of the lease.
            data: What to attach to the lease for others to read: string keys, values as in JSON; under 1 KB, or each
                claim and renewal costs more.
            on_lost: See `Lease.on_lost`.
            priority: 0 to 9. In a bucket with ``order="fifo"``, waiters of a higher priority are served before all
                others; elsewhere only before those of this process.
            hold_at_least: Seconds, or a timedelta, for which the slot goes to nobody else after it was acquired: not if
                the lease is released before, nor if its holder crashes, which keeps the slot closed for as long. It is
                for a job that must not run twice. A release before that closes the slot until then, by one UpdateItem
                as any release. If the acquire itself is interrupted, the slot is free at once. The lease is believed
                in, too, until then, whether it can be renewed or not.

        Returns:
            The lease, held and renewed in the background.

        Raises:
            AcquireTimeout: Nothing came free in time. Nothing is held. It names the leases that this process holds, the
                other holders, and the place in an ordered bucket's queue, as the last look showed them; it sends
                nothing for that.
            StoreUnavailable: The service did not answer until the timeout, or so late that the lease was given back;
                without a timeout, it has never answered in 20 s. Nothing is held; a slot that an unanswered request
                took is free when its lease expires.
            StoreRejected: No table, no permission: waiting will not help. Nothing is held.
            ConfigurationError: The arguments cannot work, the bucket has fewer slots than wanted, or the stored lease
                is too short for this client's margin. Nothing is held.

        Cost without contention: 1 PutItem (1 WCU); for several slots, 1 TransactWriteItems (2 WCU a slot). The first
        acquire also sends a Query, and another one, eventually consistent and of one item, because two answers must
        confirm the time before anything is written by it; so does one after an hour or more without any request. A
        third must, if it takes an expired lease's slot, or if this machine's wall clock says otherwise. If a
        slot does not exist yet: a TransactWriteItems of two items instead of the PutItem. If the bucket does not exist
        yet: also a TransactWriteItems of min(max_tokens, 99) + 1 items, at 2 WCU each. In an ordered bucket two Queries
        more, as nothing is claimed unseen (0.5 to 1 RCU each). A wait writes a ticket, refreshes it every 20 s and
        deletes it (1 WCU each), and looks about four times a second at the head of the queue, behind it more seldom.

        If no free slot is known in a bucket of more than 128 slots, it first searches the whole bucket: a Query for
        each 128 slots until one shows a free slot, up to eight at a time, eventually consistent, some 3.5 RCU each. A
        process does so once in the time in which its polls come round: 10 s with 1,000 slots, 11 minutes with 100,000.
        """
        late: list[PendingAcquire] = []
        lease = self._acquire(
            timeout, data, on_lost, count=count, patient=True, priority=priority, hold_at_least=hold_at_least, late=late
        )
        if lease is None:  # no call between here and the caller: an interrupt would come there
            raise timed_out(self._core, timeout, count, late[0].waiter.standing)
        return lease

    def try_acquire(
        self,
        *,
        count: int = 1,
        data: Data | None = None,
        on_lost: OnLost | None = None,
        hold_at_least: Seconds | None = None,
    ) -> Lease | None:
        """Lease a slot, or `count` of them together, if so many are free now.

        In a bucket with more than 128 slots, it looks at up to three times 128, the next try at the next ones; so there
        None means "none found quickly", not "none at all". Only while the counter shows that slots can still be made
        does it go on to all of them.

        Args:
            count: As in `acquire`.
            data: As in `acquire`.
            on_lost: As in `acquire`.
            hold_at_least: As in `acquire`.

        Returns:
            The lease, or None if the bucket is full (or has too few free slots), or other clients were faster.

        Raises:
            StoreUnavailable: The service did not answer in five tries, of one to six requests each, or too late. Else
                as in `acquire`.
            StoreRejected: As in `acquire`.
            ConfigurationError: As in `acquire`.

        In an ordered bucket it takes only what is left over by those who wait. A waiter that was killed counts as
        one who waits, until some 5 s after a try of this process has seen its ticket and a free slot; tries add up.

        Cost: as `acquire`. On a full bucket one Query and no write; three Queries if it has more than 128 slots. If
        other clients took the slots that this process remembers as free, up to two PutItems fail first (1 WCU each).
        """
        return self._acquire(TRY_SECONDS, data, on_lost, count=count, patient=False, hold_at_least=hold_at_least)

    def adopt(self, token: str, *, data: Data | None = None, on_lost: OnLost | None = None) -> Lease:
        """Adopt a lease that another process, or this one, has handed over by `Lease.hand_over`.

        It becomes a lease of this bucket's: with an id of its own, a higher fence, this owner and this data, and the
        whole length from now on. The slots stay the same; a slot that was retired meanwhile stays retired, and works.
        Of several that adopt by one token, at most one gets the lease. It waits for nothing but answers: 10 s at most,
        besides one request's time.

        Args:
            token: What `Lease.hand_over` returned.
            data: As in `acquire`; None for none, the giver's is not kept.
            on_lost: As in `acquire`.

        Returns:
            The lease, held and renewed in the background.

        Raises:
            LeaseLost: It cannot be adopted any more; `lease_id` is the giver's. Nothing is held. `reason` is ``taken``
                if somebody else has adopted or acquired it, ``released`` or ``gone`` if the slot is free or has no
                item, or a damaged one, ``expired`` if its time is over, and ``revoked`` if an operator asked for it:
                then this gives it back.
            StoreUnavailable: No usable answer. Nothing is held: if a request may have been carried out, the lease is
                released, or expires. If none was, the token is as good as before; adopt again.
            StoreRejected: No table, no permission: trying again will not help. Nothing is held.
            ConfigurationError: It is no token, is damaged, or is of another bucket; or as in `acquire`. Nothing was
                written, and the token is as good as before.

        Cost: 1 UpdateItem (1 WCU); for several slots, 1 TransactWriteItems (2 WCU a slot). A process that has not used
        the bucket yet sends three Queries before, of one item each: three answers must agree on the time. To give back
        a revoked one, 1 WCU a slot.

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("uploads", max_tokens=2, **local.connect())
            >>> token = bucket.acquire(timeout=60).hand_over(within=30)  # send it to a worker
            >>> with bucket.adopt(token) as lease:
            ...     lease.check()
        """
        if on_lost is not None:
            require_on_lost(on_lost)
        wakeup, called, by = self._core.runtime.wakeup(), caller(), weakref.ref(threading.current_thread())
        pending = begin_adopt(self._core, token, data, wake=wakeup.wake)
        lease = self._win(pending, wakeup, on_lost, called, by)
        if lease is None:  # no call between here and the caller: an interrupt would come there
            raise brought_nothing()
        return lease

    def leased(
        self,
        timeout: Seconds | None = None,
        *,
        count: int = 1,
        data: Data | None = None,
        priority: int = 0,
        hold_at_least: Seconds | None = None,
    ) -> PassesLease[Lease]:
        """Decorate a function: each call gets its own lease, as first argument.

        In a method it comes after `self`, in a classmethod after `cls`, and so in any function whose first parameter
        has one of these names. Callers, and frameworks that read signatures, do not see the lease.

        If the lease is lost meanwhile, the call returns as if nothing had happened: call ``lease.check()`` in the body,
        and at its end before you rely on what was done.

        The work must be done when the function returns. So coroutine functions (use `ddb_lease.aio`), generator
        functions and classes are refused, and so is a call that returns a coroutine, a generator, a future that is not
        done, or a block of `contextlib`: in a body that runs later, write ``with bucket.acquire() as lease:``.

        Args:
            timeout: As in `acquire`.
            count: As in `acquire`.
            data: As in `acquire`.
            priority: As in `acquire`.
            hold_at_least: As in `acquire`.

        Raises:
            ConfigurationError: When it decorates: the function cannot be guarded, or an argument cannot work. When the
                function is called: it returned work that is not done, after all that it did itself. Calls also raise
                what `acquire` raises.

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("reports", max_tokens=1, **local.connect())
            >>> @bucket.leased(timeout=60)
            ... def report(lease, day):
            ...     lease.check()
            ...     return f"report of {day} on slot {lease.slot}"
            >>> report("Monday")
            'report of Monday on slot 0'
        """
        require_timeout(timeout, wording=_LEASED)
        require_count(count)
        require_priority(priority)
        if hold_at_least is not None:
            checked_hold_ms(hold_at_least)
        return functools.partial(
            decorate,
            enter=lambda: self.acquire(timeout, count=count, data=data, priority=priority, hold_at_least=hold_at_least),
            wording=_LEASED,
        )

    def handler(
        self,
        *,
        margin: Seconds = 5.0,
        timeout: Seconds | None = 0.0,
        data: Data | None = None,
        on_busy: OnBusy | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[[Any, Any], Any]]:
        """Decorate a handler of AWS Lambda: each invocation has a lease that fits it.

        The lease is as long as the invocation may still take (``context.get_remaining_time_in_millis()``), and `margin`
        more, whatever `lease_seconds` is. So it needs no renewal, and no thread runs in the sandbox, which Lambda
        freezes between invocations. The handler's end releases it, an exception too. If Lambda ends the invocation at
        its timeout, or the sandbox dies, the lease expires: `margin` and some 2 s after the time that the invocation
        had. After a thaw nothing goes by the old lease, nor by what was known of the time.

        If the handler's first parameter is named ``lease``, it gets the lease there: ``def handler(lease, event,
        context)``. ``lease.check()`` raises if the machine slept past the lease's end.

        Coroutine and generator functions are refused, as with `leased`. The context must be Lambda's, or have that
        method.

        Args:
            margin: Seconds, or a timedelta, by which the lease outlasts the invocation; at least the `Timing` margin of
                a lease of 15 minutes, 3.4 s by default.
            timeout: How long to wait for a slot, besides one request's time, and never longer than the invocation may
                take; 0 tries once, None waits as long as it may. Waiting is billed.
            data: As in `acquire`.
            on_busy: Called with event and context if no slot was had; what it returns is the result. Without it the
                call raises `AcquireTimeout`, so that Lambda, or a queue, tries again later.

        Raises:
            ConfigurationError: When it decorates: the function cannot be guarded, or an argument cannot work. When the
                function is called: this is no context of Lambda's. Calls also raise what `acquire` raises.

        Cost: as `acquire` and `release`: 2 writes, 2 WCU, and no renewal. A new sandbox reads twice before its first.

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("thumbnails", max_tokens=1, **local.connect())
            >>> @bucket.handler(on_busy=lambda event, context: "somebody is at it")
            ... def handler(lease, event, context):
            ...     return f"imported {event} on slot {lease.slot}"
            >>> class Context:
            ...     def get_remaining_time_in_millis(self):
            ...         return 30_000
            >>> handler("a.csv", Context())
            'imported a.csv on slot 0'
        """
        fitting = Fitting(self._core, margin=margin, timeout=timeout, data=data)
        return functools.partial(
            decorate_handler, enter=lambda context: Lease(fitting.acquire(context)), on_busy=on_busy
        )

    def release(self, lease_id: str) -> bool:
        """Release a lease by its id, from any thread, process or machine. One UpdateItem a slot, 1 WCU each.

        If it was acquired by this object, its holder is told first, as of any loss: it is lost at once (reason
        released), and its lost-callback is called. It is released when the callback has returned and guarded blocks
        have ended, or after `Lease.grace` seconds; what becomes of the request makes no difference to the holder. A
        block of this very thread is the holder itself: then it is a `Lease.release`, and no loss. If another process or
        object holds it, that holder learns of the release at its next renewal (reason taken).

        One that was acquired with `hold_at_least` by this object is released as by itself, which keeps its slot closed;
        by any other, its slot is opened.

        Returns:
            Whether this ended the lease. False: nobody holds this lease (any more); nothing changed.

        Raises:
            ConfigurationError: This is not a lease id. Nothing was sent.
            StoreUnavailable: No usable answer in some seconds; may be repeated. One of this object's is lost all the
                same, and its release is sent again in the background.
            StoreRejected: The service refuses for good; else as above.
        """
        slots = checked_lease_id(lease_id)
        core, held = self._core, self._core.ours(lease_id)
        if held is None:
            return bool(core.run(core.release(lease_id, slots, fence=None)))
        told = tell_holder(held, here=threading.current_thread(), why=BY_ITS_ID)
        return release_told(held, runtime=core.runtime) if told else held.release()

    def revoke(self, lease_id: str) -> bool:
        """Ask a lease's holder for its slots back. One UpdateItem a slot, 1 WCU each.

        The holder sees the mark at its next renewal, within a third of the lease, and loses the lease (reason revoked);
        if this object acquired it, at once.
        Its lost-callback runs, then the slots are released; ``ddb-lease run`` ends its command. A holder without a
        callback frees them when it releases the lease. Until then, or until the lease expires, nobody else can have
        them.

        Returns:
            Whether the lease was held, and is marked now. False: nobody holds this lease (any more); nothing changed.

        Raises:
            ConfigurationError: This is not a lease id. Nothing was sent.
            StoreUnavailable: No usable answer in some seconds; may be repeated.
            StoreRejected: The service refuses for good.
        """
        marked = self._core.driver.run(self._core.revoke(lease_id), self._core.runtime.wakeup())
        if marked:
            self._core.revoked(lease_id)
        return marked

    def resize(self, max_tokens: int) -> Resized:
        """Change how many tokens the bucket has, while it is in use.

        Shrinking ends no lease: leases on retired slots continue and may be renewed, but these slots are not leased
        again. After it returned, no slot from `max_tokens` up is newly leased to anyone. Growing makes no slots:
        acquirers mint them when they need them. All clients notice the new size without being told.

        Args:
            max_tokens: The new number of tokens, 1 to 100,000.

        Returns:
            What was done; nothing if the bucket already has that size.

        Raises:
            ConfigurationError: `max_tokens` cannot work. Nothing was sent.
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            Overtaken: Another resize came in between, and this one stopped.
            StoreUnavailable: The service did not answer, or other clients keep changing the counter. The bucket has its
                old size, the new one, or, if it shrinks by more than 99, one in between; it is consistent: resize
                again.
            StoreRejected: The service refuses for good; else as above.

        Cost: 1 Query, and 1 for each 1,000 slots or MB of slots beyond. To grow, 1 UpdateItem (1 WCU); to shrink, for
        each 99 slots, 1 TransactGetItems (2 RCU an item) and 1 TransactWriteItems (2 WCU an item).

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("gpus", max_tokens=8, **local.connect())
            >>> lease = bucket.acquire(timeout=60)
            >>> bucket.resize(3).after
            3
            >>> lease.held  # on whichever slot
            True
            >>> lease.release()
            True
        """
        return self._core.run(self._core.resize(max_tokens))

    def configure(self, *, order: Order) -> Configured:
        """Change in which order the bucket's waiters are served, while it is in use.

        All clients notice it with their next look at the counter. A process that claims back to back the slot that it
        released itself does not look, as long as it meets nobody.

        Args:
            order: ``fifo`` or ``any``; see `LeaseBucket`.

        Returns:
            What was done; nothing if the bucket already has that order.

        Raises:
            ConfigurationError: `order` is none. Nothing was sent.
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer, or other clients keep changing the counter. The bucket has its
                old order or the new one; may be repeated.
            StoreRejected: The service refuses for good; else as above.

        Cost: 1 Query and 1 UpdateItem (1 WCU).

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("trainers", max_tokens=2, **local.connect())
            >>> bucket.acquire(timeout=60).release()
            True
            >>> bucket.configure(order="fifo")
            Configured(before='any', after='fifo')
        """
        return self._core.run(self._core.configure(order=order))

    def repair(self) -> Repaired:
        """Recount the slots: corrects `minted`, and retires slots beyond `max_tokens`.

        It is never needed for safety, nor to get a token back: acquirers repair what they find. Use it after somebody
        edited the table by hand, and for a clean `status`.

        Returns:
            What was done.

        Raises:
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer, or other clients keep changing the counter; may be repeated.
            StoreRejected: The service refuses for good.

        Cost: 1 Query, and 1 for each 1,000 slots or MB of slots beyond; 1 TransactGetItems for each 99 slots (2 RCU an
        item); where the count was wrong, 1 UpdateItem (1 WCU).

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("licences", max_tokens=2, **local.connect())
            >>> bucket.acquire(timeout=60).release()
            True
            >>> bucket.repair()
            Repaired(max_tokens=2, before=2, after=2, retired=0)
        """
        return self._core.run(self._core.repair())

    def reset(self) -> int:
        """End all leases now, held or not, and repair the bucket.

        Use it when all holders are gone. Holders of this object's leases are told first, as by `release`. A holder
        elsewhere that still works learns of it only at its next renewal (reason taken), and others may have its slots
        by then. A client that acquires meanwhile may keep its lease. The settings
        and the slots' fences stay.

        Returns:
            How many leases this ended.

        Raises:
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer. Some leases may have ended; may be repeated.
            StoreRejected: The service refuses for good; else as above.

        Cost: 1 Query for each 1,000 slots or MB, 1 UpdateItem a leased slot, and that of `repair`.

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("crawlers", max_tokens=2, **local.connect())
            >>> forgotten = bucket.acquire(timeout=60), bucket.acquire(timeout=60)
            >>> bucket.reset()
            2
        """
        ended = end_all(self._core)
        self._core.run(self._core.repair())
        return ended

    def status(self) -> BucketStatus:
        """Read the bucket: limits, minted slots, all leases, and who waits for it, if it is ordered.

        Cost: 1 consistent Query for each 1,000 slots or MB; if it is ordered, another one, eventually consistent, for
        each 1,000 waiters.

        Raises:
            UnknownBucket: It does not exist (yet).
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return self._core.run(self._core.status())

    def close(self) -> None:
        """Release all leases taken through this object, and close its connections. It cannot acquire any more.

        None of them is held any more as soon as this is called. If another thread is in the block of one, that one is
        lost (reason released), as by `release`; whatever is in no block was the caller's own. They are released on
        several threads at once, one UpdateItem a slot, 1 WCU each. It takes 5 s and one request's timeout at most,
        however many there are and whatever the service does; if it is interrupted, workers go on.

        Raises nothing. A release that was not answered in time is logged and sent again in the background, and once
        more at the interpreter's exit; without any answer, the slot is free when the lease expires.
        """
        core = self._core
        try:
            leases = core.begin_closing()
            tell_blocks(leases, here=threading.current_thread())
            left = give_back(leases, runtime=core.runtime, deadline=core.deadline(CLOSE_SECONDS), goes=2)
            if left:
                _log.warning("leases of bucket %r that are not released yet, and expire otherwise: %d", self.name, left)
        except BaseException:
            release_later(core.begin_closing())
            raise
        finally:
            core.close_connections()

    def __enter__(self) -> LeaseBucket:
        self._core.block.enter(closed=self._core.state.closed, instead=_BLOCK)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._core.block.leave(exc, instead=_BLOCK)
        finally:
            self.close()

    def _acquire(
        self,
        timeout: Seconds | None,
        data: Data | None,
        on_lost: OnLost | None,
        *,
        count: int,
        patient: bool,
        priority: int = 0,
        hold_at_least: Seconds | None = None,
        had: list[Lease] | None = None,
        late: list[PendingAcquire] | None = None,
    ) -> Lease | None:
        """A lease; None if there is none in time: `late` gets the acquire. Interrupted, it releases what may be leased.

        It is put into `had` before an interrupt can come between this and its caller.
        """
        if on_lost is not None:
            require_on_lost(on_lost)
        core = self._core
        wakeup, called, by = core.runtime.wakeup(), caller(), weakref.ref(threading.current_thread())
        deadline = core.deadline(timeout)
        pending = core.begin_acquire(
            deadline,
            data,
            count=count,
            patient=patient,
            wake=wakeup.wake,
            by=by,
            priority=priority,
            hold_at_least=hold_at_least,
        )
        return self._win(pending, wakeup, on_lost, called, by, had=had, late=late)

    def _win(
        self,
        pending: PendingAcquire,
        wakeup: Wakeup,
        on_lost: OnLost | None,
        called: Caller,
        by: weakref.ref[threading.Thread],
        *,
        had: list[Lease] | None = None,
        late: list[PendingAcquire] | None = None,
    ) -> Lease | None:
        core = self._core
        # An interrupt may come between any two instructions here: all of them are inside this block.
        try:
            outcome = core.driver.run(pending.operation, wakeup, observe=pending.observe)
            held = core.hold(pending, outcome)
            if held is None:
                if late is not None:
                    late.append(pending)
                return None
            lease = Lease(held, on_lost=on_lost)
            hand_out(held, lease, at=core.runtime.clock.steady(), caller=called, by=by)
            if had is not None:
                had.append(lease)
            return lease
        except BaseException:
            core.abandon(pending)
            raise
