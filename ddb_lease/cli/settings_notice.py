"""What `run` and `limit` say of settings that the bucket, or the rate, was not made with.

Invariant: only what was typed is told of, with the command that changes it. The library's warning, which names all
settings that a client was made with, is not logged besides.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from types import TracebackType

from ddb_lease._operations.rates.policy import OTHER_LIMITS_TEXT, Compared
from ddb_lease._state.bucket_state import OTHER_SETTINGS_TEXT, PRIORITY_TEXT, Described
from ddb_lease.cli import connection
from ddb_lease.cli.formatting import printable, shown
from ddb_lease.cli.streams import say

_log = logging.getLogger("ddb_lease")


class SettingsNotice(logging.Filter):
    """Filters the library's log while its block runs."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self._options = options

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the log shows this record; says what there is to say instead."""
        if record.msg == PRIORITY_TEXT and isinstance(record.args, tuple):
            if "priority" in self._options.given and "fifo" not in self._options.given:
                _, order = record.args
                say(_ordered(self._options, order=order, what="a --priority does nothing there"))
            return False
        if record.msg != OTHER_SETTINGS_TEXT or not isinstance(record.args, tuple):
            return True
        _, stored, wanted, *_ = record.args
        if not (isinstance(stored, Described) and isinstance(wanted, Described)):
            return True
        for text in different(self._options, stored=stored, wanted=wanted):
            say(text)
        return False

    def __enter__(self) -> SettingsNotice:
        _log.addFilter(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _log.removeFilter(self)


class BurstNotice(logging.Filter):
    """Of a rate: drops the warning if all that differs is a burst, and none was typed."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self._is_typed = "burst" in options.given

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the log shows this record."""
        if record.msg != OTHER_LIMITS_TEXT or self._is_typed or not isinstance(record.args, tuple):
            return True
        compared = record.args[1]
        return not isinstance(compared, Compared) or any(
            stored is None or given is None or stored.interval != given.interval for _, stored, given in compared.limits
        )

    def __enter__(self) -> BurstNotice:
        _log.addFilter(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _log.removeFilter(self)


def different(options: argparse.Namespace, *, stored: Described, wanted: Described) -> list[str]:
    """A line on each setting that was typed and is not the stored one."""
    name = f"bucket {options.bucket!r}"
    said = []
    if "max_tokens" in options.given and stored.settings.max_tokens != wanted.settings.max_tokens:
        tokens = wanted.settings.max_tokens
        words = ["ddb-lease", "resize", options.bucket, str(tokens), *connection.words(options)]
        said.append(
            f"{name} has max_tokens={stored.settings.max_tokens}, and that counts, not the {tokens} of --max-tokens; "
            f"to change that: {printable(shlex.join(words))}"
        )
    if "lease" in options.given and stored.settings.lease_ms != wanted.settings.lease_ms:
        length, asked = (shown(one.settings.lease_ms / 1000) for one in (stored, wanted))
        said.append(
            f"{name} has leases of {length}, and that counts, not the {asked} of --lease; the length is set when a "
            "bucket is made: to have another one, use a bucket of another name"
        )
    if "fifo" in options.given and stored.settings.order != wanted.settings.order:
        said.append(_ordered(options, order=stored.settings.order, what="that counts, not --fifo"))
    return said


def _ordered(options: argparse.Namespace, *, order: object, what: str) -> str:
    words = ["ddb-lease", "configure", options.bucket, "--order", "fifo", *connection.words(options)]
    return f"bucket {options.bucket!r} has order={order}, and {what}; to change that: {printable(shlex.join(words))}"
