"""Processes that hand a lease over, and adopt it: programs as in `holders`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ddb_lease import LeaseLost
from scripts.harness.holders import PATIENCE, Job, main, note_held, say, wait_to_be_told


def give(job: Job) -> None:
    """Take a token, work, hand it over, and say the hand-over's own token; then end when told, in the orderly way."""
    bucket = job.open()
    with bucket.acquire(timeout=PATIENCE) as lease:
        note_held(job, lease)
        say("gave", token=lease.hand_over(within=PATIENCE), slot=lease.slot, fence=lease.fence)
        wait_to_be_told()
    bucket.close()


def adopt(job: Job) -> None:
    """Adopt what comes in as a line, and work under it until the end."""
    bucket = job.open()
    say("ready")
    token = wait_to_be_told()
    try:
        lease = bucket.adopt(token)
    except LeaseLost as lost:
        say("refused", reason=lost.reason)
        return
    say("adopted", slot=lease.slot, fence=lease.fence)
    with contextlib.suppress(LeaseLost):
        while True:
            note_held(job, lease)
            time.sleep(0.02)


PROGRAMS: dict[str, Callable[[Job], None]] = {"give": give, "adopt": adopt}


if __name__ == "__main__":
    main(PROGRAMS)
