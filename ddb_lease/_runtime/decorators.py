"""Decorating: what `leased` and `limited` of both APIs do to a function.

Invariants:

- A body runs under what guards it, or it does not run, or its caller gets an error. A function whose body would run
  later is refused when it is decorated. Where only the call shows that (a plain function that returns a coroutine), the
  call raises, and what would have run later is closed.
- The decorated function shows the signature that its callers use: without the lease. Frameworks (FastAPI, pytest,
  Celery, click) read that.
- The lease is the first argument; after `self` or `cls` if the function's first parameter has that name.
- No I/O, no clock, no threads, no asyncio.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from ddb_lease._numbers import checked_timeout, shown
from ddb_lease._protocol.rates.validation import checked_key
from ddb_lease._runtime.callables import Kind, kind_of, name_of, with_article
from ddb_lease.errors import ConfigurationError

Function = Callable[..., Any]
KeyFunction = Callable[..., str]

P = ParamSpec("P")
R = TypeVar("R")
Own = TypeVar("Own")
LeaseT_co = TypeVar("LeaseT_co", covariant=True)

_OWN_OBJECT: Final = {"self", "cls"}
_POSITIONAL: Final = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


class PassesLease(Protocol[LeaseT_co]):
    """What `leased` returns, for type checkers: it takes the lease away from the parameters of a function or method."""

    @overload
    def __call__(self, function: Callable[Concatenate[LeaseT_co, P], R], /) -> Callable[P, R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Own, LeaseT_co, P], R], /
    ) -> Callable[Concatenate[Own, P], R]: ...


class PassesLeaseAwaited(Protocol[LeaseT_co]):
    """As `PassesLease`, for coroutine functions."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[LeaseT_co, P], Awaitable[R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Own, LeaseT_co, P], Awaitable[R]], /
    ) -> Callable[Concatenate[Own, P], Coroutine[Any, Any, R]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A decorator in messages.

    Attributes:
        name: How users write it.
        inside: What to write inside a body instead.
        otherwise: What to use for a function of the other API.
        passes_lease: Whether the function gets a lease, which its work must not outlive.
    """

    name: str
    inside: str
    otherwise: str
    passes_lease: bool


def decorate(
    function: Any,  # noqa: ANN401 - anything may be given
    enter: Callable[..., AbstractContextManager[Any]],
    *,
    wording: Wording,
    key: KeyFunction | None = None,
    after_own: bool = False,
) -> Any:  # noqa: ANN401 - what was given, decorated
    """Decorate a plain function.

    Args:
        function: A function, method, classmethod or staticmethod, or any other callable.
        enter: Makes what is entered around each call; it yields the lease, if the function gets one.
        wording: The decorator in messages.
        key: Makes of a call's arguments what `enter` gets. What it raises, the call raises; nothing was entered.
        after_own: Whether the first parameter is the function's own object, whatever its name.

    Raises:
        ConfigurationError: The function's body would not run in the call, or it has no parameter for the lease.
    """
    if isinstance(function, (classmethod, staticmethod)):
        own = isinstance(function, classmethod)
        return type(function)(decorate(function.__func__, enter, wording=wording, key=key, after_own=own))
    _require_function(function, wording)
    kind = kind_of(function)
    if kind is not Kind.PLAIN:
        instead = wording.otherwise if kind is Kind.COROUTINE else wording.inside
        raise ConfigurationError(
            f"{name_of(function)} is {with_article(kind.value)}: {wording.name} would guard making the "
            f"{kind.value.removesuffix(' function')}, and not its body. {instead}"
        )
    place = _Place.of(function, wording, after_own=after_own)

    @functools.wraps(function)
    def guarded(*args: object, **kwargs: object) -> object:
        args = place.before(args)
        with enter() if key is None else enter(key(*args, **kwargs)) as lease:
            result = function(*place.filled(args, lease), **kwargs)
            _require_finished(function, result, wording)
            return result

    return place.shown_by(guarded)


def decorate_async(
    function: Any,  # noqa: ANN401 - anything may be given
    enter: Callable[..., AbstractAsyncContextManager[Any]],
    *,
    wording: Wording,
    key: KeyFunction | None = None,
    after_own: bool = False,
) -> Any:  # noqa: ANN401 - what was given, decorated
    """Decorate a coroutine function, or a wrapper of one; else as `decorate`."""
    if isinstance(function, (classmethod, staticmethod)):
        own = isinstance(function, classmethod)
        return type(function)(decorate_async(function.__func__, enter, wording=wording, key=key, after_own=own))
    _require_function(function, wording)
    kind = kind_of(function)
    if kind is Kind.PLAIN:  # a decorator that knows nothing of coroutines may have wrapped one
        kind = kind_of(inspect.unwrap(function))
        instead = wording.otherwise
    else:
        instead = wording.inside
    if kind is not Kind.COROUTINE:
        raise ConfigurationError(
            f"{name_of(function)} is {with_article(kind.value)}, and {wording.name} awaits what it decorates. {instead}"
        )
    place = _Place.of(function, wording, after_own=after_own)

    @functools.wraps(function)
    async def guarded(*args: object, **kwargs: object) -> object:
        args = place.before(args)
        async with enter() if key is None else enter(key(*args, **kwargs)) as lease:
            made = function(*place.filled(args, lease), **kwargs)
            if not inspect.isawaitable(made):
                _require_finished(function, made, wording)
                raise ConfigurationError(
                    f"{name_of(function)} returned {with_article(type(made).__name__)}, which cannot be awaited. "
                    f"{wording.otherwise}"
                )
            result = await made
            _require_finished(function, result, wording)
            return result

    return place.shown_by(guarded)


def require_timeout(timeout: object, *, wording: Wording) -> None:
    """Check a decorator's timeout when it decorates, and not at the first call.

    Raises:
        ConfigurationError: It is no timeout, or the decorator was written without parentheses.
    """
    if callable(timeout):
        raise ConfigurationError(f"{wording.name} needs parentheses: write `@...{wording.name.rpartition('.')[2]}()`")
    checked_timeout(timeout)


def checked_key_function(key: KeyFunction | None, *, wording: Wording) -> KeyFunction | None:
    """A decorator's key function, checked when it decorates, and its keys each time.

    Raises:
        ConfigurationError: It cannot be called, or its key would have to be awaited.
    """
    if key is None:
        return None
    if not callable(key):
        raise ConfigurationError(
            f"the key of {wording.name} is made by a function of the call's arguments, as in key=lambda user: user.id; "
            f"not {shown(key)}"
        )
    if not isinstance(key, type) and kind_of(key) is not Kind.PLAIN:
        raise ConfigurationError(
            f"{name_of(key)} is {with_article(kind_of(key).value)}: the key of {wording.name} must be there at once"
        )

    def make(*args: object, **kwargs: object) -> str:
        made = key(*args, **kwargs)
        try:
            return checked_key(made)
        except ConfigurationError as problem:
            if inspect.iscoroutine(made):
                made.close()  # so that nobody is told that it was never awaited
            raise ConfigurationError(f"{name_of(key)} makes the key of a limit: {problem}") from None

    return make


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the lease goes among the positional arguments, and what callers see.

    Attributes:
        index: How many arguments come before the lease; None if the function gets no lease.
        signature: The function's signature without the lease; None if it has none that can be read.
        missing: What a call without the argument before the lease is told.
    """

    index: int | None
    signature: inspect.Signature | None
    missing: str = ""

    @classmethod
    def of(cls, function: Function, wording: Wording, *, after_own: bool) -> _Place:
        signature = _signature_of(function)
        if not wording.passes_lease:
            return cls(index=None, signature=signature)
        if signature is None:  # some builtins have none
            return cls(index=0, signature=None)
        parameters = list(signature.parameters.values())
        first = parameters[0] if parameters and parameters[0].kind in _POSITIONAL else None
        index = 1 if first is not None and (after_own or first.name in _OWN_OBJECT) else 0
        if len(parameters) <= index or parameters[index].kind not in {*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL}:
            raise _no_place(function, wording)
        if parameters[index].kind in _POSITIONAL:
            lease = parameters.pop(index)
            if "lease" not in lease.name and any(parameter.name == "lease" for parameter in parameters):
                raise _no_place(function, wording)
        return cls(
            index=index,
            signature=signature.replace(parameters=parameters),
            missing=f"{name_of(function)}() missing 1 required positional argument: {parameters[0].name!r}"
            if index
            else "",
        )

    def before(self, args: tuple[object, ...]) -> tuple[object, ...]:
        """The arguments, if there are enough to come before the lease. Called before anything is acquired."""
        if self.index and len(args) < self.index:
            raise TypeError(self.missing)
        return args

    def filled(self, args: tuple[object, ...], lease: object) -> tuple[object, ...]:
        """The arguments with the lease."""
        return args if self.index is None else (*args[: self.index], lease, *args[self.index :])

    def shown_by(self, guarded: Function) -> Function:
        """Let a wrapper show the signature that its callers use."""
        if self.signature is not None:
            shown = self.signature
            annotations = {p.name: p.annotation for p in shown.parameters.values() if p.annotation is not p.empty}
            if shown.return_annotation is not shown.empty:
                annotations["return"] = shown.return_annotation
            guarded.__annotations__ = annotations
            guarded.__signature__ = shown  # type: ignore[attr-defined] # as `inspect.signature` reads it
        return guarded


def _signature_of(function: Function) -> inspect.Signature | None:
    for how in _READINGS:
        with contextlib.suppress(Exception):  # annotations are the user's code: names that do not exist yet, and worse
            return inspect.signature(function, **how)
    return None


def _readings() -> list[dict[str, Any]]:
    """How to read a signature: with annotations resolved, as its readers may not find the globals; or as given."""
    given: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - new in 3.14

        given = {"annotation_format": Format.FORWARDREF}
    return [{"eval_str": True}, given]


_READINGS: Final = _readings()


def _no_place(function: Function, wording: Wording) -> ConfigurationError:
    name = name_of(function).rpartition(".")[2]
    return ConfigurationError(
        f"{wording.name} passes the lease as the first argument, after self or cls if there is one, and "
        f"{name_of(function)} takes none there: write `def {name}(lease, ...)`"
    )


def _require_function(function: object, wording: Wording) -> None:
    if isinstance(function, type):
        raise ConfigurationError(
            f"{wording.name} would guard only the making of {with_article(function.__qualname__)}: decorate its methods"
        )
    if not callable(function):
        raise ConfigurationError(f"{wording.name} decorates a function, not {with_article(type(function).__name__)}")


def _require_finished(function: Function, result: object, wording: Wording) -> None:
    """Refuse a result whose work has not been done yet: nothing would guard it."""
    is_lazy = inspect.iscoroutine(result) or inspect.isgenerator(result) or isinstance(result, _BLOCKS)
    # A limiter lets work begin; a lease must be held until it ends.
    outlives = wording.passes_lease and _is_pending(result)
    if not (is_lazy or outlives or inspect.isasyncgen(result)):
        return
    close = getattr(result, "close", None)
    if is_lazy and close is not None:
        close()  # it has not begun, so nothing runs; and nobody is told that it was never awaited
    instead, what = wording.otherwise if inspect.isawaitable(result) else wording.inside, type(result).__name__
    raise ConfigurationError(
        f"{name_of(function)} returned {with_article(what)}, whose work {wording.name} does not guard. {instead}"
    )


def _is_pending(result: object) -> bool:
    """Whether it stands for work that goes on elsewhere: a task, a future, another awaitable."""
    is_future = hasattr(result, "add_done_callback") and callable(getattr(result, "done", None))
    if is_future or inspect.isawaitable(result):
        return not (is_future and result.done())  # type: ignore[attr-defined] # just looked at
    return False


@contextlib.contextmanager
def _block() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def _async_block() -> AsyncIterator[None]:
    yield


_BLOCKS: Final = (type(_block()), type(_async_block()))
"""What `contextlib.contextmanager` makes: its body has not begun."""
