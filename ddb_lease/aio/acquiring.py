"""What an acquire of asyncio returns: a coroutine, which refuses to be a block.

`async with bucket.acquire()` and `with bucket.acquire()` are what users of other libraries write first, and `await` is
forgotten. Python's errors would name a coroutine's missing method, and an `if` would take a coroutine for a lease.
Python warns of one that is dropped without having been awaited, as of any coroutine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeAlias, TypeVar

from ddb_lease._runtime.mistaken import OF_A_LEASE
from ddb_lease.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Acquire: TypeAlias = Callable[P, Coroutine[Any, Any, R]]


def no_block(instead: str) -> Callable[[Acquire[P, R]], Acquire[P, R]]:
    """Decorate a coroutine method: what it returns may be awaited, or run as a task, but not entered.

    Args:
        instead: What to write.
    """

    def decorate(method: Acquire[P, R]) -> Acquire[P, R]:
        @functools.wraps(method)
        def called(*args: P.args, **kwargs: P.kwargs) -> Acquiring[R]:
            return Acquiring(method(*args, **kwargs), instead=instead)

        return called

    return decorate


class Acquiring(Coroutine[Any, Any, R_co]):
    """A coroutine that was made and not awaited yet.

    Args:
        coroutine: The method's own.
        instead: What to write in place of a block.
    """

    __slots__ = ("_coroutine", "_instead")

    def __init__(self, coroutine: Coroutine[Any, Any, R_co], *, instead: str) -> None:
        self._coroutine = coroutine
        self._instead = instead

    def __repr__(self) -> str:
        return f"<{self._name()}(), not awaited>"

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:  # noqa: ANN401 - as its base
        """Go on with it."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401 - as its base
        """Raise an error in it."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def _name(self) -> str:
        return str(getattr(self._coroutine, "__qualname__", "a coroutine"))

    def _forgotten(self) -> str:
        return f"{self._name()}() was not awaited: write `await` before it, or {self._instead}"

    if not TYPE_CHECKING:

        def __bool__(self) -> NoReturn:
            raise ConfigurationError(self._forgotten())  # as a coroutine it would be true, whatever comes of it

        def __getattr__(self, name: str) -> NoReturn:
            if name in OF_A_LEASE:
                raise AttributeError(f"it has no {name!r} yet: {self._forgotten()}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

        def __enter__(self) -> NoReturn:
            self.close()  # it has not begun, so nothing was acquired
            raise ConfigurationError(f"an acquire is no block: write {self._instead}")

        def __exit__(self, *_: object) -> None:
            """Python looks it up before it enters."""

        async def __aenter__(self) -> NoReturn:
            self.__enter__()

        async def __aexit__(self, *_: object) -> None:
            """Python looks it up before it enters."""
