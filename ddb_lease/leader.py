"""A leader: one of many processes does the work, and another takes over when it ends.

Invariants:

- It is a bucket of one token, and adds no rule to the protocol: who holds the lease leads.
- A tenure ends once. Its lost-callback is called once, before the place is given away, whatever ended the tenure.
- The place is given away only when both callbacks have returned; if the lease is lost, when it expires.
- At the process's end, however it comes, a tenure ends first, and then the bucket releases what is left.
- `stop` takes no lock that another thread may hold for long, so a signal handler may call it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

from ddb_lease._numbers import checked_timeout
from ddb_lease._runtime import process
from ddb_lease._runtime.acquiring import acquire_held
from ddb_lease._runtime.arguments import DEFAULT_TABLE, require_callback
from ddb_lease._runtime.belongs_here import BelongsHere
from ddb_lease._runtime.bucket_core import BucketCore
from ddb_lease._runtime.give_back import release_later
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.leadership import (
    ASIDE_SECONDS,
    AWAY_TEXT,
    CALLBACK_TEXT,
    ENDED_TEXT,
    LEADER_SECONDS,
    LOOK_SECONDS,
    RESERVED_SECONDS,
    STAND_SECONDS,
    is_own_loss,
    leader_of,
    pause_when_away,
    require_one_leader,
    require_work,
    used_before,
)
from ddb_lease._runtime.mistaken import NotAsync
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.log import queued as _log
from ddb_lease.dynamodb import Client, Session
from ddb_lease.errors import AcquireTimeout, ConfigurationError, LossReason, StoreUnavailable, UnknownBucket
from ddb_lease.events import OnEvent
from ddb_lease.lease import Lease
from ddb_lease.models import Data, LeaseInfo, Seconds, Timing

OnElected = Callable[[Lease], object]
OnLost = Callable[[Lease], object]

_COROUTINES = "Leaders of ddb_lease.aio take coroutine functions; here, give a plain function."


class Leader(NotAsync, BelongsHere):
    """One of several processes: it waits until it is elected, leads until it loses its lease, and then waits again.

    All processes that make a leader of one name are candidates; one of them leads at any time. A leader that stops in
    order is followed at the followers' next look, about a second later. One that is killed is followed when its lease
    has expired: `lease_seconds` and some 2 s after its last renewal. The heartbeat's own threads renew the lease, so
    work that keeps Python busy, or blocks, loses no leadership.

    Either give callbacks to `run`, or let it run in the background (``with Leader("scheduler") as leader:``) and ask
    `is_leader`. `on_elected` does the work, or starts it: when it returns, this process goes on leading, until it loses
    the lease or `stop` is called. `on_lost` stops what `on_elected` has begun. It is called once for each time that
    this process was elected, whatever ended that: a loss, `stop`, an exception. It is called on another thread, while
    `on_elected` may still be running.

    If `on_elected` raises, `on_lost` is called, the place is given up, and the exception ends `run`: whoever restarts
    the process decides what comes next. (If it raises `LeaseLost` because its lease is lost, that is no error, and the
    next election is waited for.) An exception of `on_lost` is logged.

    Promised: while ``lease.check()`` returns, no other process believes that it leads. Not promised: that work between
    two checks ends before another process leads; pass ``lease.fence`` with each write if the resource can compare it.

    One object serves for one `run`. After a fork the child leads nothing. It cannot be copied or pickled.

    Args:
        name: What is led: the name of a bucket of one token, which leaders make and share.
        on_elected: Called with the lease when this process is elected, on the thread that runs the leader.
        on_lost: Called with that lease when this process does not lead any more, or is to stop; ``lease.lost`` is the
            reason, or None if it gives the place up itself. After a loss it is called at the deadline at the latest,
            `Lease.grace` seconds before anyone else can lead (see `Lease.on_lost`).
        lease_seconds: Length of the lease; see `LeaseBucket`.
        data: What others see of the leader, by `current`: an address, say. As in `LeaseBucket.acquire`.
        table: The DynamoDB table.
        session: A `boto3.Session`, where boto3's defaults do not fit.
        client: A DynamoDB client instead. Make it with `client_config`.
        endpoint_url: An endpoint other than DynamoDB's own.
        owner: A name for this process, shown by `current`; ``host:pid`` by default.
        timing: The time budget around the lease.
        on_event: Called with each event of the bucket: `Acquired` means elected, `Released` and `Lost` that it is over.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Cost: while it waits, about one eventually consistent read a second (0.5 RCU); to be elected 1 write, to lead 1
    write each third of the lease, to stop 1 write. A process's first election costs two reads more.

    Example:
        >>> from ddb_lease import Leader, local
        >>> def lead(lease):
        ...     print("elected")
        ...     while leader.pause(0.01):  # until it does not lead any more
        ...         leader.stop()  # a piece of the work
        >>> leader = Leader("scheduler", on_elected=lead, on_lost=lambda lease: print("over"), **local.connect())
        >>> leader.run()
        elected
        over
    """

    _instead = "pass its name and settings, and make one there"
    _block = "`with leader:`, or use ddb_lease.aio in asyncio"

    def __init__(
        self,
        name: str,
        *,
        on_elected: OnElected | None = None,
        on_lost: OnLost | None = None,
        lease_seconds: Seconds = LEADER_SECONDS,
        data: Data | None = None,
        table: str = DEFAULT_TABLE,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        owner: str | None = None,
        timing: Timing | None = None,
        on_event: OnEvent | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        require_callback(on_elected, what="on_elected", gets="the lease", coroutines=_COROUTINES)
        require_callback(on_lost, what="on_lost", gets="the lease", coroutines=_COROUTINES)
        self._core = BucketCore(
            name,
            max_tokens=1,
            lease_seconds=lease_seconds,
            table=table,
            session=session,
            client=client,
            endpoint_url=endpoint_url,
            owner=owner,
            timing=timing,
            on_event=on_event,
            runtime=runtime,
        )
        self._core.state.leads = True
        self.name = self._core.name
        self.table = self._core.table
        self._on_elected, self._on_lost, self._data = on_elected, on_lost, data
        self._tenure: Tenure | None = None
        self._begun = self._stopping = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._wakeup = self._core.runtime.wakeup()
        self._over = threading.Event()
        self._core.before_exit = self._end_before
        process.register(self._core)
        process.register(self)

    def __repr__(self) -> str:
        word = "leads" if self.is_leader else "stopped" if self._stopping else "follows" if self._begun else "new"
        return f"<Leader {self.name!r} {word}>"

    @property
    def is_leader(self) -> bool:
        """Whether this process leads at this moment. No I/O; False from the moment at which `stop` is called."""
        tenure = self._tenure
        return tenure is not None and tenure.leads

    @property
    def fence(self) -> int | None:
        """The fencing token: rises with each election; None while this process does not lead. No I/O."""
        tenure = self._tenure
        return tenure.lease.fence if tenure is not None and tenure.leads else None

    def current(self) -> LeaseInfo | None:
        """Read who leads, whichever process that is; None if nobody does. 1 Query, consistent (0.5 to 1 RCU).

        Raises:
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        try:
            return leader_of(self._core.run(self._core.status()))
        except UnknownBucket:
            return None

    def run(self) -> None:
        """Wait to be elected, lead, and wait again, on the calling thread, until `stop` is called, perhaps before this.

        An outage of the service is waited out, and told in the log. An interrupt, and the `SystemExit` of
        `exit_on_sigterm`, end `on_elected` where it is; then the place is given up as by `stop`.

        Raises:
            StoreRejected: No table, no permission: waiting will not help. This process does not lead.
            ConfigurationError: There is no `on_elected`, it has run before, or the bucket has more than one token. This
                process does not lead.

        What `on_elected` raises it raises too; the place is given up.
        """
        require_work(self._on_elected, block="with leader:")
        if self._begin():
            try:
                self._run()
            finally:
                self._close()

    def start(self) -> None:
        """Do in the background what `run` does, on a thread of its own; returns at once.

        The interpreter's exit stops it. What `run` raises is logged, and raised by `join`.

        Raises:
            ConfigurationError: It has run before.
        """
        if not self._begin():
            return
        self._thread = threading.Thread(target=self._run_quietly, name=f"ddb-lease-leader-{self.name}", daemon=True)
        # One that is no daemon would keep the process alive, and leading, for ever.
        self._thread.start()

    def stop(self) -> None:
        """Stop leading, or waiting, in order: `on_lost` is called, `on_elected` is awaited, and the place is free.

        It only tells, and returns at once; `run` returns, or `join`, when it is done. Any thread may call it, callbacks
        and signal handlers too. Raises nothing.
        """
        self._stopping = True
        self._core.begin_closing()  # ends an acquire that waits; a lease that is held stays held
        tenure = self._tenure
        if tenure is not None:
            tenure.end()
        self._wakeup.wake()

    def join(self, timeout: Seconds | None = None) -> bool:
        """Wait until what `start` has begun is over; returns whether it is. It sends nothing, and stops nothing.

        Called by a callback, it returns False at once: what it would wait for waits for the callback.

        Args:
            timeout: Seconds, or a timedelta, to wait at most; None waits for ever.

        Raises what ended it, once, if that was an error: see `run`.
        """
        thread, tenure = self._thread, self._tenure
        if tenure is not None and tenure.tells_here():
            return False
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(checked_timeout(timeout))
        if thread.is_alive():
            return False
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def pause(self, seconds: Seconds, *, lease: Lease | None = None) -> bool:
        """Wait, but not longer than this process leads: ``while leader.pause(5): ...`` is a leader's loop. No I/O.

        Args:
            seconds: Seconds, or a timedelta, to wait.
            lease: The lease that the loop was begun with. Give it on a thread of your own, which may still run when
                this process has lost that lease and leads again by another one.

        Returns:
            Whether it still leads when the time is up. False, at once, if it does not (by `lease`, if that is given),
            or `stop` was called.

        Raises:
            ConfigurationError: `seconds` is no time from 0 up.
        """
        wanted = checked_timeout(seconds)
        tenure = self._tenure
        if wanted is None:
            raise ConfigurationError("pause takes a number of seconds, not None")
        if tenure is None or (lease is not None and lease != tenure.lease):
            return False
        return tenure.pause(wanted)

    def __enter__(self) -> Leader:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if exc is None:
            self.join()
        else:
            with contextlib.suppress(Exception):  # it is logged; the block's own error goes on
                self.join()

    # Called by `process`.

    def after_fork_in_child(self) -> None:
        """In a forked child: the parent leads, or waits; nothing runs here."""
        self._stopping = self._begun
        self._tenure, self._thread = None, None
        self._over = threading.Event()
        if self._begun:
            self._over.set()
        self._wakeup = self._core.runtime.wakeup()

    def at_exit(self, deadline: float) -> None:
        """At the interpreter's exit: the bucket ends the tenure, and releases what is left."""

    # Internals.

    def _end_before(self, deadline: float) -> None:
        """Called by the bucket at the interpreter's exit: stop in order, with some time left for the release."""
        if self._begun and not self._over.is_set():
            self.stop()
            self._over.wait(max(0.0, deadline - RESERVED_SECONDS - self._core.runtime.clock.steady()))

    def _close(self) -> None:
        self._stopping = True
        try:
            release_later(self._core.begin_closing())  # won, and interrupted before its tenure began
            self._core.close_connections()
        finally:
            self._over.set()

    def _begin(self) -> bool:
        """Note that it runs; returns whether it is to: not if it was stopped before."""
        if self._begun:
            raise used_before(self.name)
        self._begun = True
        if self._stopping:
            self._over.set()
        return not self._stopping

    def _run_quietly(self) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - `join` raises it
            _log.exception(ENDED_TEXT, self.name)
            self._error = error
        finally:
            self._close()

    def _run(self) -> None:
        while not self._stopping:
            held = self._elected()
            if held is None:
                return
            tenure = self._tenure = Tenure(held, self._on_lost, core=self._core)
            try:
                with tenure.lease:
                    require_one_leader(self.name, tokens=self._core.state.settings.max_tokens, slot=held.slot)
                    self._lead(tenure)
            except Exception as error:
                if not is_own_loss(error, held.id):
                    raise
            finally:
                self._tenure = None
            if held.lost is LossReason.REVOKED:
                self._wait(ASIDE_SECONDS)

    def _elected(self) -> HeldLease | None:
        """Wait for the leader's place; None once we stop."""
        failures = 0
        while not self._stopping:
            try:
                return acquire_held(self._core, STAND_SECONDS, data=self._data)
            except AcquireTimeout:
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                if failures == 1:
                    _log.warning(AWAY_TEXT, self.name, error)
                self._wait(pause_when_away(failures, self._core.runtime.chance))
            except ConfigurationError:
                if not self._core.state.closed:  # by `stop`, or by the exit
                    raise
                break
        return None

    def _wait(self, seconds: float) -> None:
        """Wait before the next election, unless we stop."""
        steady = self._core.runtime.clock.steady
        ends_at = steady() + seconds
        while not self._stopping and (left := ends_at - steady()) > 0:
            self._wakeup.pause(left)

    def _lead(self, tenure: Tenure) -> None:
        if self._stopping or not tenure.begin():
            return
        try:
            if self._on_elected is not None:
                self._on_elected(tenure.lease)
            while tenure.pause(LOOK_SECONDS):
                pass
        finally:
            tenure.finish()


class Tenure:
    """From one election to its end.

    Args:
        held: The leader's lease.
        on_lost: The user's.
        core: Its bucket.

    Attributes:
        lease: The lease as the user sees it.
    """

    def __init__(self, held: HeldLease, on_lost: OnLost | None, *, core: BucketCore) -> None:
        self.lease = Lease(held)
        self._held = held
        self._on_lost = on_lost
        self._core = core
        self._lock = threading.RLock()  # reentrant: a signal handler may end what its own thread begins
        self._begun = self._ending = False
        self._over = on_lost is None
        self._telling: threading.Thread | None = None
        self._once = threading.Lock()
        self._pausing: set[Wakeup] = set()  # each call on it is atomic

    @property
    def leads(self) -> bool:
        """Whether it goes on."""
        return not self._ending and self._held.held

    def begin(self) -> bool:
        """The user is told now; False if it has ended by then. A loss ends it."""
        with self._lock:
            if self._ending or not self._held.held:
                return False
            self._begun = True
        self._held.end.watch(self._ended)
        if self._ending:  # by a signal handler, just before `_begun` was set
            self.end()
        return True

    def end(self) -> None:
        """It is to end: call the lost-callback soon, on a thread for callbacks."""
        with self._lock:
            self._ending = True
        if self._begun and not self._over:
            self._core.runtime.heartbeat().call_back(self._ended, line=self._core.driver)
        self._wake()

    def finish(self) -> None:
        """End it, and wait until the lost-callback has returned; an interrupt is raised only then."""
        if self._held.reason is LossReason.FORKED:
            return  # the parent leads
        interrupt: BaseException | None = None
        is_told = False
        wakeup = self._core.runtime.wakeup()
        while not (is_told and self._over):
            try:
                if not is_told:
                    self._held.end.unwatch(self._ended)
                    self._pausing.add(wakeup)
                    self.end()
                    is_told = True
                if not self._over:
                    wakeup.pause(LOOK_SECONDS)
            except BaseException as error:  # noqa: BLE001 - raised below: the place must not be given away yet
                interrupt = error if interrupt is None else interrupt
        if interrupt is not None:
            raise interrupt

    def tells_here(self) -> bool:
        """Whether the lost-callback runs on the calling thread."""
        return self._telling is threading.current_thread()

    def pause(self, seconds: float) -> bool:
        """Wait so long, or until it ends; returns whether it goes on."""
        steady, wakeup = self._core.runtime.clock.steady, self._core.runtime.wakeup()
        ends_at = steady() + seconds
        self._pausing.add(wakeup)
        try:
            while self.leads and (left := ends_at - steady()) > 0:
                wakeup.pause(left)
        finally:
            self._pausing.discard(wakeup)
        return self.leads

    def _ended(self) -> None:
        """On a thread for callbacks, or where the lease was released by hand: call the lost-callback, once."""
        self._ending = True
        self._wake()
        if not self._once.acquire(blocking=False):
            return
        self._telling = threading.current_thread()
        try:
            if self._on_lost is not None:
                self._on_lost(self.lease)
        except BaseException:  # noqa: BLE001 - the user's own; the end of the tenure must go on
            _log.exception(CALLBACK_TEXT, self._core.name)
        finally:
            self._telling, self._over = None, True
            self._wake()

    def _wake(self) -> None:
        for wakeup in list(self._pausing):
            wakeup.wake()
