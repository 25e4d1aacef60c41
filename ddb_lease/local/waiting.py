"""What a program is told of buckets in which nothing is granted yet, as leases of an earlier engine run.

Invariant: each of them is told once a process and engine, however often the program connects.
"""

import threading
from collections.abc import Sequence
from typing import Final

from ddb_lease._numbers import duration_text
from ddb_lease.local.control import Awaited

_NAMES: Final = 5
"""How many buckets a message names."""

_lock = threading.Lock()
_told: set[tuple[str, str, str]] = set()


def news(awaited: Sequence[Awaited], *, instance_id: str, table: str, bucket: str | None) -> str:
    """What was not told yet; empty if there is nothing.

    Args:
        awaited: What the engine waits for.
        instance_id: Which engine.
        table: The table that the program uses.
        bucket: The only bucket that it uses; None if it may use any.
    """
    with _lock:
        new = {
            (instance_id, entry.table, entry.bucket): entry
            for entry in awaited
            if entry.table == table and bucket in {None, entry.bucket}
        }
        for key in _told & new.keys():
            del new[key]
        _told.update(new)
    return text(list(new.values())) if new else ""


def text(awaited: Sequence[Awaited]) -> str:
    """It in one sentence; all are of one table."""
    names = ", ".join(entry.bucket for entry in awaited[:_NAMES])
    more = f" and {len(awaited) - _NAMES} more" if len(awaited) > _NAMES else ""
    longest = duration_text(max(entry.remaining_s for entry in awaited))
    until = "for another" if len(awaited) == 1 else "for up to another"
    why = []
    if not all(entry.is_rate for entry in awaited):
        why.append("leases of an earlier engine run; if their holders are dead")
    if any(entry.is_rate for entry in awaited):
        why.append("a rate's block, or permits given in advance, of an earlier engine run; if that may be forgotten")
    return (
        f"{names}{more} in table {awaited[0].table}: nothing is granted {until} {longest}, as {', and '.join(why)}: "
        "ddb-lease local start --no-wait"
    )
