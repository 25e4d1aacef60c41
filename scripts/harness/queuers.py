"""Waiters of an ordered bucket for the tests: programs, each in a process of its own; see `holders`."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ddb_lease import AcquireTimeout, LeaseBucket, Timing
from ddb_lease._protocol.messages import BringBack, Claim, Mint, Reply, Request, Take
from ddb_lease._runtime.ports import Sender
from ddb_lease._runtime.runtime import Runtime
from scripts.harness.holders import PATIENCE, TABLE, Counting, main, say, session, wait_to_be_told
from scripts.harness.referee import note, now

DIES = "dies before it claims"


@dataclass(frozen=True, kw_only=True)
class QueueJob:
    """The parameters of a waiter.

    Attributes:
        order: The file for `order_judge`.
        log: The file for `referee`.
        how: `DIES`, or nothing.
        ordered: Whether the bucket's waiters have an order.
        hold: For how many seconds `work_in_turn` holds what it has.
        warm: After how many seconds it begins to count requests.
    """

    endpoint_url: str
    bucket: str
    order: str = os.devnull
    log: str = os.devnull
    number: int
    tokens: int
    count: int = 1
    priority: int = 0
    lease_seconds: float = 30.0
    how: str = ""
    seconds: float = 0.0
    ordered: bool = True
    hold: float = 1.0
    warm: float = 0.0

    def open(self, wrap: Callable[[Sender], Sender] | None = None) -> LeaseBucket:
        """The job's bucket, for this process."""
        return LeaseBucket(
            self.bucket,
            max_tokens=self.tokens,
            lease_seconds=self.lease_seconds,
            order="fifo" if self.ordered else "any",
            table=TABLE,
            session=session(self.endpoint_url),
            endpoint_url=self.endpoint_url,
            owner=f"waiter-{self.number}",
            timing=Timing(front_end_skew=0.1),
            runtime=Runtime(wrap=wrap or (DeadBeforeClaim if self.how == DIES else Counting)),
        )


class DeadBeforeClaim(Counting):
    """Its process dies as it is about to take a slot."""

    def send(self, request: Request) -> Reply:
        if isinstance(request, (Claim, Mint, Take, BringBack)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().send(request)


def wait_in_order(job: QueueJob) -> None:
    """Wait for slots, hold them until told to release them, and end."""
    bucket = job.open()
    note(job.order, job=job.number, what="calls")
    lease = bucket.acquire(timeout=PATIENCE, count=job.count, priority=job.priority)
    _note_held(job, lease.slots, lease.fence)
    note(job.order, job=job.number, what="served")
    say("served", slots=list(lease.slots), waited=lease.waited)
    wait_to_be_told()
    at = now()
    lease.check()
    _note_held(job, lease.slots, lease.fence, at)
    say("released", released=lease.release())


def _note_held(job: QueueJob, slots: tuple[int, ...], fence: int, at: float | None = None) -> None:
    for slot in slots:
        note(job.log, at=now() if at is None else at, job=job.number, pid=os.getpid(), slot=slot, fence=fence)


def work_in_turn(job: QueueJob) -> None:
    """Acquire, hold and release for `seconds`; tells when each lease was wanted, had and given back."""
    stores: list[Counting] = []

    def wrap(store: Sender) -> Sender:
        stores.append(Counting(store))
        return stores[-1]

    bucket = job.open(wrap)
    chance = random.Random(job.number)
    say("ready")
    wait_to_be_told()
    began, counted_from, spans = now(), 0, []
    while (wanted := now()) < began + job.seconds:
        if wanted < began + job.warm:
            counted_from = sum(store.requests for store in stores)
        try:
            lease = bucket.acquire(timeout=began + job.seconds - wanted, count=job.count)
        except AcquireTimeout:
            break
        had = now()
        time.sleep(job.hold * chance.uniform(0.95, 1.05))
        lease.release()
        spans.append((wanted, had, now()))
    say("done", spans=spans, requests=sum(store.requests for store in stores) - counted_from)
    bucket.close()


PROGRAMS = {"wait_in_order": wait_in_order, "work_in_turn": work_in_turn}

if __name__ == "__main__":
    main(PROGRAMS, QueueJob)
