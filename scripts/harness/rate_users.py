"""Users of a rate for `rate_contest`: each is a process of its own, and notes each of its calls in a file of its own.

A note is one line of JSON: how many permits, when the call began, when it ended, and what came of it; times are
nanoseconds of the machine's steady clock. The time of the call is read before it, the end after it, so what a process
notes is true even if it is stopped in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ddb_lease import AcquireTimeout, KeyLimiter, RateLimiter, StoreUnavailable, aio
from ddb_lease.models import RateStatus
from scripts.harness.holders import TABLE, main, say, session, wait_to_be_told

PAUSE = 0.005
"""Seconds between two tries of a caller that does not wait, as a program would do something else meanwhile."""


@dataclass(frozen=True, kw_only=True)
class RateJob:
    """The parameters of a user.

    Attributes:
        name: The rate's name.
        notes: The file for its notes.
        counts: How many permits each of its callers wants at a time; there are as many callers as numbers.
        seconds: About how long it calls; it is told when to end.
        timeout: Seconds that a call waits at most.
        how: "threads", "aio" (tasks on one loop), "trying" (threads that never wait), "under" (threads with a key of
            their process's own under the rate; who wants more than one reserves, and uses one), or "own rates": broken
            on purpose, as each process has a rate to itself.
        share: The rate of each key under the rate, as a part of it.
    """

    endpoint_url: str
    name: str
    notes: str
    number: int
    rate: float
    burst: int
    per: float = 1.0
    counts: tuple[int, ...] = (1,)
    seconds: float
    timeout: float = 30.0
    prefetch: int = 0
    how: str = "threads"
    share: float = 1.0
    table: str = TABLE

    def settings(self) -> dict[str, Any]:
        """What both APIs' limiters take."""
        own = f"-{self.number}" if self.how == "own rates" else ""
        return {
            "name": self.name + own,
            "rate": self.rate,
            "per": self.per,
            "burst": self.burst,
            "prefetch": self.prefetch,
            "table": self.table,
            "session": session(self.endpoint_url),
            "endpoint_url": self.endpoint_url,
        }


class Notes:
    """The file of one process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.troubles: list[str] = []

    def write(self, **fields: float | str) -> None:
        """Append one line; a short write is never torn."""
        os.write(self._file, (json.dumps(fields) + "\n").encode())

    def state(self, status: Callable[[], RateStatus]) -> bool:
        """Note how far our clock may be off; returns whether the service answered, which it may not amid troubles."""
        try:
            return self.uncertain(status())
        except StoreUnavailable:
            return False

    def uncertain(self, status: RateStatus | None) -> bool:
        """The same, of an answer; None if there was none."""
        if status is not None:
            self.write(uncertainty=status.uncertainty_seconds)
        return status is not None

    @contextlib.contextmanager
    def call(self, n: int) -> Any:
        """Note what comes of one call for n permits; yields a function that says that it was denied."""
        denied: list[bool] = []
        wanted, outcome = time.monotonic_ns(), "served"
        try:
            yield lambda: denied.append(True)
        except AcquireTimeout:
            outcome = "timeout"
        except StoreUnavailable:
            outcome = "unavailable"
        except Exception:
            outcome = "trouble"
            self.troubles.append(traceback.format_exc())
        finally:
            if not denied:  # a denial at once is neither a wait nor a use
                self.write(n=n, wanted=wanted, ended=time.monotonic_ns(), outcome=outcome)


def use(job: RateJob) -> None:
    """Call for permits again and again, until told that the time is up."""
    logging.getLogger("ddb_lease").setLevel(logging.CRITICAL)  # what it warns of was done to it on purpose
    notes = Notes(job.notes)
    if job.how == "aio":
        asyncio.run(_use_in_asyncio(job, notes))
    else:
        with RateLimiter(**job.settings()) as limiter:
            while not notes.state(limiter.status):
                time.sleep(PAUSE)
            over = _begin()
            with contextlib.ExitStack() as stack:
                call: Callable[..., None] = _call
                used: RateLimiter | KeyLimiter = limiter
                if job.how == "under":
                    call, used = _call_under, _key_under(job, limiter, stack)
                callers = [threading.Thread(target=call, args=(job, notes, used, n, over)) for n in job.counts]
                for caller in callers:
                    caller.start()
                for caller in callers:
                    caller.join()
            notes.state(limiter.status)
    say("done", troubles=notes.troubles)


def _begin() -> threading.Event:
    """Wait until all may begin; returns what is set when the time is up."""
    say("ready")
    wait_to_be_told()
    over = threading.Event()

    def listen() -> None:
        wait_to_be_told()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    return over


def _call(job: RateJob, notes: Notes, limiter: RateLimiter, n: int, over: threading.Event) -> None:
    while not over.is_set():
        with notes.call(n) as denied:
            if job.how != "trying":
                limiter.acquire(n, timeout=job.timeout)
            elif not limiter.try_acquire(n):
                denied()
                time.sleep(PAUSE)


def _key_under(job: RateJob, parent: RateLimiter, stack: contextlib.ExitStack) -> KeyLimiter:
    """This process's own key of another rate, under the rate."""
    keys = {"name": f"{job.name}-keys", "rate": job.rate * job.share}
    limiter = stack.enter_context(RateLimiter(**job.settings() | keys))
    return limiter.key(f"process-{job.number}", under=[parent])


def _call_under(job: RateJob, notes: Notes, key: KeyLimiter, n: int, over: threading.Event) -> None:
    while not over.is_set():
        with notes.call(1):
            if n == 1:
                key.acquire(timeout=job.timeout)
            else:
                with key.reserve(n, timeout=job.timeout) as reservation:
                    reservation.settle(1)


async def _use_in_asyncio(job: RateJob, notes: Notes) -> None:
    async with aio.RateLimiter(**job.settings()) as limiter:
        while not notes.uncertain(await _status(limiter)):  # noqa: ASYNC110 - nothing tells when the service is back
            await asyncio.sleep(PAUSE)
        over = _begin()

        async def call(n: int) -> None:
            while not over.is_set():
                with notes.call(n):
                    await limiter.acquire(n, timeout=job.timeout)

        await asyncio.gather(*(call(n) for n in job.counts))
        notes.uncertain(await _status(limiter))


async def _status(limiter: aio.RateLimiter) -> RateStatus | None:
    try:
        return await limiter.status()
    except StoreUnavailable:
        return None


PROGRAMS: dict[str, Callable[[RateJob], None]] = {"use": use}


if __name__ == "__main__":
    main(PROGRAMS, RateJob)
