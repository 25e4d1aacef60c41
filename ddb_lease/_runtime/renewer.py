"""Renewing: one bucket's renewals in the background; those that are due together are sent together.

Invariants:

- A batch is believed where it says that it renewed, and shows it: the item with our lease and the new expiry. Whatever
  else it says of a lease, that one is asked for again by itself: a lease is lost by the answer to an UpdateItem, or by
  the clock, and never by a batch.
- A batch is an economy and never needed. Where the service does not take it (no permission, an engine that knows no
  PartiQL), or batches get no answer while single renewals do, each renewal is sent by itself, as at any time when only
  one is due.
- It never waits for anything but an answer: a lease that is being renewed or released at this moment is left out, and
  a user's code is called when all leases of a batch have taken note of their answers.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import logging
import math
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ddb_lease._operations.sync_time import settle
from ddb_lease._protocol.messages import (
    Answer,
    Conflict,
    Done,
    Each,
    Refused,
    Rejected,
    Renew,
    RenewEach,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.records import PER_BATCH
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.instrumentation import Observer
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.workers import Workers
from ddb_lease._state.bucket_state import BucketState
from ddb_lease.errors import StoreUnavailable

_log = logging.getLogger("ddb_lease")

AHEAD = 1 / 60
"""A renewal comes early by up to this part of the lease (a twentieth of the time between two) to share a request."""

MOST_AHEAD_SECONDS = 1.0
"""The most by which it comes early, however long the lease."""

REST_SECONDS = 600.0
"""How long no batch is sent after the service did not take one."""

_LEFT_OUT: Final = Unsent(cause=StoreUnavailable("another slot of the lease was not renewed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What came of a lease's part in a batch.

    Attributes:
        answers: One for each of its requests.
        alone: Whether another batch, sent after this one, had its answer first: something in this one is at fault, and
            each of its leases had better be tried by itself.
    """

    answers: Sequence[Answer]
    alone: bool


Turn: TypeAlias = Generator[tuple[Renew, ...], Said | None, None]
"""A lease's turn in a batch: yields its requests, and is sent what came of them; or none. Resumed once more when all
others have been sent theirs, it calls the user's code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A lease that is to be renewed.

    Attributes:
        by: Its deadline, on the steady clock.
        until: Until when there is time to ask for the service's time first.
        slots: How many it is on.
        alone: Whether it is to be renewed by itself this time.
        by_itself: Renews it.
        together: Begins its turn in a batch.
        dropped: Called instead where it could not be handed to a worker: it is due again.
    """

    by: float
    until: float
    slots: int
    alone: bool
    by_itself: Callable[[], None]
    together: Callable[[], Turn]
    dropped: Callable[[], None]


class Renewals:
    """Renews one bucket's leases, on workers.

    Args:
        state: The bucket's state.
        driver: What sends.
        wakeup: Makes what is waited on.
        workers: Asked for each time, as a forked child has others.
        observe: Shown each look at the service's time, and its answer.
    """

    def __init__(
        self,
        *,
        state: BucketState,
        driver: Driver,
        wakeup: Callable[[], Wakeup],
        workers: Callable[[], Workers],
        observe: Observer | None,
    ) -> None:
        self._state = state
        self._driver = driver
        self._wakeup = wakeup
        self._workers = workers
        self._observe = observe
        self._lock = threading.RLock()
        self._waiting: list[tuple[float, int, Due]] = []  # a heap, the most urgent first
        self._serial = itertools.count()
        self._resting_until = -math.inf
        self._proven = False
        self._answered = -math.inf  # when the latest batch was sent that was answered
        self._doubtful = False  # a batch got no answer, and none that was sent later did
        self._worked_alone = math.inf  # since when a single renewal is known to have worked meanwhile
        self._probing = self._testing = False

    def ahead(self) -> float:
        """Seconds by which a lease may be renewed early where another is due: none, while batches rest."""
        if self._rests():
            return 0.0
        return min(MOST_AHEAD_SECONDS, self._state.lease_ms() / 1000 * AHEAD)

    def put(self, due: Due) -> None:
        """Have a lease renewed with the next `send_off`."""
        with self._lock:
            heapq.heappush(self._waiting, (due.by, next(self._serial), due))

    def send_off(self) -> None:
        """Have all that was put since the last time renewed, the most urgent first."""
        # Taken out one batch after another: on a stage a job is done at once, and may come back here.
        while batch := self._take_batch():
            if len(batch) == 1 and (batch[0].slots == 1 or batch[0].alone or self._rests()):
                self._renew_alone(batch)
            else:
                self._submit(functools.partial(self._renew_batch, batch), batch)

    def worked_alone(self) -> None:
        """A renewal has worked that was sent by itself."""
        if self._doubtful and self._worked_alone == math.inf:
            self._worked_alone = self._state.time.steady()

    def after_fork_in_child(self) -> None:
        """What waits is the parent's."""
        self._lock = threading.RLock()
        self._waiting.clear()

    def _take_batch(self) -> list[Due]:
        """Take out the most urgent, and with it as many as fit in one request; one that goes alone stands alone."""
        batch: list[Due] = []
        aside: list[tuple[float, int, Due]] = []
        room = PER_BATCH
        with self._lock:
            while self._waiting:
                entry = heapq.heappop(self._waiting)
                due = entry[2]
                if due.alone or (batch and due.slots > room):
                    aside.append(entry)
                else:
                    batch.append(due)
                    room -= due.slots
                if room <= 0 or self._rests() or (due.alone and not batch):
                    break
            if not batch and aside:
                batch.append(aside.pop()[2])
            for entry in aside:
                heapq.heappush(self._waiting, entry)
        return batch

    def _submit(self, job: Callable[[], object], dues: Sequence[Due], *, first: bool = False) -> None:
        try:
            self._workers().submit(job, line=self._driver, by=-math.inf if first else dues[0].by)
        except BaseException:  # noqa: BLE001 - one lease's trouble is not the others'
            _log.exception("a heartbeat failed; it is tried again")
            for due in dues:
                due.dropped()

    def _rests(self) -> bool:
        return self._state.time.steady() < self._resting_until

    def _renew_alone(self, dues: Sequence[Due]) -> None:
        for due in dues:
            self._submit(due.by_itself, [due])

    def _renew_batch(self, batch: Sequence[Due]) -> None:
        """Renew them together, unless that has come to nothing lately.

        While no batch is answered, one renewal at a time is sent by itself, to see whether it is the batches. Once one
        has worked, all are, but for one batch at a time, which ends the doubt one way or the other.
        """
        alone_works = self._doubtful and self._worked_alone < math.inf
        if self._rests() or (alone_works and self._testing):
            self._renew_alone(batch)
        elif alone_works:
            self._testing = True
            try:
                self._renew_together(batch)
            finally:
                self._testing = False
        else:
            if self._doubtful and not self._probing:
                self._probing = True
                probe, batch = batch[0], batch[1:]
                self._submit(functools.partial(self._probe, probe), [probe], first=True)
            self._renew_together(batch)

    def _probe(self, due: Due) -> None:
        try:
            due.by_itself()
        finally:
            self._probing = False

    def _renew_together(self, batch: Sequence[Due]) -> None:
        batch = self._settle_time(batch)
        with contextlib.ExitStack() as turns:
            begun: list[tuple[Turn, tuple[Renew, ...]]] = []
            for due in batch:
                turn = due.together()
                turns.callback(turn.close)
                begun.append((turn, _go_on(turn, None) or ()))
            said = iter(self._send([request for _, requests in begun for request in requests]))
            for turn, requests in begun:
                both = [next(said) for _ in requests]
                if both:
                    _go_on(turn, Said(answers=[answer for answer, _ in both], alone=any(alone for _, alone in both)))
            for turn, _ in begun:
                _go_on(turn, None)  # from here on, what users have given is called

    def _settle_time(self, batch: Sequence[Due]) -> Sequence[Due]:
        """Have doubt about the time cleared, once for all: what is written as expiry never falls again.

        Returns:
            Those of the batch that had the time for it. The others go by themselves, at once.
        """
        time = self._state.time
        if not time.unsettled:
            return batch
        now = time.steady()
        self._renew_alone([due for due in batch if due.until <= now])
        patient = [due for due in batch if due.until > now]
        if patient:
            try:
                asking = settle(time, until=min(due.until for due in patient))
                self._driver.run(asking, self._wakeup(), observe=self._observe)
            except Exception:  # noqa: BLE001 - a defect of ours must not keep them from being renewed
                _log.exception("asking for the service's time failed by a defect")
        return patient

    def _send(self, requests: Sequence[Renew]) -> list[tuple[Answer, bool]]:
        """What came of each, and whether it is to be tried by itself."""
        answers: list[tuple[Answer, bool]] = []
        for first in range(0, len(requests), PER_BATCH):
            if not all(isinstance(answer, Done) for answer, _ in answers):
                # More than one batch takes is one lease's slots, of which one has failed.
                return answers + [(_LEFT_OUT, False)] * (len(requests) - first)
            answers += self._send_batch(tuple(requests[first : first + PER_BATCH]))
        return answers

    def _send_batch(self, requests: tuple[Renew, ...]) -> list[tuple[Answer, bool]]:
        sent = self._state.time.steady()
        try:
            answer = self._driver.perform(RenewEach(renewals=requests))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the heartbeat, nor make it race
            _log.exception("renewing %d slots failed by a defect; they are tried again", len(requests))
            answer = Unknown(cause=error)
        answers = answer.answers if isinstance(answer, Each) else (answer,) * len(requests)
        telling = [one for one in answers if not isinstance(one, (ThrottledAnswer, Conflict, Unsent))]
        at_fault = sent < self._answered
        if any(isinstance(one, (Done, Refused)) for one in telling):
            self._proven, self._doubtful = True, False
            self._answered, self._worked_alone = max(self._answered, sent), math.inf
        elif telling:
            self._unanswered(telling[0], sent, at_fault=at_fault)
        return [(one, at_fault and isinstance(one, Unknown)) for one in answers]

    def _unanswered(self, answer: Answer, sent: float, *, at_fault: bool) -> None:
        """A batch came to nothing: something in it, the service's trouble, or are no batches taken here?"""
        if isinstance(answer, Unknown) and self._proven:
            if at_fault:
                return
            if not (self._doubtful and self._worked_alone < sent):
                self._doubtful = True
                return
        if self._rests():
            return
        self._resting_until = self._state.time.steady() + REST_SECONDS
        self._doubtful, self._worked_alone = False, math.inf
        _log.info(
            "bucket %r: leases are renewed one by one for a while, as no batch of renewals is taken: %s",
            self._state.bucket,
            answer.error if isinstance(answer, Rejected) else getattr(answer, "cause", answer),
        )


def _go_on(turn: Turn, said: Said | None) -> tuple[Renew, ...] | None:
    """Resume a lease's turn; None where that has come to its end."""
    try:
        return turn.send(said)
    except StopIteration:
        return None
    except Exception:  # noqa: BLE001 - one lease's trouble is not the others'
        _log.exception("renewing a lease failed by a defect; it is tried again")
        return None
