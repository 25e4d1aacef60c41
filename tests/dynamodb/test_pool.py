"""The connections of botocore's session: what each failure of urllib3's is raised as, and what is asked of urllib3."""

import socket
from types import SimpleNamespace

import boto3
import pytest
import urllib3.exceptions as below
from botocore import exceptions as aws
from urllib3 import HTTPConnectionPool
from urllib3.util.retry import Retry

from ddb_lease import client_config
from ddb_lease.dynamodb.pool import Pool

URL = "http://127.0.0.1:9/"
PROXY = "http://somebody:hidden@127.0.0.1:13"


@pytest.fixture
def asked(monkeypatch):
    """What is asked of urllib3, each with its arguments; answered by what is put into `answers`."""
    noted = SimpleNamespace(calls=[], answers=[])

    def urlopen(_, *given, **named):
        noted.calls.append((given, named))
        answer = noted.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(HTTPConnectionPool, "urlopen", urlopen)
    return noted


@pytest.fixture
def pool(monkeypatch):
    """Makes a pool; through a proxy, if one is given."""
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def made(proxy=None):
        if proxy is not None:
            monkeypatch.setenv("HTTP_PROXY", proxy)
        session = boto3.Session("key", "secret", region_name="eu-west-1")
        client = session.client("dynamodb", endpoint_url=URL, config=client_config(10))
        return Pool(client._endpoint.http_session, URL)

    return made


def answer(*, data=b"{}", status=200):
    return SimpleNamespace(status=status, headers={"x": "y"}, data=data)


def test_one_attempt_is_asked_for_and_nothing_is_followed_or_unpacked(pool, asked):
    asked.answers = [answer()]
    assert pool().post({"Host": "h"}, b"body") == (200, {"x": "y"}, b"{}")
    ((given, named),) = asked.calls
    assert given == ("POST", "/")
    retries = named.pop("retries")
    assert isinstance(retries, Retry)
    assert retries.total is False
    assert named == {
        "body": b"body",
        "headers": {"Host": "h"},
        "redirect": False,
        "assert_same_host": False,
        "decode_content": False,
    }


def test_a_proxy_gets_the_whole_url_and_headers_that_may_be_added_to(pool, asked):
    asked.answers = [answer()]
    headers = {"Host": "h"}
    pool(PROXY).post(headers, b"body")
    ((given, named),) = asked.calls
    assert given == ("POST", URL)
    assert named["headers"] == headers
    assert named["headers"] is not headers


def test_an_answer_without_a_body_has_an_empty_one(pool, asked):
    asked.answers = [answer(data=None, status=204)]
    assert pool().post({}, b"") == (204, {"x": "y"}, b"")


def test_connections_that_were_closed_are_opened_once_more(pool, asked):
    asked.answers = [below.ClosedPoolError(None, "closed"), answer()]
    assert pool().post({}, b"")[0] == 200
    asked.answers = [below.ClosedPoolError(None, "closed"), below.ClosedPoolError(None, "closed")]
    with pytest.raises(aws.HTTPClientError, match="closed"):
        pool().post({}, b"")


@pytest.mark.parametrize(
    ("error", "kind", "named"),
    [
        (below.SSLError("a"), aws.SSLError, {"endpoint_url": URL}),
        (below.NewConnectionError(None, "a"), aws.EndpointConnectionError, {"endpoint_url": URL}),
        (socket.gaierror(-2, "a"), aws.EndpointConnectionError, {"endpoint_url": URL}),
        (below.ConnectTimeoutError(None, "a"), aws.ConnectTimeoutError, {"endpoint_url": URL}),
        (below.ReadTimeoutError(None, "/", "a"), aws.ReadTimeoutError, {"endpoint_url": URL}),
        (below.ProtocolError("a"), aws.ConnectionClosedError, {"endpoint_url": URL}),
        (below.ProxyError("a", OSError("b")), aws.ProxyConnectionError, {"proxy_url": ""}),
        (below.LocationValueError("a"), aws.HTTPClientError, {}),
        (ValueError("a"), aws.HTTPClientError, {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_failure_is_raised_as_botocore_raises_it(pool, asked, error, kind, named):
    asked.answers = [error]
    with pytest.raises(kind) as caught:
        pool().post({}, b"")
    assert type(caught.value) is kind
    assert caught.value.kwargs == {"error": error, **named}
    assert caught.value.__cause__ is error


def test_a_proxys_password_is_in_no_failure(pool, asked):
    asked.answers = [below.ProxyError("a", OSError("b"))]
    with pytest.raises(aws.ProxyConnectionError) as caught:
        pool(PROXY).post({}, b"")
    assert caught.value.kwargs["proxy_url"] == "http://***:***@127.0.0.1:13"
