"""The Scan of the simulator's DynamoDB: a page of the table, as the library lists it. Pure.

Invariant: it knows the library's one filter by its text, and refuses all others, as `_range` in `simulated_dynamodb` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scripts.harness.expression_tree import BadExpression
from scripts.harness.expressions import Item, placeholders

_FILTER = "attribute_exists(#lease_id) OR NOT #sk BETWEEN :first AND :last"


def scan(items: Iterable[Item], arguments: dict[str, Any]) -> dict[str, Any]:
    """The response to a Scan of these items.

    Raises:
        BadExpression: Its filter is another one, or its placeholders are not those that it uses.
    """
    names, values = arguments["ExpressionAttributeNames"], arguments["ExpressionAttributeValues"]
    used = placeholders(arguments["ProjectionExpression"], arguments["FilterExpression"])
    if arguments["FilterExpression"] != _FILTER or used != names.keys() | values.keys():
        raise BadExpression(f"a Scan that nobody here sends: {arguments['FilterExpression']}, with {sorted(used)}")
    start = arguments.get("ExclusiveStartKey")
    behind = ("", "") if start is None else _key(start)
    rest = [item for item in sorted(items, key=_key) if _key(item) > behind]
    page = rest[: arguments.get("Limit", len(rest))]
    first, last = values[":first"]["S"], values[":last"]["S"]
    wanted = [part.strip().split(".") for part in arguments["ProjectionExpression"].split(",")]
    found = [item for item in page if "lease_id" in item or not first <= _key(item)[1] <= last]
    answer: dict[str, Any] = {
        "Items": [_projected(item, [[names[name] for name in path] for path in wanted]) for item in found],
        "Count": len(found),
        "ScannedCount": len(page),
    }
    if page and len(page) == arguments.get("Limit"):  # it stops there without checking whether anything follows
        answer["LastEvaluatedKey"] = {name: page[-1][name] for name in ("pk", "sk")}
    return answer


def _key(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _projected(item: Item, paths: list[list[str]]) -> Item:
    shown: Item = {}
    for name, *inner in paths:
        if name not in item:
            continue
        if not inner:
            shown[name] = item[name]
        elif inner[0] in item[name].get("M", {}):
            shown[name] = {"M": {inner[0]: item[name]["M"][inner[0]]}}
    return shown
