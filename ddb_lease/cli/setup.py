"""`ddb-lease create-table` and `ddb-lease local`: the table, and the embedded engine."""

from __future__ import annotations

import argparse
import logging

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.cli import connection, exits, formatting
from ddb_lease.cli.streams import show
from ddb_lease.dynamodb.table import check_table, create_table

_log = logging.getLogger("ddb_lease")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    table = subparsers.add_parser(
        "create-table",
        help="make the DynamoDB table",
        description=formatting.paragraph(
            "Make the table: on-demand billing, TTL on, and wait until it is active. Safe to repeat."
        ),
        epilog=exits.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    table.add_argument(
        "--wait", type=formatting.duration, default=120.0, metavar="TIME", help="wait at most this long (default: 2m)"
    )
    table.add_argument(
        "--check", action="store_true", help="change nothing: only say whether the table is fit for leases"
    )
    connection.add_options(table)
    table.set_defaults(execute=execute_create_table)

    engine = subparsers.add_parser(
        "local",
        help="the embedded engine of this machine",
        description="The embedded engine that --local uses: in memory, on loopback only, shared by your processes, "
        "stopped after half an hour without a request.",
    )
    engine.add_argument("action", choices=("start", "stop", "status"))
    engine.set_defaults(execute=execute_local)


def execute_create_table(options: argparse.Namespace) -> int:
    """Make the table, or check it, and say what was done."""
    if options.check:
        if not check_table(
            options.table, connection=connection.settings(options), clock=SystemClock(), timeout=options.wait
        ):
            _log.warning(
                "table %s has TTL off: unused slots are never deleted; create-table without --check turns it on",
                options.table,
            )
        show(f"table {options.table}: active, fit for leases")
        return 0
    report = create_table(
        options.table, connection=connection.settings(options), clock=SystemClock(), timeout=options.wait
    )
    made = "created" if report.created else "exists already"
    ttl = "TTL turned on" if report.ttl_enabled else "TTL is on"
    show(f"table {report.table}: {made}, active; {ttl} (attribute ttl)")
    return 0


def execute_local(options: argparse.Namespace) -> int:
    """Start, stop or show the embedded engine."""
    from ddb_lease import local  # noqa: PLC0415 - imported only where the engine is asked for

    if options.action == "stop":
        show("engine stopped; its tables are gone" if local.stop() else "no engine was running")
        return 0
    engine = local.start() if options.action == "start" else local.find()
    if engine is None:
        show("no engine is running")
        return 1
    age = formatting.shown(max(0.0, SystemClock().wall() - engine.started_at_ms / 1000))
    show(f"engine at {engine.endpoint_url}, process {engine.pid}, up for {age}")
    return 0
