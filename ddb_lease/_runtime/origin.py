"""Where a lease comes from, and what is said when nobody can release it any more.

Invariants:

- A lease whose handle is dropped is renewed all the same: the work that it guards may still run. But nobody can release
  it by the handle, so that is said, once: a `ResourceWarning`, as Python gives for open files, and a line in the log.
- The handle is watched only once it is the caller's: one that an interrupted acquire releases says nothing.
- What the garbage collector calls takes no lock and sends nothing. A lease that is released is not watched any more:
  Python swallows an interrupt that strikes in such a call.
"""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
import weakref
from dataclasses import dataclass
from typing import Any, Final

from ddb_lease._protocol.lease_state import State
from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.lease_end import slots_text
from ddb_lease._state.log import queued as _log

_BETWEEN: Final = sys.stdlib_module_names | {"ddb_lease", "anyio", "asgiref", "trio"}
"""Packages whose code may stand between the caller's own and a call of `acquire`, as a pool of threads does: on its
threads nobody else's code stands behind it."""

_LOOPS: Final = {"asyncio.events", "asyncio.base_events", "asyncio.runners", "uvloop"}
"""Who runs a task: what stands behind them did not call it."""

_PASSED: Final = _BETWEEN | _LOOPS
"""Made once: it is three hundred names, and each acquire looks into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The code that called into the library.

    Attributes:
        where: Its file and line; empty if none of the user's code called: a task of its own, a job of a pool.
        stack: Its stack, if tracemalloc traces; else empty. As many frames as tracemalloc keeps.
    """

    where: str = ""
    stack: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where and when a lease was acquired.

    Attributes:
        at: When, on the steady clock.
        caller: Who called `acquire`.
        by: A weak reference to the thread or task that acquired it; None if that is not known.
    """

    at: float
    caller: Caller
    by: weakref.ref[Any] | None

    def text(self, now: float) -> str:
        """It in messages."""
        return f"acquired {max(0.0, now - self.at):.0f} s ago{f' at {self.caller.where}' if self.caller.where else ''}"


def caller() -> Caller:
    """The code that called into the library."""
    frame = sys._getframe(1)  # noqa: SLF001 - as `logging` finds its caller
    while (module := str(frame.f_globals.get("__name__"))).partition(".")[0] in _PASSED:
        if frame.f_back is None or module in _LOOPS:
            return Caller()
        frame = frame.f_back
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    # Not asked of tracemalloc itself: Python 3.11 does not find where an object with a `__dict__` was allocated.
    tracemalloc = sys.modules.get("tracemalloc")
    if tracemalloc is None or not tracemalloc.is_tracing():
        return Caller(where=where)
    stack = "".join(traceback.format_stack(frame, limit=tracemalloc.get_traceback_limit()))
    return Caller(where=where, stack=f"\nAcquired at (most recent call last):\n{stack}".rstrip())


def hand_out(lease: HeldLease, handle: object, *, at: float, caller: Caller, by: weakref.ref[Any] | None) -> None:
    """The handle is the caller's from now on: note where it comes from, and watch whether it is dropped."""
    lease.origin = Origin(at=at, caller=caller, by=by)
    lease.handle = weakref.ref(handle, functools.partial(_dropped, lease))


def lease_text(lease: HeldLease, now: float) -> str:
    """A lease of this process, and where it comes from, in messages."""
    origin = lease.origin
    known = f", {origin.text(now)}" if isinstance(origin, Origin) else ""
    return f"lease {lease.id} on {slots_text(lease.slots)}{known}{', whose handle was dropped' * lease.dropped}"


def _dropped(lease: HeldLease, _: object) -> None:
    lease.handle = None  # it leads back to the lease
    origin = lease.origin
    if sys.is_finalizing() or lease.over or lease.belief.state is not State.HELD or not isinstance(origin, Origin):
        return
    lease.dropped = True
    said = (
        f"lease {lease.id} on {slots_text(lease.slots)} of bucket {lease.bucket!r} was dropped unreleased, "
        f"{origin.text(lease.now())}: it is renewed until the bucket is closed or the process ends. Use `with`, call "
        f"release(), or keep the lease{origin.caller.stack}"
    )
    _log.warning("%s", said)
    warnings.warn(said, ResourceWarning, stacklevel=2)
