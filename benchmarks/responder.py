"""A responder on loopback: answers each request at once, with what DynamoDB answers where nothing stands in the way.

It is no engine: every write succeeds, and nothing is there to be read. Next to an engine it takes hardly any time, so
it shows what a client takes. It runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import threading
import zlib
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

_READS = {b".Query": b'{"Items":[],"Count":0,"ScannedCount":0}'}
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


def answer_to(head: bytes) -> bytes:
    """The answer to a request with this head."""
    body = next((body for name, body in _READS.items() if name in head), b"{}")
    return (
        f"HTTP/1.1 200 OK\r\nServer: Server\r\nDate: {formatdate(usegmt=True)}\r\n"
        f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\nConnection: keep-alive\r\n"
        f"x-amzn-RequestId: {52 * 'R'}\r\nx-amz-crc32: {zlib.crc32(body)}\r\n\r\n"
    ).encode() + body


def _answer_all(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    held = b""
    with connection, contextlib.suppress(ConnectionError):
        while True:
            while _END not in held:
                more = connection.recv(65536)
                if not more:
                    return
                held += more
            head, _, held = held.partition(_END)
            lower = head.lower()
            length = int(lower[lower.index(_LENGTH) + len(_LENGTH) :].split(b"\r\n", 1)[0])
            while len(held) < length:
                held += connection.recv(65536)
            held = held[length:]
            connection.sendall(answer_to(head))


def _serve(told: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        told.send(server.getsockname()[1])
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_answer_all, args=(connection,), daemon=True).start()


@contextlib.contextmanager
def responding() -> Iterator[str]:
    """A responder while the block runs; gives its URL."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()
