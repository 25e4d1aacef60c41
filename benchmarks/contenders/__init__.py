"""Contenders: each a way to hold one of so many tokens, behind the same few calls.

Invariants: a contender's module is imported in that contender's own environment only, so it needs nothing but
what is installed there; and it uses what its library documents, set up as its documentation says.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and of what a contender takes tokens."""

    endpoint_url: str
    table: str
    bucket: str
    tokens: int
    lease_seconds: float
    watched: bool = False
    prefetch: int = 0


class Contender(Protocol):
    """What is measured."""

    def acquire(self, timeout: float) -> Any:
        """Wait for a token, and hold it; None where there was none in time."""
        ...

    def renew(self, held: Any) -> None:
        """Hold it for longer; NotImplementedError where only a heartbeat can."""
        ...

    def release(self, held: Any) -> None:
        """Give it back."""
        ...

    def try_acquire(self) -> Any:
        """A token, or None, without waiting."""
        ...


def contender(name: str, setting: Setting, session: Any) -> Contender:
    """Make the contender of this name; `session` is a boto3 session whose events are watched."""
    module = importlib.import_module(f"benchmarks.contenders.{name}")
    made: Contender = module.make(setting, session)
    return made
