"""Waiting on a stage: who pauses makes the time pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ddb_lease._runtime.ports import Wakeup


class LetPass(Protocol):
    """Lets time pass, and does what becomes due on the way."""

    def __call__(self, seconds: float, *, until: Callable[[], bool]) -> float:
        """Let so many seconds pass, or fewer where `until` holds before; returns how many passed."""
        ...


class TimeSkippingWakeup(Wakeup):
    """Pauses by letting the stage's time pass.

    Args:
        let_pass: The stage's.
        patience: Seconds after which one that still waits is told that nobody will come.
    """

    def __init__(self, *, let_pass: LetPass, patience: float) -> None:
        super().__init__()
        self._let_pass = let_pass
        self._patience = patience
        self._waited = 0.0
        self._rung = False

    def wake(self) -> None:
        """End the pause under way, or the next one."""
        self._rung = True

    def pause(self, seconds: float) -> None:
        """Let this much time pass, or less when woken."""
        if not self._rung:
            self._wait(seconds, until=lambda: self._rung)
        self._rung = False

    def sleep(self, seconds: float) -> None:
        """Let this much time pass."""
        self._wait(seconds, until=lambda: False)

    def _wait(self, seconds: float, *, until: Callable[[], bool]) -> None:
        if self._waited >= self._patience:
            raise RuntimeError(
                f"waited {self._waited:.0f} s of the stage's time in vain: for a slot that nobody in this test "
                "releases? (a Stage takes another longest_wait)"
            )
        self._waited += self._let_pass(seconds, until=until)
