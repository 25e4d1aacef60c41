"""What is not of this library's shape: in an item, or in an answer.

Invariants: an answer need not come from the service, and an item not from this library. What cannot be read is said,
and never guessed.
"""

from __future__ import annotations

from typing import Any

from ddb_lease.dynamodb.address import BucketAddress


def as_map(found: Any) -> dict[str, Any]:  # noqa: ANN401 - as botocore returns it
    """A map in an answer; empty if there is null, or anything else."""
    return found if isinstance(found, dict) else {}


def not_ours(sort: str, address: BucketAddress | None, problem: ValueError, expected: str, *, pk: str = "") -> str:
    """What to say of an item under one of our keys that has another shape; `pk` if it is not the bucket's name."""
    where = "" if address is None else f" (pk {(pk or address.bucket)!r} in table {address.table!r})"
    return (
        f"the item {sort!r}{where} is not of this library's shape ({problem}; {expected}). It belongs to another "
        "program, or was edited, and nothing is written to it: choose another name or another table, or put right what "
        "was edited"
    )
