"""How a lease of this process ends: it is released, or it is lost and then cleaned up.

Invariants:

- The lost-callback is called once, on a thread for callbacks, at the deadline at the latest. The slot is released early
  only after the callback has returned. A callback that runs on a loop returns at once, and says when it is over.
- A loss is announced once, by any thread that notices it, even if another was interrupted while it announced it.
- A watcher is called once, on any thread, when the lease was lost or released.
- A release is sent by lease id, so a late or repeated one changes nothing else.
- A release that has begun is owed until it is answered, or the lease has certainly expired: the process sends it again
  now and then, and once more at the interpreter's exit, whatever interrupted it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ddb_lease._operations.release import SlotRelease, require_answers, send_release
from ddb_lease._protocol.grants import may_still_land
from ddb_lease._protocol.lease_state import Belief, State
from ddb_lease._protocol.messages import Rejected
from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.retry import Operation, full_jitter
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.heartbeat import Heartbeats, Scheduled
from ddb_lease._runtime.instrumentation import EventReporter, PendingEvents
from ddb_lease._runtime.renewer import Renewer
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.stopping import Stopping
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.log import queued as _log
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.errors import LossReason, StoreError
from ddb_lease.events import HandedOver, Lost, Released

RELEASE_TRIES = 6
"""How often a failing release is sent; after that the slot is free when the lease expires."""

RELEASE_SECONDS = 5.0
"""How long a failing release is retried."""

OWED_SECONDS = (1.0, 30.0)
"""First bound and cap of the pause before an unanswered release is sent again in the background."""

OVERTAKEN_SECONDS = 0.5
"""The first pause before the release of an unanswered claim is sent again, in case it has overtaken the claim. Each
further one is twice as long, up to the cap above: some ten for a lease of a minute, if nobody else wants the slot."""

_CERTAINLY_SECONDS = 5.0
"""So long after its expiry, by the latest renewal that can have been sent, a lease has certainly expired."""

LOST_TEXT = "lease %s on %s is lost: %s%s"
"""What the log says of a loss."""

_CALLBACK_PAUSE_SECONDS = 1.0
"""While the lost-callback still runs, the clean-up checks again after this time."""


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
        owed: The leases whose release has begun and is not answered, by id.
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


class Unfinished:
    """What a lost-callback returns that has begun elsewhere: on a loop.

    Args:
        gone: Whether it will never end, because its loop is closed.
    """

    def __init__(self, gone: Callable[[], bool]) -> None:
        self._gone = gone
        self._ended: Future[None] = Future()

    def end(self) -> None:
        """It has ended."""
        self._ended.set_result(None)

    def over(self) -> bool:
        """Whether it has ended, or never will."""
        return self._ended.done() or self._gone()

    def then(self, job: Callable[[], object]) -> None:
        """Call this when it has ended, on any thread."""
        self._ended.add_done_callback(lambda _: job())


class LeaseEnd:
    """Releases one lease; or calls its lost-callback, and releases slots that may still carry the lease.

    Args:
        grant: What was acquired.
        belief: The lease's state.
        context: What it shares with the bucket's other leases.
        scheduled: The lease as the heartbeat knows it.
        events: The lease's events; None if nobody listens.
        margin: Seconds between the deadline and the expiry in the table.

    Attributes:
        over: Whether the watchers were called.
        announced: Whether what follows a loss was started.
        answered: Whether each slot's release was answered.
        refused: Whether the service refused one for good.
        released: Whether there is nothing left to release: it was answered, and the claim cannot be carried out later.
        may_land: Whether the claim itself may still be carried out: its answer was not awaited.
        keeps_closed: Whether the slots stay closed until `Grant.closed_until`, if the lease ends before.
        clean_up_at: When to release what an unseen renewal may have extended, on the steady clock; infinite for never.
        longest_seconds: How far ahead of its sending a renewal may have set the expiry, at most.
        stopping: What works under the lease.
        unclaimed: Whether a release has ended it, and nobody has counted that as its own yet.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        belief: Belief,
        context: LeaseContext,
        scheduled: Scheduled,
        events: PendingEvents | None,
        margin: float,
    ) -> None:
        self.over = False
        self.announced = False
        self.released = False
        self.may_land = False
        self.answered = False
        self.refused = False
        self.unclaimed = False
        self.clean_up_at = math.inf
        self.keeps_closed = grant.hold_ms > 0
        self._grant = grant
        self._belief = belief
        self._context = context
        self._scheduled = scheduled
        self._events = events
        self._margin = margin
        self._lock = threading.RLock()
        self._on_lost: Callable[[], object] | None = None
        self._watchers: list[Callable[[], object]] = []
        self._said = False
        self._followed = False
        self._called_back = False
        self._unfinished: Unfinished | None = None
        self._owes_call = False
        self._freed = False
        self._owed_until = math.inf
        self._tries = 0
        self.longest_seconds = max(grant.lease_ms, grant.hold_ms) / 1000
        self.stopping = Stopping(context.state.time.steady, grace=context.state.timing.grace_for(grant.lease_ms / 1000))

    @property
    def on_lost(self) -> Callable[[], object] | None:
        """Called once when the lease is lost, on a thread for callbacks; at once if set on a lost lease."""
        return self._on_lost

    @on_lost.setter
    def on_lost(self, callback: Callable[[], object] | None) -> None:
        with self._lock:
            self._on_lost = callback
            late = self._owes_call and callback is not None
            self._owes_call = self._owes_call and callback is None
        if late and callback is not None:
            self._call_back(functools.partial(self._call_late, callback))

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

    def abandon_to_parent(self) -> None:
        """In a forked child: make a new lock, as a thread of the parent may hold the old one for ever."""
        self._lock = threading.RLock()
        self.stopping.abandon_to_parent()

    # Releasing.

    def release(self, *, tries: int = RELEASE_TRIES, seconds: float = RELEASE_SECONDS) -> bool:
        """Send the release on this thread; returns whether it ended the lease on any slot.

        Raises:
            StoreError: Not all slots' releases were answered.
        """
        operation = self.release_operation(tries=tries, seconds=seconds)
        observe = None if self._events is None else self._events.observe
        return self._context.driver.run(operation, self._context.runtime.wakeup(), observe=observe)

    def release_operation(self, *, tries: int = RELEASE_TRIES, seconds: float = RELEASE_SECONDS) -> Operation[bool]:
        """The release as an operation to drive; `release` drives it on this thread."""
        state, grant = self._context.state, self._grant
        outcomes = yield from send_release(
            state,
            slots=grant.slots,
            lease_id=grant.lease_id,
            fence=grant.fence,
            tries=tries,
            deadline=state.time.steady() + seconds,
            closed_until=grant.closed_until if self.keeps_closed else 0,
        )
        self._note_outcomes(outcomes)
        ended = [outcome.slot for outcome in outcomes if outcome.ended]
        for outcome in outcomes:
            if outcome.closed:
                state.hints.closed.put(outcome.slot, grant.closed_until)
            elif outcome.ended:
                state.hints.released(outcome.slot, fence=grant.fence, now=state.time.steady())
        self._freed = bool(ended)
        if self._freed:
            self.unclaimed = True
        if not self.answered:
            require_answers(outcomes, lease_id=grant.lease_id)
        return self._freed

    def owe(self) -> None:
        """The release begins: it is owed until it is answered, or the lease has certainly expired."""
        owed, now = self._context.owed, self._context.state.time.steady()
        if self._grant.lease_id not in owed and not self.released:
            # No later than this: every renewal was sent before, and extends the lease by so much at most.
            self._owed_until = now + self.longest_seconds + self._margin + _CERTAINLY_SECONDS
            owed[self._grant.lease_id] = self._scheduled

    def release_later(self) -> None:
        """Let a worker send the release that has begun: the calling thread was interrupted."""
        try:
            self._context.heartbeats.workers.submit(self.release_quietly, line=self._context.state)
        except Exception:  # noqa: BLE001 - it must not take the interrupt's place; the heartbeat tries again
            self.clean_up_at = self._context.state.time.steady() + OWED_SECONDS[0]
        self.finish()

    def expect_release(self) -> None:
        """It is being lost, and whoever ended it waits and sends the release; if nobody does, the heartbeat sends it.

        An interrupt may come before anybody waits.
        """
        self.stopping.begin()
        self.clean_up_at = self.stopping.until + 2 * RELEASE_SECONDS

    def release_after_stopping(self) -> None:
        """Have the heartbeat send the release when its holder has stopped, or has had its grace.

        Whoever ended it does not: that was interrupted, or failed.
        """
        if self.released or self._tries:  # what was sent without an answer has its time
            return
        self.clean_up_at = min(self.stopping.until, self._context.state.time.steady() + _CALLBACK_PAUSE_SECONDS)
        with contextlib.suppress(RuntimeError):  # no thread can be started: it is sent at the exit
            self._context.heartbeats.add(self._scheduled)

    def release_quietly(self, *, tries: int = RELEASE_TRIES, seconds: float = RELEASE_SECONDS) -> bool:
        """Send the release on this thread; returns whether it is settled. If not, it will be sent again."""
        self.owe()
        try:
            self.release(tries=tries, seconds=seconds)
        except StoreError as error:
            _log.info("not released yet, and expires otherwise: %s", error)
        self.finish()
        return self.released

    def finish(self) -> None:
        """Forget the lease, report its release and call its watchers; go on owing its release. Idempotent."""
        lease_id, state = self._grant.lease_id, self._context.state
        if self.released:
            self.clean_up_at = math.inf
            self._context.owed.pop(lease_id, None)
        if self.clean_up_at < math.inf:
            with contextlib.suppress(RuntimeError):  # no thread can be started: it is sent at the exit
                self._context.heartbeats.add(self._scheduled)
        else:
            self._context.heartbeats.drop(self._scheduled)
        self._context.leases.pop(lease_id, None)
        state.ended(lease_id)
        if self._events is not None:
            self._events.tell()
            if self._belief.state is State.RELEASED:
                released = Released(bucket=state.bucket, lease_id=lease_id, freed=self._freed)
                self._events.reporter.end(released)
            elif self._belief.state is State.HANDED_OVER:
                self._events.reporter.end(HandedOver(bucket=state.bucket, lease_id=lease_id))
        self._call_watchers()

    # Losing.

    def lose(self, reason: LossReason) -> None:
        """The lease has been lost: start what follows, without calling user code on this thread.

        Every thread that notices a loss calls it, again if another was interrupted in it; what follows happens once.
        """
        if self.announced:
            return
        unseen = _unseen(reason)
        with self._lock:
            if unseen and not self._followed:
                # A renewal whose answer we did not see may have extended it. Release it after the old expiry, not
                # before: work that calls `check` only now and then may still be running.
                self.clean_up_at = self._belief.deadline + self._margin
        self._context.heartbeats.reconsider(self._scheduled)
        self._call_back(self._after_loss)
        lease_id, why = self._grant.lease_id, self._belief.why_lost()
        if self._events is not None:
            self._events.tell(queued=True)
            lost = Lost(bucket=self._context.state.bucket, lease_id=lease_id, reason=reason, cause=why)
            self._events.reporter.end(lost)
        self.announced = True
        with self._lock:
            said, self._said = self._said, True
        if not said:
            # Somebody here ended it on purpose: that needs nobody's attention unless work goes on under it.
            loud = reason is not LossReason.RELEASED or self.stopping.works_elsewhere(None)
            tell = _log.warning if loud else _log.info
            tell(LOST_TEXT, lease_id, slots_text(self._grant.slots), reason, why and f": {why}")

    def clean_up(self) -> None:
        """Release what may still carry our lease id: once the callback has returned, if the lease was lost."""
        unfinished = self._unfinished
        ended_by_us = self._belief.state is State.RELEASED or self._is_being_released()
        if unfinished is not None and unfinished.over() and self._callback_over() and not ended_by_us:
            return
        with self._lock:  # the callback may return at this very moment
            ready = (self._called_back or ended_by_us) and not self.stopping.is_awaited
            if not ready:
                self.clean_up_at = self._context.state.time.steady() + _CALLBACK_PAUSE_SECONDS
        if self._context.state.time.steady() >= self._owed_until:
            self._context.owed.pop(self._grant.lease_id, None)  # it has certainly expired
            self.finish()
        elif ready:
            # While answers fail, one try each time: many leases may be owed, and workers are few.
            self.release_quietly(tries=1 if self._tries else RELEASE_TRIES)
        else:
            self._context.heartbeats.reconsider(self._scheduled)

    def _call_back(self, job: Callable[[], object]) -> None:
        self._context.heartbeats.call_back(job, line=self._context.driver)

    def _note_outcomes(self, outcomes: Sequence[SlotRelease]) -> None:
        """Note whether the release is settled, or when to send it again."""
        state = self._context.state
        now = state.time.steady()
        self._tries += 1
        self.answered = len(outcomes) == len(self._grant.slots) and all(outcome.known for outcome in outcomes)
        if self.answered:
            answers = [outcome.answer for outcome in outcomes]
            self.released = not (self.may_land and may_still_land(answers, fence=self._grant.fence))
            again_at = now + min(OVERTAKEN_SECONDS * 2.0 ** min(self._tries - 1, 30), OWED_SECONDS[1])
        else:
            again_at = now + full_jitter(OWED_SECONDS, self._tries, state.chance)
        if self.released:
            return
        rejected = [outcome.answer for outcome in outcomes if isinstance(outcome.answer, Rejected)]
        self.refused = any(not answer.untimely for answer in rejected)
        self.clean_up_at = self._owed_until if self.refused else min(again_at, self._owed_until)

    def _after_loss(self) -> None:
        with self._lock:
            followed, self._followed = self._followed, True
        if followed:
            return
        self._call_watchers()
        with self._lock:
            callback = self._on_lost
            self._owes_call = callback is None
        unfinished = None if callback is None else self._call(callback)
        if unfinished is not None:
            with self._lock:
                self._unfinished = unfinished
                if self.clean_up_at == math.inf and not self._is_being_released():
                    self.clean_up_at = self._context.state.time.steady() + _CALLBACK_PAUSE_SECONDS
            self._context.heartbeats.reconsider(self._scheduled)
            unfinished.then(lambda: self._call_back(self._callback_over))
            return
        with self._lock:
            self._called_back = True
            nothing_to_clean_up = self.clean_up_at == math.inf
        self.stopping.called_back()
        if callback is not None and self._may_be_ours():
            self.release_quietly()  # the callback has stopped the work: another holder may have the slot
            # Without a callback we do not know whether the work has stopped: the slot is free when the holder releases.
        elif nothing_to_clean_up and not self._is_being_released():
            self.finish()

    def _callback_over(self) -> bool:
        """A callback that ran on a loop has ended; returns False if `clean_up` must still release after the expiry."""
        unseen = _unseen(self._belief.reason)
        with self._lock:
            if self._called_back:
                return not unseen
            self._called_back, self._unfinished = True, None
            if not unseen and not self._is_being_released():
                self.clean_up_at = math.inf
        self.stopping.called_back()
        if self._may_be_ours():
            self.release_quietly()
        elif not unseen and not self._is_being_released():
            self.finish()
        return not unseen

    def _is_being_released(self) -> bool:
        """Whether this process itself ended it under its holder: whoever did so sends the release, or left it owed."""
        return self._belief.reason is LossReason.RELEASED

    def _may_be_ours(self) -> bool:
        """Whether the lost lease may still be in the table: it was revoked, or has more slots than the lost one."""
        reason = self._belief.reason
        several = len(self._grant.slots) > 1
        return reason is LossReason.REVOKED or (reason in {LossReason.TAKEN, LossReason.GONE} and several)

    def _call_late(self, callback: Callable[[], object]) -> None:
        unfinished = self._call(callback)
        if not self._may_be_ours():
            return
        if unfinished is None:
            self.release_quietly()
        else:
            unfinished.then(lambda: self._call_back(self.release_quietly))

    def _call(self, callback: Callable[[], object]) -> Unfinished | None:
        try:
            with self.stopping.calling():
                returned = callback()
        except BaseException:  # noqa: BLE001 - the user's own; the lease's end must go on
            _log.exception("the lost-callback of lease %s failed", self._grant.lease_id)
            return None
        return returned if isinstance(returned, Unfinished) else None

    def _call_watchers(self) -> None:
        with self._lock:
            self.over = True
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher()


def slots_text(slots: tuple[int, ...]) -> str:
    """Slots as messages name them."""
    return f"slot {slots[0]}" if len(slots) == 1 else f"slots {','.join(map(str, slots))}"


def _unseen(reason: LossReason | None) -> bool:
    """Whether a renewal may have extended the lost lease, and we did not see its answer."""
    return reason in {LossReason.UNREACHABLE, LossReason.SUSPENDED}
