"""Which items a request writes, and until when an item binds the engine. Pure.

An item of ours binds until its lease ends, or until the permits that a rate has given or holds are paid for. Whoever
forgets it before that grants too much.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ddb_lease.models import PERMIT_KEY

RATE_TIMES = ("tat", "blocked_until")
"""Attributes of a rate's key: until when permits are paid for (of versions before this one), and until when it is
blocked."""

RATE_KEY, REACH, HOLD = "rate#", "reach#", "hold#"
"""How the sort key of a rate's key begins, and in it the attribute of each limit, and of each process's hold."""

_ACTIONS = ("Put", "Update", "Delete", "ConditionCheck")


class Write(NamedTuple):
    """One item that a request writes, or checks in a transaction."""

    table: str
    names: Mapping[str, Any]
    """The item, or its key: at least the attributes of the key, if the request is well formed."""


def writes(operation: str, parameters: Mapping[str, Any]) -> list[Write]:
    """The items that a request writes, if it succeeds, or checks together with its writes.

    Of a malformed request, those that can be read.
    """
    match operation:
        case "PutItem":
            found = [(parameters.get("TableName"), parameters.get("Item"))]
        case "UpdateItem" | "DeleteItem":
            found = [(parameters.get("TableName"), parameters.get("Key"))]
        case "TransactWriteItems":
            actions = [
                _map(_map(item).get(name)) for item in _list(parameters.get("TransactItems")) for name in _ACTIONS
            ]
            found = [(action.get("TableName"), action.get("Item") or action.get("Key")) for action in actions]
        case "BatchWriteItem":
            found = [
                (table, _map(_map(request).get(name)).get(names))
                for table, requests in _map(parameters.get("RequestItems")).items()
                for request in _list(requests)
                for name, names in (("PutRequest", "Item"), ("DeleteRequest", "Key"))
            ]
        case _:
            found = []
    return [Write(_table_name(str(table)), _map(names)) for table, names in found if _map(names)]


def binds_until_ms(item: Mapping[str, Any]) -> int:
    """The time, in milliseconds since the epoch, until which an item (in DynamoDB's JSON) must not be forgotten.

    0 if it binds nobody: a free slot, a counter, an item of another program.
    """
    if "lease_id" in item:
        return _number(item.get("expires_at"))
    reached = [_number(value) for name, value in item.items() if name in RATE_TIMES or name.startswith(REACH)]
    holds = [_map(_map(value).get("M")) for name, value in item.items() if name.startswith(HOLD)]
    if holds:
        # Settled as late as they may be, they are charged from then on.
        held = sum(_number(amount) for hold in holds for amount in _map(_map(hold.get("held")).get("M")).values())
        reached.append(max(_number(hold.get("until")) for hold in holds) + held)
    return max(reached, default=0) // 1_000_000  # nanoseconds


def is_permit(item: Mapping[str, Any]) -> bool:
    """Whether a leased slot is a used permit of a window, which says so in its data."""
    return PERMIT_KEY in _map(_map(item.get("data")).get("M"))


def text(attribute: object) -> str:
    """An attribute's text; empty if it is of another type, or missing."""
    return str(_map(attribute).get("S", ""))


def _table_name(table: str) -> str:
    """A table's name, which requests may give as an ARN."""
    return table.rpartition("/")[2] if table.startswith("arn:") else table


def _number(attribute: object) -> int:
    try:
        return int(_map(attribute).get("N", 0))
    except (TypeError, ValueError):
        return 0


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
