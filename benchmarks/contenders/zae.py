"""zae-limiter 0.17.0, its synchronous API: a token bucket in DynamoDB, in a table that it creates."""

from __future__ import annotations

import os
import time
from typing import Any

import boto3
from zae_limiter import Limit, RateLimitExceeded, SyncRateLimiter, SyncRepository  # type: ignore[import-not-found]

from benchmarks.contenders import Setting


class Zae:
    def __init__(self, setting: Setting, session: Any) -> None:
        boto3.Session = lambda *_, **__: session  # type: ignore[misc,assignment] # it makes its own: watch that one
        repository = SyncRepository(
            f"bench-zae-{os.getpid()}",
            region="us-east-1",
            endpoint_url=setting.endpoint_url,
            _skip_deprecation_warning=True,
        )
        repository.create_table()
        self._limiter = SyncRateLimiter(repository=repository)
        self._limits = [Limit.per_second("permits", setting.tokens)]
        self._entity = setting.bucket

    def permit(self) -> bool:
        try:
            with self._limiter.acquire(self._entity, "benchmark", {"permits": 1}, limits=self._limits):
                return True
        except RateLimitExceeded:
            return False

    def wait(self) -> None:
        while not self.permit():
            time.sleep(0.001)


def make(setting: Setting, session: Any) -> Zae:
    return Zae(setting, session)
