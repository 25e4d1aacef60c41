"""The queue of an ordered bucket, for people. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ddb_lease.cli.fitting import fitted
from ddb_lease.cli.formatting import printable, shown
from ddb_lease.models import BucketStatus

_HEAD: Final = ("PLACE", "WAITER", "WAITS", "WANTS", "PRIORITY")
_RIGHT: Final = {"PLACE", "WAITS", "WANTS", "PRIORITY"}


def queue_lines(status: BucketStatus, *, now: datetime, width: int | None) -> list[str]:
    """A table of who waits, in so many columns, and how many more do; empty if nobody does.

    Args:
        status: The status.
        now: The time, for how long each has waited.
        width: Columns of a line; None for as many as it takes.
    """
    if not status.queue:
        return []
    rows = [
        (
            str(waiter.place),
            printable(waiter.owner),
            shown(max(0.0, (now - waiter.since).total_seconds())),
            str(waiter.count),
            str(waiter.priority),
        )
        for waiter in status.queue
    ]
    left = status.waiting - len(status.queue)
    more = [f"and {left:,} more"] if left > 0 else []
    return [*fitted([_HEAD, *rows], right=_RIGHT, squeezed={"WAITER": 12}, width=width), *more]
