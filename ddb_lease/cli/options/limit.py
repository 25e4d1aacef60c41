"""The options of `ddb-lease limit`."""

from __future__ import annotations

import argparse

from ddb_lease.cli import exits, formatting, pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "limit",
        help="run a command when a rate allows it",
        usage="ddb-lease limit NAME [options] -- COMMAND [ARGUMENTS ...]",
        **pages.page(
            "Wait until RATE allows a permit of NAME, over all machines that use the name, then replace this process "
            "by COMMAND. The first use stores RATE; later the stored one rules, and a difference is told of: change it "
            "with rate set. It charges one limit without a name, and no parents: a rate with several limits needs the "
            "library. How long COMMAND runs makes no difference; to limit how many run at once, see run.",
            "limit mail --rate 100/s -- ./send.sh",
            "limit api --rate 10/m --key customer-7 --timeout 30s -- ./call.sh",
            exit_codes=exits.LIMIT,
        ),
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--rate",
        type=formatting.rate,
        metavar="RATE",
        help="permits in a period: 100/s, 10/m, 5/h, 3/2.5s; needed for the first use (later the stored rate counts)",
    )
    parser.add_argument(
        "--burst",
        type=formatting.whole(1),
        metavar="N",
        help="with --rate: permits at once after a quiet time (default: those of one period)",
    )
    parser.add_argument(
        "-n", type=formatting.whole(1), default=1, metavar="N", help="how many permits to take (default: 1)"
    )
    parser.add_argument(
        "--timeout",
        type=formatting.duration,
        metavar="TIME",
        help="wait at most this long for them (default: for ever)",
    )
    parser.add_argument(
        "--key", metavar="KEY", help="of this key, which has a rate of its own, such as a customer or a host"
    )
    parser.add_argument("--quiet", action="store_true", help="do not say that it waits, and for how long")
    where.add_options(parser)
    parser.set_defaults(execute=deferred("limit"), takes_command=True, only_typed=("key",))
