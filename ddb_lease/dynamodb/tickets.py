"""Tickets of an ordered bucket's waiters: their items, their requests as API calls, and the answers.

Invariants:

- A ticket's key says its place, so that a Query reads the queue in order. Its attributes sort nothing.
- As in `expressions`: all names are placeholders, all values are values, and nothing is written to an item of another
  shape. An item with a ticket's key that is none is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ddb_lease._protocol.records import PER_TRANSACTION
from ddb_lease._protocol.tickets import (
    HIGHEST_PRIORITY,
    DropTicket,
    LookAtQueue,
    PutTicket,
    QueueSeen,
    RefreshTicket,
    Ticket,
    TicketRequest,
)
from ddb_lease.dynamodb.foreign import as_map
from ddb_lease.dynamodb.items import Wire, number, string, text, whole
from ddb_lease.dynamodb.placeholders import DOES_NOT_EXIST, ON_FAILURE, names_in

if TYPE_CHECKING:
    from ddb_lease.dynamodb.address import BucketAddress

Call: TypeAlias = tuple[str, dict[str, Any]]

TICKET_PREFIX: Final = "wait#"
_AFTER: Final = "~"
"""Sorts after whatever a ticket's key has behind its prefix."""
_BEHIND: Final = "!"
"""What a key sorts after, with this at its end, is that key; no ticket's key lies between the two."""

_KEY: Final = re.compile(r"wait#(\d)#(\d{13})#([0-9a-f]{16})\Z", re.ASCII)

_never_shorter: Final = "#expires_at <= :expires_at"
_not_refreshed_since: Final = "#expires_at <= :expires_at"

PUT_TICKET: Final = DOES_NOT_EXIST
REFRESH_TICKET: Final = _never_shorter  # false if there is no item, or one without such a number
DROP_TICKET: Final = _not_refreshed_since
_SET_REFRESH: Final = "SET #expires_at = :expires_at, #ttl = :ttl"
_LOOK_KEY: Final = "#pk = :pk AND #sk BETWEEN :first AND :last"
_LOOK: Final = "#sk, #owner, #count, #expires_at"

_PUT_NAMES: Final = names_in(PUT_TICKET)
_REFRESH_NAMES: Final = names_in(REFRESH_TICKET, _SET_REFRESH)
_DROP_NAMES: Final = names_in(DROP_TICKET)
_LOOK_NAMES: Final = names_in(_LOOK_KEY, _LOOK)


def ticket_key(ticket: Ticket) -> str:
    """The sort key of a ticket: keys sort by place."""
    return f"{TICKET_PREFIX}{HIGHEST_PRIORITY - ticket.priority}#{ticket.arrival:013d}#{ticket.name}"


def ticket_call_for(request: TicketRequest, address: BucketAddress) -> Call:
    """The API call for a request about tickets."""
    match request:
        case PutTicket():
            return "put_item", _put(request, address)
        case RefreshTicket():
            return "update_item", {
                "TableName": address.table,
                "Key": address.key(ticket_key(request.ticket)),
                "UpdateExpression": _SET_REFRESH,
                "ConditionExpression": REFRESH_TICKET,
                "ExpressionAttributeNames": _REFRESH_NAMES,
                "ExpressionAttributeValues": {
                    ":expires_at": number(request.ticket.expires_at),
                    ":ttl": number(request.ttl),
                },
                **ON_FAILURE,
            }
        case DropTicket():
            return "delete_item", {
                "TableName": address.table,
                "Key": address.key(ticket_key(request.ticket)),
                "ConditionExpression": DROP_TICKET,
                "ExpressionAttributeNames": _DROP_NAMES,
                "ExpressionAttributeValues": {":expires_at": number(request.ticket.expires_at)},
                **ON_FAILURE,
            }
        case LookAtQueue():
            return "query", _look(request, address)


def read_queue(response: Mapping[str, Any]) -> QueueSeen | None:
    """The tickets in an answer; None if it has no list of items."""
    items = response.get("Items")
    if not isinstance(items, list):
        return None
    found = [ticket for ticket in map(_read, map(as_map, items)) if ticket is not None]
    tickets = tuple(sorted(found, key=lambda ticket: ticket.place))
    last = as_map(response.get("LastEvaluatedKey"))
    return QueueSeen(tickets=tickets, more=bool(last), end=string(last, "sk") or None)


def _read(item: Wire) -> Ticket | None:
    match = _KEY.match(string(item, "sk"))
    if match is None:
        return None
    try:
        count, expires_at = whole(item, "count"), whole(item, "expires_at")
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not 1 <= count <= PER_TRANSACTION:
        return None
    return Ticket(
        priority=HIGHEST_PRIORITY - int(match[1]),
        arrival=int(match[2]),
        name=match[3],
        owner=string(item, "owner"),
        count=count,
        expires_at=expires_at,
    )


def _put(request: PutTicket, address: BucketAddress) -> dict[str, Any]:
    ticket = request.ticket
    attributes = {
        "owner": text(ticket.owner),
        "count": number(ticket.count),
        "expires_at": number(ticket.expires_at),
        "ttl": number(request.ttl),
    }
    return {
        "TableName": address.table,
        "Item": address.key(ticket_key(ticket)) | attributes,
        "ConditionExpression": PUT_TICKET,
        "ExpressionAttributeNames": _PUT_NAMES,
        **ON_FAILURE,
    }


def _look(request: LookAtQueue, address: BucketAddress) -> dict[str, Any]:
    prefix = TICKET_PREFIX
    if request.last_of is not None:
        prefix = f"{TICKET_PREFIX}{HIGHEST_PRIORITY - request.last_of}#"
    call = {
        "TableName": address.table,
        "KeyConditionExpression": _LOOK_KEY,
        "ProjectionExpression": _LOOK,
        "ExpressionAttributeNames": _LOOK_NAMES,
        "ExpressionAttributeValues": {
            ":pk": {"S": address.bucket},
            ":first": {"S": prefix if request.after is None else request.after + _BEHIND},
            ":last": {"S": f"{prefix}{_AFTER}"},
        },
        "ConsistentRead": request.consistent,
        "Limit": request.limit,
    }
    if request.last_of is not None:
        call["ScanIndexForward"] = False
    return call
