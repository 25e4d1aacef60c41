"""A proxy to an engine that counts requests, and loses some while it is told to. Loopback only.

Invariants:

- It passes on whole HTTP requests, one at a time for each connection, as clients send them.
- Which request is lost, and how, is drawn from one seeded source. A request that arrives late is passed on once, after
  its client has been told that the connection is gone.
- Whatever it holds back it passes on or drops within `LATE` seconds, or when it closes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from random import Random
from typing import BinaryIO

LOOPBACK = "127.0.0.1"
LATE = 2.0
"""Seconds at most by which a request is late."""
FATES = ("request lost", "answer lost", "answer lost", "late")
"""What happens to a request that is not answered, each as likely as the others: lost answers are the hardest."""


class CountingWire:
    """Connects clients to an engine.

    Attributes:
        endpoint_url: Where clients connect.
        losing: How likely a request is not answered, from 0.0 to 1.0; may be changed at any time.
        requests: How often each operation was sent, answered or not.
        met: How often each trouble was met.
        slowest: The engine's slowest answer so far, in seconds; may be set back.
    """

    def __init__(self, endpoint_url: str, chance: Random) -> None:
        self._target = (LOOPBACK, int(endpoint_url.rpartition(":")[2]))
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self.endpoint_url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        self.losing = 0.0
        self.requests: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.slowest = 0.0
        self._chance = chance
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._ends: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> CountingWire:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._lock:
            ends = [self._listener, *self._ends]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10.0)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near = self._listener.accept()[0]
                thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, near: socket.socket) -> None:
        ends = [near]
        try:
            far = socket.create_connection(self._target)  # refused while the engine restarts
            ends.append(far)
            with self._lock:
                self._ends |= {near, far}
            asking, answering = near.makefile("rb"), far.makefile("rb")
            while request := read_message(asking):
                fate = self._fate(request)
                if fate == "request lost":
                    return
                if fate == "late":
                    near.shutdown(socket.SHUT_RDWR)
                    self._closing.wait(self._drawn(LATE))
                sent = time.monotonic()
                far.sendall(request)
                answer = read_message(answering)
                self.slowest = max(self.slowest, time.monotonic() - sent)
                if fate or not answer:
                    return
                near.sendall(answer)
        except (OSError, ValueError):  # an end is gone, or it was cut off amid a message
            return
        finally:
            with self._lock:
                self._ends -= set(ends)
            for end in ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _fate(self, request: bytes) -> str:
        with self._lock:
            self.requests[operation_of(request)] += 1
            if self._chance.random() >= self.losing:
                return ""
            fate = self._chance.choice(FATES)
            self.met[fate] += 1
            return fate

    def _drawn(self, most: float) -> float:
        with self._lock:
            return self._chance.uniform(0.0, most)


def operation_of(request: bytes) -> str:
    """The API call that a request names; empty if it names none."""
    for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"x-amz-target":
            return value.strip().decode().rpartition(".")[2]
    return ""


def read_message(stream: BinaryIO) -> bytes:
    """One HTTP message, head and body as they are; empty at the end of the stream.

    Raises:
        ValueError: It ends amid the message.
    """
    head = _until_empty_line(stream)
    if not head:
        return b""
    headers = {
        name.strip().lower(): value.strip().lower()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if headers.get(b"transfer-encoding") == b"chunked":
        return head + _chunks(stream)
    size = int(headers.get(b"content-length", b"0"))
    body = stream.read(size)
    if len(body) < size:
        raise ValueError("the stream ended amid a body")
    return head + body


def _until_empty_line(stream: BinaryIO) -> bytes:
    lines = []
    while line := stream.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    if lines:
        raise ValueError("the stream ended amid a head")
    return b""


def _chunks(stream: BinaryIO) -> bytes:
    parts = []
    while line := stream.readline():
        size = int(line.partition(b";")[0], 16)
        parts.append(line)
        if not size and (end := _until_empty_line(stream)):
            return b"".join([*parts, end])
        parts.append(stream.read(size + 2))
    raise ValueError("the stream ended amid a chunk")
