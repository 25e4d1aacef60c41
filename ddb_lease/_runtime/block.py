"""The `with` block of a bucket or a limiter: it closes it at the end, and acquires nothing.

Invariants:

- `with bucket:` looks like a guard and is none. So the mistake shows: entering a closed one, or one that is entered
  already, raises before the body runs; a block in which nothing was asked of it leaves a warning in the log.
- No I/O, no clock.
"""

from __future__ import annotations

import threading

from ddb_lease._state.log import log as _log
from ddb_lease.errors import ConfigurationError


class ClosingBlock:
    """The block of one bucket or limiter; there is at most one in its life.

    Args:
        what: The bucket or limiter, in messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._entered = threading.Lock()  # taken once, and never released: after the block, it is closed
        self._used = False

    def use(self) -> None:
        """Something was asked of the bucket or limiter."""
        self._used = True

    def enter(self, *, closed: bool, instead: str) -> None:
        """Enter the block.

        Args:
            closed: Whether the bucket or limiter is closed.
            instead: What guards a block.

        Raises:
            ConfigurationError: It is closed, or was entered before.
        """
        if closed:
            raise ConfigurationError(f"{self._what} is closed: its `with` block closes it at the end. {instead}")
        if not self._entered.acquire(blocking=False):
            raise ConfigurationError(f"{self._what} is entered already, and that block will close it. {instead}")
        self._used = False

    def leave(self, error: BaseException | None, *, instead: str) -> None:
        """Leave the block; the caller closes the bucket or limiter.

        Args:
            error: What the body raised.
            instead: What guards a block.
        """
        if error is None and not self._used:
            _log.warning(
                "a `with` block of %s ended, and nothing was asked of it there: the block guards nothing, it only "
                "closes it at the end. %s",
                self._what,
                instead,
            )
