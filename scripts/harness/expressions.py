"""The part of DynamoDB's expression language that the library uses, compiled once for each text.

Invariants:

- It reads the texts that the library really sends and refuses anything else, so that it never misreads a new
  expression.
- Comparisons are DynamoDB's: by type first; a comparison with a missing value or another type is false.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeAlias

Item: TypeAlias = dict[str, Any]
Names: TypeAlias = dict[str, str]
Values: TypeAlias = dict[str, Any]
Condition: TypeAlias = Callable[[Item, Names, Values], bool]
Change: TypeAlias = Callable[[Item, Names, Values], None]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),+-]|#\w+(?:\.#\w+)*|[#:]?\w+)")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class BadExpression(Exception):
    """A text that DynamoDB rejects with a ValidationException, or that this module cannot read."""


@functools.cache
def condition(text: str) -> Condition:
    """A condition expression, ready to be tested on an item (an empty one if there is none)."""
    return _Parser(text).whole_condition()


@functools.cache
def update(text: str) -> Change:
    """An update expression, ready to be applied to an item in place. It reads all values before it writes any."""
    return _Parser(text).whole_update()


@functools.cache
def placeholders(*texts: str | None) -> frozenset[str]:
    """The placeholders, of names and of values, that these expressions use."""
    return frozenset(p for text in texts if text for p in re.findall(r"[#:]\w+", text))


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise BadExpression(f"cannot read {text!r} at {at}")
            self._tokens.append(match.group(1))
            at = match.end()
        self._at = 0

    def whole_condition(self) -> Condition:
        found = self._any()
        self._end()
        return found

    def whole_update(self) -> Change:
        sets: list[tuple[str, Callable[[Item, Names, Values], Any]]] = []
        removes: list[str] = []
        while self._peek():
            keyword = self._next().upper()
            if keyword == "SET":
                sets.append(self._assignment())
                while self._peek() == ",":
                    self._next()
                    sets.append(self._assignment())
            elif keyword == "REMOVE":
                removes.append(self._name())
                while self._peek() == ",":
                    self._next()
                    removes.append(self._name())
            else:
                raise BadExpression(f"an update expression with {keyword}")

        def change(item: Item, names: Names, values: Values) -> None:
            written = [(names[target], value(item, names, values)) for target, value in sets]
            item.update(written)
            for name in removes:
                item.pop(names[name], None)

        return change

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise BadExpression(f"{token} is missing in {' '.join(self._tokens)!r}")

    def _end(self) -> None:
        if self._peek():
            raise BadExpression(f"what is {self._peek()!r} in {' '.join(self._tokens)!r}?")

    def _name(self) -> str:
        token = self._next()
        if not token.startswith("#") or "." in token:
            raise BadExpression(f"{token!r} stands where the placeholder of a name should")
        return token

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._peek().upper() == "OR":
            self._next()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda i, n, v: any(part(i, n, v) for part in parts)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._peek().upper() == "AND":
            self._next()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda i, n, v: all(part(i, n, v) for part in parts)

    def _one(self) -> Condition:
        token = self._next()
        if token == "(":
            inner = self._any()
            self._expect(")")
            return inner
        if token in {"attribute_exists", "attribute_not_exists"}:
            self._expect("(")
            name = self._name()
            self._expect(")")
            wanted = token == "attribute_exists"
            return lambda i, n, v: (n[name] in i) is wanted
        if token == "attribute_type":
            self._expect("(")
            name = self._name()
            self._expect(",")
            kind = self._operand(self._next())
            self._expect(")")
            return lambda i, n, v: kind(i, n, v)["S"] in i.get(n[name], {})
        left, operator, right = self._operand(token), self._next(), self._operand(self._next())
        if operator not in _COMPARISONS:
            raise BadExpression(f"{operator!r} is no comparison")
        compare = _COMPARISONS[operator]

        def comparison(i: Item, n: Names, v: Values) -> bool:
            a, b = left(i, n, v), right(i, n, v)
            if a is None or b is None or a.keys() != b.keys():
                return False
            return compare(_plain(a), _plain(b))

        return comparison

    def _operand(self, token: str) -> Callable[[Item, Names, Values], Any]:
        if "." in token:
            return lambda i, n, v: _within(i, [n[name] for name in token.split(".")])
        if token.startswith("#"):
            return lambda i, n, v: i.get(n[token])
        if token.startswith(":"):
            return lambda i, n, v: v[token]
        raise BadExpression(f"{token!r} is neither a name's placeholder nor a value's")

    def _assignment(self) -> tuple[str, Callable[[Item, Names, Values], Any]]:
        target = self._name()
        self._expect("=")
        token = self._next()
        first = self._if_not_exists() if token == "if_not_exists" else self._operand(token)
        if self._peek() not in {"+", "-"}:
            return target, lambda i, n, v: _needed(first(i, n, v))
        sign = 1 if self._next() == "+" else -1
        second = self._operand(self._next())

        def total(i: Item, n: Names, v: Values) -> Any:
            a, b = _needed(first(i, n, v)), _needed(second(i, n, v))
            if "N" not in a or "N" not in b:
                raise BadExpression("only numbers can be added")
            return {"N": str(_plain(a) + sign * _plain(b))}

        return target, total

    def _if_not_exists(self) -> Callable[[Item, Names, Values], Any]:
        self._expect("(")
        name = self._name()
        self._expect(",")
        instead = self._operand(self._next())
        self._expect(")")
        return lambda i, n, v: i[n[name]] if n[name] in i else _needed(instead(i, n, v))


def _within(item: Item, path: list[str]) -> Any:
    """What is at a path of maps; None if there is nothing."""
    found: Any = {"M": item}
    for name in path:
        found = found.get("M", {}).get(name)
        if found is None:
            return None
    return found


def _needed(value: Any) -> Any:
    if value is None:
        raise BadExpression("the provided expression refers to an attribute that does not exist in the item")
    return value


def _plain(value: dict[str, Any]) -> Any:
    if "N" in value:
        digits = value["N"]
        return int(digits) if digits.lstrip("-").isdigit() else float(digits)
    ((_, content),) = value.items()
    return content
