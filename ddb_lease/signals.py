"""Ending a process in order when it is told to end: an opt-in for programs that leave SIGTERM to Python.

Invariants:

- It decides how the process ends, and nothing else: ``with`` blocks and the interpreter's exit release leases.
- Nothing is done in the signal handler but to raise: it may strike anywhere in the main thread.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Final

from ddb_lease._runtime import process
from ddb_lease._state.log import log as _log
from ddb_lease.errors import ConfigurationError

_BY_SIGNAL: Final = 128
_LARGEST: Final = 255

_JOINING: Final = "_wait_for_tstate_lock"
"""The function that waits in `Thread.join`, in Python 3.10 to 3.12."""


def exit_on_sigterm(*, code: int = _BY_SIGNAL + signal.SIGTERM) -> None:
    """Let SIGTERM end this process in order: it raises `SystemExit` in the main thread.

    By default SIGTERM ends a Python process at once, as SIGKILL would: no ``finally``, no ``with`` block and no exit
    handler runs, and each lease keeps its slot until it expires. Containers, systemd, batch queues and
    `multiprocessing` stop processes by SIGTERM. Call this once, early on the main thread, in a program that does not
    handle it otherwise. Then SIGTERM unwinds the main thread: its ``with`` blocks release their leases, and the
    interpreter's exit releases what is still held.

    A handler that was set earlier is called first. Where SIGTERM is ignored, it stays ignored. A process that ends
    already goes on with that, and keeps its exit status. Further SIGTERMs are ignored while it ends, so that they
    interrupt no release; SIGKILL ends it at once. A forked child inherits this.

    Not promised: that the process ends soon. The main thread may be in a call that does not return to Python, may catch
    `SystemExit`, or may wait for other threads. They hear nothing of the signal, and keep their leases until they end;
    docs/processes.md shows how to tell them.

    Args:
        code: The exit status. 143 is what a shell reports of a process that SIGTERM ended; some supervisors take it for
            a failure (see docs/processes.md).

    Raises:
        ConfigurationError: Not called on the main thread of the main interpreter; SIGTERM is handled by code outside
            Python; or not an exit status. Nothing was changed.

    Example:
        >>> import signal
        >>> from ddb_lease import exit_on_sigterm
        >>> exit_on_sigterm()
        >>> handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # if it must be undone
    """
    code = _checked_status(code)
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError("exit_on_sigterm works on the main thread only, as Python's signal handlers do")
    earlier: object = signal.getsignal(signal.SIGTERM)
    if earlier is signal.SIG_IGN:
        _log.info("SIGTERM is ignored, and stays ignored")
        return
    if earlier is None:
        raise ConfigurationError(
            "SIGTERM is handled by code outside Python already, which would not be called any more"
        )
    if isinstance(earlier, _Ending):
        earlier = earlier.earlier
    try:
        signal.signal(signal.SIGTERM, _Ending(code, earlier))
    except ValueError as error:  # a subinterpreter
        raise ConfigurationError(f"exit_on_sigterm cannot handle signals here: {error}") from error


def _checked_status(code: object) -> int:
    if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= _LARGEST:
        raise ConfigurationError(f"an exit status is a whole number from 0 to {_LARGEST}, not {code!r}")
    return code


class _Ending:
    """The handler.

    Args:
        code: The exit status.
        earlier: The handler that was there before.
    """

    def __init__(self, code: int, earlier: object) -> None:
        self.earlier = earlier
        self._code = code

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_IGN)  # first: a second one must not interrupt what the first has begun
        if callable(self.earlier):
            self.earlier(signum, frame)
        if process.is_exiting():  # a pool tells its processes to end in two ways at once
            return
        thread = _joined_in(frame)
        if thread is not None:
            process.wait_at_exit_for(thread)
        raise SystemExit(self._code)


def _joined_in(frame: FrameType | None) -> threading.Thread | None:
    """The thread that `Thread.join` waits for in this frame, if Python forgets it after an interrupt: before 3.13.

    It then marks the thread as ended (bpo-45274 mended only half of that), and the interpreter's exit waits for it no
    more. Its leases would be released while it works.
    """
    if frame is None or frame.f_globals.get("__name__") != "threading" or frame.f_code.co_name != _JOINING:
        return None
    thread = frame.f_locals.get("self")
    return thread if isinstance(thread, threading.Thread) and not thread.daemon else None
