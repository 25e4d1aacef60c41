"""`ddb-lease resize`, `repair` and `reset`: an operator changes a whole bucket."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from ddb_lease._protocol.records import MAX_TOKENS
from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection, exits, formatting
from ddb_lease.cli.streams import confirmed, say, show
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import ORDERS, Configured, Repaired, Resized


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    resize = connection.add_bucket_command(
        subparsers,
        "resize",
        execute_resize,
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
    configure = connection.add_bucket_command(
        subparsers,
        "configure",
        execute_configure,
        "change in which order those who wait are served",
        "Change in which order those who wait for a bucket's slots are served, while it is in use: fifo, first come, "
        "first served, over all machines, or any, whoever looks first when a slot comes free. How many tokens it has, "
        "resize changes; how long its leases are is set when it is made.",
        "configure gpus --order fifo",
        "configure gpus --order any --json",
    )
    configure.add_argument("--order", choices=ORDERS, help="the new order")
    configure.set_defaults(only_typed=("order",))
    connection.add_bucket_command(
        subparsers,
        "repair",
        execute_repair,
        "count a bucket's slots again",
        "Count the slots in circulation, correct the counter, and retire slots beyond its limit. Needed only after "
        "edits by hand: acquirers repair what they meet.",
        "repair gpus",
        "repair gpus --json",
    )
    reset = connection.add_bucket_command(
        subparsers,
        "reset",
        execute_reset,
        "end all leases of a bucket whose holders are gone",
        "End all leases at once, whoever holds them, and repair the bucket. Its size stays. Use it when the holders "
        "are surely dead: those that still work learn of it only at their next renewal, and others may have their "
        "slots by then. Ask living ones with revoke.",
        "reset gpus",
        "reset gpus --yes --json",
    )
    reset.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def execute_resize(options: argparse.Namespace) -> int:
    """Resize it."""

    def told(done: Resized) -> str:
        name = formatting.printable(options.bucket)
        if done.before == done.after:
            return f"{name} has {_counted(done.after, 'token')} already"
        left = f"; {_counted(done.retired, 'slot')} retired" if done.retired else ""
        on = f", where {_counted(done.running, 'lease')} may run on" if done.running else ""
        return f"{name}: {done.before} -> {_counted(done.after, 'token')}{left}{on}"

    with connection.bucket(options, max_tokens=1) as bucket:
        done = bucket.resize(options.max_tokens)
    _tell(options, dataclasses.asdict(done), told(done))
    return 0


def execute_configure(options: argparse.Namespace) -> int:
    """Configure it."""

    def told(done: Configured) -> str:
        name = formatting.printable(options.bucket)
        return f"{name} has order {done.after}{' already' if done.before == done.after else f', and had {done.before}'}"

    if options.order is None:
        raise ConfigurationError(f"say what to change: {' or '.join(f'--order {order}' for order in ORDERS)}")
    with connection.bucket(options, max_tokens=1) as bucket:
        done = bucket.configure(order=options.order)
    _tell(options, dataclasses.asdict(done), told(done))
    return 0


def execute_repair(options: argparse.Namespace) -> int:
    """Repair it."""

    def told(done: Repaired) -> str:
        name = formatting.printable(options.bucket)
        left = f"; {_counted(done.retired, 'slot')} beyond its {_counted(done.max_tokens, 'token')} retired"
        if done.before == done.after:
            return f"{name}: minted is {done.after}, which is correct{left if done.retired else ''}"
        return f"{name}: minted {done.before} -> {done.after}{left if done.retired else ''}"

    with connection.bucket(options, max_tokens=1) as bucket:
        done = bucket.repair()
    _tell(options, dataclasses.asdict(done), told(done))
    return 0


def execute_reset(options: argparse.Namespace) -> int:
    """Reset it, once confirmed."""
    with connection.bucket(options, max_tokens=1) as bucket:
        if not options.yes and not _confirmed(bucket):
            say("nothing was changed")
            return exits.USAGE
        ended = bucket.reset()
    _tell(options, {"ended": ended}, f"{formatting.printable(options.bucket)}: {_counted(ended, 'lease')} ended")
    return 0


def _confirmed(bucket: LeaseBucket) -> bool:
    status = bucket.status()
    running = sum(not lease.expired for lease in status.leases)
    question = (
        f"End {_counted(len(status.leases), 'lease')} of {formatting.printable(bucket.name)} ({running} not expired), "
        "whoever holds them? [y/N] "
    )
    return confirmed(question, refusal=lambda why: f"reset asks for confirmation, and {why}: give --yes")


def _tell(options: argparse.Namespace, for_programs: dict[str, Any], for_people: str) -> None:
    show(json.dumps({"bucket": options.bucket} | for_programs) if options.json else for_people)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
