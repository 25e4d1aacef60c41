"""Troubles that a process makes for its own leases: careless callbacks, a log that blocks, calls and credentials that hang.

Invariants:

- Each draws what it does from one seeded source, and counts it, so that a run can say what it met.
- None touches the library's insides: they are what a user's own code may be like.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from botocore.credentials import Credentials, ReadOnlyCredentials

from ddb_lease import Lease
from ddb_lease._protocol.messages import Reply, Request
from ddb_lease._runtime.ports import Sender
from scripts.harness.holders import session
from scripts.harness.referee import now

LONGEST_HANG = 12.0
"""Seconds: longer than the leases that suffer from it."""


class Careless(Exception):
    """What a user's own code raises."""


class Troubles:
    """What may go wrong in one process, and how often it did.

    Attributes:
        met: How often each trouble was met.
    """

    def __init__(self, chance: Random) -> None:
        self.met: Counter[str] = Counter()
        self._chance = chance
        self._lock = threading.RLock()

    def happens(self, what: str, likely: float) -> bool:
        """Whether something happens now; it is counted."""
        with self._lock:
            if self._chance.random() >= likely:
                return False
            self.met[what] += 1
            return True

    def between(self, least: float, most: float) -> float:
        """A number, drawn evenly."""
        with self._lock:
            return self._chance.uniform(least, most)

    def hang(self) -> None:
        """Block this thread for a while."""
        time.sleep(self.between(0.5, LONGEST_HANG))

    # What a user passes to a bucket.

    def on_lost(self, losses: Counter[str]) -> Callable[[Lease], None]:
        """A callback that counts the loss, and then hangs, raises, or returns."""

        def on_lost(lease: Lease) -> None:
            losses[str(lease.lost)] += 1
            if self.happens("on_lost hangs", 0.3):
                self.hang()
            if self.happens("on_lost raises", 0.3):
                raise Careless("a lost-callback")

        return on_lost

    def on_event(self, _event: object) -> None:
        """A callback that sometimes hangs or raises."""
        if self.happens("on_event hangs", 0.01):
            self.hang()
        if self.happens("on_event raises", 0.05):
            raise Careless("an event callback")

    def session(self, endpoint_url: str, key_id: str) -> Any:
        """A session whose credential provider hangs now and then."""
        made = session(endpoint_url, key_id)
        found = made.get_credentials()
        made._session._credentials = _SlowCredentials(self, found.access_key, found.secret_key)
        return made

    def calls(self, store: Sender) -> Sender:
        """A store whose calls hang now and then, whatever their timeouts are."""
        return _HangingCalls(self, store)

    # What happens to the whole process.

    @contextlib.contextmanager
    def no_threads(self, least: float, most: float) -> Iterator[None]:
        """Now and then, no thread of the library's can be started for some seconds."""
        start, until, ended = threading.Thread.start, [0.0], threading.Event()

        def refuse(thread: threading.Thread) -> None:
            if thread.name.startswith("ddb-lease") and now() < until[0]:
                self.met["no thread to be had"] += 1
                raise RuntimeError("can't start new thread")
            start(thread)

        def come_and_go() -> None:
            while not ended.wait(self.between(least, most)):
                until[0] = now() + self.between(0.5, 4.0)

        threading.Thread(target=come_and_go, daemon=True).start()
        threading.Thread.start = refuse
        try:
            yield
        finally:
            ended.set()
            threading.Thread.start = start


class _SlowCredentials(Credentials):
    def __init__(self, troubles: Troubles, access_key: str, secret_key: str) -> None:
        super().__init__(access_key, secret_key)
        self._troubles = troubles

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        if self._troubles.happens("credentials hang", 0.02):
            self._troubles.hang()
        return super().get_frozen_credentials()


class _HangingCalls:
    def __init__(self, troubles: Troubles, store: Sender) -> None:
        self._troubles = troubles
        self._store = store

    def send(self, request: Request) -> Reply:
        if self._troubles.happens("a call hangs before it is sent", 0.02):
            self._troubles.hang()
        reply = self._store.send(request)
        if self._troubles.happens("a call hangs after its answer", 0.02):
            self._troubles.hang()
        return reply

    def fit(self, lease_seconds: float) -> None:
        self._store.fit(lease_seconds)

    def close(self) -> None:
        self._store.close()

    def after_fork_in_child(self) -> None:
        self._store.after_fork_in_child()


class StuckLog(logging.Handler):
    """Writes to a pipe that is read only now and then, and raises now and then, as if the disk were full."""

    def __init__(self, troubles: Troubles) -> None:
        super().__init__(logging.INFO)
        self._troubles = troubles
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._fill()
        os.set_blocking(self._write_end, True)
        os.set_blocking(self._read_end, False)
        threading.Thread(target=self._read_now_and_then, daemon=True).start()

    def createLock(self) -> None:  # noqa: N802 - logging names it
        """None: an interrupt right after its acquisition would leave it locked for ever, whoever uses `logging`."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._troubles.happens("a log handler raises", 0.1):
            raise OSError(errno.ENOSPC, "No space left on device")
        began = now()
        os.write(self._write_end, (self.format(record) + "\n").encode())
        if now() - began > 0.5:
            self._troubles.met["a log handler hangs"] += 1

    def _fill(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self._write_end, b"." * 4096)

    def _read_now_and_then(self) -> None:
        while True:
            time.sleep(self._troubles.between(0.5, LONGEST_HANG))
            with contextlib.suppress(BlockingIOError):
                # Room for a line or two: it is full again soon.
                os.read(self._read_end, 8192)
