"""Programs of holders that meet faults, each in a process of its own: see `scripts.harness.holders`."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import queue
import random
import signal
import sys
import threading
import time
import traceback
from typing import Any

from ddb_lease import LeaseBucket, LeaseLost, client_config
from scripts.harness.holders import PATIENCE, Job, main, note_held, say, session
from scripts.harness.referee import now

WORK = 0.02
"""Seconds between two notes of a holder."""
REVIVAL = 0.5
"""Seconds for which we watch that a lost lease is not revived after the connection is back."""
LONGEST_LIFE = 0.3
"""The longest life, in seconds, of one of the first children."""
LONGEST_HOLD = 0.1


class _Orders:
    """Read the commands of the process that started us while we work; we end with it."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def await_next(self) -> None:
        self._lines.get()

    def came(self) -> bool:
        return not self._lines.empty()

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        os._exit(70)


def hold_through(job: Job) -> None:
    """Work under a lease whatever happens to the connection; once it is lost, check that it never comes back."""
    orders = _Orders()
    bucket = job.open()
    lost_at: list[float] = []
    lease = bucket.acquire(timeout=PATIENCE, on_lost=lambda _: lost_at.append(now()))
    note_held(job, lease)
    say("held", slot=lease.slot, fence=lease.fence, lease_id=lease.id)
    try:
        while not orders.came():
            note_held(job, lease)
            time.sleep(WORK)
    except LeaseLost:
        pass
    else:
        say("kept", calls=len(lost_at), released=lease.release())
        return
    while not lost_at:
        time.sleep(WORK)
    say("lost", reason=lease.lost)
    orders.await_next()
    held, refused, until = False, True, now() + REVIVAL
    while now() < until:
        held = held or lease.held
        refused = refused and _refuses(lease.renew) and _refuses(lease.check)
        time.sleep(WORK)
    say("watched", held=held, refused=refused, reason=lease.lost, calls=len(lost_at))
    with bucket.acquire(timeout=PATIENCE) as again:
        note_held(job, again)
        say("again", slot=again.slot, fence=again.fence)


def _refuses(attempt: Any) -> bool:
    try:
        attempt()
    except LeaseLost:
        return True
    return False


def bear_the_doomed(job: Job) -> None:
    """Let children compete for tokens, `job.threads` at a time, and kill each at some instant of its life.

    At least `job.rounds` of them, and as many more as it takes until a third of that number have held a token.
    """
    chance = random.Random(job.how)
    # Do the slow preparation once, before the first child: it starts no thread.
    via = session(job.endpoint_url)
    via.client("dynamodb", endpoint_url=job.endpoint_url, config=client_config(job.lease_seconds)).close()
    heard, told = os.pipe()
    os.set_blocking(heard, False)
    doomed: list[tuple[float, int]] = []
    born = killed = held = 0
    while born < job.rounds or held < job.rounds / 3 or doomed:
        while len(doomed) < job.threads and (born < job.rounds or held < job.rounds / 3) and born < 10 * job.rounds:
            pid = _bear(Job(**vars(job) | {"number": born}), via, told)
            longest = LONGEST_LIFE * (1 + born // job.rounds)  # on a busy machine, little happens in a short life
            heapq.heappush(doomed, (now() + chance.uniform(0.0, longest), pid))
            born += 1
        if not doomed:
            break
        due, pid = heapq.heappop(doomed)
        time.sleep(max(0.0, due - now()))
        os.kill(pid, signal.SIGKILL)
        last = now()
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        with contextlib.suppress(BlockingIOError):
            held += len(os.read(heard, 4096))
    say("killed", born=born, killed=killed, held=held, last=last)


def _bear(job: Job, via: Any, told: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _live(job, job.open(via=via), told)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _live(job: Job, bucket: LeaseBucket, told: int) -> None:
    chance = random.Random()
    for number in itertools.count():
        lease = bucket.acquire()
        try:
            until = note_held(job, lease) + chance.uniform(0.0, LONGEST_HOLD)
            if number == 0:
                os.write(told, b".")
            while now() < until:
                time.sleep(0.002)
                note_held(job, lease)
        except LeaseLost:  # the machine was busy for as long as a lease
            continue
        lease.release()


if __name__ == "__main__":
    main({program.__name__: program for program in (hold_through, bear_the_doomed)})
