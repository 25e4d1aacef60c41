"""`ddb-lease rate`: an operator looks at a rate, and steers it: status, set, override, block, reset, keys.

Invariants: the settings are those of the stored policy; what only looks at a rate does not create it. Only `set` does.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ddb_lease._runtime.rates.stored_rate import stored_limits
from ddb_lease.cli import connection, formatting, rate_output
from ddb_lease.cli.formatting import printable
from ddb_lease.cli.streams import say, show
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.errors import ConfigurationError, UnknownBucket
from ddb_lease.key_limiter import KeyLimiter
from ddb_lease.models import Limit, RateStatus
from ddb_lease.rate_limiter import RateLimiter

_Subparsers = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it
_Execute = Callable[[argparse.Namespace], int]

"""What is done, and to what: no variable and no file says that."""


def execute_status(options: argparse.Namespace) -> int:
    """Show it."""
    with _limiter(options) as limiter:
        status = _view(limiter, options).status()
    _note_unused(options, status)
    show(rate_output.as_json(status) if options.json else rate_output.as_table(status))
    return 0


def execute_set(options: argparse.Namespace) -> int:
    """Change the policy, or store the first one."""
    limit, limits = _limits(options)
    if limit is None and not limits:
        raise ConfigurationError("say what to set: --rate RATE, --limit NAME=RATE, or --remove NAME")
    if options.add and not options.limit:
        raise ConfigurationError("--add belongs to --limit: it lets a rate have a limit more")
    where = connection.arguments(options)
    stored = _stored(options, where)
    given = stored or ({name: one for name, one in limits.items() if one is not None} if limit is None else None)
    if given == {}:
        raise _never_used(options)
    if stored is not None:
        _require_known(options, limits, stored)
    settings: dict[str, Any] = {"limits": given}
    if given is None and limit is not None:
        settings = {"rate": limit.permits, "per": limit.per, "burst": limit.burst}
    with RateLimiter(options.name, **settings, **where) as limiter:
        held = limiter.set_policy(limit, **limits)
    _tell(options, {"limits": _plain(held)}, rate_output.limits_text(held))
    return 0


def execute_override(options: argparse.Namespace) -> int:
    """Override limits of a key."""
    limit, limits = _limits(options)
    if options.end and (limit is not None or limits):
        raise ConfigurationError("--end removes the whole override: leave out the limits")
    if not options.end and limit is None and not limits:
        raise ConfigurationError("say what to override: --rate RATE, --limit NAME=RATE, --remove NAME, or --end")
    whole = (None,) if options.end else () if limit is None else (limit,)
    with _limiter(options) as limiter:
        if options.remove:
            _require_overridden(options, _view(limiter, options).status().override)
        if not options.end:
            _note_unused(options, _view(limiter, options).status())
        held = _view(limiter, options).override(*whole, **limits)
    _tell(options, {"limits": _plain(held)}, rate_output.limits_text(held))
    return 0


def execute_block(options: argparse.Namespace) -> int:
    """Block a key, or end its block."""
    with _limiter(options) as limiter:
        view = _view(limiter, options)
        if options.end:
            view.unblock()
        else:
            _note_unused(options, view.status())
            view.block(options.seconds)
    text = "not blocked" if options.end else f"blocked for {formatting.shown(options.seconds)}"
    _tell(options, {"blocked_seconds": 0.0 if options.end else options.seconds}, text)
    return 0


def execute_reset(options: argparse.Namespace) -> int:
    """Reset a key."""
    with _limiter(options) as limiter:
        _view(limiter, options).reset()
    _tell(options, {"reset": True}, "reset")
    return 0


def execute_keys(options: argparse.Namespace) -> int:
    """List the keys: with JSON one line each, as they come."""
    with _limiter(options) as limiter:
        keys = limiter.keys()
        if options.json:
            for key in keys:
                show(rate_output.as_json(key, indent=None))
        else:
            show(rate_output.keys_table(list(keys)))
    return 0


# Options.


def _limits(options: argparse.Namespace) -> tuple[Limit | None, dict[str, Limit | None]]:
    """The unnamed limit, and those by name, of which None are to be removed."""
    if options.burst is not None and options.rate is None:
        raise ConfigurationError("--burst belongs to --rate")
    limits: dict[str, Limit | None] = dict.fromkeys(options.remove)
    for name, (rate, per), burst in options.limit:
        if name in limits:
            raise ConfigurationError(f"the limit {name!r} is given twice")
        limits[name] = Limit(rate, per=per, burst=burst)
    if options.rate is not None and limits:
        raise ConfigurationError("a rate has one limit, given by --rate, or several, given by --limit: not both")
    rate = options.rate
    return None if rate is None else Limit(rate[0], per=rate[1], burst=options.burst), limits


def _require_known(
    options: argparse.Namespace, limits: Mapping[str, Limit | None], stored: Mapping[str, Limit]
) -> None:
    """Refuse names that the policy does not have: a mistyped one would be a limit more, and remove none."""
    for name, limit in limits.items():
        if name not in stored and (limit is None or not options.add):
            advice = "" if limit is None else "; to add one, give --add too"
            raise ConfigurationError(f"rate {options.name!r} has no limit {name!r}: it has {', '.join(stored)}{advice}")


def _require_overridden(options: argparse.Namespace, override: Mapping[str, Limit]) -> None:
    for name in options.remove:
        if name not in override:
            found = f"it has {', '.join(override)}" if override else "there is none"
            raise ConfigurationError(f"the override has no limit {name!r}: {found}")


# The rate.


@contextlib.contextmanager
def _limiter(options: argparse.Namespace) -> Iterator[RateLimiter]:
    """The rate that a command names, with the stored limits.

    Raises:
        UnknownBucket: It was never used.
    """
    where = connection.arguments(options)
    stored = _stored(options, where)
    if stored is None:
        raise _never_used(options)
    with RateLimiter(options.name, limits=stored, **where) as limiter:
        yield limiter


def _never_used(options: argparse.Namespace) -> UnknownBucket:
    return UnknownBucket(f"rate {options.name!r} was never used: its first use creates it, or `ddb-lease rate set`")


def _stored(options: argparse.Namespace, where: dict[str, Any]) -> dict[str, Limit] | None:
    settings = ConnectionSettings(session=where.get("session"), endpoint_url=where.get("endpoint_url"))
    stored = stored_limits(options.name, table=where["table"], connection=settings)
    return None if stored is None else dict(stored)


def _note_unused(options: argparse.Namespace, status: RateStatus) -> None:
    """Say so if nothing is known of a key: it may be mistyped, and whatever is done to it is done to nobody."""
    if options.key is None or status.blocked_seconds or status.override:
        return
    if all(status.limits[name].remaining >= (limit.burst or 1) for name, limit in status.settings.items()):
        words = ["ddb-lease", "rate", "keys", options.name, *connection.words(options)]
        say(
            f"note: key {printable(repr(options.key))} was never used, or not lately; {printable(shlex.join(words))} "
            "lists the keys"
        )


def _view(limiter: RateLimiter, options: argparse.Namespace) -> RateLimiter | KeyLimiter:
    key = _key(options)
    return limiter if key is None else limiter.key(key)


def _key(options: argparse.Namespace) -> str | None:
    return getattr(options, "key", None)  # not every command has it


def _plain(limits: Any) -> dict[str, Any]:  # noqa: ANN401 - a mapping of limits
    return {name: dataclasses.asdict(limit) for name, limit in limits.items()}


def _tell(options: argparse.Namespace, for_programs: dict[str, Any], for_people: str) -> None:
    key = _key(options)
    of = "" if key is None else f", key {printable(key)}"
    whole = {"rate": options.name, **({} if key is None else {"key": key}), **for_programs}
    show(json.dumps(whole) if options.json else f"{printable(options.name)}{of}: {for_people}")
