"""Numbers and times that users give, read in one way everywhere.

Invariants:

- A number is an int, a float, or another `numbers.Real` (a Fraction, numpy's numbers). It is never a bool, a string or
  a Decimal: those mostly come from a configuration file that nobody has parsed.
- A time is a number of seconds or a `datetime.timedelta`.
- Whatever is given, the answer is a plain float or a `ConfigurationError`, never another error.
"""

from __future__ import annotations

import math
import numbers
import re
from datetime import timedelta
from fractions import Fraction

from ddb_lease.errors import ConfigurationError

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(?:/|per) ?(?:1 ?)?([smhd])[a-z]{0,6}")
"""A number of permits, and the first letter of a unit."""

_LONGEST = 60
"""Characters of a value in a message."""

_LARGEST = 10**15
"""Of a number that is given as an int: beyond any rate or time that makes sense, and exact as a float."""

_MINUTE = 60
_HOUR = 3600
_DAY = 86_400
_YEAR = 365 * 86_400


def as_number(value: object) -> float:
    """A number as a float; NaN if it is none, infinity if no float is as large."""
    # Plain numbers first: an abstract class takes long to decide, and each acquire asks.
    if isinstance(value, bool) or not isinstance(value, (float, int, numbers.Real)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, -1 if value < 0 else 1)
    except Exception:  # noqa: BLE001 - a number type of the user's own
        return math.nan


def as_seconds(value: object) -> float:
    """A time as seconds; NaN if it is none."""
    return value.total_seconds() if isinstance(value, timedelta) else as_number(value)


def positive(what: str, value: object) -> Fraction:
    """A number above 0, or a time, in seconds; exactly as it was meant.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    # A float by way of its text: 0.1 is meant as 0.1. The base types' own, whatever a subclass makes of it.
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return Fraction(int(value))
    number = as_number(value)
    if not isinstance(value, int) and math.isfinite(number) and number > 0:
        return Fraction(float.__repr__(number))
    raise ConfigurationError(f"{what} must be a number above 0, not {shown(value)}{_as_rate(what, value)}")


def _as_rate(what: str, value: object) -> str:
    """How a rate is written that was given as a text, as other libraries and the command line take it."""
    if what not in {"rate", "permits"} or not isinstance(value, str):
        return ""
    found = _RATE.fullmatch(value.strip())
    per = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY}
    number, seconds = (found[1], per[found[2]]) if found else ("10", _MINUTE)
    return f": write {what}={number}, per={seconds}"


def checked_timeout(timeout: object, *, what: str = "timeout") -> float | None:
    """Seconds from 0 up; None, which waits for ever, as given.

    Raises:
        ConfigurationError: It is no such time.
    """
    if timeout is None:
        return None
    seconds = as_seconds(timeout)
    # 10**400 is as good as infinite, but a typing error rather than a wish.
    if seconds >= 0 and (math.isfinite(seconds) or isinstance(timeout, float)):
        return seconds
    raise ConfigurationError(f"{what} must be 0 or more seconds, or a timedelta, not {shown(timeout)}")


def shown(value: object) -> str:
    """A value in a message, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - an int of 5,000 digits, an object with a broken repr
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def long_text(seconds: float, form: str) -> str:
    """Seconds in this form, `4.3 s`; from a minute up, and below a year, as a duration."""
    return duration_text(seconds) if _MINUTE <= seconds < _YEAR else f"{seconds:{form}} s"


def duration_text(seconds: float) -> str:
    """A duration for people: `0.4s`, `48s`, `2m05s`, `3h10m`."""
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < 10:  # noqa: PLR2004 - below ten, tenths matter
        return f"{sign}{seconds:.1f}s".replace(".0s", "s")
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{sign}{whole}s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        return f"{sign}{minutes}m" + (f"{rest:02d}s" if rest else "")
    hours, rest = divmod(whole, _HOUR)
    return f"{sign}{hours}h" + (f"{rest // _MINUTE:02d}m" if rest // _MINUTE else "")
