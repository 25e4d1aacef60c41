"""The options of `ddb-lease create-table` and `ddb-lease local`."""

from __future__ import annotations

import argparse

from ddb_lease.cli import formatting, pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    table = subparsers.add_parser(
        "create-table",
        help="make the DynamoDB table",
        **pages.page(
            "Make the table: on-demand billing, TTL on, and wait until it is active. Safe to repeat. The options for "
            "deletion protection and caps are set on a table that exists, too, if it has others: that needs the "
            "permission dynamodb:UpdateTable.",
            "create-table --region eu-central-1 --deletion-protection",
            "create-table --table staging --check",
        ),
    )
    table.add_argument(
        "--wait", type=formatting.duration, default=120.0, metavar="TIME", help="wait at most this long (default: 2m)"
    )
    table.add_argument(
        "--deletion-protection",
        action=argparse.BooleanOptionalAction,
        help="let DynamoDB refuse to delete the table, or not any more (default: leave it as it is; a new table: off)",
    )
    for what in ("reads", "writes"):
        table.add_argument(
            f"--max-{what}",
            type=formatting.whole(1),
            metavar="N",
            help=f"cap: {what[:-1]} request units a second; what goes beyond is throttled (default: leave it as it is)",
        )
    table.add_argument(
        "--check", action="store_true", help="change nothing: only say whether the table is fit for leases"
    )
    where.add_options(table)
    table.set_defaults(execute=deferred("setup", "execute_create_table"), only_typed=("check",))

    engine = subparsers.add_parser(
        "local",
        help="the embedded engine of this machine",
        **pages.page(
            "The embedded engine that --local uses: in memory, on loopback only, stopped after half an hour without a "
            "request. All your processes on this machine share it, whatever project they belong to: equal names are "
            "one bucket. A folder of its own for each project, in DDB_LEASE_LOCAL_DIR, gives each its own engine. "
            "status shows the folder. An engine that is killed, or stopped while leases run, leaves their "
            "ends on disk: the next one grants nothing in their buckets before that.",
            "local status",
            "local stop --yes",
        ),
    )
    engine.add_argument("action", choices=("start", "stop", "status"))
    engine.add_argument("--yes", action="store_true", help="stop: even while leases are held; do not ask")
    engine.add_argument(
        "--no-wait", action="store_true", help="start: grant at once what an earlier engine's leases hold back"
    )
    engine.set_defaults(execute=deferred("setup", "execute_local"), only_typed=("no_wait",))
