"""`ddb-lease ls`: all buckets and rates of a table, by one Scan of it.

Invariant: the cost is said: in the help before, and as the service counted it after.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ddb_lease._protocol.listing import BucketListing, PageIs, RateListing, TableListing
from ddb_lease._runtime.listing import TableReader
from ddb_lease.cli import connection, rate_output
from ddb_lease.cli.columns import columns
from ddb_lease.cli.fitting import fitted
from ddb_lease.cli.formatting import printable, shown
from ddb_lease.cli.streams import say, show

_TOLD_EACH: Final = 50
"""Pages after which it is told how far it is: 50 MB, about 6 s."""

_BUCKETS: Final = ("BUCKET", "USED", "WAITING", "OLDEST HOLDER", "FOR")
_RATES: Final = ("RATE", "AVAILABLE", "LIMITS")
_SQUEEZED: Final = {"OLDEST HOLDER": 16, "BUCKET": 12, "RATE": 12, "LIMITS": 20}
_RIGHT: Final = {"USED", "WAITING", "FOR", "AVAILABLE"}


def execute(options: argparse.Namespace) -> int:
    """List the table."""
    with table_reader(options) as reader:
        listing = reader.read(observe=_Progress().observe)
    show(as_json(listing) if options.json else as_table(listing, width=columns()))
    return 0


class _Progress:
    """Says, while a large table is read, that it goes on and what it has cost so far."""

    def __init__(self) -> None:
        self._pages = self._items = 0
        self._units = 0.0

    def observe(self, _request: object, answer: object) -> None:
        if not isinstance(answer, PageIs) or answer.after is None:
            return
        self._pages += 1
        self._items += answer.scanned
        self._units += answer.read_units or 0.0
        if self._pages == 1:
            say("the table is larger than one page: reading on, 128 RCU for each 1 MB of it, until Ctrl-C")
        elif self._pages % _TOLD_EACH == 0:
            say(f"{self._items:,} items so far, {units_text(self._units)}")


@contextlib.contextmanager
def table_reader(options: argparse.Namespace) -> Iterator[TableReader]:
    """What reads the table that the options name."""
    with contextlib.closing(TableReader(options.table, connection=connection.settings(options))) as reader:
        yield reader


def as_json(listing: TableListing) -> str:
    """A listing as one JSON object."""
    whole = dataclasses.asdict(listing) | {
        "buckets": [_plain_bucket(bucket) for bucket in listing.buckets],
        "rates": [_plain_rate(rate) for rate in listing.rates],
    }
    return json.dumps(whole, indent=2)


def _plain_bucket(bucket: BucketListing) -> dict[str, Any]:
    oldest = bucket.oldest
    return {
        "name": bucket.name,
        "kind": bucket.kind,
        "max_tokens": bucket.max_tokens,
        "used": bucket.used,
        "expired": len(bucket.leases) - len(bucket.running),
        "order": bucket.order,
        "waiting": bucket.waiting,
        "lease_seconds": bucket.lease_seconds,
        "oldest": oldest and {"owner": oldest.owner, "slot": oldest.slot, "age_seconds": oldest.age_seconds},
    }


def _plain_rate(rate: RateListing) -> dict[str, Any]:
    return dataclasses.asdict(rate)


def as_table(listing: TableListing, *, width: int | None) -> str:
    """A listing for people, in so many columns."""
    counted = f"{_counted(len(listing.buckets), 'bucket')}, {_counted(len(listing.rates), 'rate')}"
    parts = [f"table {printable(listing.table)}: {counted}"]
    if listing.buckets:
        rows = [_BUCKETS, *(_bucket_row(bucket) for bucket in by_pressure(listing.buckets))]
        if all(bucket.order == "any" for bucket in listing.buckets):
            rows = [row[:2] + row[3:] for row in rows]  # of these nobody knows who waits
        parts.append("\n".join(fitted(rows, right=_RIGHT, squeezed=_SQUEEZED, width=width)))
    if listing.rates:
        rows = [_rate_row(rate) for rate in listing.rates]
        parts.append("\n".join(fitted([_RATES, *rows], right=_RIGHT, squeezed=_SQUEEZED, width=width)))
    parts.append(cost_of(listing))
    return "\n\n".join(parts)


def by_pressure(buckets: Sequence[BucketListing]) -> list[BucketListing]:
    """Where most wait, for what there is; then the fullest."""

    def key(bucket: BucketListing) -> tuple[float, float, str]:
        size = max(1, bucket.max_tokens)
        return -bucket.waiting / size, -bucket.used / size, bucket.name

    return sorted(buckets, key=key)


def cost_of(listing: TableListing) -> str:
    """What a listing took."""
    units = "" if listing.read_units is None else f", {units_text(listing.read_units)}"
    bad = f"; {_counted(listing.unreadable, 'item')} cannot be read" if listing.unreadable else ""
    return f"{_counted(listing.items, 'item')} read in {_counted(listing.pages, 'request')}{units}{bad}"


def units_text(units: float) -> str:
    """A number of RCU."""
    return f"{units:g} RCU" if units < 1_000 else f"{math.ceil(units):,} RCU"  # noqa: PLR2004 - enough digits


def _bucket_row(bucket: BucketListing) -> tuple[str, ...]:
    oldest = bucket.oldest
    used = f"{bucket.used} of {bucket.max_tokens}"
    head = printable(bucket.name), used, f"{bucket.waiting}" if bucket.order == "fifo" else ""
    if bucket.kind == "window" or oldest is None:
        return *head, "(a window)" if bucket.kind == "window" else "", ""
    return *head, printable(oldest.owner), shown(oldest.age_seconds)


def _rate_row(rate: RateListing) -> tuple[str, ...]:
    limits = rate_output.limits_text(rate.limits)
    notes = [_counted(rate.keys, "key")] if rate.keys else []
    notes += [f"{rate.blocked} blocked"] if rate.keys and rate.blocked else ["blocked"] if rate.blocked else []
    available = "" if rate.available is None else f"{rate.available}"
    return printable(rate.name), available, printable("; ".join([limits, *notes]))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
