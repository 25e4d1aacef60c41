"""The meter: which requests botocore sent, and how much capacity they take by DynamoDB's published rules.

Invariants:

- It listens to botocore's events and needs only botocore, so that it runs in any contender's environment.
- While something is timed it only records; it counts afterwards.
- A write unit is each started KB of the item; it counts twice in a transaction, and a failed condition costs as much as
  a write. A read unit is each started 4 KB that a request read, or half a unit if it is eventually consistent.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchExecuteStatement"}
_OK = 300


class Noted(NamedTuple):
    """One request that was answered."""

    operation: str
    body: bytes
    status: int
    scanned: int
    consumed: float


class Meter:
    """Records each request of clients that are made with a session's events.

    Attributes:
        asking: Whether requests ask the engine what they consumed: to check the rules, never while timing.
    """

    def __init__(self, events: Any) -> None:
        self.asking = False
        self._records = True
        self._noted: list[Noted] = []
        self._item_bytes = 256  # an estimate until one is put
        for event, handler in self._handlers():
            events.register(event, handler)

    def record(self, on: bool, clients: Iterable[Any]) -> None:
        """Whether requests are recorded from now on: the one switch.

        Args:
            on: Whether they are.
            clients: Clients that have no listener while they are not, as one keeps them from their fast path.
                Requests of all others pass unrecorded.
        """
        self._records = on
        for client in clients:
            events = client.meta.events
            for event, handler in self._handlers():
                events.unregister(event, handler)  # registered twice, it would count twice
                if on:
                    events.register(event, handler)

    def take(self) -> dict[str, Any]:
        """The counts since the last call."""
        noted, self._noted = self._noted, []
        requests = Counter(one.operation for one in noted)
        wasted = sum(one.operation in WRITES and one.status >= _OK for one in noted)
        wcu = rcu = consumed = 0.0
        for one in noted:
            units = self._units(one)
            if one.operation in WRITES:
                wcu += units
            else:
                rcu += units
            consumed += one.consumed
        return {
            "requests": dict(requests),
            "wcu": wcu,
            "rcu": rcu,
            "wasted_writes": wasted,
            "consumed": consumed,
        }

    def _handlers(self) -> tuple[tuple[str, Any], ...]:
        return (
            ("before-parameter-build.dynamodb", self._ask),
            ("before-call.dynamodb", self._before),
            ("after-call.dynamodb", self._after),
        )

    def _ask(self, params: dict[str, Any], **_: Any) -> None:
        if self._records and self.asking:
            params["ReturnConsumedCapacity"] = "TOTAL"

    def _before(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if self._records:
            context["benchmark"] = params["body"]

    def _after(self, http_response: Any, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        if "benchmark" not in context:
            return
        consumed = parsed.get("ConsumedCapacity") or ()
        each = [consumed] if isinstance(consumed, dict) else consumed
        self._noted.append(
            Noted(
                model.name,
                context["benchmark"],
                http_response.status_code,
                parsed.get("ScannedCount", 1),
                sum(one["CapacityUnits"] for one in each),
            )
        )

    def _units(self, one: Noted) -> float:
        body = json.loads(one.body)
        match one.operation:
            case "TransactWriteItems":
                return sum(2 * self._write_units(next(iter(step.values()))) for step in body["TransactItems"])
            case "BatchExecuteStatement":  # only updates: nothing here reads with one
                return sum(self._write_units({}) for _ in body["Statements"])
            case "TransactGetItems":
                return sum(2 * _read_units(self._item_bytes) for _ in body["TransactItems"])
            case "Query" | "GetItem":
                size = one.scanned * self._item_bytes
                return _read_units(size) * (1.0 if body.get("ConsistentRead") else 0.5)
            case _:
                return self._write_units(body)

    def _write_units(self, body: dict[str, Any]) -> int:
        # An update's request does not have the item: assume the size of the largest that was put.
        if "Item" in body:
            self._item_bytes = max(self._item_bytes, item_bytes(body["Item"]))
        return max(1, math.ceil(self._item_bytes / 1024))


def item_bytes(item: dict[str, dict[str, Any]]) -> int:
    """The size of an item in DynamoDB's wire form: its names, and its values as they are stored."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: dict[str, Any]) -> int:
    ((kind, inner),) = value.items()
    match kind:
        case "S":
            return len(inner.encode())
        case "N":
            return len(inner.strip("-").replace(".", "")) // 2 + 2
        case "M":
            return 3 + item_bytes(inner) + len(inner)
        case "L":
            return 3 + sum(1 + _value_bytes(one) for one in inner)
        case _:
            return 1


def _read_units(size: int) -> int:
    return max(1, math.ceil(size / 4096))
