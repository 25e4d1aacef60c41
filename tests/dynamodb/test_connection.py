"""Our connections: no answer is ever taken for another request's, and whoever hooks in below sees every request."""

import http.client
import types

import boto3
import pytest
import urllib3.connection
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ConnectionClosedError, HTTPClientError

from ddb_lease import client_config
from ddb_lease._protocol.messages import Unknown
from ddb_lease.dynamodb.connection import POOL_CLASSES
from ddb_lease.dynamodb.failures import read_exception
from ddb_lease.dynamodb.internals import connections_of, http_session_of
from ddb_lease.dynamodb.pool import Pool
from ddb_lease.dynamodb.wire import wire_for
from tests.dynamodb.http_service import certificate, serving, serving_raw

ARGUMENTS = {"TableName": "leases", "Key": {"pk": {"S": "lease#nightly"}, "sk": {"S": "S#000001"}}}
SIGNING = types.SimpleNamespace(at=lambda: 1_795_915_800.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

BOTOCORES = pytest.mark.skipif(not POOL_CLASSES, reason="with this urllib3, connections are botocore's own")


@pytest.fixture
def session():
    return boto3.Session(aws_access_key_id="key", aws_secret_access_key="secret", region_name="eu-west-1")


@pytest.fixture
def service():
    with serving() as running:
        yield running


@pytest.fixture
def client(session, service):
    made = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
    yield made
    made.close()


@pytest.fixture
def posts(monkeypatch):
    """How many requests went past botocore's path."""
    counted = []
    post = Pool.post
    monkeypatch.setattr(Pool, "post", lambda *given: counted.append(1) or post(*given))
    return counted


def call(client):
    return wire_for(client).call(client, "update_item", ARGUMENTS, SIGNING)


def pool_of(client, service):
    """urllib3's pool of the client's connections to a service."""
    return connections_of(http_session_of(client), service.url)[0]


# ---- No answer is another request's.


@BOTOCORES
@pytest.mark.parametrize("ours", [True, False], ids=["of ours", "of botocore's"])
def test_what_tls_holds_beyond_an_answer_answers_no_later_request(session, tmp_path, posts, ours):
    context, known = certificate(tmp_path)
    # The first 8192 bytes are read at once; what is left is in the same record, where a look at the socket misses it.
    false = b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"Attributes":{"a":1}'
    extra = OK.ljust(8192) + false

    def answer(connection, number):
        connection.sendall(extra if number == (1 if ours else 0) else OK)

    with serving_raw(answer, tls=context) as raw:
        client = session.client("dynamodb", endpoint_url=raw.url, config=client_config(10), verify=str(known))
        call(client)
        call(client)
        assert "Attributes" not in call(client)
        assert (len(raw.asked), raw.connections, len(posts)) == (3, 2, 2)
        client.close()


@BOTOCORES
@pytest.mark.parametrize("status", [b"101 Switching", b"102 Processing", b"103 Early Hints"])
def test_an_answer_before_the_answer_is_not_taken_for_it(session, posts, status):
    def answer(connection, number):
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n" + OK if number == 1 else OK)

    with serving_raw(answer) as raw:
        client = session.client("dynamodb", endpoint_url=raw.url, config=client_config(10))
        call(client)
        with pytest.raises(ConnectionClosedError):
            call(client)
        call(client)
        assert (len(raw.asked), raw.connections, len(posts)) == (3, 2, 2)
        client.close()


def test_after_an_early_refusal_of_botocores_request_the_next_of_ours_is_sent(session, posts):
    """A refusal of `Expect: 100-continue`: botocore keeps its status, and sends nothing more, until its next request."""
    with serving_raw(lambda connection, _: connection.sendall(OK)) as raw:
        client = session.client("dynamodb", endpoint_url=raw.url, config=client_config(10))
        call(client)
        connections = pool_of(client, raw)
        kept = connections._get_conn()
        kept._response_received = True
        kept.response_class = lambda *_, **__: pytest.fail("an answer was made of another one's status")
        connections._put_conn(kept)
        call(client)
        assert (len(raw.asked), raw.connections, len(posts)) == (2, 1, 1)
        client.close()


def test_a_proxy_that_hangs_up_on_a_request_may_have_passed_it_on(session, monkeypatch):
    with serving_raw(lambda connection, _: connection.shutdown(2)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        client = session.client("dynamodb", endpoint_url="http://dynamodb.test:8000", config=client_config(10))
        with pytest.raises(BotoCoreError) as caught:
            client.update_item(**ARGUMENTS)
        assert len(proxy.asked) == 1
        assert isinstance(read_exception(caught.value), Unknown)
        client.close()


# ---- No header but those that are meant.


@pytest.mark.parametrize("more", ["a\rX-Injected: yes", "a\r\nX-Injected: yes", "a\nX-Injected: yes"])
def test_a_line_break_in_the_user_agent_adds_no_header(session, service, posts, more):
    config = client_config(10).merge(Config(user_agent_extra=more))
    client = session.client("dynamodb", endpoint_url=service.url, config=config)
    for _ in range(3):
        with pytest.raises(HTTPClientError):
            call(client)
    assert not service.asked
    assert not posts


def test_a_carriage_return_in_the_credentials_is_not_sent(client, service, posts, monkeypatch):
    call(client)
    broken = types.SimpleNamespace(access_key="key", secret_key="secret", token="a\rX-Injected: yes", account_id=None)
    broken.get_frozen_credentials = lambda: broken
    monkeypatch.setattr(client, "_get_credentials", lambda: broken)
    monkeypatch.setattr(client._request_signer, "_credentials", broken)
    with pytest.raises(HTTPClientError):
        call(client)
    assert len(service.asked) == 1


# ---- Whoever hooks in below sees every request.


@pytest.mark.parametrize("name", ["putrequest", "putheader", "endheaders", "getresponse"])
@pytest.mark.parametrize("owner", [http.client.HTTPConnection, urllib3.connection.HTTPConnection, AWSHTTPConnection])
def test_who_wraps_a_method_of_connections_sees_every_request(client, service, posts, monkeypatch, owner, name):
    """As tools do that trace http.client or urllib3."""
    seen, method = [], getattr(owner, name)

    def wrapped(connection, *given, **named):
        seen.append(1)
        return method(connection, *given, **named)

    call(client)
    monkeypatch.setattr(owner, name, wrapped)
    call(client)
    assert seen
    assert len(posts) == 1


def test_pools_of_another_make_stay(session, service, monkeypatch):
    class Mine(AWSHTTPConnectionPool):
        pass

    monkeypatch.setattr("botocore.awsrequest.AWSHTTPConnectionPool", Mine)
    client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
    call(client)
    assert isinstance(pool_of(client, service), Mine)
    client.close()


def test_who_gives_one_pool_another_connection_has_its_requests(client, service, posts):
    seen = []

    class Recording(AWSHTTPConnection):
        def request(self, *given, **named):
            seen.append(1)
            super().request(*given, **named)

    call(client)
    client.close()
    call(client)
    connections = pool_of(client, service)
    connections.ConnectionCls = Recording
    connections._get_conn().close()
    call(client)
    assert seen == [1]


@pytest.mark.parametrize("part", ["endpoint", "session"])
def test_who_replaces_the_session_or_the_endpoint_has_every_request(client, service, posts, part):
    class Through:
        def __init__(self, below):
            self.below, self.seen = below, 0

        def __getattr__(self, name):
            return getattr(self.below, name)

        def send(self, request):
            self.seen += 1
            return self.below.send(request)

        def make_request(self, *given):
            self.seen += 1
            return self.below.make_request(*given)

    call(client)
    owner, name = (client, "_endpoint") if part == "endpoint" else (client._endpoint, "http_session")
    through = Through(getattr(owner, name))
    setattr(owner, name, through)
    call(client)
    assert (through.seen, len(posts)) == (1, 0)
