"""`ddb-lease timeline`: who held which slot when, from lines that programs wrote; as text, and as a page.

Invariants: it sends nothing. A page appears whole or not at all: it is written beside its place, and moved there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ddb_lease.cli.columns import columns
from ddb_lease.cli.fitting import wrapped
from ddb_lease.cli.formatting import printable
from ddb_lease.cli.seeing.history import BucketHistory, Line, Problem, histories, parsed
from ddb_lease.cli.seeing.timeline_page import summary, timeline_page
from ddb_lease.cli.streams import say, show
from ddb_lease.errors import ConfigurationError

_MOST_TOLD: Final = 10


def execute(options: argparse.Namespace) -> int:
    """Read the lines, and tell."""
    problems: list[Problem] = []
    lines: list[Line] = []
    for name in options.files:
        lines += _read(name, problems)
    _tell(problems)
    found = histories(lines)
    if not found:
        raise ConfigurationError("no line tells of a bucket: nothing to draw")
    if options.html is not None:
        files = f"{len(options.files)} file" + ("" if len(options.files) == 1 else "s")
        bad = f", {len(problems):,} of them unreadable" if problems else ""
        _write(options.html, timeline_page(found, source=f"{files}, {len(lines) + len(problems):,} lines{bad}."))
    show(as_text(found))
    return 0


def as_text(found: Sequence[BucketHistory]) -> str:
    """A summary for people: a paragraph for each bucket."""
    return "\n".join(wrapped(_sentence(row), columns()) for row in summary(found))


def _sentence(row: Sequence[str]) -> str:
    name, _, leases, held, longest, waits, waited, longest_wait, lost, revoked = row
    parts = [f"{name}: {_counted(leases, 'lease')}"]
    if held:
        parts.append(f"held for {held} (median; longest {longest})")
    parts.append(f"{_counted(waits, 'wait')}, {waited} (median; longest {longest_wait})" if waited else "no waits")
    parts.append("none lost" if lost == "0" else f"lost or expired: {lost}")
    return "; ".join([*parts, f"{revoked} revoked"] if revoked != "0" else parts)


def _counted(number: str, noun: str) -> str:
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"


def _read(name: str, problems: list[Problem]) -> list[Line]:
    try:
        if name == "-":
            return parsed("-", sys.stdin, problems)
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            return parsed(name, file, problems)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot read {name!r}: {reason}") from error


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems[:_MOST_TOLD]:
        say(f"{printable(problem.file)}, line {problem.number}: {printable(problem.why)}; it is left out")
    if len(problems) > _MOST_TOLD:
        say(f"and {len(problems) - _MOST_TOLD:,} more lines that are left out")


def _write(name: str, text: str) -> None:
    place = Path(name)
    try:
        handle, draft = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            os.chmod(draft, 0o666 & ~_umask())
            os.replace(draft, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    except OSError as error:
        raise ConfigurationError(f"cannot write {name!r}: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
