"""Standard output and standard error: `show` and `say`, which every command prints with.

Invariants:

- A diagnostic goes to standard error or nowhere. It raises nothing, changes no exit code, and waits at most
  `SAY_SECONDS` for a reader: a command whose standard error is closed, full or unread still does its work.
- If a result cannot be written, a command that succeeded exits with a code of its own (`OutputLost`), so that no
  program takes half of the result for the whole. One that failed exits with the code of its failure.
- No file of ours gets the number of a closed standard stream. Commands that we start find it closed, as we did.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final, TextIO

from ddb_lease.cli import exits
from ddb_lease.errors import ConfigurationError

SAY_SECONDS: Final = 1.0
"""How long a diagnostic waits for room in an unread pipe. After one that waited in vain, the next ones do not wait."""

_STANDARD: Final = 3  # 0, 1 and 2
_REST_OF_LINE: Final = "\x1b[K"

_lock = threading.Lock()
_unread = threading.Event()  # a diagnostic has waited in vain
_drawn = threading.Event()  # the terminal's last line is one that is to be drawn again
_failures: list[OSError] = []  # of standard output: a large text that failed is not buffered, so no flush fails again


class OutputLost(Exception):
    """Standard output did not take what a command had to show. What the command was to do is done."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write the output: {error.strerror or error}")
        self.exit_code = 128 + signal.SIGPIPE if error.errno == errno.EPIPE else exits.OUTPUT_LOST
        """As if SIGPIPE had ended us, if the reader has gone."""

    @property
    def is_told(self) -> bool:
        """Whether it is worth a message: that a reader such as `head` has gone is not."""
        return self.exit_code == exits.OUTPUT_LOST


def prepare() -> None:
    """Make the standard streams usable. A closed one counts as /dev/null.

    Without this `print` would write to standard output what was meant for a closed standard error, and the first file
    that we open would become standard error.
    """
    _failures.clear()
    # Not inheritable, as everything that Python opens.
    with contextlib.suppress(OSError):
        while (fd := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
            pass
        os.close(fd)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character that the terminal cannot show


def show(text: str, *, end: str = "\n") -> None:
    """Print a result on standard output. If it is not written, `finish` says so by the exit code."""
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except OSError as error:
        _failures.append(error)


def say(text: str) -> bool:
    """Print a diagnostic on standard error, after our name; returns whether it was written. Not for signal handlers."""
    return ask(f"ddb-lease: {text}\n")


def ask(text: str) -> bool:
    """The same for a question: as it is, without a new line."""
    return _put(text, draws=False)


def show_line(text: str) -> bool:
    """Draw a line on the terminal that standard error is, in place of the last one; what `say` prints replaces it."""
    return _put(f"\r{text}{_REST_OF_LINE}", draws=True)


def clear_line() -> None:
    """Erase the line that was drawn last, if it is still there."""
    if _drawn.is_set():
        _put("", draws=False)


def confirmed(question: str, *, refusal: Callable[[str], str]) -> bool:
    """Ask a person on the terminal; returns whether the answer was yes.

    Args:
        question: What to ask.
        refusal: The error's text if nobody can be asked, given the reason.

    Raises:
        ConfigurationError: There is no terminal to ask on, or standard error does not show the question.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigurationError(refusal("there is no terminal to ask on"))
    if not ask(question):
        raise ConfigurationError(refusal("standard error does not show it"))
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def finish(code: int) -> int:
    """Write out what is buffered; returns the exit code, which says if a command that succeeded lost its output."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _failures.append(error)
        _silence(sys.stdout)
    if _failures:
        lost = OutputLost(_failures[0])
        if lost.is_told:
            say(str(lost))
        code = code or lost.exit_code
    try:
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)
    return code


class Diagnostics(logging.Handler):
    """Writes log records as `say` does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one that cannot be formatted is told of, not raised."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - a log call must not raise
            text = f"a log record cannot be shown: {error!r}"
        say(text)


def _put(text: str, *, draws: bool) -> bool:
    if not _lock.acquire(timeout=2 * SAY_SECONDS):
        return False
    try:
        if _drawn.is_set() and not draws:
            text = f"\r{_REST_OF_LINE}{text}"
        (_drawn.set if draws else _drawn.clear)()
        return _write(text)
    except (OSError, ValueError):  # ValueError: somebody closed the stream
        return False
    finally:
        _lock.release()


def _write(text: str) -> bool:
    stream = sys.stderr
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # no file: somebody who calls `main` captures it
        stream.write(text)
        stream.flush()
        return True
    with contextlib.suppress(OSError):
        stream.flush()
    # Past the stream's buffer, in which text that was refused would stay, and fail again at exit.
    data = text.encode(stream.encoding or "utf-8", "backslashreplace")
    while data:
        if not _has_room(fd):
            return False
        data = data[os.write(fd, data[: select.PIPE_BUF]) :]
    return True


def _has_room(fd: int) -> bool:
    """Whether PIPE_BUF bytes can be written without waiting; waits a little for it."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if poll.poll(0 if _unread.is_set() else SAY_SECONDS * 1000):
        _unread.clear()
        return True
    _unread.set()
    return False


def _silence(stream: TextIO) -> None:
    """Let no flush at the interpreter's exit fail again: it would change the exit code."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")
