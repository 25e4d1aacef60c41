"""Middleware for WSGI: a rate limit in front of any application, such as Flask's or Django's.

Invariants: it reads nothing of the request's body. What the application returns is passed on as it is.

It imports no framework. ``docs/middleware.md`` has examples, costs, and what proxies and forks mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final

from ddb_lease.adapters._http import Denial, Outcome, checked_proxies, client_address, digest_of
from ddb_lease.adapters._middleware import Cost, Rules, named
from ddb_lease.errors import ConfigurationError, StoreUnavailable, TooManyPermits
from ddb_lease.key_limiter import KeyLimiter
from ddb_lease.models import Seconds
from ddb_lease.rate_limiter import RateLimiter

__all__ = ["RateLimitMiddleware", "by_client_address", "by_header"]

Environ = MutableMapping[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Any, Any], Iterable[bytes]]


def by_header(name: str, *, digest: bool = False) -> Callable[[Environ], str | None]:
    """A `key` for `RateLimitMiddleware`: the value of a request's header field.

    A client may send any value: use it behind whatever checks the value, or give `under` as well. A value of more than
    512 bytes is replaced by its SHA-256.

    Args:
        name: Of the field, such as ``x-api-key``.
        digest: Whether to use the SHA-256 of each value: a secret is then neither in the table nor in events.

    Returns:
        A function of a request: None if the field is missing or empty.
    """
    variable = "HTTP_" + _checked_name(name).upper().replace("-", "_")

    def key(environ: Environ) -> str | None:
        value = str(environ.get(variable, "")).strip()
        return digest_of(value) if digest and value else value or None

    return key


def by_client_address(*, trusted_proxies: int = 0, ipv6_prefix: int = 64) -> Callable[[Environ], str | None]:
    """A `key` for `RateLimitMiddleware`: the client's address.

    Behind a proxy that is not counted, all clients have the proxy's address, and share one limit. Where one is counted
    that is not there, each client may claim any address. `X-Forwarded-For` is read, and `Forwarded` is not.

    Args:
        trusted_proxies: How many proxies, one after the other, append the address of their client to `X-Forwarded-For`:
            so many addresses are counted from its end. A request with fewer of them is its peer's.
        ipv6_prefix: How many bits of an IPv6 address are the key: one client mostly has a network of 2**64 addresses.

    Returns:
        A function of a request: None if the server knows no address, as on a Unix socket.
    """
    proxies, prefix = checked_proxies(trusted_proxies, ipv6_prefix)

    def key(environ: Environ) -> str | None:
        forwarded = str(environ.get("HTTP_X_FORWARDED_FOR", ""))
        return client_address(environ.get("REMOTE_ADDR"), forwarded, trusted_proxies=proxies, ipv6_prefix=prefix)

    return key


_BY_CLIENT_ADDRESS: Final = by_client_address()


class RateLimitMiddleware:
    """Limit the requests that reach a WSGI application.

    A request takes permits of its key before the application is called. If it cannot have them, it is answered with 429
    and a problem document (RFC 9457), and the application is not called. All responses have the fields `RateLimit` and
    `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), but those to requests that are exempt; a denial also
    has `Retry-After`. Permits that a request took are used, whatever comes of it.

    While the service does not answer, the limiter's `on_unavailable` decides. What it denies is answered with 503, and
    so is each request where it is ``raise``.

    Args:
        app: The application.
        limiter: A `ddb_lease.RateLimiter`; or a key of one, for all requests together, with ``key=None``. It stays
            yours to close. One that was made before a server forks may be used by its workers.
        key: A function of the WSGI environment: whose permits a request takes. By default the client's address, which
            behind a proxy is the proxy's: see `by_client_address`, and `by_header`. Requests without a key (None or
            empty), or all with ``key=None``, take those of the limiter itself, together.
        cost: How many permits a request takes, or a function of the environment that says it; by name for a limiter
            with several limits, as in ``{"requests": 1, "bytes": 500}``. A request that takes none is not limited. One
            that takes more than the burst is answered with 429, without `Retry-After`.
        exempt: Requests that are not limited: paths, each with all that is below it, or a function of the environment.
            A path is the whole one, with that of a mount.
        under: Parents of each key, and of the limiter for requests without a key: see `RateLimiter.key`.
        wait: Seconds, or a timedelta, that a request waits for its permits, on its thread. 0: it is denied at once.
        policy_name: What the fields call a limit that has no name.
        fields: Whether responses have `RateLimit` and `RateLimit-Policy`.

    Raises:
        ConfigurationError: A setting cannot work. Nothing was sent.

    Cost: that of `RateLimiter.check`, 1 UpdateItem (1 WCU) for a request that is admitted. A denial that is remembered
    costs nothing. The fields cost nothing.

    Example:
        >>> from ddb_lease import RateLimiter, local
        >>> from ddb_lease.adapters.wsgi import RateLimitMiddleware
        >>> def hello(environ, start_response):
        ...     start_response("200 OK", [("Content-Type", "text/plain")])
        ...     return [b"hello"]
        >>> limiter = RateLimiter("pages", rate=1, per=60, **local.connect())
        >>> app = RateLimitMiddleware(hello, limiter=limiter)
        >>> def get(path):
        ...     seen = {}
        ...     environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REMOTE_ADDR": "192.0.2.7"}
        ...     body = app(environ, lambda status, headers: seen.update(status=status, **dict(headers)))
        ...     return seen["status"], seen["RateLimit"], b"".join(body)[:5]
        >>> get("/")
        ('200 OK', '"default";r=0;t=60', b'hello')
        >>> get("/")[0]
        '429 Too Many Requests'
        >>> limiter.close()
    """

    def __init__(
        self,
        app: Application,
        *,
        limiter: RateLimiter | KeyLimiter,
        key: Callable[[Environ], str | None] | None = _BY_CLIENT_ADDRESS,
        cost: Cost | Callable[[Environ], Cost] = 1,
        exempt: Callable[[Environ], bool] | Sequence[str] = (),
        under: Sequence[KeyLimiter | RateLimiter] = (),
        wait: Seconds = 0,
        policy_name: str = "default",
        fields: bool = True,
    ) -> None:
        self._app = app
        self._rules: Rules[Environ] = Rules(
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

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or let the application answer it."""
        rules = self._rules
        wanted = {} if rules.is_exempt(environ) else rules.cost_of(environ)
        if not wanted:
            return self._app(environ, start_response)
        limiter = rules.limiter_for(environ)
        try:
            outcome = rules.outcome(limiter.check(timeout=rules.wait, **rules.arguments(wanted)), wanted)
        except (StoreUnavailable, TooManyPermits) as error:
            outcome = rules.failed(error, wanted)
        if outcome.denial is not None:
            return _deny(outcome.denial, environ, start_response)
        return self._app(environ, _adding(outcome, start_response))


def _deny(denial: Denial, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response(denial.status, list(denial.fields))
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [denial.body]


def _adding(outcome: Outcome, start_response: StartResponse) -> StartResponse:
    """`start_response` with the fields; what the application itself has of them stays."""

    def start(status: str, response_headers: list[tuple[str, str]], exc_info: object = None) -> object:
        headers = [*response_headers, *outcome.fields]
        return start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)

    return start


def _path_of(environ: Environ) -> str:
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _checked_name(name: object) -> str:
    if isinstance(name, str) and name and name.isascii() and name.replace("-", "a").replace("_", "a").isalnum():
        return str(name)
    raise ConfigurationError(f"name must be that of a header field, such as 'x-api-key', not {named(name)}")
