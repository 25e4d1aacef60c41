"""What people write first, as other libraries have it: each is an error that says what to write here.

Invariants: it only makes errors. Type checkers see none of these methods, and the constructors as they are written.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeVar

from ddb_lease.errors import ConfigurationError

Init = TypeVar("Init", bound=Callable[..., None])

_RATE: Final = dict.fromkeys(("max_rate", "limit", "max_calls", "calls", "requests", "max_tokens", "permits"), "rate")
_PER: Final = dict.fromkeys(("time_period", "period", "window", "interval", "seconds"), "per")
_BURST: Final = dict.fromkeys(("capacity", "max_burst", "bucket_size", "size"), "burst")
OF_A_LIMITER: Final[Mapping[str, str]] = {**_RATE, **_PER, **_BURST}
"""What an argument of other limiters is called here."""

OF_A_WINDOW: Final[Mapping[str, str]] = {**dict.fromkeys(_RATE, "max_tokens"), **dict.fromkeys(_PER, "period")}
"""The same of a window."""

_WAITS: Final = "acquire(timeout=30)"
_TRIES: Final = "try_acquire()"

_METHODS: Final = {
    **dict.fromkeys(("wait", "take", "consume", "get", "get_token", "throttle", "aacquire", "acquire_async"), _WAITS),
    **dict.fromkeys(
        ("hit", "allow", "allowed", "is_allowed", "test", "has_capacity", "acquire_nowait", "try_acquire_async"), _TRIES
    ),
    **dict.fromkeys(("limit", "ratelimit", "rate_limit", "decorate", "wrap", "throttled"), "limited(timeout=30)"),
}
"""Methods of other limiters, and what does the same here."""


def named_arguments(example: str, meant: Mapping[str, str]) -> Callable[[Init], Init]:
    """Decorate the `__init__` of a class that takes a name, and all else by keyword.

    Args:
        example: How it is written.
        meant: What arguments of other libraries are called here.
    """

    def decorate(init: Init) -> Init:
        known = list(inspect.signature(init).parameters)[1:]

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - any user's
            unknown = [name for name in kwargs if name not in known]
            if len(args) > 1:
                raise TypeError(f"a {type(self).__name__} takes its name, and all else by keyword: write {example}")
            if unknown:
                likely = meant.get(unknown[0]) or next(iter(difflib.get_close_matches(unknown[0], known, n=1)), None)
                said = f"did you mean {likely!r}? It is made" if likely else "it is made"
                raise TypeError(f"a {type(self).__name__} has no argument {unknown[0]!r}; {said}, as in {example}")
            init(self, *args, **kwargs)

        checked.__doc__ = f"As in {example}; help() of the class says what each argument is."
        return checked  # type: ignore[return-value] # the same signature

    return decorate


class FirstGuesses:
    """A limiter, a key or a window: methods that it does not have, and a call of it, say what to write."""

    __slots__ = ()

    _called: ClassVar[str]
    """What a program calls one."""
    _awaits: ClassVar[str] = ""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            kind, instead = type(self).__name__, _METHODS.get(name)
            if instead is not None and not hasattr(type(self), instead.partition("(")[0]):
                instead = _WAITS  # a key decorates nothing
            if instead is None:
                raise AttributeError(f"{kind!r} object has no attribute {name!r}", name=name, obj=self)
            awaits = "" if instead.startswith("limited") else self._awaits
            said = f"write {awaits}{self._called}.{instead}"
            raise AttributeError(f"a {kind} has no {name!r}: {said}", name=name, obj=self)

        def __call__(self, *_: object, **__: object) -> NoReturn:
            decorates = f"to decorate a function write @{self._called}.limited(timeout=30), and "
            raise ConfigurationError(
                f"a {type(self).__name__} is not called: {decorates if hasattr(type(self), 'limited') else ''}"
                f"to take a permit write {self._awaits}{self._called}.acquire(timeout=30)"
            )
