"""`ddb-lease status`: a bucket as a table for people, or as JSON; once, or repeatedly."""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import sys
import threading
import time
from datetime import datetime, timezone
from typing import Any, Final

from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection
from ddb_lease.cli.abbreviations import abbreviated
from ddb_lease.cli.columns import columns
from ddb_lease.cli.fitting import fitted, wrapped
from ddb_lease.cli.formatting import printable, shown
from ddb_lease.cli.queue_table import queue_lines
from ddb_lease.cli.screen import Screen
from ddb_lease.cli.seeing import stamps
from ddb_lease.cli.streams import show
from ddb_lease.errors import ConfigurationError, StoreUnavailable, UnknownBucket
from ddb_lease.models import BucketStatus, LeaseInfo

_HEAD = ("SLOT", "OWNER", "AGE", "REMAINING", "FENCE", "LEASE ID", "DATA")
_RIGHT = {"SLOT", "AGE", "REMAINING"}
_SQUEEZED: Final = {"OWNER": 12, "DATA": 8, "FENCE": 5, "LEASE ID": 10}
_SHORTEST_INTERVAL: Final = 0.2
_LONGEST_INTERVAL: Final = 86_400.0


def execute(options: argparse.Namespace) -> int:
    """Show the bucket."""
    if not _SHORTEST_INTERVAL <= options.interval <= _LONGEST_INTERVAL:
        raise ConfigurationError(
            f"--interval must be from {_SHORTEST_INTERVAL} seconds to a day, not {shown(options.interval)}"
        )
    with connection.bucket(options, max_tokens=1) as bucket:
        if options.watch:
            _watch(bucket, interval=options.interval, for_programs=options.json, wide=options.wide)
        status = bucket.status()
    show(as_json(status) if options.json else as_table(status, width=_width(wide=options.wide)))
    return 0


def _width(*, wide: bool) -> int | None:
    return None if wide else columns()


def _watch(bucket: LeaseBucket, *, interval: float, for_programs: bool, wide: bool) -> None:
    """Show it until interrupted. If the service does not answer, or the bucket does not exist yet, show that.

    For people the last table stays in an outage, with its age.
    """
    last, read_at, told = "", 0.0, ""
    with Screen(sys.stdout) as screen:
        while True:
            now, width = time.strftime("%H:%M:%S"), _width(wide=wide)
            try:
                status = bucket.status()
                text = as_line(status, at=time.time()) if for_programs else as_table(status, width=width)
                last, read_at, told = text, time.monotonic(), now
            except (StoreUnavailable, UnknownBucket) as error:
                said = printable(" ".join(str(error).split()))
                text = _error_line(bucket.name, error, said) if for_programs else said
                if not for_programs:
                    text = said if width is None else wrapped(said, width)
                if last and not for_programs and isinstance(error, StoreUnavailable):
                    text += f"\n\nas of {told}, {shown(time.monotonic() - read_at)} ago:\n{last}"
            if not for_programs:
                text = f"{now}, every {shown(interval)}, until Ctrl-C\n\n{text}"
            screen.show(text)
            threading.Event().wait(interval)


def as_json(status: BucketStatus, *, indent: int | None = 2) -> str:
    """The status as one JSON object."""
    return json.dumps(_whole(status), indent=indent, default=_plain)


def as_line(status: BucketStatus, *, at: float) -> str:
    """The status as one line, with its time and the bucket's name as in all lines that `ddb-lease timeline` reads."""
    return json.dumps({stamps.KEY: stamps.stamp(at), "bucket": status.name} | _whole(status), default=_plain)


def _error_line(bucket: str, error: Exception, message: str) -> str:
    line = {stamps.KEY: stamps.stamp(time.time()), "bucket": bucket, "error": type(error).__name__, "message": message}
    return json.dumps(line)


def _whole(status: BucketStatus) -> dict[str, Any]:
    # As JSON in ASCII: what others wrote must not reach a terminal as it is.
    whole = dataclasses.asdict(status) | {"free": status.free, "drift": status.drift}
    whole["leases"] = [
        dataclasses.asdict(lease) | {"expired": lease.expired, "closed": lease.closed} for lease in status.leases
    ]
    return whole


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    # Our leases hold no such values, but another program may have put them there: bytes, numbers that no float holds.
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def as_table(status: BucketStatus, *, width: int | None = None) -> str:
    """The status for people: one line that sums it up, then a line for each lease.

    Args:
        status: The status.
        width: Columns of a line; None for as many as it takes, with whole ids.
    """
    running = [lease for lease in status.leases if not lease.expired]
    retired = sum(lease.retired for lease in running)
    closed = sum(lease.closed and not lease.retired for lease in running)
    kept = f"{closed} kept closed, " if closed else ""
    minted = "1 slot" if status.minted == 1 else f"{status.minted} slots"
    leased = len(running) - retired - closed
    head = (
        f"{printable(status.name)} in table {printable(status.table)}: {leased} of {status.max_tokens} leased, "
        f"{kept}{status.free} free, leases of {shown(status.lease_seconds)}, {minted} minted"
    )
    if status.order == "fifo":
        head += f"\nfirst come, first served: {status.waiting:,} waiting"
    if retired:
        head += f"\n{retired} more on retired slots until they end"
    if status.drift:
        head += f"\ndrift: {status.in_circulation} slots are in circulation; the others are minted again when needed"
    if width is not None:
        head = "\n".join(wrapped(line, width) for line in head.splitlines())
    queue = queue_lines(status, now=datetime.now(timezone.utc), width=width)
    below = "\n".join(["\n", *queue]) if queue else ""
    if not status.leases:
        return head + below
    rows = [_row(lease, short=width is not None) for lease in status.leases]
    shown_columns = len(_HEAD) if any(row[-1] for row in rows) else len(_HEAD) - 1
    whole = [_HEAD[:shown_columns], *(row[:shown_columns] for row in rows)]
    return "\n".join([head, "", *fitted(whole, right=_RIGHT, squeezed=_SQUEEZED, width=width)]) + below


def _row(lease: LeaseInfo, *, short: bool) -> tuple[str, ...]:
    remaining = "expired" if lease.expired else shown(lease.remaining_seconds)
    words = (("revoked", lease.revoked), ("retired", lease.retired), ("closed", lease.closed))
    marks = [word for word, on in words if on]
    data = [f"{printable(str(key))}={printable(str(value))}" for key, value in lease.data.items()]
    return (
        str(lease.slot),
        printable(lease.owner),
        shown(lease.age_seconds),
        " ".join([remaining, *marks]),
        str(lease.fence),
        printable(abbreviated(lease) if short else lease.lease_id),
        " ".join(data),
    )
