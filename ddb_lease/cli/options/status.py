"""The options of `ddb-lease status`."""

from __future__ import annotations

import argparse

from ddb_lease.cli import formatting, pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="show who holds which slot",
        **pages.page(
            "Show a bucket's limits and leases. Reads only.", "status gpus", "status gpus --watch --interval 5"
        ),
    )
    parser.add_argument("bucket", metavar="BUCKET")
    parser.add_argument("--json", action="store_true", help="print JSON: everything, times in seconds")
    parser.add_argument(
        "--wide",
        action="store_true",
        help="whole owners, lease ids and data, however long (default: 80 columns, or "
        "those of the terminal; release and revoke take the short ids, too)",
    )
    parser.add_argument(
        "--watch", action="store_true", help="repeat, in place on a terminal; with --json, one line each time"
    )
    parser.add_argument(
        "--interval",
        type=formatting.duration,
        default=2.0,
        metavar="TIME",
        help="pause of --watch between two reads of the whole bucket (default: 2s)",
    )
    where.add_options(parser)
    parser.set_defaults(execute=deferred("status"))
