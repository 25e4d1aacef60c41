"""Hooks: whether a call to a boto3 client would run anything but botocore's own code.

Tracing libraries, test doubles and users hook into botocore in two ways: they register event handlers, or they replace
functions. Whoever does so wants to see our requests too, or to answer them.

Invariants:

- What is not known as botocore's own counts as a hook.
- A look at a client costs next to nothing: handlers are looked through once, until another one is registered.
- No I/O.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.httpsession import URLLib3Session

from ddb_lease.dynamodb.internals import handlers_of, registered_of

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient as Client
else:
    Client = Any

_EVENTS: Final = (
    *("provide-client-params", "before-parameter-build", "before-endpoint-resolution", "before-call"),
    *("request-created", "choose-signer", "before-sign", "before-send", "before-parse", "response-received"),
    *("needs-retry", "after-call", "after-call-error"),
)
"""What a client emits in a call, in this order."""

_OWN: Final = frozenset(
    f"botocore.{module}" for module in ("handlers", "signers", "useragent", "retries.standard", "retryhandler", "utils")
)
"""Modules whose handlers change nothing in our requests but what a template has of them."""

_OURS: Final = "ddb_lease.dynamodb."

_FINDS_NOTHING: Final = ("botocore.discovery", "block_endpoint_discovery_required_operations")
"""The one handler of this module that every client has. Others replace the endpoint."""

_REPLACEABLE: Final = (
    (BaseClient, "_make_api_call"),
    (BaseClient, "_make_request"),
    (Endpoint, "make_request"),
    (Endpoint, "_send_request"),
    (Endpoint, "_send"),
    (URLLib3Session, "send"),
)
"""Functions that tracing libraries wrap: all that a call goes through."""


class Hooks:
    """Looks at one client. Threads share it without a lock: in a race, both look."""

    def __init__(self) -> None:
        self._registered: object = None
        self._found: dict[str, list[tuple[str, object]]] = {}

    def found(self, client: Client, method: str, operation: str) -> str | None:
        """What hooks into a call of this method; None if nothing does.

        Args:
            client: The client.
            method: Its method.
            operation: The method's operation, as events name it.
        """
        own = vars(client)
        if method in own or "_make_api_call" in own:
            return f"{method} of the client is replaced"
        if (replaced := _replaced()) is not None:
            return replaced
        try:
            registered = registered_of(client)
        except AttributeError:
            return "botocore's events are not what they were"
        if registered is not self._registered:
            self._found = {}
            self._registered = registered
        if operation not in self._found:
            self._found[operation] = list(self._look(client, method, operation))
        for hook, handler in self._found[operation]:
            # moto puts one into each client of a process that imports it, and switches it on for a test.
            if getattr(getattr(handler, "__self__", handler), "enabled", True):
                return hook
        return None

    def _look(self, client: Client, method: str, operation: str) -> Iterator[tuple[str, object]]:
        """All hooks, each with its handler if it is one."""
        if not _is_botocores(getattr(type(client), method, None)):
            yield f"{method} of the client's class is replaced", None
        service = client.meta.service_model.service_id.hyphenize()
        for event in _EVENTS:
            for handler in handlers_of(client, f"{event}.{service}.{operation}"):
                module, name = _home(handler)
                if not (module in _OWN or module.startswith(_OURS) or (module, name) == _FINDS_NOTHING):
                    yield f"{module}.{name} handles {event}", handler


def _replaced() -> str | None:
    for owner, name in _REPLACEABLE:
        if getattr(owner, name, None) is not _PLAIN[owner, name]:
            return f"{owner.__name__}.{name} is replaced"
    return None


def _is_botocores(function: object) -> bool:
    # Wrappers copy names, and some look like functions: where the code itself stands cannot be copied.
    return isinstance(function, FunctionType) and str(function.__globals__.get("__name__", "")).startswith("botocore.")


def _home(handler: object) -> tuple[str, str]:
    while isinstance(handler, functools.partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    if isinstance(handler, FunctionType):
        return str(handler.__globals__.get("__name__")), handler.__qualname__
    return type(handler).__module__, type(handler).__qualname__


def _plain(owner: type, name: str) -> object:
    function = getattr(owner, name, None)
    return function if _is_botocores(function) else object()  # replaced before we came: nothing is equal to it


_PLAIN: Final = {(owner, name): _plain(owner, name) for owner, name in _REPLACEABLE}
