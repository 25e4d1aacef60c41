"""`ddb-lease`: reads its arguments, runs one command, turns every error into one line and an exit code."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ddb_lease.cli import completion, exits, formatting, lease, limit, operate, run, setup, status, template
from ddb_lease.errors import LeaseError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Instead of the process's own.

    Returns:
        The exit code.
    """
    own, command = split_command(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(own)
    if command and options.execute not in {run.execute, limit.execute}:
        parser().error(f"only run and limit take a command after --: {' '.join(command)}")
    options.command = command
    logging.basicConfig(format="ddb-lease: %(message)s", level=logging.WARNING)
    # Our own logger only: botocore's debug log shows session tokens and signed requests.
    logging.getLogger("ddb_lease").setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(options.verbose, 2)])
    _be_lenient()
    try:
        code = int(options.execute(options))
        if sys.stdout is not None:  # None where it was closed
            sys.stdout.flush()  # here, where we handle a reader that has gone
        return code
    except LeaseError as error:
        print(f"ddb-lease: {_one_line(error)}", file=sys.stderr)
        return exits.code_for(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has gone (`| head`): let no flush at exit complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        logging.getLogger("ddb_lease").debug("defect", exc_info=True)
        print(
            f"ddb-lease: a defect, please report it: {type(error).__name__}: {_one_line(error)} (-vv shows more)",
            file=sys.stderr,
        )
        return exits.DEFECT


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split our own arguments from the command after the first ``--``, whose options are not ours."""
    own = list(arguments)
    if "--" not in own:
        return own, []
    where = own.index("--")
    return own[:where], own[where + 1 :]


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="ddb-lease",
        description="Renewable leases on DynamoDB: at most N holders at once, across all machines.",
        epilog=exits.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ddb-lease {_version()}")
    top.add_argument("-v", "--verbose", action="count", default=0, help="log what happens; twice: in detail")
    subparsers = top.add_subparsers(metavar="command", required=True)
    run.add_parser(subparsers)
    limit.add_parser(subparsers)
    status.add_parser(subparsers)
    lease.add_parsers(subparsers)
    operate.add_parsers(subparsers)
    setup.add_parsers(subparsers)
    template.add_parser(subparsers)
    completion.add_parser(subparsers, whole=top)
    return top


def _be_lenient() -> None:
    # A character that the terminal cannot show is escaped, and raises nothing.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _version() -> str:
    try:
        return version("ddb-lease")
    except PackageNotFoundError:
        return "(not installed)"


def _one_line(error: BaseException) -> str:
    return formatting.printable(" ".join(str(error).split()))
