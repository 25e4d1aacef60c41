"""The commands of this package."""

from __future__ import annotations

import argparse

from ddb_lease.cli.seeing import ls, serve, timeline, top


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them all."""
    ls.add_parser(subparsers)
    top.add_parser(subparsers)
    serve.add_parser(subparsers)
    timeline.add_parser(subparsers)
