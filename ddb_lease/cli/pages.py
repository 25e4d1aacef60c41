"""The help page of a command: what it does, examples, and where the exit codes are. Pure."""

from __future__ import annotations

import argparse
from typing import Any

from ddb_lease.cli import formatting

_MORE = "Exit codes, variables and the configuration file: ddb-lease --help"

_MORE_CODES = "All exit codes, variables and the configuration file: ddb-lease --help"


def page(description: str, *examples: str, exit_codes: str = "") -> dict[str, Any]:
    """The arguments of a parser for its help page.

    Args:
        description: A paragraph.
        examples: Command lines, without `ddb-lease`; two, where there are two.
        exit_codes: Those of this command, where it has some of its own; all are on the page of the whole command line.
    """
    lines = "".join(f"  $ ddb-lease {example}\n" for example in examples)
    more = f"{exit_codes}\n\n{_MORE_CODES}" if exit_codes else _MORE
    return {
        "description": formatting.paragraph(description),
        "epilog": f"examples:\n{lines}\n{more}" if examples else more,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
