"""Callers that charge a key together with others, as a key and its parents are. They stand in no queue.

Invariants:

- The key's book is kept while there are any, and closing the limiter wakes them.
- It has only weak references: a caller that an interrupt has ended before it leaves disappears.
- The limiter's lock guards it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Protocol


class Sleeper(Protocol):
    """A caller that waits."""

    @property
    def wake(self) -> Callable[[], None]:
        """Ends its pause, from any thread."""
        ...


class Callers:
    """The callers of one key."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[weakref.ref[Sleeper]] = []

    def join(self, caller: Sleeper) -> None:
        """Note one more."""
        self._all = [*(one for one in self._all if one() is not None), weakref.ref(caller)]

    def leave(self, caller: Sleeper) -> None:
        """It has ended."""
        self._all = [one for one in self._all if one() is not None and one() is not caller]

    def __iter__(self) -> Iterator[Sleeper]:
        return (caller for caller in (one() for one in self._all) if caller is not None)

    def __bool__(self) -> bool:
        return any(True for _ in self)
