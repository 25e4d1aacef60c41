"""python_dynamodb_lock 0.9.1: one lock (N = 1) with heartbeats, on its own table. No fence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from python_dynamodb_lock.python_dynamodb_lock import (  # type: ignore[import-not-found]
    DynamoDBLockClient,
    DynamoDBLockError,
)

from benchmarks.contenders import Setting


class PythonDynamoDBLock:
    def __init__(self, setting: Setting, session: Any) -> None:
        resource = session.resource("dynamodb", endpoint_url=setting.endpoint_url)
        seconds = setting.lease_seconds
        self._key = setting.bucket
        self._client = DynamoDBLockClient(
            resource,
            table_name=setting.table,
            heartbeat_period=timedelta(seconds=seconds / 6),
            safe_period=timedelta(seconds=seconds * 2 / 3),
            lease_duration=timedelta(seconds=seconds),
        )

    def acquire(self, timeout: float) -> Any:
        return self._acquire(timeout)

    def renew(self, held: Any) -> None:
        raise NotImplementedError

    def release(self, held: Any) -> None:
        held.release(best_effort=False)

    def try_acquire(self) -> Any:
        return self._acquire(0.001)

    def _acquire(self, timeout: float) -> Any:
        try:
            return self._client.acquire_lock(
                self._key, retry_period=timedelta(seconds=1), retry_timeout=timedelta(seconds=timeout)
            )
        except DynamoDBLockError as error:
            if error.code != DynamoDBLockError.ACQUIRE_TIMEOUT:
                raise
            return None


def make(setting: Setting, session: Any) -> PythonDynamoDBLock:
    return PythonDynamoDBLock(setting, session)
