"""One bucket in one process, shared by both APIs: it wires the layers together and returns operations to drive.

Invariants:

- It decides nothing and drives nothing that a caller waits for: `LeaseBucket` drives its operations on the calling
  thread, `aio.LeaseBucket` on a loop.
- An acquire notes in its `PendingAcquire` what it may lease before it sends the request. If anything interrupts the
  acquire at any point, the API that drives it calls `abandon`.
"""

from __future__ import annotations

import math
import os
import socket
import weakref
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ddb_lease._numbers import as_seconds, checked_timeout
from ddb_lease._operations.acquire import AcquireOne, acquire
from ddb_lease._operations.acquire_many import AcquireMany
from ddb_lease._operations.configure import configure
from ddb_lease._operations.queue import drop_ticket
from ddb_lease._operations.release import require_answers, send_release
from ddb_lease._operations.resize import repair, resize
from ddb_lease._operations.revoke import revoke
from ddb_lease._operations.slot_writes import SlotWrites
from ddb_lease._operations.status import read_status
from ddb_lease._protocol.closing import is_closed_id
from ddb_lease._protocol.outcomes import Busy, GivenBack, Outcome, Unavailable, reason_text
from ddb_lease._protocol.queueing import Standing
from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime import process
from ddb_lease._runtime.arguments import checked_hold_ms, checked_text, checked_timing, require_callback
from ddb_lease._runtime.block import ClosingBlock
from ddb_lease._runtime.bucket_arguments import (
    checked_lease_id,
    checked_max_tokens,
    checked_order,
    checked_settings,
    checked_wish,
)
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.give_back import give_back
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.instrumentation import AcquireObserver, EventReporter, Observer, both
from ddb_lease._runtime.lease_end import RELEASE_SECONDS, RELEASE_TRIES, LeaseContext
from ddb_lease._runtime.own_holders import WARN_SECONDS, OwnHolders, SelfWait
from ddb_lease._runtime.queue_observer import QueueObserver
from ddb_lease._runtime.renewer import Renewer
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.log import log
from ddb_lease._state.log import queued as _log
from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.signing_time import SigningTime
from ddb_lease._state.waiters import Waiter
from ddb_lease._state.words import BUCKET, Words
from ddb_lease.dynamodb import Client, ConnectionSettings, Session, Store
from ddb_lease.errors import (
    AcquireTimeout,
    LossReason,
    StoreError,
    StoreUnavailable,
    UnknownBucket,
)
from ddb_lease.events import OnEvent
from ddb_lease.models import (
    BucketStatus,
    Configured,
    Data,
    Order,
    Repaired,
    Resized,
    Seconds,
    Timing,
)

Result = TypeVar("Result")

_STATUS_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAcquire:
    """One acquire under way.

    Attributes:
        operation: The operation to drive.
        waiter: Its place in the process's queue.
        began: When it was called for, on the steady clock.
        observer: Reports its events; None if nobody listens.
        observe: Called with each of its requests and the answer.
        open_grants: Grants that may be leased; released unless the caller keeps them.
        unanswered: The ids of those of them whose request has no answer yet.
    """

    operation: Operation[Outcome]
    waiter: Waiter
    began: float
    observer: AcquireObserver | None
    observe: Observer
    open_grants: list[Grant]
    unanswered: set[str]


class BucketCore:
    """The common part of both APIs of a bucket; the arguments are those of `LeaseBucket`.

    Attributes:
        name: The bucket's name.
        table: Its table.
        runtime: Clocks, threads and locks.
        state: What this process knows of it.
        driver: Drives its operations on the calling thread.
        observe: Called with each request that belongs to no acquire, and its answer; None if nobody listens.
        reporter: Reports its events; None if nobody listens.
        connection: How it reaches its table.
        whereabouts: Its table, endpoint and region: buckets of one name that have these in common are one.
        own_holders: Which leases of a full bucket this process holds.
        block: The `with` block that closes it.
        leases: The leases that this process holds, by id.
        owed: Those whose release has begun and is not settled, by id.
        before_exit: Called at the interpreter's exit with the deadline, before anything is released; None for nothing.
    """

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int,
        lease_seconds: Seconds,
        table: str,
        session: Session | None,
        client: Client | None,
        endpoint_url: str | None,
        owner: str | None,
        timing: Timing | None,
        on_event: OnEvent | None,
        runtime: Runtime | None,
        words: Words = BUCKET,
        order: Order | None = None,
    ) -> None:
        self.name = checked_text(f"a {words.whole}'s name", name)
        self.table = checked_text("table", table)
        self._owner = owner and checked_text("owner", owner)
        self.runtime = runtime or Runtime()
        timing = checked_timing(timing)
        wanted = checked_settings(max_tokens, lease_seconds, order)
        lease_seconds = as_seconds(lease_seconds)
        timing.require_room(lease_seconds)
        require_callback(on_event, what="on_event", gets="the event", coroutines="Give a plain function, in both APIs.")
        self.reporter = None if on_event is None else EventReporter(self.name, on_event, runtime=self.runtime)
        self.observe = None if self.reporter is None else self.reporter.observe
        connection = ConnectionSettings(session=session, client=client, endpoint_url=endpoint_url)
        time = ServiceTime(
            self.runtime.clock, max_clock_skew=timing.max_clock_skew, front_end_skew=timing.front_end_skew
        )
        signing = SigningTime(time, self.runtime.clock)
        store = Store(
            table=table, bucket=self.name, connection=connection, lease_seconds=lease_seconds, signing=signing
        )
        self.connection = connection
        self.whereabouts = store.whereabouts
        self._store = self.runtime.wrap(store)
        self.state = BucketState(
            bucket=name,
            wanted=wanted,
            timing=timing,
            time=time,
            chance=self.runtime.chance,
            answer_seconds=connection.answer_seconds,
            words=words,
        )
        whose = self.state.called
        self.driver = Driver(
            sender=self._store, time=time, signing=signing, runtime=self.runtime, state=self.state, whose=whose
        )
        self._renewer = Renewer(
            state=self.state,
            driver=self.driver,
            runtime=self.runtime,
            reporter=self.reporter,
        )
        self._context: LeaseContext | None = None
        self.own_holders = OwnHolders(self.name, self.runtime)
        self.block = ClosingBlock(whose)
        self.leases: dict[str, HeldLease] = {}
        self.owed: dict[str, HeldLease] = {}
        self.before_exit: Callable[[float], None] | None = None
        self._made: weakref.WeakSet[HeldLease] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"<LeaseBucket {self.name!r} in table {self.table!r}>"

    @property
    def owner(self) -> str:
        """The owner given, or ``host:pid`` of the calling process."""
        return self._owner or f"{socket.gethostname()}:{os.getpid()}"

    def run(self, operation: Operation[Result]) -> Result:
        """Drive an operation to its end, on the calling thread."""
        return self.driver.run(operation, self.runtime.wakeup(), observe=self.observe)

    # Acquiring.

    def deadline(self, timeout: Seconds | None) -> float:
        """When a timeout that begins now ends, on the steady clock.

        Raises:
            ConfigurationError: It is no time from 0 up.
        """
        seconds = checked_timeout(timeout)
        return math.inf if seconds is None else self.state.time.steady() + seconds

    def begin_acquire(
        self,
        deadline: float,
        data: Data | None,
        *,
        count: int,
        patient: bool,
        wake: Callable[[], None],
        by: weakref.ref[Any] | None = None,
        priority: int = 0,
        until: float | None = None,
        hold_at_least: Seconds | None = None,
    ) -> PendingAcquire:
        """An acquire to drive. Nothing has been sent yet; its operation joins the queue, and leaves it.

        Args:
            deadline: When to give up, on the steady clock.
            data: What to attach to the lease.
            count: How many slots.
            patient: Whether it waits for a full bucket.
            wake: Ends the driver's pause, from any thread.
            by: The thread or task that acquires, and may hold leases already; None if it never does.
            priority: Whose turn comes first.
            until: When the lease is to expire, on the steady clock; None: after the bucket's length.
            hold_at_least: For how long the slots go to nobody else, as given.
        """
        self.block.use()
        if self.state.closed:
            raise self.state.closed_error()
        hold_ms = 0 if hold_at_least is None else checked_hold_ms(hold_at_least)
        data = checked_wish(count, data, priority)
        waiter = Waiter(wake, count, priority)
        began = self.state.time.steady()
        observer = None
        also: Observer | None = None
        if self.reporter is not None:
            observer = AcquireObserver(self.reporter, now=began)
            also = both(observer.observe, QueueObserver(self.reporter, state=self.state, began=began).observe)
        writes = SlotWrites(
            self.state,
            owner=self.owner,
            data=data,
            deadline=deadline,
            waiter=waiter if patient else None,
            hold_ms=hold_ms,
            until=until,
        )
        wanted = AcquireOne(writes) if count == 1 else AcquireMany(writes, count=count)
        operation = acquire(wanted, patient=patient)
        return PendingAcquire(
            operation=operation,
            waiter=waiter,
            began=began,
            observer=observer,
            observe=SelfWait(
                holders=self.own_holders,
                bucket=self.name,
                by=by,
                warn_at=began + WARN_SECONDS,
                steady=self.state.time.steady,
                also=also,
            ).observe,
            open_grants=writes.open_grants,
            unanswered=writes.unanswered,
        )

    def conclude(self, pending: PendingAcquire, outcome: Outcome) -> Grant | None:
        """What an acquire won; None if nothing came free in time. If this raises, the caller abandons the acquire.

        Raises:
            StoreUnavailable: The service did not answer, or too late.
            ConfigurationError: The bucket was closed meanwhile.
        """
        if isinstance(outcome, (Busy, Unavailable)):
            raise _nothing_won(self, reason_text(outcome.cause)) from outcome.cause
        if isinstance(outcome, GivenBack):  # it was free: to say that it is full would be false
            raise _nothing_won(self, "one was won too late to rely on it, and is given back")
        if not isinstance(outcome, Grant):
            return None
        if self.state.closed:  # closed while we waited
            raise self.state.closed_error()
        if pending.observer is not None:
            # First, so that no end is reported before it.
            pending.observer.won(outcome, now=self.state.time.steady())
        return outcome

    def hold(self, pending: PendingAcquire, outcome: Outcome, *, renewed: bool = True) -> HeldLease | None:
        """Hold what an acquire won: renew it, and release it when the bucket is closed or the process ends.

        Args:
            pending: The acquire.
            outcome: Its outcome.
            renewed: Whether to renew it. If not, no thread is started for it.

        Raises:
            StoreUnavailable: As `conclude`, which says what None means, too.
            ConfigurationError: The bucket was closed meanwhile, and nobody else would release the lease.
        """
        grant = self.conclude(pending, outcome)
        if grant is None:
            return None
        lease = self.new_lease(grant)
        lease.waited = max(0.0, self.state.time.steady() - pending.began)
        self.leases[lease.id] = lease
        self.state.began(lease.id, lease.slots)
        self._made.add(lease)
        workers = process.prepare_end(len(self.leases))
        lease.renewed = renewed
        if renewed:
            heartbeats = self._lease_context().heartbeats
            heartbeats.add(lease)
            if workers:
                heartbeats.workers.keep_ready(workers)
        if self.state.closed:
            raise self.state.closed_error()
        log.info(
            "lease %s: slot %s of bucket %r, fence %d",
            lease.id,
            ", ".join(map(str, lease.slots)),
            self.name,
            lease.fence,
        )
        return lease

    def new_lease(self, grant: Grant) -> HeldLease:
        """The lease for a grant; not renewed yet."""
        return HeldLease(grant, context=self._lease_context())

    def abandon(self, pending: PendingAcquire) -> None:
        """An acquire ended without a lease that is kept: leave the queue, and release what it may have leased."""
        self.state.hints.leave(pending.waiter)
        give_back_all(self, pending.open_grants, unanswered=pending.unanswered)
        drop_ticket_of(pending.waiter, self)

    # Operators' operations.

    def status(self) -> Operation[BucketStatus]:
        """Read the bucket."""
        self.block.use()
        status = yield from read_status(self.state, table=self.table, seconds=_STATUS_SECONDS)
        if status is None:
            raise self._unknown()
        return status

    def revoke(self, lease_id: str) -> Operation[bool]:
        """Ask a lease's holder for its slots back; if nobody holds it, open the slots that it keeps closed."""
        self.block.use()
        slots = checked_lease_id(lease_id)
        if is_closed_id(lease_id):
            return bool((yield from self.release(lease_id, slots, fence=None)))
        until = self.state.time.steady() + RELEASE_SECONDS
        asked = revoke(self.state, slots=slots, lease_id=lease_id, by=self.owner, tries=RELEASE_TRIES, deadline=until)
        return (yield from asked)

    def revoked(self, lease_id: str) -> None:
        """The mark is written: if this process holds the lease, its holder need not wait for the next renewal."""
        held = self.leases.get(lease_id)
        if held is not None:
            held.lose(LossReason.REVOKED)

    def resize(self, max_tokens: int) -> Operation[Resized]:
        """Change how many tokens the bucket has."""
        return self._changing_settings(resize(self.state, max_tokens=checked_max_tokens(max_tokens)))

    def configure(self, *, order: Order) -> Operation[Configured]:
        """Change in which order its waiters are served."""
        return self._changing_settings(configure(self.state, order=checked_order(order)))

    def repair(self) -> Operation[Repaired]:
        """Recount the slots."""
        return self._changing_settings(repair(self.state))

    def release(self, lease_id: str, slots: tuple[int, ...], *, fence: int | None) -> Operation[list[int]]:
        """Release a lease that this process has no `HeldLease` for; returns the slots on which this ended it."""
        self.block.use()
        outcomes = yield from send_release(
            self.state,
            slots=slots,
            lease_id=lease_id,
            fence=fence,
            tries=RELEASE_TRIES,
            deadline=self.state.time.steady() + RELEASE_SECONDS,
        )
        require_answers(outcomes, lease_id=lease_id)
        return [outcome.slot for outcome in outcomes if outcome.ended]

    def ours(self, lease_id: str) -> HeldLease | None:
        """The lease of this id that this process holds, or whose release it owes."""
        return self.leases.get(lease_id) or self.owed.get(lease_id)

    # Closing.

    def begin_closing(self) -> list[HeldLease]:
        """Refuse further acquires; returns the leases to release."""
        self.state.close()
        return list(self.leases.values())

    def close_connections(self) -> None:
        """Close the connections."""
        self._store.close()

    # Called by `process`.

    def after_fork_in_child(self) -> None:
        """In a forked child: hold nothing, share no connection."""
        for lease in list(self._made):  # ended ones too: if a release failed, it may be called again
            lease.abandon_to_parent()
        self._context = None  # its heartbeats are the parent's
        self.leases = {}
        self.owed = {}
        self._renewer.after_fork_in_child()
        if self.reporter is not None:
            self.reporter.after_fork_in_child()
        self.state.after_fork_in_child()
        self._store.after_fork_in_child()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: lease no more, and release what is held and what is owed, in bounded time."""
        if self.before_exit is not None:
            self.before_exit(deadline)
        self.state.close_for_exit()
        open_leases = {**self.leases, **self.owed}  # one whose holder was told is in both
        left = give_back(list(open_leases.values()), runtime=self.runtime, deadline=deadline, goes=1)
        if left:
            _log.warning("leases of bucket %r that are left to expire: %d", self.name, left)

    # Internals.

    def _changing_settings(self, operation: Operation[Result]) -> Operation[Result]:
        self.block.use()
        try:
            result = yield from operation
        except UnknownBucket:
            raise self._unknown() from None  # with the table, which operations do not know
        self.state.settings_changed()
        return result

    def _unknown(self) -> UnknownBucket:
        return UnknownBucket(
            f"{self.state.called} does not exist in table {self.table!r}; the first acquire creates it"
        )

    def _lease_context(self) -> LeaseContext:
        if self._context is None:  # one for all leases of one process
            self._context = LeaseContext(
                bucket=self,
                state=self.state,
                driver=self.driver,
                heartbeats=self.runtime.heartbeat(),
                renewer=self._renewer,
                leases=self.leases,
                owed=self.owed,
                runtime=self.runtime,
                connection=self.connection,
                reporter=self.reporter,
                table=self.table,
            )
        return self._context


def timed_out(
    core: BucketCore, timeout: Seconds | None, count: int, standing: Standing | None = None
) -> AcquireTimeout:
    """The error for an acquire that timed out; `standing`: where it stood in the queue of an ordered bucket."""
    time = core.state.time
    seconds = checked_timeout(timeout)
    if seconds:
        said = f"no {'slot' if count == 1 else f'{count} slots'} of bucket {core.name!r} came free in {seconds:g} s"
    else:
        said = f"bucket {core.name!r} {'is full' if count == 1 else f'has no {count} slots free'}"
    held, holders = core.own_holders.in_timeout(time.now_ms()[0]) if time.known else ("", ())
    if standing is not None:
        said += f", at {'' if standing.exact else 'about '}place {standing.place} of its queue"
    if held:
        said += f": {held}"
    place = None if standing is None else standing.place
    return AcquireTimeout(f"{said}{core.state.hints.closed.text(time)}", place=place, holders=holders)


def _nothing_won(core: BucketCore, why: str) -> StoreUnavailable:
    return StoreUnavailable(f"no {core.state.words.part} of {core.state.called}: {why}")


def give_back_all(core: BucketCore, grants: list[Grant], *, unanswered: Container[str] = ()) -> None:
    """Release grants that may be leased but have no holder, on the calling thread.

    Args:
        core: The bucket.
        grants: What may be leased.
        unanswered: The ids of those whose request may still be under way. It may be carried out after the release,
            which is therefore sent again, at growing intervals, until that cannot happen any more.
    """
    leases = []
    for grant in grants:
        lease = core.leases.get(grant.lease_id) or core.owed.get(grant.lease_id) or core.new_lease(grant)
        lease.end.release.may_land = grant.lease_id in unanswered
        lease.end.release.leave_open()  # nothing was done under it
        lease.begin_release()  # another interrupt may come: all are owed from here on
        leases.append(lease)
    for lease in leases:
        try:
            lease.release()
        except StoreError as error:
            _log.warning("lease %s of an interrupted acquire is not released yet: %s", lease.id, error)


def drop_ticket_of(waiter: Waiter, core: BucketCore) -> None:
    """Delete the ticket of an acquire that has ended by an interrupt, on the calling thread, if there may be one."""
    ticket, waiter.ticket = waiter.ticket, None
    if ticket is not None:
        core.run(drop_ticket(core.state, ticket))
