"""The HTTP server of the engine.

Invariants: it listens on loopback only. It passes a request on only when all of it has been received, and writes
each response in one piece. A client that stalls delays no other client: each connection has a thread of its own.

Why not a library:

* werkzeug's server, which flask brings along, closes every connection after one response.
* waitress starts as quickly, but walks over all open connections in Python whenever one becomes ready: with 50 busy
  connections it answered 0.4 to 0.8 times as many requests per second as this server, at up to 1.8 times the CPU
  time each.
* cheroot reads requests in its worker threads: as many stalled clients as it has threads block all others.
"""

import contextlib
import logging
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler

from ddb_lease.local.activity import Activity
from ddb_lease.local.app import App
from ddb_lease.local.messages import HttpRequest, HttpResponse, error_response

LOOPBACK = "127.0.0.1"

# More than DynamoDB accepts (16 MB in BatchWriteItem), so that no client can fill the memory.
_MAX_BODY_BYTES = 20 * 1024 * 1024

_ONCE = ("Host", "Authorization", "Content-Length", "Content-Type", "X-Amz-Target")
"""The headers that say what is asked, and of whom."""

_logger = logging.getLogger(__name__)


class _Handler(BaseHTTPRequestHandler):
    server: "HttpServer"
    protocol_version = "HTTP/1.1"
    # Both prevent a stall of 40 ms: head and body are sent in one segment, and a segment is sent without waiting
    # for the acknowledgement of the previous one.
    wbufsize = 256 * 1024
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            self._send(error_response(411, "ValidationException", "Content-Length is required"))
            return
        if int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            self._send(error_response(413, "ValidationException", "the request is too large"))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True  # the client disconnected before its request was complete
            return
        self._answer(body)

    def do_GET(self) -> None:
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        repeated = [name for name in _ONCE if len(self.headers.get_all(name, ())) > 1]
        if repeated or not self.path.startswith("/"):
            # It is ambiguous what is asked, or of whom: the checks might read another part than the backend.
            self.close_connection = True
            what = f"more than one {repeated[0]}" if repeated else "the target must be a path"
            self._send(error_response(400, "ValidationException", what))
            return
        if not self.server.activity.enter():
            self.close_connection = True
            self._send(error_response(503, "ServiceUnavailable", "the engine is stopping"))
            return
        try:
            headers = {name.lower(): value for name, value in self.headers.items()}
            path = self.path.partition("?")[0]
            request = HttpRequest(method=self.command, path=path, headers=headers, body=body)
            self._send(self.server.app.handle(request))
        finally:
            self.server.activity.leave()

    def _send(self, response: HttpResponse) -> None:
        self.send_response_only(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(response.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class chose the name
        """Log no requests: the log is for failures."""


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves an app on the loopback interface, with one thread per connection.

    Args:
        app: Computes the responses.
        port: The port to listen on; 0 picks a free one.
        poll_s: The longest time, in seconds, until the server notices `stop`.
    """

    daemon_threads = True
    block_on_close = False  # an idle connection must not delay the stop
    allow_reuse_address = True  # a restarted engine can use its port at once
    request_queue_size = 128  # many processes may connect at the same time

    def __init__(self, app: App, *, port: int = 0, poll_s: float = 0.5) -> None:
        self.app = app
        self.activity = Activity()
        self._poll_s = poll_s
        self._connections: set[socket.socket] = set()
        self._connections_guard = threading.Lock()
        super().__init__((LOOPBACK, port), _Handler)
        self._thread = threading.Thread(target=self._serve, name="ddb-lease-engine", daemon=True)

    @property
    def endpoint_url(self) -> str:
        """The URL that clients connect to."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def start(self) -> None:
        """Serve in a background thread."""
        self._thread.start()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """Finish the requests in progress, then close the port and every connection."""
        self.activity.close(timeout_s=timeout_s)
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._connections_guard:
            # Otherwise a connection that is kept alive would outlive the server, in its thread.
            for connection in self._connections:
                _shut_down(connection)

    def _serve(self) -> None:
        self.serve_forever(poll_interval=self._poll_s)

    def process_request(self, request: object, client_address: object) -> None:
        """Remember the connection, so that `stop` can close it."""
        if isinstance(request, socket.socket):
            with self._connections_guard:
                self._connections.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]  # typeshed's private names

    def shutdown_request(self, request: object) -> None:
        """Forget the connection and close it."""
        if isinstance(request, socket.socket):
            with self._connections_guard:
                self._connections.discard(request)
        super().shutdown_request(request)  # type: ignore[arg-type]  # typeshed's private names

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base class passes them
        """Log a failure, but not a client that disconnected."""
        failure = sys.exc_info()[1]
        if not isinstance(failure, ConnectionError):
            _logger.error("a connection failed", exc_info=failure)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed
        connection.shutdown(socket.SHUT_RDWR)
