"""Values: the package's `dataclass`, for frozen and slotted ones; as `dataclasses.dataclass`, and cheap to define.

The standard library's has up to seven functions compiled for each class, which was most of what importing this package
took: there are eighty such classes. Here only the constructor is, as it alone runs often.

Laws of this room:

- It imports nothing of the package, and decides nothing.
- What comes out behaves as the standard library's own, in all that its documentation promises; one suite tests both.
- To type checkers it is the standard library's own.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["dataclass"]

Class = TypeVar("Class", bound=type)

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool, kw_only: bool = False) -> Callable[[Class], Class]:
        """As `dataclasses.dataclass`, for classes that are frozen and have slots."""
        if not (frozen and slots):
            raise TypeError("this dataclass is for values: frozen, and with slots")

        def decorate(bare: Class) -> Class:
            if any(map(dataclasses.is_dataclass, bare.__bases__)):
                return dataclasses.dataclass(frozen=True, slots=True, kw_only=kw_only)(bare)
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(bare)
            made.__dataclass_params__.frozen = True  # what is derived from it must be, too
            for name, method in {"__init__": _constructor(made), **_methods(made)}.items():
                setattr(made, name, method)
            return made

        return decorate


def _constructor(made: type) -> Callable[..., None]:
    """`__init__`, which sets each slot by its descriptor: the quickest way past a refusing `__setattr__`."""
    given: dict[str, Any] = {"unset": dataclasses.MISSING}
    parameters, lines = ["self"], []
    annotations: dict[str, object] = {}
    for field in dataclasses.fields(made):
        name = field.name
        given[f"set_{name}"] = getattr(made, name).__set__
        annotations[name] = field.type
        parameter = value = name
        if field.default is not dataclasses.MISSING:
            given[f"default_{name}"] = field.default
            parameter = f"{name}=default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            given[f"make_{name}"] = field.default_factory
            parameter, value = f"{name}=unset", f"make_{name}() if {name} is unset else {name}"
        if field.kw_only and "*" not in parameters:
            parameters.append("*")
        parameters.append(parameter)
        lines.append(f"set_{name}(self, {value})")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    text = (
        f"def make({', '.join(given)}):\n"
        f"  def __init__({', '.join(parameters)}):\n"
        f"    {'; '.join(lines) or 'pass'}\n"
        f"  return __init__\n"
    )
    found: dict[str, Any] = {}
    exec(text, vars(sys.modules[made.__module__]), found)  # noqa: S102 - of our own names alone, as dataclasses does it
    constructor: Callable[..., None] = found["make"](**given)
    constructor.__qualname__ = f"{made.__qualname__}.__init__"
    constructor.__annotations__ = annotations | {"return": None}
    return constructor


def _methods(made: type) -> dict[str, Callable[..., Any]]:  # noqa: C901 - seven of a line or two
    """All other methods of a value: closures over its fields' names."""
    names = tuple(field.name for field in dataclasses.fields(made))
    content: Callable[[object], tuple[Any, ...]] = (
        operator.attrgetter(*names) if len(names) > 1 else lambda value: tuple([getattr(value, n) for n in names])
    )

    @reprlib.recursive_repr()
    def show(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"

    def equal(self: object, other: object) -> bool:
        return content(self) == content(other) if type(self) is type(other) else NotImplemented

    def digest(self: object) -> int:
        return hash(content(self))

    def refuse_to_set(self: object, name: str, value: object) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)  # an attribute that a subclass without slots has besides

    def refuse_to_delete(self: object, name: str) -> None:
        if type(self) is made or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    def get_state(self: object) -> list[Any]:
        return list(content(self))

    def set_state(self: object, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {
        "__repr__": show,
        "__eq__": equal,
        "__hash__": digest,
        "__setattr__": refuse_to_set,
        "__delattr__": refuse_to_delete,
        "__getstate__": get_state,
        "__setstate__": set_state,
    }
