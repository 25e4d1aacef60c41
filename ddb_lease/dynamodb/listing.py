"""Listing a table: the Scan that reads a page of it, and its answer as the protocol's values.

Invariants:

- It is for an operator's commands. Nothing that holds, waits or renews sends a Scan.
- The filter and the projection save what is sent, not what is paid for: a Scan costs by what it reads.
- No item is trusted to have our shape: one that has not is counted, and hides no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ddb_lease._protocol.listing import Found, ListPage, PageIs, Position, RateKey
from ddb_lease._protocol.messages import Answer, Unknown
from ddb_lease._protocol.rates.validation import SINGLE
from ddb_lease._protocol.records import SCHEMA, Counter
from ddb_lease.dynamodb.foreign import as_map
from ddb_lease.dynamodb.items import Wire, is_counter, read_counter, read_slot, slot_number, string
from ddb_lease.dynamodb.placeholders import names_in
from ddb_lease.dynamodb.rates.items import HELD, POLICY_KEY, REACH, TAT, key_of, read_policy, read_state
from ddb_lease.dynamodb.tickets import TICKET_PREFIX, read_queue
from ddb_lease.errors import StoreUnavailable
from ddb_lease.models import PERMIT_KEY

if TYPE_CHECKING:
    from ddb_lease.dynamodb.address import BucketAddress

_leased: Final = "attribute_exists(#lease_id)"
_no_slot: Final = "NOT #sk BETWEEN :first AND :last"
FILTER: Final = f"{_leased} OR {_no_slot}"

_FOR_BUCKETS: Final = "#pk, #sk, #max_tokens, #minted, #rev, #lease_ms, #schema, #order, #fence, #retired"
_FOR_LEASES: Final = "#lease_id, #owner, #acquired_at, #expires_at, #revoked, #data.#permit"
_FOR_TICKETS: Final = "#count"  # and some of the above
_FOR_RATES: Final = "#limits, #tat, #held, #reach, #override, #override_rev, #blocked_until"
PROJECTION: Final = f"{_FOR_BUCKETS}, {_FOR_LEASES}, {_FOR_TICKETS}, {_FOR_RATES}"

_NAMES: Final = names_in(FILTER, PROJECTION) | {
    "#permit": PERMIT_KEY,
    "#tat": TAT + SINGLE,
    "#held": HELD + SINGLE,
    "#reach": REACH + SINGLE,
}
_RANGE: Final = {":first": {"S": "slot#"}, ":last": {"S": "slot$"}}
_MISSHAPEN: Final = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)


def list_page(request: ListPage, address: BucketAddress) -> dict[str, Any]:
    """The arguments of the Scan."""
    call: dict[str, Any] = {
        "TableName": address.table,
        "FilterExpression": FILTER,
        "ProjectionExpression": PROJECTION,
        "ExpressionAttributeNames": _NAMES,
        "ExpressionAttributeValues": _RANGE,
        "ConsistentRead": False,
        "ReturnConsumedCapacity": "TOTAL",
    }
    if request.limit is not None:
        call["Limit"] = request.limit
    if request.after is not None:
        pk, sk = request.after
        call["ExclusiveStartKey"] = {"pk": {"S": pk}, "sk": {"S": sk}}
    return call


def read_page(response: Mapping[str, Any]) -> Answer:
    """The answer in a response that botocore accepted as a success."""
    items = response.get("Items")
    if not isinstance(items, list):
        return Unknown(cause=StoreUnavailable("the answer to a Scan has no list of items"))
    found, unreadable = [], 0
    for item in map(as_map, items):
        try:
            one = _found(item)
        except _MISSHAPEN:
            unreadable += 1
            continue
        if one is not None:
            found.append(one)
    scanned = response.get("ScannedCount")
    return PageIs(
        found=tuple(found),
        unreadable=unreadable,
        scanned=scanned if isinstance(scanned, int) else len(items),
        after=_position(as_map(response.get("LastEvaluatedKey"))),
        read_units=_units(as_map(response.get("ConsumedCapacity"))),
    )


def _found(item: Wire) -> Found | None:
    """What an item is; None if it is not ours.

    Raises:
        ValueError: It is under a key of ours, and of another shape.
    """
    name, sort = string(item, "pk"), string(item, "sk")
    if is_counter(item):
        return Found(name=name, item=_counter(item))
    number = slot_number(item)
    if number is not None:
        slot = read_slot(item, number)
        if slot.foreign:
            raise ValueError(sort)
        return Found(name=name, item=slot)
    if sort.startswith(TICKET_PREFIX):
        seen = read_queue({"Items": [item]})
        if seen is None or not seen.tickets:
            raise ValueError(sort)
        return Found(name=name, item=seen.tickets[0])
    if sort == POLICY_KEY:
        return Found(name=name, item=read_policy(item))
    key = key_of(item)
    if key is not None:
        return Found(name=name.rpartition("#")[0], item=RateKey(key=key, state=read_state(item)))
    return None


def _counter(item: Wire) -> Counter:
    counter = read_counter(item)
    if counter.schema > SCHEMA:
        raise ValueError(f"schema {counter.schema}")
    return counter


def _position(key: Mapping[str, Any]) -> Position | None:
    return (string(dict(key), "pk"), string(dict(key), "sk")) if key else None


def _units(consumed: Mapping[str, Any]) -> float | None:
    units = consumed.get("CapacityUnits")
    return float(units) if isinstance(units, (int, float)) else None
