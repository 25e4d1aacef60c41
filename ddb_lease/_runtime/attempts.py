"""The attempts to renew one lease: one at a time in the background, and none for ever.

Invariants:

- The heartbeat asks for an attempt, a worker begins it, `renewer` sends its requests. The lease's belief changes only
  under `lock`, which is never held across a request.
- An attempt whose request has no answer in `call_seconds` and some slack is given up: its client's timeouts promise
  one, so the call trickles, or hangs where no timeout applies. The lease is renewed anew, alone, on another worker.
- An attempt that was given up stays in flight and may be carried out at any time; the table's conditions make that
  safe. If it turns out to have succeeded, that counts as the belief allows for answers out of order. Its failure tells
  nothing: the attempts after it decide.
- `serial` is held by the thread that renews or releases the lease. An attempt that is given up keeps the lock that it
  took, and the lease gets a new one.
"""

from __future__ import annotations

import contextvars
import functools
import math
import threading
from typing import Final

from ddb_lease._protocol.lease_state import Belief
from ddb_lease._protocol.messages import Answer, Done, Refused, Rejected, Renew, Request
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime.heartbeat import Scheduled
from ddb_lease._runtime.instrumentation import Observer, PendingEvents
from ddb_lease._runtime.lease_end import LeaseContext
from ddb_lease._runtime.loss import Loss
from ddb_lease._runtime.ports import Lock
from ddb_lease._runtime.renewer import BatchCall, PlannedRenewal, RenewalAnswers
from ddb_lease._state.log import queued as _log
from ddb_lease._state.service_time import WIDE_SECONDS, Reading
from ddb_lease.errors import LossReason
from ddb_lease.events import Renewed

_SLACK: Final = 1.25
"""A request is given up after its timeouts times this: a machine may be busy."""

_PART: Final = 1 / 4
"""A request is given up after this part of the lease at the latest: it leaves room for two more before the deadline."""


class Attempts:
    """How one lease is renewed.

    Args:
        grant: What was acquired.
        belief: The lease's state.
        context: What it shares with the bucket's other leases.
        scheduled: The lease as the heartbeat knows it.
        loss: What follows when it is lost.
        events: The lease's events; None if nobody listens.

    Attributes:
        lock: Around each change of the lease's state.
        serial: Held by the thread that renews or releases it.
        current: The heartbeat's attempt under way; None if there is none.
        given_up: How many attempts were given up.
        surroundings: The context variables of the acquire: tracing finds the renewals' parent there.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        belief: Belief,
        context: LeaseContext,
        scheduled: Scheduled,
        loss: Loss,
        events: PendingEvents | None,
    ) -> None:
        self.id = grant.lease_id
        self.slots = grant.slots
        self.belief = belief
        self.events = events
        self._loss = loss
        # Reentrant: a signal handler may read `held` while its own thread holds the lock.
        self.lock = threading.RLock()
        self.serial = context.runtime.lock()
        self.current: Attempt | None = None
        self.given_up = 0
        self.surroundings = contextvars.copy_context()
        self._fence = grant.fence
        self._seconds = grant.lease_ms / 1000
        self._context = context
        self._scheduled = scheduled
        self._busy_since = math.inf
        self._refused: frozenset[int] = frozenset()
        self.steady = context.runtime.clock.steady

    @functools.cached_property
    def _longest(self) -> float:
        """Seconds without an answer after which a request is given up."""
        return min(_SLACK * self._context.connection.call_seconds(self._seconds), _PART * self._seconds)

    def new(self) -> Attempt:
        """A new attempt: one by hand, unless it is made the current one."""
        return Attempt(self)

    def asked(self) -> Attempt:
        """The attempt that the heartbeat has asked for."""
        with self.lock:
            if self.current is None:
                self.current = self.new()
            return self.current

    def take_serial(self, seconds: float) -> Lock | None:
        """Wait for a renewal or a release in progress; returns the lock to release, or None if it still hangs."""
        serial = self.serial
        try:
            return serial if serial.acquire(timeout=seconds) else None
        except BaseException:
            self.serial = self._context.runtime.lock()  # interrupted: we may hold the other, and nobody would know
            raise

    # For the heartbeat, under the lock, while the lease is held.

    def due_in(self, now: float) -> float:
        """Seconds until the lease must be looked after."""
        attempt = self.current
        if attempt is None:
            return self.belief.due_in(now, doubtful=self._context.state.time.doubtful)
        return min(self.belief.deadline, self._give_up_at(attempt, min(attempt.moved_at, now))) - now

    def ask(self, now: float) -> bool:
        """Make an attempt the current one, if one is due or the last is given up; returns whether it did."""
        late = self.current
        if late is not None:
            # One that waits for a worker is not late, however long it waits: another one would wait, too.
            if now < self._give_up_at(late, late.moved_at):
                return False
            self._give_up(late, now)
        else:
            ahead = self._context.renewer.ahead() if self.belief.may_come_early(now) else 0.0
            if self.due_in(now) > ahead:
                return False
        self.current = self.new()
        return True

    def _give_up_at(self, attempt: Attempt, moved_at: float) -> float:
        """When to give an attempt up that moved last at this time, on the steady clock."""
        give_up_at = moved_at + self._longest
        if attempt.planned:
            return give_up_at
        # It reads the service's time first. If a read hangs, another attempt must have time to read it.
        halfway = (moved_at + self.belief.settle_until) / 2
        return min(give_up_at, max(moved_at + self._longest / 4, halfway))

    def _give_up(self, attempt: Attempt, now: float) -> None:
        attempt.given_up = True
        self.given_up += 1
        if attempt.serial is self.serial:
            self.serial = self._context.runtime.lock()
        self.belief.alone = True
        self._context.renewer.gave_up(attempt)
        waited = now - attempt.moved_at
        _log.info(
            "lease %s: no answer to a renewal for %.1f s; it is renewed anew (%d)", self.id, waited, self.given_up
        )

    # For its attempts, under the lock.

    def take_at_once(self, now: float) -> Lock | None:
        """Take `serial`, unless another thread holds it; one that has held it for too long hangs, and is passed by."""
        serial = self.serial
        if serial.acquire(blocking=False):
            self._busy_since = math.inf
            return serial
        self._busy_since = min(self._busy_since, now)
        if now < self._busy_since + self._longest or not self.belief.holds(now):
            return None
        self._busy_since = math.inf
        self.serial = serial = self._context.runtime.lock()
        serial.acquire()
        return serial

    def plan(self, *, within_ms: int | None = None, owner: str | None = None) -> PlannedRenewal | None:
        """The requests to send now; None if the lease is not held, or the service's time is too uncertain.

        A written expiry never falls. So while there is time, the renewal waits until the service's time is certain. The
        expiry is never more than one more lease length ahead, even if the lease is lost because of that.

        Args:
            within_ms: If the lease is handed over by it: how long it must not expire at least. Else None.
            owner: If it is handed over: what people read then.
        """
        state, belief = self._context.state, self.belief
        with self.lock:
            # Steady time first: see `Belief.begin_renewal`.
            belief.tried_at = now = self.steady()
            known = state.time.read()
            if known is None or self._is_too_wide(known, now):
                belief.postpone(now)
                return None
            if within_ms is None:
                renewal = belief.begin_renewal(now, known.latest_ms)
            else:
                renewal = belief.begin_hand_over(now, known.latest_ms, within_ms)
        if renewal is None:
            return None
        expires_at = renewal.expires_at
        ttl = state.ttl(known.latest_ms, expires_at=expires_at, fence=self._fence)
        # What a batch refused comes first: a batch does not say why, and one request then tells.
        slots = sorted(self.slots, key=lambda slot: slot not in self._refused) if self._refused else self.slots
        requests = [Renew(slot=slot, lease_id=self.id, expires_at=expires_at, ttl=ttl, owner=owner) for slot in slots]
        return PlannedRenewal(renewal=renewal, requests=tuple(requests))

    def _is_too_wide(self, known: Reading, now: float) -> bool:
        wide = known.latest_within_seconds
        return wide > WIDE_SECONDS and (wide > self._seconds or now < self.belief.settle_until)

    def apply(self, planned: PlannedRenewal, answers: RenewalAnswers, *, attempt: Attempt) -> LossReason | None:
        """Take note of an attempt's answers; returns why the lease is lost, if they lose it."""
        answer = answers.decisive
        with self.lock:
            now, late = self.steady(), attempt.given_up
            if late and not _telling(answer, in_batch=answers.in_batch):
                return None
            if answers.in_batch and not late:
                both = zip(planned.requests, answers.answers, strict=True)
                self._refused = frozenset(asked.slot for asked, said in both if _is_for_itself(said))
                if self._refused:
                    self.belief.renew_alone(now)
                    return None
                self.belief.alone = answers.overtaken
            reason = self.belief.end_renewal(planned.renewal, answer, now)
            if isinstance(answer, Done):
                self.belief.alone = self.belief.alone and late
                self._busy_since = math.inf
                self._note_renewal(now)
        return reason

    def drop(self, attempt: Attempt) -> None:
        """An attempt has ended: the lease may be due again."""
        with self.lock:
            if self.current is attempt:
                self.current = None
        self._context.heartbeats.reconsider(self._scheduled)

    def after(self) -> None:
        """Report what a renewal brought; call it with no lock held."""
        reason = self.belief.reason
        if reason is not None:
            self._loss.announce(reason)
        if self.events is not None:
            self.events.tell()

    def abandon_to_parent(self) -> None:
        """In a forked child: threads of the parent may hold its locks for ever."""
        self.lock = threading.RLock()
        self.serial = self._context.runtime.lock()

    def _note_renewal(self, now: float) -> None:
        events = self.events
        if events is not None and self.belief.holds(now):  # otherwise this answer or an earlier one lost it
            late = max(0.0, now - events.planned)
            events.planned = self.belief.due_at()
            events.note(Renewed(bucket=self._context.state.bucket, lease_id=self.id, late_seconds=late))


class Attempt:
    """One attempt to renew a lease: what the renewer works with (`renewer.Renewable`).

    Attributes:
        id: The lease's id.
        slots: Its slots.
        belief: Its state.
        moved_at: When it began, last sent a request or had an answer, on the steady clock; infinite while it waits for
            a worker.
        planned: Whether it has got as far as sending its requests.
        given_up: Whether the lease is renewed by a later attempt by now.
        serial: The lock that it holds; None if it holds none.
        batch: The batch that it was sent in; None if it was sent alone.
    """

    def __init__(self, lease: Attempts) -> None:
        self.id = lease.id
        self.slots = lease.slots
        self.belief = lease.belief
        self.moved_at = math.inf
        self.planned = self.given_up = False
        self.serial: Lock | None = None
        self.batch: BatchCall | None = None
        self._lease = lease

    @property
    def observe(self) -> Observer | None:
        """Called with each of its requests and the answer; None if nobody listens."""
        events = self._lease.events
        return None if events is None else events.observe

    @property
    def surroundings(self) -> contextvars.Context:
        """The context variables of its acquire."""
        return self._lease.surroundings

    def wait_for_worker(self) -> None:
        """It is in a queue: nothing of it can hang."""
        self.moved_at = math.inf

    def moves(self) -> None:
        """It begins, sends a request, or has an answer."""
        self.moved_at = self._lease.steady()

    def settled(self, request: Request, answer: Answer) -> None:
        """A read of the service's time that it waited for was answered."""
        self.moves()
        if self.observe is not None:
            self.observe(request, answer)

    def begin(self) -> bool:
        """Take `serial`; False if another thread is renewing or releasing the lease, or the attempt was given up."""
        lease = self._lease
        with lease.lock:
            if self.given_up:
                return False
            self.moves()
            self.belief.tried_at = self.moved_at
            self.serial = lease.take_at_once(self.moved_at)
        if self.serial is None:
            self.drop()
        return self.serial is not None

    def plan(self) -> PlannedRenewal | None:
        """The requests to send now; None if the lease is not held, or the service's time is too uncertain."""
        self.planned = True
        return self._lease.plan()

    def apply(self, planned: PlannedRenewal, answers: RenewalAnswers) -> LossReason | None:
        """Take note of the answers; returns why the lease is lost, if they lose it. Calls no user code."""
        if self.observe is not None:
            for request, each in zip(planned.requests, answers.answers, strict=False):  # the rest was not sent
                self.observe(request, each)
        return self._lease.apply(planned, answers, attempt=self)

    def end(self) -> None:
        """Release the lock that `begin` took; the lease may be due again."""
        serial, self.serial = self.serial, None
        if serial is not None:
            serial.release()
        self.drop()

    def drop(self) -> None:
        """It has ended, or no worker could take it: the lease may be due again."""
        self._lease.drop(self)

    def after(self) -> None:
        """Report what happened, with no lock held."""
        self._lease.after()


def _telling(answer: Answer, *, in_batch: bool) -> bool:
    """Whether an attempt's answer counts that came after it was given up: a success, or a loss by an UpdateItem."""
    return isinstance(answer, Done) or (isinstance(answer, Refused) and not in_batch)


def _is_for_itself(answer: Answer) -> bool:
    """Whether a batch's answer is to be asked for again alone: not if a single renewal would be refused as well."""
    return isinstance(answer, Refused) or (isinstance(answer, Rejected) and not answer.unexamined)
