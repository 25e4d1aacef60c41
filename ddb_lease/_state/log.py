"""The library's log: what it says reaches the user's handlers, and nothing of theirs reaches a lease.

Log handlers, filters and record factories are the user's code: they may block (a pipe that nobody reads) or raise (a
full disk). So they run on two kinds of threads only.

Invariants:

- On a thread that the library has made (`BackgroundThread`) nothing of `logging` is called: the message is queued, and
  one thread of the log's own emits it, with its original time and thread name. The queue is bounded; what does not fit
  is counted, and the count is logged.
- On a thread of the user's the message is emitted at once, as by any other library. `log` is for code that holds no
  lock there, and has nothing left to do for other leases; `queued` is for all other code: what may hold a lock, what
  a signal handler, `held` or `check` may reach, what ends many leases one after another.
- Nothing that a handler raises reaches the caller, except an interrupt.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, TypeAlias

MOST_QUEUED: Final = 1_000
"""The most messages that wait for the handlers."""

_LOGGER: Final = logging.getLogger("ddb_lease")

_ErrorInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_KEPT: Final = ("created", "msecs", "relativeCreated", "thread", "threadName", "process", "processName", "taskName")
"""What a record says about its origin: from the thread that spoke, not from the one that emits."""


class BackgroundThread(threading.Thread):
    """A thread of the library's own. It does not keep the interpreter from exiting."""

    def __init__(self, target: Callable[[], object], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)


def in_background() -> bool:
    """Whether this thread is one of the library's own."""
    return isinstance(threading.current_thread(), BackgroundThread)


class LogQueue:
    """Messages that wait for the user's handlers, and the thread that emits them."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: BackgroundThread | None = None
        self._records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()  # a signal handler may put, too
        self._dropped = 0
        self._drops_told = 0
        self._failure: BaseException | None = None
        self._failure_told = False

    def put(self, record: logging.LogRecord) -> None:
        """Queue a message; never blocks, and never raises."""
        if self._records.qsize() >= MOST_QUEUED:
            self._dropped += 1  # two threads at once may count as one
            return
        self._records.put(record)
        if self._thread is None:
            with contextlib.suppress(RuntimeError):  # no thread can be started now: the next message tries again
                self.ensure_running()

    def ensure_running(self) -> None:
        """Start the thread, if there is none.

        Raises:
            RuntimeError: No thread can be started.
        """
        # Not waiting: whoever holds the lock starts it. A signal handler may interrupt that very thread.
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    thread = BackgroundThread(target=self._run, name="ddb-lease-log")
                    thread.start()
                    self._thread = thread
            finally:
                self._starting.release()

    def flush(self, seconds: float) -> bool:
        """Wait until all that was queued so far was emitted, for so long at most; returns whether it was."""
        if self._thread is None:
            if self._records.empty():
                return True
            with contextlib.suppress(RuntimeError):  # the thread could not be started when they were queued
                self.ensure_running()
        over = threading.Event()
        self._records.put(_Mark(over))
        return over.wait(seconds)

    def note_failure(self, error: BaseException) -> None:
        """A handler or a filter failed: the log's thread says so, once."""
        if not self._failure_told:
            self._failure = error
            self.put(_Mark(threading.Event()))

    def _run(self) -> None:
        while True:
            record = self._records.get()
            if isinstance(record, _Mark):
                self._tell_failure()
                record.over.set()
                continue
            try:
                _emit(record)
                self._tell_drops()
            except BaseException as error:  # noqa: BLE001 - whatever the user's handlers raise
                self._failure = error
            self._tell_failure()

    def _tell_failure(self) -> None:
        # On standard error, as `logging` does with what handlers catch themselves; unless that is switched off.
        error, self._failure = self._failure, None
        if error is None or self._failure_told or not logging.raiseExceptions or sys.stderr is None:
            return
        self._failure_told = True
        with contextlib.suppress(Exception):
            sys.stderr.write(f"ddb_lease: a log handler or filter failed: {error!r}; this is not repeated\n")

    def _tell_drops(self) -> None:
        dropped = self._dropped
        if dropped > self._drops_told and self._records.qsize() < MOST_QUEUED // 2:
            lost, self._drops_told = dropped - self._drops_told, dropped
            _LOGGER.warning("%d messages were dropped here: the log's handlers were too slow", lost)


class _NoQueue(LogQueue):
    """Emits each message at once."""

    def put(self, record: logging.LogRecord) -> None:
        """Emit it."""
        _emit(record)


class _Mark(logging.LogRecord):
    """Says when all messages before it were emitted."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__("ddb_lease", logging.DEBUG, "", 0, "", (), None)
        self.over = over


class Log:
    """What the library's modules log with.

    Args:
        at_once: Whether to emit at once on a thread of the user's.

    Attributes:
        shows_debug: Says whether `debug` is of any use; called for each request.
    """

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once
        self.shows_debug = functools.partial(_LOGGER.isEnabledFor, logging.DEBUG)

    def debug(self, text: str, *args: object) -> None:
        """Log at this level."""
        self._log(logging.DEBUG, text, args)

    def info(self, text: str, *args: object) -> None:
        """Log at this level."""
        self._log(logging.INFO, text, args)

    def warning(self, text: str, *args: object) -> None:
        """Log at this level."""
        self._log(logging.WARNING, text, args)

    def error(self, text: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Log at this level, with the traceback of an exception."""
        self._log(logging.ERROR, text, args, exc_info)

    def exception(self, text: str, *args: object) -> None:
        """Log at level ERROR, with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, text, args, sys.exc_info()[1])

    def _log(self, level: int, text: str, args: tuple[object, ...], error: BaseException | None = None) -> None:
        info: _ErrorInfo | None = None if error is None else (type(error), error, error.__traceback__)
        if self._at_once and not in_background():
            try:
                _LOGGER.log(level, text, *args, exc_info=info, stacklevel=3)
            except Exception as failure:  # noqa: BLE001 - whatever the user's handlers raise
                _queue.note_failure(failure)
            return
        code = sys._getframe(2)  # noqa: SLF001 - as `logging` finds its caller
        where = code.f_code.co_filename, code.f_lineno
        _queue.put(logging.LogRecord(_LOGGER.name, level, *where, text, args, info, code.f_code.co_name))


def _emit(said: logging.LogRecord) -> None:
    """Hand a message to the user's handlers, as `Logger` does; on the log's own thread."""
    if not _LOGGER.isEnabledFor(said.levelno):
        return
    record = _LOGGER.makeRecord(
        said.name, said.levelno, said.pathname, said.lineno, said.msg, said.args or (), said.exc_info, said.funcName
    )
    record.__dict__.update({name: said.__dict__[name] for name in _KEPT if name in said.__dict__})
    _LOGGER.handle(record)


_queue = LogQueue()

log: Final = Log(at_once=True)
"""For code that holds no lock, and on which no other lease waits."""

queued: Final = Log(at_once=False)
"""For code that may hold a lock, that a signal handler, `held` or `check` may reach, or that ends many leases."""


def ensure_running() -> None:
    """Start the log's thread, if there is none: a lease may need it when no thread is to be had any more.

    Raises:
        RuntimeError: No thread can be started.
    """
    _queue.ensure_running()


def flush(seconds: float) -> bool:
    """Wait until all that was said so far was emitted, for so long at most; returns whether it was."""
    return _queue.flush(seconds)


@contextlib.contextmanager
def emitted_at_once() -> Iterator[None]:
    """For a simulator, whose threads run one at a time: emit each message on the thread that says it."""
    global _queue  # noqa: PLW0603 - one for each process
    before, _queue = _queue, _NoQueue()
    try:
        yield
    finally:
        _queue = before


def after_fork_in_child() -> None:
    """In a forked child: what waits is the parent's to say, and so is its thread."""
    global _queue  # noqa: PLW0603 - one for each process
    _queue = LogQueue()
