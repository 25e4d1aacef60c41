"""A table of this run's own: made with a name that nobody else has, and deleted whatever happens.

Invariants:

- Nothing is written or deleted but in a table that did not exist, under a name that this process has just drawn.
- The first signal that ends the command raises once, wherever it is; from then on signals raise nothing, so that the
  deletion is not cut short. A second one ends a deletion that does not succeed.
- Where the table may be left, it is named, with the command that deletes it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import uuid
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from ddb_lease._state.service_time import Clock
from ddb_lease.cli import formatting
from ddb_lease.cli.streams import say
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.client import Client
from ddb_lease.dynamodb.dropping import drop_table, require_absent
from ddb_lease.dynamodb.table import create_table
from ddb_lease.errors import LeaseError

PREFIX: Final = "ddb-lease-conform-"
"""What the names of such tables begin with: a policy may allow them, and nothing else."""

_ENDS: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


def new_name() -> str:
    """A name that no table has: 122 random bits."""
    return f"{PREFIX}{uuid.uuid4().hex}"


class Ends:
    """Turns the first signal into an exception, and only notes the others. Enter it in the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self._raises = True
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Ends:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _ENDS if hasattr(signal, name)):
                # What the caller makes us ignore, as `nohup` does, is ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_no_more(self) -> None:
        """From now on, signals are only counted."""
        self._raises = False

    def _end(self, signum: int, _frame: FrameType | None) -> None:
        self.count += 1
        if not self._raises:
            return
        self._raises = False
        raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)


@contextlib.contextmanager
def own_table(name: str, *, connection: ConnectionSettings, client: Client, clock: Clock) -> Iterator[None]:
    """Make the table; delete it in the end, whatever ends the block.

    From before its creation is sent, the table is ours: an answer that is lost makes a second try find it.

    Raises:
        StoreRejected: A permission is missing, or there is such a table already: it is left alone.
        StoreUnavailable: The service does not answer.
    """
    require_absent(client, name)
    made = False
    with Ends() as ends:
        try:
            try:
                create_table(name, connection=connection, clock=clock)
                made = True
                yield
            finally:
                ends.raise_no_more()
        finally:
            # Reached also if a signal raised in the lines above: it raises once, and not here.
            trouble = _drop(name, client, clock, ends, sure=made)
        if trouble is not None:  # only if nothing else ended the block
            raise trouble


def _drop(name: str, client: Client, clock: Clock, ends: Ends, *, sure: bool) -> LeaseError | None:
    """Delete the table, and say so; returns what kept it from being deleted. What ended the block is not masked."""
    before = ends.count
    if before:
        say(f"deleting table {name} first")
    try:
        if drop_table(client, name, clock=clock, sure=sure, give_up=lambda: ends.count > before):
            say(f"table {name} deleted")
        elif sure:
            say(f"table {name} was gone already")
    except LeaseError as error:
        text = formatting.printable(" ".join(str(error).split()))
        say(f"table {name} may be left, delete it: aws dynamodb delete-table --table-name {name} ({text})")
        return error
    return None
