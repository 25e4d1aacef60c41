"""How expressions are put together: named halves, joined; and a placeholder for every name in them.

Invariants: DynamoDB refuses a placeholder that no expression uses, so the names are read from the expressions.
"""

from __future__ import annotations

import re
from typing import Final

_PLACEHOLDER: Final = re.compile(r"#(\w+)")

EXISTS: Final = "attribute_exists(#pk)"
DOES_NOT_EXIST: Final = "attribute_not_exists(#pk)"

ON_FAILURE: Final = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
"""What every conditional write asks for: the item that made it fail."""


def all_of(*conditions: str) -> str:
    """A condition that holds if all of these do."""
    return " AND ".join(conditions)


def names_in(*expressions: str) -> dict[str, str]:
    """The placeholders in expressions, each for the attribute of the same name."""
    return {f"#{name}": name for name in sorted({n for e in expressions for n in _PLACEHOLDER.findall(e)})}
