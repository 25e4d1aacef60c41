"""What follows when a lease of this process is lost: its holder is told, and its slots are cleaned up.

Invariants:

- The lost-callback is called once, on a thread for callbacks, at the deadline at the latest. The slot is released early
  only after the callback has returned. A callback that runs on a loop returns at once, and says when it is over.
- A loss is announced once, by any thread that notices it, even if another was interrupted while it announced it.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future

from ddb_lease._protocol.lease_state import Belief, State
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime.heartbeat import Scheduled
from ddb_lease._runtime.instrumentation import PendingEvents
from ddb_lease._runtime.lease_end import LOOK_SECONDS, LeaseContext, LeaseEnd, slots_text
from ddb_lease._state.log import queued as _log
from ddb_lease.errors import LossReason
from ddb_lease.events import Lost

LOST_TEXT = "lease %s on %s is lost: %s%s"
"""What the log says of a loss."""


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


class Loss:
    """Calls one lease's lost-callback, and has slots released that may still carry the lease.

    Args:
        grant: What was acquired.
        belief: The lease's state.
        context: What it shares with the bucket's other leases.
        scheduled: The lease as the heartbeat knows it.
        end: How the lease ends.
        events: The lease's events; None if nobody listens.

    Attributes:
        announced: Whether what follows a loss was started.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        belief: Belief,
        context: LeaseContext,
        scheduled: Scheduled,
        end: LeaseEnd,
        events: PendingEvents | None,
    ) -> None:
        self.announced = False
        self._grant = grant
        self._belief = belief
        self._context = context
        self._scheduled = scheduled
        self._end = end
        self._events = events
        self._lock = threading.RLock()
        self._on_lost: Callable[[], object] | None = None
        self._said = False
        self._followed = False
        self._called_back = False
        self._unfinished: Unfinished | None = None
        self._owes_call = False

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

    def abandon_to_parent(self) -> None:
        """In a forked child: make a new lock, as a thread of the parent may hold the old one for ever."""
        self._lock = threading.RLock()

    def announce(self, reason: LossReason) -> None:
        """The lease has been lost: start what follows, without calling user code on this thread.

        Every thread that notices a loss calls it, again if another was interrupted in it; what follows happens once.
        """
        if self.announced:
            return
        with self._lock:
            if _unseen(reason) and not self._followed:
                # A renewal whose answer we did not see may have extended it. Release it after the old expiry, not
                # before: work that calls `check` only now and then may still be running.
                self._end.release.due_at = self._belief.deadline + self._grant.margin
        self._context.heartbeats.reconsider(self._scheduled)
        self._call_back(self._follow)
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
            loud = reason is not LossReason.RELEASED or self._end.stopping.works_elsewhere(None)
            tell = _log.warning if loud else _log.info
            tell(LOST_TEXT, lease_id, slots_text(self._grant.slots), reason, why and f": {why}")

    def clean_up(self) -> None:
        """What is due when the lease is not held: send its release, which is owed, or which its loss has left open.

        If the lease was lost, only once the callback has returned.
        """
        unfinished = self._unfinished
        ended_by_us = self._belief.state is State.RELEASED or self._is_being_released()
        if unfinished is not None and unfinished.over() and self._callback_over() and not ended_by_us:
            return
        with self._lock:  # the callback may return at this very moment
            ready = (self._called_back or ended_by_us) and not self._end.stopping.is_awaited
            if not ready:
                self._look_later()
        if self._end.release.has_expired(self._context.state.time.steady()):
            self._end.forget()
        elif ready:
            self._end.send_again()
        else:
            self._context.heartbeats.reconsider(self._scheduled)

    def _call_back(self, job: Callable[[], object]) -> None:
        self._context.heartbeats.call_back(job, line=self._context.driver)

    def _look_later(self) -> None:
        self._end.release.due_at = self._context.state.time.steady() + LOOK_SECONDS

    def _follow(self) -> None:
        """What follows a loss, on a thread for callbacks."""
        with self._lock:
            followed, self._followed = self._followed, True
        if followed:
            return
        self._end.call_watchers()
        with self._lock:
            callback = self._on_lost
            self._owes_call = callback is None
        unfinished = None if callback is None else self._call(callback)
        if unfinished is not None:
            with self._lock:
                self._unfinished = unfinished
                if self._end.release.due_at == math.inf and not self._is_being_released():
                    self._look_later()
            self._context.heartbeats.reconsider(self._scheduled)
            unfinished.then(lambda: self._call_back(self._callback_over))
            return
        with self._lock:
            self._called_back = True
            nothing_to_clean_up = self._end.release.due_at == math.inf
        self._end.stopping.called_back()
        if callback is not None and self._may_be_ours():
            self._end.send_quietly()  # the callback has stopped the work: another holder may have the slot
            # Without a callback we do not know whether the work has stopped: the slot is free when the holder releases.
        elif nothing_to_clean_up and not self._is_being_released():
            self._end.finish()

    def _callback_over(self) -> bool:
        """A callback that ran on a loop has ended; returns False if `clean_up` must still release after the expiry."""
        unseen = _unseen(self._belief.reason)
        with self._lock:
            if self._called_back:
                return not unseen
            self._called_back, self._unfinished = True, None
            if not unseen and not self._is_being_released():
                self._end.release.due_at = math.inf
        self._end.stopping.called_back()
        if self._may_be_ours():
            self._end.send_quietly()
        elif not unseen and not self._is_being_released():
            self._end.finish()
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
            self._end.send_quietly()
        else:
            unfinished.then(lambda: self._call_back(self._end.send_quietly))

    def _call(self, callback: Callable[[], object]) -> Unfinished | None:
        try:
            with self._end.stopping.calling():
                returned = callback()
        except BaseException:  # noqa: BLE001 - the user's own; the lease's end must go on
            _log.exception("the lost-callback of lease %s failed", self._grant.lease_id)
            return None
        return returned if isinstance(returned, Unfinished) else None


def _unseen(reason: LossReason | None) -> bool:
    """Whether a renewal may have extended the lost lease, and we did not see its answer."""
    return reason in {LossReason.UNREACHABLE, LossReason.SUSPENDED}
