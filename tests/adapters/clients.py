"""Clients of applications, without a server: both kinds of middleware have the same methods here."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from ddb_lease.adapters import asgi, wsgi
from tests.apis import Loop

ADDRESS = "192.0.2.7"


@dataclass(frozen=True)
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.headers if field.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def problem(self) -> dict[str, Any]:
        assert self["content-type"] == "application/problem+json"
        return json.loads(self.body)


def items(field: str) -> dict[str, dict[str, int]]:
    """A list of a structured field, of quoted names with whole numbers as parameters; it has nothing else."""
    found = {}
    for item in field.split(", "):
        name, parameters = re.fullmatch(r'"((?:[ !#-\[\]-~]|\\["\\])*)"((?:;[a-z]+=\d{1,15})+)', item).groups()
        found[name] = {key: int(value) for key, value in re.findall(r";([a-z]+)=(\d+)", parameters)}
    return found


class ByWsgi:
    """Middleware for WSGI, held to PEP 3333 by the validator of Python's library on both sides."""

    module = wsgi

    def __init__(self, loop: Loop | None = None) -> None:
        self.called: list[str] = []

    def around(self, limiter: Any, app: Any = None, **settings: Any) -> Callable[..., Response]:
        """A client of an application behind the middleware; arguments: path, method, and header fields by name."""
        wrapped = validator(wsgi.RateLimitMiddleware(validator(app or self.app), limiter=limiter, **settings))
        return lambda path="/", **more: self.ask(wrapped, path, **more)

    def app(self, environ: Any, start_response: Any) -> Any:
        self.called.append(environ["SCRIPT_NAME"] + environ["PATH_INFO"])
        fields = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        start_response("200 OK", fields)
        return [b"hel", b"lo"]

    def ask(
        self,
        app: Any,
        path: str,
        *,
        method: str = "GET",
        address: str | None = ADDRESS,
        mount: str = "",
        **headers: str,
    ) -> Response:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": mount}
        setup_testing_defaults(environ)
        environ |= {"wsgi.input": io.BytesIO(), "SERVER_PROTOCOL": "HTTP/1.1", "QUERY_STRING": ""}
        if address is not None:
            environ["REMOTE_ADDR"] = address
        environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        began: list[Any] = []

        def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
            began[:] = [status, fields]
            return lambda data: None

        chunks = app(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            chunks.close()
        return Response(int(began[0][:3]), began[1], body)


class ByAsgi:
    """Middleware for ASGI."""

    module = asgi

    def __init__(self, loop: Loop) -> None:
        self.called: list[str] = []
        self._loop = loop

    def around(self, limiter: Any, app: Any = None, **settings: Any) -> Callable[..., Response]:
        """As `ByWsgi.around`."""
        wrapped = asgi.RateLimitMiddleware(app or self.app, limiter=limiter, **settings)
        return lambda path="/", **more: self._loop.run(ask(wrapped, path, **more))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.called.append(scope["path"])
        fields = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"hel", "more_body": True})
        await send({"type": "http.response.body", "body": b"lo"})


def scope_of(
    path: str = "/",
    *,
    kind: str = "http",
    method: str = "GET",
    address: str | None = ADDRESS,
    mount: str = "",
    **headers: str,
) -> dict[str, Any]:
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    client = None if address is None else (address, 5000)
    return {
        "type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": mount + path, "raw_path": path.encode("utf-8", "replace"), "root_path": mount, "query_string": b"",
        "headers": fields, "client": client, "server": ("127.0.0.1", 80),
    }  # fmt: skip


async def ask(app: Any, path: str = "/", **more: Any) -> Response:
    """One request of an ASGI application; its messages are as the specification wants them."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(path, **more), receive, send)
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert all(message["type"] == "http.response.body" for message in bodies)
    assert [message.get("more_body", False) for message in bodies] == [True] * (len(bodies) - 1) + [False]
    assert all(isinstance(part, bytes) for field in start["headers"] for part in field)
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return Response(start["status"], fields, b"".join(message.get("body", b"") for message in bodies))
