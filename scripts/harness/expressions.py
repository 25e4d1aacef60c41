"""What expressions mean, to the simulator's DynamoDB: trees compiled once for each text, to be run on items.

Invariants:

- Comparisons are DynamoDB's: by type first; a comparison with a missing value or another type is false.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from scripts.harness.expression_tree import (
    AllOf,
    AnyOf,
    Attribute,
    BadExpression,
    Compare,
    Exists,
    HasType,
    IfNotExists,
    Operand,
    Sum,
    Term,
    parse_condition,
    parse_update,
)
from scripts.harness.expression_tree import Condition as ConditionTree

Item: TypeAlias = dict[str, Any]
Names: TypeAlias = dict[str, str]
Values: TypeAlias = dict[str, Any]
Condition: TypeAlias = Callable[[Item, Names, Values], bool]
Change: TypeAlias = Callable[[Item, Names, Values], None]

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@functools.cache
def condition(text: str) -> Condition:
    """A condition expression, ready to be tested on an item (an empty one if there is none)."""
    return _condition(parse_condition(text))


@functools.cache
def update(text: str) -> Change:
    """An update expression, ready to be applied to an item in place. It reads all values before it writes any."""
    tree = parse_update(text)
    sets = [(target, _term(term)) for target, term in tree.sets]

    def change(item: Item, names: Names, values: Values) -> None:
        written = [(names[target], value(item, names, values)) for target, value in sets]
        item.update(written)
        for name in tree.removes:
            item.pop(names[name], None)

    return change


@functools.cache
def placeholders(*texts: str | None) -> frozenset[str]:
    """The placeholders, of names and of values, that these expressions use."""
    return frozenset(p for text in texts if text for p in re.findall(r"[#:]\w+", text))


def _condition(tree: ConditionTree) -> Condition:
    match tree:
        case AnyOf(parts):
            any_of = [_condition(part) for part in parts]
            return lambda i, n, v: any(part(i, n, v) for part in any_of)
        case AllOf(parts):
            all_of = [_condition(part) for part in parts]
            return lambda i, n, v: all(part(i, n, v) for part in all_of)
        case Exists(name, wanted):
            return lambda i, n, v: (n[name] in i) is wanted
        case HasType(name, kind):
            wanted_type = _operand(kind)
            return lambda i, n, v: wanted_type(i, n, v)["S"] in i.get(n[name], {})
        case Compare(left, operator, right):
            return _comparison(_operand(left), _COMPARISONS[operator], _operand(right))


def _comparison(left: Any, compare: Callable[[Any, Any], bool], right: Any) -> Condition:
    def comparison(i: Item, n: Names, v: Values) -> bool:
        a, b = left(i, n, v), right(i, n, v)
        if a is None or b is None or a.keys() != b.keys():
            return False
        return compare(_plain(a), _plain(b))

    return comparison


def _operand(operand: Operand) -> Callable[[Item, Names, Values], Any]:
    if isinstance(operand, Attribute):
        path = operand.path
        if len(path) > 1:
            return lambda i, n, v: _within(i, [n[name] for name in path])
        (only,) = path
        return lambda i, n, v: i.get(n[only])
    name = operand.name
    return lambda i, n, v: v[name]


def _term(term: Term) -> Callable[[Item, Names, Values], Any]:
    match term:
        case IfNotExists(name, instead):
            other = _operand(instead)
            return lambda i, n, v: i[n[name]] if n[name] in i else _needed(other(i, n, v))
        case Sum(first, sign, second):
            return _sum(_term(first), 1 if sign == "+" else -1, _term(second))
        case _:
            value = _operand(term)
            return lambda i, n, v: _needed(value(i, n, v))


def _sum(first: Any, sign: int, second: Any) -> Callable[[Item, Names, Values], Any]:
    def total(i: Item, n: Names, v: Values) -> Any:
        a, b = first(i, n, v), second(i, n, v)
        if "N" not in a or "N" not in b:
            raise BadExpression("only numbers can be added")
        return {"N": str(_plain(a) + sign * _plain(b))}

    return total


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
