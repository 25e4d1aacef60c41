"""The usual handwritten solution: a counter of leases, updated in a transaction by every acquire and every release.

It is a careful version: the lease is an item of its own, both are written together, and conflicts and a full bucket are
retried with full jitter. It does not recover from a holder that dies: the counter loses that token.

Its operations are generators, so that the simulator can run them too, and not only a boto3 client.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Generator
from typing import Any, TypeAlias

from botocore.exceptions import ClientError

from benchmarks.contenders import Setting

Call: TypeAlias = tuple[str, dict[str, Any]]
Effect: TypeAlias = Call | float
"""A client method with its arguments, or seconds to pause."""

_CONTENDED = (0.02, 1.0)
_FULL = (0.1, 1.0)


class Naive:
    """The requests, and the decisions on their answers.

    Args:
        table: The table's name.
        bucket: The bucket's name.
        tokens: How many tokens there are.
        lease_ms: The length of a lease; the expiry is written but never read.
        chance: For the jitter.
    """

    def __init__(self, table: str, bucket: str, tokens: int, lease_ms: int, chance: random.Random) -> None:
        self._table = table
        self._bucket = bucket
        self._tokens = tokens
        self._lease_ms = lease_ms
        self._chance = chance

    def create(self) -> Call:
        """The counter."""
        item = {**self._key("counter"), "leased": {"N": "0"}, "max_tokens": {"N": str(self._tokens)}}
        return "put_item", {
            "TableName": self._table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(#pk)",
            "ExpressionAttributeNames": {"#pk": "pk"},
        }

    def acquire(self, now_ms: int, *, patient: bool) -> Generator[Effect, Exception | None, str | None]:
        """Increment the counter and put the lease, both or neither."""
        lease_id = f"{self._chance.getrandbits(128):032x}"
        lease = {
            **self._key(f"lease#{lease_id}"),
            "owner": {"S": "host.example:12345"},
            "acquired_at": {"N": str(now_ms)},
            "expires_at": {"N": str(now_ms + self._lease_ms)},
        }
        put = {
            "TableName": self._table,
            "Item": lease,
            "ConditionExpression": "attribute_not_exists(#pk)",
            "ExpressionAttributeNames": {"#pk": "pk"},
        }
        steps = [self._count("#leased < #max_tokens", 1), {"Put": put}]
        failures = 0
        while True:
            error = yield "transact_write_items", {"TransactItems": steps, "ClientRequestToken": self._token()}
            if error is None:
                return lease_id
            full = "ConditionalCheckFailed" in _reasons(error)
            if full and not patient:
                return None
            failures += 1
            yield self._jitter(_FULL if full else _CONTENDED, failures)

    def release(self, lease_id: str) -> Generator[Effect, Exception | None, None]:
        """Decrement the counter and delete the lease, both or neither."""
        delete = {
            "TableName": self._table,
            "Key": self._key(f"lease#{lease_id}"),
            "ConditionExpression": "attribute_exists(#pk)",
            "ExpressionAttributeNames": {"#pk": "pk"},
        }
        steps = [self._count("#leased > :zero", -1), {"Delete": delete}]
        failures = 0
        while True:
            error = yield "transact_write_items", {"TransactItems": steps, "ClientRequestToken": self._token()}
            if error is None or "ConditionalCheckFailed" in _reasons(error):
                return
            failures += 1
            yield self._jitter(_CONTENDED, failures)

    def renew(self, lease_id: str, now_ms: int) -> Call:
        """A later expiry."""
        return "update_item", {
            "TableName": self._table,
            "Key": self._key(f"lease#{lease_id}"),
            "UpdateExpression": "SET #expires_at = :expires_at",
            "ConditionExpression": "attribute_exists(#pk)",
            "ExpressionAttributeNames": {"#pk": "pk", "#expires_at": "expires_at"},
            "ExpressionAttributeValues": {":expires_at": {"N": str(now_ms + self._lease_ms)}},
        }

    def _count(self, condition: str, change: int) -> dict[str, Any]:
        names = {"#leased": "leased"}
        if "#max_tokens" in condition:
            names["#max_tokens"] = "max_tokens"
        values = {":change": {"N": str(change)}}
        if ":zero" in condition:
            values[":zero"] = {"N": "0"}
        return {
            "Update": {
                "TableName": self._table,
                "Key": self._key("counter"),
                "UpdateExpression": "SET #leased = #leased + :change",
                "ConditionExpression": condition,
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
            }
        }

    def _key(self, sort: str) -> dict[str, Any]:
        return {"pk": {"S": self._bucket}, "sk": {"S": sort}}

    def _token(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128)))

    def _jitter(self, bounds: tuple[float, float], failures: int) -> float:
        first, cap = bounds
        return self._chance.uniform(0.0, min(cap, first * 2.0 ** min(failures - 1, 30)))


def _reasons(error: Exception) -> set[str]:
    if not isinstance(error, ClientError):
        raise error
    if error.response["Error"]["Code"] in {"TransactionCanceledException", "TransactionConflictException"}:
        return {reason["Code"] for reason in error.response.get("CancellationReasons", ())}
    if error.response["Error"]["Code"] in {"ThrottlingException", "ProvisionedThroughputExceededException"}:
        return set()
    raise error


class WithBoto3:
    """The naive bucket on a boto3 client with boto3's own settings."""

    def __init__(self, setting: Setting, session: Any) -> None:
        self._client = session.client("dynamodb", endpoint_url=setting.endpoint_url)
        self._naive = Naive(
            setting.table,
            f"{setting.bucket}-naive",
            setting.tokens,
            int(setting.lease_seconds * 1000),
            random.SystemRandom(),
        )
        self._send(self._naive.create())

    def acquire(self, timeout: float) -> str | None:
        return self._run(self._naive.acquire(_now_ms(), patient=True), time.monotonic() + timeout)

    def try_acquire(self) -> str | None:
        return self._run(self._naive.acquire(_now_ms(), patient=False), float("inf"))

    def renew(self, held: str) -> None:
        self._send(self._naive.renew(held, _now_ms()))

    def release(self, held: str) -> None:
        self._run(self._naive.release(held), float("inf"))

    def _run(self, operation: Generator[Effect, Exception | None, Any], deadline: float) -> Any:
        try:
            effect = next(operation)
            while True:
                answer = None
                if isinstance(effect, tuple):
                    answer = self._send(effect)
                else:
                    if time.monotonic() + effect > deadline:
                        return None
                    time.sleep(effect)
                effect = operation.send(answer)
        except StopIteration as stop:
            return stop.value

    def _send(self, call: Call) -> Exception | None:
        method, arguments = call
        try:
            getattr(self._client, method)(**arguments)
        except ClientError as error:
            return error
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def make(setting: Setting, session: Any) -> WithBoto3:
    return WithBoto3(setting, session)
