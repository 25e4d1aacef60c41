"""Which clients there are, and by which of them something is sent."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import boto3.session
import pytest
from botocore.exceptions import EndpointConnectionError


class Clients:
    """The clients that boto3's sessions make during a test, as long as somebody keeps them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        make = boto3.session.Session.client

        def made(*given: Any, **named: Any) -> Any:
            client = make(*given, **named)
            self.alive.add(client)
            return client

        patch.setattr(boto3.session.Session, "client", made)

    def sender(self, send: Callable[[], object]) -> Any:
        """The client by which this sends its one request; that does not leave this machine."""
        senders: list[Any] = []

        def refuse(client: Any, **_: object) -> None:
            senders.append(client)
            raise EndpointConnectionError(endpoint_url="the test's")

        handlers = [(client, functools.partial(refuse, client)) for client in self.alive]
        for client, handler in handlers:
            client.meta.events.register("before-call.dynamodb", handler)
        try:
            send()
        finally:
            for client, handler in handlers:
                client.meta.events.unregister("before-call.dynamodb", handler)
        (one,) = senders
        return one
