"""The options of `ddb-lease run`, and those that `lead` shares with it."""

from __future__ import annotations

import argparse
import math

from ddb_lease.cli import exits, formatting, pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where
from ddb_lease.cli.options.bounds import HIGHEST_PRIORITY, LONGEST_LEASE_MS, MAX_TOKENS, PER_TRANSACTION


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run",
        help="run a command under a lease",
        usage="ddb-lease run BUCKET [options] -- COMMAND [ARGUMENTS ...]",
        **pages.page(
            "Wait for a slot of BUCKET, run COMMAND while renewing the lease, release it, and exit with the "
            "command's code. If the lease is lost, the command's whole process group is ended before anyone else can "
            "hold the slot; on Linux also what left the group. What runs as another user (sudo) may not be signalled: "
            "it keeps the slot while it runs. -v says what can be ended here. The command finds DDB_LEASE_BUCKET, "
            "DDB_LEASE_SLOT, DDB_LEASE_SLOTS (all of them, with commas), DDB_LEASE_FENCE and DDB_LEASE_ID in its "
            "environment.",
            "run gpus --max-tokens 4 -- ./train.sh --epochs 10",
            "run nightly-report --timeout 10m --owner ann -- ./report.sh",
            exit_codes=exits.RUN,
        ),
    )
    parser.add_argument("bucket", metavar="BUCKET")
    parser.add_argument(
        "--max-tokens",
        type=formatting.whole(1, MAX_TOKENS),
        metavar="N",
        help="at most N at once; needed to make the bucket (if it exists, its stored number counts)",
    )
    parser.add_argument(
        "--count",
        type=formatting.whole(1, PER_TRANSACTION),
        default=1,
        metavar="N",
        help="how many slots to take at once, all or nothing (default: 1)",
    )
    parser.add_argument(
        "--fifo",
        action="store_true",
        help="make the bucket one that serves first come, first served (if it exists, its stored order counts)",
    )
    parser.add_argument(
        "--priority",
        type=formatting.whole(0, HIGHEST_PRIORITY),
        default=0,
        metavar="N",
        help="0 to 9: in a bucket with --fifo, be served before those of a lower priority (default: 0)",
    )
    parser.add_argument(
        "--lease",
        type=lease_length,
        default=60.0,
        metavar="TIME",
        help="length of the lease (default: 60s; if the bucket exists, its stored length counts)",
    )
    add_short_leases(parser)
    parser.add_argument(
        "--timeout",
        type=formatting.duration,
        metavar="TIME",
        help="wait at most this long for a slot (default: for ever); 20s at most if DynamoDB has never answered",
    )
    parser.add_argument(
        "--skip-if-full",
        action="store_true",
        help="for cron and timers: if every slot is held, or kept closed, say nothing, run nothing, and exit with 0; "
        "with --timeout, if none comes free by then",
    )
    parser.add_argument(
        "--hold-at-least",
        type=formatting.duration,
        metavar="TIME",
        help="let nobody else have the slot for this long after it was taken, however soon the command ends, and "
        "whether it fails or not: for what must not run twice; release --slot 0 opens it",
    )
    add_end_options(parser)
    parser.add_argument(
        "--owner", metavar="NAME", help="who holds the lease, for status and for those who wait (default: host:pid)"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="do not say that it waits, for how long, and who holds the slots"
    )
    add_data(parser)
    parser.add_argument(
        "--no-slot-code",
        type=formatting.exit_code,
        default=exits.NO_SLOT,
        metavar="N",
        help="exit code if no slot came free in time (default: 75)",
    )
    parser.add_argument(
        "--lost-code",
        type=formatting.exit_code,
        default=exits.LOST,
        metavar="N",
        help="exit code if the lease was lost (default: 76)",
    )
    where.add_options(parser)
    parser.set_defaults(execute=deferred("run"), takes_command=True)


def add_short_leases(parser: argparse.ArgumentParser) -> None:
    """Add the option for leases of the embedded engine alone."""
    parser.add_argument(
        "--short-leases",
        action="store_true",
        help="with --local: allow leases that are too short for the real service",
    )


def add_end_options(parser: argparse.ArgumentParser) -> None:
    """Add the options on how the command is ended."""
    parser.add_argument(
        "--grace",
        type=formatting.duration,
        metavar="TIME",
        help="time from TERM to KILL when the lease is lost (default: a tenth of the lease, at most 5s)",
    )
    parser.add_argument(
        "--kill-after",
        type=kill_after,
        default=10.0,
        metavar="TIME",
        help="time from TERM to KILL when ddb-lease gets TERM and passes it on, or never (default: 10s)",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the option for what the lease carries."""
    parser.add_argument(
        "--data", type=formatting.pair, action="append", default=[], metavar="K=V", help="attach this to the lease"
    )


def lease_length(text: str) -> float:
    """The length of a lease, as it is typed."""
    seconds = formatting.duration(text)
    if not 0 < seconds <= LONGEST_LEASE_MS / 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of a lease: it is above 0, and a year at most")
    return seconds


def kill_after(text: str) -> float:
    """The time from TERM to KILL, as it is typed."""
    return math.inf if text == "never" else formatting.duration(text)
