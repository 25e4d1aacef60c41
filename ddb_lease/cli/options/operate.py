"""The options of `ddb-lease resize`, `configure`, `repair` and `reset`."""

from __future__ import annotations

import argparse

from ddb_lease.cli import formatting
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where
from ddb_lease.cli.options.bounds import MAX_TOKENS, ORDERS


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    resize = where.add_bucket_command(
        subparsers,
        "resize",
        deferred("operate", "execute_resize"),
        "change how many tokens a bucket has",
        "Change how many tokens a bucket has, while it is in use. Shrinking ends no lease: leases on slots that are "
        "retired run on until they are released or expire, and nobody gets these slots again. If the command is cut "
        "short, the bucket has a size in between: run it again.",
        "resize gpus 8",
        "resize gpus 2 --json",
    )
    resize.add_argument(
        "max_tokens", metavar="TOKENS", type=formatting.whole(1, MAX_TOKENS), help="the new number of tokens"
    )
    configure = where.add_bucket_command(
        subparsers,
        "configure",
        deferred("operate", "execute_configure"),
        "change in which order those who wait are served",
        "Change in which order those who wait for a bucket's slots are served, while it is in use: fifo, first come, "
        "first served, over all machines, or any, whoever looks first when a slot comes free. How many tokens it has, "
        "resize changes; how long its leases are is set when it is made.",
        "configure gpus --order fifo",
        "configure gpus --order any --json",
    )
    configure.add_argument("--order", choices=ORDERS, help="the new order")
    configure.set_defaults(only_typed=("order",))
    where.add_bucket_command(
        subparsers,
        "repair",
        deferred("operate", "execute_repair"),
        "count a bucket's slots again",
        "Count the slots in circulation, correct the counter, and retire slots beyond its limit. Needed only after "
        "edits by hand: acquirers repair what they meet.",
        "repair gpus",
        "repair gpus --json",
    )
    reset = where.add_bucket_command(
        subparsers,
        "reset",
        deferred("operate", "execute_reset"),
        "end all leases of a bucket whose holders are gone",
        "End all leases at once, whoever holds them, and repair the bucket. Its size stays. Use it when the holders "
        "are surely dead: those that still work learn of it only at their next renewal, and others may have their "
        "slots by then. Ask living ones with revoke.",
        "reset gpus",
        "reset gpus --yes --json",
    )
    reset.add_argument("--yes", action="store_true", help="do not ask for confirmation")
