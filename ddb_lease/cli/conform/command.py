"""`ddb-lease conform`: its options. What it does is imported only when it runs, as other commands need none of it."""

from __future__ import annotations

import argparse

from ddb_lease.cli import pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "conform",
        help="try every request of the protocol on a table of its own",
        **pages.page(
            "Make a table, send it every request of the protocol in every outcome, compare the answers with those that "
            "DynamoDB is known to give, and delete the table, whatever happens. No other table is touched. Needs the "
            "deployer's, worker's and operator's permissions, and dynamodb:DeleteTable, on tables ddb-lease-conform-*. "
            "It takes a minute or two and costs less than a cent; it says so, and asks first. What the answers mean: "
            "docs/conformance.md.",
            "conform --local",
            "conform --region eu-central-1 --quick",
        ),
    )
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument("--quick", action="store_true", help="the probes alone: no Dates, no collisions")
    parser.add_argument("--record", metavar="FILE", help="write the answers to FILE, without account ids")
    parser.add_argument(
        "--without-partiql",
        metavar="PROFILE",
        help="also try a batch with this AWS profile, whose role lacks dynamodb:PartiQLUpdate",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, an object a line")
    where.add_options(parser, table=False)
    parser.set_defaults(execute=deferred("conform.running"), only_typed=("record",))
