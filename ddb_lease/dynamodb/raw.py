"""Raw answers: one request sent once, and what came back, as DynamoDB said it and as this library reads it.

Invariants:

- The request is the library's own, from `expressions`; only what it costs is asked for besides. The reading is the
  library's own too, from `answers`.
- A request of the protocol is sent once: it neither retries nor waits. If only its signature's time is refused, it is
  signed again, by the service's time. What is no answer of DynamoDB is raised.
- What is sent by hand, to prepare and to look, has no conditions, and is sent again where the service was busy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore import exceptions as aws
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ddb_lease._protocol.messages import Answer, Rejected, Request
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import envelope, read_answer, read_failure
from ddb_lease.dynamodb.client import Client, ConnectionSettings, client_config
from ddb_lease.dynamodb.expressions import Call, call_for
from ddb_lease.dynamodb.failures import read_exception
from ddb_lease.dynamodb.reasons import error_code
from ddb_lease.dynamodb.timely import TimelySender
from ddb_lease.errors import StoreUnavailable

_COST: Final = {"ReturnConsumedCapacity": "TOTAL"}
_ATTEMPTS: Final = 4
_LEASE_SECONDS: Final = 60.0
_PATIENCE: Final = 30.0
"""Seconds for an answer: what a slow one says is wanted too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """What DynamoDB answered.

    Attributes:
        operation: The client's method.
        arguments: Its keyword arguments.
        response: The answer's body, as botocore parses it; an error's too.
        code: The error's code; None for a success.
        request_id: The service's id of the request; None if the answer has none.
        date: The answer's ``Date`` in seconds since the epoch; None if it has no readable one.
        read: What this library takes it for.
    """

    operation: str
    arguments: Mapping[str, Any]
    response: Mapping[str, Any]
    code: str | None
    request_id: str | None
    date: float | None
    read: Answer


def patient_client(connection: ConnectionSettings, sender: TimelySender) -> Client:
    """A new client, with connections of its own, that waits longer than a lease would allow: nothing here holds one.

    Args:
        connection: How DynamoDB is reached.
        sender: What its calls go by: they are signed by the service's time, as the library's are.

    Raises:
        ConfigurationError: As for `ConnectionSettings.connect`. Nothing was sent.
    """
    from botocore.config import Config  # noqa: PLC0415 - as in `client`

    usual = connection.connect(_LEASE_SECONDS)
    if connection.session is None:
        return sender.around(usual)
    config = client_config(_LEASE_SECONDS).merge(Config(connect_timeout=_PATIENCE, read_timeout=_PATIENCE))
    return sender.around(connection.session.client("dynamodb", endpoint_url=connection.endpoint_url, config=config))


def send_raw(
    client: Client,
    request: Request,
    address: BucketAddress,
    *,
    edit: Callable[[Call], Call] = lambda call: call,
) -> RawAnswer:
    """Send a request once.

    Args:
        client: A client that does not retry.
        request: The request.
        address: The bucket's table and name.
        edit: Changes the call before it is sent, to try what the library never sends.

    Raises:
        StoreUnavailable: No answer came.
        StoreRejected: There are no credentials, or they make no sense. Nothing was sent.
    """
    operation, arguments = edit(call_for(request, address))
    arguments = {**arguments, **_COST}
    try:
        response: Mapping[str, Any] = getattr(client, operation)(**arguments)
        code, read = None, read_answer(request, response, address)
    except aws.ClientError as error:
        response, code = error.response, error_code(error)
        read = read_failure(error, address, request)
    except (aws.BotoCoreError, OSError) as error:
        raise _no_answer(error) from error
    _, date = envelope(response)
    return RawAnswer(
        operation=operation,
        arguments=arguments,
        response=response,
        code=code,
        request_id=response.get("ResponseMetadata", {}).get("RequestId"),
        date=date,
        read=read,
    )


def put_items(client: Client, table: str, items: list[dict[str, Any]]) -> None:
    """Write items by hand, without conditions.

    Raises:
        StoreUnavailable: No answer came.
        StoreRejected: A permission is missing, or DynamoDB refuses the item.
    """
    for item in items:
        _by_hand(client.put_item, BucketAddress(table=table, bucket=""), Item=item)


def read_items(client: Client, address: BucketAddress) -> list[dict[str, Any]]:
    """All items of a bucket, foreign ones too, consistently; of at most a megabyte.

    Raises:
        StoreUnavailable: No answer came.
        StoreRejected: A permission is missing.
    """
    bucket = {":b": {"S": address.bucket}}
    wanted = {"KeyConditionExpression": "pk = :b", "ExpressionAttributeValues": bucket, "ConsistentRead": True}
    return list(_by_hand(client.query, address, **wanted)["Items"])


def _by_hand(method: Callable[..., Any], address: BucketAddress, **arguments: Any) -> Any:  # noqa: ANN401 - boto3's
    """Send what is no request of the protocol; once more where the service was busy."""

    def once() -> Any:  # noqa: ANN401 - as botocore returns it
        try:
            return method(TableName=address.table, **arguments)
        except aws.ClientError as error:
            answer = read_failure(error, address)
            raise (answer.error if isinstance(answer, Rejected) else StoreUnavailable(str(error))) from error
        except (aws.BotoCoreError, OSError) as error:
            raise _no_answer(error) from error

    return Retrying(
        retry=retry_if_exception_type(StoreUnavailable),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(max=2),
        reraise=True,
    )(once)


def _no_answer(error: Exception) -> Exception:
    answer = read_exception(error)
    if isinstance(answer, Rejected):
        return answer.error
    return StoreUnavailable(f"DynamoDB does not answer: {error}")
