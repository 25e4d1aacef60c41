"""`ddb-lease`: reads its arguments, runs one command, turns every error into one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ddb_lease.cli import completion, defaults, exits, formatting, parsing, streams
from ddb_lease.cli.conform import command as conform
from ddb_lease.cli.interrupted import Interrupted, signal_behind
from ddb_lease.cli.options import lead, lease, limit, operate, rate, run, setup, status, template, where
from ddb_lease.cli.seeing import commands as seeing
from ddb_lease.errors import LeaseError, UnknownBucket

_EXAMPLES = """\
examples:
  $ ddb-lease run gpus --max-tokens 4 -- ./train.sh
  $ ddb-lease status gpus --watch"""

_SETTINGS = """\
variables and configuration file:
  The value of --max-tokens is that of DDB_LEASE_MAX_TOKENS where the option is
  not given, and so for each option, but those that say what one call is to do
  (--yes, --end). Then comes the file ~/.config/ddb-lease/config.ini, or the one
  that DDB_LEASE_CONFIG names, with a section for each command:
    [global]
    table = staging
    [run]
    timeout = 10m"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Instead of the process's own. Without them this is the program: it exits with the code, as a caller
            may ignore what is returned (a zip archive made by zipapp does).

    Returns:
        The exit code.
    """
    if arguments is None:
        raise SystemExit(main(sys.argv[1:]))
    streams.prepare()
    try:
        code = _execute(arguments)
    except SystemExit as end:  # of the parser: its help was asked for, or the arguments are wrong
        code = streams.finish(end.code if isinstance(end.code, int) else 0)
        if code != end.code:
            raise SystemExit(code) from None
        raise
    except KeyboardInterrupt:  # before the command began
        code = 128 + signal.SIGINT
    return streams.finish(code)


def _execute(arguments: Sequence[str]) -> int:
    own, command = split_command(arguments)
    top = parser()
    try:
        after = command if "--" in arguments else None
        words = parsing.arranged(own, top, everywhere=everywhere(), command=after)
        options, left = top.parse_known_args(words)
        if command and not options.leaf.get_default(parsing.TAKES_COMMAND):
            options.leaf.error(f"only run, lead and limit take a command after --: {' '.join(command)}")
        if left:
            options.leaf.error(formatting.printable(parsing.unknown(left, options.leaf)))
    except OSError as error:  # help or usage were not written; newer versions of argparse do not tell
        return streams.OutputLost(error).exit_code
    options.command = command
    logging.basicConfig(handlers=[streams.Diagnostics()], format="%(message)s", level=logging.WARNING)
    try:
        options.origins = {}
        for text in defaults.mistyped(top):
            streams.say(text)
        defaults.fill(options, top=top)
        # Our own logger only: botocore's debug log shows session tokens and signed requests.
        level = (logging.WARNING, logging.INFO, logging.DEBUG)[max(0, min(options.verbose, 2))]
        logging.getLogger("ddb_lease").setLevel(level)
        return int(options.execute(options))
    except (Exception, KeyboardInterrupt, Interrupted) as error:  # noqa: BLE001 - it is told, with all of it in the log
        return _tell(error, options)


def _tell(error: BaseException, options: argparse.Namespace) -> int:
    """Tell why a command has failed; returns the exit code."""
    signum = signal_behind(error)
    if signum is not None:
        return 128 + signum
    if isinstance(error, LeaseError):
        streams.say(_one_line(error) + defaults.origin_of(error, options) + _name_hint(error, options))
        return exits.code_for(error)
    if isinstance(error, streams.OutputLost):
        if error.is_told:
            streams.say(_one_line(error))
        return error.exit_code
    logging.getLogger("ddb_lease").debug("defect", exc_info=error)
    streams.say(f"a defect, please report it: {type(error).__name__}: {_one_line(error)} (-vv shows more)")
    return exits.DEFECT


def _name_hint(error: LeaseError, options: argparse.Namespace) -> str:
    if not isinstance(error, UnknownBucket):
        return ""
    from ddb_lease.cli import known_names  # noqa: PLC0415 - it can read a table: for errors on names alone

    return known_names.hint(error, options)


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split our own arguments from the command after the first ``--``, whose options are not ours."""
    own = list(arguments)
    if "--" not in own:
        return own, []
    where = own.index("--")
    return own[:where], own[where + 1 :]


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top: argparse.ArgumentParser = parsing.Parser(
        prog="ddb-lease",
        usage="ddb-lease [options] COMMAND ...",
        description="Renewable leases on DynamoDB: at most N holders at once, across all machines.",
        epilog=f"{_EXAMPLES}\n\n{_SETTINGS}\n\n{exits.HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="show program's version number and exit",
    )
    _add_verbosity(top)
    subparsers = top.add_subparsers(metavar="COMMAND", required=True, title="commands", prog=top.prog)
    where.add_options(top)
    run.add_parser(subparsers)
    lead.add_parser(subparsers)
    limit.add_parser(subparsers)
    rate.add_parser(subparsers)
    status.add_parser(subparsers)
    seeing.add_parsers(subparsers)
    lease.add_parsers(subparsers)
    operate.add_parsers(subparsers)
    setup.add_parsers(subparsers)
    conform.add_parser(subparsers)
    template.add_parser(subparsers)
    completion.add_parser(subparsers, whole=top)
    defaults.defer(top)  # it only shows them: see `parsing.arranged`
    for leaf in parsing.leaves(top):
        _add_verbosity(leaf)
        defaults.defer(leaf)
        leaf.usage = leaf.usage or parsing.brief_usage(leaf)
    return top


class _Version(argparse.Action):
    """As argparse's own, which would read the installed packages for every command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from ddb_lease.cli import release  # noqa: PLC0415 - as above

        parser._print_message(f"ddb-lease {release.installed()}\n", sys.stdout)  # noqa: SLF001 - argparse's own does so
        parser.exit()


def everywhere() -> argparse.ArgumentParser:
    """The options that may stand before the command as well as after it."""
    parser = argparse.ArgumentParser(add_help=False)
    _add_verbosity(parser)
    where.add_options(parser)
    return parser


def _add_verbosity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log what happens; twice: in detail")


def _one_line(error: BaseException) -> str:
    return formatting.printable(" ".join(str(error).split()))
