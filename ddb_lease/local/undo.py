"""Transactions in place: moto writes item after item, and what it wrote is undone unless all succeeded.

By itself moto copies every table that a transaction names, or every table that there is (moto 5.1.0), and for a failed
one puts the copies in place: the cost grows with the table. Here the items that the transaction names are copied, and
nothing else. Beside `backend` and `ranges`, the only module that knows moto.

Invariants: a transaction that does not succeed leaves the tables as they were, whatever ended it. Not thread-safe.
"""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table


class _Before(NamedTuple):
    """An item's place, and a copy of it; None if there was none."""

    table: Table
    key: tuple[DynamoType, ...]
    item: Item | None


class Undo:
    """What a transaction may change, as it is now.

    Args:
        named: Each item that the transaction writes, by its table and at least the attributes of its key.
        tables: All tables that moto might copy.
    """

    def __init__(self, named: Sequence[tuple[Table, Mapping[str, Any]]], *, tables: Iterable[Table]) -> None:
        self._tables = tuple(tables)
        self._items = [before for table, names in named if (before := _before(table, names)) is not None]
        self._records = [
            (table.stream_shard.items, len(table.stream_shard.items)) for table in self._tables if table.stream_shard
        ]

    @contextlib.contextmanager
    def without_copies(self) -> Iterator[None]:
        """Keep moto from copying the tables: what it takes for a copy is the table itself."""
        for table in self._tables:
            vars(table)["__deepcopy__"] = lambda _memo, itself=table: itself
        try:
            yield
        finally:
            for table in self._tables:
                del vars(table)["__deepcopy__"]

    def undo(self) -> None:
        """Put everything back as it was."""
        for table, key, item in self._items:
            *within, last = key
            items: Any = table.items
            for part in within:
                items = items[part]
            if item is None:
                items.pop(last, None)
            else:
                items[last] = item
        for records, length in self._records:
            del records[length:]


def find(table: Table, names: Mapping[str, Any]) -> Item | None:
    """The item with the key that is among these attributes; None if there is none, or the key is incomplete."""
    before = _before(table, names, copied=False)
    return None if before is None else before.item


def _before(table: Table, names: Mapping[str, Any], *, copied: bool = True) -> _Before | None:
    if any(name not in names for name in table.table_key_attrs):
        return None
    try:
        hash_key, *range_key = key = tuple(DynamoType(names[name]) for name in table.table_key_attrs)
        item = table.get_item(hash_key, range_key[0] if range_key else None)
    except Exception:  # noqa: BLE001 - no key of this table: moto finds no item by it either, and writes none
        return None
    return _Before(table, key, copy.deepcopy(item) if copied else item)
