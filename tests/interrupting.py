"""Interrupts at every point of the library where CPython would handle a signal."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    """

    def __init__(self, strike_at: int) -> None:
        self.left = strike_at
        self.struck_at: str | None = None
        self.on_entry_of: str | None = None

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if self.struck_at is not None or event not in {"call", "c_return"}:
            return
        if not name.startswith(PACKAGE) or name.startswith(PACKAGE + "local/"):
            return
        self.left -= 1
        if self.left <= 0:
            self.struck_at = f"{name.rsplit('/', 1)[-1]}:{frame.f_lineno}"
            self.on_entry_of = frame.f_code.co_name if event == "call" else None
            raise KeyboardInterrupt


def interrupted(strike_at: int, action: Callable[[], object]) -> Interrupter | None:
    """Do something, interrupted at that point; None if it ended before."""
    interrupter = Interrupter(strike_at)
    sys.setprofile(interrupter)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return interrupter if interrupter.struck_at else None
