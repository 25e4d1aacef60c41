"""The store: sends one request of one bucket, once, and reads its answer.

Laws of this room:

- `send` is one attempt: it neither retries nor waits, and raises nothing that DynamoDB or the network can cause.
- A store belongs to one process. After a fork, the child drops the connections it shares with its parent.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ddb_lease.dynamodb.answers import envelope, read_answer, read_failure
from ddb_lease.dynamodb.client import Reach, timeout_for
from ddb_lease.dynamodb.expressions import Place, call_for
from ddb_lease.messages import Reply, Request


class Store:
    """One bucket in a DynamoDB table. Thread-safe, as boto3 clients are."""

    def __init__(self, *, table: str, bucket: str, reach: Reach, lease_seconds: float) -> None:
        self._place = Place(table=table, bucket=bucket)
        self._reach = reach
        self._timeout = timeout_for(lease_seconds)
        self._client: Any = reach.connect(lease_seconds)

    def send(self, request: Request) -> Reply:
        """Send one request once.

        Returns:
            The answer, and what its envelope says of the service's clock.

        Raises:
            Exception: Only what no answer of DynamoDB's can cause: a defect of ours, or an interrupt.
        """
        method, arguments = call_for(request, self._place)
        try:
            response = getattr(self._client, method)(**arguments)
        except Exception as error:  # noqa: BLE001 - read_failure raises what it does not know
            genuine, date = envelope(getattr(error, "response", None) or {})
            return Reply(answer=read_failure(error, self._place), genuine=genuine, date=date)
        genuine, date = envelope(response)
        return Reply(answer=read_answer(request, response), genuine=genuine, date=date)

    def fit(self, lease_seconds: float) -> None:
        """Make the timeouts fit leases of this length, where they would be too long and the client is ours."""
        if self._reach.client is None and timeout_for(lease_seconds) < self._timeout:
            self._client = self._reach.connect(lease_seconds)
            self._timeout = timeout_for(lease_seconds)

    def close(self) -> None:
        """Close the connections, unless the client is the user's own."""
        if self._reach.client is None:
            self._close()

    def after_fork_in_child(self) -> None:
        """Drop the connections shared with the parent; new ones are opened as needed."""
        self._close()

    def _close(self) -> None:
        # A connection that will not close is no reason to fail: it is dropped either way.
        with contextlib.suppress(Exception):
            self._client.close()
