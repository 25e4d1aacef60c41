"""What conditions and updates mean, as formulas over an item.

Invariants:

- Nothing is assumed of an item: each attribute may be missing, or be of any type.
- The meaning is that of the simulator's DynamoDB (`scripts.harness.expressions`); a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import z3

from scripts.harness.expression_tree import (
    AllOf,
    AnyOf,
    Attribute,
    Compare,
    Condition,
    Exists,
    HasType,
    IfNotExists,
    Operand,
    Sum,
    Term,
    Update,
)
from tests.proof.symbols import Run, Symbol

MISSING, NUMBER, STRING, OTHER = range(4)
TYPES = {"N": NUMBER, "S": STRING}


class Attr(NamedTuple):
    """An attribute: its type, and its number, or the number of its string. Only these two have a value here.

    A type that is known is an int.
    """

    kind: Any
    value: Any


Item: TypeAlias = dict[str, Attr]
"""An item; what is within a map has a name with dots. A name that is not there is a missing attribute."""

ABSENT = Attr(MISSING, z3.IntVal(0))
PRESENT = Attr(STRING, z3.IntVal(0))
"""A key attribute: which key it is does not matter, as a request names one item."""

_strings: dict[str, int] = {}


def any_item(prefix: str, names: tuple[str, ...]) -> Item:
    """An item of which nothing is known."""
    return {name: Attr(z3.Int(f"{prefix}{name}:type"), z3.Int(f"{prefix}{name}")) for name in names}


def number_of(text: str) -> int:
    """The number that stands for a string; different ones for different strings, and none of a symbol's."""
    return _strings.setdefault(text, -1 - len(_strings))


def exists(item: Item) -> Any:
    """Whether there is an item at all."""
    return has(item, "pk")


def has(item: Item, name: str) -> Any:
    """Whether an attribute is there."""
    return item.get(name, ABSENT).kind != MISSING


def is_number(item: Item, name: str) -> Any:
    """Whether an attribute is a number."""
    return item.get(name, ABSENT).kind == NUMBER


def constant(wire: Mapping[str, Any], run: Run) -> Attr:
    """A value of a request."""
    ((kind, content),) = wire.items()
    if kind == "N":
        return Attr(NUMBER, run.read(content))
    if kind == "S":
        symbolic = isinstance(content, Symbol)
        return Attr(STRING, run.read(content) if symbolic else z3.IntVal(number_of(content)))
    return Attr(OTHER, z3.IntVal(0))


def flat(name: str, wire: Mapping[str, Any], run: Run) -> Item:
    """A value of a request with all that is within it, each under its name."""
    found = {name: constant(wire, run)}
    for inner, value in wire.get("M", {}).items():
        found |= flat(f"{name}.{inner}", value, run)
    return found


class Meaning:
    """What the expressions of one request mean.

    Args:
        names: What its placeholders of names stand for.
        values: Its values, in the wire form.
        run: The run that made it, which reads the symbols in it.
    """

    def __init__(self, names: Mapping[str, str], values: Mapping[str, Any], run: Run) -> None:
        self._names = names
        self._values = values
        self._run = run

    def holds(self, tree: Condition, item: Item) -> Any:
        """A condition."""
        match tree:
            case AnyOf(parts):
                return z3.Or([self.holds(part, item) for part in parts])
            case AllOf(parts):
                return z3.And([self.holds(part, item) for part in parts])
            case Exists(name, wanted):
                there = has(item, self._names[name])
                return there if wanted else z3.Not(there)
            case HasType(name, kind):
                wanted_type = TYPES[self._values[str(kind)]["S"]]
                found = item.get(self._names[name], ABSENT).kind == wanted_type
                return z3.BoolVal(found) if isinstance(found, bool) else found  # of a kind that is a plain number
            case Compare(left, operator, right):
                return _compared(self._operand(left, item), operator, self._operand(right, item))

    def applied(self, tree: Update, item: Item) -> tuple[Any, Item]:
        """An update: what it needs, or else it is refused; and the item after it."""
        needs: list[Any] = []
        after = dict(item) | {"pk": PRESENT}
        written = [(self._names[target], self._term(term, item, needs)) for target, term in tree.sets]
        for name in [*(name for name, _ in written), *(self._names[name] for name in tree.removes)]:
            for inner in [known for known in after if known == name or known.startswith(f"{name}.")]:
                after[inner] = ABSENT
        for name, found in written:
            after |= {name + inner: value for inner, value in found.items()}
        return z3.And(needs), after

    def _operand(self, operand: Operand, item: Item) -> Attr:
        if isinstance(operand, Attribute):
            return item.get(".".join(self._names[name] for name in operand.path), ABSENT)
        return constant(self._values[operand.name], self._run)

    def _term(self, term: Term, item: Item, needs: list[Any]) -> Item:
        """What a term comes to, with all that is within it, each by what is added to the name."""
        match term:
            case IfNotExists(name, instead):
                there, here = has(item, self._names[name]), _within(item, self._names[name])
                other = self._term(instead, item, needs)
                return {inner: _either(there, here, other, inner) for inner in {**here, **other}}
            case Sum(first, sign, second):
                a, b = self._term(first, item, needs)[""], self._term(second, item, needs)[""]
                needs += [a.kind == NUMBER, b.kind == NUMBER]
                return {"": Attr(NUMBER, a.value + b.value if sign == "+" else a.value - b.value)}
            case Attribute():
                found = self._operand(term, item)
                needs.append(found.kind != MISSING)
                return _within(item, ".".join(self._names[name] for name in term.path))
        return flat("", self._values[term.name], self._run)


def _within(item: Item, name: str) -> Item:
    """An attribute with all that is within it, each by what is added to the name."""
    found = {known.removeprefix(name): attribute for known, attribute in item.items() if known.startswith(f"{name}.")}
    return {"": item.get(name, ABSENT), **found}


def _either(which: Any, one: Item, other: Item, name: str) -> Attr:
    a, b = one.get(name, ABSENT), other.get(name, ABSENT)
    return Attr(z3.If(which, a.kind, b.kind), z3.If(which, a.value, b.value))


def _compared(a: Attr, operator: str, b: Attr) -> Any:
    x, y = a.value, b.value
    compared = {"=": x == y, "<>": x != y, "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[operator]
    known = [kind for kind in (a.kind, b.kind) if isinstance(kind, int)]
    if not all(kind in {NUMBER, STRING} for kind in known):
        return z3.BoolVal(False)
    return z3.And(a.kind == b.kind, compared, *([] if known else [z3.Or(a.kind == NUMBER, a.kind == STRING)]))
