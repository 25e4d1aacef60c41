"""Expressions: each request of the protocol as one API call.

Invariants:

- The conditions of slots and the counter (docs/protocol.md) are here and nowhere else; those of tickets, hits and rates
  are in `tickets`, `hits` and `rates/expressions`. Each half has a name of its own.
- All attribute names are placeholders (``ttl``, ``owner`` and ``data`` are reserved words), all values are values:
  what a user gives never becomes part of an expression. Only PartiQL has no placeholders for names: there they are
  quoted, the table's name too.
- No write changes an item of another shape: each compares attributes that only ours have, or requires that there is no
  item. The types of those that no comparison requires are named.
- Every conditional write asks for the item that made it fail (ALL_OLD): a lost race updates what we know, and we
  recognise our own earlier write by its lease id. A statement of a batch does not ask: the service never shows the item
  there, whatever its model says.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from ddb_lease._protocol.hits import AddHits, BeginHits, DropHits, ListHits, ReadHits, SlideHits
from ddb_lease._protocol.listing import ListPage
from ddb_lease._protocol.messages import (
    Adopt,
    BringBack,
    Claim,
    Close,
    Create,
    Grow,
    Look,
    Mint,
    Recount,
    Release,
    Renew,
    RenewEach,
    Request,
    Retire,
    Revoke,
    SetOrder,
    Snapshot,
    Take,
)
from ddb_lease._protocol.records import MAX_TOKENS, SCHEMA, Claimant
from ddb_lease._protocol.tickets import DropTicket, LookAtQueue, PutTicket, RefreshTicket
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.hits import hits_call_for
from ddb_lease.dynamodb.items import (
    COUNTER_KEY,
    Wire,
    encode_map,
    slot_key,
)
from ddb_lease.dynamodb.listing import list_page
from ddb_lease.dynamodb.placeholders import DOES_NOT_EXIST, EXISTS, ON_FAILURE, all_of, names_in
from ddb_lease.dynamodb.rates.expressions import rate_call_for
from ddb_lease.dynamodb.tickets import ticket_call_for

_in_circulation: Final = "attribute_not_exists(#retired)"
_is_retired: Final = "attribute_exists(#retired)"
_fence_rises: Final = "#fence < :fence"
_free_or_expired: Final = "(attribute_not_exists(#lease_id) OR #expires_at < :expired_before)"
_still_mine: Final = "#lease_id = :lease_id"
_not_revoked: Final = "attribute_not_exists(#revoked)"
_never_shorter: Final = "#expires_at <= :expires_at"
_number_allowed: Final = "#max_tokens > :slot"
_room_left: Final = "#minted < #max_tokens"
_drifted: Final = "#minted >= #max_tokens"
_room_for_all: Final = "#minted <= :room"
_drifted_for_all: Final = "#minted > :room"
_all_numbers_allowed: Final = "#max_tokens >= :seen_max"
_max_as_seen: Final = "#max_tokens = :seen_max"
_as_seen: Final = "#rev = :rev"
_our_slot: Final = "attribute_type(#fence, :number)"  # false if there is no item: EXISTS beside it is defence in depth

CLAIM: Final = all_of(EXISTS, _in_circulation, _fence_rises, _free_or_expired)
RENEW: Final = all_of(_still_mine, _never_shorter)
ADOPT: Final = all_of(_still_mine, _fence_rises, _not_revoked)  # "mine" is the lease that was handed over
RELEASE: Final = _still_mine
GUARD: Final = _still_mine  # of a user's own transaction
CLOSE: Final = _still_mine
REVOKE: Final = _still_mine  # "mine" is the lease to revoke
MINT_SLOT: Final = DOES_NOT_EXIST
BRING_BACK_SLOT: Final = all_of(EXISTS, _is_retired, _our_slot)
RETIRE_SLOT: Final = all_of(EXISTS, _in_circulation, _our_slot)
MINT_COUNTER: Final = all_of(_number_allowed, _room_left)
RE_MINT_COUNTER: Final = all_of(_number_allowed, _drifted)
TAKE_COUNTER: Final = all_of(_all_numbers_allowed, _room_for_all)
RE_MINT_TAKE_COUNTER: Final = all_of(_max_as_seen, _drifted_for_all)
RETIRE_COUNTER: Final = _as_seen
GROW: Final = _as_seen
RECOUNT: Final = _as_seen
SET_ORDER: Final = _as_seen
CREATE_COUNTER: Final = DOES_NOT_EXIST

_SET_RENEW: Final = "SET #expires_at = :expires_at, #ttl = :ttl"
RENEW_STATEMENT: Final = (
    'UPDATE {table} SET "expires_at" = ?, "ttl" = ? '
    'WHERE "pk" = ? AND "sk" = ? AND "lease_id" = ? AND "expires_at" <= ? '  # key; then the halves of RENEW
    "RETURNING ALL NEW *"
)
_SET_HAND_OVER: Final = f"{_SET_RENEW}, #owner = :owner"
_SET_ADOPT: Final = (
    "SET #lease_id = :adopter, #owner = :owner, #acquired_at = :acquired_at, #expires_at = :expires_at, "
    "#fence = :fence, #ttl = :ttl"  # #retired stays
)
_DROP_DATA: Final = " REMOVE #data"  # the giver's
_SET_DATA: Final = ", #data = :data"
_DROP_LEASE: Final = "REMOVE #lease_id, #owner, #acquired_at, #expires_at, #data, #revoked"  # #fence stays
_SET_RELEASE: Final = f"SET #ttl = :ttl {_DROP_LEASE}"
_SET_CLOSE: Final = (  # owner and acquired_at stay, for people; #fence for the next claim
    "SET #lease_id = :closed_id, #expires_at = :expires_at, #ttl = :ttl REMOVE #data, #revoked"
)
_SET_REVOKE: Final = "SET #revoked = :by"
_SET_MINT: Final = "SET #minted = #minted + :one, #rev = #rev + :one"
_SET_RE_MINT: Final = "SET #minted = #max_tokens, #rev = #rev + :one"
_SET_TAKE: Final = "SET #minted = #minted + :many, #rev = #rev + :one"
# Retiring and bringing back keep the TTL: a late copy must not set it before a fence that has risen since. Only an edit
# by hand leaves a slot without a TTL.
_SET_BRING_BACK: Final = "SET #ttl = if_not_exists(#ttl, :ttl) REMOVE #retired"
_SET_RETIRE_SLOT: Final = "SET #retired = :yes, #ttl = if_not_exists(#ttl, :ttl)"
_SET_RETIRE_COUNTER: Final = "SET #max_tokens = :max_tokens, #minted = :minted, #rev = #rev + :one"

_SET_GROW: Final = "SET #max_tokens = :max_tokens, #rev = #rev + :one"
_SET_RECOUNT: Final = "SET #minted = :minted, #rev = #rev + :one"
_SET_ORDER: Final = "SET #order = :order, #rev = #rev + :one"

DECIDING: Final = ("sk", "fence", "lease_id", "expires_at", "retired")
"""The attributes of a slot that decisions need; the others are for people."""

_LOOK_SLOTS: Final = ", ".join(f"#{name}" for name in DECIDING)
_LOOK_NAMING: Final = "#owner, #acquired_at"
"""So that whoever gives up can name the holders, at no request and no unit more: a read costs by the items, not by what
is sent of them. What holders attached is not sent."""
_LOOK: Final = f"{_LOOK_SLOTS}, {_LOOK_NAMING}, #max_tokens, #minted, #rev, #lease_ms, #schema, #order"
_LOOK_KEY: Final = "#pk = :pk AND #sk BETWEEN :first AND :last"

_CLAIM_NAMES: Final = names_in(CLAIM)
_RENEW_NAMES: Final = names_in(RENEW, _SET_RENEW)
_HAND_OVER_NAMES: Final = names_in(RENEW, _SET_HAND_OVER)
_RELEASE_NAMES: Final = names_in(RELEASE, _SET_RELEASE)
_DROP_NAMES: Final = names_in(RELEASE, _DROP_LEASE)
_LOOK_NAMES: Final = names_in(_LOOK_KEY, _LOOK)
_SNAPSHOT_SLOT: Final = f"#pk, {_LOOK_SLOTS}"  # with the key, so that an item without any of the others still shows
_SNAPSHOT_NAMES: Final = names_in(_SNAPSHOT_SLOT)
_LOOK_WHOLE_NAMES: Final = names_in(_LOOK_KEY)

_ONE: Final = {"N": "1"}
_NUMBER: Final = {":number": {"S": "N"}}


Call: TypeAlias = tuple[str, dict[str, Any]]
"""A client method's name, and its keyword arguments."""


def call_for(request: Request, address: BucketAddress) -> Call:  # noqa: C901, PLR0911, PLR0912 - one for each request
    """The API call for a request."""
    match request:
        case Look():
            return "query", _look(request, address)
        case Claim():
            return "put_item", _claim(request, address)
        case Renew():
            return "update_item", _renew(request, address)
        case RenewEach():
            return "batch_execute_statement", _renew_each(request, address)
        case Adopt(slots=(slot,)):
            return "update_item", _adopt(request, slot, address)
        case Adopt():
            slots = [{"Update": _adopt(request, slot, address)} for slot in request.slots]
            return "transact_write_items", _transaction(request.token, slots, None)
        case Release():
            return "update_item", _release(request, address)
        case Close():
            return "update_item", _close(request, address)
        case Revoke():
            return "update_item", _revoke(request, address)
        case Mint():
            return "transact_write_items", _mint(request, address)
        case Take():
            return "transact_write_items", _take(request, address)
        case BringBack():
            return "transact_write_items", _bring_back(request, address)
        case Retire():
            return "transact_write_items", _retire(request, address)
        case Create():
            return "transact_write_items", _create(request, address)
        case Snapshot():
            return "transact_get_items", _snapshot(request, address)
        case Grow():
            values = {":rev": {"N": str(request.rev)}, ":max_tokens": {"N": str(request.max_tokens)}, ":one": _ONE}
            return "update_item", _change(address, COUNTER_KEY, GROW, _SET_GROW, values)
        case Recount():
            values = {":rev": {"N": str(request.rev)}, ":minted": {"N": str(request.minted)}, ":one": _ONE}
            return "update_item", _change(address, COUNTER_KEY, RECOUNT, _SET_RECOUNT, values)
        case SetOrder():
            values = {":rev": {"N": str(request.rev)}, ":order": {"S": request.order}, ":one": _ONE}
            return "update_item", _change(address, COUNTER_KEY, SET_ORDER, _SET_ORDER, values)
        case PutTicket() | RefreshTicket() | DropTicket() | LookAtQueue():
            return ticket_call_for(request, address)
        case AddHits() | BeginHits() | SlideHits() | ReadHits() | DropHits() | ListHits():
            return hits_call_for(request, address)
        case ListPage():
            return "scan", list_page(request, address)
        case _:  # the requests of a rate: the type checker sees that no other is left
            return rate_call_for(request, address)


def _leased(address: BucketAddress, slot: int, fence: int, lease: Claimant, ttl: int) -> Wire:
    item = address.key(slot_key(slot)) | {
        "fence": {"N": str(fence)},
        "ttl": {"N": str(ttl)},
        "lease_id": {"S": lease.lease_id},
        "owner": {"S": lease.owner},
        "acquired_at": {"N": str(lease.acquired_at)},
        "expires_at": {"N": str(lease.expires_at)},
    }
    if lease.data:
        item["data"] = {"M": encode_map(lease.data)}
    return item


def _look(request: Look, address: BucketAddress) -> dict[str, Any]:
    with_counter = request.counter and request.start == 0
    call: dict[str, Any] = {
        "TableName": address.table,
        "KeyConditionExpression": _LOOK_KEY,
        "ExpressionAttributeNames": _LOOK_WHOLE_NAMES if request.whole else _LOOK_NAMES,
        "ExpressionAttributeValues": {
            ":pk": {"S": address.bucket},
            # The counter sorts before all slots; foreign items before and after them are not read.
            ":first": {"S": COUNTER_KEY if with_counter else slot_key(request.start)},
            ":last": {"S": slot_key(MAX_TOKENS - 1)},
        },
        "ConsistentRead": request.consistent,
        "Limit": request.limit,
    }
    if not request.whole:
        call["ProjectionExpression"] = _LOOK
    if with_counter:
        call["Limit"] += 1
    return call


def _claim(request: Claim, address: BucketAddress) -> dict[str, Any]:
    return {
        "TableName": address.table,
        "Item": _leased(address, request.slot, request.fence, request.lease, request.ttl),
        "ConditionExpression": CLAIM,
        "ExpressionAttributeNames": _CLAIM_NAMES,
        "ExpressionAttributeValues": {
            ":fence": {"N": str(request.fence)},
            ":expired_before": {"N": str(request.expired_before)},
        },
        **ON_FAILURE,
    }


def _renew(request: Renew, address: BucketAddress) -> dict[str, Any]:
    values = {
        ":lease_id": {"S": request.lease_id},
        ":expires_at": {"N": str(request.expires_at)},
        ":ttl": {"N": str(request.ttl)},
    }
    change, names = _SET_RENEW, _RENEW_NAMES
    if request.owner is not None:
        values[":owner"] = {"S": request.owner}
        change, names = _SET_HAND_OVER, _HAND_OVER_NAMES
    return {
        "TableName": address.table,
        "Key": address.key(slot_key(request.slot)),
        "UpdateExpression": change,
        "ConditionExpression": RENEW,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        # ALL_NEW costs nothing more, and shows whether the lease was revoked.
        "ReturnValues": "ALL_NEW",
        **ON_FAILURE,
    }


def _renew_each(request: RenewEach, address: BucketAddress) -> dict[str, Any]:
    quoted = address.table.replace('"', '""')
    statement = RENEW_STATEMENT.format(table=f'"{quoted}"')
    bucket = {"S": address.bucket}
    return {
        "Statements": [
            {
                "Statement": statement,
                "Parameters": [
                    {"N": str(renew.expires_at)},
                    {"N": str(renew.ttl)},
                    bucket,
                    {"S": slot_key(renew.slot)},
                    {"S": renew.lease_id},
                    {"N": str(renew.expires_at)},
                ],
            }
            for renew in request.renewals
        ]
    }


def _adopt(request: Adopt, slot: int, address: BucketAddress) -> Wire:
    lease = request.lease
    values: Wire = {
        ":lease_id": {"S": request.giver},
        ":adopter": {"S": lease.lease_id},
        ":owner": {"S": lease.owner},
        ":acquired_at": {"N": str(lease.acquired_at)},
        ":expires_at": {"N": str(lease.expires_at)},
        ":fence": {"N": str(request.fence)},
        ":ttl": {"N": str(request.ttl)},
    }
    change = _SET_ADOPT + _DROP_DATA
    if lease.data:
        values[":data"] = {"M": encode_map(lease.data)}
        change = _SET_ADOPT + _SET_DATA
    return _change(address, slot_key(slot), ADOPT, change, values)


def _release(request: Release, address: BucketAddress) -> dict[str, Any]:
    values = {":lease_id": {"S": request.lease_id}}
    change, names = _DROP_LEASE, _DROP_NAMES
    if request.ttl is not None:
        values[":ttl"] = {"N": str(request.ttl)}
        change, names = _SET_RELEASE, _RELEASE_NAMES
    return {
        "TableName": address.table,
        "Key": address.key(slot_key(request.slot)),
        "UpdateExpression": change,
        "ConditionExpression": RELEASE,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        **ON_FAILURE,
    }


def _close(request: Close, address: BucketAddress) -> dict[str, Any]:
    values = {
        ":lease_id": {"S": request.lease_id},
        ":closed_id": {"S": request.closed_id},
        ":expires_at": {"N": str(request.expires_at)},
        ":ttl": {"N": str(request.ttl)},
    }
    return _change(address, slot_key(request.slot), CLOSE, _SET_CLOSE, values)


def _revoke(request: Revoke, address: BucketAddress) -> dict[str, Any]:
    values = {":lease_id": {"S": request.lease_id}, ":by": {"S": request.by}}
    return _change(address, slot_key(request.slot), REVOKE, _SET_REVOKE, values)


def _change(address: BucketAddress, sort: str, condition: str, change: str, values: Wire) -> Wire:
    """An update, alone or in a transaction. Frequent requests compute their names at import instead."""
    return {
        "TableName": address.table,
        "Key": address.key(sort),
        "UpdateExpression": change,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names_in(condition, change),
        "ExpressionAttributeValues": values,
        **ON_FAILURE,
    }


def _update(address: BucketAddress, sort: str, condition: str, change: str, values: Wire) -> Wire:
    return {"Update": _change(address, sort, condition, change, values)}


def _put(address: BucketAddress, item: Wire, condition: str, values: Wire | None = None) -> Wire:
    put = {
        "TableName": address.table,
        "Item": item,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names_in(condition),
        **ON_FAILURE,
    }
    if values is not None:
        put["ExpressionAttributeValues"] = values
    return {"Put": put}


def _transaction(token: str, slots: list[Wire], counter: Wire | None) -> dict[str, Any]:
    # The counter comes last: `answers` finds the slots' reasons first, in order, and the counter's at the end.
    items = slots if counter is None else [*slots, counter]
    return {"TransactItems": items, "ClientRequestToken": token}


def _count(address: BucketAddress, slot: int, *, re_mint: bool) -> Wire:
    if re_mint:
        condition, change = RE_MINT_COUNTER, _SET_RE_MINT
    else:
        condition, change = MINT_COUNTER, _SET_MINT
    return _update(address, COUNTER_KEY, condition, change, {":slot": {"N": str(slot)}, ":one": _ONE})


def _mint(request: Mint, address: BucketAddress) -> dict[str, Any]:
    slot = _put(address, _leased(address, request.slot, request.fence, request.lease, request.ttl), MINT_SLOT)
    return _transaction(request.token, [slot], _count(address, request.slot, re_mint=request.re_mint))


def _take(request: Take, address: BucketAddress) -> dict[str, Any]:
    values = {":fence": {"N": str(request.fence)}, ":expired_before": {"N": str(request.expired_before)}}
    items = {n: _leased(address, n, request.fence, request.lease, request.ttl) for n in request.slots}
    slots = [_put(address, items[n], CLAIM, values) for n in request.claims]
    slots += [_put(address, items[n], MINT_SLOT) for n in request.mints]
    if not request.mints:
        return _transaction(request.token, slots, None)  # slots in circulation are counted already
    many = len(request.mints)
    counted = {":seen_max": {"N": str(request.seen_max)}, ":room": {"N": str(request.seen_max - many)}, ":one": _ONE}
    if request.re_mint:
        counter = _update(address, COUNTER_KEY, RE_MINT_TAKE_COUNTER, _SET_RE_MINT, counted)
    else:
        counter = _update(address, COUNTER_KEY, TAKE_COUNTER, _SET_TAKE, counted | {":many": {"N": str(many)}})
    return _transaction(request.token, slots, counter)


def _bring_back(request: BringBack, address: BucketAddress) -> dict[str, Any]:
    values = {":ttl": {"N": str(request.ttl)}, **_NUMBER}
    slot = _update(address, slot_key(request.slot), BRING_BACK_SLOT, _SET_BRING_BACK, values)
    return _transaction(request.token, [slot], _count(address, request.slot, re_mint=request.re_mint))


def _retire(request: Retire, address: BucketAddress) -> dict[str, Any]:
    values = {":ttl": {"N": str(request.ttl)}, ":yes": {"BOOL": True}, **_NUMBER}
    slots = [_update(address, slot_key(n), RETIRE_SLOT, _SET_RETIRE_SLOT, values) for n in request.slots]
    counter = {
        ":rev": {"N": str(request.rev)},
        ":max_tokens": {"N": str(request.max_tokens)},
        ":minted": {"N": str(request.minted)},
        ":one": _ONE,
    }
    return _transaction(
        request.token, slots, _update(address, COUNTER_KEY, RETIRE_COUNTER, _SET_RETIRE_COUNTER, counter)
    )


def _snapshot(request: Snapshot, address: BucketAddress) -> dict[str, Any]:
    slots = [
        {
            "TableName": address.table,
            "Key": address.key(slot_key(n)),
            "ProjectionExpression": _SNAPSHOT_SLOT,
            "ExpressionAttributeNames": _SNAPSHOT_NAMES,
        }
        for n in request.slots
    ]
    counter = [{"TableName": address.table, "Key": address.key(COUNTER_KEY)}] if request.counter else []
    return {"TransactItems": [{"Get": get} for get in [*slots, *counter]]}  # the counter last, as in a transaction


def _create(request: Create, address: BucketAddress) -> dict[str, Any]:
    free = {"fence": {"N": str(request.fence)}, "ttl": {"N": str(request.ttl)}}
    slots = [_put(address, address.key(slot_key(n)) | free, MINT_SLOT) for n in range(request.slots)]
    counter = address.key(COUNTER_KEY) | {
        "max_tokens": {"N": str(request.settings.max_tokens)},
        "minted": {"N": str(request.minted)},
        "rev": {"N": str(request.rev)},
        "lease_ms": {"N": str(request.settings.lease_ms)},
        "schema": {"N": str(SCHEMA)},
    }
    if request.settings.order == "fifo":
        counter["order"] = {"S": "fifo"}
    return _transaction(request.token, slots, _put(address, counter, CREATE_COUNTER))
