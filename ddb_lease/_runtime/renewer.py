"""The renewer: sends one bucket's renewals. Leases that are due together share a request.

Invariants:

- It sends requests and returns answers; the lease applies them. Nothing here knows what an answer means for a lease.
- No failure of a batch loses a lease. If a batch does not show that it renewed a lease, that lease is renewed again
  with its own UpdateItem. A mark of a revocation that it does show counts.
- `BatchBreaker` decides when batches are suspended. Meanwhile each renewal is sent alone.
- A lease that another thread is renewing or releasing is left out of a batch: nothing here waits for a lock.
- A batch has at most one renewal of a slot, or the service would refuse it as a whole.
- It works with attempts, each of which may be given up at any time while it is under way here.
- User code runs only after all leases of a batch have applied their answers. A bug in one lease costs no other.
- A renewal runs with the context variables of the acquire, a batch with those of its first lease.
"""

from __future__ import annotations

import contextvars
import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ddb_lease._operations.sync_time import settle
from ddb_lease._protocol.batch_breaker import BatchBreaker, Mode
from ddb_lease._protocol.lease_state import Belief, Renewal
from ddb_lease._protocol.messages import Answer, Done, Each, Rejected, Renew, RenewEach, Request, Unknown, Unsent
from ddb_lease._protocol.records import PER_BATCH
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.instrumentation import EventReporter, Observer
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.bucket_state import BucketState
from ddb_lease._state.log import queued as _log
from ddb_lease.errors import LossReason, StoreUnavailable

AHEAD = 1 / 60
"""To share a request, a renewal may be early by this part of the lease (a twentieth of the renewal interval)."""

MOST_AHEAD_SECONDS = 1.0
"""The most by which it comes early, however long the lease."""

_LEFT_OUT: Final = Unsent(cause=StoreUnavailable("another slot of the lease was not renewed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRenewal:
    """A renewal of one lease to be sent: one request for each slot."""

    renewal: Renewal
    requests: tuple[Renew, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalAnswers:
    """What came of a planned renewal.

    Attributes:
        answers: One for each request that was sent, in order.
        in_batch: Whether the answers came in a batch, whose failures lose no lease.
        overtaken: Whether a later batch was answered and this one was not. Then something in this batch is slow: renew
            each of its leases alone.
    """

    answers: Sequence[Answer]
    in_batch: bool = False
    overtaken: bool = False

    @property
    def decisive(self) -> Answer:
        """The one that counts: an answer that shows a revocation, else a failure."""
        failed = (answer for answer in self.answers if not isinstance(answer, Done))
        return next(filter(_revoked, self.answers), None) or next(failed, self.answers[0])


@dataclass(slots=True, eq=False)
class BatchCall:
    """A batch that was sent: its attempts share it, as each may be given up by itself.

    Attributes:
        sent: When, on the steady clock.
        counted: Whether the breaker was shown that it has no answer.
    """

    sent: float
    counted: bool = False


class Renewable(Protocol):
    """One attempt to renew a lease, as the renewer sees it.

    It is `begin`, `plan`, `apply`, `end`, `after`, in this order.
    """

    id: str
    slots: tuple[int, ...]
    belief: Belief
    batch: BatchCall | None

    @property
    def surroundings(self) -> contextvars.Context:
        """The context variables of its acquire: tracing finds the renewals' parent there."""
        ...

    @property
    def observe(self) -> Observer | None:
        """Called with each of its requests and the answer; None if nobody listens."""
        ...

    def wait_for_worker(self) -> None:
        """It is in a queue: nothing of it can hang."""
        ...

    def moves(self) -> None:
        """It begins, sends a request, or has an answer: if nothing follows for long, it is given up."""
        ...

    def settled(self, request: Request, answer: Answer) -> None:
        """A read of the service's time that it waited for was answered."""
        ...

    def begin(self) -> bool:
        """Take the lock that serialises renewal and release; False if another thread has it, or it was given up."""
        ...

    def plan(self) -> PlannedRenewal | None:
        """The requests to send now; None if the lease is not held, or the service's time is too uncertain."""
        ...

    def apply(self, planned: PlannedRenewal, answers: RenewalAnswers) -> LossReason | None:
        """Take note of the answers; returns why the lease is lost, if they lose it. Calls no user code."""
        ...

    def end(self) -> None:
        """Release the lock that `begin` took."""
        ...

    def drop(self) -> None:
        """The lease is due again: no worker could take it."""
        ...

    def after(self) -> None:
        """Report what happened, with no lock held: this calls user code."""
        ...


class Renewed(Protocol):
    """A lease as the heartbeat passes it."""

    @property
    def attempts(self) -> Asked:
        """Its attempts."""
        ...


class Asked(Protocol):
    """The attempts of a lease."""

    def asked(self) -> Renewable:
        """The attempt that the heartbeat has asked for."""
        ...


class Renewer:
    """Renews one bucket's leases, on workers.

    Args:
        state: The bucket's state.
        driver: Sends the requests.
        runtime: The process's workers, and what ends a pause early.
        reporter: Reports what each read of the service's time shows; None if nobody listens.

    Attributes:
        given_up: How many attempts were given up.
    """

    def __init__(
        self,
        *,
        state: BucketState,
        driver: Driver,
        runtime: Runtime,
        reporter: EventReporter | None,
    ) -> None:
        self._state = state
        self._driver = driver
        self._runtime = runtime
        self._observe = None if reporter is None else reporter.observe
        self._lock = threading.RLock()  # around each change of the breaker
        self._breaker = BatchBreaker()
        self.given_up = 0
        self._refused = False  # since the last renewal that worked, and told

    @property
    def breaker(self) -> BatchBreaker:
        """What is known by now of the bucket's batches."""
        return self._breaker

    def ahead(self) -> float:
        """Seconds by which a lease may be renewed early when another is due: 0 while batches are suspended."""
        if self._rests():
            return 0.0
        return min(MOST_AHEAD_SECONDS, self._state.lease_ms() / 1000 * AHEAD)

    def renew(self, leases: Sequence[Renewed]) -> None:
        """Renew leases on workers, the most urgent first; returns without waiting."""
        waiting = sorted((lease.attempts.asked() for lease in leases), key=_deadline)
        try:
            while waiting:
                # Read again for each: if the job runs at once on this thread, it may suspend batches meanwhile.
                batch, waiting = take_batch(waiting, singly=self._rests())
                if len(batch) == 1 and (len(batch[0].slots) == 1 or batch[0].belief.alone or self._rests()):
                    self._submit_singles(batch)
                else:
                    self._submit(functools.partial(self._renew_batch, batch), batch)
        except BaseException:
            for attempt in waiting:
                attempt.drop()
            raise

    def gave_up(self, attempt: Renewable) -> None:
        """An attempt under way was given up: if it was sent in a batch, that batch counts as unanswered, once."""
        self.given_up += 1
        batch = attempt.batch
        if batch is not None and not batch.counted:
            batch.counted = True
            hangs = StoreUnavailable("a batch of renewals has no answer within its timeouts")
            self._note_batch([Unknown(cause=hangs)], batch.sent)

    def renew_singly(self, attempt: Renewable) -> tuple[Answer | None, LossReason | None]:
        """Renew a lease with one UpdateItem a slot. The caller has begun the renewal, and ends it.

        Returns:
            The answer that counts, or why the service's time could not be asked for; None if nothing was sent. And why
            the lease is lost, if it is.
        """
        time = self._state.time
        failed: Answer | None = None
        if time.unsettled_strictly:
            operation = settle(time, until=attempt.belief.settle_until)
            failed = self._driver.run(operation, self._runtime.wakeup(), observe=attempt.settled)
        planned = attempt.plan()
        if planned is None:
            return failed, None
        answers = self._send_singly(attempt, planned.requests)
        reason = attempt.apply(planned, RenewalAnswers(answers=answers))
        answer = answers[-1]
        if isinstance(answer, Done):
            self._note_single()
            self._refused = False
        elif isinstance(answer, Rejected) and reason is None:
            self._warn_once(f"lease {attempt.id}", answer)
        return answer, reason

    def after_fork_in_child(self) -> None:
        """In a forked child: requests in flight belong to the parent."""
        self._lock = threading.RLock()
        self._breaker = self._breaker.after_fork_in_child()

    # On workers.

    def _renew_batch(self, batch: Sequence[Renewable]) -> None:
        """Renew leases together, or one by one if the breaker says so by now."""
        for attempt in batch:
            attempt.moves()
        with self._lock:
            mode = self._breaker.mode(self._state.time.steady())
            self._breaker = self._breaker.began(mode)
        match mode:
            case Mode.SINGLES:
                self._submit_singles(batch)
            case Mode.BATCH:
                self._renew_together(batch)
            case Mode.TEST_BATCH:
                try:
                    self._renew_together(batch)
                finally:
                    self._end_test()
            case Mode.BATCH_AND_PROBE:
                probe = batch[0]
                if not self._submit(functools.partial(self._probe, probe), [probe], by=-math.inf):
                    self._end_probe()
                self._renew_together(batch[1:])

    def _renew_one(self, attempt: Renewable) -> None:
        """Renew a lease alone, unless another thread is renewing or releasing it."""
        if attempt.begin():
            try:
                self.renew_singly(attempt)
            finally:
                attempt.end()
        attempt.after()

    def _probe(self, attempt: Renewable) -> None:
        try:
            self._renew_one(attempt)
        finally:
            self._end_probe()

    def _renew_together(self, batch: Sequence[Renewable]) -> None:
        """Renew leases with as few requests as possible."""
        batch = self._settle_time(batch)
        planned: list[tuple[Renewable, PlannedRenewal]] = []
        try:
            for attempt in batch:
                plan = _begin(attempt)
                if plan is not None:
                    planned.append((attempt, plan))
            answers = self._send_together(planned)
            for attempt, plan in planned:
                _apply(attempt, plan, answers)
        finally:
            for attempt, _ in planned:
                attempt.end()
        for attempt, _ in planned:
            _after(attempt)

    def _settle_time(self, batch: Sequence[Renewable]) -> Sequence[Renewable]:
        """Make the service's time certain, once for all these leases: a written expiry never falls again.

        Returns:
            The leases that have time to wait for that. The others are renewed alone, at once.
        """
        time = self._state.time
        if not time.unsettled_strictly:
            return batch
        now = time.steady()
        until = {attempt: attempt.belief.settle_until for attempt in batch}
        self._submit_singles([attempt for attempt in batch if until[attempt] <= now])
        patient = [attempt for attempt in batch if until[attempt] > now]
        if patient:

            def observe(request: Request, answer: Answer) -> None:
                for attempt in patient:
                    attempt.moves()
                if self._observe is not None:
                    self._observe(request, answer)

            try:
                operation = settle(time, until=min(until[attempt] for attempt in patient))
                self._driver.run(operation, self._runtime.wakeup(), observe=observe)
            except Exception:  # noqa: BLE001 - a defect of ours must not keep them from being renewed
                _log.exception("asking for the service's time failed (a bug)")
        return patient

    # Sending.

    def _send_singly(self, attempt: Renewable, requests: Sequence[Renew]) -> list[Answer]:
        """One answer for each request, up to the first that failed or shows a revocation."""
        answers: list[Answer] = []
        for request in requests:
            attempt.moves()
            try:
                answer = self._driver.perform(request)
            except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the heartbeat, nor make it race
                _log.exception("renewing lease %s failed (a bug); it will be retried", attempt.id)
                answer = Unknown(cause=error)
            answers.append(answer)
            if not isinstance(answer, Done) or _revoked(answer):
                break
        return answers

    def _send_together(self, planned: Sequence[tuple[Renewable, PlannedRenewal]]) -> dict[Renew, tuple[Answer, bool]]:
        """The answer to each request, and whether its batch was overtaken."""
        requests = [request for _, plan in planned for request in plan.requests]
        answered: dict[Renew, tuple[Answer, bool]] = {}
        for first in range(0, len(requests), PER_BATCH):
            if all(isinstance(answer, Done) for answer, _ in answered.values()):
                batch = tuple(requests[first : first + PER_BATCH])
                call = BatchCall(self._state.time.steady())
                for attempt, _ in planned:
                    attempt.batch = call
                    attempt.moves()
                answers, overtaken = self._send_batch(batch, call)
                answered.update((request, (answer, overtaken)) for request, answer in zip(batch, answers, strict=True))
            else:
                # There are more requests than a batch takes only if they are one lease's slots, and one has failed.
                answered.update((request, (_LEFT_OUT, False)) for request in requests[first:])
                break
        return answered

    def _send_batch(self, requests: tuple[Renew, ...], call: BatchCall) -> tuple[Sequence[Answer], bool]:
        try:
            answer = self._driver.perform(RenewEach(renewals=requests))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the heartbeat, nor make it race
            _log.exception("renewing %d slots failed (a bug); they will be retried", len(requests))
            answer = Unknown(cause=error)
        if isinstance(answer, Rejected) and answer.unexamined:
            # All of it is tried again, in a batch. What else refuses a batch is told by the breaker, or by the single
            # renewals that follow.
            self._warn_once(f"bucket {self._state.bucket!r}: {len(requests)} slots", answer)
        elif isinstance(answer, Each):
            self._refused = self._refused and not any(isinstance(one, Done) for one in answer.answers)
        answers = answer.answers if isinstance(answer, Each) else (answer,) * len(requests)
        if call.counted and not isinstance(answer, Each):
            return answers, False  # the breaker knows; the attempts were given up
        return answers, self._note_batch(answers, call.sent)

    def _warn_once(self, what: str, answer: Rejected) -> None:
        """Tell that a renewal was refused: once until one works, not for each lease and each try."""
        if not self._refused:
            self._refused = True
            _log.warning("%s could not be renewed and will be retried: %s", what, answer.error)

    # Whether batches work.

    def _rests(self) -> bool:
        return self._breaker.rests(self._state.time.steady())

    def _note_batch(self, answers: Sequence[Answer], sent: float) -> bool:
        """Show a batch's answers to the breaker; returns whether a later batch was answered first."""
        now = self._state.time.steady()
        with self._lock:
            before, self._breaker = self._breaker, self._breaker.batch_ended(answers, sent=sent, now=now)
            began_to_rest = self._breaker.rests_until > before.rests_until
        if began_to_rest:
            _log.info(
                "bucket %r: leases are renewed one by one for a while, as the service refuses batches: %s",
                self._state.bucket,
                _trouble(answers),
            )
        return before.overtook(sent)

    def _note_single(self) -> None:
        if self._breaker.doubtful:
            with self._lock:
                self._breaker = self._breaker.single_worked(self._state.time.steady())

    def _end_probe(self) -> None:
        with self._lock:
            self._breaker = self._breaker.probe_ended()

    def _end_test(self) -> None:
        with self._lock:
            self._breaker = self._breaker.test_ended()

    # Workers.

    def _submit_singles(self, attempts: Sequence[Renewable]) -> None:
        for attempt in attempts:
            self._submit(functools.partial(self._renew_one, attempt), [attempt])

    def _submit(self, job: Callable[[], object], attempts: Sequence[Renewable], *, by: float | None = None) -> bool:
        """Submit a job to a worker; if that fails, its leases are due again. Returns whether it was submitted."""
        for attempt in attempts:
            attempt.wait_for_worker()
        try:
            by = _deadline(attempts[0]) if by is None else by
            # As if the acquire of the first of them sent it. A copy, as a renewal that hangs still runs in its own.
            job = functools.partial(attempts[0].surroundings.copy().run, job)
            self._runtime.heartbeat().workers.submit(job, line=self._driver, by=by)
        except BaseException:  # noqa: BLE001 - one lease's trouble is not the others'
            _log.exception("a heartbeat failed; it will be retried")
            for attempt in attempts:
                attempt.drop()
            return False
        return True


def take_batch(waiting: list[Renewable], *, singly: bool) -> tuple[list[Renewable], list[Renewable]]:
    """The first lease and those after it that fit into one request with it; then the rest.

    Of two leases of one slot only one goes into it: the service refuses a batch with two statements for one item. This
    process has two if somebody deleted the item, and it got the slot again before it learned that the first is gone.

    Args:
        waiting: The most urgent first; at least one.
        singly: Whether each lease is renewed alone.
    """
    first = waiting[0]
    if singly or first.belief.alone:
        return [first], waiting[1:]
    batch, room, slots = [first], PER_BATCH - len(first.slots), set(first.slots)
    left: list[Renewable] = []
    for place, attempt in enumerate(waiting[1:], 1):
        if room <= 0:
            return batch, left + waiting[place:]
        if attempt.belief.alone or len(attempt.slots) > room or not slots.isdisjoint(attempt.slots):
            left.append(attempt)
        else:
            batch.append(attempt)
            room -= len(attempt.slots)
            slots.update(attempt.slots)
    return batch, left


def _deadline(attempt: Renewable) -> float:
    return attempt.belief.deadline


def _begin(attempt: Renewable) -> PlannedRenewal | None:
    """Begin a lease's part in a batch; None if it has none, or because of a bug."""
    if not attempt.begin():
        return None
    planned: PlannedRenewal | None = None
    try:
        planned = attempt.plan()
    except Exception:  # noqa: BLE001 - one lease's trouble is not the others'
        _log.exception("renewing a lease failed (a bug); it will be retried")
    finally:
        if planned is None:
            attempt.end()
    return planned


def _apply(attempt: Renewable, planned: PlannedRenewal, answered: dict[Renew, tuple[Answer, bool]]) -> None:
    """Let a lease apply its part of a batch's answers."""
    parts = [answered[request] for request in planned.requests]
    answers = RenewalAnswers(
        answers=[answer for answer, _ in parts],
        in_batch=True,
        overtaken=any(overtaken and isinstance(answer, Unknown) for answer, overtaken in parts),
    )
    try:
        attempt.apply(planned, answers)
    except Exception:  # noqa: BLE001 - one lease's trouble is not the others'
        _log.exception("renewing a lease failed (a bug); it will be retried")


def _after(attempt: Renewable) -> None:
    try:
        attempt.after()
    except Exception:  # noqa: BLE001 - as above
        _log.exception("reporting a lease's renewal failed (a bug)")


def _revoked(answer: Answer) -> bool:
    lease = answer.slot.lease if isinstance(answer, Done) and answer.slot else None
    return lease is not None and lease.revoked


def _trouble(answers: Sequence[Answer]) -> object:
    """The outcome of the batch that suspended batches, for the log."""
    for answer in answers:
        if isinstance(answer, Rejected):
            return answer.error
        if isinstance(answer, Unknown):
            return answer.cause
    return answers
