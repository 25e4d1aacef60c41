"""Waiting in a test environment: a pause makes the time pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ddb_lease._runtime.ports import Wakeup


class LetPass(Protocol):
    """Lets time pass, and does what becomes due meanwhile."""

    def __call__(self, seconds: float, *, until: Callable[[], bool]) -> float:
        """Let `seconds` pass, or fewer if `until` holds earlier; returns how many passed."""
        ...


class TimeSkippingWakeup(Wakeup):
    """Pauses by letting the environment's time pass.

    Args:
        let_pass: The environment's.
        patience: Seconds of simulated time after which a waiter gets a `RuntimeError`.
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
                f"waited {self._waited:.0f} s of simulated time in vain: does nobody in this test release a slot? "
                "(TestEnvironment(longest_wait=...) allows more)"
            )
        self._waited += self._let_pass(seconds, until=until)
