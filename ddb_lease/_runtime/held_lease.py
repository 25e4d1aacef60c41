"""A lease that this process holds: its state, its renewal and its release.

Invariants:

- `lease_state` decides what the holder may believe, `heartbeat` when to act, `attempts` what is under way, `renewer`
  what to send. Several threads use this object: the lease's state changes only under its lock, which is never held
  across a request.
- A lock serialises renewal and release of one lease. A release, and a renewal by hand, waits a few seconds at most for
  a renewal that hangs: the table's conditions keep a late renewal from reviving anything, and make a second one safe.
- A lease is lost once: by the answer to its own UpdateItem, by a mark of a revocation, by the clock, or by this process
  (`lose`). `Loss` does what follows.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

from ddb_lease._operations.sync_time import TIME_UNKNOWN
from ddb_lease._protocol.lease_state import Belief, State
from ddb_lease._protocol.messages import (
    Answer,
    Conflict,
    Refused,
    Rejected,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.offers import Offer, token_of
from ddb_lease._protocol.outcomes import reason_text
from ddb_lease._protocol.records import Grant
from ddb_lease._protocol.retry import BUSY_SECONDS, full_jitter
from ddb_lease._runtime.attempts import Attempts
from ddb_lease._runtime.handing_over import HandOver, checked_within
from ddb_lease._runtime.instrumentation import Observer, PendingEvents
from ddb_lease._runtime.lease_end import RELEASE_SECONDS, LeaseContext, LeaseEnd, slots_text
from ddb_lease._runtime.loss import Loss
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.guard import guard, plainly
from ddb_lease.errors import ConfigurationError, LeaseLost, LossReason, StoreError, StoreUnavailable
from ddb_lease.models import Data

PATIENCE_SECONDS = 5.0
"""The longest that a release, or a renewal by hand, waits for a renewal in progress."""

_WITHOUT_OUTCOME = (Unknown, Unsent, Conflict, ThrottledAnswer)


class HeldLease:
    """A lease on one or several slots, from its grant to its end. `Lease` and `aio.Lease` are its public handles.

    Attributes:
        id: Unique for every acquisition.
        slot: The lowest of its slots.
        slots: All slots that were taken together.
        fence: The fencing token.
        owner: Who acquired it.
        data: What was attached to it.
        seconds: Its length: what a renewal adds.
        waited: Seconds from the call of `acquire` until it was had.
        renewed: Whether the heartbeat renews it.
        belief: Its state; changed under the lease's lock only.
        end: How it ends: its release, its watchers.
        loss: What follows when it is lost: its callback, its clean-up.
        attempts: How it is renewed.
        release_by: Until when its holder's thread sends the release again, on the steady clock; once it is sent anyway.
        patience: How long a release or a renewal by hand waits for a renewal in progress, in seconds.
        bucket: The bucket's name.
        now: Reads the steady clock.
        origin: Where it comes from (`origin.Origin`); None until it is handed out.
        handle: A weak reference to its public handle; None if there is none.
        dropped: Whether its handle was dropped while it was held.
        group: The group to which the heartbeat passes it for renewal.
        observe: Called with each of its requests and the answer; None if nobody listens.
    """

    def __init__(self, grant: Grant, *, context: LeaseContext) -> None:
        self.id = grant.lease_id
        self.slots = grant.slots
        self.slot = grant.slots[0]
        self.fence = grant.fence
        self.owner = grant.owner
        self.data: Data = grant.data
        self.waited = 0.0
        self.renewed = True
        self.release_by = math.inf
        self.group = context.renewer
        self.bucket = context.state.bucket
        self.origin: object = None
        self.handle: weakref.ref[Any] | None = None
        self.dropped = False
        self._context = context
        state = context.state
        self.now = self._steady = context.runtime.clock.steady
        self.seconds = seconds = grant.lease_ms / 1000
        self.patience = min(PATIENCE_SECONDS, seconds / 3)
        margin = grant.margin if not grant.hold_ms else state.timing.margin_for(seconds)
        self.belief = Belief(grant, chance=state.chance, late_by=state.time.late_by, margin=margin)
        self._forked = False
        reporter = context.reporter
        self._events = None if reporter is None else PendingEvents(reporter, planned=self.belief.due_at())
        self.observe: Observer | None = None if self._events is None else self._events.observe
        self.end = LeaseEnd(grant, belief=self.belief, context=context, scheduled=self, events=self._events)
        self.loss = Loss(grant, belief=self.belief, context=context, scheduled=self, end=self.end, events=self._events)
        self.attempts = Attempts(
            grant, belief=self.belief, context=context, scheduled=self, loss=self.loss, events=self._events
        )
        self._lock = self.attempts.lock

    def __repr__(self) -> str:
        where = slots_text(self.slots).replace(" ", "=")
        return f"<Lease {self.id} {where} fence={self.fence} {self._word()}>"

    @property
    def grace(self) -> float:
        """Seconds between the deadline and the earliest moment at which another can hold the slot."""
        return self._context.state.timing.grace_for(self.seconds)

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
        """Why it is not held any more; RELEASED, FORKED and HANDED_OVER too."""
        if self._forked:
            return LossReason.FORKED
        if self.belief.state is State.HANDED_OVER:
            return LossReason.HANDED_OVER
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
            if self.renewed and self._context.heartbeats.overslept():
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
            cause=why,
        )

    def renew(self) -> None:
        """Renew now, on the calling thread, in addition to the heartbeat. One UpdateItem a slot, 1 WCU each.

        Waits for a renewal in progress, but for some seconds only: that may hang, or be this thread's own, which a
        signal handler has interrupted. A second one beside it is safe.

        Raises:
            LeaseLost: We do not hold the lease (any more).
            StoreUnavailable: No usable answer; the lease is held until its deadline, and the heartbeat continues.
            StoreRejected: The service refuses for good; held until its deadline as well.
        """
        self.check()
        serial = self.attempts.take_serial(self.patience)
        try:
            answer, _ = self._context.renewer.renew_singly(self.attempts.new())
        finally:
            if serial is not None:
                serial.release()
            self._context.heartbeats.reconsider(self)
        self.attempts.after()
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
            StoreUnavailable: No usable answer in some seconds. It is sent again in the background, about every half
                minute, and at the interpreter's exit; else the slot comes back when the lease expires. May be called
                again.
            StoreRejected: The service refuses for good. It is sent once more at the interpreter's exit; else the slot
                comes back when the lease expires.
        """
        try:
            if not self.begin_release():
                return False
            # Wait for a renewal in progress, but not for ever: its condition prevents it from reviving anything.
            serial = self.attempts.take_serial(self.patience)
            try:
                left = max(0.0, self.release_by - self._steady())
                sending = self.end.sending(seconds=min(RELEASE_SECONDS, left))
                return self._context.driver.run(sending, self._context.runtime.wakeup(), observe=self.observe)
            finally:
                if serial is not None:
                    serial.release()
                self.end.finish()
        except StoreError:
            raise
        except BaseException:
            self.release_later()
            raise

    def hand_over(self, within: object) -> str:
        """Stop being the holder, and return the token by which another process adopts the lease.

        One UpdateItem a slot, 1 WCU each. Waits for a renewal in progress as `renew` does. What is not answered is
        sent again for `patience`. If it is interrupted after the lease was handed over, a worker releases it: nobody
        has the token.

        Args:
            within: Seconds, or a timedelta, for which it can be adopted.

        Raises:
            ConfigurationError: It cannot be handed over, or not for such a time; nothing was sent, it is held.
            LeaseLost: We do not hold the lease (any more); there is no token.
            StoreUnavailable: No usable answer: the lease is held and renewed, and there is no token.
            StoreRejected: The service refuses for good; else as above.
        """
        within_ms = checked_within(within)
        if self.end.release.keeps_closed:
            raise ConfigurationError(f"lease {self.id} was acquired with hold_at_least, and cannot be handed over")
        self.check()
        self.end.release.may_last(within_ms / 1000)
        attempt = HandOver(self.attempts, within_ms=within_ms, owner=self.owner)
        try:
            answer = self._send_hand_over(attempt)
            until, tries = self._steady() + self.patience, 0
            # Refused: the table had a later expiry of ours already. It is known now, and the next try goes by it.
            while (
                isinstance(answer, (Refused, *_WITHOUT_OUTCOME)) and self.held and (left := until - self._steady()) > 0
            ):
                tries += 1
                pause = full_jitter(BUSY_SECONDS, tries, self._context.state.chance)
                self._context.runtime.wakeup().sleep(min(left, pause))
                answer = self._send_hand_over(attempt)
            if attempt.done:
                return self._handed_over(attempt)
        except BaseException:
            if attempt.done:  # an interrupt: nobody gets the token
                self.take_back()
            raise
        attempt.after()
        self.check()
        if answer is None:
            answer = Unknown(cause=TIME_UNKNOWN)  # it is held, so it was not sent because the time is unknown
        _require_renewed(self.id, answer, what="handed over")
        raise StoreUnavailable(f"lease {self.id} could not be handed over: others change its expiry")

    def take_back(self) -> None:
        """What was handed over has reached nobody: a worker releases it."""
        with self._lock:
            taken_back = self.belief.take_back()
        if taken_back:
            self.end.release.reopen()
            self.release_later()

    def conditions(self, *, plain: bool) -> list[dict[str, Any]]:
        """The checks for a transaction of the user's own; see `Lease.conditions`."""
        self.check()
        address = BucketAddress(table=self._context.table, bucket=self.bucket)
        checks = [guard(slot, self.id, address) for slot in self.slots]
        return [{"ConditionCheck": plainly(check) if plain else check} for check in checks]

    # Heartbeat (`heartbeat.Scheduled`).

    def due_in(self) -> float:
        """Seconds until the heartbeat must serve this lease."""
        with self._lock:
            now = self._steady()
            if self._loss_unannounced():
                return 0.0
            if self.belief.state is not State.HELD:
                return self.end.release.due_at - now
            return self.attempts.due_in(now)

    def beat(self, *, slept: bool) -> bool:
        """Do what is due, without blocking; returns whether the lease is to be renewed now."""
        with self._lock:
            now = self._steady()
            reason = self._loss_unannounced()
            if reason is None and self.belief.state is not State.HELD:
                if now >= self.end.release.due_at:
                    self.end.release.due_at = math.inf
                    # A line of its bucket's: where calls hang, they delay no clean-up of another bucket.
                    self._context.heartbeats.workers.submit(self.loss.clean_up, line=self._context.state, by=now)
                return False
            reason = reason or self.belief.expire(now, slept=slept)
            if reason is None:
                return self.attempts.ask(now)
        self.loss.announce(reason)
        return False

    # Ended by this process, but not by its holder.

    def lose(self, reason: LossReason, *, why: str = "") -> bool:
        """Lose it by this process's own doing, if it is held: its holder is told as of any loss. Nothing is sent.

        Args:
            reason: Revoked, or released: then the process owes the release from here on.
            why: What was done, for people.

        Returns:
            Whether it was held until now.
        """
        if self._forked:
            return False
        with self._lock:
            self._notice()
            if self.belief.state is State.HELD and reason is LossReason.RELEASED:
                self.end.owe()  # first: an interrupt may come at any point
                self.end.expect_release()
            lost = self.belief.lose(reason, self._steady(), why=why)
        if lost is not None:
            self.handle = None  # as in `begin_release`
            self.loss.announce(lost)
        return lost is not None

    # Release.

    def begin_release(self) -> bool:
        """End the holding; returns whether there is anything to send. From here on the process owes the release."""
        if self._forked:
            return False
        with self._lock:
            self._notice()
            if self.belief.state is State.HANDED_OVER:
                return False  # it is the adopter's to release
            self.end.owe()  # first: an interrupt may come at any point, and what is not held must be released
            self.belief.release()
            # Of several slots, perhaps only one was taken: the others must still be released.
            if self.belief.reason in {LossReason.TAKEN, LossReason.GONE} and len(self.slots) == 1:
                self.end.release.settle()
        self.handle = (
            None  # not watched any more: Python swallows an interrupt in what it calls when a handle is dropped
        )
        if self.end.release.settled:
            self.end.finish()
            return False
        return True

    def release_later(self) -> None:
        """Release it on a worker: the calling thread was interrupted, or must not wait."""
        if not self.begin_release():
            return
        if self.end.stopping.is_awaited:  # this process ended it under its holder, who has not stopped yet
            self.end.send_after_stopping()
        else:
            self.end.send_later()

    # Process.

    def abandon_to_parent(self) -> None:
        """In a forked child: the parent still holds the lease; the child never held it."""
        self._forked = True
        self.attempts.abandon_to_parent()
        self._lock = self.attempts.lock
        self.end.abandon_to_parent()
        self.loss.abandon_to_parent()

    # Internals.

    def _send_hand_over(self, attempt: HandOver) -> Answer | None:
        serial = self.attempts.take_serial(self.patience)
        try:
            answer, _ = self._context.renewer.renew_singly(attempt)
        finally:
            if serial is not None:
                serial.release()
            self._context.heartbeats.reconsider(self)
        return answer

    def _handed_over(self, attempt: HandOver) -> str:
        """What follows once it was handed over; returns the token."""
        self.handle = None  # as in `begin_release`
        self.end.release.settle()  # it is the adopter's
        self.end.finish()
        offer = Offer(bucket=self.bucket, lease_id=self.id, slots=self.slots, fence=self.fence, until=attempt.until)
        return token_of(offer)

    def _notice(self) -> None:
        """Notice that the deadline has passed, in case the heartbeat has not noticed yet."""
        if self._forked or self.belief.holds(self._steady()):
            return
        with self._lock:
            slept = not self.renewed or self._context.heartbeats.overslept()
            reason = self.belief.expire(self._steady(), slept=slept)
            reason = reason or self._loss_unannounced()
        if reason is not None:
            self._context.heartbeats.ensure_running()
            self.loss.announce(reason)

    def _loss_unannounced(self) -> LossReason | None:
        """Why it was lost, if the thread that noticed it was interrupted before anything followed."""
        return None if self.loss.announced else self.belief.reason

    def _word(self) -> str:
        return "held" if self.held else self.reason.value


def _require_renewed(lease_id: str, answer: Answer, *, what: str = "renewed") -> None:
    match answer:
        case Rejected():
            raise answer.error
        case Unknown() | Unsent() | Conflict() | ThrottledAnswer():
            raise StoreUnavailable(
                f"lease {lease_id} could not be {what}: {reason_text(answer.cause)}"
            ) from answer.cause
        case _:
            return
