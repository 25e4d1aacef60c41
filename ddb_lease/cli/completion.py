"""`ddb-lease completion`: a script that completes our commands and options in a shell. shtab writes it."""

from __future__ import annotations

import argparse
import functools

from ddb_lease.cli import pages
from ddb_lease.cli.streams import show
from ddb_lease.errors import ConfigurationError


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], *, whole: argparse.ArgumentParser
) -> None:
    """Add the command; `whole` is the command line to complete."""
    parser = subparsers.add_parser(
        "completion",
        help="print a shell's completion script",
        **pages.page(
            "Print a script that completes commands and options in your shell (needs ddb-lease[completion]). "
            'In ~/.bashrc: eval "$(ddb-lease completion bash)"',
            "completion bash",
            "completion zsh > ~/.zfunc/_ddb-lease",
        ),
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    parser.set_defaults(execute=functools.partial(execute, whole=whole))


def execute(options: argparse.Namespace, *, whole: argparse.ArgumentParser) -> int:
    """Print the script.

    Raises:
        ConfigurationError: shtab is not installed.
    """
    try:
        import shtab  # noqa: PLC0415 - an extra: imported only by this command
    except ImportError as error:
        raise ConfigurationError("completion needs shtab: pip install 'ddb-lease[completion]'") from error
    show(shtab.complete(whole, options.shell))
    return 0
