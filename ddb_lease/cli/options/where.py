"""The options that say where a command connects to: table, region, profile, endpoint, or the embedded engine."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ddb_lease.cli import pages
from ddb_lease.cli.options.bounds import DEFAULT_TABLE


def add_options(parser: argparse.ArgumentParser, *, table: bool = True) -> None:
    """Add the options that say where to connect; without `table`, for a command that has a table of its own."""
    group = parser.add_argument_group("where")
    if table:
        add_table_option(group)
    group.add_argument("--region", help="AWS region (default: the usual AWS variables and files)")
    group.add_argument("--profile", help="AWS profile (default: the usual AWS variables and files)")
    group.add_argument("--endpoint-url", metavar="URL", help="an endpoint other than DynamoDB's own")
    group.add_argument(
        "--local",
        action="store_true",
        help="use the embedded engine of this machine instead of AWS, started on demand (needs ddb-lease[local])",
    )


def add_bucket_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    execute: Callable[[argparse.Namespace], int],
    brief: str,
    description: str,
    *examples: str,
) -> argparse.ArgumentParser:
    """Add a command that works on a bucket and can print JSON."""
    parser = subparsers.add_parser(name, help=brief, **pages.page(description, *examples))
    parser.add_argument("bucket", metavar="BUCKET")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_options(parser)
    parser.set_defaults(execute=execute)
    return parser


def add_table_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that names the table; commands that send nothing to it need it too."""
    parser.add_argument(
        "--table",
        default=DEFAULT_TABLE,
        help=f"the DynamoDB table (default: {DEFAULT_TABLE})",
    )
