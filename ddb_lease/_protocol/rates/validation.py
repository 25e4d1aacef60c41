"""What users give, checked: limits, their names, keys, and numbers of permits.

Invariants:

- All arithmetic is in whole nanoseconds, so adding loses nothing. An interval is rounded up once, from exact fractions:
  the rate is never above what was asked for, and below it by a thousandth at 1,000,000 permits a second.
- What passes here fits into one item and one expression, whatever is done with it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping

from ddb_lease._numbers import positive, shown
from ddb_lease._protocol.rates.records import LONGEST_KEY_BYTES, LONGEST_LIMIT_NAME, MOST_LIMITS, LimitPolicy
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Limit

NS = 1_000_000_000
"""Nanoseconds in a second."""

FASTEST = 1_000_000
"""Permits a second, at most: an interval of a thousand nanoseconds, whose rounding costs no more than a thousandth."""

LONGEST_NS = 365 * 86_400 * NS
"""A year: what a burst may take to come back, at most."""

MOST_PERMITS = LONGEST_NS // NS * FASTEST
"""The largest burst that any limit can have: nobody can ask for more at once."""

SINGLE = "permits"
"""The name of the limit of a limiter that has one without a name."""

_RESERVED = frozenset({"self", "n", "timeout", "settle_within", "key", "under"})
"""Keyword arguments of the calls that take limits by name."""


def limit_policies(limits: object) -> dict[str, LimitPolicy]:
    """A limiter's limits, checked; in the order of their names.

    Raises:
        ConfigurationError: They cannot work.
    """
    if not isinstance(limits, Mapping) or not 0 < len(limits) <= MOST_LIMITS:
        raise ConfigurationError(f"limits must be a mapping of 1 to {MOST_LIMITS} names to Limit, not {shown(limits)}")
    for name in limits:
        _require_name(name)
    return {name: limit_policy(limits[name]) for name in sorted(limits)}


def limit_policy(limit: object) -> LimitPolicy:
    """One limit, checked.

    Raises:
        ConfigurationError: It cannot work.
    """
    if not isinstance(limit, Limit):
        raise ConfigurationError(f"a limit must be a Limit, as in Limit(100, per=60), not {shown(limit)}")
    permits = positive("permits", limit.permits)
    seconds = positive("per", limit.per)
    if permits > FASTEST * seconds:
        raise ConfigurationError(
            f"permits may be up to {FASTEST:,} a second, not {shown(limit.permits)} in {shown(limit.per)} s"
        )
    burst = max(1, math.floor(permits)) if limit.burst is None else limit.burst
    interval = math.ceil(seconds * NS / permits)
    if burst * interval > LONGEST_NS:
        raise ConfigurationError(f"a burst of {shown(burst)} permits would take more than a year to come back")
    return LimitPolicy(interval=interval, burst=burst, permits=float(permits), per=float(seconds))


def checked_key(key: object) -> str:
    """A key, checked.

    Raises:
        ConfigurationError: It is not a string of 1 to `LONGEST_KEY_BYTES` bytes that UTF-8 can hold.
    """
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"a key must be a string that is not empty, not {shown(key)}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as problem:
        raise ConfigurationError(f"a key must be text that UTF-8 can hold, not {shown(key)}") from problem
    if size > LONGEST_KEY_BYTES:
        raise ConfigurationError(f"a key may have {LONGEST_KEY_BYTES} bytes in UTF-8, not {size}: {shown(key)}")
    return str(key)


def checked_permits(wanted: Mapping[str, object], limits: Iterable[str], *, least: int = 0) -> dict[str, int]:
    """Numbers of permits by limit, checked; without those that are 0.

    Args:
        wanted: What the caller gave.
        limits: The names that there are.
        least: How many of each, at least: 0, or 1 if a call for none makes no sense.

    Raises:
        ConfigurationError: A limit does not exist, or a number is not a whole number of at least `least`.
    """
    names = set(limits)
    for name, permits in wanted.items():
        if name not in names:
            there = f"there is no limit {shown(name)}: there are {', '.join(sorted(names))}"
            raise ConfigurationError(f"{there}{_meant(name, permits, names)}")
        if isinstance(permits, bool) or not isinstance(permits, int) or permits < least:
            raise ConfigurationError(f"{name} must be a whole number from {least} up, not {shown(permits)}")
    return {name: int(permits) for name, permits in wanted.items() if isinstance(permits, int) and permits}


def _meant(name: str, value: object, limits: Collection[str]) -> str:
    """What to write in place of an argument that names no limit; empty if nobody knows."""
    if name == "key":
        return f"; for a key, write limiter.key({shown(value)}).acquire()"
    if name == "under":
        return "; parents belong to a key: write limiter.key('acme', under=[orgs])"
    if name in {"timeout", "blocking", "block", "wait"}:
        return "; `acquire` and `check` take a timeout, and `try_acquire` never waits"
    likely = difflib.get_close_matches(name, [*sorted(limits), "timeout", "settle_within"], n=1)
    if likely:
        return f"; did you mean {likely[0]!r}?"
    if set(limits) == {SINGLE} and isinstance(value, int) and not isinstance(value, bool):
        return f"; of one limit, write the number alone, as in acquire({shown(value)})"
    return ""


def _require_name(name: object) -> None:
    fits = isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= LONGEST_LIMIT_NAME
    if not fits or name in _RESERVED or str(name).startswith("_"):
        raise ConfigurationError(
            f"a limit's name must be a keyword argument: an ASCII identifier of up to {LONGEST_LIMIT_NAME} characters, "
            f"without a leading underscore, and none of {', '.join(sorted(_RESERVED))}; not {shown(name)}"
        )
