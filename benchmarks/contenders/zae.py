"""zae-limiter 0.17.0, its synchronous API: a token bucket in DynamoDB, in a table that it creates."""

from __future__ import annotations

import os
import time
from typing import Any

import boto3
from zae_limiter import Limit, RateLimitExceeded, SyncRateLimiter, SyncRepository  # type: ignore[import-not-found]

from benchmarks.contenders import Setting

_THREE = {"requests": 1, "tokens": 900, "bytes": 5}
"""What each call takes of three limits."""


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
        self._three = [Limit.per_second(name, setting.tokens * n) for name, n in _THREE.items()]
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

    def several(self, times: int) -> dict[str, Any]:
        """Permits of three limits at once."""
        return self._three_at_once(times, {})

    def settled(self, times: int) -> dict[str, Any]:
        """The same, adjusted to less before they are given up."""
        return self._three_at_once(times, {"tokens": -200})

    def _three_at_once(self, times: int, adjusted: dict[str, int]) -> dict[str, Any]:
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            with self._limiter.acquire(self._entity, "three", _THREE, limits=self._three) as lease:
                if adjusted:
                    lease.adjust(**adjusted)
            taken.append(time.perf_counter() - began)
        return {"seconds": taken}


def make(setting: Setting, session: Any) -> Zae:
    return Zae(setting, session)
