"""The commands of this package: their options. What they do is imported when they do it.

Invariant: `ddb-lease run` does not wait for web servers and statistics to be imported.
"""

from __future__ import annotations

import argparse
from typing import Final

from ddb_lease.cli import formatting, pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where

PORT: Final = 8_736

_COST: Final = (
    "it reads the whole table, by Scans: half an RCU for each 4 KB of it, at most 1,000 RCU a second. A table of 1 MB "
    "(some 5,000 slots) costs 128 RCU, $0.000016 on demand. It needs the permission dynamodb:Scan, which an operator "
    "has."
)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them all."""
    _add_ls(subparsers)
    _add_top(subparsers)
    _add_serve(subparsers)
    _add_timeline(subparsers)


def _add_ls(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "ls",
        help="list all buckets and rates of a table",
        **pages.page(
            f"List all buckets and rates of a table. Reads only: {_COST}",
            "ls",
            "ls --table staging --json",
        ),
    )
    parser.add_argument("--json", action="store_true", help="print JSON: times in seconds")
    where.add_options(parser)
    parser.set_defaults(execute=deferred("seeing.ls"))


def _add_top(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "top",
        help="watch a table live on the terminal",
        **pages.page(
            "Watch a table, or some of its buckets, live: the fullest first, until q or Ctrl-C (needs "
            f"ddb-lease[terminal]). NO_COLOR turns colours off. Without a bucket, {_COST}",
            "top",
            "top gpus nightly --interval 2",
        ),
    )
    _add_watching(parser)
    parser.set_defaults(execute=deferred("seeing.top"))


def _add_serve(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="show a table live in a browser on this machine",
        **pages.page(
            "Show a table, or some of its buckets, live on a page for a browser on this machine, or for a wall screen. "
            "Read-only, on loopback only. It looks only while a browser asks, however many do. Without a bucket, "
            f"{_COST}",
            "serve",
            "serve gpus --port 8080",
        ),
    )
    _add_watching(parser)
    parser.add_argument(
        "--port",
        type=formatting.whole(0),
        default=PORT,
        help=f"the port; 0 for any that is free (default: {PORT})",
    )
    parser.set_defaults(execute=deferred("seeing.serve"))


def _add_timeline(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "timeline",
        help="draw who held which slot when",
        **pages.page(
            "Draw who held which slot when, who waited, what was lost and revoked, from files of lines: those that "
            "`ddb-lease status BUCKET --watch --json` prints, and events that a program writes (docs/seeing.md). "
            "Prints a summary; --html writes a page that needs no network. Sends nothing.",
            "timeline gpus.jsonl --html gpus.html",
            "timeline *.jsonl",
        ),
    )
    parser.usage = f"{parser.prog} FILE ... [options]"
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file of JSON lines; - is standard input")
    parser.add_argument("--html", metavar="OUT", help="write the page to this file")
    parser.set_defaults(execute=deferred("seeing.timeline"))


def _add_watching(parser: argparse.ArgumentParser) -> None:
    """Add what the commands that watch have in common."""
    parser.usage = f"{parser.prog} [BUCKET ...] [options]"
    parser.add_argument(
        "buckets",
        metavar="BUCKET",
        nargs="*",
        help="show these, with their queues, by a Query each (default: all of the table, by Scans)",
    )
    parser.add_argument(
        "--interval",
        type=formatting.duration,
        default=5.0,
        metavar="TIME",
        help="pause between two looks (default: 5s)",
    )
    where.add_options(parser)
