"""Arguments that several public classes take, checked before anything is sent."""

from __future__ import annotations

import contextlib
import inspect
import math
from typing import Final

from ddb_lease._numbers import as_seconds, shown
from ddb_lease._protocol.records import LONGEST_LEASE_MS
from ddb_lease._runtime.callables import Kind, kind_of, name_of, with_article
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Timing

DEFAULT_TABLE: Final = "ddb-lease"
_KEY_BYTES: Final = 2048


def checked_text(what: str, text: object) -> str:
    """Return `text` if DynamoDB accepts it as a key; refuse it otherwise."""
    if not isinstance(text, str) or not text:
        raise ConfigurationError(f"{what} must be a non-empty string, not {shown(text)}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{what} {text!r} cannot be encoded as UTF-8") from error
    if size > _KEY_BYTES:
        raise ConfigurationError(f"{what} may have {_KEY_BYTES} bytes, not {size}")
    return text


def checked_timing(timing: Timing | None) -> Timing:
    """The time budget, or the default one.

    Raises:
        ConfigurationError: It is something else.
    """
    if timing is None:
        return Timing()
    given: object = timing
    if not isinstance(given, Timing):
        raise ConfigurationError(f"timing must be a ddb_lease.Timing, not {shown(given)}")
    return timing


def checked_hold_ms(hold_at_least: object) -> int:
    """For how long a slot goes to nobody else after it was acquired, in ms.

    Raises:
        ConfigurationError: It is no time above 0, or one of more than a year.
    """
    seconds = as_seconds(hold_at_least)
    if not 0 < seconds <= LONGEST_LEASE_MS / 1000:
        raise ConfigurationError(
            f"hold_at_least must be a number of seconds above 0 and up to a year, or a timedelta, "
            f"not {shown(hold_at_least)}"
        )
    return math.ceil(seconds * 1000)


def require_callback(callback: object, *, what: str, gets: str, coroutines: str | None = None) -> None:
    """Check a callback when it is given: nobody is there to see it fail when it is needed.

    Args:
        callback: What was given; None for no callback.
        what: The argument's name.
        gets: What it is called with, one thing.
        coroutines: What to do with a coroutine function; None if its coroutine would be awaited.

    Raises:
        ConfigurationError: It cannot be called with one argument, or its body would not run in the call.
    """
    if callback is None:
        return
    if not callable(callback):
        raise ConfigurationError(f"{what} must be a function that takes {gets}, not {shown(callback)}")
    kind = kind_of(callback)
    if kind is Kind.COROUTINE and coroutines is not None:
        raise ConfigurationError(
            f"{what}: {name_of(callback)} is a coroutine function, and nobody would await it. {coroutines}"
        )
    if kind in {Kind.GENERATOR, Kind.ASYNC_GENERATOR}:
        raise ConfigurationError(
            f"{what}: {name_of(callback)} is {with_article(kind.value)}, and nobody would run its body"
        )
    signature = None
    with contextlib.suppress(ValueError, TypeError):  # some builtins have none
        signature = inspect.signature(callback)
    if signature is not None:
        try:
            signature.bind(callback)  # with anything: only the number counts
        except TypeError:
            raise ConfigurationError(
                f"{what} is called with {gets}, and {name_of(callback)}{signature} does not take just that: "
                f"wrap it, as in `lambda _: ...`"
            ) from None
