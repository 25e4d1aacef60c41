"""Middleware: what a request takes with it, beside the same application without it, and without a server.

Each figure is of one request of a program that calls the application itself. `check` is what the limiter takes for the
same permit by itself, so the rest of `with` is the middleware's own. What is admitted has its permit from those that
the process has in hand (`prefetch`): else a write to the table is all that one sees.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.company import RATE, Company
from benchmarks.figures import quantile
from benchmarks.parts import Tick
from ddb_lease import RateLimiter, aio
from ddb_lease.adapters import asgi, wsgi
from scripts.harness.engine_process import LOOPBACK, free_port
from scripts.harness.holders import session

REQUESTS = {"admitted": 3_000, "denied": 3_000, "service away": 3_000}
OUTAGE_SECONDS = 1.5
"""After so long without an answer, an outage counts as one, with the shortest budget."""
ADDRESS = "192.0.2.7"

Ask = Callable[[], Awaitable[Any]]


def run(company: Company, tick: Tick, *, requests: dict[str, int] = REQUESTS) -> list[dict[str, Any]]:
    """One row for each kind of middleware and each case."""
    rows = []
    for kind in ("WSGI", "ASGI"):
        for case, count in requests.items():
            rows.append(asyncio.run(_measured(company, kind, case, count)))
            tick(len(rows) / (2 * len(requests)))
    return rows


async def _measured(company: Company, kind: str, case: str, count: int) -> dict[str, Any]:
    name, url = company.bucket(), company.endpoint_url
    away = case == "service away"
    settings: dict[str, Any] = {
        **({"rate": 1, "per": 86_400} if case == "denied" else {"rate": 100_000, "burst": 100_000, "prefetch": 10_000}),
        **({"on_unavailable": "deny", "budget": 1} if away else {}),
        "table": company.table(RATE),
        "endpoint_url": f"http://{LOOPBACK}:{free_port()}" if away else url,
        "session": session(url) if company.engine in {"ministack", "embedded"} else None,
    }
    if kind == "WSGI":
        with RateLimiter(name, **settings) as limiter:
            limited = wsgi.RateLimitMiddleware(_wsgi_app, limiter=limiter)
            return await _row(kind, case, count, _calls(_wsgi_app), _calls(limited), _plain(limiter.key(ADDRESS).check))
    async with aio.RateLimiter(name, **settings) as awaited:
        around = asgi.RateLimitMiddleware(_asgi_app, limiter=awaited)
        return await _row(kind, case, count, _awaits(_asgi_app), _awaits(around), awaited.key(ADDRESS).check)


async def _row(kind: str, case: str, count: int, without: Ask, limited: Ask, check: Ask) -> dict[str, Any]:
    """Medians; the three in turn, so that a busy machine is busy for all of them."""
    until = time.perf_counter() + (OUTAGE_SECONDS if case == "service away" else 0.0)
    await check()
    while time.perf_counter() < until:
        await check()
    taken: dict[str, list[float]] = {"without": [], "check": [], "with": []}
    for _ in range(count):
        for name, ask in (("without", without), ("check", check), ("with", limited)):
            began = time.perf_counter()
            await ask()
            taken[name].append(time.perf_counter() - began)
    medians = {name: quantile(each, 0.5) * 1e6 for name, each in taken.items()}
    return {
        "middleware": kind,
        "request": case,
        "without_us": medians["without"],
        "check_us": medians["check"],
        "with_us": medians["with"],
        "own_us": medians["with"] - medians["check"] - (medians["without"] if case == "admitted" else 0.0),
    }


# Applications, and one request of them.


def _wsgi_app(environ: Any, start_response: Any) -> list[bytes]:  # noqa: ARG001 - as WSGI has it
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


async def _asgi_app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - as ASGI has it
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


def _calls(app: Any) -> Ask:
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "REMOTE_ADDR": ADDRESS}

    async def ask() -> None:
        b"".join(app(dict(environ), lambda *_: None))

    return ask


def _awaits(app: Any) -> Ask:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": (ADDRESS, 5000)}

    async def send(message: Any) -> None:
        """Drop it."""

    async def ask() -> None:
        await app(dict(scope), None, send)

    return ask


def _plain(check: Callable[[], Any]) -> Ask:
    async def ask() -> None:
        check()

    return ask
