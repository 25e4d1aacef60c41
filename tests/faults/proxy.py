"""A proxy between a client and an engine; the test decides what happens to each request. Loopback only.

Invariants:

- A `Fate` says what happens to a request. A function from requests to fates decides, and may be replaced at any time.
  It is called under one lock, so it may draw from one source of randomness.
- The proxy holds no request back for ever, repeats none, and counts what it did: a test that injects a fault checks
  that the fault was met.
- Its own answers look like DynamoDB's: status, `__type`, request id, date; no checksum.
- When it closes, requests still parked in it are lost, and none of its threads or sockets is left.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import re
import socket
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from random import Random
from typing import Any

LOOPBACK = "127.0.0.1"
PATIENCE = 60.0
"""The most seconds for one answer of the engine, and for the end of one of our threads."""

WRITES = frozenset({"PutItem", "UpdateItem", "TransactWriteItems"})
"""The write operations of a lease client."""

_LATEST = "com.amazonaws.dynamodb.v20120810#"
_CORAL = "com.amazon.coral.service#"
_KEY_ID = re.compile(r"Credential=([^/]+)/")
_NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as the proxy sees it."""

    operation: str
    key_id: str
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer in the service's own words."""

    body: dict[str, Any]
    status: int = 400


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What happens to a request.

    Attributes:
        name: The name under which the proxy counts it.
        delay: Seconds before it is passed on, even if the client has given up by then.
        commits: Whether it reaches the engine.
        lag: Seconds before anything comes back.
        says: The answer that the client gets instead of the true one.
        reset: The connection is reset instead of any answer.
        trickle: Seconds between one byte of the answer's body and the next; 0 for all at once.
    """

    name: str
    delay: float = 0.0
    commits: bool = True
    lag: float = 0.0
    says: Callable[[Asked], Said] | None = None
    reset: bool = False
    trickle: float = 0.0


Deciding = Callable[[Asked], Fate]


# ---- Fates.


def refusal(
    code: str, message: str, *, of: str = _LATEST, status: int = 400, **more: object
) -> Callable[[Asked], Said]:
    """An error in the service's own words; `more` is added to its body."""
    return lambda _: Said(body={"__type": of + code, "message": message, **more}, status=status)


def cancelled(code: str, message: str) -> Callable[[Asked], Said]:
    """A transaction cancelled because of its last item, the counter, which all transactions share."""

    def say(asked: Asked) -> Said:
        others = len(asked.body["TransactItems"]) - 1
        reasons = [{"Code": "None"}] * others + [{"Code": code, "Message": message}]
        codes = ", ".join(reason["Code"] for reason in reasons)
        said = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
        return Said(
            body={
                "__type": _LATEST + "TransactionCanceledException",
                "CancellationReasons": reasons,
                "Message": said,
            }
        )

    return say


_ONGOING = "Transaction is ongoing for the item"
_TOO_FAST = "Rate of requests exceeds the allowed throughput."
_TOO_MUCH = (
    "The level of configured provisioned throughput for the table was exceeded. "
    "Consider increasing your provisioning level with the UpdateTable API."
)

PASSES = Fate(name="passes")
RESET = Fate(name="reset", commits=False, reset=True)
ANSWER_DROPPED = Fate(name="answer dropped", reset=True)
ANSWER_SPOILT = Fate(
    name="answer spoilt",
    says=refusal("InternalServerError", "The request could not be processed.", status=500),
)
THROTTLED = Fate(name="throttled", commits=False, says=refusal("ThrottlingException", _TOO_FAST))
OVER_LIMIT = Fate(name="over limit", commits=False, says=refusal("ProvisionedThroughputExceededException", _TOO_MUCH))
CONFLICT = Fate(name="conflict", commits=False, says=refusal("TransactionConflictException", _ONGOING))
CANCELLED = Fate(name="cancelled", commits=False, says=cancelled("TransactionConflict", _ONGOING))
CANCELLED_THROTTLED = Fate(name="cancelled, throttled", commits=False, says=cancelled("ThrottlingError", _TOO_FAST))
EXPIRED = Fate(
    name="expired",
    commits=False,
    says=refusal("ExpiredTokenException", "The security token included in the request is expired", of=_CORAL),
)


def sent_late(seconds: float) -> Fate:
    """The request is parked for some time, then passed on: it may happen after its sender has given up."""
    return Fate(name="sent late", delay=seconds)


def answered_late(seconds: float) -> Fate:
    """The request happens at once, and its answer comes late."""
    return Fate(name="answered late", lag=seconds)


def trickling(seconds: float) -> Fate:
    """The request happens at once; its answer comes byte by byte, each sooner than any read times out."""
    return Fate(name="trickles", trickle=seconds)


# ---- Ways to decide.


def every(fate: Fate) -> Deciding:
    """The same fate for all."""
    return lambda _: fate


def expired(key_id: str) -> Deciding:
    """A client that signs with this access key gets the error that it has expired."""
    return lambda asked: EXPIRED if asked.key_id == key_id else PASSES


def refusals(asked: Asked) -> list[Fate]:
    """A busy service's refusals, by kind of request: the request did not happen."""
    if asked.operation == "TransactWriteItems":
        return [THROTTLED, OVER_LIMIT, CANCELLED, CANCELLED_THROTTLED]
    return [THROTTLED, OVER_LIMIT, CONFLICT]


def lost_answers(asked: Asked) -> list[Fate]:
    """The ways to lose an answer: the request has happened."""
    return [ANSWER_SPOILT, ANSWER_DROPPED]


class Storm:
    """Lets some writes meet a fault, at random, but a client at most `in_a_row` in succession.

    A client's first write always meets one, so that every client does.

    Clients are told apart by their access keys. The bound makes verdicts certain: a client that tries more often gets
    through.
    """

    def __init__(
        self, faults: Callable[[Asked], list[Fate]], *, probability: float, chance: Random, in_a_row: int
    ) -> None:
        self._faults = faults
        self._probability = probability
        self._chance = chance
        self._most = in_a_row
        self._in_a_row: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Fate:
        if asked.operation not in WRITES:
            return PASSES
        client = asked.key_id
        new = client not in self._in_a_row
        if self._in_a_row[client] >= self._most or not (new or self._chance.random() < self._probability):
            self._in_a_row[client] = 0
            return PASSES
        self._in_a_row[client] += 1
        return self._chance.choice(self._faults(asked))


# ---- The proxy.


class Proxy:
    """Passes requests on to an engine, or does with them what `decide` says.

    Attributes:
        endpoint_url: Where clients connect; the same for as long as it lives.
        decide: Decides the fate of each request from now on.
        met: How many requests met each fate, by (fate, operation).
    """

    def __init__(self, endpoint_url: str) -> None:
        self._engine = (LOOPBACK, int(endpoint_url.rpartition(":")[2]))
        # Bound while we live, but not listening: nobody else gets the port while we refuse connections.
        self._place = _bound(0)
        port = self._place.getsockname()[1]
        self.endpoint_url = f"http://{LOOPBACK}:{port}"
        self.decide: Deciding = every(PASSES)
        self.met: Counter[tuple[str, str]] = Counter()
        self._port = port
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listen()

    def refuse(self) -> None:
        """Refuse new connections, and cut the existing ones."""
        listener, acceptor = self._listener, self._acceptor
        if listener is None or acceptor is None:
            return
        self._listener = None
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor
        listener.close()
        acceptor.join(PATIENCE)
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Pass everything on from now on."""
        self.decide = every(PASSES)
        if self._listener is None:
            self._listen()

    def count(self, fate: str, *, on: str | None = None) -> int:
        """How many requests (of one operation) met the fate of this name."""
        with self._lock:
            return sum(n for (name, operation), n in self.met.items() if name == fate and on in {None, operation})

    def close(self) -> None:
        """Close all sockets and end all threads."""
        self._closing.set()
        self.refuse()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._place.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Called by connections.

    def fate_of(self, asked: Asked) -> Fate:
        """Decide, and count it."""
        with self._lock:
            fate = self.decide(asked)
            self.met[fate.name, asked.operation] += 1
            return fate

    def wait(self, seconds: float) -> bool:
        """Wait; returns whether the proxy is still open."""
        return not self._closing.wait(seconds) if seconds else not self._closing.is_set()

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the engine."""
        return http.client.HTTPConnection(*self._engine, timeout=PATIENCE)

    # Internals.

    def _listen(self) -> None:
        self._listener = _bound(self._port)
        self._listener.listen(128)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # refused from now on
            while True:
                connection, address = listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection, address), daemon=True)
                with self._lock:
                    self._connections.add(connection)
                    self._threads = [t for t in self._threads if t.is_alive()] + [thread]
                    thread.start()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        try:
            with contextlib.suppress(OSError):  # the client went away
                _Handler(connection, address, self)  # type: ignore[arg-type]  # all that it needs of a server
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: Proxy  # type: ignore[assignment]  # it has all that we ask of it
    protocol_version = "HTTP/1.1"
    # One segment for each answer, without waiting for acknowledgements.
    wbufsize = 256 * 1024
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        raw = self.rfile.read(length)
        if len(raw) < length:  # the client went away between the head of its request and the end of its body
            self.close_connection = True
            return None
        asked = Asked(
            operation=self.headers.get("X-Amz-Target", "").rpartition(".")[2],
            key_id=found[1] if (found := _KEY_ID.search(self.headers.get("Authorization", ""))) else "",
            body=json.loads(raw),
        )
        fate = self.server.fate_of(asked)
        answer = None
        if not self.server.wait(fate.delay):
            return self._reset()
        if fate.commits:
            answer = self._pass_on(raw)
            if answer is None:
                return self._reset()
        if not self.server.wait(fate.lag) or fate.reset:
            return self._reset()
        if fate.says is not None:
            said = fate.says(asked)
            answer = said.status, _own_headers(), json.dumps(said.body).encode()
        assert answer is not None, f"{fate} neither commits nor answers"
        return self._answer(*answer, trickle=fate.trickle)

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """The engine's answer; None if there is none. Each uses a new connection, so none is ever stale."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
        with contextlib.closing(self.server.connect()) as upstream:
            try:
                upstream.request("POST", self.path, body, headers)
                response = upstream.getresponse()
                kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _NOT_PASSED_ON]
                return response.status, kept, response.read()
            except (OSError, http.client.HTTPException):
                return None

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, trickle: float) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if trickle:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if not self.server.wait(trickle):
                    return self._reset()
            return None
        self.wfile.write(body)
        self.wfile.flush()
        return None

    def _reset(self) -> None:
        self.close_connection = True
        # A socket that is closed with a linger time of 0 sends a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Log nothing."""


def _own_headers() -> list[tuple[str, str]]:
    return [
        ("x-amzn-RequestId", uuid.uuid4().hex.upper()),
        ("Content-Type", "application/x-amz-json-1.0"),
        ("Date", email.utils.formatdate(usegmt=True)),
    ]


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((LOOPBACK, port))
    return made
