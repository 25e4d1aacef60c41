"""The help page of a command: what it does, examples, and where the exit codes are. Pure."""

from __future__ import annotations

import argparse
from typing import Any

from ddb_lease.cli import formatting

_MORE = "Exit codes, variables and the configuration file: ddb-lease --help"


def page(description: str, *examples: str) -> dict[str, Any]:
    """The arguments of a parser for its help page.

    Args:
        description: A paragraph.
        examples: Command lines, without `ddb-lease`; two, where there are two.
    """
    lines = "".join(f"  $ ddb-lease {example}\n" for example in examples)
    return {
        "description": formatting.paragraph(description),
        "epilog": f"examples:\n{lines}\n{_MORE}" if examples else _MORE,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
