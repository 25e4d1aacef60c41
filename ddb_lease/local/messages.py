"""HTTP requests and responses as values, passed between the HTTP server, the app and the backend."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

HEALTH_PATH = "/_engine/health"
"""Returns the engine's instance id, so that a client can tell the engine from another program on its port."""

LEASES_PATH = "/_engine/leases"
"""GET returns the report of `keeper`; POST makes the engine wait for no lease of an earlier engine."""

ANSWER_S = 10.0
"""So long may an answer take. It takes a millisecond; on a machine that is busy starting processes, a second or two."""

# botocore takes the part after the `#` as the error code.
_ERROR_PREFIX = "com.amazonaws.dynamodb.v20120810#"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request that has been received completely: nothing is left to read from the network."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Values by lower-case name."""
    body: bytes = b""

    @property
    def operation(self) -> str:
        """The DynamoDB operation, such as `GetItem`; empty if the request names none."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A complete response: nothing is left to compute."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def json_response(status: int, document: Mapping[str, object]) -> HttpResponse:
    """A response in the JSON form that DynamoDB clients read."""
    return HttpResponse(
        status=status,
        headers=(("Content-Type", "application/x-amz-json-1.0"),),
        body=json.dumps(document).encode(),
    )


def error_response(status: int, code: str, message: str) -> HttpResponse:
    """An error in DynamoDB's form: botocore raises a `ClientError` with this code."""
    return json_response(status, {"__type": _ERROR_PREFIX + code, "message": message})
