"""The engine's HTTP server: complete requests only, connections kept alive, a stop that finishes its work."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from ddb_lease.local.app import App
from ddb_lease.local.embedded import EmbeddedEngine, serve
from ddb_lease.local.httpd import HttpServer

PATIENCE_S = 30.0
LIST_TABLES = {"X-Amz-Target": "DynamoDB_20120810.ListTables"}
CREATE_TABLE = {
    "TableName": "things",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture
def engine() -> Iterator[EmbeddedEngine]:
    with serve(app=App(access_key_id=None)) as engine:
        yield engine


@contextlib.contextmanager
def connected(endpoint_url: str) -> Iterator[http.client.HTTPConnection]:
    address = urlsplit(endpoint_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.connect()
        yield connection


def tables(connection: http.client.HTTPConnection) -> tuple[int, dict]:
    connection.request("POST", "/", b"{}", LIST_TABLES)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def send(connection: http.client.HTTPConnection, request: bytes) -> None:
    """Send raw bytes: `http.client` sends only valid requests."""
    connection.sock.sendall(request)


def received(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(connection.sock, method="POST")
    response.begin()
    return response


def is_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the server closes the connection; waits for it."""
    return connection.sock.recv(1) == b""


def test_a_connection_is_kept_alive(engine):
    with connected(engine.endpoint_url) as connection:
        before = connection.sock
        for _ in range(3):
            assert tables(connection)[0] == 200
        assert connection.sock is before


def test_stalled_clients_delay_no_other_client(engine):
    address = urlsplit(engine.endpoint_url)
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stalled = stack.enter_context(socket.create_connection((address.hostname, address.port)))
            stalled.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        connection = stack.enter_context(connected(engine.endpoint_url))
        assert tables(connection) == (200, {"TableNames": []})


def test_a_request_that_is_cut_short_is_not_executed(engine):
    body = json.dumps(CREATE_TABLE).encode()
    head = f"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.CreateTable\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    with connected(engine.endpoint_url) as connection:
        send(connection, head.encode() + body)
        connection.sock.shutdown(socket.SHUT_WR)
        assert is_closed(connection)
    with connected(engine.endpoint_url) as connection:
        assert tables(connection) == (200, {"TableNames": []})


@pytest.mark.parametrize("header", ["", "Content-Length: -1\r\n", "Content-Length: ten\r\n"])
def test_a_request_without_a_length_is_refused_and_its_connection_closed(engine, header):
    with connected(engine.endpoint_url) as connection:
        send(connection, f"POST / HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        response = received(connection)
        assert response.status == 411
        refusal = json.loads(response.read())
        assert refusal["__type"].endswith("#ValidationException")
        assert refusal["message"] == "Content-Length is required"
        assert response.getheader("Connection") == "close"
        assert is_closed(connection)


def test_a_request_that_is_too_large_is_refused_before_its_body_is_read(engine):
    with connected(engine.endpoint_url) as connection:
        send(connection, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20971521\r\n\r\n")
        response = received(connection)
        assert response.status == 413
        refusal = json.loads(response.read())
        assert refusal["__type"].endswith("#ValidationException")
        assert refusal["message"] == "the request is too large"
        assert is_closed(connection)


def test_a_request_of_20_mib_is_read(engine):
    with connected(engine.endpoint_url) as connection:
        send(connection, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20971520\r\n\r\n{")
        connection.sock.shutdown(socket.SHUT_WR)
        assert is_closed(connection), "it was waited for the rest of the body, which did not come"


@pytest.mark.parametrize("name", ["Host", "Authorization", "Content-Length", "Content-Type", "X-Amz-Target"])
def test_a_header_that_says_what_is_asked_may_not_be_there_twice(engine, name):
    head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nX-Amz-Target: DynamoDB_20120810.ListTables\r\n"
    again = {"Host": "localhost", "Content-Length": "2"}.get(name, "x")
    given = f"{head}Authorization: x\r\nContent-Type: x\r\n"
    with connected(engine.endpoint_url) as connection:
        send(connection, f"{given}{name}: {again}\r\n\r\n{{}}".encode())
        response = received(connection)
        assert (response.status, json.loads(response.read())["message"]) == (400, f"more than one {name}")
        assert is_closed(connection)


def test_a_request_to_a_proxy_is_refused(engine):
    with connected(engine.endpoint_url) as connection:
        send(connection, b"GET http://example.com/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = received(connection)
        assert (response.status, json.loads(response.read())["message"]) == (400, "the target must be a path")
        assert response.getheader("Connection") == "close"


class SlowApp(App):
    """An app that is busy with a request until the test lets it continue."""

    def __init__(self) -> None:
        super().__init__(access_key_id=None)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def handle(self, request):
        self.entered.set()
        assert self.go_on.wait(PATIENCE_S)
        return super().handle(request)


def test_a_stop_refuses_new_requests_and_answers_the_one_in_progress():
    app = SlowApp()
    server = HttpServer(app, poll_s=0.01)
    server.start()
    with connected(server.endpoint_url) as first, connected(server.endpoint_url) as second:
        first.request("POST", "/", b"{}", LIST_TABLES)
        assert app.entered.wait(PATIENCE_S)
        assert not server.activity.close(timeout_s=0)
        status, document = tables(second)
        assert (status, document["__type"].rpartition("#")[2]) == (503, "ServiceUnavailable")
        stopper = threading.Thread(target=server.stop, kwargs={"timeout_s": PATIENCE_S})
        stopper.start()
        stopper.join(0.2)
        assert stopper.is_alive()  # it waits for the request in progress
        app.go_on.set()
        response = first.getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"TableNames": []})
        stopper.join(PATIENCE_S)
        assert not stopper.is_alive()
        assert is_closed(first)
    app.close()
    port = server.server_address[1]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def test_an_engine_that_stops_closes_the_connection_of_what_it_refuses():
    server = HttpServer(App(access_key_id=None), poll_s=0.01)
    server.start()
    try:
        server.activity.close(timeout_s=0)
        with connected(server.endpoint_url) as connection:
            connection.request("POST", "/", b"{}", LIST_TABLES)
            response = connection.getresponse()
            assert (response.status, response.getheader("Connection")) == (503, "close")
    finally:
        server.stop()


class FailingApp(App):
    """An app that raises, which no app should."""

    def __init__(self, error: Exception) -> None:
        super().__init__(access_key_id=None)
        self.error = error

    def handle(self, request):
        raise self.error


@pytest.mark.parametrize(
    ("error", "logged"), [(ValueError("a defect"), ["a connection failed"]), (BrokenPipeError("gone"), [])], ids=repr
)
def test_what_ends_a_connection_is_logged_with_its_traceback_unless_the_client_left(caplog, error, logged):
    with serve(app=FailingApp(error)) as engine, connected(engine.endpoint_url) as connection:
        connection.request("POST", "/", b"{}", LIST_TABLES)
        assert is_closed(connection)
    assert caplog.messages == logged
    assert [record.exc_info[1] for record in caplog.records] == [error][: len(logged)]
