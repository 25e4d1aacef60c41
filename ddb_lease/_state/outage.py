"""Outages: whether the service answers one bucket, or one rate, and what a person is to be told about it.

Invariants:

- An outage is told once when it begins and once when it ends, however many requests fail in between.
- One failure among answers is no outage: it begins with a request that was sent after the last answer, and lasts for a
  while without any.
- It decides nothing for a request. No I/O and no clock: times come in, and what is to be told goes out.
- Threads share it without a lock: each step is atomic, and a race costs a moment's delay at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TOLD_AFTER_SECONDS = 1.0
"""How long nothing is answered before it is told: a few tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An outage that was told has ended, after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Nothing has been answered for so many seconds."""

    seconds: float


class Outage:
    """Notes failures and answers.

    Args:
        told_after: How long nothing is answered before it is told, in seconds.
    """

    def __init__(self, told_after: float = TOLD_AFTER_SECONDS) -> None:
        self._told_after = told_after
        self._answered_at = -math.inf
        self._since: float | None = None
        # One of the two holds one entry: who takes it out tells.
        self._untold: list[None] = [None]
        self._told: list[float] = []

    def failed(self, *, sent: float, now: float) -> Begun | None:
        """A request had no usable answer; returns what is to be told, if it is."""
        if sent < self._answered_at:
            return None  # others were answered meanwhile
        since = self._since
        if since is None:
            self._since = since = sent
        if now - since < self._told_after or not self._untold:
            return None
        try:
            self._untold.pop()
        except IndexError:
            return None  # another thread tells
        self._told.append(since)
        return Begun(seconds=now - since)

    def answered(self, now: float) -> Ended | None:
        """A request was answered; returns what is to be told, if it is."""
        self._answered_at = now
        if self._since is None:
            return None
        self._since = None
        try:
            began = self._told.pop()
        except IndexError:
            return None
        self._untold.append(None)
        return Ended(seconds=now - began)
