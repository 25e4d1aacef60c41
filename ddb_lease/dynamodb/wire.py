"""The wire: calls of a boto3 client's methods, without the work that is the same in each.

botocore spends more processor time on a call than everything else together. Here, the first call of each operation is
botocore's own, and leaves a template. Those that follow fill it in, sign it, send it through the connections of
botocore's HTTP session, and read the answer.

Invariants:

- It returns and raises what the client's method does, so that nothing above it knows which way a call took.
- It steps aside for botocore's whole path, call by call, wherever something hooks into that, and wherever it is not
  sure to do the same. A client of the user's own always takes the whole path.
- One call is one attempt.
- A client belongs to one process: so do its templates.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.awsrequest import AWSPreparedRequest
from botocore.client import BaseClient

from ddb_lease._state.log import queued as _log
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.dynamodb.connection import POOL_CLASSES
from ddb_lease.dynamodb.hooks import Hooks
from ddb_lease.dynamodb.internals import credentials_at_hand, credentials_of, http_session_of, use_pools
from ddb_lease.dynamodb.json_protocol import answer_of, body_of
from ddb_lease.dynamodb.pool import Pool
from ddb_lease.dynamodb.signing import call
from ddb_lease.dynamodb.template import Template, template_of

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient as Client
else:
    Client = Any

VARIABLE: Final = "DDB_LEASE_WIRE"
"""The environment variable that chooses: ``boto3`` sends every call by botocore's whole path."""

_LEFT_TO_BOTOCORE: Final = ("BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER",)
"""Variables that change how botocore's HTTP session sends."""

_WIRE: Final = "_ddb_lease_wire"
_MOST_TOLD: Final = 8

_TRACE_ID: Final = "_X_AMZN_TRACE_ID"


class Wire:
    """The calls of one client.

    Args:
        client: The client.
    """

    def __init__(self, client: BaseClient) -> None:
        self._hooks = Hooks(client)
        use_pools(http_session_of(client), POOL_CLASSES)
        self._known: dict[str, tuple[Template, Pool]] = {}
        self._told: set[str] = set()

    def call(
        self, client: Client, method: str, arguments: Mapping[str, Any], signing: SigningTime
    ) -> Mapping[str, Any]:
        """Call a method of the client.

        Args:
            client: The client.
            method: The method's name.
            arguments: Its arguments; they are not checked.
            signing: By which time the request is signed.

        Returns:
            What the method returns.

        Raises:
            Exception: What the method raises.
        """
        operation = client.meta.method_to_api_mapping[method]
        prepared = self._prepared(client, method, operation, arguments, signing)
        if prepared is None:
            return call(getattr(client, method), arguments, signing)
        pool, filled, body = prepared
        status, headers, said = pool.post(filled, body)
        model = client.meta.service_model.operation_model(operation)
        return answer_of(model, status, headers, said, error_class=client.exceptions.from_code)

    def _prepared(
        self, client: Client, method: str, operation: str, arguments: Mapping[str, Any], signing: SigningTime
    ) -> tuple[Pool, Mapping[str, str], bytes] | None:
        """The connections, headers and body of a request; None if botocore's whole path is to be taken."""
        known = self._known.get(operation)
        if known is None or self._must_step_aside(client, method, operation):
            return None
        template, pool = known
        credentials = credentials_of(client)
        if credentials is None or not template.fits(credentials):
            self._known.pop(operation, None)
            return None
        body, at = body_of(arguments), signing.at()
        try:
            filled = template.filled_in(body, credentials, at=time.time() if at is None else at)
        except (ValueError, OverflowError, OSError):  # a time out of the calendar: botocore signs by the wall clock
            return None
        return pool, filled, body

    def watch(self, client: BaseClient) -> None:
        """Learn from the calls that a client sends by botocore's whole path."""
        client_of = weakref.ref(client)

        def learn(request: AWSPreparedRequest, event_name: str, **_: object) -> None:
            client, operation = client_of(), event_name.rpartition(".")[2]
            if client is not None and operation not in self._known:
                self._learn(client, operation, request)

        client.meta.events.register_last("before-send.dynamodb", learn)

    def _learn(self, client: BaseClient, operation: str, request: AWSPreparedRequest) -> None:
        try:
            credentials = credentials_at_hand(client)
            if credentials is None or not isinstance(request.body, bytes):
                return
            template = template_of(request.url, request.headers.items(), request.body, credentials)
            if template is None:
                return
            pool = Pool(http_session_of(client), template.url)  # those of one URL have the same connections
        except Exception as error:  # noqa: BLE001 - botocore's inside is not what we know, but its whole path works
            self._tell(f"{type(error).__name__}: {error}")
            return
        self._known[operation] = template, pool

    def _must_step_aside(self, client: Client, method: str, operation: str) -> bool:
        if os.environ.get(_TRACE_ID):  # in a Lambda function: botocore sends its trace's id along
            return True
        try:
            found = self._hooks.found(client, method, operation)
        except AttributeError as error:
            found = f"botocore's inside is not what we know: {error}"
        if found is None:
            return False
        self._tell(found)
        return True

    def _tell(self, why: str) -> None:
        if why not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(why)
            _log.debug("requests take botocore's whole path: %s", why)


def wire_for(client: object) -> Wire | None:
    """The wire of a client, which all that use the client share; None if its calls take botocore's path alone.

    Args:
        client: A client that was made here.
    """
    if os.environ.get(VARIABLE) == "boto3" or not isinstance(client, BaseClient):
        return None
    if any(os.environ.get(name) for name in _LEFT_TO_BOTOCORE):
        return None
    # On the client itself: whatever else keeps one of them keeps both, and both go together. In a race, the last stays.
    wire: Wire | None = vars(client).get(_WIRE)
    if wire is None:
        try:
            wire = Wire(client)
        except AttributeError:
            return None  # botocore's inside is not what we know
        setattr(client, _WIRE, wire)
        wire.watch(client)
    return wire
