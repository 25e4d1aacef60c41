"""`ddb-lease top`: a table, or some of its buckets, live on a terminal. rich draws it.

Invariants: rich is imported by this command alone, and only when it runs. However it ends, the terminal is as before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ddb_lease.cli.seeing import watching
from ddb_lease.cli.seeing.watching import Watching
from ddb_lease.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

_DRAWN_EACH: Final = 1.0  # seconds
_ENDS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_QUIT: Final = {b"q", b"Q", b"\x1b", b"\x04"}  # Escape, and end of input


def execute(options: argparse.Namespace) -> int:
    """Watch until a key, or an interrupt.

    Raises:
        ConfigurationError: rich is not installed, or standard output is no terminal.
    """
    if not sys.stdout.isatty():
        raise ConfigurationError("top needs a terminal; elsewhere, use ls, status --watch or serve")
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra: imported only by this command
    except ImportError as error:
        raise ConfigurationError("top needs rich: pip install 'ddb-lease[terminal]'") from error
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_dumb_terminal:
        raise ConfigurationError("top needs a terminal that can move its cursor, and TERM says that this one cannot")
    with watching.looking(options) as look, Watching(look, interval=options.interval, always=True) as watched:
        _show(console, watched, interval=options.interval)
    return 0


def _show(console: Console, watched: Watching, *, interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - likewise

    from ddb_lease.cli.seeing.screen import drawn  # noqa: PLC0415 - likewise

    with _ended_by_signals(), Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            width, height = console.size
            plain = not console.encoding.startswith("utf")
            live.update(
                drawn(watched.picture(), width=width, height=height, interval=interval, plain=plain), refresh=True
            )
            if keys.quit_within(_DRAWN_EACH):
                return


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let these signals end the command by an exception, so that the terminal is restored."""
    before: dict[int, Any] = {number: signal.signal(number, _end) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


class Keys:
    """Keys typed on the terminal, one by one; none where standard input is no terminal."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._modes: list[Any] | None = None

    def __enter__(self) -> Keys:
        if self._fd is not None:
            import termios  # noqa: PLC0415 - slow to load, and needed on terminals only
            import tty  # noqa: PLC0415 - likewise

            self._modes = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)  # Ctrl-C stays a signal
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None and self._modes is not None:
            import termios  # noqa: PLC0415 - likewise

            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)

    def quit_within(self, seconds: float) -> bool:
        """Wait for so long, or for a key; returns whether it is one that ends."""
        ready, _, _ = select.select([] if self._fd is None else [self._fd], [], [], seconds)
        if not ready or self._fd is None:
            return False
        try:
            typed = os.read(self._fd, 64)
        except OSError:
            return True  # the terminal is gone
        return not typed or (typed[:1] in _QUIT and typed[1:2] != b"[")  # an arrow begins with Escape
