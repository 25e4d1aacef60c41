"""What the library logs of a loss that `run` tells itself.

Invariant: a loss is told once, by `run`, which also says what becomes of the command. Neither the loss nor what follows
from it (a release that is not answered) is in the log besides, unless -v asks for all that happens.
"""

from __future__ import annotations

import logging
from types import TracebackType

from ddb_lease._runtime.loss import LOST_TEXT
from ddb_lease._runtime.process import LOG_SECONDS
from ddb_lease._state.log import flush

_log = logging.getLogger("ddb_lease")


class LossLog(logging.Filter):
    """Filters the library's log while its block runs."""

    def __init__(self) -> None:
        super().__init__()
        self._is_told = False

    def told(self) -> None:
        """The loss was told: what follows from it is no news."""
        self._is_told = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the log shows this record."""
        is_known = record.msg == LOST_TEXT or (self._is_told and record.levelno <= logging.WARNING)
        return not is_known or _log.isEnabledFor(logging.INFO)

    def __enter__(self) -> LossLog:
        _log.addFilter(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        flush(LOG_SECONDS)  # what was logged meanwhile may still be queued
        _log.removeFilter(self)
