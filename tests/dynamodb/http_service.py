"""An HTTP service on loopback that notes each request as it came, and gives the answers that it is told to."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import selectors
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DATE = "Sun, 29 Nov 2026 01:30:00 GMT"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Says:
    """One answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Close the connection after so many bytes of the body."""


def says(body: object = None, *, status: int = 200, **headers: str) -> Says:
    """An answer as DynamoDB gives it."""
    raw = json.dumps({} if body is None else body).encode()
    return Says(
        status=status,
        body=raw,
        headers={
            "x-amzn-RequestId": "REQUEST-1",
            "x-amz-crc32": str(zlib.crc32(raw)),
            "Content-Type": "application/x-amz-json-1.0",
            "Date": DATE,
        }
        | {name.replace("_", "-"): value for name, value in headers.items()},
    )


class Service:
    """The service; `answer` decides what each request gets, `asked` lists them all."""

    def __init__(self, server: HTTPServer, url: str) -> None:
        self.server = server
        self.url = url
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Says] = lambda _: says()
        self.connections = 0
        """How many were made."""
        self._open: set[socket.socket] = set()

    def connected(self, connection: socket.socket) -> None:
        """Note a new connection."""
        self.connections += 1
        self._open.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        """Note its end."""
        self._open.discard(connection)

    def hang_up(self) -> None:
        """Close all connections, between two requests; returns when their ends are on the way."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    service: Service

    def setup(self) -> None:
        super().setup()
        self.service.connected(self.connection)

    def finish(self) -> None:
        self.service.disconnected(self.connection)
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = Asked(target=self.path, headers=dict(self.headers.items()), body=body)
        self.service.asked.append(asked)
        answer = self.service.answer(asked)
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])
        self.wfile.flush()
        if answer.cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@contextlib.contextmanager
def serving(*, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Service]:
    """A service while the block runs."""
    handler = type("Handler", (_Handler,), {})
    server_type = type("Server", (_Server,), {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET})
    server = server_type((host, 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    name = f"[{host}]" if ":" in host else host
    handler.service = service = Service(server, f"http{'s' if tls else ''}://{name}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(kw_only=True)
class Tunnels:
    """A proxy that connects all its clients to one server, whatever they ask for: nothing leaves this machine.

    Attributes:
        port: Where it listens.
        to: The server's port.
        credentials: The value of `Proxy-Authorization` that it wants; None if it wants none.
        asked: What each CONNECT named, and the credentials that it brought.
    """

    port: int
    to: int
    credentials: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


class _TunnelHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tunnels: Tunnels

    def do_CONNECT(self) -> None:
        brought = self.headers.get("Proxy-Authorization")
        self.tunnels.asked.append((self.path, brought))
        if self.tunnels.credentials not in {None, brought}:
            self.send_response_only(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="a proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", self.tunnels.to)) as upstream:
            self.send_response_only(200)
            self.end_headers()
            _relay(self.connection, upstream)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Log nothing."""


def _relay(client: socket.socket, server: socket.socket) -> None:
    """Pass on what either side sends, until one of them closes."""
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        while True:
            for ready, _ in selector.select():
                some = ready.fileobj.recv(65536)
                if not some:
                    return
                ready.data.sendall(some)


@contextlib.contextmanager
def tunnelling(service: Service, *, credentials: str | None = None) -> Iterator[Tunnels]:
    """A proxy to a service while the block runs."""
    handler = type("Handler", (_TunnelHandler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    handler.tunnels = Tunnels(port=server.server_port, to=service.server.server_port, credentials=credentials)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield handler.tunnels
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate that nobody knows, and the file that makes it known.

    Args:
        folder: Where the file is to be.
        names: For which hosts it is good besides 127.0.0.1.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a service on loopback")])
    now = dt.datetime.now(dt.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *(x509.DNSName(name) for name in names)]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    known, private = folder / "known.pem", folder / "private.pem"
    known.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known, private)
    return context, known


@dataclass(kw_only=True)
class Raw:
    """A service whose answers are bytes, well-formed or not.

    Attributes:
        url: Where it listens.
        answer: Writes what it likes to a connection, given the number of the request, counted from 0.
        asked: Each request as it came.
        connections: How many were made.
    """

    url: str
    answer: Callable[[socket.socket, int], None]
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0


@contextlib.contextmanager
def serving_raw(answer: Callable[[socket.socket, int], None], *, tls: ssl.SSLContext | None = None) -> Iterator[Raw]:
    """A service while the block runs, which answers by `answer` alone. It ends a connection whose client is gone."""
    listener = socket.create_server(("127.0.0.1", 0))
    raw = Raw(url=f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}", answer=answer)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            secured = connection if tls is None else tls.wrap_socket(connection, server_side=True)
            with secured, secured.makefile("rb") as reader:
                while asked := _request(reader):
                    raw.asked.append(asked)
                    raw.answer(secured, len(raw.asked) - 1)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                raw.connections += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield raw
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _request(reader: Any) -> bytes:
    """One request as it comes; empty at the end of the connection."""
    lines = list(iter(reader.readline, b"\r\n"))[:64] if (first := reader.readline()) else []
    length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)
    return b"".join([first, *lines, b"\r\n", reader.read(length)]) if first else b""
