"""How a lease of this process ends: its release is sent until it is settled, and whoever watches it is told.

Invariants:

- A watcher is called once, on any thread, when the lease was lost or released.
- A release is sent by lease id, so a late or repeated one changes nothing else.
- A release that has begun is owed until it is settled, or the lease has certainly expired: the process sends it again
  now and then, and once more at the interpreter's exit, whatever interrupted it.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ddb_lease._operations.release import require_answers, send_release
from ddb_lease._protocol.lease_state import Belief, State
from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.heartbeat import Heartbeats, Scheduled
from ddb_lease._runtime.instrumentation import EventReporter, PendingEvents
from ddb_lease._runtime.owed_release import OWED_SECONDS, OwedRelease
from ddb_lease._runtime.renewer import Renewer
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.stopping import Stopping
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.log import queued as _log
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.errors import StoreError
from ddb_lease.events import HandedOver, Released

RELEASE_TRIES = 6
"""How often a failing release is sent; after that the slot is free when the lease expires."""

RELEASE_SECONDS = 5.0
"""How long a failing release is retried."""

LOOK_SECONDS = 1.0
"""While something that a release waits for goes on, it is looked at again after this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseContext:
    """What the leases of a bucket share.

    Attributes:
        bucket: The bucket, kept alive while a lease is held: it releases its leases at the interpreter's exit.
        state: What this process knows of the bucket.
        driver: Sends its requests.
        heartbeats: The process's heartbeat.
        renewer: Sends its renewals.
        leases: The leases that this process holds, by id; a lease is removed when it ends.
        owed: The leases whose release has begun and is not settled, by id.
        runtime: Makes wakeups and locks.
        connection: How long a request takes at most by its timeouts.
        reporter: Reports events; None if nobody listens.
        table: The bucket's table.
    """

    bucket: object
    state: BucketState
    driver: Driver
    heartbeats: Heartbeats
    renewer: Renewer
    leases: dict[str, Any]
    owed: dict[str, Any]
    runtime: Runtime
    connection: ConnectionSettings
    reporter: EventReporter | None
    table: str


class LeaseEnd:
    """Releases one lease, and tells its watchers that it is over.

    Args:
        grant: What was acquired.
        belief: The lease's state.
        context: What it shares with the bucket's other leases.
        scheduled: The lease as the heartbeat knows it.
        events: The lease's events; None if nobody listens.

    Attributes:
        release: What became of its release so far.
        stopping: What works under the lease.
        over: Whether the watchers were called.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        belief: Belief,
        context: LeaseContext,
        scheduled: Scheduled,
        events: PendingEvents | None,
    ) -> None:
        self.release = OwedRelease(
            grant=grant,
            longest_seconds=max(grant.lease_ms, grant.hold_ms) / 1000,
            keeps_closed=grant.hold_ms > 0,
        )
        timing, seconds = context.state.timing, grant.lease_ms / 1000
        self.stopping = Stopping(context.state.time.steady, grace=lambda: timing.grace_for(seconds))
        self.over = False
        self._grant = grant
        self._belief = belief
        self._context = context
        self._scheduled = scheduled
        self._events = events
        self._lock = threading.RLock()
        self._watchers: list[Callable[[], object]] = []

    def watch(self, watcher: Callable[[], object]) -> None:
        """Call a watcher when the lease is lost or released; at once if it already was."""
        with self._lock:
            late = self.over
            if not late:
                self._watchers.append(watcher)
        if late:
            watcher()

    def unwatch(self, watcher: Callable[[], object]) -> None:
        """Forget this watcher."""
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    def call_watchers(self) -> None:
        """It is over: call them all, once."""
        with self._lock:
            self.over = True
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher()

    def abandon_to_parent(self) -> None:
        """In a forked child: make a new lock, as a thread of the parent may hold the old one for ever."""
        self._lock = threading.RLock()
        self.stopping.abandon_to_parent()

    # Releasing.

    def owe(self) -> None:
        """The release begins: it is owed until it is settled, or the lease has certainly expired."""
        owed = self._context.owed
        if self._grant.lease_id not in owed and not self.release.settled:
            self.release.begin(self._context.state.time.steady())
            owed[self._grant.lease_id] = self._scheduled

    def sending(self, *, tries: int = RELEASE_TRIES, seconds: float = RELEASE_SECONDS) -> Operation[bool]:
        """The release, as an operation to drive; it returns whether it ended the lease on any slot.

        Raises:
            StoreError: Not all slots' releases were answered.
        """
        state, grant, release = self._context.state, self._grant, self.release
        outcomes = yield from send_release(
            state,
            slots=grant.slots,
            lease_id=grant.lease_id,
            fence=grant.fence,
            tries=tries,
            deadline=state.time.steady() + seconds,
            closed_until=grant.closed_until if release.keeps_closed else 0,
        )
        # Of this sending: another may be noted meanwhile. No generator, whose end would swallow an interrupt.
        freed = [outcome.slot for outcome in outcomes if outcome.ended]
        release.note(outcomes, state.time.steady(), chance=state.chance)
        for outcome in outcomes:
            if outcome.closed:
                state.hints.closed.put(outcome.slot, grant.closed_until)
            elif outcome.ended:
                state.hints.released(outcome.slot, fence=grant.fence, now=state.time.steady())
        if not release.answered:
            require_answers(outcomes, lease_id=grant.lease_id)
        return bool(freed)

    def send_quietly(self, *, tries: int = RELEASE_TRIES, seconds: float = RELEASE_SECONDS) -> None:
        """Send the release on this thread; if that does not settle it, it will be sent again."""
        self.owe()
        sending = self.sending(tries=tries, seconds=seconds)
        observe = None if self._events is None else self._events.observe
        try:
            self._context.driver.run(sending, self._context.runtime.wakeup(), observe=observe)
        except StoreError as error:
            _log.info("not released yet, and expires otherwise: %s", error)
        self.finish()

    def send_again(self) -> None:
        """Send it once more, on this thread. While answers fail, one try each time: workers are few."""
        self.send_quietly(tries=1 if self.release.tries else RELEASE_TRIES)

    def forget(self) -> None:
        """The lease has certainly expired: nothing is owed any more."""
        self._context.owed.pop(self._grant.lease_id, None)
        self.finish()

    def send_later(self) -> None:
        """Let a worker send the release that has begun: the calling thread was interrupted."""
        try:
            self._context.heartbeats.workers.submit(self.send_quietly, line=self._context.state)
        except Exception:  # noqa: BLE001 - it must not take the interrupt's place; the heartbeat tries again
            self.release.due_at = self._context.state.time.steady() + OWED_SECONDS[0]
        self.finish()

    def expect_release(self) -> None:
        """It is being lost, and whoever ended it waits and sends the release; if nobody does, the heartbeat sends it.

        An interrupt may come before anybody waits.
        """
        self.stopping.begin()
        self.release.due_at = self.stopping.until + 2 * RELEASE_SECONDS

    def send_after_stopping(self) -> None:
        """Have the heartbeat send the release when its holder has stopped, or has had its grace.

        Whoever ended it does not: that was interrupted, or failed.
        """
        if self.release.settled or self.release.tries:  # what was sent without an answer has its time
            return
        self.release.due_at = min(self.stopping.until, self._context.state.time.steady() + LOOK_SECONDS)
        with contextlib.suppress(RuntimeError):  # no thread can be started: it is sent at the exit
            self._context.heartbeats.add(self._scheduled)

    def finish(self) -> None:
        """Forget the lease, report its release and call its watchers; go on owing its release. Idempotent."""
        lease_id, state = self._grant.lease_id, self._context.state
        if self.release.settled:
            self.release.due_at = math.inf
            self._context.owed.pop(lease_id, None)
        if self.release.due_at < math.inf:
            with contextlib.suppress(RuntimeError):  # no thread can be started: it is sent at the exit
                self._context.heartbeats.add(self._scheduled)
        else:
            self._context.heartbeats.drop(self._scheduled)
        self._context.leases.pop(lease_id, None)
        state.ended(lease_id)
        if self._events is not None:
            self._events.tell()
            if self._belief.state is State.RELEASED:
                released = Released(bucket=state.bucket, lease_id=lease_id, freed=self.release.freed)
                self._events.reporter.end(released)
            elif self._belief.state is State.HANDED_OVER:
                self._events.reporter.end(HandedOver(bucket=state.bucket, lease_id=lease_id))
        self.call_watchers()


def slots_text(slots: tuple[int, ...]) -> str:
    """Slots as messages name them."""
    return f"slot {slots[0]}" if len(slots) == 1 else f"slots {','.join(map(str, slots))}"
