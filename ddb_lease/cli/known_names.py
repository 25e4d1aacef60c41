"""Names that may be meant, where a bucket or a rate does not exist.

Invariant: it costs nothing. Only the embedded engine is read for it, where a listing is free; elsewhere that takes
Scans, and a permission, so the command that lists is named instead.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex

from ddb_lease.cli import connection, parsing
from ddb_lease.cli.formatting import printable
from ddb_lease.cli.seeing.ls import table_reader
from ddb_lease.errors import LeaseError, UnknownBucket


def hint(error: LeaseError, options: argparse.Namespace) -> str:
    """What to add to the message of an error; empty if it is not about a name."""
    name = getattr(options, "bucket", None) or getattr(options, "name", None)
    if not isinstance(error, UnknownBucket) or name is None:
        return ""
    words = shlex.join(["ddb-lease", "ls", *connection.words(options)])
    return printable(f"{parsing.meant(name, _names(options))}; `{words}` lists what there is")


def _names(options: argparse.Namespace) -> list[str]:
    if not options.local:
        return []
    with contextlib.suppress(LeaseError), table_reader(options) as reader:
        listing = reader.read()
        return [bucket.name for bucket in listing.buckets] + [rate.name for rate in listing.rates]
    return []
