"""Renewing: one bucket's renewals in the background; those that are due together are sent together.

Laws of this room:

- A batch is believed where it says that it renewed, and shows it: the item with our lease and the new expiry. Whatever
  else it says of a lease, that one is asked for again by itself: a lease is lost by the answer to an UpdateItem, or by
  the clock, and never by a batch.
- A batch is an economy and never needed. Where the service does not take it (no permission, an engine that knows no
  PartiQL), each renewal is sent by itself, as at any time when only one is due.
- It never waits for anything but an answer: a lease that is being renewed or released at this moment is left out.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeAlias

from ddb_lease.asking import settle
from ddb_lease.driver import Bell, Driver
from ddb_lease.messages import (
    Answer,
    Conflict,
    Done,
    Each,
    Refused,
    Rejected,
    Renew,
    RenewEach,
    Throttled,
    Unknown,
    Unsent,
)
from ddb_lease.model import PER_BATCH
from ddb_lease.scene import Scene
from ddb_lease.values import dataclass
from ddb_lease.workers import Workers

_log = logging.getLogger("ddb_lease")

AHEAD = 1 / 60
"""A renewal comes early by up to this part of the lease (a twentieth of the time between two) to share a request."""

MOST_AHEAD_SECONDS = 1.0
"""The most by which it comes early, however long the lease."""

REST_SECONDS = 600.0
"""How long no batch is sent after the service did not take one."""

BY_ITSELF = 4
"""Of so many tries in a row, the last is sent by itself, should it be the batches that fail."""


Turn: TypeAlias = Generator[tuple[Renew, ...], Sequence[Answer], None]
"""A lease's turn in a batch: yields its requests, if it has any to send, and is sent their answers."""


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
    """

    by: float
    until: float
    slots: int
    alone: bool
    by_itself: Callable[[], None]
    together: Callable[[], Turn]


class Renewals:
    """Renews one bucket's leases, on workers.

    Args:
        scene: The bucket's surroundings.
        driver: What sends.
        bell: Makes what is waited on.
        workers: Asked for each time, as a forked child has others.
    """

    def __init__(
        self, *, scene: Scene, driver: Driver, bell: Callable[[], Bell], workers: Callable[[], Workers]
    ) -> None:
        self._scene = scene
        self._driver = driver
        self._bell = bell
        self._workers = workers
        self._waiting: deque[Due] = deque()
        self._proven = False
        self._resting_until = -math.inf

    def ahead(self) -> float:
        """Seconds by which a lease may be renewed early where another is due: none, while batches rest."""
        if self._rests():
            return 0.0
        return min(MOST_AHEAD_SECONDS, self._scene.lease_ms() / 1000 * AHEAD)

    def put(self, due: Due) -> None:
        """Have a lease renewed with the next `send_off`."""
        self._waiting.append(due)

    def send_off(self) -> None:
        """Have all that was put since the last time renewed, the most urgent first."""
        waiting: list[Due] = []
        while self._waiting:
            waiting.append(self._waiting.popleft())
        waiting.sort(key=lambda due: due.by)
        rests = self._rests()
        alone = [due for due in waiting if due.alone or rests]
        for batch in _batches([due for due in waiting if not (due.alone or rests)]):
            if sum(due.slots for due in batch) == 1:
                alone += batch
            else:
                self._submit(functools.partial(self._renew_together, batch), by=batch[0].by)
        for due in alone:
            self._submit(due.by_itself, by=due.by)

    def after_fork_in_child(self) -> None:
        """What waits is the parent's."""
        self._waiting.clear()

    def _submit(self, job: Callable[[], object], *, by: float) -> None:
        try:
            self._workers().submit(job, line=self._driver, by=by)
        except BaseException:  # noqa: BLE001 - one lease's trouble is not the others'
            _log.exception("a heartbeat failed; it is tried again")

    def _rests(self) -> bool:
        return self._scene.time.steady() < self._resting_until

    def _renew_together(self, batch: Sequence[Due]) -> None:
        self._settle_time(until=batch[0].until)
        with contextlib.ExitStack() as turns:
            asking: list[tuple[Turn, tuple[Renew, ...]]] = []
            for due in batch:
                turn = due.together()
                turns.callback(turn.close)
                requests = _begin(turn)
                if requests:
                    asking.append((turn, requests))
            answers = iter(self._send([request for _, requests in asking for request in requests]))
            for turn, requests in asking:
                # As a callback: whatever one raises, the others are called.
                turns.callback(_tell, turn, [next(answers) for _ in requests])

    def _settle_time(self, *, until: float) -> None:
        """Have doubt about the time cleared, once for all: what is written as expiry never falls again."""
        if not self._scene.time.unsettled:
            return
        try:
            self._driver.run(settle(self._scene.time, until=until), self._bell())
        except Exception:  # noqa: BLE001 - a defect of ours must not keep them from being renewed
            _log.exception("asking for the service's time failed by a defect")

    def _send(self, requests: Sequence[Renew]) -> list[Answer]:
        answers: list[Answer] = []
        for first in range(0, len(requests), PER_BATCH):
            answers += self._send_batch(tuple(requests[first : first + PER_BATCH]))
        return answers

    def _send_batch(self, requests: tuple[Renew, ...]) -> Sequence[Answer]:
        try:
            answer = self._driver.perform(RenewEach(renewals=requests))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the heartbeat, nor make it race
            _log.exception("renewing %d slots failed by a defect; they are tried again", len(requests))
            answer = Unknown(cause=error)
        answers = answer.answers if isinstance(answer, Each) else (answer,) * len(requests)
        if any(isinstance(one, (Done, Refused)) for one in answers):
            self._proven = True
        elif not all(isinstance(one, (Throttled, Conflict, Unsent)) for one in answers):
            self._doubt(answers[0])
        return answers

    def _doubt(self, answer: Answer) -> None:
        """A batch came to nothing: was it the service's trouble, or does it take no batches?"""
        if self._rests() or (self._proven and isinstance(answer, Unknown)):
            return
        self._resting_until = self._scene.time.steady() + REST_SECONDS
        _log.info(
            "bucket %r: leases are renewed one by one, as a batch of renewals was not taken (it needs the permission "
            "dynamodb:PartiQLUpdate): %s",
            self._scene.bucket,
            answer.error if isinstance(answer, Rejected) else getattr(answer, "cause", answer),
        )


def _begin(turn: Turn) -> tuple[Renew, ...]:
    try:
        return next(turn, ())
    except Exception:  # noqa: BLE001 - one lease's trouble is not the others'
        _log.exception("renewing a lease failed by a defect; it is tried again")
        return ()


def _tell(turn: Turn, answers: Sequence[Answer]) -> None:
    with contextlib.suppress(StopIteration):
        turn.send(answers)


def _batches(waiting: Sequence[Due]) -> Iterator[list[Due]]:
    """In order, as many together as fit in one request; one that has more slots than that stands alone."""
    batch: list[Due] = []
    room = PER_BATCH
    for due in waiting:
        if batch and due.slots > room:
            yield batch
            batch, room = [], PER_BATCH
        batch.append(due)
        room -= due.slots
    if batch:
        yield batch
