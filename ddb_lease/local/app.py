"""The engine's behaviour: it runs one request at a time on moto, and adds what moto lacks.

Invariants:

* Each request is atomic. It has been received completely before the lock is taken, and its response is complete
  before the lock is released. Moto alone lets other threads run between its reads and its writes: two clients
  then get the same slot.
* If a client repeats a transaction with the same `ClientRequestToken`, it gets the recorded response; the
  transaction is not executed again.
* What a request grants is in the journal before its response is returned; see `keeper`.
* Only `sweep` deletes items by TTL.
* Every response has a `Date`, in the order of execution, and an `x-amzn-RequestId`.
* A request is refused unless `admission` lets it pass: it must show the engine's access key.
"""

import json
import logging
import secrets
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from email.utils import formatdate

from ddb_lease.local.admission import credential, refusal
from ddb_lease.local.backend import MotoBackend
from ddb_lease.local.clock import Clock, SteadyClock
from ddb_lease.local.errors import EngineError
from ddb_lease.local.folder import Folder
from ddb_lease.local.journal import Journal
from ddb_lease.local.keeper import Keeper
from ddb_lease.local.messages import (
    HEALTH_PATH,
    LEASES_PATH,
    HttpRequest,
    HttpResponse,
    error_response,
    json_response,
)
from ddb_lease.local.tokens import TokenLedger, Verdict
from ddb_lease.local.writes import Write, writes

_OK = 200

_MOTO_LIMIT, _DYNAMODB_LIMIT = 25, 100
"""The most items that each accepts in a TransactGetItems."""

RANDOM_KEY = ""
"""As an access key: one that nobody can guess."""

_logger = logging.getLogger(__name__)


class App:
    """A DynamoDB that turns an `HttpRequest` into an `HttpResponse`. Thread-safe.

    Args:
        clock: Seconds since the epoch, for `Date`, tokens and TTL. The default never steps.
        instance_id: Returned by the health endpoint, so that a client can tell this engine from any other.
        access_key_id: The access key that requests must show; a random one by default. None admits every key, for tests
            that tell their clients apart by it.
        folder: Where the journal is, and that of an earlier engine. None: nobody else will ever find this engine.
        lock: Makes requests atomic. A test passes one to provoke the races, or to reach the backend between requests.
        backend: The tables; new ones by default. The app closes it.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        instance_id: str | None = None,
        access_key_id: str | None = RANDOM_KEY,
        folder: Folder | None = None,
        lock: AbstractContextManager[object] | None = None,
        backend: MotoBackend | None = None,
    ) -> None:
        self.clock: Clock = clock or SteadyClock()
        self.instance_id = instance_id or secrets.token_hex(16)
        self.access_key_id = secrets.token_hex(16) if access_key_id == RANDOM_KEY else access_key_id
        self._lock = lock or threading.Lock()
        self._backend = backend or MotoBackend()
        self._keeper = Keeper(self._backend, Journal(folder, clock=self.clock), clock=self.clock)
        self._tokens: TokenLedger[HttpResponse] = TokenLedger()

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Return the response to one request. No request makes it raise."""
        refused = refusal(request, access_key_id=self.access_key_id)
        if refused is not None:
            return self._stamped(refused)
        if request.path == HEALTH_PATH:
            # Without the lock: an engine that is busy with a long transaction is still alive.
            return self._stamped(json_response(_OK, {"instance_id": self.instance_id}))
        with self._lock:
            # Stamped under the lock, so that the order of the dates is the order of the writes.
            return self._stamped(self._report(request) if request.path == LEASES_PATH else self._execute(request))

    def binds(self) -> bool:
        """Whether somebody relies on what the tables hold: a lease runs, or permits of a rate are not paid for yet."""
        with self._lock:
            return self._keeper.binds()

    def sweep(self, now_s: float | None = None) -> int:
        """Delete the items whose TTL has passed, as DynamoDB does in the background.

        Args:
            now_s: Seconds since the epoch; by default the engine's own clock.

        Returns:
            The number of items deleted.
        """
        with self._lock:
            return self._backend.delete_expired(self.clock() if now_s is None else now_s)

    def close(self) -> None:
        """Drop all tables. The app must not be used afterwards."""
        with self._lock:
            self._backend.close()

    def _execute(self, request: HttpRequest) -> HttpResponse:
        if request.operation == "BatchExecuteStatement":
            # Moto ignores the parts of a condition that it does not understand, so we refuse the whole request.
            return error_response(400, "ValidationException", "this engine does not support BatchExecuteStatement")
        if request.operation == "DescribeGlobalTable":
            return error_response(400, "GlobalTableNotFoundException", "Global table not found: this engine has none")
        parameters = _parsed(request.body)
        if request.operation == "TransactGetItems":
            return self._transact_get(request, parameters)
        written = writes(request.operation, parameters)
        if request.operation == "TransactWriteItems":
            token = parameters.get("ClientRequestToken")
            if isinstance(token, str) and token:
                return self._execute_once(request, token, parameters, written)
        return self._call(request, written)

    def _transact_get(self, request: HttpRequest, parameters: Mapping[str, object]) -> HttpResponse:
        """Split a long TransactGetItems: moto accepts 25 items, DynamoDB 100. The lock keeps the calls atomic."""
        items = parameters.get("TransactItems")
        if not isinstance(items, list) or len(items) <= _MOTO_LIMIT:
            return self._call(request)
        if len(items) > _DYNAMODB_LIMIT:
            message = f"1 validation error detected: 'transactItems' may have {_DYNAMODB_LIMIT} members"
            return error_response(400, "ValidationException", message)
        all_items: list[object] = []
        for first in range(0, len(items), _MOTO_LIMIT):
            part = {**parameters, "TransactItems": items[first : first + _MOTO_LIMIT]}
            response = self._call(replace(request, body=json.dumps(part).encode()))
            part_items = _parsed(response.body).get("Responses")
            if response.status != _OK or not isinstance(part_items, list):
                return response
            all_items += part_items
        return json_response(_OK, {"Responses": all_items})

    def _report(self, request: HttpRequest) -> HttpResponse:
        try:
            if request.method == "POST":
                self._keeper.forget_awaited()
        except (EngineError, OSError) as error:
            return error_response(500, "InternalServerError", str(error))
        return json_response(_OK, self._keeper.report())

    def _execute_once(
        self, request: HttpRequest, token: str, parameters: Mapping[str, object], written: Sequence[Write]
    ) -> HttpResponse:
        scoped_token = f"{_region(request)}/{token}"
        match self._tokens.look_up(scoped_token, parameters, now_s=self.clock()):
            case HttpResponse() as recorded:
                return recorded
            case Verdict.MISMATCH:
                return error_response(
                    400,
                    "IdempotentParameterMismatchException",
                    "The request uses the same client token as a previous, but non-identical request.",
                )
            case Verdict.NEW:
                response = self._call(request, written)
                if response.status == _OK:
                    self._tokens.record(scoped_token, parameters, response, now_s=self.clock())
                return response

    def _call(self, request: HttpRequest, written: Sequence[Write] = ()) -> HttpResponse:
        region = _region(request)
        try:
            refused = self._keeper.refusal(region, written) if written else None
            if refused is not None:
                return refused
            response = _corrected(request, self._backend.call(request, region, written))
            if written and response.status == _OK:
                self._keeper.note(region, written)
            return response
        except Exception:
            # Moto failed, or the journal: the client gets DynamoDB's error for that, the log gets the traceback.
            _logger.exception("%s failed", request.operation or request.path)
            return error_response(500, "InternalServerError", "the engine failed: see its log")

    def _stamped(self, response: HttpResponse) -> HttpResponse:
        stamps = (
            ("Date", formatdate(self.clock(), usegmt=True)),
            ("x-amzn-RequestId", secrets.token_hex(26).upper()),
        )
        return HttpResponse(status=response.status, headers=response.headers + stamps, body=response.body)


def _corrected(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    is_about_ttl = request.operation in {"UpdateTimeToLive", "DescribeTimeToLive"}
    if is_about_ttl and response.status != _OK and b'"ResourceNotFound"' in response.body:
        # Moto shortens the name of this error in these two operations, and no client knows the short name.
        return error_response(400, "ResourceNotFoundException", "Requested resource not found")
    return response


def _parsed(body: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}  # moto reports what is wrong with it
    return document if isinstance(document, dict) else {}


def _region(request: HttpRequest) -> str:
    """The region that a request is signed for: tables, and therefore tokens, belong to a region."""
    return "".join(credential(request)[2:3])
