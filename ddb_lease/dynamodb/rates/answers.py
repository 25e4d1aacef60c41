"""Answers about rates: responses of DynamoDB as the protocol's values.

Invariants: as in `answers`. An item of another shape is a refusal with what to do about it, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ddb_lease._protocol.messages import Answer, Done, Rejected, Unknown
from ddb_lease._protocol.rates.messages import (
    Block,
    ChangePolicy,
    Charge,
    ChargeTogether,
    CreatePolicy,
    KeyIs,
    KeyRefused,
    KeysAre,
    KeyWritten,
    ListKeys,
    Override,
    PolicyIs,
    PolicyRefused,
    RateRequest,
    ReadKey,
    ReadPolicy,
    Reset,
    Settle,
    TogetherRefused,
)
from ddb_lease._protocol.rates.records import KeyState, Policy
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.foreign import as_map, not_ours
from ddb_lease.dynamodb.items import is_meter, string
from ddb_lease.dynamodb.rates.items import POLICY_KEY, NewerVersion, key_of, read_policy, read_state
from ddb_lease.errors import StoreError, StoreRejected, StoreUnavailable

R = TypeVar("R")


def read_rate_answer(request: RateRequest, response: Mapping[str, Any], address: BucketAddress | None) -> Answer:
    """The answer in a response that botocore accepted as a success."""
    match request:
        case Charge() | Settle() | Override() | Block() | Reset():
            return _written(response, address)
        case ChargeTogether():
            return Done()
        case CreatePolicy() | ChangePolicy():
            return PolicyIs(policy=request.policy)
        case ReadKey() | ListKeys() | ReadPolicy():
            return _read(request, response, address)


def read_rate_refusal(
    request: RateRequest,
    found: Any,  # noqa: ANN401 - as botocore returns it
    error: Exception,
    address: BucketAddress | None,
) -> Answer:
    """The answer where the condition of a single write failed, with the item that it found."""
    try:
        if isinstance(request, (CreatePolicy, ChangePolicy)):
            return PolicyRefused(policy=_policy_in(found, address))
        return KeyRefused(state=_state_in(found, address))
    except StoreError as problem:
        problem.__cause__ = error
        return Rejected(error=problem)


def read_together_refusal(
    reasons: Sequence[dict[str, Any]], failed: tuple[bool, ...], error: Exception, address: BucketAddress | None
) -> Answer:
    """The answer where conditions of a transaction failed, with the items that they found."""
    try:
        found = tuple(
            _state_in(reason.get("Item"), address) if so else None for reason, so in zip(reasons, failed, strict=True)
        )
    except StoreError as problem:
        problem.__cause__ = error
        return Rejected(error=problem)
    return TogetherRefused(failed=failed, found=found)


def _written(response: Mapping[str, Any], address: BucketAddress | None) -> Answer:
    try:
        state = _state_in(response.get("Attributes"), address)
    except StoreError as problem:
        return Unknown(cause=problem)  # a resend finds the attempt, if it was carried out
    if state is None:
        return Unknown(cause=StoreUnavailable("the answer to a write does not show the new state"))
    return KeyWritten(state=state)


def _read(
    request: ReadKey | ListKeys | ReadPolicy, response: Mapping[str, Any], address: BucketAddress | None
) -> Answer:
    items = response.get("Items")
    if not isinstance(items, list):
        return Unknown(cause=StoreUnavailable("the answer to a Query has no list of items"))
    found = [as_map(item) for item in items]
    try:
        match request:
            case ReadKey():
                return KeyIs(state=_state_in(found[0], address) if found else None)
            case ListKeys():
                after = key_of(as_map(response.get("LastEvaluatedKey")))
                return KeysAre(keys=tuple(_keys_in(found)), after=after)
            case ReadPolicy():
                policy = next((item for item in found if string(item, "sk") == POLICY_KEY), None)
                return PolicyIs(policy=_policy_in(policy, address), older=any(map(is_meter, found)))
    except StoreError as problem:
        return Rejected(error=problem)


def _keys_in(items: list[dict[str, Any]]) -> list[tuple[str, KeyState]]:
    keys = []
    for item in items:
        key = key_of(item)
        try:
            if key is not None:
                keys.append((key, read_state(item)))
        except ValueError:
            continue  # one bad item must not hide the others
    return keys


def _state_in(found: Any, address: BucketAddress | None) -> KeyState | None:  # noqa: ANN401 - as botocore returns it
    expected = "a key of a rate has the whole numbers schema and rev, and tat, held and reach for each limit"
    return _in(as_map(found), read_state, "rate#", address, expected)


def _policy_in(found: Any, address: BucketAddress | None) -> Policy | None:  # noqa: ANN401 - as botocore returns it
    expected = "a policy has the whole numbers schema and rev, and the map limits"
    return _in(as_map(found), read_policy, POLICY_KEY, address, expected)


def _in(
    item: dict[str, Any],
    read: Callable[[dict[str, Any]], R],
    sort: str,
    address: BucketAddress | None,
    expected: str,
) -> R | None:
    if not item:
        return None
    try:
        return read(item)
    except NewerVersion as problem:
        raise StoreRejected(
            f"the rate was written by a newer version of this library ({problem}): upgrade ddb-lease"
        ) from problem
    except ValueError as problem:
        told = string(item, "sk") or sort
        raise StoreRejected(not_ours(told, address, problem, expected, pk=string(item, "pk"))) from problem
