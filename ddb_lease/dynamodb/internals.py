"""botocore's private parts, as far as we touch them: all of that in one place.

Invariants:

- Whoever uses them takes botocore's whole path where one of them is not what we know: a newer botocore may change them.
- No I/O.
"""
# ruff: noqa: SLF001, ANN401 - that is what this module is for; none of it has a public type

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from botocore.history import get_global_history_recorder

from ddb_lease.dynamodb.signature import Credentials

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool


def credentials_of(client: Any) -> Credentials | None:
    """What a request of the client is signed with now; None if there is nothing. This may refresh them, with I/O.

    Raises:
        Exception: What botocore raises where they cannot be had.
    """
    found = client._get_credentials()
    frozen: Credentials | None = None if found is None else found.get_frozen_credentials()
    return frozen


def credentials_at_hand(client: Any) -> Credentials | None:
    """What a request of the client was last signed with, or what is there to sign with; None if there is nothing.

    No I/O: credentials that are about to expire would be fetched anew for each look at them.
    """
    found = client._get_credentials()
    frozen: Credentials | None = getattr(found, "_frozen_credentials", None)  # those that are refreshed have them
    return credentials_of(client) if frozen is None else frozen


def endpoint_of(client: Any) -> Any:
    """What a client sends by."""
    return client._endpoint


def http_session_of(client: Any) -> Any:
    """The session through which a client sends."""
    return client._endpoint.http_session


def connections_of(session: Any, url: str) -> tuple[HTTPConnectionPool, str, str | None]:
    """urllib3's pool of a session's connections to a URL, set up as the session does it.

    Returns:
        The pool; the target to ask it for, which is the whole URL where a proxy forwards it; the proxy's URL, if any.
    """
    proxy = session._proxy_config.proxy_url_for(url)
    pool = session._get_connection_manager(url, proxy).connection_from_url(url)
    session._setup_ssl_cert(pool, url, session._verify)
    return pool, session._get_request_target(url, proxy), proxy


def use_pools(session: Any, classes: Mapping[type[Any], type[Any]]) -> None:
    """Let a session make pools of these classes, in place of botocore's, from now on; those that it has made stay."""
    own = session._pool_classes_by_scheme  # its managers, and those of its proxies, have the same
    own.update({scheme: classes[theirs] for scheme, theirs in own.items() if theirs in classes})


def handlers_of(client: Any, event: str) -> Sequence[object]:
    """All handlers of a client's event."""
    found: Sequence[object] = client.meta.events._emitter._handlers.prefix_search(event)
    return found


class Inside(NamedTuple):
    """What a client sends by at one moment.

    Attributes:
        endpoint: See `endpoint_of`.
        session: See `http_session_of`.
        registered: An object that is replaced by another one whenever a handler of the client comes or goes.
        recorded: Whether somebody has botocore record its calls.
    """

    endpoint: Any
    session: Any
    registered: object
    recorded: bool


def inside_of(client: Any) -> Inside:
    """What a call of the client would go through now."""
    endpoint, recorder = client._endpoint, cast("Any", get_global_history_recorder())
    lookup_cache = client.meta.events._emitter._lookup_cache
    return Inside(endpoint, endpoint.http_session, lookup_cache, bool(recorder._enabled))
