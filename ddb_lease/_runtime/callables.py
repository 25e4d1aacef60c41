"""What a callable is: whether its body runs when it is called, and how messages name it. Calls nothing."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
from typing import Any


class Kind(enum.Enum):
    """When a function's body runs."""

    PLAIN = "plain function"
    COROUTINE = "coroutine function"
    GENERATOR = "generator function"
    ASYNC_GENERATOR = "async generator function"


def kind_of(function: Any) -> Kind:  # noqa: ANN401 - anything may be given
    """When a callable's body runs, as far as it shows. Looks through partials, methods and objects with `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    # `inspect` looks through bound methods, but not from an object to the method that is called.
    faces = [function] if inspect.isroutine(function) else [function, getattr(type(function), "__call__", None)]  # noqa: B004 - the method itself
    for face in faces:
        if inspect.isasyncgenfunction(face):
            return Kind.ASYNC_GENERATOR
        if inspect.isgeneratorfunction(face):
            return Kind.GENERATOR
        if inspect.iscoroutinefunction(face) or _is_marked(face):
            return Kind.COROUTINE
    return Kind.PLAIN


def name_of(function: object) -> str:
    """A callable in messages."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", None) or with_article(type(function).__qualname__))


def with_article(word: str) -> str:
    """A word with its indefinite article, mostly right."""
    return f"{'an' if word[:1].lower() in set('aeiou') else 'a'} {word}"


def _is_marked(function: object) -> bool:
    """Whether it is marked as a coroutine function, as `unittest.mock`, Cython and asgiref do."""
    coroutines = sys.modules.get("asyncio.coroutines")
    mark = getattr(coroutines, "_is_coroutine", None)
    return mark is not None and getattr(function, "_is_coroutine", None) is mark
