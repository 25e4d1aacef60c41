"""`ddb-lease release` and `ddb-lease revoke`: an operator ends one lease, or asks for it back, by its id or slot."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection, exits, formatting
from ddb_lease.cli.abbreviations import is_whole, meant_by
from ddb_lease.cli.streams import say, show
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import CLOSED_MARK, LeaseInfo


def execute_release(options: argparse.Namespace) -> int:
    """End the lease."""
    return _to_lease(options, "released", LeaseBucket.release)


def execute_revoke(options: argparse.Namespace) -> int:
    """Ask for the slot."""
    return _to_lease(options, "revoked", LeaseBucket.revoke)


def _to_lease(options: argparse.Namespace, what: str, change: Callable[[LeaseBucket, str], bool]) -> int:
    if (options.lease_id is None) == (options.slot is None):
        raise ConfigurationError("say which lease: its id, as status shows it, or --slot and the number of its slot")
    with connection.bucket(options, max_tokens=1) as bucket:
        lease_id, found = _meant(options, bucket)
        done = lease_id is not None and change(bucket, lease_id)
        if not done and found is None:
            bucket.status()  # a bucket that does not exist is told as such
        return _told(options, what, lease_id=lease_id, found=found, done=done)


def _meant(options: argparse.Namespace, bucket: LeaseBucket) -> tuple[str | None, LeaseInfo | None]:
    """The whole id of the lease, None if it is not there; and the lease, if the bucket had to be read to find it."""
    if options.lease_id is not None and is_whole(options.lease_id):
        return options.lease_id, None
    leases = bucket.status().leases
    if options.slot is not None:
        found = next((lease for lease in leases if lease.slot == options.slot), None)
    else:
        found = meant_by(options.lease_id, leases)
    return (None, None) if found is None else (found.lease_id, found)


def _told(options: argparse.Namespace, what: str, *, lease_id: str | None, found: LeaseInfo | None, done: bool) -> int:
    given = f"slot {options.slot}" if options.slot is not None else f"lease {formatting.printable(options.lease_id)}"
    if options.json:
        show(json.dumps({"lease_id": lease_id or options.lease_id, what: done}))
    elif done and lease_id is not None and lease_id.partition("-")[2].startswith(CLOSED_MARK):
        show(_opened(lease_id, found))
    elif done:
        of = f" of {formatting.printable(found.owner)}" if found is not None else ""
        show(f"lease {formatting.printable(lease_id or '')}{of} is {what}")
    else:
        say(f"{given} is not {'leased' if options.slot is not None else 'held'}: nothing was changed")
    return 0 if done else exits.UNKNOWN_BUCKET


def _opened(lease_id: str, found: LeaseInfo | None) -> str:
    """What became of a slot that nobody held: whoever asks for it back, or ends it, opens it."""
    slots = lease_id.partition("-")[0].split(".")
    of, longer = "", ""
    if found is not None:
        of = f" by {formatting.printable(found.owner)}" if found.owner else ""
        longer = "" if found.expired else f" for another {formatting.shown(found.remaining_seconds)}"
    one = len(slots) == 1
    was, are = ("was", "it is") if one else ("were", "they are")
    return f"slot{'' if one else 's'} {', '.join(slots)} {was} kept closed{longer}{of}; {are} open now"
