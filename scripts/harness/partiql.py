"""The part of DynamoDB's PartiQL that the library uses: an UPDATE of one item, by its key and conditions.

Both forms of several assignments are read: with commas, and by a SET each.

Invariants: those of `expressions`: it refuses any other statement; a comparison with a missing value or another type is
false. Unlike an UpdateItem, an UPDATE creates no item: a missing item is a failed condition.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from scripts.harness.expression_tree import BadExpression
from scripts.harness.expressions import Item, condition, update

_NAME = r'"((?:[^"]|"")+)"'
_ONE = rf"{_NAME} = \?"
_STATEMENT = re.compile(rf"UPDATE {_NAME} SET ({_ONE}(?:(?:,| SET) {_ONE})*) WHERE (.+) RETURNING ALL NEW \*")
_SET = re.compile(_ONE)
_TERM = re.compile(rf"{_NAME} (=|<=|<|>=|>) \?")


class Statement:
    """One UPDATE, parsed.

    Attributes:
        table: Which table.
        targets: The attributes that are set, in the order of the parameters.
        terms: The attributes compared, and how, in that order too: the key's, then the conditions.
    """

    def __init__(self, text: str) -> None:
        match = _STATEMENT.fullmatch(text)
        if match is None:
            raise BadExpression(f"a statement that nobody here writes: {text}")
        self.table = match.group(1).replace('""', '"')
        self.targets = tuple(found.group(1) for found in _SET.finditer(match.group(2)))
        parts = [_TERM.fullmatch(part) for part in match.group(5).split(" AND ")]
        if not all(parts):
            raise BadExpression(f"a condition that nobody here writes: {match.group(5)}")
        self.terms = tuple((part.group(1), part.group(2)) for part in parts if part)
        if self.terms[:2] != (("pk", "="), ("sk", "=")):
            raise BadExpression("Where clause does not contain a mandatory equality on all key attributes")

    def key(self, parameters: list[Any]) -> Item:
        """The key of the item."""
        self._require(parameters)
        first = len(self.targets)
        return {"pk": parameters[first], "sk": parameters[first + 1]}

    def holds(self, item: Item, parameters: list[Any]) -> bool:
        """Whether its conditions hold for an item."""
        first = len(self.targets)
        wanted = zip(self.terms, parameters[first:], strict=True)
        return all(condition(f"#a {how} :b")(item, {"#a": name}, {":b": value}) for (name, how), value in wanted)

    def applied(self, item: Item, parameters: list[Any]) -> Item:
        """The item after the update."""
        after = dict(item)
        for name, value in zip(self.targets, parameters, strict=False):
            update("SET #a = :b")(after, {"#a": name}, {":b": value})
        return after

    def arguments(self, parameters: list[Any]) -> dict[str, Any]:
        """Its values by name, as an UpdateItem has them: for observers that check which lease a write belongs to."""
        names = [*self.targets, *(name for name, _ in self.terms)]
        return {"ExpressionAttributeValues": {f":{name}": value for name, value in zip(names, parameters, strict=True)}}

    def _require(self, parameters: list[Any]) -> None:
        if len(parameters) != len(self.targets) + len(self.terms):
            raise BadExpression("Number of parameters in request and statement don't match.")


def reads(text: str) -> bool:
    """Whether a statement reads; all others write."""
    return text.split(maxsplit=1)[0].upper() == "SELECT"


read = functools.cache(Statement)
"""A statement, read once for each text."""
