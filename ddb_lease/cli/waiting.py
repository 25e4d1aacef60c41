"""Says that a command waits: on a terminal one line that is drawn again and again, elsewhere a line now and then.

Invariants:

- It is for people only: nothing that it meets (a closed stream, a service that does not answer, no thread to be had)
  reaches the command that waits, or delays it by more than `LEAVE_SECONDS`.
- All lines come from a thread of its own. What it asks the service, it asks on another one, so that the clock of the
  line goes on, and the end of the wait is told at once.
- On a terminal it draws only while this process is in the foreground: what runs behind a prompt leaves it alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from ddb_lease.cli import streams, wait_text
from ddb_lease.cli.columns import columns_of
from ddb_lease.cli.formatting import shown
from ddb_lease.cli.wait_text import UNKNOWN, Standing

TELL_SECONDS: Final = 1.0
"""A shorter wait is not worth a line."""

LEAVE_SECONDS: Final = 0.5
FIRST_SECONDS: Final = 1.0
"""How long the first line waits for what is asked."""

_TICK_SECONDS: Final = 1.0
_LINE_SECONDS: Final = 60.0
FIRST_LINES_SECONDS: Final = 10.0
"""Not on a terminal, the second line comes so long after the first, each later one when the wait has doubled, until one
comes each minute."""
_ASK_SECONDS: Final = 10.0
"""On a terminal, where there is one reader a process, and at once when its place changes; elsewhere once a line."""

Look = Callable[[], Standing]


def in_front() -> bool:
    """Whether standard error is a terminal that one can draw on, and is ours now."""
    try:
        fd = sys.stderr.fileno()
        return os.isatty(fd) and os.environ.get("TERM", "") != "dumb" and os.tcgetpgrp(fd) == os.getpgrp()
    except (OSError, ValueError):
        return False


class Waiting:
    """Around a wait: says what is waited for, how long, and who is in the way.

    Args:
        subject: What is waited for: a bucket, permits.
        look: Asks how things stand; may fail, and may take long. None if there is nothing to ask.
        state: What a standing means now, where more is known than what was read.
        pause: Seconds at least between two questions, by what was read.
        place: What is known without asking: once it changes, what was read is old.
        patience: Seconds of silence at first.
        quiet: Whether to say nothing at all.
        standing: What is known before anything is asked.
        to_lead: Whether it is the leader's place that is waited for.
        tick: Seconds between two looks at the clock.
        each: Seconds between two lines at most, where none is drawn.
        draws: Whether to draw now.
    """

    def __init__(
        self,
        subject: str,
        *,
        look: Look | None = None,
        state: Callable[[Standing], str] = lambda standing: standing.state,
        pause: Callable[[Standing], float] = lambda _: 0.0,
        place: Callable[[], int] = lambda: 0,
        patience: float = TELL_SECONDS,
        quiet: bool = False,
        standing: Standing = UNKNOWN,
        to_lead: bool = False,
        tick: float = _TICK_SECONDS,
        each: float = _LINE_SECONDS,
        draws: Callable[[], bool] = in_front,
    ) -> None:
        self._subject = subject
        self._look = look
        self._state = state
        self._pause = pause
        self._place = place
        self._asked_at_place = 0
        self._patience = patience
        self._quiet = quiet
        self._to_lead = to_lead
        self._tick = tick
        self._each = each
        self._draws = draws
        self._began = self._read_at = time.monotonic()
        self._standing = standing
        self._asking = threading.Event()
        self._answered = threading.Event()
        self._over = threading.Event()
        self._end = ""
        self._thread: threading.Thread | None = None

    @property
    def standing(self) -> Standing:
        """What was last read."""
        return self._standing

    @property
    def seconds(self) -> float:
        """How long the wait has lasted."""
        return time.monotonic() - self._began

    def done(self, end: str) -> None:
        """The wait is over, and this is said of it, if it was said that it had begun."""
        self._end = end

    def ask(self) -> Standing:
        """Ask how things stand, and wait for it, but not for long; returns what is known then."""
        self._ask()
        if self._look is not None:
            self._answered.wait(FIRST_SECONDS)
        return self._standing

    def __enter__(self) -> Waiting:
        self._began = self._read_at = time.monotonic()
        if not self._quiet:
            thread = threading.Thread(target=self._run, name="ddb-lease-waiting", daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread to be had: the wait goes on in silence
                thread.start()
                self._thread = thread
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(LEAVE_SECONDS)

    def _run(self) -> None:
        if self._patience and self._over.wait(self._patience):
            return
        self.ask()
        next_line = pause = 0.0
        while True:
            draws = self._draws()
            if draws:
                streams.show_line(self._text(width=_room()))
            if self.seconds >= next_line:
                if not draws:
                    streams.clear_line()
                    streams.say(self._text())
                pause = min(self._each, max(FIRST_LINES_SECONDS, self.seconds))
                next_line = self.seconds + pause
            if self._over.wait(self._tick):
                break
            if self._is_stale(next_line, pause):
                self._ask()
        self._say_end()

    def _say_end(self) -> None:
        streams.clear_line()
        if self._end:
            streams.say(f"{self._end} after {shown(self.seconds)}")

    def _text(self, width: int | None = None) -> str:
        standing = self._standing
        return wait_text.waiting(
            self._subject,
            self._state(standing),
            standing.holders,
            waited=self.seconds,
            aged=time.monotonic() - self._read_at,
            width=width,
            to_lead=self._to_lead,
        )

    def _is_stale(self, next_line: float, pause: float) -> bool:
        if time.monotonic() - self._read_at < self._pause(self._standing):
            return False
        if self._draws():
            return self._place() != self._asked_at_place or time.monotonic() - self._read_at >= _ASK_SECONDS
        soon = next_line - self.seconds <= 2 * self._tick
        return soon and time.monotonic() - self._read_at >= pause / 2

    def _ask(self) -> None:
        """Ask how things stand, unless it is being asked."""
        if self._look is None or self._asking.is_set():
            return
        self._asking.set()
        self._asked_at_place = self._place()
        asking = threading.Thread(target=self._read, name="ddb-lease-standing", daemon=True)
        try:
            asking.start()
        except RuntimeError:  # no thread to be had
            self._asking.clear()

    def _read(self) -> None:
        try:
            if self._look is not None:
                self._standing = self._look()
        except Exception:  # noqa: BLE001 - the wait itself says what is wrong; this is a courtesy
            self._standing = UNKNOWN
        finally:
            self._read_at = time.monotonic()
            self._answered.set()
            self._asking.clear()


def _room() -> int:
    # A terminal wraps after its last column, and writes ^C behind the line: what wraps is not wiped out with the line.
    return max(1, columns_of(sys.stderr) - 1 - len("^C"))
