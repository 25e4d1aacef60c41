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
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import BaseClient
from botocore.hooks import HierarchicalEmitter
from botocore.parsers import ResponseParser
from botocore.signers import RequestSigner

from ddb_lease.dynamodb.internals import Inside, endpoint_of, handlers_of, http_session_of, inside_of

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

_MOTO: Final = "moto."

_CALLED: Final = (
    *("_make_api_call", "_make_request", "_convert_to_request_dict", "_emit_api_params", "_resolve_endpoint_ruleset"),
)
"""Methods of a client that a call goes through."""

_SENDING: Final = (
    *("make_request", "create_request", "prepare_request", "_send_request", "_get_response", "_do_get_response"),
    "_send",
)
"""Methods of a client's endpoint."""

_ANYWHERE: Final = (
    (RequestSigner, "handler"),
    (RequestSigner, "sign"),
    (RequestSigner, "get_auth_instance"),
    (SigV4Auth, "add_auth"),
    (AWSRequest, "prepare"),
    (HierarchicalEmitter, "_emit"),
    (ResponseParser, "parse"),
)
"""Functions of classes that botocore chooses itself."""


class Hooks:
    """Looks at one client. Threads share it without a lock: in a race, several look.

    Args:
        client: The client.
    """

    def __init__(self, client: BaseClient) -> None:
        endpoint = endpoint_of(client)
        session = http_session_of(client)
        self._functions: tuple[tuple[Any, str, object], ...] = tuple(
            (owner, name, getattr(owner, name, None))
            for owner, name in (
                *((type(client), name) for name in _CALLED),
                *((type(endpoint), name) for name in _SENDING),
                (type(session), "send"),
                *_ANYWHERE,
            )
        )
        self._replaced = {name for owner, name, function in self._functions if not _is_botocores(function)}
        self._objects = ((endpoint, frozenset(_SENDING)), (session, frozenset({"send"})))
        self._looked: tuple[object, dict[str, list[tuple[str, object]]]] = (None, {})

    def found(self, client: BaseClient, method: str, operation: str) -> str | None:
        """What hooks into a call of this method; None if nothing does.

        Args:
            client: The client.
            method: Its method.
            operation: The method's operation, as events name it.

        Raises:
            AttributeError: botocore's inside is not what we know.
        """
        inside = inside_of(client)
        replaced = self._replaced_now(client, method, inside)
        if replaced is not None:
            return replaced
        if inside.recorded:
            return "botocore's history is recorded"
        registered = inside.registered
        before, found = self._looked
        if registered is not before:
            found = {}
            self._looked = registered, found
        hooks = found.get(operation)
        if hooks is None:
            # Into the table of the handlers that were there before the look: who registers meanwhile begins another.
            hooks = found[operation] = list(self._look(client, method, operation))
        return next((hook for hook, switch in hooks if getattr(switch, "enabled", True)), None)

    def _replaced_now(self, client: BaseClient, method: str, inside: Inside) -> str | None:
        own = vars(client)
        if method in own or not own.keys().isdisjoint(_CALLED):
            return f"{method} of the client is replaced"
        (endpoint, _), (session, _) = self._objects
        if inside.endpoint is not endpoint or inside.session is not session:
            return "the client's endpoint or HTTP session is replaced"
        for thing, names in self._objects:
            if not names.isdisjoint(vars(thing)):
                return f"a method of the client's {type(thing).__name__} is replaced"
        for owner, name, function in self._functions:
            if getattr(owner, name, None) is not function:
                return f"{owner.__name__}.{name} is replaced"
        return f"{', '.join(sorted(self._replaced))} of botocore was replaced before" if self._replaced else None

    def _look(self, client: BaseClient, method: str, operation: str) -> Iterator[tuple[str, object]]:
        """All hooks; each with what switches it, if something does."""
        if not _is_botocores(getattr(type(client), method, None)):
            yield f"{method} of the client's class is replaced", None
        service = client.meta.service_model.service_id.hyphenize()
        for event in _EVENTS:
            for handler in handlers_of(client, f"{event}.{service}.{operation}"):
                module, name = _home(handler)
                if not (module in _OWN or module.startswith(_OURS) or (module, name) == _FINDS_NOTHING):
                    # moto puts one into each client of a process that imports it, and switches it on for a test.
                    yield f"{module}.{name} handles {event}", handler if module.startswith(_MOTO) else None


def _is_botocores(function: object) -> bool:
    # Wrappers copy names, and some look like functions: where the code itself stands cannot be copied. A function that
    # this version of botocore does not have cannot be replaced.
    if function is None:
        return True
    return isinstance(function, FunctionType) and str(function.__globals__.get("__name__", "")).startswith("botocore.")


def _home(handler: object) -> tuple[str, str]:
    while isinstance(handler, functools.partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    if isinstance(handler, FunctionType):
        return str(handler.__globals__.get("__name__")), handler.__qualname__
    return type(handler).__module__, type(handler).__qualname__
