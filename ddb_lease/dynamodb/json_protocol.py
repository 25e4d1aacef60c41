"""The JSON protocol: what a boto3 client's method takes and gives, as bodies of HTTP.

botocore walks through each body by the service model. DynamoDB's bodies need that for binary values only: all else is
JSON as it stands.

Invariants:

- `answer_of` returns and raises what botocore makes of the same answer, but for what it says of retries: there are
  none. What is not plain goes to botocore's parser.
- No I/O.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from botocore import exceptions as aws
from botocore.model import OperationModel, Shape
from botocore.parsers import create_parser

_SUCCESS: Final = range(200, 300)


def body_of(arguments: Mapping[str, Any]) -> bytes:
    """The body of a request with these arguments."""
    return _ENCODER.encode(arguments).encode()


def answer_of(
    model: OperationModel,
    status: int,
    headers: Mapping[str, str],
    said: bytes,
    *,
    error_class: Callable[[str], Any],
) -> dict[str, Any]:
    """What an answer says.

    Args:
        model: The operation's model.
        status: The answer's status.
        headers: Its headers; names in any case.
        said: Its body.
        error_class: Finds the class of an error by its code.

    Raises:
        ClientError: The service refused, or failed.
        ChecksumError: The body is not what the service sent.
        ResponseParserError: It is no DynamoDB answer.
    """
    checksum = headers.get("x-amz-crc32")
    if checksum is not None and checksum != (actual := str(zlib.crc32(said))):
        raise aws.ChecksumError(checksum_type="crc32", expected_checksum=checksum, actual_checksum=actual)
    answer = _plain(status, said)
    if answer is None:
        answer = _by_botocore(model, status, headers, said)
    else:
        metadata = answer["ResponseMetadata"] = {"HTTPStatusCode": status, "HTTPHeaders": headers, "RetryAttempts": 0}
        if (request_id := headers.get("x-amzn-requestid")) is not None:
            metadata["RequestId"] = request_id
    if status in _SUCCESS:
        return answer
    refusal: Exception = error_class(answer.get("Error", {}).get("Code"))(answer, model.name)
    raise refusal


def _by_botocore(model: OperationModel, status: int, headers: Mapping[str, str], said: bytes) -> dict[str, Any]:
    parser, response = create_parser("json"), {"status_code": status, "headers": headers, "body": said}
    answer: dict[str, Any] = parser.parse(response, cast("Shape", model.output_shape))  # all that we use have one
    code = answer.get("Error", {}).get("Code")
    shape = None if status in _SUCCESS or not code else model.service_model.shape_for_error_code(code)
    if shape is not None:
        answer.update(parser.parse(response, shape))
    return answer


def _plain(status: int, said: bytes) -> dict[str, Any] | None:
    """The body of an answer that is as DynamoDB's usually are; None for any other."""
    try:
        answer = json.loads(said) if said else {}
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    if b'"B' in said:
        try:
            answer = _decoded(answer)
        except (ValueError, TypeError, RecursionError):
            return None
    if status in _SUCCESS:
        return answer
    kind, small, large = (answer.pop(name, None) for name in ("__type", "message", "Message"))
    if not isinstance(kind, str) or ":" in kind:
        return None
    message = large if small is None else small
    answer["Error"] = {"Code": kind.rpartition("#")[2], "Message": message or ""}
    return answer


def _encoded(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no value of a request")


_ENCODER: Final = json.JSONEncoder(default=_encoded)  # made once: `json.dumps` would make one for each body


def _decoded(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Binary values as bytes. An attribute's value is an object with one type; a binary one holds a text, or texts."""
    match value:
        case {"B": str(text)} if len(value) == 1:
            return {"B": base64.b64decode(text)}
        case {"BS": list(texts)} if len(value) == 1:
            return {"BS": [base64.b64decode(text) for text in texts]}
        case dict():
            return {name: _decoded(each) for name, each in value.items()}
        case list():
            return [_decoded(each) for each in value]
        case _:
            return value
