"""A storage for `limits`, so that Flask-Limiter and slowapi count in DynamoDB; needs the extra ``limits``.

Import this module once, and ``dynamodb://`` is a storage like ``redis://``: over all processes that use the table.

| | |
|---|---|
| ``dynamodb://`` | the usual region, table ``ddb-lease`` |
| ``dynamodb://eu-west-1/my-table`` | another region, another table |
| ``dynamodb:///my-table?name=api&timeout=2`` | options in the URI, which may also be given as keyword arguments |
| ``async+dynamodb://...`` | the same for asyncio, on the same items |

Strategies: ``fixed-window`` and ``sliding-window-counter``. A moving window is refused with `NotImplementedError`: it
would have to keep the time of each hit.

Invariants:

- This module imports `limits` and what drives the storage, and no web framework.
- The storage decides nothing that `HitsCore` does not decide; here are URIs, names of methods, and waiting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

try:
    from limits.aio.storage import Storage as AsyncStorage
    from limits.aio.storage.base import SlidingWindowCounterSupport as AsyncSlidingWindowCounterSupport
    from limits.storage import Storage
    from limits.storage.base import SlidingWindowCounterSupport
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "ddb_lease.adapters.limits needs limits: pip install 'ddb-lease[limits]'", name=missing.name
    ) from missing

from ddb_lease._numbers import shown
from ddb_lease._protocol.hits import SlidingNow
from ddb_lease._protocol.retry import Operation
from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.hits_core import TIMEOUT, HitsCore
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.core import MAX_REQUESTS, checked_max_requests
from ddb_lease.aio.driver import Driver, Wakeup
from ddb_lease.aio.threads import Threads
from ddb_lease.dynamodb import Client, ConnectionSettings, Session
from ddb_lease.dynamodb.client import new_session
from ddb_lease.errors import ConfigurationError, StoreError
from ddb_lease.models import Seconds, Timing

__all__ = ["AsyncDynamoDBStorage", "DynamoDBStorage"]

Result = TypeVar("Result")

_IN_URI: Final[dict[str, Callable[[str], Any]]] = {
    "name": str,
    "endpoint_url": str,
    "profile": str,
    "timeout": float,
    "max_requests": int,
}
"""Options that a URI may have, and how they are read."""

_REGION: Final = re.compile(r"[a-z]+(-[a-z]+)+-\d+")
"""As AWS names regions. Other services may have other names, so it counts only where nothing else is named."""

_MOVING_WINDOW: Final = ("acquire_entry", "get_moving_window")
"""What strategies look for in a storage that has a moving window."""

_NO_MOVING_WINDOW: Final = (
    "a dynamodb:// storage has no moving window, as that keeps the time of each hit: use the strategy "
    "'sliding-window-counter' or 'fixed-window', or ddb_lease.RateLimiter, which has no windows at all"
)


def _core(uri: str | None, options: dict[str, Any], threads: Threads | None = None) -> HitsCore:
    """The storage that a URI and options describe; options win over the URI's.

    Raises:
        ConfigurationError: They describe none. Nothing was sent.
    """
    given = {name: value for name, value in options.items() if value is not None}
    in_uri = _read_uri(uri or "dynamodb://")
    # A session has a region and credentials, and a client an endpoint besides: they win over the URI's.
    beaten = {"session": ("region", "profile"), "client": ("region", "profile", "endpoint_url")}
    for name in (each for option in beaten.keys() & given for each in beaten[option]):
        in_uri.pop(name, None)
    settings = {**in_uri, **given}
    region, profile, session = (settings.pop(name, None) for name in ("region", "profile", "session"))
    client = settings.pop("client", None)
    if (region or profile) and (session is not None or client is not None):
        raise ConfigurationError("give a region or a profile, or a session or a client, not both")
    if region or profile:
        session = new_session(profile=profile, region=region)
    endpoint_url = settings.pop("endpoint_url", None)
    return HitsCore(
        settings.pop("name", "limits"),
        table=settings.pop("table", DEFAULT_TABLE),
        connection=ConnectionSettings(session=session, client=client, endpoint_url=endpoint_url),
        timeout=settings.pop("timeout", TIMEOUT),
        timing=settings.pop("timing", None),
        runtime=settings.pop("runtime", None) or Runtime(),
        fork_aware=() if threads is None else (threads,),
    )


def _read_uri(uri: object) -> dict[str, Any]:
    if not isinstance(uri, str):
        raise ConfigurationError(f"a storage URI must be a string, not {shown(uri)}")
    parts = urlsplit(uri)
    what = f"the storage URI {shown(uri)}"
    if parts.scheme not in {"dynamodb", "async+dynamodb"}:
        raise ConfigurationError(f"{what} does not begin with dynamodb:// or async+dynamodb://")
    if not set(parts.netloc) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
        raise ConfigurationError(f"{what} must be dynamodb://REGION/TABLE: {parts.netloc!r} is no region")
    if parts.fragment:
        raise ConfigurationError(f"{what} has a fragment, which means nothing here: write '#' as %23")
    found: dict[str, Any] = {}
    if parts.netloc:
        found["region"] = parts.netloc
    if parts.path.strip("/"):
        found["table"] = unquote(parts.path.removeprefix("/"))
    found |= _read_query(parts.query, what)
    if parts.netloc and not _REGION.fullmatch(parts.netloc) and not found.keys() & {"table", "endpoint_url"}:
        right = uri.replace("://", ":///", 1)
        raise ConfigurationError(f"{what}: {parts.netloc!r} is no region; a table stands after three slashes: {right}")
    return found


def _read_query(query: str, what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _IN_URI:
            raise ConfigurationError(f"{what} has the option {name!r}; there are {', '.join(_IN_URI)}")
        if name in found:
            raise ConfigurationError(f"{what} has the option {name!r} twice")
        try:
            found[name] = _IN_URI[name](text)
        except ValueError as error:
            raise ConfigurationError(f"{what}: {name} must be a number, not {text!r}") from error
    return found


class DynamoDBStorage(Storage, SlidingWindowCounterSupport):
    """Counts the hits of `limits` in DynamoDB, for ``fixed-window`` and ``sliding-window-counter``.

    Each call is one write or read of one small item. Items of a storage lie in the table beside leases and rates, under
    the storage's name, and touch neither; DynamoDB's TTL removes them. Constructing a storage sends nothing. It is
    thread-safe; make one for each process. After a fork the child may use it.

    The promise. Fixed window: of the hits of one window, at most as many are let in as the limit says, over all
    processes; a window begins with its first hit, and the next one begins no earlier than its length later, less the
    difference of the clocks of the processes. Sliding window: when a hit is let in, the hits of its window, and those
    of the window before, weighted by how much of it the last `expiry` seconds cover, come to the limit at most.

    Clocks are the service's time, as for `RateLimiter`: a wrong wall clock does no harm. A hit whose answer was lost
    may be counted twice, never not at all: then as many hits too few are let in, and none too many.

    Not promised: at most the limit in *any* stretch of that length. A fixed window lets in twice the limit around its
    end. `RateLimiter` has no windows, and costs no request for most denials.

    Args:
        uri: ``dynamodb://REGION/TABLE?...``; region, table and options may be left out.
        wrap_exceptions: Raise `limits.errors.StorageError` in place of this library's errors.
        name: Storages of one name count together; "limits" by default.
        table: The DynamoDB table; ``ddb-lease create-table`` makes one.
        session: A `boto3.Session`, in place of region and profile.
        client: A DynamoDB client instead. Make it with `client_config`, as botocore must not retry by itself.
        endpoint_url: An endpoint other than DynamoDB's own.
        region: An AWS region; the usual one by default.
        profile: A profile of the AWS configuration.
        timeout: Seconds that a call tries to get an answer, up to 60; 5 by default.
        timing: `max_clock_skew` and `front_end_skew` are used.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent. Its methods raise `StoreUnavailable` or
            `StoreRejected`, after which the hits may have been counted or not.

    Cost: `incr`, and a hit of a sliding window that is let in: 1 WCU; twice that when a window ends or this process has
        not seen it. A hit of a sliding window that is denied: 1 RCU, for one such denial a second of a key and process.
        `get`, `get_sliding_window`: 1 RCU. The first call asks for the time: two or three reads of 0.5 RCU.

    Example:
        >>> from ddb_lease import local
        >>> from ddb_lease.adapters.limits import DynamoDBStorage
        >>> from limits import RateLimitItemPerMinute
        >>> from limits.strategies import SlidingWindowCounterRateLimiter
        >>> limiter = SlidingWindowCounterRateLimiter(DynamoDBStorage(name="example", **local.connect()))
        >>> [limiter.hit(RateLimitItemPerMinute(2), "customer-7") for _ in range(3)]
        [True, True, False]
    """

    STORAGE_SCHEME = ["dynamodb"]  # noqa: RUF012 - as `limits` has it

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        name: str | None = None,
        table: str | None = None,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        timeout: Seconds | None = None,
        timing: Timing | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._runtime = runtime or Runtime()
        self._core = _core(
            uri,
            {
                "name": name,
                "table": table,
                "session": session,
                "client": client,
                "endpoint_url": endpoint_url,
                "region": region,
                "profile": profile,
                "timeout": timeout,
                "timing": timing,
                "runtime": self._runtime,
            },
        )

    def __repr__(self) -> str:
        return f"<DynamoDBStorage {self._core.name!r} in table {self._core.table!r}>"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - there is nothing
        if name in _MOVING_WINDOW:
            raise NotImplementedError(_NO_MOVING_WINDOW)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What `limits` and its users take for a failure of the storage."""
        return StoreError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count hits in the key's fixed window, which lasts `expiry` seconds from its first hit; returns its hits."""
        return self._run(self._core.incr(key, expiry, amount))

    def get(self, key: str) -> int:
        """How many hits the key's fixed window has; 0 if none runs."""
        return self._run(self._core.get(key))

    def get_expiry(self, key: str) -> float:
        """When the key's fixed window is over, in seconds since the epoch; now, if none runs.

        Cost: none while this process knows the window, as it does after a hit or `get`.
        """
        return self._run(self._core.get_expiry(key))

    def check(self) -> bool:
        """Whether the service answers, and the table can be read. It never raises for that. Cost: 1 RCU."""
        return _healthy(lambda: self._run(self._core.check()))

    def reset(self) -> int | None:
        """Forget all hits under this storage's name, for all processes; returns of how many items.

        Cost: 64 Queries at least (0.5 RCU for each 4 KB), and 1 WCU for each item.
        """
        return self._run(self._core.reset())

    def clear(self, key: str) -> None:
        """Forget the key's fixed window."""
        self._run(self._core.clear(key))

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count hits in the key's sliding window of `expiry` seconds if they fit; returns whether they do.

        A denial is remembered for a second: after a `clear` by another process, that long hits may still be denied.
        """
        return self._run(self._core.acquire(key, limit, expiry, amount))

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Hits of the window before, seconds for which they count; hits of the current one, seconds likewise."""
        return _window(self._run(self._core.window(key, expiry)), expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget the key's sliding window of this length."""
        self._run(self._core.clear_sliding(key, expiry))

    def close(self) -> None:
        """Close the connections."""
        self._core.close()

    def _run(self, operation: Operation[Result]) -> Result:
        return self._core.driver.run(operation, self._runtime.wakeup())


class AsyncDynamoDBStorage(AsyncStorage, AsyncSlidingWindowCounterSupport):
    """As `DynamoDBStorage`, for `limits.aio`: methods are awaited. It counts on the same items, under the same name.

    It needs asyncio. Requests are sent on at most `max_requests` threads of its own, which end when idle.

    Args:
        uri: ``async+dynamodb://REGION/TABLE?...``.
        wrap_exceptions: Raise `limits.errors.StorageError` in place of this library's errors.
        name: See `DynamoDBStorage`, here and below.
        table: The DynamoDB table.
        session: A `boto3.Session`.
        client: A DynamoDB client.
        endpoint_url: An endpoint other than DynamoDB's own.
        region: An AWS region.
        profile: A profile of the AWS configuration.
        timeout: Seconds that a call tries to get an answer.
        timing: `max_clock_skew` and `front_end_skew` are used.
        max_requests: How many requests may be in flight at once; 16 by default.

    Example:
        >>> import asyncio
        >>> from ddb_lease import local
        >>> from ddb_lease.adapters.limits import AsyncDynamoDBStorage
        >>> from limits import RateLimitItemPerMinute
        >>> from limits.aio.strategies import FixedWindowRateLimiter
        >>> async def main():
        ...     limiter = FixedWindowRateLimiter(AsyncDynamoDBStorage(name="async-example", **local.connect()))
        ...     return [await limiter.hit(RateLimitItemPerMinute(2), "customer-7") for _ in range(3)]
        >>> asyncio.run(main())
        [True, True, False]
    """

    STORAGE_SCHEME = ["async+dynamodb"]  # noqa: RUF012 - as `limits` has it

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        name: str | None = None,
        table: str | None = None,
        session: Session | None = None,
        client: Client | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        timeout: Seconds | None = None,
        timing: Timing | None = None,
        max_requests: int | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        asked = _read_uri(uri or "async+dynamodb://").get("max_requests", MAX_REQUESTS)
        threads = Threads(checked_max_requests(asked if max_requests is None else max_requests))
        self._runtime = runtime or Runtime()
        self._core = _core(
            uri,
            {
                "name": name,
                "table": table,
                "session": session,
                "client": client,
                "endpoint_url": endpoint_url,
                "region": region,
                "profile": profile,
                "timeout": timeout,
                "timing": timing,
                "runtime": self._runtime,
            },
            threads,
        )
        self._driver = Driver(blocking=self._core.driver, threads=threads)

    def __repr__(self) -> str:
        return f"<AsyncDynamoDBStorage {self._core.name!r} in table {self._core.table!r}>"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - there is nothing
        if name in _MOVING_WINDOW:
            raise NotImplementedError(_NO_MOVING_WINDOW)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What `limits` and its users take for a failure of the storage."""
        return StoreError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """As `DynamoDBStorage.incr`."""
        return await self._run(self._core.incr(key, expiry, amount))

    async def get(self, key: str) -> int:
        """As `DynamoDBStorage.get`."""
        return await self._run(self._core.get(key))

    async def get_expiry(self, key: str) -> float:
        """As `DynamoDBStorage.get_expiry`."""
        return await self._run(self._core.get_expiry(key))

    async def check(self) -> bool:
        """As `DynamoDBStorage.check`."""
        try:
            await self._run(self._core.check())
        except StoreError:
            return False
        return True

    async def reset(self) -> int | None:
        """As `DynamoDBStorage.reset`."""
        return await self._run(self._core.reset())

    async def clear(self, key: str) -> None:
        """As `DynamoDBStorage.clear`."""
        await self._run(self._core.clear(key))

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """As `DynamoDBStorage.acquire_sliding_window_entry`."""
        return await self._run(self._core.acquire(key, limit, expiry, amount))

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """As `DynamoDBStorage.get_sliding_window`."""
        return _window(await self._run(self._core.window(key, expiry)), expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """As `DynamoDBStorage.clear_sliding_window`."""
        await self._run(self._core.clear_sliding(key, expiry))

    async def close(self) -> None:
        """Close the connections."""
        await self._driver.call(self._core.close)

    async def _run(self, operation: Operation[Result]) -> Result:
        return await self._driver.run(operation, Wakeup(self._runtime), within=self._core.timeout)


def _window(now: SlidingNow, expiry: int) -> tuple[int, float, int, float]:
    """As `limits` wants it: the window before counts while this one lasts; this one for a whole length more."""
    left = now.left / 1000
    return now.previous, left if now.previous else 0.0, now.count, left + expiry


def _healthy(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except StoreError:
        return False
    return True
