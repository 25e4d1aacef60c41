"""Looking at a table, or at some of its buckets, again and again, on a thread of its own.

Invariants:

- However many ask for the last picture, one look is under way at a time, and one is made each interval.
- What goes wrong is kept beside the last picture, which stays, with its age. Only a defect of ours ends the looking.
- While nobody asks, nothing is read.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ddb_lease._protocol.listing import TableListing, listed
from ddb_lease._runtime.listing import TableReader
from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection
from ddb_lease.cli.formatting import printable
from ddb_lease.errors import ConfigurationError, LeaseError

Look = Callable[[], TableListing]

SHORTEST_INTERVAL: Final = 0.5
LONGEST_INTERVAL: Final = 3_600.0
_PATIENCE: Final = 3
"""Intervals for which somebody who asked counts as watching."""

_FIRST_SECONDS: Final = 2.0
"""How long the first who asks after a while waits for a new look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The last look that was answered.

    Attributes:
        listing: What it showed.
        number: The how manieth it is; the first has 1.
        age_seconds: How long ago it ended.
        error: What went wrong since; empty if nothing did.
    """

    listing: TableListing
    number: int
    age_seconds: float
    error: str


class Watching:
    """Looks repeatedly. Enter it to begin; the first look is made at once, and raises what it meets.

    Args:
        look: Reads the table.
        interval: Seconds between the end of a look and the next.
        always: Whether it looks although nobody asks.
    """

    def __init__(self, look: Look, *, interval: float, always: bool) -> None:
        self._look = look
        self._interval = interval
        self._idle_after = math.inf if always else max(_PATIENCE * interval, 10.0)
        self._changed = threading.Condition()
        self._asked = threading.Event()
        self._stop = threading.Event()
        self._listing: TableListing | None = None
        self._at = self._asked_at = -math.inf
        self._number = 1
        self._error = ""
        self._thread = threading.Thread(target=self._run, name="ddb-lease-watching", daemon=True)

    def __enter__(self) -> Watching:
        self._listing, self._at = self._look(), time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._asked.set()
        self._thread.join(timeout=1.0)  # one look may hang; it is a daemon's, and reads only

    def picture(self) -> Picture:
        """The last picture. From now on somebody watches; if nobody did, a new look is waited for, a little."""
        with self._changed:
            now, number, error = time.monotonic(), self._number, self._error
            idle = now - self._asked_at > self._idle_after and now - self._at > self._interval
            self._asked_at = now
            self._asked.set()
            if idle:
                self._changed.wait_for(lambda: (self._number, self._error) != (number, error), timeout=_FIRST_SECONDS)
            if self._listing is None:
                raise AssertionError("it was not entered")
            age = time.monotonic() - self._at
            return Picture(listing=self._listing, number=self._number, age_seconds=age, error=self._error)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            if time.monotonic() - self._asked_at > self._idle_after:
                self._asked.clear()
                self._asked.wait()
            if not self._stop.is_set():
                self._look_again()

    def _look_again(self) -> None:
        try:
            listing, error = self._look(), ""
        except LeaseError as problem:
            listing, error = None, printable(" ".join(str(problem).split()))
        with self._changed:
            if listing is not None:
                self._listing, self._at = listing, time.monotonic()
                self._number += 1
            self._error = error
            self._changed.notify_all()


@contextlib.contextmanager
def looking(options: argparse.Namespace) -> Iterator[Look]:
    """What reads the buckets, or the table, that the options name.

    Raises:
        ConfigurationError: The interval cannot work.
    """
    if not SHORTEST_INTERVAL <= options.interval <= LONGEST_INTERVAL:
        raise ConfigurationError(
            f"--interval must be from {SHORTEST_INTERVAL} to {LONGEST_INTERVAL:g} seconds, not {options.interval:g}"
        )
    with contextlib.ExitStack() as stack:
        if not options.buckets:
            reader = TableReader(options.table, connection=connection.settings(options))
            stack.callback(reader.close)
            yield reader.read
            return
        where = connection.arguments(options)
        buckets = [stack.enter_context(LeaseBucket(name, max_tokens=1, **where)) for name in options.buckets]

        def look() -> TableListing:
            found = tuple(listed(bucket.status()) for bucket in buckets)
            items = sum(len(bucket.leases) for bucket in found)
            return TableListing(
                table=options.table,
                buckets=found,
                rates=(),
                items=items,
                unreadable=0,
                read_units=None,
                pages=len(found),
            )

        yield look
