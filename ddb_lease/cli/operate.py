"""`ddb-lease resize`, `repair` and `reset`: an operator changes a whole bucket."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from ddb_lease.bucket import LeaseBucket
from ddb_lease.cli import connection, exits, formatting
from ddb_lease.cli.streams import confirmed, say, show
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import ORDERS, Configured, Repaired, Resized


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
