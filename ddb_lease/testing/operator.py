"""An operator: edits a table by hand, to lose a lease as in production."""

from __future__ import annotations

from typing import Any

from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.errors import ConfigurationError

Wire = dict[str, Any]

_LEASE_SECONDS = 60.0  # for the client's timeouts only


class Operator:
    """Finds and edits the item of a lease. An outage of the environment does not affect its requests."""

    def __init__(self, *, table: str, connection: ConnectionSettings) -> None:
        self._table = table
        self._client: Any = connection.connect(_LEASE_SECONDS)

    def bucket_of(self, lease_id: str) -> str:
        """The bucket of a lease."""
        return str(self._key(lease_id)["pk"]["S"])

    def delete(self, lease_id: str) -> None:
        """Delete the slot's item, as a careless clean-up does."""
        self._client.delete_item(TableName=self._table, Key=self._key(lease_id))

    def revoke(self, lease_id: str) -> None:
        """Ask for the slot back."""
        self._client.update_item(
            TableName=self._table,
            Key=self._key(lease_id),
            UpdateExpression="SET #revoked = :by",
            ConditionExpression="#lease_id = :lease_id",
            ExpressionAttributeNames={"#revoked": "revoked", "#lease_id": "lease_id"},
            ExpressionAttributeValues={":by": {"S": "by a test"}, ":lease_id": {"S": lease_id}},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _key(self, lease_id: str) -> Wire:
        """The key of the item that carries this lease; of several, the first."""
        start: Wire = {}
        while True:
            page = self._client.scan(
                TableName=self._table,
                FilterExpression="#lease_id = :lease_id",
                ExpressionAttributeNames={"#lease_id": "lease_id"},
                ExpressionAttributeValues={":lease_id": {"S": lease_id}},
                ConsistentRead=True,
                **start,
            )
            for item in page["Items"]:
                return {"pk": item["pk"], "sk": item["sk"]}
            if "LastEvaluatedKey" not in page:
                raise ConfigurationError(f"table {self._table!r} has no lease {lease_id}")
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
