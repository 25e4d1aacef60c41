"""`ddb-lease status`: a bucket as a table that a person likes to read, or as JSON."""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
from collections.abc import Sequence

from ddb_lease.cli import exits, target, words
from ddb_lease.cli.words import printable, shown
from ddb_lease.model import BucketStatus, LeaseInfo

_HEAD = ("SLOT", "OWNER", "AGE", "REMAINING", "FENCE", "LEASE ID", "DATA")
_RIGHT = {"SLOT", "AGE", "REMAINING"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="show who holds which slot",
        description=words.paragraph("Show a bucket's limits and leases. Reads only."),
        epilog=exits.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bucket", metavar="BUCKET")
    parser.add_argument("--json", action="store_true", help="for programs: all of it, times in seconds")
    target.add_options(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Show the bucket."""
    with target.bucket(options, max_tokens=1) as bucket:
        status = bucket.status()
    print(as_json(status) if options.json else as_table(status))
    return 0


def as_json(status: BucketStatus) -> str:
    """The status as one JSON object."""
    whole = dataclasses.asdict(status) | {"free": status.free, "drift": status.drift}
    whole["leases"] = [dataclasses.asdict(lease) | {"expired": lease.expired} for lease in status.leases]
    return json.dumps(whole, indent=2, default=_plain)  # in ASCII: what others wrote must not reach a terminal raw


def _plain(value: object) -> str:
    # Not from a lease of ours, but another program may have put it there: bytes, and numbers that no float holds.
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def as_table(status: BucketStatus) -> str:
    """The status for a person: one line that sums it up, then a line for each lease."""
    running = sum(not lease.expired for lease in status.leases)
    head = (
        f"{printable(status.name)} in table {printable(status.table)}: {running} of {status.max_tokens} leased, "
        f"{status.free} free, leases of {shown(status.lease_seconds)}, {status.minted} slots minted"
    )
    if not status.leases:
        return head
    rows = [_row(lease) for lease in status.leases]
    columns = len(_HEAD) if any(row[-1] for row in rows) else len(_HEAD) - 1
    return "\n".join([head, "", *_aligned([_HEAD[:columns], *(row[:columns] for row in rows)])])


def _row(lease: LeaseInfo) -> tuple[str, ...]:
    remaining = "expired" if lease.expired else shown(lease.remaining_seconds)
    marks = [word for word, on in (("revoked", lease.revoked), ("retired", lease.retired)) if on]
    data = [f"{printable(str(key))}={printable(str(value))}" for key, value in lease.data.items()]
    return (
        str(lease.slot),
        printable(lease.owner),
        shown(lease.age_seconds),
        " ".join([remaining, *marks]),
        str(lease.fence),
        printable(lease.lease_id),
        " ".join(data),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_HEAD, row, widths, strict=False)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
