"""Interrupts at every point of the library where CPython would handle a signal."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import ddb_lease

PACKAGE = str(Path(ddb_lease.__file__).parent) + "/"
"""Not a part of a path: an environment may lie in a folder of the same name, and all of its packages with it."""


class Interrupter:
    """Raises KeyboardInterrupt at the n-th point of the library where CPython would handle a signal.

    That is on entry to a function, and after a call of a C function: the interpreter looks for signals there. It does
    not look between a lock's `__enter__` and the body it guards, where an exception would leave the lock held; raising
    at every line or instruction would.

    Args:
        strike_at: At which point, from 1 up.
        again: At which entry to a function of the library after that it strikes again; 0 for not again.
    """

    def __init__(self, strike_at: int, *, again: int = 0) -> None:
        self.left = strike_at
        self.again = again
        self.strikes = 0
        self.struck_at: str | None = None
        self.on_entry_of: str | None = None

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if self.strikes or event not in {"call", "c_return"} or not _is_ours(frame.f_code.co_filename):
            return
        self.left -= 1
        if self.left <= 0:
            self._strike(frame)
            self.on_entry_of = frame.f_code.co_name if event == "call" else None
            raise KeyboardInterrupt

    def strike_again(self, frame: FrameType, _event: str, _: Any) -> None:
        """For `sys.settrace`: a profiler that has raised is not called any more."""
        if self.strikes != 1 or not _is_ours(frame.f_code.co_filename):
            return
        self.again -= 1
        if self.again <= 0:
            self._strike(frame)
            raise KeyboardInterrupt

    def _strike(self, frame: FrameType) -> None:
        self.strikes += 1
        self.struck_at = f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"


@functools.cache
def _is_ours(path: str) -> bool:
    return path.startswith(PACKAGE) and not path.startswith(PACKAGE + "local/")


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Let the garbage collector rest: what it ends by chance, such as an earlier test's generator, is not on the path."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interrupted(strike_at: int, action: Callable[[], object], *, again: int = 0) -> Interrupter | None:
    """Do something, interrupted at that point, and perhaps again; None if it ended before."""
    interrupter = Interrupter(strike_at, again=again)
    tracing = sys.gettrace()
    with without_collector():
        sys.setprofile(interrupter)
        if again:
            sys.settrace(interrupter.strike_again)
        try:
            action()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
            sys.settrace(tracing)
    return interrupter if interrupter.strikes else None
