"""`ddb-lease limit`: run a command when a rate allows it.

Invariants: starting the command uses the permit, and nothing is left to do for this process. So the command replaces
it: exit code, signals and process id are the command's own.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import time
from typing import Final

from ddb_lease._runtime.process import LOG_SECONDS
from ddb_lease._state import log
from ddb_lease.cli import connection, exits, formatting, lookup, streams
from ddb_lease.errors import ConfigurationError
from ddb_lease.key_limiter import KeyLimiter
from ddb_lease.rate_limiter import RateLimiter

TELL_SECONDS: Final = 1.0
"""A shorter wait is not worth a line."""

_IGNORED_BY_PYTHON: Final = ("SIGPIPE", "SIGXFSZ")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "limit",
        help="run a command when a rate allows it",
        usage="ddb-lease limit NAME --rate RATE [options] -- COMMAND [ARGUMENTS ...]",
        description=formatting.paragraph(
            "Wait until RATE allows a permit of NAME, over all machines that use the name, then replace this process "
            "by COMMAND. The first use stores RATE; later the stored one rules, and a difference is told of: change it "
            "with rate set. It charges one limit without a name, and no parents: a rate with several limits needs the "
            "library. How long COMMAND runs makes no difference; to limit how many run at once, see run."
        ),
        epilog=exits.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--rate",
        type=formatting.rate,
        required=True,
        metavar="RATE",
        help="permits in a period: 100/s, 10/m, 5/h, 3/2.5s",
    )
    parser.add_argument(
        "--burst", type=int, metavar="N", help="permits at once after a quiet time (default: those of one period)"
    )
    parser.add_argument("-n", type=int, default=1, metavar="N", help="how many permits to take (default: 1)")
    parser.add_argument(
        "--timeout",
        type=formatting.duration,
        metavar="TIME",
        help="wait at most this long for them (default: for ever)",
    )
    parser.add_argument(
        "--key", metavar="KEY", help="of this key, which has a rate of its own, such as a customer or a host"
    )
    parser.add_argument("--quiet", action="store_true", help="do not say when it begins to wait, and when that is over")
    connection.add_options(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Wait for the permits, and become the command."""
    if not options.command:
        raise ConfigurationError("no command: write it after --, as in: ddb-lease limit NAME --rate 10/s -- COMMAND")
    trouble = lookup.trouble_with(options.command[0], os.environ)
    if trouble is not None:  # before a permit is used
        return _not_run(options.command[0], trouble, lookup.reason(trouble))
    rate, per = options.rate
    where = connection.arguments(options)
    with RateLimiter(options.name, rate=rate, per=per, burst=options.burst, **where) as limiter:
        _wait(limiter if options.key is None else limiter.key(options.key), options)
    log.flush(LOG_SECONDS)  # what the library has to say, before this process is another program
    return _become(options.command)


def _wait(rate: RateLimiter | KeyLimiter, options: argparse.Namespace) -> None:
    """Take the permits; say so if that takes a while."""
    if rate.try_acquire(options.n):
        return
    wait = rate.wait_time(options.n)
    said = not options.quiet and wait >= TELL_SECONDS and (options.timeout is None or wait <= options.timeout)
    permits = "a permit" if options.n == 1 else f"{options.n} permits"
    of = f"of rate {options.name!r}" + ("" if options.key is None else f", key {options.key!r}")
    if said:
        streams.say(f"waiting for {permits} {of}, {formatting.shown(wait)} or longer")
    began = time.monotonic()
    rate.acquire(options.n, timeout=options.timeout)
    if said:
        streams.say(f"got {permits} {of} after {formatting.shown(time.monotonic() - began)}")


def _become(command: list[str]) -> int:
    streams.finish(0)
    # A signal that is ignored here would stay ignored in the command, which did not ask for that.
    ignored = {
        signum: signal.signal(signum, signal.SIG_DFL)
        for signum in (getattr(signal, name) for name in _IGNORED_BY_PYTHON if hasattr(signal, name))
    }
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except (OSError, ValueError) as error:
        for signum, before in ignored.items():
            signal.signal(signum, before)  # we still run, and so does our caller
        number = error.errno if isinstance(error, OSError) else None
        return _not_run(command[0], number, (error.strerror if isinstance(error, OSError) else None) or str(error))


def _not_run(command: str, number: int | None, reason: str) -> int:
    streams.say(f"cannot run {formatting.printable(command) or repr(command)}: {reason}")
    return exits.NO_SUCH_COMMAND if number in {errno.ENOENT, errno.ENOTDIR} else exits.CANNOT_BE_RUN
