"""Deleting a table that this process has made, and making sure beforehand that there is no such table.

Invariants: no other module deletes a table. Deleting goes on until it is gone or surely will be, within its time; a
table that is still being made is waited for, as the service deletes none before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from botocore import exceptions as aws
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random

from ddb_lease._protocol.retry import until
from ddb_lease._state.service_time import Clock
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import explain
from ddb_lease.dynamodb.client import Client
from ddb_lease.dynamodb.failures import CERTAIN, refusal
from ddb_lease.dynamodb.reasons import error_code
from ddb_lease.dynamodb.table import IN_USE, POLL_SECONDS, may_pass
from ddb_lease.errors import StoreRejected, StoreUnavailable

_SURELY_MISSING_SECONDS: Final = 5.0
"""A creation without an answer may still arrive: so long is a table without an answer asked for that does not exist."""

_MISSING: Final = "ResourceNotFoundException"


def require_absent(client: Client, table: str) -> None:
    """Make sure that there is no such table.

    Raises:
        StoreRejected: There is one, or a permission is missing, or the like.
        StoreUnavailable: The service does not answer.
    """
    try:
        _ask(client.describe_table, table)
    except aws.ClientError as error:
        if error_code(error) != _MISSING:
            raise _told(error, table) from error
    else:
        raise StoreRejected(f"table {table!r} exists already: it is left alone")


def drop_table(
    client: Client,
    table: str,
    *,
    clock: Clock,
    sure: bool,
    give_up: Callable[[], bool],
    timeout: float = 120.0,
) -> bool:
    """Delete a table; returns whether there was one.

    Args:
        client: A client.
        table: Its name.
        clock: The clock for the timeout.
        sure: Whether it was certainly made. If not, its creation may still be under way.
        give_up: Asked after each attempt that failed: whether to try no more.
        timeout: Seconds to go on for.

    Raises:
        StoreRejected: A permission is missing, the credentials have expired, or the like: no later try would succeed.
        StoreUnavailable: The service does not answer, or the table did not become active in time.
    """
    begun = clock.steady()
    stop_in_time = until(clock.steady, begun + timeout)

    def once() -> bool:
        try:
            _ask(client.delete_table, table)
        except aws.ClientError as error:
            missing = error_code(error) == _MISSING
            if missing and (sure or clock.steady() - begun > _SURELY_MISSING_SECONDS):
                return False
            raise _told(error, table) from error
        return True

    def stop(state: RetryCallState) -> bool:
        return give_up() or stop_in_time(state)

    return Retrying(
        retry=retry_if_exception_type(StoreUnavailable), wait=wait_random(*POLL_SECONDS), stop=stop, reraise=True
    )(once)


def _ask(method: Callable[..., object], table: str) -> None:
    """Send one request about the table; what DynamoDB refuses is raised as it comes."""
    try:
        method(TableName=table)
    except CERTAIN as error:
        raise refusal(error) from error
    except (aws.BotoCoreError, OSError) as error:
        raise StoreUnavailable(f"DynamoDB does not answer: {error}") from error


def _told(error: aws.ClientError, table: str) -> StoreRejected | StoreUnavailable:
    told = explain(error, BucketAddress(table=table, bucket=""))
    passes = may_pass(error) or error_code(error) in {IN_USE, _MISSING}  # it is still being made, or may yet arrive
    return StoreUnavailable(told) if passes else StoreRejected(told)
