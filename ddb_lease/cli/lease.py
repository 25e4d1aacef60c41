"""`ddb-lease release` and `ddb-lease revoke`: an operator ends one lease, or asks for it back, by its id."""

from __future__ import annotations

import argparse
import json

from ddb_lease.cli import connection, exits, formatting
from ddb_lease.cli.streams import say, show


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    release = connection.add_bucket_command(
        subparsers,
        "release",
        execute_release,
        "end a lease whose holder is gone",
        "End a lease at once, by its id (see status). Use it when the holder is surely dead: a holder that still works "
        "learns of it only at its next renewal, and another may have the slot by then. Ask a living one with revoke.",
        "release gpus 3-60f961de62a726e6f50a1bafd6f9d2d7",
        "release gpus 3-60f961de62a726e6f50a1bafd6f9d2d7 --json",
    )
    revoke = connection.add_bucket_command(
        subparsers,
        "revoke",
        execute_revoke,
        "ask a holder for its slot back",
        "Mark a lease as revoked, by its id (see status). Its holder finds the mark at its next renewal, within a "
        "third of the lease, stops (run ends its command), and gives the slot back. Nobody else can have the slot "
        "before that, or before the lease expires.",
        "revoke gpus 0-4cd741161868288421800ff76d59af2d",
        "revoke gpus 0-4cd741161868288421800ff76d59af2d --table staging",
    )
    for parser in (release, revoke):
        parser.add_argument("lease_id", metavar="LEASE_ID")


def execute_release(options: argparse.Namespace) -> int:
    """End the lease."""
    with connection.bucket(options, max_tokens=1) as bucket:
        return _told(options, "released", done=bucket.release(options.lease_id))


def execute_revoke(options: argparse.Namespace) -> int:
    """Ask for the slot."""
    with connection.bucket(options, max_tokens=1) as bucket:
        return _told(options, "revoked", done=bucket.revoke(options.lease_id))


def _told(options: argparse.Namespace, what: str, *, done: bool) -> int:
    if options.json:
        show(json.dumps({"lease_id": options.lease_id, what: done}))
    else:
        lease = f"lease {formatting.printable(options.lease_id)}"
        if done:
            show(f"{lease} is {what}")
        else:
            say(f"{lease} is not held: nothing was changed")
    return 0 if done else exits.UNKNOWN_BUCKET
