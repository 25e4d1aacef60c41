"""What may be meant, where a bucket or a rate does not exist: one of the other kind, or another name.

Invariant: it costs one Query (1 RCU), after an error, to see whether the name is of the other kind. Only the embedded
engine is read for names that are close, where a listing is free; elsewhere that takes Scans, and a permission, so the
command that lists is named instead.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex

from ddb_lease.cli import connection, parsing
from ddb_lease.cli.formatting import printable
from ddb_lease.errors import LeaseError, UnknownBucket


def hint(error: LeaseError, options: argparse.Namespace) -> str:
    """What to add to the message of an error; empty if it is not about a name."""
    bucket, rate = getattr(options, "bucket", None), getattr(options, "name", None)
    name = bucket or rate
    if not isinstance(error, UnknownBucket) or name is None:
        return ""
    if bucket and _is_rate(name, options):
        return _other("rate", "rate status", name, options)
    if not bucket and _is_bucket(name, options):
        return _other("bucket", "status", name, options)
    words = shlex.join(["ddb-lease", "ls", *connection.words(options)])
    return printable(f"{_meant(name, options, is_bucket=bool(bucket))}; `{words}` lists what there is")


def _other(kind: str, command: str, name: str, options: argparse.Namespace) -> str:
    words = shlex.join(["ddb-lease", *command.split(), name, *connection.words(options)])
    return printable(f"; {name!r} is a {kind}: `{words}` shows it")


def _is_rate(name: str, options: argparse.Namespace) -> bool:
    from ddb_lease._runtime.rates.stored_rate import stored_limits  # noqa: PLC0415 - only one of the two is needed

    with contextlib.suppress(LeaseError):
        settings = connection.settings(options)
        return stored_limits(name, table=options.table, connection=settings) is not None
    return False


def _is_bucket(name: str, options: argparse.Namespace) -> bool:
    from ddb_lease._runtime.stored_bucket import stored_settings  # noqa: PLC0415 - as above

    with contextlib.suppress(LeaseError):
        return stored_settings(name, timeout=0.0, **connection.arguments(options)) is not None
    return False


def _meant(name: str, options: argparse.Namespace, *, is_bucket: bool) -> str:
    if not options.local:
        return ""
    from ddb_lease.cli.seeing.ls import table_reader  # noqa: PLC0415 - as above

    with contextlib.suppress(LeaseError), table_reader(options) as reader:
        listing = reader.read()
        kinds = {
            "bucket": [bucket.name for bucket in listing.buckets],
            "rate": [rate.name for rate in listing.rates],
        }
        asked, other = ("bucket", "rate") if is_bucket else ("rate", "bucket")
        close = parsing.meant(name, kinds[other]).replace("did you mean ", f"did you mean the {other} ", 1)
        return parsing.meant(name, kinds[asked]) or close
    return ""
