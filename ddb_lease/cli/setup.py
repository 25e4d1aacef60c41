"""`ddb-lease create-table` and `ddb-lease local`: the table, and the embedded engine."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.cli import connection, exits, formatting
from ddb_lease.cli.streams import confirmed, say, show
from ddb_lease.dynamodb.table import check_table, create_table
from ddb_lease.dynamodb.table_options import TableOptions
from ddb_lease.errors import ConfigurationError

if TYPE_CHECKING:
    from ddb_lease.local import Engine
    from ddb_lease.local.control import Held

_log = logging.getLogger("ddb_lease")


def execute_create_table(options: argparse.Namespace) -> int:
    """Make the table, or check it, and say what was done."""
    asked = TableOptions(
        deletion_protection=options.deletion_protection, max_reads=options.max_reads, max_writes=options.max_writes
    )
    if options.check:
        if asked != TableOptions():
            raise ConfigurationError(
                "--check changes nothing: leave out --deletion-protection, --max-reads, --max-writes"
            )
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
        options.table,
        connection=connection.settings(options),
        clock=SystemClock(),
        timeout=options.wait,
        options=asked,
    )
    made = "created" if report.created else "exists already"
    ttl = "TTL turned on" if report.ttl_enabled else "TTL is on"
    changed = f"; now {asked}" if report.changed else f"; {asked}" if asked != TableOptions() else ""
    show(f"table {report.table}: {made}, active; {ttl} (attribute ttl){changed}")
    return 0


def execute_local(options: argparse.Namespace) -> int:
    """Start, stop or show the embedded engine."""
    from ddb_lease import local  # noqa: PLC0415 - imported only where the engine is asked for
    from ddb_lease.local import control  # noqa: PLC0415
    from ddb_lease.local.folder import locate  # noqa: PLC0415

    if options.yes and options.action != "stop":
        raise ConfigurationError("--yes is for local stop")
    if options.no_wait and options.action != "start":
        raise ConfigurationError("--no-wait is for local start")
    if options.action == "stop":
        return _stop(sure=options.yes)
    engine = local.start() if options.action == "start" else local.find()
    if engine is None:
        show("no engine is running")
        return 1
    report = control.forget_awaited(engine) if options.no_wait else control.report(engine)
    age = formatting.shown(max(0.0, SystemClock().wall() - engine.started_at_ms / 1000))
    show(f"engine at {engine.endpoint_url}, process {engine.pid}, up for {age}")
    show(f"in {formatting.printable(str(locate().path))}{_run_by(engine)}")
    for bucket in report.awaited:
        name = f"{formatting.printable(bucket.bucket)} in table {formatting.printable(bucket.table)}"
        show(
            f"{name}: nothing is granted for another {formatting.shown(bucket.remaining_s)}, as leases of an earlier "
            "engine run; if their holders are dead: ddb-lease local start --no-wait"
        )
    return 0


def _run_by(engine: Engine) -> str:
    """Which Python runs the engine: the one of whoever started it. Linux alone tells."""
    with contextlib.suppress(OSError):
        python = Path(f"/proc/{engine.pid}/cmdline").read_bytes().partition(b"\0")[0]
        return f", run by {formatting.printable(os.fsdecode(python))}" if python else ""
    return ""


def _stop(*, sure: bool) -> int:
    """Stop the engine, once confirmed if somebody holds leases on it."""
    from ddb_lease import local  # noqa: PLC0415 - imported only where the engine is asked for
    from ddb_lease.local import control  # noqa: PLC0415

    bound: Sequence[Held] = ()
    if not sure:
        engine = local.find()
        bound = control.report(engine).held if engine is not None else ()
        held = [lease for lease in bound if not lease.is_permit]  # used permits run out, whether the engine runs or not
        if held and not _confirmed(held):
            say("the engine runs on")
            return exits.USAGE
    show("engine stopped; its tables are gone" if local.stop() else "no engine was running")
    if bound:
        names = formatting.printable(", ".join(sorted({lease.bucket for lease in bound})))
        longest = max(lease.remaining_s for lease in bound)
        show(f"the next engine grants nothing in {names} for {formatting.shown(longest)}")
    return 0


def _confirmed(held: Sequence[Held]) -> bool:
    leases = f"{len(held)} lease{'' if len(held) == 1 else 's'}"
    holders = "; ".join(
        f"{formatting.printable(lease.owner)} holds {formatting.printable(lease.item)} of "
        f"{formatting.printable(lease.bucket)}, for another {formatting.shown(lease.remaining_s)}"
        for lease in held
    )
    lost = f"{leases} would be lost: {holders}. Wait for them, or give --yes to stop the engine all the same"
    return confirmed(f"{holders}.\nStop the engine, and lose {leases}? [y/N] ", refusal=lambda _: lost)
