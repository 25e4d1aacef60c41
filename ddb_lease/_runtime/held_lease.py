"""A lease of this process: renewing it, losing it once, cleaning up after it.

Invariants:

- What the holder may believe is decided in `lease_state`; when it is asked, in `heartbeat`; here they meet the threads.
- Renewal and release of one lease are serialised. A release waits some seconds at most for a renewal that hangs: the
  table's conditions keep a late renewal from reviving anything.
- The lost-callback runs once, on a thread of its own, at the deadline at the latest. The slot is given back early only
  after it has returned.
- A watcher is told once, on any thread, when the lease has been lost or released.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ddb_lease._operations.release import ended_slots, require_answers, send_release
from ddb_lease._operations.sync_time import TIME_UNKNOWN, settle
from ddb_lease._protocol.lease_state import Belief, Renewal, State
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
from ddb_lease._protocol.records import Grant, Slot
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.heartbeat import Heartbeats
from ddb_lease._runtime.instrumentation import EventReporter, PendingEvents
from ddb_lease._runtime.ports import Lock, Wakeup
from ddb_lease._runtime.renewer import Due, Renewals, Said, Turn
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.service_time import WIDE_SECONDS
from ddb_lease.errors import LeaseLost, LossReason, StoreError, StoreUnavailable
from ddb_lease.events import Lost, Released, Renewed
from ddb_lease.models import Data

_log = logging.getLogger("ddb_lease")

RELEASE_TRIES = 6
"""How often a release is sent while it fails; after that the slot comes back by expiry."""

RELEASE_SECONDS = 5.0
"""How long a release is tried while it fails."""

PAUSE_SECONDS = 0.2
"""The least time between two renewals by the heartbeat, however urgent."""

_DOUBT_LEAVES = 1 / 4
"""While answers contradict one another, a renewal waits until this part of the lease is left before the deadline."""

_ASKING_LEAVES = 1 / 6
"""When a renewal is about to be sent, it asks for the time until this part of the lease is left, and no longer."""

PATIENCE_SECONDS = 5.0
"""The longest that a release waits for a renewal that is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A renewal that is to be sent, by a request for each slot."""

    renewal: Renewal
    requests: tuple[Renew, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseContext:
    """What a lease needs of its bucket."""

    state: BucketState
    driver: Driver
    heartbeats: Heartbeats
    renewals: Renewals
    leases: dict[str, HeldLease]
    spawn: Callable[[Callable[[], None]], None]
    wakeup: Callable[[], Wakeup]
    lock: Callable[[], Lock]
    reporter: EventReporter | None


class HeldLease:
    """A lease on one slot, or on several, from its grant to its end. `Lease` and `aio.Lease` are its public handles.

    Attributes:
        id: Unique for every acquisition.
        slot: The lowest of its slots.
        slots: All slots that were taken together.
        fence: The fencing token.
        owner: Who acquired it.
        data: What was attached to it.
        grace: Seconds between the deadline and the earliest moment at which another can hold the slot.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        context: LeaseContext,
    ) -> None:
        self.id = grant.lease_id
        self.slots = grant.slots
        self.slot = grant.slots[0]
        self.fence = grant.fence
        self.owner = grant.owner
        self.data: Data = grant.data
        self._context = context
        self._on_lost: Callable[[], object] | None = None
        self._watchers: list[Callable[[], object]] = []
        self._told_over = False
        state = context.state
        seconds = grant.lease_ms / 1000
        self._seconds = seconds
        self.grace = state.timing.grace_for(seconds)
        self._margin = state.timing.margin_for(seconds)
        self._belief = Belief(grant, margin=self._margin, chance=state.chance, late_by=state.time.late_by)
        # Reentrant: a signal handler may ask `held` while its own thread is in here.
        self._lock = threading.RLock()
        self.serial = context.lock()
        self._renewing = False
        self._alone = False
        self._tried_at = -math.inf
        self._clean_up_at = math.inf
        self._called_back = False
        self._owes_call = False
        self._answered = False
        self._freed = False
        reporter = context.reporter
        self._pending_events = None if reporter is None else PendingEvents(reporter, planned=self._belief.due_at())
        self.observe = None if self._pending_events is None else self._pending_events.observe
        self._forked = False

    def __repr__(self) -> str:
        return f"<Lease {self.id} {self._where().replace(' ', '=')} fence={self.fence} {self._word()}>"

    @property
    def context(self) -> LeaseContext:
        """What it has of its bucket."""
        return self._context

    @property
    def held(self) -> bool:
        """Whether the lease is ours at this moment. No I/O."""
        self._notice()
        return not self._forked and self._belief.holds(self._now())

    @property
    def remaining(self) -> float:
        """Seconds for which the lease is surely ours if no renewal succeeds any more; 0.0 once it is not held."""
        return max(0.0, self._belief.deadline - self._now()) if self.held else 0.0

    @property
    def lost(self) -> LossReason | None:
        """Why the lease was lost; None while it is held, and after a release by us. No I/O."""
        self._notice()
        return self._belief.reason

    @property
    def reason(self) -> LossReason:
        """Why it is not held any more; RELEASED and FORKED too."""
        if self._forked:
            return LossReason.FORKED
        return self._belief.reason or LossReason.RELEASED

    @property
    def over(self) -> bool:
        """Whether it has been lost or released, or is the parent's; watchers have been told, or never will be."""
        return self._told_over or self._forked

    @property
    def on_lost(self) -> Callable[[], object] | None:
        """Called once when it is lost, on a thread of its own; set on a lease that is lost already, at once."""
        return self._on_lost

    @on_lost.setter
    def on_lost(self, callback: Callable[[], object] | None) -> None:
        with self._lock:
            self._on_lost = callback
            late = self._owes_call and callback is not None
            self._owes_call = self._owes_call and callback is None
        if late and callback is not None:
            self._context.spawn(lambda: self._call_late(callback))

    def watch(self, tell: Callable[[], object]) -> None:
        """Tell somebody when it has been lost or released; at once where it has."""
        with self._lock:
            late = self._told_over
            if not late:
                self._watchers.append(tell)
        if late:
            tell()

    def unwatch(self, tell: Callable[[], object]) -> None:
        """Tell them no more."""
        with self._lock:
            if tell in self._watchers:
                self._watchers.remove(tell)

    def check(self) -> None:
        """Make sure that the lease is ours. No I/O; a fraction of a microsecond up to a few.

        Raises:
            LeaseLost: It is not, and will not be again: stop what it guards. `reason` says why.
        """
        if not self._forked and self._belief.holds(self._now()):
            if self._context.heartbeats.overslept():
                self._context.heartbeats.ensure_running()
            return
        self._notice()
        if not self._forked and self._belief.holds(self._now()):
            return  # renewed at this very moment
        raise LeaseLost(
            f"lease {self.id} on {self._where()} is not held any more: {self._word()}",
            reason=self.reason,
            lease_id=self.id,
        )

    def renew(self) -> None:
        """Renew now, on the calling thread, besides what the heartbeat does. One UpdateItem a slot, 1 WCU each.

        Raises:
            LeaseLost: The lease is not ours (any more).
            StoreUnavailable: No usable answer; the lease is held until its deadline, and the heartbeat goes on.
            StoreRejected: The service refuses for good; held until its deadline as well.
        """
        self.check()
        with self.serial:
            answer = self._renew_once()
        self._context.heartbeats.reconsider(self)
        self._tell()
        self.check()
        match answer:
            case Rejected():
                raise answer.error
            case Unknown() | Unsent() | Conflict() | ThrottledAnswer():
                raise StoreUnavailable(f"lease {self.id} could not be renewed: {answer.cause}") from answer.cause
            case _:
                return

    def release(self) -> bool:
        """Give the slot back, or all of them. One UpdateItem a slot, 1 WCU each; waiters of this process need no poll.

        From its first instruction on, the lease is not held any more, whatever becomes of the request.

        Returns:
            Whether this call ended the lease in the table, on one of its slots at least. False: it was another's by
            then, or nobody's, as on a second call; nothing was changed. Only where an answer was lost, and another had
            taken the slot before the release was sent again, does False also stand for "ended, by its first sending,
            as far as can be known".

        Raises:
            StoreUnavailable: No usable answer in some seconds; the slot comes back when the lease expires. May be
                called again.
            StoreRejected: The service refuses for good; the slot comes back when the lease expires.
        """
        if not self.begin_release():
            return False
        # A renewal under way is waited for, but not for ever: its condition keeps it from reviving anything.
        mine = self.serial.acquire(timeout=self.patience())
        with self.ending(mine=mine):
            return self._send_release(tries=RELEASE_TRIES, seconds=RELEASE_SECONDS)

    # What the heartbeat asks for (`heartbeat.Beating`).

    @property
    def group(self) -> Renewals:
        """Those whose renewals are sent together with its own."""
        return self._context.renewals

    def due_in(self) -> float:
        """Seconds until the heartbeat must look after this lease."""
        with self._lock:
            now, belief = self._now(), self._belief
            if belief.state is not State.HELD:
                return self._clean_up_at - now
            if self._renewing:
                return belief.deadline - now
            due = belief.due_at()
            if self._context.state.time.doubtful:
                # The bounds are wide while answers disagree, and what is written as expiry never falls again: wait
                # for the doubt to be cleared, as long as there is time.
                due = max(due, belief.deadline - self._seconds * _DOUBT_LEAVES)
            return min(max(due, self._tried_at + PAUSE_SECONDS), belief.deadline) - now

    def beat(self, *, slept: bool) -> None:
        """Do what is due, without blocking."""
        with self._lock:
            now = self._now()
            if self._belief.state is not State.HELD:
                if now >= self._clean_up_at:
                    self._clean_up_at = math.inf
                    self._context.heartbeats.workers.submit(self._clean_up)
                return
            reason = self._belief.expire(now, slept=slept)
            if reason is None and not self._renewing and self.due_in() <= self._ahead(now):
                due = self._due()
                self._renewing = True
                self._context.renewals.put(due)
        if reason is not None:
            self._lose(reason)

    def abandon_to_parent(self) -> None:
        """In a forked child: the parent goes on holding; here it never was."""
        self._forked = True
        self._lock = threading.RLock()
        self.serial = self._context.lock()

    def release_at_exit(self) -> None:
        """Release with a single try, raising nothing: the interpreter is about to end."""
        with self._lock:
            held = self._belief.release()
        if held and not self._forked:
            with contextlib.suppress(StoreError):
                self._send_release(tries=1, seconds=0.0)
        self._end()

    # Behind the scenes.

    def begin_release(self) -> bool:
        """From now on it is not held; returns whether there is anything to send."""
        if self._forked:
            return False
        with self._lock:
            self._notice()
            self._belief.release()
            # Of several slots, only one may have been taken: the others are still to be given back.
            done = self._belief.reason in {LossReason.TAKEN, LossReason.GONE} and len(self.slots) == 1
        if done or self._answered:
            self._end()
            return False
        return True

    def patience(self) -> float:
        """How long a release waits for a renewal that is under way."""
        return min(PATIENCE_SECONDS, self._seconds / 3)

    @contextlib.contextmanager
    def ending(self, *, mine: bool) -> Iterator[None]:
        """Around the sending of a release; `mine`: we are through the turnstile."""
        try:
            yield
        except StoreError:
            raise
        except BaseException:
            # Interrupted: a worker sees to it, so that the slot does not stay leased until it expires.
            self._context.heartbeats.workers.submit(self._release_quietly)
            raise
        finally:
            if mine:
                self.serial.release()
            self._end()

    def _now(self) -> float:
        return self._context.state.time.steady()

    def _notice(self) -> None:
        """Find out here and now that the deadline has passed, should the heartbeat not have got round to it."""
        if self._forked or self._belief.holds(self._now()):
            return
        with self._lock:
            reason = self._belief.expire(self._now(), slept=self._context.heartbeats.overslept())
        if reason is not None:
            self._context.heartbeats.ensure_running()
            self._lose(reason)

    def _where(self) -> str:
        return f"slot {self.slot}" if len(self.slots) == 1 else f"slots {','.join(map(str, self.slots))}"

    def _word(self) -> str:
        return "held" if self.held else self.reason.value

    def _due(self) -> Due:
        return Due(
            by=self._belief.deadline,
            until=self._time_may_be_asked_until(),
            slots=len(self.slots),
            alone=self._alone,
            by_itself=self._renew_by_itself,
            together=self._renew_together,
            dropped=self._end_turn,
        )

    def _renew_by_itself(self) -> None:
        with self._turn() as mine:
            if mine:
                self._renew_once()
        self._tell()

    def _renew_together(self) -> Turn:
        """Its part in a batch: believed where that says that it renewed, else asked for again by itself."""
        reason: LossReason | None = None
        with self._turn() as mine:
            begun = self._begin_renewal() if mine else None
            if begun is not None:
                reason = self._end_renewal(begun, (yield begun.requests))
        yield ()  # so much for the belief; what follows calls the user's code
        if reason is not None:
            self._lose(reason)
        self._tell()

    def _end_renewal(self, begun: Begun, said: Said | None) -> LossReason | None:
        if said is None:
            return None  # given up
        if self.observe is not None:
            for request, answer in zip(begun.requests, said.answers, strict=True):
                self.observe(request, answer)
        refused = any(isinstance(answer, (Refused, Rejected)) for answer in said.answers)
        with self._lock:
            self._alone = refused or said.alone
            if refused:
                self._belief.hurry(self._now())
        return None if refused else self._take_note(begun, _of_all(said.answers))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        """A turn at renewing in the background; False where somebody is renewing or releasing it at this moment."""
        mine = self.serial.acquire(blocking=False)
        self._tried_at = self._now()
        try:
            yield mine
        finally:
            if mine:
                self.serial.release()
            self._end_turn()

    def _end_turn(self) -> None:
        with self._lock:
            self._renewing = False
        self._context.heartbeats.reconsider(self)

    def _ahead(self, now: float) -> float:
        """Seconds by which it may be renewed early, together with others; none where the last try failed."""
        if self._alone or self._belief.failures or now < self._tried_at + PAUSE_SECONDS:
            return 0.0
        return self._context.renewals.ahead()

    def _widest(self) -> float:
        """How far apart the bounds on the service's time may be, in seconds, for a renewal to be written by them now.

        Its expiry never falls again. As long as there is time, doubt is waited out; and never may it lie further ahead
        than another lease's length, not even where the lease is lost for it.
        """
        left = self._belief.deadline - self._now()
        return WIDE_SECONDS if left > self._seconds * _ASKING_LEAVES else max(WIDE_SECONDS, self._seconds)

    def _time_may_be_asked_until(self) -> float:
        return self._belief.deadline - self._seconds * _ASKING_LEAVES

    def _begin_renewal(self) -> Begun | None:
        """What is to be sent now; None where nothing is: it is not held, or the time is not told well enough."""
        state = self._context.state
        with self._lock:
            # Steady time first: see `Belief.begin_renewal`.
            self._tried_at = self._now()
            _, now_hi = state.time.now_ms()
            if state.time.wider_than(self._widest()):
                self._belief.retry_later(self._tried_at)
                return None
            renewal = self._belief.begin_renewal(self._tried_at, now_hi)
        if renewal is None:
            return None
        expires_at = renewal.expires_at
        ttl = state.ttl(now_hi, expires_at=expires_at, fence=self.fence)
        requests = tuple(Renew(slot=slot, lease_id=self.id, expires_at=expires_at, ttl=ttl) for slot in self.slots)
        return Begun(renewal=renewal, requests=requests)

    def _renew_once(self) -> Answer | None:
        """Renew each slot by a request of its own; returns the last answer, which is the first that is no success."""
        time = self._context.state.time
        if time.unsettled:
            asking = settle(time, until=self._time_may_be_asked_until())
            self._context.driver.run(asking, self._context.wakeup(), observe=self.observe)
        begun = self._begin_renewal()
        if begun is None:
            return Unknown(cause=TIME_UNKNOWN) if self._belief.holds(self._now()) else None
        answers: list[Answer] = []
        for request in begun.requests:
            answers.append(self._perform(request))
            if not isinstance(answers[-1], Done) or _revoked(answers[-1]):
                break
        self._conclude(begun, answers[-1])
        if isinstance(answers[-1], Done):
            self._context.renewals.worked_alone()
        return answers[-1]

    def _perform(self, request: Renew) -> Answer:
        try:
            answer = self._context.driver.perform(request)
            if self.observe is not None:
                self.observe(request, answer)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the heartbeat, nor make it race
            _log.exception("renewing lease %s failed by a defect; it is tried again", self.id)
            return Unknown(cause=error)
        return answer

    def _conclude(self, begun: Begun, answer: Answer) -> None:
        """Take note of a renewal's outcome, and say what came of it: of several slots, the answer that counts."""
        reason = self._take_note(begun, answer)
        if reason is not None:
            self._lose(reason)
        elif isinstance(answer, Rejected):
            _log.warning("lease %s could not be renewed, and tries on: %s", self.id, answer.error)

    def _take_note(self, begun: Begun, answer: Answer) -> LossReason | None:
        with self._lock:
            now = self._now()
            reason = self._belief.end_renewal(begun.renewal, answer, now)
            if isinstance(answer, Done):
                self._alone = False
                if self._pending_events is not None:
                    self._note_renewal(self._pending_events, now)
        return reason

    def _lose(self, reason: LossReason) -> None:
        """The lease was lost just now: say so, once."""
        with self._lock:
            if reason in {LossReason.UNREACHABLE, LossReason.SUSPENDED}:
                # A renewal nobody saw the answer of may have extended it: once the old expiry has passed, that one
                # is released. Not before, for the sake of work that only looks at `check` from time to time.
                self._clean_up_at = self._belief.deadline + self._margin
        self._context.heartbeats.reconsider(self)
        self._context.spawn(self._aftermath)
        if self._pending_events is not None:
            # On another thread: a slow `on_event` must keep neither the callback nor the heartbeat, nor us in a lock.
            lost = Lost(bucket=self._context.state.bucket, lease_id=self.id, reason=reason)
            self._context.spawn(functools.partial(self._pending_events.reporter.end, lost))
        # Last: whatever the log's handlers do, the callback has been started.
        _log.warning("lease %s on %s is lost: %s", self.id, self._where(), reason)

    def _aftermath(self) -> None:
        self._tell_watchers()
        with self._lock:
            callback = self._on_lost
            self._owes_call = callback is None
        if callback is not None:
            self._call(callback)
        self._called_back = True
        if callback is not None and self._may_be_ours():
            self._clean_up()  # the callback has stopped the work: the slot is free for whoever wanted it
            # Without one, nobody knows whether the work has stopped: the slot is free when the holder releases it.
        elif self._clean_up_at == math.inf:
            self._end()

    def _may_be_ours(self) -> bool:
        """Whether, lost, it still stands in the table for all we know: it was revoked, or has other slots besides."""
        reason = self._belief.reason
        return reason is LossReason.REVOKED or (reason in {LossReason.TAKEN, LossReason.GONE} and len(self.slots) > 1)

    def _call_late(self, callback: Callable[[], object]) -> None:
        self._call(callback)
        if self._may_be_ours():
            self._release_quietly()

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except BaseException:  # noqa: BLE001 - the user's own; the lease's end must go on
            _log.exception("the lost-callback of lease %s failed", self.id)

    def _clean_up(self) -> None:
        """After a loss: release what may still be leased in our name."""
        if not self._called_back:
            with self._lock:
                self._clean_up_at = self._now() + 1.0
            self._context.heartbeats.reconsider(self)
            return
        self._release_quietly()

    def _release_quietly(self) -> None:
        try:
            self._send_release(tries=RELEASE_TRIES, seconds=RELEASE_SECONDS)
        except StoreError as error:
            _log.info("lease %s was not released, and ends by expiry: %s", self.id, error)
        self._end()

    def _end(self) -> None:
        self._context.heartbeats.drop(self)
        self._context.leases.pop(self.id, None)
        self._context.state.ended(self.id)
        if self._pending_events is not None:
            self._pending_events.tell()
            if self._belief.state is State.RELEASED:
                bucket = self._context.state.bucket
                self._pending_events.reporter.end(Released(bucket=bucket, lease_id=self.id, freed=self._freed))
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        with self._lock:
            self._told_over = True
            watchers, self._watchers = self._watchers, []
        for tell in watchers:
            tell()

    def _tell(self) -> None:
        if self._pending_events is not None:
            self._pending_events.tell()

    def _note_renewal(self, notes: PendingEvents, now: float) -> None:
        if self._belief.holds(now):  # else it was lost, by this answer or before it
            late = max(0.0, now - notes.planned)
            notes.planned = self._belief.due_at()
            notes.note(Renewed(bucket=self._context.state.bucket, lease_id=self.id, late_seconds=late))

    def _send_release(self, *, tries: int, seconds: float) -> bool:
        return self._context.driver.run(
            self.releasing(tries=tries, seconds=seconds), self._context.wakeup(), observe=self.observe
        )

    def releasing(self, *, tries: int, seconds: float) -> Operation[bool]:
        state = self._context.state
        outcomes = yield from send_release(
            state,
            slots=self.slots,
            lease_id=self.id,
            fence=self.fence,
            tries=tries,
            deadline=self._now() + seconds,
        )
        ended = ended_slots(outcomes, fence=self.fence)
        for slot in ended:
            state.hints.released(slot, Slot(number=slot, fence=self.fence), now=self._now())
        self._freed = bool(ended)
        require_answers(outcomes, lease_id=self.id)
        self._answered = True
        return bool(ended)


def _revoked(answer: Answer) -> bool:
    lease = answer.slot.lease if isinstance(answer, Done) and answer.slot else None
    return lease is not None and lease.revoked


def _of_all(answers: Sequence[Answer]) -> Answer:
    """Of the answers for one lease's slots, the one that counts: one that shows a revocation, else a failure."""
    failed = (answer for answer in answers if not isinstance(answer, Done))
    return next(filter(_revoked, answers), None) or next(failed, answers[0])
