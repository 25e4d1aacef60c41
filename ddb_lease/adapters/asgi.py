"""Middleware for ASGI: a rate limit in front of any application, such as Starlette's, FastAPI's or Django's.

Invariants:

- The event loop is never blocked: requests to the service are sent on threads of the limiter's.
- It receives nothing of a request, but while that waits for permits, and in a denied websocket's handshake. What it
  receives meanwhile goes on to the application.

It imports no framework. ``docs/middleware.md`` has examples, costs, and what proxies and forks mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final

from ddb_lease.adapters._http import Denial, Fields, Outcome, checked_proxies, client_address, digest_of
from ddb_lease.adapters._middleware import Cost, Rules, named
from ddb_lease.aio.inbox import Inbox
from ddb_lease.aio.key_limiter import KeyLimiter
from ddb_lease.aio.rate_limiter import RateLimiter
from ddb_lease.errors import ConfigurationError, StoreUnavailable, TooManyPermits
from ddb_lease.models import Seconds

__all__ = ["RateLimitMiddleware", "by_client_address", "by_header"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

_BEGINNINGS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""Messages that have the header fields of a response."""

TRY_AGAIN_LATER: Final = 1013
"""The code that a denied websocket is closed with. Before it is accepted, servers answer with 403 all the same."""


def by_header(name: str, *, digest: bool = False) -> Callable[[Scope], str | None]:
    """A `key` for `RateLimitMiddleware`: the value of a request's header field.

    A client may send any value: use it behind whatever checks the value, or give `under` as well. A value of more than
    512 bytes is replaced by its SHA-256. Of several lines the first counts, as in Starlette's ``request.headers``.

    Args:
        name: Of the field, such as ``x-api-key``.
        digest: Whether to use the SHA-256 of each value: a secret is then neither in the table nor in events.

    Returns:
        A function of a request: None if the field is missing or empty.
    """
    field = _checked_name(name)

    def key(scope: Scope) -> str | None:
        value = next(_values(scope, field), "").strip()
        return digest_of(value) if digest and value else value or None

    return key


def by_client_address(*, trusted_proxies: int = 0, ipv6_prefix: int = 64) -> Callable[[Scope], str | None]:
    """A `key` for `RateLimitMiddleware`: the client's address.

    Behind a proxy that is not counted, all clients have the proxy's address, and share one limit. Where one is counted
    that is not there, each client may claim any address. `X-Forwarded-For` is read, and `Forwarded` is not. A server
    may have read it already, as uvicorn does for a proxy on its own machine: then it is not to be counted.

    Args:
        trusted_proxies: How many proxies, one after the other, append the address of their client to `X-Forwarded-For`:
            so many addresses are counted from its end. A request with fewer of them is its peer's.
        ipv6_prefix: How many bits of an IPv6 address are the key: one client mostly has a network of 2**64 addresses.

    Returns:
        A function of a request: None if the server knows no address, as on a Unix socket.
    """
    proxies, prefix = checked_proxies(trusted_proxies, ipv6_prefix)

    def key(scope: Scope) -> str | None:
        peer = scope.get("client")
        forwarded = ",".join(_values(scope, b"x-forwarded-for")) if proxies else ""
        return client_address(peer[0] if peer else None, forwarded, trusted_proxies=proxies, ipv6_prefix=prefix)

    return key


_BY_CLIENT_ADDRESS: Final = by_client_address()


class RateLimitMiddleware:
    """Limit the requests that reach an ASGI application.

    A request takes permits of its key before the application is called. If it cannot have them, it is answered with 429
    and a problem document (RFC 9457), and the application is not called. All responses have the fields `RateLimit` and
    `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), but those to requests that are exempt; a denial also
    has `Retry-After`. Permits that a request took are used, whatever comes of it.

    A websocket takes permits once, when it is opened. A denied one is answered in the same way where the server can do
    that, and is else closed before it is accepted, which servers answer with 403. Other scopes are passed on.

    While the service does not answer, the limiter's `on_unavailable` decides. What it denies is answered with 503, and
    so is each request where it is ``raise``.

    Args:
        app: The application.
        limiter: A `ddb_lease.aio.RateLimiter`; or a key of one, for all requests together, with ``key=None``. It stays
            yours to close. One that was made before a server forks may be used by its workers.
        key: A plain function of the scope: whose permits a request takes. By default the client's address, which behind
            a proxy is the proxy's: see `by_client_address`, and `by_header`. Requests without a key (None or empty), or
            all with ``key=None``, take those of the limiter itself, together.
        cost: How many permits a request takes, or a plain function of the scope that says it; by name for a limiter
            with several limits, as in ``{"requests": 1, "bytes": 500}``. A request that takes none is not limited. One
            that takes more than the burst is answered with 429, without `Retry-After`.
        exempt: Requests that are not limited: paths, each with all that is below it, or a plain function of the scope.
            A path is the whole one, with that of a mount.
        under: Parents of each key, and of the limiter for requests without a key: see `RateLimiter.key`.
        wait: Seconds, or a timedelta, that a request waits for its permits; 0: it is denied at once. A client that
            leaves meanwhile ends the wait, and its place goes to the next.
        policy_name: What the fields call a limit that has no name.
        fields: Whether responses have `RateLimit` and `RateLimit-Policy`.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Cost: that of `RateLimiter.check`, 1 UpdateItem (1 WCU) for a request that is admitted. A denial that is remembered
    costs nothing. The fields cost nothing.

    Example:
        >>> import asyncio
        >>> from ddb_lease import local
        >>> from ddb_lease.adapters.asgi import RateLimitMiddleware
        >>> from ddb_lease.aio import RateLimiter
        >>> async def hello(scope, receive, send):
        ...     await send({"type": "http.response.start", "status": 200, "headers": []})
        ...     await send({"type": "http.response.body", "body": b"hello"})
        >>> limiter = RateLimiter("views", rate=1, per=60, **local.connect())
        >>> app = RateLimitMiddleware(hello, limiter=limiter)
        >>> async def get(path):
        ...     sent = []
        ...     async def send(message):
        ...         sent.append(message)
        ...     scope = {"type": "http", "method": "GET", "path": path, "headers": [], "client": ("192.0.2.7", 5000)}
        ...     await app(scope, None, send)
        ...     return sent[0]["status"], dict(sent[0]["headers"])[b"ratelimit"]
        >>> asyncio.run(get("/"))
        (200, b'"default";r=0;t=60')
        >>> asyncio.run(get("/"))[0]
        429
        >>> asyncio.run(limiter.close())
    """

    def __init__(
        self,
        app: Application,
        *,
        limiter: RateLimiter | KeyLimiter,
        key: Callable[[Scope], str | None] | None = _BY_CLIENT_ADDRESS,
        cost: Cost | Callable[[Scope], Cost] = 1,
        exempt: Callable[[Scope], bool] | Sequence[str] = (),
        under: Sequence[KeyLimiter | RateLimiter] = (),
        wait: Seconds = 0,
        policy_name: str = "default",
        fields: bool = True,
    ) -> None:
        self._app = app
        self._rules: Rules[Scope] = Rules(
            limiter=limiter,
            kinds=(RateLimiter, KeyLimiter),
            key=key,
            cost=cost,
            exempt=exempt,
            path_of=_path_of,
            under=under,
            wait=wait,
            policy_name=policy_name,
            fields=fields,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application answer it."""
        rules = self._rules
        limited = scope["type"] in {"http", "websocket"} and not rules.is_exempt(scope)
        wanted = rules.cost_of(scope) if limited else {}
        if not wanted:
            await self._app(scope, receive, send)
        elif rules.wait and not _expects(scope):
            await self._wait(scope, receive, send, wanted)
        else:
            await self._go_on(await self._decide(rules.limiter_for(scope), wanted), scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send, wanted: Mapping[str, int]) -> None:
        limiter = self._rules.limiter_for(
            scope
        )  # here, so that context variables that `key` sets are the application's
        inbox = Inbox(receive)
        try:
            outcome = await inbox.during(self._decide(limiter, wanted))
            if outcome is not None:
                await self._go_on(outcome, scope, inbox.receive, send)
        finally:
            inbox.close()

    async def _decide(self, limiter: RateLimiter | KeyLimiter, wanted: Mapping[str, int]) -> Outcome:
        rules = self._rules
        try:
            decision = await limiter.check(timeout=rules.wait, **rules.arguments(wanted))
        except (StoreUnavailable, TooManyPermits) as error:
            return rules.failed(error, wanted)
        return rules.outcome(decision, wanted)

    async def _go_on(self, outcome: Outcome, scope: Scope, receive: Receive, send: Send) -> None:
        if outcome.denial is None:
            await self._app(scope, receive, _adding(outcome.fields, send) if outcome.fields else send)
        elif scope["type"] == "http":
            await _respond(outcome.denial, "http.response", send, empty=scope.get("method") == "HEAD")
        elif (await receive())["type"] == "websocket.connect":
            if "websocket.http.response" in (scope.get("extensions") or {}):
                await _respond(outcome.denial, "websocket.http.response", send)
            else:
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "rate limit"})


async def _respond(denial: Denial, kind: str, send: Send, *, empty: bool = False) -> None:
    await send({"type": f"{kind}.start", "status": denial.code, "headers": _encoded(denial.fields)})
    await send({"type": f"{kind}.body", "body": b"" if empty else denial.body})


def _adding(fields: Fields, send: Send) -> Send:
    """`send` with the fields; what the application itself has of them stays."""

    async def sending(message: Message) -> None:
        if message["type"] in _BEGINNINGS:
            headers: Iterable[Any] = message.get("headers") or ()
            message = {**message, "headers": [*headers, *_encoded(fields)]}
        await send(message)

    return sending


def _encoded(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in fields]


def _values(scope: Scope, field: bytes) -> Iterator[str]:
    return (value.decode("latin-1") for name, value in scope["headers"] if name.lower() == field)


def _expects(scope: Scope) -> bool:
    """Whether the client waits for 100 (Continue), which servers send when the body is first received."""
    return any(True for _ in _values(scope, b"expect"))


def _path_of(scope: Scope) -> str:
    return str(scope.get("path", ""))


def _checked_name(name: object) -> bytes:
    if isinstance(name, str) and name and name.isascii() and name.replace("-", "a").replace("_", "a").isalnum():
        return name.lower().encode("ascii")
    raise ConfigurationError(f"name must be that of a header field, such as 'x-api-key', not {named(name)}")
