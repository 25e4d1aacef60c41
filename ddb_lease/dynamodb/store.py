"""The store: sends one request of one bucket, once, and reads its answer.

Invariants:

- `send` is one attempt: it neither retries nor waits, and no answer of DynamoDB or the network makes it raise.
- A store belongs to one process. After a fork, the child drops the connections it shares with its parent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from botocore import exceptions as aws

from ddb_lease._protocol.messages import Reply, Request
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import envelope, read_failure, read_reply
from ddb_lease.dynamodb.client import Client, ConnectionSettings, timeout_for
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.dynamodb.failures import while_fetching_credentials
from ddb_lease.dynamodb.signing import call


class Store:
    """One bucket in a DynamoDB table. Thread-safe, as boto3 clients are.

    Args:
        table: Its name.
        bucket: The bucket's name.
        connection: How DynamoDB is reached.
        lease_seconds: How long the bucket's leases are, for the client's timeouts.
        signing: By which time its requests are signed.

    Attributes:
        address: The bucket, and its table.
    """

    def __init__(
        self, *, table: str, bucket: str, connection: ConnectionSettings, lease_seconds: float, signing: SigningTime
    ) -> None:
        self.address = BucketAddress(table=table, bucket=bucket, endpoint=connection.endpoint)
        self._connection = connection
        self._lease_seconds = lease_seconds
        self._signing = signing
        self._use(connection.connect(lease_seconds, user=self))
        self._forked = False
        self._no_credentials = False

    @property
    def whereabouts(self) -> tuple[str, str, str]:
        """The table, and the endpoint and the region that it is reached at."""
        meta = self._client.meta
        return self.address.table, str(getattr(meta, "endpoint_url", None)), str(getattr(meta, "region_name", None))

    def send(self, request: Request) -> Reply:
        """Send one request once.

        Returns:
            The answer, and what its envelope says about the service's clock.

        Raises:
            Exception: Only a defect of this library, or an interrupt; no answer of DynamoDB.
        """
        if self._forked:
            self._renew_after_fork()
        if self._no_credentials:
            self._no_credentials = False
            self._use(self._connection.reconnect(self._client, self._lease_seconds, user=self))
        method, arguments = call_for(request, self.address)
        try:
            response = self._call(method, arguments)
        except Exception as error:  # noqa: BLE001 - read_failure raises what it does not know
            # Where there are none now, a metadata service may only be busy.
            self._no_credentials = isinstance(error, aws.NoCredentialsError)
            response = {} if while_fetching_credentials(error) else getattr(error, "response", None) or {}
            genuine, date = envelope(response)  # of another service's answer, nothing follows for DynamoDB's clock
            return Reply(answer=read_failure(error, self.address, request), genuine=genuine, date=date)
        return read_reply(request, response, self.address)

    def fit(self, lease_seconds: float) -> None:
        """Shorten the timeouts, if they are too long for leases of this length; a client of the user's own stays."""
        if self._connection.client is None and timeout_for(lease_seconds) < timeout_for(self._lease_seconds):
            before = self._client
            self._use(self._connection.connect(lease_seconds, user=self))
            self._lease_seconds = lease_seconds
            if before is not self._client:
                self._connection.disconnect(before, user=self)

    def close(self) -> None:
        """Close the connections, unless the client is the user's own or others use it."""
        self._connection.disconnect(self._client, user=self)

    def after_fork_in_child(self) -> None:
        """Share no connection with the parent: the next request replaces the connections first.

        They are not replaced here: a thread of the parent may have held a lock of the client, which nobody releases in
        this process.
        """
        self._forked = True

    def _use(self, client: Client) -> None:
        self._client = client
        # Whoever brings a client of his own wants what he has set up in it. And where a table is named by its ARN, the
        # endpoint is its account's: botocore finds it for each call.
        own = self._connection.client is None and not self.address.table.startswith("arn:")
        # Here, and not with this module: it brings botocore's client, which has been made by now.
        from ddb_lease.dynamodb.wire import wire_for  # noqa: PLC0415

        self._wire = wire_for(client) if own else None

    def _call(self, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._wire is not None:
            return self._wire.call(self._client, method, arguments, self._signing)
        return call(getattr(self._client, method), arguments, self._signing)

    def _renew_after_fork(self) -> None:
        if self._connection.client is None:
            self._use(self._connection.connect(self._lease_seconds, user=self))
        else:
            with contextlib.suppress(Exception):
                self._client.close()  # the user's own: it opens new connections as needed
        self._forked = False
