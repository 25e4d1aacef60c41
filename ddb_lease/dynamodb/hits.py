"""Hits of the storage for `limits`: their items, their requests as API calls, and the answers.

Invariants:

- Items lie beside those of rates, in the 64 shards of the storage's name, under sort keys of their own: `hits#0#<key>`
  for a fixed window, `hits#<length in ms>#<key>` for a sliding one. Every attribute is a number.
- As in `expressions`: all names are placeholders, all values are values, and nothing is written to an item of another
  shape: each condition compares a number of ours, or requires that there is no item.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ddb_lease._protocol.hits import (
    AddHits,
    BeginHits,
    DropHits,
    FixedHits,
    Hits,
    HitsKey,
    HitsListed,
    HitsRead,
    HitsRefused,
    HitsRequest,
    HitsWritten,
    ListHits,
    ReadHits,
    SlideBranch,
    SlideHits,
    SlidingHits,
)
from ddb_lease._protocol.messages import Answer, Done, Rejected, Unknown
from ddb_lease.dynamodb.foreign import as_map, not_ours
from ddb_lease.dynamodb.items import Wire, number, string, text, whole
from ddb_lease.dynamodb.placeholders import DOES_NOT_EXIST, ON_FAILURE, all_of, names_in
from ddb_lease.dynamodb.rates.items import partition_of, shard_name
from ddb_lease.errors import StoreError, StoreRejected, StoreUnavailable

if TYPE_CHECKING:
    from ddb_lease.dynamodb.address import BucketAddress

Call: TypeAlias = tuple[str, dict[str, Any]]

HITS_PREFIX: Final = "hits#"
_AFTER_HITS: Final = "hits$"
"""The first sort key after all of them."""

_KEY: Final = re.compile(r"hits#(\d{1,16})#(.+)\Z", re.ASCII | re.DOTALL)
_MISSHAPEN: Final = (KeyError, TypeError, ValueError, ArithmeticError)

_still_runs: Final = "#ends_at > :now"
_is_over: Final = "#ends_at <= :now"
_same_window: Final = "#window = :window"
_window_before: Final = "#window = :before"
_older_window: Final = "#window < :before"
_previous_as_known: Final = "#previous <= :most_previous"
_previous_fits: Final = "#count <= :most_previous"
_count_fits: Final = "#count <= :most"

ADD_HITS: Final = _still_runs  # false if there is no item, or one without such a number
BEGIN_HITS: Final = f"{DOES_NOT_EXIST} OR {_is_over}"
SLIDE_HITS: Final[dict[SlideBranch, str]] = {
    "same": all_of(_same_window, _previous_as_known, _count_fits),
    "next": all_of(_window_before, _previous_fits),
    "new": f"{DOES_NOT_EXIST} OR {_older_window}",
}
DROP_HITS: Final = "attribute_type(#count, :number)"

_SET_ADD: Final = "SET #count = #count + :n"
_SET_BEGIN: Final = "SET #count = :n, #ends_at = :ends_at, #ttl = :ttl"
_SET_SLIDE: Final[dict[SlideBranch, str]] = {
    "same": "SET #count = #count + :n",
    "next": "SET #previous = #count, #count = :n, #window = :window, #ttl = :ttl",
    "new": "SET #previous = :zero, #count = :n, #window = :window, #ttl = :ttl",
}
_READ: Final = "#pk = :pk AND #sk BETWEEN :first AND :last"
_AS_LEFT: Final = {"ReturnValues": "ALL_NEW"}
"""Costs nothing more, and tells the count."""


def hits_key(key: HitsKey) -> str:
    """The sort key of an item."""
    return f"{HITS_PREFIX}{key.length}#{key.key}"


def hits_call_for(request: HitsRequest, address: BucketAddress) -> Call:
    """The API call for a request about hits."""
    match request:
        case AddHits():
            values = {":n": number(request.n), ":now": number(request.now)}
            return "update_item", _update(request.key, address, ADD_HITS, _SET_ADD, values)
        case BeginHits():
            values = {
                ":n": number(request.n),
                ":now": number(request.now),
                ":ends_at": number(request.ends_at),
                ":ttl": number(request.ttl),
            }
            return "update_item", _update(request.key, address, BEGIN_HITS, _SET_BEGIN, values)
        case SlideHits():
            change = _SET_SLIDE[request.branch]
            return "update_item", _update(request.key, address, SLIDE_HITS[request.branch], change, _slid(request))
        case ReadHits():
            return "query", _read(request.key, address)
        case DropHits():
            return "delete_item", {
                "TableName": address.table,
                "Key": _place(request.key, address),
                "ConditionExpression": DROP_HITS,
                "ExpressionAttributeNames": names_in(DROP_HITS),
                "ExpressionAttributeValues": {":number": text("N")},
                **ON_FAILURE,
            }
        case ListHits():
            return "query", _list(request, address)


def read_hits_answer(request: HitsRequest, response: Mapping[str, Any], address: BucketAddress | None) -> Answer:
    """The answer in a response that botocore accepted as a success."""
    match request:
        case DropHits():
            return Done()
        case ReadHits() | ListHits():
            return _found(request, response, address)
        case AddHits() | BeginHits() | SlideHits():
            return _written(request, response, address)


def read_hits_refusal(
    request: HitsRequest,
    found: Any,  # noqa: ANN401 - as botocore returns it
    error: Exception,
    address: BucketAddress | None,
) -> Answer:
    """The answer where a condition failed, with the item that it found."""
    if isinstance(request, (ListHits, DropHits)):
        return HitsRefused(hits=None)
    try:
        return HitsRefused(hits=_hits_in(request.key, found, address))
    except StoreError as problem:
        problem.__cause__ = error
        return Rejected(error=problem)


def _found(request: ReadHits | ListHits, response: Mapping[str, Any], address: BucketAddress | None) -> Answer:
    items = response.get("Items")
    if not isinstance(items, list):
        return Unknown(cause=StoreUnavailable("the answer to a Query has no list of items"))
    if isinstance(request, ListHits):
        keys = (_key_of(as_map(item)) for item in items)
        after = string(as_map(response.get("LastEvaluatedKey")), "sk") or None
        return HitsListed(keys=tuple(key for key in keys if key is not None), after=after)
    try:
        return HitsRead(hits=_hits_in(request.key, items[0] if items else None, address))
    except StoreError as problem:
        return Rejected(error=problem)


def _written(
    request: AddHits | BeginHits | SlideHits, response: Mapping[str, Any], address: BucketAddress | None
) -> Answer:
    try:
        hits = _hits_in(request.key, response.get("Attributes"), address)
    except StoreError as problem:
        return Unknown(cause=problem)  # they may have been counted
    if hits is None:
        return Unknown(cause=StoreUnavailable("the answer to a write does not show the new state"))
    return HitsWritten(hits=hits)


def _slid(request: SlideHits) -> Wire:
    values = {":n": number(request.n)}
    if request.branch == "same":
        return values | {
            ":window": number(request.number),
            ":most_previous": number(request.most_previous),
            ":most": number(request.most),
        }
    values |= {
        ":window": number(request.number),
        ":before": number(request.number - 1),
        ":ttl": number(request.ttl),
    }
    if request.branch == "next":
        return values | {":most_previous": number(request.most_previous)}
    return values | {":zero": number(0)}


def _place(key: HitsKey, address: BucketAddress) -> Wire:
    return {"pk": text(partition_of(address.bucket, key.key)), "sk": text(hits_key(key))}


def _update(key: HitsKey, address: BucketAddress, condition: str, change: str, values: Wire) -> dict[str, Any]:
    return {
        "TableName": address.table,
        "Key": _place(key, address),
        "UpdateExpression": change,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names_in(condition, change),
        "ExpressionAttributeValues": values,
        **ON_FAILURE,
        **_AS_LEFT,
    }


def _read(key: HitsKey, address: BucketAddress) -> dict[str, Any]:
    # A Query of one item costs the same as a GetItem, and needs only the permission for Query.
    place = _place(key, address)
    return _range(address, place["pk"]["S"], place["sk"]["S"], place["sk"]["S"], consistent=True)


def _range(address: BucketAddress, partition: str, first: str, last: str, *, consistent: bool) -> dict[str, Any]:
    return {
        "TableName": address.table,
        "KeyConditionExpression": _READ,
        "ExpressionAttributeNames": names_in(_READ),
        "ExpressionAttributeValues": {":pk": text(partition), ":first": text(first), ":last": text(last)},
        "ConsistentRead": consistent,
    }


def _list(request: ListHits, address: BucketAddress) -> dict[str, Any]:
    partition = shard_name(address.bucket, request.shard)
    call = _range(address, partition, HITS_PREFIX, _AFTER_HITS, consistent=False)
    call["Limit"] = request.limit
    if request.after is not None:
        call["ExclusiveStartKey"] = {"pk": text(partition), "sk": text(request.after)}
    return call


def _key_of(item: Wire) -> HitsKey | None:
    match = _KEY.match(string(item, "sk"))
    if match is None or "count" not in item:
        return None
    return HitsKey(key=match[2], length=int(match[1]))


def _hits_in(key: HitsKey, found: Any, address: BucketAddress | None) -> Hits | None:  # noqa: ANN401 - botocore's
    item = as_map(found)
    if not item:
        return None
    try:
        if key.length:
            return SlidingHits(
                number=whole(item, "window"), count=whole(item, "count"), previous=whole(item, "previous")
            )
        return FixedHits(count=whole(item, "count"), ends_at=whole(item, "ends_at"))
    except _MISSHAPEN as problem:
        expected = "hits have the whole numbers count and ends_at, or count, previous and window"
        pk = string(item, "pk")
        wrong = ValueError(str(problem))
        raise StoreRejected(not_ours(hits_key(key), address, wrong, expected, pk=pk)) from problem
