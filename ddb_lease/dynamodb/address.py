"""Where a request goes: the table, and the name of a bucket or of a rate in it.

Invariants: a value, below everything that makes requests or reads their answers.
"""

from __future__ import annotations

from typing import NamedTuple

from ddb_lease.dynamodb.endpoint import AWS, Endpoint
from ddb_lease.dynamodb.items import Wire


class BucketAddress(NamedTuple):
    """A bucket's table and name, which every request needs; and where that is, for messages."""

    table: str
    bucket: str
    endpoint: Endpoint = AWS

    def key(self, sort: str) -> Wire:
        """An item's primary key."""
        return {"pk": {"S": self.bucket}, "sk": {"S": sort}}
