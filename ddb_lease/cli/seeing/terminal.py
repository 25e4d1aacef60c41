"""How wide what is printed may be."""

from __future__ import annotations

import shutil
import sys

from ddb_lease.cli.fitting import PLAIN_COLUMNS


def columns() -> int:
    """Columns of the terminal that standard output is; elsewhere those of a plain one."""
    return shutil.get_terminal_size((PLAIN_COLUMNS, 24)).columns if sys.stdout.isatty() else PLAIN_COLUMNS
