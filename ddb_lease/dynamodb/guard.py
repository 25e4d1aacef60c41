"""Guards: checks for a transaction of the user's own, which then happens only while a lease is still in the table.

Invariants: the condition is `expressions.GUARD`. The user's own client sends it, in the form that this client takes.
"""

from __future__ import annotations

from typing import Any, Final

from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import GUARD
from ddb_lease.dynamodb.items import Wire, slot_key
from ddb_lease.dynamodb.placeholders import names_in

_TYPED: Final = ("Key", "ExpressionAttributeValues")
"""The parts of a check that have typed values."""


def guard(slot: int, lease_id: str, address: BucketAddress) -> Wire:
    """A ConditionCheck: the slot still carries this lease. In the low-level form of boto3's client."""
    return {
        "TableName": address.table,
        "Key": address.key(slot_key(slot)),
        "ConditionExpression": GUARD,
        "ExpressionAttributeNames": names_in(GUARD),
        "ExpressionAttributeValues": {":lease_id": {"S": lease_id}},
    }


def plainly(check: Wire) -> dict[str, Any]:
    """The same with plain values, as a client of boto3's resource takes them: it types them itself."""
    plain = {part: {name: value["S"] for name, value in check[part].items()} for part in _TYPED}
    return {**check, **plain}
