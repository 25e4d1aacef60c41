"""What a program asks the engine itself, and what it makes of answers, also of an engine of an earlier version."""

import json
from collections.abc import Callable, Iterator

import pytest

from ddb_lease.local import Engine, EngineError, control
from ddb_lease.local.control import Awaited, Held, Report
from ddb_lease.local.httpd import HttpServer
from ddb_lease.local.messages import HttpRequest, HttpResponse

REPORT = {
    "held": [
        {"table": "t", "bucket": "b", "item": "slot#00000", "owner": "me", "remaining_s": 1.5, "is_permit": False},
        {"table": "t", "bucket": "w", "item": "slot#00001", "owner": "", "remaining_s": 2.5, "is_permit": True},
    ],
    "awaited": [
        {"table": "t", "bucket": "b", "remaining_s": 3.5},
        {"table": "t", "bucket": "r, key 'k'", "remaining_s": 4.5},
    ],
    "awaited_rates": [False, True],
}
IN_SHORT = {"held": [REPORT["held"][0] | {}], "awaited": REPORT["awaited"]}
del IN_SHORT["held"][0]["is_permit"]

HELD = Held(table="t", bucket="b", item="slot#00000", owner="me", remaining_s=1.5, is_permit=False)
PERMIT = Held(table="t", bucket="w", item="slot#00001", owner="", remaining_s=2.5, is_permit=True)
BUCKET = Awaited(table="t", bucket="b", remaining_s=3.5, is_rate=False)
KEY = Awaited(table="t", bucket="r, key 'k'", remaining_s=4.5, is_rate=True)


class Stub:
    """An app that answers everything alike, and keeps what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.response = HttpResponse(status=status, body=body)
        self.asked: list[HttpRequest] = []

    def handle(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        return self.response


@pytest.fixture
def answering() -> Iterator[Callable[..., tuple[Engine, list[HttpRequest]]]]:
    """Makes engines that answer so; returns each with what it was asked."""
    servers: list[HttpServer] = []

    def make(status: int, document: object) -> tuple[Engine, list[HttpRequest]]:
        app = Stub(status, document if isinstance(document, bytes) else json.dumps(document).encode())
        server = HttpServer(app, poll_s=0.01)
        server.start()
        servers.append(server)
        engine = Engine(
            endpoint_url=server.endpoint_url, pid=1, started_at_ms=0, instance_id="x", access_key_id="the-key"
        )
        return engine, app.asked

    yield make
    for server in servers:
        server.stop()


def test_who_holds_leases_and_what_is_waited_for_is_asked_with_the_engines_key(answering):
    engine, asked = answering(200, REPORT)
    assert control.report(engine) == Report(held=(HELD, PERMIT), awaited=(BUCKET, KEY))
    (request,) = asked
    assert (request.method, request.path) == ("GET", "/_engine/leases")
    assert request.headers["authorization"] == "AWS4-HMAC-SHA256 Credential=the-key/-/-/-/aws4_request"


def test_the_wait_is_ended_by_a_post_which_says_what_is_left(answering):
    engine, asked = answering(200, REPORT | {"awaited": [], "awaited_rates": []})
    assert control.forget_awaited(engine) == Report(held=(HELD, PERMIT), awaited=())
    assert [(request.method, request.path) for request in asked] == [("POST", "/_engine/leases")]


def test_what_an_engine_of_an_earlier_version_does_not_tell_is_no_permit_and_no_rate(answering):
    engine, _ = answering(200, IN_SHORT)
    keyless = Awaited(table="t", bucket="r, key 'k'", remaining_s=4.5, is_rate=False)
    assert control.report(engine) == Report(held=(HELD,), awaited=(BUCKET, keyless))


@pytest.mark.parametrize(("status", "document"), [(500, REPORT), (201, REPORT), (200, []), (200, b"no JSON")])
@pytest.mark.parametrize("ask", [control.report, control.forget_awaited])
def test_an_engine_that_says_nothing_of_leases_is_an_error(answering, ask, status, document):
    engine, _ = answering(status, document)
    with pytest.raises(EngineError, match=rf"^the engine at {engine.endpoint_url} does not say who holds leases"):
        ask(engine)


@pytest.mark.parametrize("ask", [control.report, control.forget_awaited])
def test_an_engine_that_does_not_answer_is_an_error_with_its_address(ask):
    engine = Engine(endpoint_url="http://127.0.0.1:9", pid=1, started_at_ms=0, instance_id="x")
    with pytest.raises(EngineError, match=r"^the engine at http://127\.0\.0\.1:9 does not answer: .*refused"):
        ask(engine)


@pytest.mark.parametrize(
    ("status", "document", "found"),
    [
        (200, {"instance_id": "abc"}, "abc"),
        (200, {}, None),
        (200, ["abc"], None),
        (200, b"abc", None),
        (404, {"instance_id": "abc"}, None),
    ],
)
def test_the_id_is_what_a_success_says_and_nothing_else(answering, status, document, found):
    engine, asked = answering(status, document)
    assert control.instance_id(engine, timeout_s=30) == found
    assert [(request.method, request.path) for request in asked] == [("GET", "/_engine/health")]
