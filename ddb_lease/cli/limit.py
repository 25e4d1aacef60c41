"""`ddb-lease limit`: run a command when a rate allows it.

Invariants: starting the command uses the permit, and nothing is left to do for this process. So the command replaces
it: exit code, signals and process id are the command's own.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
from typing import Any, Final

from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._runtime.process import LOG_SECONDS
from ddb_lease._runtime.rates.stored_rate import stored_limits
from ddb_lease._state import log
from ddb_lease.cli import connection, exits, formatting, lookup, streams
from ddb_lease.cli.settings_notice import BurstNotice
from ddb_lease.cli.wait_text import Standing
from ddb_lease.cli.waiting import TELL_SECONDS, Waiting
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.errors import ConfigurationError, UnknownBucket
from ddb_lease.key_limiter import KeyLimiter
from ddb_lease.rate_limiter import RateLimiter

_IGNORED_BY_PYTHON: Final = ("SIGPIPE", "SIGXFSZ")


def execute(options: argparse.Namespace) -> int:
    """Wait for the permits, and become the command."""
    if not options.command:
        raise ConfigurationError("no command: write it after --, as in: ddb-lease limit NAME --rate 10/s -- COMMAND")
    trouble = lookup.trouble_with(options.command[0], os.environ)
    if trouble is not None:  # before a permit is used
        return _not_run(options.command[0], trouble, lookup.reason(trouble))
    where = connection.arguments(options)
    with BurstNotice(options):
        with RateLimiter(options.name, **_settings(options, where), **where) as limiter:
            _wait(limiter if options.key is None else limiter.key(options.key), options)
        log.flush(LOG_SECONDS)  # what the library has to say, before this process is another program
    return _become(options.command)


def _settings(options: argparse.Namespace, where: dict[str, Any]) -> dict[str, Any]:
    """The limiter's settings: those given, else those stored, which take a Query."""
    if options.rate is not None:
        rate, per = options.rate
        return {"rate": rate, "per": per, "burst": options.burst}
    if options.burst is not None:
        raise ConfigurationError("--burst belongs to --rate")
    connect = ConnectionSettings(session=where.get("session"), endpoint_url=where.get("endpoint_url"))
    stored = stored_limits(options.name, table=where["table"], connection=connect)
    if stored is None:
        raise UnknownBucket(
            f"rate {options.name!r} was never used in table {where['table']!r}; to make it, say what it allows: "
            "--rate RATE"
        )
    if set(stored) != {SINGLE}:
        raise ConfigurationError(
            f"rate {options.name!r} has limits with names ({', '.join(sorted(stored))}): limit charges only one "
            "without a name; charge them with the library's RateLimiter"
        )
    return {"limits": stored}


def _wait(rate: RateLimiter | KeyLimiter, options: argparse.Namespace) -> None:
    """Take the permits; say so if that takes a while."""
    if rate.try_acquire(options.n):
        return
    wait = rate.wait_time(options.n)
    said = wait >= TELL_SECONDS and (options.timeout is None or wait <= options.timeout)
    permits = "a permit" if options.n == 1 else f"{options.n} permits"
    permits += f" of rate {options.name!r}" + ("" if options.key is None else f", key {options.key!r}")
    least = Standing(state=f"{formatting.shown(wait)} or longer")
    with Waiting(permits, patience=0, quiet=options.quiet or not said, standing=least) as waiting:
        rate.acquire(options.n, timeout=options.timeout)
        waiting.done(f"got {permits}")


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
