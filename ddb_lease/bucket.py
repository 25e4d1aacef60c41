"""A bucket: what a user imports.

Invariants:

- It puts the rooms below together, and decides nothing itself.
- Between asking for a slot and handing the lease out, no interrupt leaves the slot leased: whatever may be leased is
  released before the interrupt goes on. Only a second one ends that.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import socket
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from ddb_lease._operations.acquire import Attempt, acquire
from ddb_lease._operations.acquire_many import Together
from ddb_lease._operations.release import ended_slots, require_answers, send_release
from ddb_lease._operations.resize import repair, resize
from ddb_lease._operations.revoke import revoke
from ddb_lease._operations.status import read_status
from ddb_lease._operations.sync_time import ask_while
from ddb_lease._protocol.decisions import slots_of
from ddb_lease._protocol.outcomes import Busy, Outcome, Unavailable
from ddb_lease._protocol.records import LONGEST_LEASE_MS, MAX_TOKENS, PER_TRANSACTION, Counter, Grant, Settings
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import DEFAULT_TABLE, checked_text
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.instrumentation import AcquireObserver, EventReporter, Observer
from ddb_lease._runtime.renewer import Renewals
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.hints import Hints, Waiter
from ddb_lease._state.service_time import ServiceTime
from ddb_lease.dynamodb import ConnectionSettings, Store
from ddb_lease.dynamodb.items import encode_map
from ddb_lease.errors import (
    AcquireTimeout,
    ConfigurationError,
    LeaseError,
    StoreError,
    StoreUnavailable,
    UnknownBucket,
)
from ddb_lease.events import OnEvent
from ddb_lease.lease import RELEASE_SECONDS, RELEASE_TRIES, Lease, LeaseContext
from ddb_lease.models import BucketStatus, Data, LeaseInfo, Repaired, Resized, Timing

_log = logging.getLogger("ddb_lease")

P = ParamSpec("P")
R = TypeVar("R")
Kept = TypeVar("Kept")
Result = TypeVar("Result")
AnyLease = TypeVar("AnyLease", bound=Lease)

_DATA_BYTES: Final = 300_000
_TRANSACTION_BYTES: Final = 3_900_000  # DynamoDB takes 4 MB in one
_STATUS_SECONDS: Final = 10.0
TRY_SECONDS: Final = 10.0
_DOUBT_LOOKS: Final = 10  # three that agree with one another are enough
_DOUBT_SECONDS: Final = 0.1
_LATELY: Final = 64  # leases won last that are known as ours after their end

OnLost = Callable[[Lease], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAcquire:
    """One acquire under way.

    Attributes:
        operation: What is to be driven.
        waiter: Its place in the process's waiting line.
        queues: Whether it stands there.
        watch: Who tells of it, if anybody does.
        open_grants: What may be leased, and is to be given back where it is not kept.
    """

    operation: Operation[Outcome]
    waiter: Waiter
    queues: bool
    observer: AcquireObserver | None
    open_grants: list[Grant]

    @property
    def observe(self) -> Observer | None:
        """Shown each of its requests, and the answer."""
        return None if self.observer is None else self.observer.observe


class LeaseBucket:
    """A named, shared pool of at most `max_tokens` tokens, each leased by one holder at a time.

    Making one sends nothing. The first acquire creates the bucket in the table, with these settings; of a bucket that
    exists, the stored settings rule, and a warning names both once. Thread-safe; one for each process and bucket name
    is best, as its threads then share one poller. After a fork the child may use it, and holds nothing.

    Args:
        name: The bucket's name in the table; any non-empty string of up to 2048 bytes.
        max_tokens: How many leases there can be at once, 1 to 100,000.
        lease_seconds: Length of a lease. It is renewed at a third of it; a crashed holder's slot is free again at
            most this long, and 2 s, after the last renewal. At least three margins (see `Timing`).
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, where boto3's defaults will not do.
        client: A DynamoDB client instead, made with `client_config`, as botocore must not retry by itself.
        endpoint_url: Another endpoint than DynamoDB's own.
        owner: Who acquires, for people to read in `status`; ``host:pid`` by default.
        timing: The time budget around a lease.
        on_event: Called with what happens, for metrics: see `ddb_lease.events`, also for which thread calls. It must be
            quick, as that thread waits for it, and must not use the bucket or its leases. It is called with no lock
            held. What it raises is logged, the first time, and harms nothing. Without it, no event is even made.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Example:
        >>> from ddb_lease import LeaseBucket, local
        >>> bucket = LeaseBucket("nightly-report", max_tokens=4, lease_seconds=60, **local.connect())
        >>> with bucket.acquire(timeout=300) as lease:
        ...     lease.check()
    """

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int,
        lease_seconds: float = 60.0,
        table: str = DEFAULT_TABLE,
        session: Any = None,  # noqa: ANN401 - boto3 sessions and clients have no static type
        client: Any = None,  # noqa: ANN401 - as above
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        on_event: OnEvent | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.name = checked_text("a bucket's name", name)
        self.table = checked_text("table", table)
        self._owner = owner and checked_text("owner", owner)
        self._runtime = runtime or Runtime()
        self._timing = timing or Timing()
        self._wanted = _checked_settings(max_tokens, lease_seconds)
        self._timing.require_room(lease_seconds)
        self._hints = Hints()
        self._reporter = None if on_event is None else EventReporter(self.name, on_event)
        self._observe = None if self._reporter is None else self._reporter.observe
        connection = ConnectionSettings(session=session, client=client, endpoint_url=endpoint_url)
        store = Store(table=table, bucket=self.name, connection=connection, lease_seconds=lease_seconds)
        self._store = self._runtime.wrap(store)
        time = ServiceTime(
            self._runtime.clock,
            max_clock_skew=self._timing.max_clock_skew,
            front_end_skew=self._timing.front_end_skew,
        )
        self._driver = Driver(sender=self._store, time=time, on_moved=self._time_moved)
        self._state = BucketState(
            bucket=name,
            wanted=self._wanted,
            timing=self._timing,
            time=time,
            chance=self._runtime.chance,
            hints=self._hints,
            adopt=self._adopt,
            ours=self._is_ours,
            require_open=self._require_open,
        )
        self._renewals = Renewals(
            state=self._state,
            driver=self._driver,
            wakeup=self._runtime.wakeup,
            workers=lambda: self._heartbeats().workers,
            observe=self._observe,
        )
        self._context: LeaseContext | None = None
        self._leases: dict[str, Lease] = {}
        self._lately: deque[str] = deque(maxlen=_LATELY)
        self._made: weakref.WeakSet[Lease] = weakref.WeakSet()
        self._warned = False
        self._fitting = self._wanted
        self._closed = False
        process.register(self)

    def __repr__(self) -> str:
        return f"<LeaseBucket {self.name!r} in table {self.table!r}>"

    @property
    def owner(self) -> str:
        """Who acquires: what was given, else ``host:pid`` of the process that asks."""
        return self._owner or f"{socket.gethostname()}:{os.getpid()}"

    def acquire(
        self,
        timeout: float | None = None,
        *,
        count: int = 1,
        data: Data | None = None,
        on_lost: OnLost | None = None,
    ) -> Lease:
        """Wait for a slot, or for several at once, and lease it.

        Threads of one process wait in line, first come, first served; among processes there is no order. A full
        bucket is waited for without writing, by about one eventually consistent read a second for the whole process.

        Args:
            timeout: Seconds to wait at most, besides one request's time; None waits for ever.
            count: How many slots, 1 to 99: all or nothing, in one lease. Whoever waits for many holds none of them
                meanwhile; those who want fewer may go on taking what comes free. They are renewed 25 in one request;
                one after another where the service takes no batches, and then so many round trips must fit well into
                a third of the lease.
            data: What to attach to the lease for others to read: string keys, values as in JSON; under 1 KB, or each
                claim and renewal costs more.
            on_lost: See `Lease.on_lost`.

        Returns:
            The lease, held and renewed in the background.

        Raises:
            AcquireTimeout: Nothing came free in time. Nothing is held.
            StoreUnavailable: The service did not answer until the timeout; without a timeout, it has never answered
                in 20 s. Nothing is held, or expires by itself.
            StoreRejected: No table, no permission: waiting will not help. Nothing is held.
            ConfigurationError: The arguments cannot work, the bucket has fewer slots than wanted, or the stored lease
                is too short for this client's margin. Nothing is held.

        Cost without contention: 1 PutItem (1 WCU); of several slots, 1 TransactWriteItems (2 WCU a slot). The first
        time also a Query, and one more, of one item and eventually consistent, as two answers must stand for the time
        before anything is written by it; likewise after an hour or more without any request. Where a slot does not
        exist yet, a TransactWriteItems of two items instead of the PutItem.
        """
        lease = self._acquire(self._deadline(timeout), data, on_lost, count=count, patient=True)
        if lease is None:
            raise self._timed_out(timeout, count)
        return lease

    def try_acquire(self, *, count: int = 1, data: Data | None = None, on_lost: OnLost | None = None) -> Lease | None:
        """Lease a slot if one is free, or several if so many are, at once.

        Of a bucket with more than 128 slots, up to three times so many are looked at, from a random one on; so None
        there means "not easily", not "none at all".

        Args:
            count: As in `acquire`.
            data: As in `acquire`.
            on_lost: As in `acquire`.

        Returns:
            The lease, or None if the bucket is full (or has too few free slots), or others were faster.

        Raises:
            StoreUnavailable: The service did not answer in five tries. Nothing is held, or expires by itself.
            StoreRejected: As in `acquire`.
            ConfigurationError: As in `acquire`.

        Cost: as `acquire`; on a full bucket one Query, and no write.
        """
        return self._acquire(self._deadline(TRY_SECONDS), data, on_lost, count=count, patient=False)

    def leased(
        self, timeout: float | None = None, *, count: int = 1, data: Data | None = None
    ) -> Callable[[Callable[Concatenate[Lease, P], R]], Callable[P, R]]:
        """Decorate a function to run under a lease of its own for each call, which it gets as its first argument.

        Args:
            timeout: As in `acquire`.
            count: As in `acquire`.
            data: As in `acquire`.

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

        def decorate(function: Callable[Concatenate[Lease, P], R]) -> Callable[P, R]:
            @functools.wraps(function)
            def under_lease(*args: P.args, **kwargs: P.kwargs) -> R:
                with self.acquire(timeout, count=count, data=data) as lease:
                    return function(lease, *args, **kwargs)

            return under_lease

        return decorate

    def release(self, lease_id: str) -> bool:
        """Release a lease by its id, from any thread, process or machine. One UpdateItem a slot, 1 WCU each.

        Its holder, if it is not this process, learns of it at its next renewal (reason taken).

        Returns:
            Whether this ended the lease. False: no such lease is held (any more); nothing was changed.

        Raises:
            ConfigurationError: This is no lease id. Nothing was sent.
            StoreUnavailable: No usable answer in some seconds; may be repeated.
            StoreRejected: The service refuses for good.
        """
        slots, held = self._whose(lease_id)
        if held is not None:
            return held.release()
        return bool(self._end(lease_id, slots, fence=None))

    def revoke(self, lease_id: str) -> bool:
        """Ask a lease's holder for its slots back. One UpdateItem a slot, 1 WCU each.

        The holder finds the mark at its next renewal, within a third of the lease, and loses the lease (reason
        revoked): its lost-callback runs, then the slots are given back; ``ddb-lease run`` ends its command. A holder
        without a callback gives them back when it releases the lease. Until then, or until the lease expires, nobody
        else can have them.

        Returns:
            Whether the lease was held, and is marked now. False: no such lease is held (any more); nothing was changed.

        Raises:
            ConfigurationError: This is no lease id. Nothing was sent.
            StoreUnavailable: No usable answer in some seconds; may be repeated.
            StoreRejected: The service refuses for good.
        """
        return self._driver.run(self._revoking(lease_id), self._runtime.wakeup())

    def resize(self, max_tokens: int) -> Resized:
        """Change how many tokens the bucket has, while it is in use.

        Shrinking ends no lease: those on slots that leave run on, may be renewed, and are not leased again. After it
        returned, no slot from `max_tokens` up is leased to anyone. Growing makes no slot: who needs one mints it.
        All clients follow the new size by themselves.

        Args:
            max_tokens: How many tokens there shall be, 1 to 100,000.

        Returns:
            What was done; of no effect where the bucket has that size already.

        Raises:
            ConfigurationError: `max_tokens` cannot work. Nothing was sent.
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            Overtaken: Another resize came in between, and this one stopped.
            StoreUnavailable: The service did not answer, or others keep changing the counter. The bucket has its old
                size, the new one, or, shrinking by more than 99, one in between; it is whole: resize again.
            StoreRejected: The service refuses for good; else as above.

        Cost: 1 Query, and 1 for each MB of slots beyond. To grow, 1 UpdateItem (1 WCU); to shrink, for each 99 slots, 1
        TransactGetItems (2 RCU an item) and 1 TransactWriteItems (2 WCU an item).

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("gpus", max_tokens=8, **local.connect())
            >>> lease = bucket.acquire(timeout=60)
            >>> bucket.resize(3).after
            3
            >>> lease.held  # on whichever slot
            True
        """
        return self._run(self._resizing(max_tokens))

    def repair(self) -> Repaired:
        """Count the slots anew: sets `minted` right, and retires slots beyond `max_tokens`.

        Never needed for safety, nor for a token to come back: acquirers repair what they meet. It is for a table that
        was edited by hand, and for a clean `status`.

        Returns:
            What was done.

        Raises:
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer, or others keep changing the counter; may be repeated.
            StoreRejected: The service refuses for good.

        Cost: 1 Query, and 1 for each MB of slots beyond; 1 TransactGetItems for each 99 slots (2 RCU an item); where
        the count was wrong, 1 UpdateItem (1 WCU).

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("licences", max_tokens=2, **local.connect())
            >>> bucket.acquire(timeout=60).release()
            True
            >>> bucket.repair()
            Repaired(max_tokens=2, before=2, after=2, retired=0)
        """
        return self._run(self._repairing())

    def reset(self) -> int:
        """End all leases now, whoever holds them, and repair the bucket.

        For a bucket whose holders are all gone. Those who still work are told at their next renewal only (reason
        taken), and others may have their slots by then. Who acquires meanwhile may keep what it got. The settings, and
        the fences of the slots, stay.

        Returns:
            How many leases this ended.

        Raises:
            UnknownBucket: The bucket does not exist (yet). Nothing was changed.
            StoreUnavailable: The service did not answer. Some leases may have ended; may be repeated.
            StoreRejected: The service refuses for good; else as above.

        Cost: 1 Query for each MB, 1 UpdateItem a leased slot, and that of `repair`.

        Example:
            >>> from ddb_lease import LeaseBucket, local
            >>> bucket = LeaseBucket("crawlers", max_tokens=2, **local.connect())
            >>> forgotten = bucket.acquire(timeout=60), bucket.acquire(timeout=60)
            >>> bucket.reset()
            2
        """
        ended = self._end_all()
        self._run(self._repairing())
        return ended

    def status(self) -> BucketStatus:
        """Read the bucket: limits, minted slots and all leases. One Query for each MB, strongly consistent.

        Raises:
            UnknownBucket: It does not exist (yet).
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        return self._run(self._reading())

    def close(self) -> None:
        """Release all leases taken through this object, and close its connections. It cannot acquire any more.

        Raises nothing: a release that fails is logged, and the slot comes back by expiry.
        """
        for lease in self._begin_closing():
            try:
                lease.release()
            except LeaseError as error:
                _log.warning("lease %s was not released, and ends by expiry: %s", lease.id, error)
        self._store.close()

    def __enter__(self) -> LeaseBucket:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # What `process` asks for.

    def after_fork_in_child(self) -> None:
        """In a forked child: hold nothing, share no connection."""
        for lease in list(self._made):  # those that ended too: one whose release failed may be released again
            lease.abandon_to_parent()
        self._context = None  # its heartbeats are the parent's
        self._leases = {}
        self._hints.empty()
        self._renewals.after_fork_in_child()
        if self._reporter is not None:
            self._reporter.after_fork_in_child()
        self._state.time.after_fork_in_child()
        self._store.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: release what is held, in bounded time."""
        for lease in list(self._leases.values()):
            if self._runtime.clock.steady() >= deadline:
                _log.warning("leases of bucket %r are left to expire", self.name)
                return
            lease.release_at_exit()

    # Behind the scenes. What `ddb_lease.aio` shares decides; only what drives it is here, and there, anew.

    def _run(self, operation: Operation[Result]) -> Result:
        return self._driver.run(operation, self._runtime.wakeup(), observe=self._observe)

    def _reading(self) -> Operation[BucketStatus]:
        status = yield from read_status(self._state, table=self.table, seconds=_STATUS_SECONDS)
        if status is None:
            raise UnknownBucket(
                f"bucket {self.name!r} does not exist in table {self.table!r}; the first acquire creates it"
            )
        return status

    def _revoking(self, lease_id: str) -> Operation[bool]:
        return revoke(
            self._state,
            slots=_checked_lease_id(lease_id),
            lease_id=lease_id,
            by=self.owner,
            tries=RELEASE_TRIES,
            deadline=self._state.time.steady() + RELEASE_SECONDS,
        )

    def _resizing(self, max_tokens: int) -> Operation[Resized]:
        return self._operating(resize(self._state, max_tokens=_checked_max_tokens(max_tokens)))

    def _repairing(self) -> Operation[Repaired]:
        return self._operating(repair(self._state))

    def _operating(self, operation: Operation[Result]) -> Operation[Result]:
        result = yield from operation
        self._warned = True  # whoever changes the settings knows of them
        self._hints.forget()
        self._hints.wake_all()  # to look anew
        return result

    def _whose(self, lease_id: str) -> tuple[tuple[int, ...], Lease | None]:
        """Which slots such a lease is on, and who holds it in this process."""
        return _checked_lease_id(lease_id), self._leases.get(lease_id)

    def _end(self, lease_id: str, slots: tuple[int, ...], *, fence: int | None) -> list[int]:
        return self._run(self._ending_of(lease_id, slots, fence=fence))

    def _ending_of(self, lease_id: str, slots: tuple[int, ...], *, fence: int | None) -> Operation[list[int]]:
        """Release a lease that no `Lease` of this process stands for; returns the slots that this ended it on."""
        outcomes = yield from send_release(
            self._state,
            slots=slots,
            lease_id=lease_id,
            fence=fence,
            tries=RELEASE_TRIES,
            deadline=self._state.time.steady() + RELEASE_SECONDS,
        )
        require_answers(outcomes, lease_id=lease_id)
        return ended_slots(outcomes, fence=fence)

    def _end_all(self) -> int:
        """Release every lease in the table; returns how many this ended."""
        ended = 0
        for lease_id, slots, fence in leases_of(self.status()):
            held = self._leases.get(lease_id)
            ended += held.release() if held else bool(self._end(lease_id, slots, fence=fence))
        self._hints.wake_all()
        return ended

    def _begin_closing(self) -> list[Lease]:
        """From now on nobody acquires; returns what is to be released."""
        self._closed = True
        self._hints.wake_all()
        return list(self._leases.values())

    def _deadline(self, timeout: float | None) -> float:
        if timeout is not None and not timeout >= 0:
            raise ConfigurationError(f"timeout must be 0 or more seconds, not {timeout!r}")
        return math.inf if timeout is None else self._state.time.steady() + timeout

    def _timed_out(self, timeout: float | None, count: int) -> AcquireTimeout:
        slots = "no slot" if count == 1 else f"no {count} slots"
        return AcquireTimeout(f"{slots} of bucket {self.name!r} came free in {timeout:g} s")

    def _acquire(
        self, deadline: float, data: Data | None, on_lost: OnLost | None, *, count: int, patient: bool
    ) -> Lease | None:
        def hold(grant: Grant) -> Lease:
            return self._hold(grant, on_lost)

        return self._win(deadline, data, count=count, patient=patient, keep=hold)

    def _win(
        self, deadline: float, data: Data | None, *, count: int, patient: bool, keep: Callable[[Grant], Kept]
    ) -> Kept | None:
        """Win a grant and have it kept; None where there is none in time. An interrupt, even of `keep`, undoes it."""
        wakeup = self._runtime.wakeup()
        pending = self._begin_acquire(deadline, data, count=count, patient=patient, wake=wakeup.wake)
        # An interrupt may strike between any two instructions here: all of them stand inside this block.
        try:
            with self._in_line(pending):
                outcome = self._driver.run(pending.operation, wakeup, observe=pending.observe)
            return self._conclude(pending, outcome, keep)
        except BaseException:
            self._hints.leave(pending.waiter)
            self._give_back_all(pending)
            raise

    def _begin_acquire(
        self, deadline: float, data: Data | None, *, count: int, patient: bool, wake: Callable[[], None]
    ) -> PendingAcquire:
        """An acquire that is to begin; so far, nobody has been asked, and nobody stands in line."""
        self._require_open()
        _require_count(count)
        data = _checked_data(data, count)
        waiter = Waiter(wake, count)
        observer = None if self._reporter is None else AcquireObserver(self._reporter, now=self._state.time.steady())
        open_grants: list[Grant] = []
        attempt = self._attempt(
            count,
            state=self._state,
            owner=self.owner,
            data=data,
            deadline=deadline,
            waiter=waiter if patient else None,
            open_grants=open_grants,
        )
        operation = acquire(self._state, attempt, deadline=deadline, patient=patient)
        return PendingAcquire(
            operation=operation, waiter=waiter, queues=patient, observer=observer, open_grants=open_grants
        )

    @contextlib.contextmanager
    def _in_line(self, pending: PendingAcquire) -> Iterator[None]:
        if pending.queues:
            self._hints.join(pending.waiter)
        try:
            yield
        finally:
            self._hints.leave(pending.waiter)

    def _conclude(self, pending: PendingAcquire, outcome: Outcome, keep: Callable[[Grant], Kept]) -> Kept | None:
        """Have what was won kept. Where this raises, the caller gives it back."""
        if isinstance(outcome, (Busy, Unavailable)):
            raise StoreUnavailable(f"no slot of bucket {self.name!r}: {outcome.cause}") from outcome.cause
        if not isinstance(outcome, Grant):
            return None
        self._require_open()  # closed while we waited: what was won is given back by the caller
        if pending.observer is not None:
            # First of all, so that no end is told before it.
            pending.observer.won(outcome, now=self._state.time.steady())
        kept = keep(outcome)
        self._require_open()  # closed just now, before it was kept: nobody else would release it
        _log.info(
            "lease %s: slot %s of bucket %r, fence %d",
            outcome.lease_id,
            _listed(outcome.slots),
            self.name,
            outcome.fence,
        )
        return kept

    @staticmethod
    def _attempt(count: int, **what: Any) -> Attempt:  # noqa: ANN401 - see `Attempt`
        return Attempt(**what) if count == 1 else Together(count=count, **what)

    def _require_open(self) -> None:
        if self._closed:
            raise ConfigurationError(f"bucket {self.name!r} is closed")

    def _lease_context(self) -> LeaseContext:
        if self._context is None:  # one for all leases, as long as the process is the same
            self._context = LeaseContext(
                state=self._state,
                driver=self._driver,
                heartbeats=self._heartbeats(),
                renewals=self._renewals,
                spawn=self._runtime.spawn,
                wakeup=self._runtime.wakeup,
                lock=self._runtime.lock,
                ended=self._forget,
                reporter=self._reporter,
            )
        return self._context

    def _heartbeats(self) -> Heartbeats:
        return self._runtime.heartbeats or process.heartbeats()

    def _hold(self, grant: Grant, on_lost: OnLost | None) -> Lease:
        return self._keep(Lease(grant, context=self._lease_context(), on_lost=on_lost))

    def _keep(self, lease: AnyLease) -> AnyLease:
        self._leases[lease.id] = lease
        self._lately.append(lease.id)
        self._made.add(lease)
        self._heartbeats().add(lease)
        return lease

    def _give_back_all(self, pending: PendingAcquire) -> None:
        for grant in pending.open_grants:
            self._give_back(grant)

    def _give_back(self, grant: Grant) -> None:
        lease = self._leases.get(grant.lease_id) or Lease(grant, context=self._lease_context(), on_lost=None)
        try:
            lease.release()
        except StoreError as error:
            _log.warning("lease %s of an interrupted acquire ends by expiry: %s", grant.lease_id, error)

    def _is_ours(self, lease_id: str) -> bool:
        # One that has just ended may still stand in a look that was under way.
        return lease_id in self._leases or lease_id in self._lately

    def _forget(self, lease: Lease) -> None:
        self._leases.pop(lease.id, None)

    def _time_moved(self) -> None:
        heartbeats = self._heartbeats()
        if self._state.time.doubtful:
            heartbeats.workers.submit(self._clear_doubt, line=self._driver)
        heartbeats.reconsider_all()

    def _clear_doubt(self) -> None:
        """Answers disagree on the service's time: ask until they agree."""
        time = self._state.time
        asking = ask_while(lambda: time.doubtful and not self._closed, time, times=_DOUBT_LOOKS, pause=_DOUBT_SECONDS)
        self._driver.run(asking, self._runtime.wakeup(), observe=self._observe)

    def _adopt(self, counter: Counter, sure: bool) -> None:
        stored = counter.settings
        if stored != self._fitting:
            # Before it is learnt: refused once, refused always.
            self._timing.require_room(stored.lease_ms / 1000)
            self._store.fit(stored.lease_ms / 1000)
            self._fitting = stored
        if not self._hints.learn_counter(counter, sure=sure):
            return
        if stored != self._wanted and not self._warned:
            self._warned = True
            _log.warning(
                "bucket %r exists with max_tokens=%d, lease_seconds=%g; these rule, and not max_tokens=%d, "
                "lease_seconds=%g",
                self.name,
                stored.max_tokens,
                stored.lease_ms / 1000,
                self._wanted.max_tokens,
                self._wanted.lease_ms / 1000,
            )


def _checked_max_tokens(max_tokens: object) -> int:
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not 1 <= max_tokens <= MAX_TOKENS:
        raise ConfigurationError(f"max_tokens must be a whole number from 1 to {MAX_TOKENS:,}, not {max_tokens!r}")
    return max_tokens


def _checked_settings(max_tokens: object, lease_seconds: object) -> Settings:
    max_tokens = _checked_max_tokens(max_tokens)
    longest = LONGEST_LEASE_MS / 1000
    if not isinstance(lease_seconds, (int, float)) or not 0 < lease_seconds <= longest:
        raise ConfigurationError(f"lease_seconds must be a number of seconds up to a year, not {lease_seconds!r}")
    return Settings(max_tokens=max_tokens, lease_ms=round(lease_seconds * 1000))


def _checked_lease_id(lease_id: object) -> tuple[int, ...]:
    slots = slots_of(checked_text("a lease id", lease_id))
    if slots is None:
        raise ConfigurationError(f"{lease_id!r} is no lease id")
    return slots


def _require_count(count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= PER_TRANSACTION:
        raise ConfigurationError(f"count must be a whole number from 1 to {PER_TRANSACTION}, not {count!r}")


def leases_of(status: BucketStatus) -> list[tuple[str, tuple[int, ...], int | None]]:
    """Each lease in the table: its id, slots and fence."""
    found: dict[str, list[LeaseInfo]] = {}
    for lease in status.leases:
        found.setdefault(lease.lease_id, []).append(lease)
    # By the slots it is on, and not by what its id tells: an id of somebody else's making may tell anything.
    return [
        (lease_id, tuple(lease.slot for lease in leases), leases[0].fence or None) for lease_id, leases in found.items()
    ]


def _listed(slots: tuple[int, ...]) -> str:
    return ", ".join(map(str, slots))


def _checked_data(data: object, count: int) -> Data:
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"data must be a mapping, not a {type(data).__name__}")
    try:
        size = len(json.dumps(encode_map(data), ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError("data holds a string that cannot be encoded as UTF-8") from error
    most = min(_DATA_BYTES, _TRANSACTION_BYTES // count)  # it stands on each slot
    if size > most:
        raise ConfigurationError(f"data is too large ({size:,} bytes; at most {most:,})")
    return dict(data)
