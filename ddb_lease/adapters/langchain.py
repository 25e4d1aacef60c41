"""A rate limiter for LangChain's chat models, over all processes; needs the extra ``langchain``.

Invariants:

- It decides nothing: `RateLimiter` does, and `ddb_lease.aio.RateLimiter` for `ainvoke`, `astream` and the like.
- LangChain says how often a model is called, and not how many tokens a call takes: for a budget of tokens, reserve them
  around the call (`RateLimiter.reserve`).
"""

from __future__ import annotations

try:
    from langchain_core.rate_limiters import BaseRateLimiter
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "ddb_lease.adapters.langchain needs langchain-core: pip install 'ddb-lease[langchain]'", name=missing.name
    ) from missing

from ddb_lease import aio
from ddb_lease.errors import ConfigurationError
from ddb_lease.key_limiter import KeyLimiter
from ddb_lease.models import Seconds
from ddb_lease.rate_limiter import RateLimiter

__all__ = ["LangChainRateLimiter"]


class LangChainRateLimiter(BaseRateLimiter):
    """Lets a chat model be called at the rate of a `RateLimiter`: pass it as `rate_limiter` of the model.

    Args:
        limiter: For `invoke`, `stream`, `batch`; None: these are refused.
        aio_limiter: For `ainvoke`, `astream`, `abatch`; None: these are refused, as `limiter` would block the loop. It
            may have the name and settings of `limiter`: they then share one rate.
        timeout: Seconds, or a timedelta, that a call waits at most, and then raises; None waits for ever.
        **permits: How many of each limit a call takes, for a limiter with several; else one permit.

    Raises:
        ConfigurationError: There is no limiter; or, from a call, not the one that it needs. `StoreUnavailable` and
            `StoreRejected` come from calls as from `RateLimiter.acquire`.

    Cost: as `RateLimiter.acquire`: 1 WCU a call.

    Example:
        >>> from ddb_lease import RateLimiter, local
        >>> from ddb_lease.adapters.langchain import LangChainRateLimiter
        >>> calls = LangChainRateLimiter(RateLimiter("model-calls", rate=2, per=60, **local.connect()))
        >>> [calls.acquire(), calls.acquire(), calls.acquire(blocking=False)]
        [True, True, False]
    """

    def __init__(
        self,
        limiter: RateLimiter | KeyLimiter | None = None,
        *,
        aio_limiter: aio.RateLimiter | aio.KeyLimiter | None = None,
        timeout: Seconds | None = None,
        **permits: int,
    ) -> None:
        if limiter is None and aio_limiter is None:
            raise ConfigurationError("give a ddb_lease.RateLimiter, one of ddb_lease.aio as aio_limiter, or both")
        if limiter is not None and not isinstance(limiter, (RateLimiter, KeyLimiter)):
            raise ConfigurationError("limiter must be a ddb_lease.RateLimiter or a key of one; see aio_limiter")
        if aio_limiter is not None and not isinstance(aio_limiter, (aio.RateLimiter, aio.KeyLimiter)):
            raise ConfigurationError("aio_limiter must be a ddb_lease.aio.RateLimiter or a key of one")
        self._limiter = limiter
        self._aio_limiter = aio_limiter
        self._timeout = timeout
        self._permits = permits

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take a permit.

        Args:
            blocking: Whether to wait for it. LangChain does, and calls the model whatever is returned.

        Returns:
            Whether it was taken.

        Raises:
            RateTimeout: It cannot be had within the timeout. So the model is not called.
        """
        if self._limiter is None:
            raise ConfigurationError("this call blocks: give a ddb_lease.RateLimiter beside aio_limiter")
        if not blocking:
            return self._limiter.try_acquire(**self._permits)
        self._limiter.acquire(timeout=self._timeout, **self._permits)
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """As `acquire`, without blocking the loop."""
        if self._aio_limiter is None:
            raise ConfigurationError("this call needs asyncio: give a ddb_lease.aio.RateLimiter as aio_limiter")
        if not blocking:
            return await self._aio_limiter.try_acquire(**self._permits)
        await self._aio_limiter.acquire(timeout=self._timeout, **self._permits)
        return True
