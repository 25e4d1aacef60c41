"""Applications that count their visitors by a storage in DynamoDB, each in a process of its own.

Arguments: framework, the storage's URI, limit, requests of each process, processes, strategy. Prints how often each status
was answered.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import sys

import ddb_lease.adapters.limits  # noqa: F401 - registers the scheme


def flask_app(uri, limit, **options):
    """An application with Flask-Limiter; its client returns status and headers of a visit."""
    from flask import Flask
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    app = Flask("shop")
    limiter = Limiter(get_remote_address, app=app, storage_uri=uri, headers_enabled=True, **options)

    @app.get("/")
    @limiter.limit(limit)
    def index():
        return "welcome"

    client = app.test_client()

    def visit():
        answer = client.get("/")
        return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}

    return visit


def slowapi_app(uri, limit, **options):
    """The same with slowapi, on Starlette."""
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded
    from slowapi.util import get_remote_address
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    limiter = Limiter(get_remote_address, storage_uri=uri, headers_enabled=True, **options)

    @limiter.limit(limit)
    async def index(request):
        return PlainTextResponse("welcome")

    app = Starlette(routes=[Route("/", index)])
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)

    return lambda: visited(app)


def visited(app):
    """The status and headers that an ASGI application answers a visit with."""
    return asyncio.run(_visit(app))


async def _visit(app):
    told = {}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.start":
            told.update(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return told["status"], {name.decode().lower(): value.decode() for name, value in told["headers"]}


APPS = {"flask": flask_app, "slowapi": slowapi_app}


def main(framework, uri, limit, requests, processes, strategy):
    """Visit an application once, fork, and let each child visit it so often: as servers do that load it before they fork."""
    visit = APPS[framework](uri, limit, strategy=strategy)
    found = collections.Counter([visit()[0]])
    pipes = [os.pipe() for _ in range(int(processes))]
    for _, to in pipes:
        if os.fork() == 0:
            counted = collections.Counter(visit()[0] for _ in range(int(requests)))
            os.write(to, json.dumps(counted).encode())
            os._exit(0)
        os.close(to)
    for of, _ in pipes:
        with open(of) as told:
            found.update({int(status): count for status, count in json.load(told).items()})
        os.wait()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
