"""Rates of both APIs with the methods of the synchronous one, so that a test runs over both."""

from __future__ import annotations

import asyncio
from typing import Any

from ddb_lease import RateLimiter, aio
from tests.apis import APIS, Loop

__all__ = ["APIS", "Both", "limiter_of"]


class Both:
    """A limiter of either API, or a key of it; awaited methods run on a loop of their own."""

    def __init__(self, limiter: Any, loop: Loop | None) -> None:
        self._limiter, self._loop = limiter, loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._limiter, name)
        if name == "key":
            return lambda key: Both(found(key), self._loop)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            return self._loop.run(result) if self._loop is not None and asyncio.iscoroutine(result) else result

        return call


def limiter_of(api: str, loop: Loop | None, name: str, **settings: Any) -> Both:
    """A limiter of this API."""
    kind = aio.RateLimiter if api == "asyncio" else RateLimiter
    return Both(kind(name, **settings), loop)
