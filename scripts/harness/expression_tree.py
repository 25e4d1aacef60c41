"""The part of DynamoDB's expression language that the library uses, as a tree.

Invariants:

- It reads the texts that the library really sends and refuses anything else, so that nobody misreads a new expression.
- A tree says what a text says, and no more: what it means is decided by those who read trees, the simulator's DynamoDB
  and the proof.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TypeAlias

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),+-]|#\w+(?:\.#\w+)*|[#:]?\w+)")
COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})


class BadExpression(Exception):
    """A text that DynamoDB rejects with a ValidationException, or that nobody here can read."""


@dataclass(frozen=True)
class Attribute:
    """An attribute of the item, or what is within its maps: the placeholders of the names on the way."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Value:
    """A value of the request, by its placeholder."""

    name: str

    def __str__(self) -> str:
        return self.name


Operand: TypeAlias = Attribute | Value


@dataclass(frozen=True)
class Exists:
    """Whether there is an attribute (`wanted`), or whether there is none."""

    name: str
    wanted: bool

    def __str__(self) -> str:
        return f"attribute_{'' if self.wanted else 'not_'}exists({self.name})"


@dataclass(frozen=True)
class HasType:
    """Whether an attribute is of a type; the operand names the type."""

    name: str
    kind: Operand

    def __str__(self) -> str:
        return f"attribute_type({self.name}, {self.kind})"


@dataclass(frozen=True)
class Compare:
    """A comparison."""

    left: Operand
    operator: str
    right: Operand

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True)
class AllOf:
    """All of these hold."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " AND ".join(f"({part})" if isinstance(part, AnyOf) else str(part) for part in self.parts)


@dataclass(frozen=True)
class AnyOf:
    """One of these holds at least."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " OR ".join(f"({part})" if isinstance(part, AllOf) else str(part) for part in self.parts)


Condition: TypeAlias = Exists | HasType | Compare | AllOf | AnyOf


@dataclass(frozen=True)
class IfNotExists:
    """An attribute, or if there is none, something else."""

    name: str
    instead: Operand

    def __str__(self) -> str:
        return f"if_not_exists({self.name}, {self.instead})"


@dataclass(frozen=True)
class Sum:
    """A sum or a difference of numbers."""

    first: Operand | IfNotExists
    sign: str
    second: Operand

    def __str__(self) -> str:
        return f"{self.first} {self.sign} {self.second}"


Term: TypeAlias = Operand | IfNotExists | Sum


@dataclass(frozen=True)
class Update:
    """An update: what is set, in order, and what is removed."""

    sets: tuple[tuple[str, Term], ...]
    removes: tuple[str, ...]

    def __str__(self) -> str:
        sets = ", ".join(f"{name} = {term}" for name, term in self.sets)
        parts = [f"SET {sets}" if sets else "", f"REMOVE {', '.join(self.removes)}" if self.removes else ""]
        return " ".join(part for part in parts if part)


@functools.cache
def parse_condition(text: str) -> Condition:
    """The tree of a condition expression."""
    return _Parser(text).whole_condition()


@functools.cache
def parse_update(text: str) -> Update:
    """The tree of an update expression."""
    return _Parser(text).whole_update()


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

    def whole_update(self) -> Update:
        sets: list[tuple[str, Term]] = []
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
        return Update(tuple(sets), tuple(removes))

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
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._peek().upper() == "AND":
            self._next()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

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
            return Exists(name, token == "attribute_exists")
        if token == "attribute_type":
            self._expect("(")
            name = self._name()
            self._expect(",")
            kind = self._operand(self._next())
            self._expect(")")
            return HasType(name, kind)
        left, operator, right = self._operand(token), self._next(), self._operand(self._next())
        if operator not in COMPARISONS:
            raise BadExpression(f"{operator!r} is no comparison")
        return Compare(left, operator, right)

    def _operand(self, token: str) -> Operand:
        if token.startswith("#"):
            return Attribute(tuple(token.split(".")))
        if token.startswith(":"):
            return Value(token)
        raise BadExpression(f"{token!r} is neither a name's placeholder nor a value's")

    def _assignment(self) -> tuple[str, Term]:
        target = self._name()
        self._expect("=")
        token = self._next()
        first = self._if_not_exists() if token == "if_not_exists" else self._operand(token)
        if self._peek() not in {"+", "-"}:
            return target, first
        sign = self._next()
        return target, Sum(first, sign, self._operand(self._next()))

    def _if_not_exists(self) -> IfNotExists:
        self._expect("(")
        name = self._name()
        self._expect(",")
        instead = self._operand(self._next())
        self._expect(")")
        return IfNotExists(name, instead)
