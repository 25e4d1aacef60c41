"""How wide what is printed may be: the one place that asks a terminal.

Invariant: it is never more than the terminal has, as what wraps cannot be drawn again in place.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from ddb_lease.cli.fitting import PLAIN_COLUMNS


def columns() -> int:
    """Columns of the terminal that standard output is; elsewhere those of a plain one."""
    return columns_of(sys.stdout)


def columns_of(stream: TextIO) -> int:
    """Columns of the terminal that a stream is, or fewer if COLUMNS says so; elsewhere those of a plain one."""
    try:
        number = stream.fileno()
        if not os.isatty(number):
            return PLAIN_COLUMNS
        there = os.get_terminal_size(number).columns
    except (OSError, ValueError):  # closed, or none of the system's
        return PLAIN_COLUMNS
    text = os.environ.get("COLUMNS", "")
    told = int(text) if text.isascii() and text.isdigit() else 0
    return min(one for one in (told, there) if one > 0) if told or there else PLAIN_COLUMNS
