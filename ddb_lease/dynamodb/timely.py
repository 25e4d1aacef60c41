"""Timely calls: a client's calls, signed again by the service's time where the service refuses their time.

For what is sent outside of an operation: making a table, and `ddb-lease conform`. `_runtime.driver` does the same for
the requests of operations.

Invariants:

- A signature that is refused for its time means that nothing happened: signing and sending again is the rest of one
  sending, and no retry.
- All else is raised and returned as the client does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

from botocore import exceptions as aws

from ddb_lease._state.service_time import Clock, ServiceTime
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.dynamodb.answers import envelope
from ddb_lease.dynamodb.client import Client
from ddb_lease.dynamodb.signing import call, hook, refused_as_untimely


class TimelySender:
    """Calls methods of clients, and remembers what refusals said of the time. Thread-safe.

    Args:
        clock: This machine's clocks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._signing = SigningTime(ServiceTime(clock), clock)

    def send(self, method: Callable[..., Mapping[str, Any]], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call a client's method; if the signature is refused for its time, at once again by the service's.

        Args:
            method: A method of a client that was passed to `signing.hook`.
            arguments: Its arguments.
        """
        refusals = 1
        while True:
            try:
                return call(method, arguments, self._signing)
            except aws.ClientError as error:
                _, date = envelope(error.response)
                if not refused_as_untimely(error) or not self._signing.refused(
                    date, received=self._clock.steady(), refusals=refusals
                ):
                    raise
                refusals += 1

    def around(self, client: Client) -> Client:
        """The same client, all of whose calls go by `send`."""
        hook(client)
        return cast("Client", _TimelyClient(client, self))


class _TimelyClient:
    """A client of boto3, as far as its operations and its description go."""

    def __init__(self, client: Client, sender: TimelySender) -> None:
        self._client = client
        self._sender = sender

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the client has it
        found = getattr(self._client, name)
        if name not in self._client.meta.method_to_api_mapping:
            return found
        return functools.partial(self._call, found)

    def _call(self, method: Callable[..., Mapping[str, Any]], **arguments: object) -> Mapping[str, Any]:
        return self._sender.send(method, arguments)
