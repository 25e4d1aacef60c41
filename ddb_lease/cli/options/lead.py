"""The options of `ddb-lease lead`."""

from __future__ import annotations

import argparse

from ddb_lease.cli import exits, pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where
from ddb_lease.cli.options.bounds import LEADER_SECONDS
from ddb_lease.cli.options.run import add_data, add_end_options, add_short_leases, lease_length


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "lead",
        help="run a command on one machine at a time, on another if that fails",
        usage="ddb-lease lead NAME [options] -- COMMAND [ARGUMENTS ...]",
        **pages.page(
            "Wait until this process is the leader of NAME, and run COMMAND while it is. If it loses the lease, the "
            "command is ended as by run, and the wait begins again. When the command ends by itself, another process "
            "leads at once, and ddb-lease exits with the command's code. An outage of the service is waited out. NAME "
            "is a bucket of one token; the command finds what run gives it in its environment, and is to pass "
            "DDB_LEASE_FENCE with what it writes.",
            "lead scheduler -- ./scheduler.sh",
            "lead consumer --lease 30s --data host=a7 -- ./consume.py",
            exit_codes=exits.LEAD,
        ),
    )
    parser.add_argument("bucket", metavar="NAME")
    parser.add_argument(
        "--lease",
        type=lease_length,
        default=LEADER_SECONDS,
        metavar="TIME",
        help="length of the lease: a leader that dies is followed so much later (default: 15s; if the bucket exists, "
        "its stored length counts)",
    )
    add_short_leases(parser)
    add_end_options(parser)
    parser.add_argument(
        "--owner", metavar="NAME", help="who leads, for status and for those who wait (default: host:pid)"
    )
    parser.add_argument("--quiet", action="store_true", help="do not say that it waits, for how long, and who leads")
    add_data(parser)
    where.add_options(parser)
    # What `run` has options for.
    parser.set_defaults(execute=deferred("lead"), takes_command=True, max_tokens=1, fifo=False, lost_code=exits.LOST)
