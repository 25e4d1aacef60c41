"""dynamo-dlm 2.1.0: a lock with a concurrency limit, on its own table. No renewal, no fence.

It takes its session from boto3's default, and its endpoint from the environment.
"""

from __future__ import annotations

import threading
from typing import Any

import boto3
from dynamo_dlm import DynamoDbLock, LockNotAcquiredError  # type: ignore[import-not-found]

from benchmarks.contenders import Setting


class Dlm:
    def __init__(self, setting: Setting, session: Any) -> None:
        boto3.DEFAULT_SESSION = session
        self._setting = setting
        # An object holds one lock: one object for each thread, made once, as making one makes a boto3 resource.
        self._own = threading.local()
        self._making = threading.Lock()

    def acquire(self, timeout: float) -> Any:  # noqa: ARG002 - it knows "for ever" and "not at all"
        lock = self._lock()
        lock._wait_forever = True
        lock.acquire()
        return lock

    def renew(self, held: Any) -> None:
        raise NotImplementedError

    def release(self, held: Any) -> None:
        held.release()

    def try_acquire(self) -> Any:
        lock = self._lock()
        lock._wait_forever = False
        try:
            lock.acquire()
        except LockNotAcquiredError:
            lock._release_code = None
            return None
        return lock

    def _lock(self) -> Any:
        lock = getattr(self._own, "lock", None)
        if lock is None or lock._release_code:  # this one is held: make another
            with self._making:  # boto3's sessions are not thread-safe
                self._own.lock = DynamoDbLock(
                    self._setting.bucket,
                    duration=int(self._setting.lease_seconds),
                    table_name=self._setting.table,
                    concurrency=self._setting.tokens,
                )
        return self._own.lock


def make(setting: Setting, session: Any) -> Dlm:
    return Dlm(setting, session)
