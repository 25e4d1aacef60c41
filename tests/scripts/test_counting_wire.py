"""The proxy that counts requests and loses some."""

import io
import socket
import threading
import time
from random import Random

import pytest

from scripts.harness.counting_wire import CountingWire, operation_of, read_message

ASKED = b"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.UpdateItem\r\nContent-Length: 2\r\n\r\n{}"
ANSWERED = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"


@pytest.fixture
def engine():
    """A server that answers each request, and remembers what it was asked."""
    asked, ends = [], []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(end):
        with end, end.makefile("rb") as stream:
            while request := read_message(stream):
                asked.append(request)
                end.sendall(ANSWERED)

    def accept():
        try:
            while True:
                ends.append(listener.accept()[0])
                threading.Thread(target=serve, args=(ends[-1],), daemon=True).start()
        except OSError:
            return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10.0)


def connect(wire):
    return socket.create_connection(("127.0.0.1", int(wire.endpoint_url.rpartition(":")[2])), timeout=60.0)


def ask(wire):
    """One request on a connection of its own; its answer, empty where the connection ends before."""
    with connect(wire) as near, near.makefile("rb") as stream:
        near.sendall(ASKED)
        try:
            return read_message(stream)
        except OSError:
            return b""


@pytest.mark.parametrize("message", [ASKED, ANSWERED, CHUNKED], ids=["request", "answer", "chunks"])
def test_a_message_is_read_whole_and_no_further(message):
    stream = io.BytesIO(message + ASKED)
    assert read_message(stream) == message
    assert read_message(stream) == ASKED
    assert read_message(stream) == b""


@pytest.mark.parametrize("message", [ASKED, CHUNKED], ids=["body", "chunks"])
def test_a_message_that_is_cut_off_is_none(message):
    with pytest.raises(ValueError, match="the stream ended amid"):
        read_message(io.BytesIO(message[:-2]))


def test_requests_are_counted_by_their_operation(engine):
    url, asked = engine
    with CountingWire(url, Random(1)) as wire:
        with connect(wire) as near, near.makefile("rb") as stream:
            for _ in range(3):
                near.sendall(ASKED)
                assert read_message(stream) == ANSWERED
        assert wire.requests == {"UpdateItem": 3}
        assert not wire.met
    assert asked == [ASKED] * 3
    assert operation_of(ANSWERED) == ""


@pytest.mark.parametrize(("fate", "arrives"), [("request lost", 0), ("answer lost", 1), ("late", 1)])
def test_a_request_is_lost_or_arrives_once_without_an_answer(engine, monkeypatch, fate, arrives):
    monkeypatch.setattr("scripts.harness.counting_wire.FATES", (fate,))
    monkeypatch.setattr("scripts.harness.counting_wire.LATE", 0.05)
    url, asked = engine
    with CountingWire(url, Random(1)) as wire:
        wire.losing = 1.0
        assert ask(wire) == b""
        assert wire.met == {fate: 1}
        wire.losing = 0.0
        assert ask(wire) == ANSWERED
        ends = time.monotonic() + 60.0
        while len(asked) < 1 + arrives and time.monotonic() < ends:
            time.sleep(0.005)
    assert len(asked) == 1 + arrives
