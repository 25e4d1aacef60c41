"""ddb_lease's rate limiter: as many permits a second as the setting has tokens."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders import Setting
from ddb_lease import RateLimiter


class Rate:
    def __init__(self, setting: Setting, session: Any) -> None:
        self._limiter = RateLimiter(
            setting.bucket,
            rate=setting.tokens,
            burst=setting.tokens,
            table=setting.table,
            session=session,
            endpoint_url=setting.endpoint_url,
            prefetch=setting.prefetch,
        )

    def permit(self) -> bool:
        return self._limiter.try_acquire()

    def wait(self) -> None:
        self._limiter.acquire()


def make(setting: Setting, session: Any) -> Rate:
    return Rate(setting, session)
