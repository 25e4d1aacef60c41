"""A lease that this process holds: its state, its renewal and its release.

Invariants:

- `lease_state` decides what the holder may believe, `heartbeat` when to act, `renewer` what to send. Several threads
  use this object: the lease's state changes only under its lock, which is never held across a request.
- `serial` serialises renewal and release of one lease. A release waits a few seconds at most for a renewal that hangs:
  the table's conditions prevent a late renewal from reviving anything.
- A lease is lost once, by the answer to its own UpdateItem or by the clock. `LeaseEnd` does what follows.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading

from ddb_lease._operations.sync_time import TIME_UNKNOWN
from ddb_lease._protocol.lease_state import Belief, State
from ddb_lease._protocol.messages import (
    Answer,
    Conflict,
    Done,
    Refused,
    Rejected,
    Renew,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime.instrumentation import Observer, PendingEvents
from ddb_lease._runtime.lease_end import LeaseContext, LeaseEnd, slots_text
from ddb_lease._runtime.renewer import PlannedRenewal, RenewalAnswers
from ddb_lease._state.service_time import WIDE_SECONDS
from ddb_lease.errors import LeaseLost, LossReason, StoreError, StoreUnavailable
from ddb_lease.events import Renewed
from ddb_lease.models import Data

PATIENCE_SECONDS = 5.0
"""The longest that a release waits for a renewal in progress."""


class HeldLease:
    """A lease on one or several slots, from its grant to its end. `Lease` and `aio.Lease` are its public handles.

    Attributes:
        id: Unique for every acquisition.
        slot: The lowest of its slots.
        slots: All slots that were taken together.
        fence: The fencing token.
        owner: Who acquired it.
        data: What was attached to it.
        grace: Seconds between the deadline and the earliest moment at which another can hold the slot.
        belief: Its state; changed under the lease's lock only.
        end: How it ends: release, lost-callback, watchers.
        serial: Held by the thread that renews or releases it.
        patience: How long a release waits for a renewal in progress, in seconds.
        group: The group to which the heartbeat passes it for renewal.
        surroundings: The context variables of its acquire: tracing finds the renewals' parent there.
        observe: Called with each of its requests and the answer; None if nobody listens.
    """

    def __init__(self, grant: Grant, *, context: LeaseContext) -> None:
        self.id = grant.lease_id
        self.slots = grant.slots
        self.slot = grant.slots[0]
        self.fence = grant.fence
        self.owner = grant.owner
        self.data: Data = grant.data
        self.group = context.renewer
        self.surroundings = contextvars.copy_context()
        self._context = context
        state = context.state
        self._steady = context.runtime.clock.steady
        self._seconds = seconds = grant.lease_ms / 1000
        self._margin = grant.margin
        self.grace = state.timing.grace_for(seconds)
        self.patience = min(PATIENCE_SECONDS, seconds / 3)
        self.belief = Belief(grant, chance=state.chance, late_by=state.time.late_by)
        # Reentrant: a signal handler may read `held` while its own thread holds the lock.
        self._lock = threading.RLock()
        self.serial = context.runtime.lock()
        self._renewing = False
        self._forked = False
        reporter = context.reporter
        self._events = None if reporter is None else PendingEvents(reporter, planned=self.belief.due_at())
        self.observe: Observer | None = None if self._events is None else self._events.observe
        self.end = LeaseEnd(
            grant, belief=self.belief, context=context, scheduled=self, events=self._events, margin=self._margin
        )

    def __repr__(self) -> str:
        where = slots_text(self.slots).replace(" ", "=")
        return f"<Lease {self.id} {where} fence={self.fence} {self._word()}>"

    @property
    def held(self) -> bool:
        """Whether we hold the lease at this moment. No I/O."""
        self._notice()
        return not self._forked and self.belief.holds(self._steady())

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is surely ours if no renewal succeeds any more; 0.0 once it is not held."""
        return max(0.0, self.belief.deadline - self._steady()) if self.held else 0.0

    @property
    def lost(self) -> LossReason | None:
        """Why the lease was lost; None while it is held, and after a release by us. No I/O."""
        self._notice()
        return self.belief.reason

    @property
    def reason(self) -> LossReason:
        """Why it is not held any more; RELEASED and FORKED too."""
        if self._forked:
            return LossReason.FORKED
        return self.belief.reason or LossReason.RELEASED

    @property
    def over(self) -> bool:
        """Whether it was lost or released, or belongs to the parent; its watchers were called, or never will be."""
        return self.end.over or self._forked

    def check(self) -> None:
        """Make sure that we hold the lease. No I/O; takes a few microseconds at most.

        Raises:
            LeaseLost: We do not, and will not again: stop what it guards. `reason` says why.
        """
        if not self._forked and self.belief.holds(self._steady()):
            if self._context.heartbeats.overslept():
                self._context.heartbeats.ensure_running()
            return
        self._notice()
        if not self._forked and self.belief.holds(self._steady()):
            return  # renewed in the meantime
        why = self.belief.why_lost()
        raise LeaseLost(
            f"lease {self.id} on {slots_text(self.slots)} is not held any more: {self._word()}{why and f': {why}'}",
            reason=self.reason,
            lease_id=self.id,
        )

    def renew(self) -> None:
        """Renew now, on the calling thread, in addition to the heartbeat. One UpdateItem a slot, 1 WCU each.

        Raises:
            LeaseLost: We do not hold the lease (any more).
            StoreUnavailable: No usable answer; the lease is held until its deadline, and the heartbeat continues.
            StoreRejected: The service refuses for good; held until its deadline as well.
        """
        self.check()
        with self.serial:
            answer, reason = self._context.renewer.renew_singly(self)
        self.after_renewal(reason)
        self._context.heartbeats.reconsider(self)
        self.check()
        if answer is None:
            answer = Unknown(cause=TIME_UNKNOWN)  # it is held, so it was not sent because the time is unknown
        _require_renewed(self.id, answer)

    def release(self) -> bool:
        """Release all slots of the lease. One UpdateItem a slot, 1 WCU each; waiters of this process wake at once.

        The lease is not held any more as soon as this is called, whatever happens to the request.

        Returns:
            Whether this call ended the lease in the table, on at least one of its slots. False normally means that
            nothing changed: another holder had it by then, or nobody, as on a second call. Exception: if an answer was
            lost and another holder took the slot before the release was sent again, our first sending may have ended
            it.

        Raises:
            StoreUnavailable: No usable answer in some seconds; the slot comes back when the lease expires. May be
                called again.
            StoreRejected: The service refuses for good; the slot comes back when the lease expires.
        """
        if not self.begin_release():
            return False
        # Wait for a renewal in progress, but not for ever: its condition prevents it from reviving anything.
        taken = self.serial.acquire(timeout=self.patience)
        with self.end.releasing(self.serial if taken else None):
            return self.end.release()

    # Heartbeat (`heartbeat.Scheduled`).

    def due_in(self) -> float:
        """Seconds until the heartbeat must serve this lease."""
        with self._lock:
            now = self._steady()
            if self.belief.state is not State.HELD:
                return self.end.clean_up_at - now
            if self._renewing:
                return self.belief.deadline - now
            return self.belief.due_in(now, doubtful=self._context.state.time.doubtful)

    def beat(self, *, slept: bool) -> bool:
        """Do what is due, without blocking; returns whether the lease is to be renewed now."""
        with self._lock:
            now = self._steady()
            if self.belief.state is not State.HELD:
                if now >= self.end.clean_up_at:
                    self.end.clean_up_at = math.inf
                    self._context.heartbeats.workers.submit(self.end.clean_up)
                return False
            reason = self.belief.expire(now, slept=slept)
            if reason is None and not self._renewing:
                ahead = self.group.ahead() if self.belief.may_come_early(now) else 0.0
                self._renewing = self.due_in() <= ahead
                return self._renewing
        if reason is not None:
            self.end.lose(reason)
        return False

    # Renewal (`renewer.Renewable`).

    def begin_renewal(self) -> bool:
        """Take `serial` for a renewal in the background; False if another thread is renewing or releasing it."""
        serialised = self.serial.acquire(blocking=False)
        self.belief.tried_at = self._steady()
        if not serialised:
            self.drop_renewal()
        return serialised

    def plan_renewal(self) -> PlannedRenewal | None:
        """The requests to send now; None if it is not held, or the service's time is too uncertain.

        A written expiry never falls. So while there is time, the renewal waits until the service's time is certain. The
        expiry is never more than one more lease length ahead, even if the lease is lost because of that.
        """
        state, belief = self._context.state, self.belief
        with self._lock:
            # Steady time first: see `Belief.begin_renewal`.
            belief.tried_at = now = self._steady()
            _, now_hi = state.time.now_ms()
            widest = WIDE_SECONDS if now < belief.settle_until else max(WIDE_SECONDS, self._seconds)
            if state.time.wider_than(widest):
                belief.postpone(now)
                return None
            renewal = belief.begin_renewal(now, now_hi)
        if renewal is None:
            return None
        expires_at = renewal.expires_at
        ttl = state.ttl(now_hi, expires_at=expires_at, fence=self.fence)
        requests = [Renew(slot=slot, lease_id=self.id, expires_at=expires_at, ttl=ttl) for slot in self.slots]
        return PlannedRenewal(renewal=renewal, requests=tuple(requests))

    def apply(self, planned: PlannedRenewal, answers: RenewalAnswers) -> LossReason | None:
        """Take note of a renewal's answers; returns why the lease is lost, if they lose it. Calls no user code."""
        if self._events is not None:
            for request, each in zip(planned.requests, answers.answers, strict=False):  # the rest was not sent
                self._events.observe(request, each)
        answer = answers.decisive
        with self._lock:
            now = self._steady()
            if answers.in_batch:
                if any(isinstance(each, (Refused, Rejected)) for each in answers.answers):
                    self.belief.renew_alone(now)
                    return None
                self.belief.alone = answers.overtaken
            reason = self.belief.end_renewal(planned.renewal, answer, now)
            if isinstance(answer, Done):
                self.belief.alone = False
                self._note_renewal(now)
        return reason

    def end_renewal(self) -> None:
        """Release `serial` after a renewal in the background."""
        self.serial.release()
        self.drop_renewal()

    def drop_renewal(self) -> None:
        """The renewal in the background has ended: the lease may be due again."""
        with self._lock:
            self._renewing = False
        self._context.heartbeats.reconsider(self)

    def after_renewal(self, reason: LossReason | None) -> None:
        """Report what a renewal brought; call it with no lock held."""
        if reason is not None:
            self.end.lose(reason)
        if self._events is not None:
            self._events.tell()

    # Release.

    def begin_release(self) -> bool:
        """End the holding; returns whether there is anything to send."""
        if self._forked:
            return False
        with self._lock:
            self._notice()
            self.belief.release()
            # Of several slots, perhaps only one was taken: the others must still be released.
            done = self.belief.reason in {LossReason.TAKEN, LossReason.GONE} and len(self.slots) == 1
        if done or self.end.released:
            self.end.finish()
            return False
        return True

    # Process.

    def abandon_to_parent(self) -> None:
        """In a forked child: the parent still holds the lease; the child never held it."""
        self._forked = True
        self._lock = threading.RLock()
        self.serial = self._context.runtime.lock()
        self.end.abandon_to_parent()

    def release_at_exit(self) -> None:
        """Try to release once, and raise nothing: the interpreter is about to end."""
        with self._lock:
            held = self.belief.release()
        if held and not self._forked:
            with contextlib.suppress(StoreError):
                self.end.release(tries=1, seconds=0.0)
        self.end.finish()

    # Internals.

    def _notice(self) -> None:
        """Notice that the deadline has passed, in case the heartbeat has not noticed yet."""
        if self._forked or self.belief.holds(self._steady()):
            return
        with self._lock:
            reason = self.belief.expire(self._steady(), slept=self._context.heartbeats.overslept())
        if reason is not None:
            self._context.heartbeats.ensure_running()
            self.end.lose(reason)

    def _word(self) -> str:
        return "held" if self.held else self.reason.value

    def _note_renewal(self, now: float) -> None:
        events = self._events
        if events is not None and self.belief.holds(now):  # otherwise this answer or an earlier one lost it
            late = max(0.0, now - events.planned)
            events.planned = self.belief.due_at()
            events.note(Renewed(bucket=self._context.state.bucket, lease_id=self.id, late_seconds=late))


def _require_renewed(lease_id: str, answer: Answer) -> None:
    match answer:
        case Rejected():
            raise answer.error
        case Unknown() | Unsent() | Conflict() | ThrottledAnswer():
            raise StoreUnavailable(
                f"lease {lease_id} could not be renewed: {reason_text(answer.cause)}"
            ) from answer.cause
        case _:
            return
