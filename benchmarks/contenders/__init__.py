"""Contenders: each is a way to hold one of several tokens, behind the same few calls.

Invariants: a contender's module is imported only in that contender's own environment, so it may import only what is
installed there; it uses its library as that library's documentation says.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A contender's settings; `burst` (None: as many as tokens) and `per` (seconds) are a rate's."""

    endpoint_url: str
    table: str
    bucket: str
    tokens: int
    lease_seconds: float
    watched: bool = False
    prefetch: int = 0
    burst: int | None = None
    per: float = 1.0


class Contender(Protocol):
    """The interface that is measured."""

    def acquire(self, timeout: float) -> Any:
        """Wait for a token, and hold it; None if there was none in time."""
        ...

    def renew(self, held: Any) -> None:
        """Renew it; NotImplementedError if only a heartbeat can."""
        ...

    def release(self, held: Any) -> None:
        """Release it."""
        ...

    def try_acquire(self) -> Any:
        """A token, or None, without waiting."""
        ...


def contender(name: str, setting: Setting, session: Any) -> Contender:
    """Make the contender of this name; `session` is a boto3 session whose events the meter watches."""
    module = importlib.import_module(f"benchmarks.contenders.{name}")
    made: Contender = module.make(setting, session)
    return made
