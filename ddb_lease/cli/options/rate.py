"""The options of `ddb-lease rate`, and of its subcommands."""

from __future__ import annotations

import argparse

from ddb_lease.cli import formatting, pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where

_Subparsers = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


_OF_ONE_CALL = ("rate", "burst", "limit", "remove", "add", "end", "seconds", "key")


def add_parser(subparsers: _Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command, with a subcommand for each thing to do."""
    parser = subparsers.add_parser(
        "rate",
        help="show and change a rate: its limits, for all or for one key",
        **pages.page(
            "Show a rate, and change it at run time, for all processes that use it: those that take permits meet the "
            "change with their next request, and within some 30 s.",
            "rate status mail",
            "rate set mail --rate 100/s --burst 500",
        ),
    )
    kinds = parser.add_subparsers(metavar="what", required=True)
    _add_status(kinds)
    _add_set(kinds)
    _add_override(kinds)
    _add_block(kinds)
    _add_reset(kinds)
    _add_keys(kinds)


def _add_status(kinds: _Subparsers[argparse.ArgumentParser]) -> None:
    status = _add(
        kinds,
        "status",
        "execute_status",
        "show what is left",
        "Show the limits and what is left. Reads only.",
        "rate status mail",
        "rate status api --key customer-7 --json",
    )
    _add_key(status)


def _add_set(kinds: _Subparsers[argparse.ArgumentParser]) -> None:
    change = _add(
        kinds,
        "set",
        "execute_set",
        "change the limits, for all processes",
        "Change the stored limits. A limit that is not named stays as it is; one that is named is given whole: "
        "without a burst, it has that of one period. If the rate was never used, this stores its first "
        "limits. What was charged before blocks nobody for longer than the new burst takes to come back.",
        "rate set mail --rate 100/s --burst 500",
        "rate set llm --limit requests=60/m --limit tokens=9000/m,burst=50",
    )
    _add_limits(change)
    change.add_argument("--add", action="store_true", help="let --limit add limits that the rate does not have yet")


def _add_override(kinds: _Subparsers[argparse.ArgumentParser]) -> None:
    override = _add(
        kinds,
        "override",
        "execute_override",
        "let the limits of one key differ",
        "Let limits of one key differ from the stored ones. A limit that is not named stays as it is; one that is "
        "named is given whole: without a burst, it has that of one period.",
        "rate override api --key customer-7 --rate 500/s",
        "rate override api --key customer-7 --end",
    )
    _add_key(override)
    _add_limits(override)
    override.add_argument("--end", action="store_true", help="remove the whole override")


def _add_block(kinds: _Subparsers[argparse.ArgumentParser]) -> None:
    block = _add(
        kinds,
        "block",
        "execute_block",
        "let nobody have permits of a key, for a time",
        "Let nobody have permits of a key for a time, from now on. Permits that are booked may still be used.",
        "rate block api --key customer-7 --for 10m",
        "rate block api --key customer-7 --end",
    )
    _add_key(block)
    how = block.add_mutually_exclusive_group(required=True)
    how.add_argument("--for", dest="seconds", type=formatting.duration, metavar="TIME", help="how long: 90, 30s, 10m")
    how.add_argument("--end", action="store_true", help="end the block now")


def _add_reset(kinds: _Subparsers[argparse.ArgumentParser]) -> None:
    reset = _add(
        kinds,
        "reset",
        "execute_reset",
        "forgive a key all that was charged",
        "Forgive a key all that was charged, and end its block: its whole burst can be had again.",
        "rate reset api --key customer-7",
        "rate reset mail --json",
    )
    _add_key(reset)


def _add_keys(kinds: _Subparsers[argparse.ArgumentParser]) -> None:
    _add(
        kinds,
        "keys",
        "execute_keys",
        "list the keys that were used lately",
        "List the keys that were used within the last day or so. Reads only: 64 Queries and more. With --json, each "
        "key is an object on a line of its own, as it is read; the other commands print one object.",
        "rate keys api",
        "rate keys api --json",
    )


def _add(
    kinds: _Subparsers[argparse.ArgumentParser],
    name: str,
    execute: str,
    brief: str,
    description: str,
    *examples: str,
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=brief, **pages.page(description, *examples))
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print JSON, times in seconds")
    where.add_options(parser)
    parser.set_defaults(execute=deferred("rate", execute), only_typed=_OF_ONE_CALL)
    return parser


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", metavar="KEY", help="of this key (default: of the rate itself, without keys)")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate", type=formatting.rate, metavar="RATE", help="permits in a period: 100/s, 10/m, 5/h, 3/2.5s"
    )
    parser.add_argument(
        "--burst",
        type=formatting.whole(1),
        metavar="N",
        help="with --rate: permits at once (default: those of one period)",
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        type=formatting.limit,
        metavar="NAME=RATE[,burst=N]",
        help="for a rate with several limits, the one of this name, whole; without a burst: that of one period; may be "
        "repeated",
    )
    parser.add_argument(
        "--remove", action="append", default=[], metavar="NAME", help="remove the limit of this name; may be repeated"
    )
