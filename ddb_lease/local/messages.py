"""Requests and answers as values, between the HTTP server, the app and the backend."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

HEALTH_PATH = "/_engine/health"
"""Answers the engine's instance id, so that a finder can tell it from whatever else took its port."""

# botocore takes the part behind the `#` as the error's code.
_ERROR_PREFIX = "com.amazonaws.dynamodb.v20120810#"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that has arrived completely: nothing of it is still to be read from the network."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = b""

    @property
    def operation(self) -> str:
        """The DynamoDB operation, as in `GetItem`; empty if it names none."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer that is complete: nothing of it is still to be computed."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def json_response(status: int, document: Mapping[str, object]) -> Response:
    """An answer in the JSON form that DynamoDB's clients read."""
    return Response(
        status=status,
        headers=(("Content-Type", "application/x-amz-json-1.0"),),
        body=json.dumps(document).encode(),
    )


def error_response(status: int, code: str, message: str) -> Response:
    """An error in DynamoDB's form: botocore makes a `ClientError` with this code of it."""
    return json_response(status, {"__type": _ERROR_PREFIX + code, "message": message})
