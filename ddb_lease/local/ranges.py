"""Queries of a range of sort keys, as a look is one, answered without moto, which goes through all items of a table.

Beside `backend` and `undo`, the only module that knows moto.

Invariants:

- A Query is answered as DynamoDB does. One that is anything more than a page of a range, or that may be wrong, is left
  to moto.
- The order of a partition's keys is remembered until anything is written. Not thread-safe.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table

_RANGE: Final = re.compile(r"(#\w+) = (:\w+) AND (#\w+) BETWEEN (:\w+) AND (:\w+)")
_PROJECTION: Final = re.compile(r"#\w+(, #\w+)*")

_PLAIN: Final = frozenset(
    {
        "TableName",
        "KeyConditionExpression",
        "ProjectionExpression",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
        "ConsistentRead",
        "Limit",
    }
)
"""What such a Query has: nothing that orders, filters, counts, or goes on from an earlier page."""

_SCALAR: Final = frozenset({"S", "N", "BOOL", "NULL"})

_MOST_BYTES: Final = 1_000_000
"""A page is full then: where it ends is left to moto."""


class _Partition(NamedTuple):
    """A partition's sort keys in order, and its items in the same order."""

    keys: list[str]
    items: list[Item]


class _LeftToMoto(Exception):
    """It is no such Query."""


class Ranges:
    """What is known of the order of keys."""

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, str], _Partition] = {}

    def forget(self) -> None:
        """Something was written, or may have been."""
        self._partitions.clear()

    def answer(self, tables: Mapping[str, Table], body: bytes) -> dict[str, object] | None:
        """The response to a Query; None if it is left to moto."""
        try:
            return self._answer(tables, json.loads(body))
        except (_LeftToMoto, LookupError, TypeError, ValueError, AttributeError):
            return None  # moto says what is wrong with it, if anything is

    def _answer(self, tables: Mapping[str, Table], query: dict[str, Any]) -> dict[str, object]:
        asked = _RANGE.fullmatch(query["KeyConditionExpression"])
        projection, limit = query["ProjectionExpression"], query["Limit"]
        _require(asked is not None and _PROJECTION.fullmatch(projection) and query.keys() <= _PLAIN)
        _require(type(limit) is int and limit > 0)
        table = tables[query["TableName"]]
        hash_name, partition, range_name, first, last = asked.groups() if asked else ()
        names, values = query["ExpressionAttributeNames"], query["ExpressionAttributeValues"]
        wanted = projection.split(", ")
        _require([names[hash_name], names[range_name]] == table.table_key_attrs)
        _require(names.keys() == {hash_name, range_name, *wanted} and len(set(wanted)) == len(wanted))
        _require(values.keys() == {partition, first, last} and all(value.keys() == {"S"} for value in values.values()))
        order = self._order(table, values[partition]["S"])
        begin, end = bisect_left(order.keys, values[first]["S"]), bisect_right(order.keys, values[last]["S"])
        items = order.items[begin : min(end, begin + limit)]
        _require(sum(item.size() for item in items) <= _MOST_BYTES)
        shown = [names[name] for name in wanted]
        found = [{name: _read(item.attrs[name]) for name in shown if name in item.attrs} for item in items]
        answer: dict[str, object] = {"Items": found, "Count": len(items), "ScannedCount": len(items)}
        if len(items) == limit:  # DynamoDB stops at the limit, and does not check whether anything follows
            answer["LastEvaluatedKey"] = {name: _read(items[-1].attrs[name]) for name in table.table_key_attrs}
        return answer

    def _order(self, table: Table, partition: str) -> _Partition:
        at = table.table_arn, partition
        if at not in self._partitions:
            within = table.items.get(DynamoType({"S": partition}), {})
            pairs = sorted(((key.value, item) for key, item in within.items()), key=lambda pair: pair[0])
            self._partitions[at] = _Partition([key for key, _ in pairs], [item for _, item in pairs])
        return self._partitions[at]


def _require(condition: object) -> None:
    if not condition:
        raise _LeftToMoto


def _read(attribute: DynamoType) -> dict[str, object]:
    _require(attribute.type in _SCALAR)
    return {attribute.type: attribute.value}
