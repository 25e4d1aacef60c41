"""Answers: responses of DynamoDB and errors of botocore, as the protocol's values.

Invariants:

- One question sorts the answers: did it happen? `Done`, `Seen`: yes. `Refused`, `Conflict`, `ThrottledAnswer`,
  `Unsent`, `Rejected`: no. `Unknown`: it may have, and may still. When in doubt, `Unknown`.
- Every failure that a person can fix says how, in one sentence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final, get_args

from botocore import exceptions as aws

from ddb_lease._protocol.hits import HitsRequest
from ddb_lease._protocol.listing import ListPage
from ddb_lease._protocol.messages import (
    Adopt,
    Answer,
    Conflict,
    Done,
    Each,
    Grow,
    Look,
    Recount,
    Refused,
    Rejected,
    Renew,
    RenewEach,
    Reply,
    Request,
    Seen,
    SetOrder,
    Shown,
    Snapshot,
    Take,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.rates.messages import ChargeTogether, RateRequest
from ddb_lease._protocol.records import MAX_TOKENS, SCHEMA, Counter, Slot, View
from ddb_lease._protocol.tickets import LookAtQueue
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import DECIDING
from ddb_lease.dynamodb.failures import read_exception, while_fetching_credentials
from ddb_lease.dynamodb.foreign import as_map, not_ours
from ddb_lease.dynamodb.hits import read_hits_answer, read_hits_refusal
from ddb_lease.dynamodb.items import (
    COUNTER_KEY,
    is_counter,
    read_counter,
    read_slot,
    slot_key,
    slot_number,
)
from ddb_lease.dynamodb.listing import read_page
from ddb_lease.dynamodb.rates.answers import read_rate_answer, read_rate_refusal, read_together_refusal
from ddb_lease.dynamodb.reasons import cancelled_by, code_of, error_code, limit_of, telling_reason
from ddb_lease.dynamodb.signing import is_untimely
from ddb_lease.dynamodb.tickets import read_queue
from ddb_lease.errors import StoreError, StoreRejected, StoreUnavailable

_CONFLICT: Final = {"TransactionConflictException", "TransactionConflict", "ReplicatedWriteConflictException"}
_THROTTLED: Final = {
    "ThrottlingException",
    "ThrottlingError",
    "Throttling",
    "ProvisionedThroughputExceededException",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
}
_IN_PROGRESS: Final = "TransactionInProgressException"
_UNCERTAIN: Final = {
    _IN_PROGRESS,
    "InternalServerError",
    "InternalFailure",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeoutException",
}
_EXPIRED: Final = {"ExpiredTokenException", "ExpiredToken"}
"""Error codes that say that temporary credentials have expired."""

_UNKNOWN: Final = {"UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature"}
"""Error codes that say that the credentials are not known, or the secret is wrong."""

_PASSING_FOR_CREDENTIALS: Final = {"IDPCommunicationError", "TooManyRequestsException", "ServiceUnavailableException"}
_NOT_TAKEN: Final = {"AccessDenied", "ResourceNotFound", "ValidationError"}
"""Error codes of one statement of a batch that was not carried out, and will not be."""

_FAILED: Final = "ConditionalCheckFailed"
_INVALID: Final = "ValidationError"
_SERVER_ERROR: Final = 500
_RATE_REQUESTS: Final = get_args(RateRequest)
_HITS_REQUESTS: Final = get_args(HitsRequest)


def read_reply(request: Request, response: Mapping[str, Any], address: BucketAddress) -> Reply:
    """What a response that botocore accepted as a success says: the answer, and the service's clock.

    Args:
        request: What was sent.
        response: What came back.
        address: The bucket's table and name, for messages.
    """
    genuine, date = envelope(response)
    if not genuine:
        # "200 OK" from a proxy or a portal is no lease.
        stranger = StoreUnavailable("the answer has no request id: it does not come from DynamoDB")
        return Reply(answer=Unknown(cause=stranger), genuine=False, date=None)
    return Reply(answer=read_answer(request, response, address), genuine=True, date=date)


def read_answer(  # noqa: PLR0911 - one for each kind
    request: Request, response: Mapping[str, Any], address: BucketAddress | None = None
) -> Answer:
    """The answer in a response that botocore accepted as a success.

    Args:
        request: What was sent.
        response: What came back.
        address: The bucket's table and name, for messages.
    """
    match request:
        case Look():
            return _seen(request, response, address)
        case LookAtQueue():
            return read_queue(response) or Unknown(cause=StoreUnavailable("the answer to a Query has no list of items"))
        case Snapshot():
            return _shown(request, response, address)
        case ListPage():
            return read_page(response)
        case Renew():
            return Done(slot=read_slot(as_map(response.get("Attributes")), request.slot))
        case RenewEach():
            return _each(request, response)
        case _ if isinstance(request, _RATE_REQUESTS):
            return read_rate_answer(request, response, address)
        case _ if isinstance(request, _HITS_REQUESTS):
            return read_hits_answer(request, response, address)
        case _:
            return Done()


def read_failure(error: Exception, address: BucketAddress, request: Request | None = None) -> Answer:
    """The answer in a botocore exception.

    Args:
        error: The exception.
        address: The bucket's table, to name it in messages.
        request: The request; it shows what a condition was about.

    Raises:
        ParamValidationError: `error` itself: a defect of this library; nothing was sent.
    """
    if isinstance(error, aws.ClientError):
        if while_fetching_credentials(error):
            return _no_credentials(error)
        return _read_client_error(error, address, request)
    if isinstance(error, aws.ParamValidationError):
        raise error
    return read_exception(error, address.endpoint)


def envelope(response: Mapping[str, Any]) -> tuple[bool, float | None]:
    """Whether the service itself answered, and its ``Date`` in seconds since the epoch."""
    metadata = as_map(response.get("ResponseMetadata"))
    if not metadata.get("RequestId"):
        return False, None  # a proxy or a captive portal: not the service's clock
    try:
        return True, _seconds(metadata["HTTPHeaders"]["date"])
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        return True, None


@lru_cache(maxsize=4)
def _seconds(date: str) -> float:
    # All answers of one second carry the same text.
    moment = parsedate_to_datetime(date)
    # A date without a zone is UTC, not in this machine's zone.
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def explain(error: aws.ClientError, address: BucketAddress) -> str:  # noqa: PLR0911 - one for each kind
    """One line: what is wrong, and what to do about it."""
    code = error_code(error)
    said = _said(error)
    if code == "TransactionCanceledException":
        # Its own text names the codes of the reasons alone.
        code, said = telling_reason(error, first=_INVALID) or (code, said)
    if code == "ResourceNotFoundException":
        make = address.endpoint.command("create-table", table=address.table)
        return f"table {address.table!r} does not exist: make it with `{make}`"
    if code == "AccessDeniedException":
        return f"permission is missing: {said}"
    if code in _EXPIRED:
        return f"the credentials have run out: {said}"
    if is_untimely(code, said):
        return f"{_untimely(error)}: {said}"
    if code in _UNKNOWN:
        gone = address.endpoint.gone
        return f"the credentials are not accepted: {said}{gone and f': {gone}'}"
    if code in {"ValidationException", _INVALID}:
        return f"table {address.table!r} has other keys than pk and sk, both strings, or the request is invalid: {said}"
    return f"DynamoDB answered {' '.join(code.split()) or 'without an error code'}: {said}"


def _read_client_error(error: aws.ClientError, address: BucketAddress, request: Request | None) -> Answer:
    code = error_code(error)
    status = as_map(error.response.get("ResponseMetadata")).get("HTTPStatusCode")
    if code == "ConditionalCheckFailedException":
        return _refused_one(error, address, request)
    if code == "TransactionCanceledException":
        return _cancelled(error, address, request)
    if code in _CONFLICT:
        return Conflict(cause=error)
    if code in _THROTTLED:
        return ThrottledAnswer(cause=error, limit=limit_of(error))
    genuine, _ = envelope(error.response)
    in_trouble = isinstance(status, int) and status >= _SERVER_ERROR
    if code in _UNCERTAIN or in_trouble or not genuine:
        # Without a request id DynamoDB did not answer, and nobody knows what happened to the request.
        return Unknown(cause=error, in_progress=code == _IN_PROGRESS)
    untimely = is_untimely(code, _said(error))
    return Rejected(
        error=_rejected(explain(error, address), error),
        untimely=untimely,
        unauthenticated=code in _EXPIRED | _UNKNOWN and not untimely,
    )


def _no_credentials(error: aws.ClientError) -> Answer:
    """The answer where another service (STS, SSO) was asked for credentials, and gave none."""
    code = error_code(error)
    status = as_map(error.response.get("ResponseMetadata")).get("HTTPStatusCode")
    in_trouble = isinstance(status, int) and status >= _SERVER_ERROR
    if in_trouble or code in _THROTTLED | _UNCERTAIN | _PASSING_FOR_CREDENTIALS:
        return Unsent(cause=error)
    # What fetches credentials signs by the wall clock: that is botocore's, and not ours to change.
    hint = ": set this machine's clock" if is_untimely(code, _said(error)) else ""
    said = f"no credentials: {' '.join(str(error).split())}{hint}"
    return Rejected(error=_rejected(said, error), unauthenticated=True)


def _refused_one(error: aws.ClientError, address: BucketAddress, request: Request | None) -> Answer:
    found = error.response.get("Item")
    if isinstance(request, _RATE_REQUESTS):
        return read_rate_refusal(request, found, error, address)
    if isinstance(request, _HITS_REQUESTS):
        return read_hits_refusal(request, found, error, address)
    if not isinstance(request, (Grow, Recount, SetOrder)):
        return Refused(slot=_slot_in(found))
    try:
        return Refused(slot_failed=False, counter=_counter_in(found, address), counter_failed=True)
    except StoreError as problem:
        problem.__cause__ = error
        return Rejected(error=problem)


def _cancelled(error: aws.ClientError, address: BucketAddress, request: Request | None) -> Answer:
    reasons = cancelled_by(error)
    codes = [code_of(reason) for reason in reasons]
    if _INVALID in codes:
        return Rejected(error=_rejected(explain(error, address), error))  # whatever the other conditions found
    if _FAILED in codes:
        return _refused(reasons, codes, error, address, request)
    if any(code in _CONFLICT for code in codes):
        return Conflict(cause=error)
    if any(code in _THROTTLED for code in codes):
        return ThrottledAnswer(cause=error)
    if not reasons:
        return Unknown(cause=error)
    return Rejected(error=_rejected(explain(error, address), error))


def _refused(
    reasons: list[dict[str, Any]],
    codes: list[str],
    error: aws.ClientError,
    address: BucketAddress,
    request: Request | None,
) -> Answer:
    if isinstance(request, ChargeTogether):
        return read_together_refusal(reasons, tuple(code == _FAILED for code in codes), error, address)
    together = request if isinstance(request, (Take, Adopt)) else None
    # If a transaction has the counter, it comes last: see `expressions`.
    with_counter = together is None or (isinstance(together, Take) and bool(together.mints))
    slots, counter = (reasons[:-1], reasons[-1]) if with_counter else (reasons, {})
    failed = [code == _FAILED for code in codes[: len(slots)]]
    items = [_slot_in(slot.get("Item")) for slot, so in zip(slots, failed, strict=True) if so]
    counter_failed = with_counter and codes[-1] == _FAILED
    try:
        found = _counter_in(counter.get("Item"), address) if counter_failed else None
    except StoreError as problem:
        problem.__cause__ = error
        return Rejected(error=problem)
    numbers = [n for n, so in zip(together.slots, failed, strict=False) if so] if together else []
    return Refused(
        slot=next((item for item in items if item is not None), None),
        slot_failed=any(failed),
        counter=found,
        counter_failed=counter_failed,
        found=dict(zip(numbers, items, strict=False)),
    )


def _seen(request: Look, response: Mapping[str, Any], address: BucketAddress | None) -> Answer:
    if not isinstance(response.get("Items"), list):
        # Not the same as no items, which would mean that the bucket does not exist.
        return Unknown(cause=StoreUnavailable("the answer to a Query has no list of items"))
    more = bool(response.get("LastEvaluatedKey"))
    counter: Counter | None = None
    slots: dict[int, Slot] = {}
    try:
        for item in map(as_map, response["Items"]):
            if is_counter(item):
                counter = _counter_in(item, address)
            elif (slot := slot_number(item)) is not None:
                slots[slot] = read_slot(item, slot)
    except StoreError as problem:
        return Rejected(error=problem)
    # A page that ends early says nothing about slots after its last item, which may be a foreign one.
    last = str(as_map(as_map(response.get("LastEvaluatedKey")).get("sk")).get("S", ""))
    end = bisect_right(range(MAX_TOKENS), last, key=slot_key) if more else MAX_TOKENS
    view = View(
        counter=counter,
        slots=slots,
        covered=range(request.start, max(request.start, end)),
        counter_looked_for=request.start == 0 and request.counter,
    )
    return Seen(view=view, more=more)


def _shown(request: Snapshot, response: Mapping[str, Any], address: BucketAddress | None) -> Answer:
    responses = response.get("Responses")
    if not isinstance(responses, list) or len(responses) != len(request.slots) + request.counter:
        return Unknown(cause=StoreUnavailable("the answer to a TransactGetItems has too few or too many items"))
    items = [as_map(as_map(part).get("Item")) for part in responses]
    try:
        counter = _counter_in(items[-1], address) if request.counter else None
    except StoreError as problem:
        return Rejected(error=problem)
    slots = {n: _deciding(item, n) if item else None for n, item in zip(request.slots, items, strict=False)}
    return Shown(counter=counter, slots=slots)


def _each(request: RenewEach, response: Mapping[str, Any]) -> Answer:
    parts = response.get("Responses")
    if not isinstance(parts, list) or len(parts) != len(request.renewals):
        return Unknown(cause=StoreUnavailable("the answer to a BatchExecuteStatement has too few or too many parts"))
    return Each(
        answers=tuple(_one_of_each(renew, as_map(part)) for renew, part in zip(request.renewals, parts, strict=True))
    )


def _one_of_each(renew: Renew, part: dict[str, Any]) -> Answer:
    trouble = part.get("Error")
    if trouble is None:
        slot = _slot_in(part.get("Item"))
        lease = slot.lease if slot and slot.number == renew.slot else None
        if lease and lease.lease_id == renew.lease_id and lease.expires_at >= renew.expires_at:
            return Done(slot=slot)
        return Unknown(cause=StoreUnavailable("an answer to a BatchExecuteStatement does not show what was written"))
    error = as_map(trouble)
    code = str(error.get("Code", ""))
    cause = StoreUnavailable(f"DynamoDB answered {code or 'without an error code'}: {error.get('Message')}")
    if code == _FAILED:
        return Refused(slot=None)  # the service shows no item here; what an imitation shows is not read
    if code in _CONFLICT:
        return Conflict(cause=cause)
    if code in _THROTTLED:
        return ThrottledAnswer(cause=cause)
    return Rejected(error=cause) if code in _NOT_TAKEN else Unknown(cause=cause)


def _deciding(item: dict[str, Any], slot: int) -> Slot:
    # Not every engine respects the projection; attributes for people must decide nothing.
    return read_slot({name: item[name] for name in DECIDING if name in item}, slot)


def _counter_in(found: Any, address: BucketAddress | None) -> Counter | None:  # noqa: ANN401 - as botocore returns it
    item = as_map(found)
    if not item:
        return None
    try:
        counter = read_counter(item)
    except ValueError as problem:
        expected = "a bucket's counter has the whole numbers max_tokens, minted, rev and lease_ms"
        raise StoreRejected(not_ours(COUNTER_KEY, address, problem, expected)) from problem
    if counter.schema > SCHEMA:
        raise StoreRejected(
            f"the bucket was written by a newer version of this library (schema {counter.schema}): upgrade ddb-lease"
        )
    return counter


def _slot_in(found: Any) -> Slot | None:  # noqa: ANN401 - as botocore returns it
    item = as_map(found)
    slot = slot_number(item)
    return None if slot is None else read_slot(item, slot)


def _untimely(error: aws.ClientError) -> str:
    """What to say where a signature was refused for its time, and signing by the refusal's Date did not help."""
    dated = envelope(error.response)[1] is not None
    why = "signing by the Date of its answer did not help" if dated else "its answer has no Date to sign by"
    return f"DynamoDB refuses requests for the time of their signatures, and {why}: set this machine's clock"


def _said(error: aws.ClientError) -> str:
    return " ".join(str(as_map(error.response.get("Error")).get("Message") or error).split())


def _rejected(message: str, cause: Exception) -> StoreRejected:
    error = StoreRejected(message)
    error.__cause__ = cause
    return error
