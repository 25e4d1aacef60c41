"""A text that is shown repeatedly: in place on a terminal, one after the other elsewhere.

Invariants: whatever ends it, the terminal is restored, and shows the last text.
"""

from __future__ import annotations

import shutil
import signal
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, TextIO

from ddb_lease.cli.streams import OutputLost

_OTHER_SCREEN: Final = "\x1b[?1049h\x1b[?25l"
_SCREEN_BACK: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_SCREEN: Final = "\x1b[J"
_ENDS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Screen:
    """Shows texts on a stream; raises `OutputLost` if the stream takes them no more. Enter it in the main thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._in_place = stream.isatty()
        self._last = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Screen:
        if self._in_place:
            # Without handlers these signals would leave the terminal as it is.
            self._before = {number: signal.signal(number, _end) for number in _ENDS}
            self._write(_OTHER_SCREEN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._in_place:
            try:
                self._write(f"{_SCREEN_BACK}{self._last}\n")
            finally:
                for number, handler in self._before.items():
                    signal.signal(number, handler)

    def show(self, text: str) -> None:
        """Show a text instead of the last one. Lines that do not fit the terminal are left out and counted."""
        self._last = text
        if not self._in_place:
            self._write(f"{text}\n")
            return
        columns, rows = shutil.get_terminal_size()
        lines = text.splitlines()
        if len(lines) > rows:
            lines = [*lines[: rows - 1], f"... and {len(lines) - rows + 1} more lines"]
        shown = f"{_REST_OF_LINE}\n".join(line[:columns] for line in lines)
        self._write(f"{_HOME}{shown}{_REST_OF_LINE}{_REST_OF_SCREEN}")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            raise OutputLost(error) from error


def _end(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)
