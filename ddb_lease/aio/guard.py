"""A guard: ends a task's block when the lease is lost.

Invariants:

- It cancels the task that entered it, as `asyncio.timeout` does, and turns that very cancellation into `LeaseLost` at
  the block's end. A cancellation by anyone else passes.
- It holds nothing and releases nothing.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from ddb_lease._runtime.held_lease import HeldLease
from ddb_lease._runtime.mistaken import NotSync
from ddb_lease.aio.driver import tell
from ddb_lease.errors import LeaseLost

_PACKAGE = f"{__name__.partition('.')[0]}."

_OURS = "the lease that guards this block is lost"


class Guard(NotSync):
    """What `Lease.guard` returns: guards one block, once."""

    _block = "`async with lease.guard():`"

    def __init__(self, held: HeldLease, *, among: set[Guard]) -> None:
        self._held = held
        self._among = among
        self._task: asyncio.Task[Any] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._struck = False
        self._cancelling = 0

    async def __aenter__(self) -> None:
        if self._task is not None:
            raise RuntimeError("a guard guards one block, once")
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a guard guards a task's block, and this is not a task")
        self._held.check()
        self._task, self._ended = task, task.get_loop().create_future()
        self._cancelling = _cancelling(task)
        self._among.add(self)
        self._held.end.stopping.enter(self, by=task, guarded=True)
        self._held.end.watch(self._told)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.end.unwatch(self._told)
        self._held.end.stopping.leave(self)
        self._among.discard(self)
        if self._ended is not None:
            self._ended.set_result(None)
        ours = self._struck and self._task is not None and _uncancel(self._task, exc) <= self._cancelling
        if exc is None or (ours and isinstance(exc, asyncio.CancelledError)):
            self._require_unlost(exc)

    async def over(self) -> None:
        """Wait for the block's end; not if a task of another loop is in it."""
        if self._ended is not None and self._ended.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([self._ended])

    def _require_unlost(self, exc: BaseException | None) -> None:
        # Not if we released it ourselves. Read it again: a block without an await may have outlived its lease.
        if self._held.lost is None:
            return
        try:
            self._held.check()
        except LeaseLost as lost:
            if exc is not None and hasattr(lost, "add_note"):  # Python 3.11
                lost.add_note(f"Its block was cancelled at {_place(exc)}.")
            # The cancellation is the guard's own, and tells nothing else. It stays in `__context__`.
            raise lost.with_traceback(None) from None

    def _told(self) -> None:
        if self._task is not None:
            tell(self._task.get_loop(), self._strike)

    def _strike(self) -> None:
        if self._task is None or self._ended is None or self._ended.done() or self._held.lost is None:
            return
        self._struck = True
        if hasattr(self._task, "uncancel"):
            self._task.cancel()
        else:
            self._task.cancel(_OURS)


def _place(exc: BaseException) -> str:
    """Where a block was when this error was raised in it."""
    traceback = exc.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if not frame.f_globals.get("__name__", "").startswith(_PACKAGE):
            return f"{frame.f_code.co_filename}:{traceback.tb_lineno}, in {frame.f_code.co_name}"
        traceback = traceback.tb_next
    return "an unknown place"


def _cancelling(task: asyncio.Task[Any]) -> int:
    """How many cancellations of a task are pending."""
    return task.cancelling() if hasattr(task, "cancelling") else 0


def _uncancel(task: asyncio.Task[Any], exc: BaseException | None) -> int:
    """Withdraw our cancellation; returns how many are left."""
    if hasattr(task, "uncancel"):
        left: int = task.uncancel()
        return left
    # Python 3.10 does not count them. If several come in one turn of the loop, the last one's message arrives.
    return 0 if exc is not None and exc.args == (_OURS,) else 1
