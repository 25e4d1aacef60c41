"""`ddb-lease serve`: a table, or some of its buckets, live on a page that this machine alone can open.

Invariants:

- It listens on loopback only, and answers no request that names another host: a page elsewhere whose name leads here
  (DNS rebinding) gets nothing. It changes nothing, whatever is asked.
- It shows names, owners and times. What holders attached to their leases, and the ids that end them, stay here.
- Viewers cost nothing: all see the last look.
"""

from __future__ import annotations

import argparse
import json
import logging
import socketserver
import threading
from datetime import datetime, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from ddb_lease._protocol.listing import BucketListing, RateListing
from ddb_lease.cli import rate_output
from ddb_lease.cli.formatting import printable
from ddb_lease.cli.seeing import pages, watching
from ddb_lease.cli.seeing.ls import by_pressure, cost_of
from ddb_lease.cli.seeing.watching import Picture, Watching
from ddb_lease.cli.streams import show
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import LeaseInfo

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = (LOOPBACK, "localhost", "[::1]")
_MOST_HOLDERS: Final = 64
_MOST_CONNECTIONS: Final = 64
_MOST_PORT: Final = 65_535


def execute(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not 0 <= options.port <= _MOST_PORT:
        raise ConfigurationError(f"--port must be from 0 to {_MOST_PORT}, not {options.port}")
    with watching.looking(options) as look:
        watched = Watching(look, interval=options.interval, always=False)
        with PageServer(watched, port=options.port, interval=options.interval) as server, watched:
            show(f"{printable(options.table)} is at {server.url} until Ctrl-C")
            server.serve_forever()
    return 0


class PageServer(ThreadingHTTPServer):
    """Serves one page, and the data that its script asks for.

    Args:
        watched: What to show.
        port: Where to listen; 0 for any free port.
        interval: Seconds between two looks, for the page.

    Raises:
        ConfigurationError: The port is in use, or not ours to take.
    """

    daemon_threads = True

    def __init__(self, watched: Watching, *, port: int, interval: float) -> None:
        self.watched = watched
        self.interval = interval
        self.page = live_page().encode()
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on port {port}: {error.strerror}; give another --port") from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Bind it; the base class would look up the name of this machine, which may take long."""
        socketserver.TCPServer.server_bind(self)

    def data(self) -> bytes:
        """What the page shows now."""
        return json.dumps(plain(self.watched.picture(), interval=self.interval)).encode()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Give a request a thread of its own; refuse it if there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - likewise
        """Answer a request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class calls it
        """A browser that hangs up is no error of ours: it is logged with -vv."""
        logging.getLogger("ddb_lease").debug("a request of a page was not answered", exc_info=True)  # noqa: LOG014 - one is handled


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = 10.0  # a client that stalls

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        hosts = self.headers.get_all("Host") or []
        path = self.path.partition("?")[0]
        if len(hosts) != 1 or not self._is_here(hosts[0]):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"this is another host\n", with_body=with_body)
        elif path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page, with_body=with_body)
        elif path == "/data.json":
            self._send(HTTPStatus.OK, "application/json", self.server.data(), with_body=with_body)
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here\n", with_body=with_body)

    def _is_here(self, host: str) -> bool:
        port = self.server.server_address[1]
        return host in {f"{name}:{port}" for name in _NAMES} or (port == 80 and host in _NAMES)  # noqa: PLR2004 - HTTP's

    def _send(self, status: HTTPStatus, kind: str, body: bytes, *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def version_string(self) -> str:
        return "ddb-lease"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Requests of a page that asks every second are no news."""


def live_page() -> str:
    """The page, without data."""
    body = """<main>
<header><h1 id="title">ddb-lease</h1><p id="state" role="status" class="soft">asking …</p></header>
<noscript><p class="bad">This page needs JavaScript. `ddb-lease status` shows the same.</p></noscript>
<div id="trouble" role="alert" hidden></div>
<div id="buckets"></div>
<div id="rates"></div>
<footer class="soft"><span class="cell used"></span> leased <span class="cell"></span> free
<span class="cell gone"></span> expired <span class="cell used retired"></span> on a retired slot
<span id="cost"></span></footer>
</main>"""
    return pages.page(
        title="ddb-lease", body=body, styles=("common.css", "live.css"), script="live.js", connect="'self'"
    )


def plain(picture: Picture, *, interval: float) -> dict[str, Any]:
    """A picture as the page's script reads it."""
    listing = picture.listing
    return {
        "table": printable(listing.table),
        "number": picture.number,
        "age": round(picture.age_seconds, 1),
        "interval": interval,
        "error": picture.error,
        "cost": cost_of(listing) if listing.read_units is not None else "",
        "buckets": [_bucket(bucket) for bucket in by_pressure(listing.buckets)],
        "rates": [_rate(rate) for rate in listing.rates],
    }


def _bucket(bucket: BucketListing) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    holders = sorted(bucket.leases, key=lambda lease: -lease.age_seconds)
    return {
        "name": printable(bucket.name),
        "kind": bucket.kind,
        "max": bucket.max_tokens,
        "used": bucket.used,
        "order": bucket.order,
        "waiting": bucket.waiting,
        "held": len(bucket.leases),
        "lease": bucket.lease_seconds,
        "cells": [[lease.slot, lease.expired, lease.retired] for lease in bucket.leases[:_MOST_HOLDERS]],
        "holders": [_holder(lease) for lease in holders[:_MOST_HOLDERS]] if bucket.kind == "bucket" else [],
        "queue": [
            {
                "place": waiter.place,
                "owner": printable(waiter.owner),
                "waited": max(0.0, (now - waiter.since).total_seconds()),
                "count": waiter.count,
                "priority": waiter.priority,
            }
            for waiter in bucket.queue
        ],
    }


def _holder(lease: LeaseInfo) -> dict[str, Any]:
    return {
        "slot": lease.slot,
        "owner": printable(lease.owner),
        "age": round(lease.age_seconds, 1),
        "left": round(lease.remaining_seconds, 1),
        "revoked": lease.revoked,
        "retired": lease.retired,
        "closed": lease.closed,
    }


def _rate(rate: RateListing) -> dict[str, Any]:
    burst = min((limit.burst or 1 for limit in rate.limits.values()), default=1)
    return {
        "name": printable(rate.name),
        "limits": printable(rate_output.limits_text(rate.limits)),
        "available": rate.available,
        "burst": burst,
        "keys": rate.keys,
        "blocked": rate.blocked,
    }
