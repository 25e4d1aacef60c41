"""The options of `ddb-lease release` and `ddb-lease revoke`."""

from __future__ import annotations

import argparse

from ddb_lease.cli import formatting
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    release = where.add_bucket_command(
        subparsers,
        "release",
        deferred("lease", "execute_release"),
        "end a lease whose holder is gone",
        "End a lease at once, by its id or its slot (see status). Use it when the holder is surely dead: a holder "
        "that still works learns of it only at its next renewal, and another may have the slot by then. Ask a living "
        "one with revoke.",
        "release gpus 3-60f961de",
        "release gpus --slot 3 --json",
    )
    revoke = where.add_bucket_command(
        subparsers,
        "revoke",
        deferred("lease", "execute_revoke"),
        "ask a holder for its slot back",
        "Mark a lease as revoked, by its id or its slot (see status). Its holder finds the mark at its next renewal, "
        "within a third of the lease, stops (run ends its command), and gives the slot back. Nobody else can have the "
        "slot before that, or before the lease expires.",
        "revoke gpus 0-4cd74116",
        "revoke gpus --slot 0 --table staging",
    )
    for parser in (release, revoke):
        parser.usage = f"{parser.prog} BUCKET (LEASE_ID | --slot N) [options]"
        parser.add_argument(
            "lease_id", metavar="LEASE_ID", nargs="?", help="the lease's id, or its beginning as status shows it"
        )
        parser.add_argument(
            "--slot",
            type=formatting.whole(0),
            metavar="N",
            help="instead of an id: the lease that is on this slot when the command runs",
        )
