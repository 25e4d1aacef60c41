"""The engine's behaviour: one request at a time, with what moto lacks.

Laws:

* Each request is atomic. It has arrived completely before the lock is taken, and its answer is complete
  before the lock is given back. Moto by itself reads, decides and writes with other threads in between:
  it grants one slot twice.
* A transaction repeated under its `ClientRequestToken` is answered, not executed.
* Items are deleted by TTL only in `sweep`, whoever calls it.
* Every answer has a `Date`, in the order of execution, and an `x-amzn-RequestId`.
* No web page is served: a browser may not reach the tables of its user.
"""

import json
import logging
import secrets
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from email.utils import formatdate

from ddb_lease.local.backend import MotoBackend
from ddb_lease.local.clock import Clock, SteadyClock
from ddb_lease.local.messages import HEALTH_PATH, Request, Response, error_response, json_response
from ddb_lease.local.tokens import TokenLedger, Verdict

_OK = 200

_MOTO_TAKES, _DYNAMODB_TAKES = 25, 100
"""Items in a TransactGetItems."""

# A browser sends at least one of these with whatever a page makes it send; no AWS client does.
_BROWSER_HEADERS = ("origin", "sec-fetch-site")

_logger = logging.getLogger(__name__)


class App:
    """A DynamoDB that answers `Request` with `Response`. Thread-safe.

    Args:
        clock: Seconds since the epoch, for `Date`, tokens and TTL. By default one that never steps.
        instance_id: What the health endpoint answers, so that a finder can tell this engine from any other.
        lock: Makes requests atomic. Only a test that wants to see the races passes another one.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        instance_id: str | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.clock: Clock = clock or SteadyClock()
        self.instance_id = instance_id or secrets.token_hex(16)
        self._lock = lock or threading.Lock()
        self._backend = MotoBackend()
        self._tokens: TokenLedger[Response] = TokenLedger()

    def handle(self, request: Request) -> Response:
        """Answer one request; never raises for what a client sent."""
        if any(name in request.headers for name in _BROWSER_HEADERS):
            return self._stamped(error_response(403, "AccessDeniedException", "not for web pages"))
        if request.path == HEALTH_PATH:
            # Without the lock: an engine that is busy with a long transaction is not dead.
            return self._stamped(json_response(_OK, {"instance_id": self.instance_id}))
        with self._lock:
            # Stamped inside: the order of the dates is the order of the writes.
            return self._stamped(self._execute(request))

    def sweep(self, now_s: float | None = None) -> int:
        """Delete the items whose TTL is over, as DynamoDB does in the background.

        Args:
            now_s: Seconds since the epoch; the engine's own clock if not given.

        Returns:
            The number of items deleted.
        """
        with self._lock:
            return self._backend.delete_expired(self.clock() if now_s is None else now_s)

    def close(self) -> None:
        """Forget all tables. The app must not be used any more."""
        with self._lock:
            self._backend.close()

    def _execute(self, request: Request) -> Response:
        if request.operation == "BatchExecuteStatement":
            # Moto leaves out what it does not know of a condition: then rather none of it.
            return error_response(400, "ValidationException", "this engine knows no batches of PartiQL")
        if request.operation == "TransactGetItems":
            return self._get_together(request, _parsed(request.body))
        if request.operation == "TransactWriteItems":
            parameters = _parsed(request.body)
            token = parameters.get("ClientRequestToken")
            if isinstance(token, str) and token:
                return self._execute_once(request, token, parameters)
        return self._call(request)

    def _get_together(self, request: Request, parameters: Mapping[str, object]) -> Response:
        """All of a transaction's reads: moto takes 25, as DynamoDB once did. The lock makes several calls one."""
        items = parameters.get("TransactItems")
        if not isinstance(items, list) or len(items) <= _MOTO_TAKES:
            return self._call(request)
        if len(items) > _DYNAMODB_TAKES:
            said = f"1 validation error detected: 'transactItems' may have {_DYNAMODB_TAKES} members"
            return error_response(400, "ValidationException", said)
        found: list[object] = []
        for first in range(0, len(items), _MOTO_TAKES):
            part = {**parameters, "TransactItems": items[first : first + _MOTO_TAKES]}
            response = self._call(replace(request, body=json.dumps(part).encode()))
            shown = _parsed(response.body).get("Responses")
            if response.status != _OK or not isinstance(shown, list):
                return response
            found += shown
        return json_response(_OK, {"Responses": found})

    def _execute_once(self, request: Request, token: str, parameters: Mapping[str, object]) -> Response:
        scoped_token = f"{_region(request)}/{token}"
        match self._tokens.look_up(scoped_token, parameters, now_s=self.clock()):
            case Response() as recorded:
                return recorded
            case Verdict.MISMATCH:
                return error_response(
                    400,
                    "IdempotentParameterMismatchException",
                    "The request uses the same client token as a previous, but non-identical request.",
                )
            case Verdict.NEW:
                response = self._call(request)
                if response.status == _OK:
                    self._tokens.record(scoped_token, parameters, response, now_s=self.clock())
                return response

    def _call(self, request: Request) -> Response:
        try:
            return _corrected(request, self._backend.call(request))
        except Exception:
            # A fault of moto's: the client gets DynamoDB's word for it, the log gets the place.
            _logger.exception("%s failed", request.operation or request.path)
            return error_response(500, "InternalServerError", "the engine failed: see its log")

    def _stamped(self, response: Response) -> Response:
        stamps = (
            ("Date", formatdate(self.clock(), usegmt=True)),
            ("x-amzn-RequestId", secrets.token_hex(26).upper()),
        )
        return Response(status=response.status, headers=response.headers + stamps, body=response.body)


def _corrected(request: Request, response: Response) -> Response:
    is_about_ttl = request.operation in {"UpdateTimeToLive", "DescribeTimeToLive"}
    if is_about_ttl and response.status != _OK and b'"ResourceNotFound"' in response.body:
        # Moto cuts the name of this error short, here only: no client would know it.
        return error_response(400, "ResourceNotFoundException", "Requested resource not found")
    return response


def _parsed(body: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}  # moto answers what is wrong with it
    return document if isinstance(document, dict) else {}


def _region(request: Request) -> str:
    """The region that a request is signed for: its tables, and so its tokens, are of that region."""
    # Credential=<key>/<date>/<region>/<service>/aws4_request
    scope = request.headers.get("authorization", "").split(",")[0].split("/")
    return scope[2] if len(scope) > 2 else ""  # noqa: PLR2004 - the place of the region
