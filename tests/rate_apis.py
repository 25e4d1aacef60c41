"""Rates of both APIs with the methods of the synchronous one, so that a test runs over both."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ddb_lease import RateLimiter, Reservation, aio
from tests.apis import APIS, Loop

__all__ = ["APIS", "Both", "limiter_of"]


class Both:
    """A limiter of either API, or a key of it; awaited methods run on a loop of their own."""

    def __init__(self, limiter: Any, loop: Loop | None) -> None:
        self._limiter, self._loop = limiter, loop

    @property
    def real(self) -> Any:
        """The limiter, or the key, itself."""
        return self._limiter

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._limiter, name)
        if name == "key":
            return self._key
        if not callable(found) or isinstance(found, type):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            result = self._loop.run(result) if self._loop is not None and asyncio.iscoroutine(result) else result
            return Both(result, self._loop) if isinstance(result, (Reservation, aio.Reservation)) else result

        return call

    def _key(self, key: str, *, under: Sequence[Both] = ()) -> Both:
        return Both(self._limiter.key(key, under=[each.real for each in under]), self._loop)


def limiter_of(api: str, loop: Loop | None, name: str, **settings: Any) -> Both:
    """A limiter of this API."""
    kind = aio.RateLimiter if api == "asyncio" else RateLimiter
    return Both(kind(name, **settings), loop)
