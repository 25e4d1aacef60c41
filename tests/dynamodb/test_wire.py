"""The wire: the same requests as botocore's whole path sends, the same answers; and where it steps aside for it."""

import base64
import contextlib
import gc
import gzip
import http.client
import json
import logging
import socket
import threading
import types
import weakref
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool
from botocore.client import BaseClient
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.endpoint import Endpoint
from botocore.exceptions import ClientError, NoCredentialsError, SSLError
from botocore.history import get_global_history_recorder
from botocore.stub import Stubber
from urllib3 import HTTPConnectionPool

from ddb_lease import LeaseBucket, UnknownBucket, client_config
from ddb_lease._state.log import queued
from ddb_lease.dynamodb import hooks as hooks_module
from ddb_lease.dynamodb import wire as wire_module
from ddb_lease.dynamodb.internals import connections_of
from ddb_lease.dynamodb.pool import Pool
from ddb_lease.dynamodb.wire import Wire, wire_for
from tests.dynamodb.http_service import Says, certificate, says, serving
from tests.support import eventually

NOW = 1_795_915_800.0
ARGUMENTS = {
    "TableName": "leases",
    "Key": {"pk": {"S": "lease#nightly"}, "sk": {"S": "S#000001"}},
    "UpdateExpression": "SET expires_at = :e",
    "ExpressionAttributeValues": {":e": {"N": "1"}, ":data": {"M": {"B": {"B": b"\x00\xff"}, "BS": {"BS": [b"a"]}}}},
}
SIGNING = types.SimpleNamespace(at=lambda: NOW)
RETRIES = " (reached max retries: 0)"
OF_ONE_CALL = {"x-amz-date", "authorization", "amz-sdk-invocation-id", "amz-sdk-request", "content-length"}


@pytest.fixture
def service():
    with serving() as running:
        yield running


@pytest.fixture
def session():
    return boto3.Session(aws_access_key_id="key", aws_secret_access_key="secret", region_name="eu-west-1")


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


def learnt(client, method="update_item", arguments=ARGUMENTS):
    """A wire that has seen one call of botocore's."""
    wire = wire_for(client)
    wire.call(client, method, arguments, SIGNING)
    return wire


def ask(bucket, service, *, times):
    """Send so many looks at a bucket that does not exist."""
    service.answer = lambda _: says({"Items": [], "Count": 0, "ScannedCount": 0})
    for _ in range(times):
        with pytest.raises(UnknownBucket):
            bucket.status()
    assert len(service.asked) == times


def outcome(call):
    """What a call returned, or raised."""
    try:
        return "returned", comparable(call())
    except ClientError as error:
        said = str(error).replace(RETRIES, "")
        return type(error).__name__, said, error.operation_name, comparable(error.response)
    except Exception as error:
        return type(error).__name__


def comparable(response):
    """A response without what botocore says of its retries, and without the message that it gives once more."""
    response = {name: value for name, value in response.items() if name.lower() != "message"}
    metadata = dict(response["ResponseMetadata"])
    metadata.pop("MaxAttemptsReached", None)
    metadata.pop("RetryAttempts", None)
    metadata["HTTPHeaders"] = {name.lower(): value for name, value in metadata.get("HTTPHeaders", {}).items()}
    return {**response, "ResponseMetadata": metadata}


# ---- The same requests.


@pytest.mark.parametrize("token", [None, "a-token"])
def test_it_sends_what_botocore_sends(service, client, posts, monkeypatch, token):
    monkeypatch.setattr(client, "_get_credentials", lambda: Credentials("key", "secret", token))
    monkeypatch.setattr(client._request_signer, "_credentials", Credentials("key", "secret", token))
    wire = learnt(client)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 1
    theirs, ours = service.asked
    assert ours.target == theirs.target
    assert json.loads(ours.body) == json.loads(theirs.body)
    sent = [{name.lower(): value for name, value in each.headers.items()} for each in (theirs, ours)]
    kept = [{name: value for name, value in headers.items() if name not in OF_ONE_CALL} for headers in sent]
    assert kept[0] == kept[1]
    assert sent[1]["x-amz-date"] == datetime.fromtimestamp(NOW, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    shape = [headers["authorization"].rpartition("Signature=")[0].split("/")[2:] for headers in sent]
    assert shape[0] == shape[1]
    assert sent[1].get("x-amz-security-token") == token


class Credentials:
    """Credentials that can be changed."""

    def __init__(self, access_key, secret_key, token=None, account_id=None):
        self.access_key, self.secret_key, self.token, self.account_id = access_key, secret_key, token, account_id

    def get_frozen_credentials(self):
        if self.account_id is None:
            return ReadOnlyCredentials(self.access_key, self.secret_key, self.token)
        return ReadOnlyCredentials(self.access_key, self.secret_key, self.token, self.account_id)


def test_where_there_are_no_credentials_any_more_botocore_refuses_as_it_does(service, session, posts, monkeypatch):
    client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
    wire = learnt(client)
    monkeypatch.setattr(client, "_get_credentials", lambda: None)
    monkeypatch.setattr(client._request_signer, "_credentials", None)
    with pytest.raises(NoCredentialsError):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert not posts


def test_new_credentials_sign_the_next_request(service, session, posts):
    hours = [0]
    credentials = RefreshableCredentials(
        access_key="key-old",
        secret_key="old",
        token="token-old",
        expiry_time=datetime(2030, 1, 1, 1, tzinfo=timezone.utc),
        refresh_using=lambda: {
            "access_key": "key-new",
            "secret_key": "new",
            "token": "token-new",
            "expiry_time": "2030-01-01T03:00:00Z",
        },
        method="a role",
        time_fetcher=lambda: datetime(2030, 1, 1, tzinfo=timezone.utc) + timedelta(hours=hours[0]),
    )
    session._session._credentials = credentials
    client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
    wire = learnt(client)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    hours[0] = 1
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 2
    tokens = [asked.headers["X-Amz-Security-Token"] for asked in service.asked]
    assert tokens == ["token-old", "token-old", "token-new"]
    assert "Credential=key-new/" in service.asked[2].headers["Authorization"]


def test_each_operation_has_its_own_template(service, client, posts):
    wire = learnt(client)
    look = {"TableName": "leases", "KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "a"}}}
    for _ in range(2):
        wire.call(client, "query", look, SIGNING)
    assert [asked.headers["X-Amz-Target"].partition(".")[2] for asked in service.asked] == [
        "UpdateItem",
        "Query",
        "Query",
    ]
    assert len(posts) == 1


def test_a_time_out_of_the_calendar_signs_nothing(service, client, posts):
    wire = learnt(client)
    for at in (1e20, -1e20):
        wire.call(client, "update_item", ARGUMENTS, types.SimpleNamespace(at=lambda at=at: at))
    assert len(service.asked) == 3
    assert not posts


# ---- The same answers.

ITEM = {"pk": {"S": "lease#nightly"}, "data": {"M": {"B": {"B": base64.b64encode(b"\x00").decode()}}}}
ERROR = "com.amazonaws.dynamodb.v20120810#"
ANSWERS = {
    "empty": says(),
    "item": says({"Attributes": ITEM, "ConsumedCapacity": {"CapacityUnits": 1.0, "TableName": "leases"}}),
    "binary set": says({"Attributes": {"s": {"BS": [base64.b64encode(b"a").decode()] * 2}}}),
    "a map that looks like a binary": says({"Attributes": {"m": {"M": {"B": {"S": "text"}, "BS": {"L": []}}}}}),
    "no body": Says(body=b"", headers={"x-amzn-RequestId": "R"}),
    "no request id": Says(body=b"{}"),
    "condition": says(
        {
            "__type": ERROR + "ConditionalCheckFailedException",
            "message": "The conditional request failed",
            "Item": ITEM,
        },
        status=400,
    ),
    "transaction": says(
        {
            "__type": ERROR + "TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "m", "Item": ITEM}],
        },
        status=400,
    ),
    "both messages": says({"__type": "X", "message": "small", "Message": "large"}, status=400),
    "no message": says({"__type": ERROR + "InternalServerError"}, status=500),
    "a colon": says({"__type": "ThrottlingException:http://internal", "message": "slow"}, status=400),
    "a colon in a transaction": says(
        {
            "__type": ERROR + "TransactionCanceledException:http://internal",
            "Message": "Transaction cancelled",
            "CancellationReasons": [{"Code": "ConditionalCheckFailed", "Message": "m", "Item": ITEM}],
        },
        status=400,
    ),
    "binary that is none": says({"Attributes": {"b": {"B": "not base64"}, "s": {"BS": [None]}}}),
    "throttled": says(
        {
            "__type": ERROR + "ThrottlingException",
            "message": "slow",
            "throttlingReasons": [{"reason": "TableWriteKeyRangeThroughputExceeded", "resource": "arn"}],
        },
        status=400,
    ),
    "unknown code": says({"__type": "BrandNewException", "message": "?"}, status=400),
    "no type": says({"message": "?"}, status=400),
    "a portal": Says(status=503, body=b"<html>busy</html>", headers={"Content-Type": "text/html"}),
    "not JSON": Says(body=b"<html>welcome</html>", headers={"x-amzn-RequestId": "R"}),
    "half": Says(body=b'{"Attributes": {', headers={"x-amzn-RequestId": "R"}),
    "redirect": Says(status=307, body=b"", headers={"Location": "http://127.0.0.1:9/"}),
    "moved": Says(status=301, body=b"{}", headers={"Location": "http://127.0.0.1:9/"}),
    "too large": Says(status=413, body=b"", headers={}),
    "zipped": Says(body=gzip.compress(b"{}"), headers={"x-amzn-RequestId": "R", "Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_means_what_botocore_makes_of_it(service, client, posts, name):
    wire = learnt(client)
    service.answer = lambda _: ANSWERS[name]
    theirs = outcome(lambda: client.update_item(**ARGUMENTS))
    ours = outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING))
    if isinstance(theirs[-1], dict):
        # An older botocore does not know all that is said.
        assert set(theirs[-1]) <= set(ours[-1])
        ours = *ours[:-1], {name: ours[-1][name] for name in theirs[-1]}
    assert ours == theirs
    assert len(posts) == 1


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_with_a_wrong_checksum_is_none(service, client, posts, status):
    wire = learnt(client)
    service.answer = lambda _: says({"__type": "X"}, status=status, x_amz_crc32="1")
    assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == "ChecksumError"


def test_an_answer_that_is_cut_short_is_none(service, client, posts):
    """Newer versions of botocore take it for an empty one."""
    wire = learnt(client)
    service.answer = lambda _: Says(body=b'{"Attributes": {}}', headers={"x-amzn-RequestId": "R"}, cut=4)
    assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == "ConnectionClosedError"
    assert len(posts) == 1


def test_what_the_network_does_raises_what_botocore_raises(service, session, posts):
    hold = threading.Event()
    client = session.client("dynamodb", endpoint_url=service.url, config=client_config(1))
    wire = learnt(client)
    service.answer = lambda _: hold.wait(30) and says()
    try:
        theirs = outcome(lambda: client.update_item(**ARGUMENTS))
        assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == theirs == "ReadTimeoutError"
    finally:
        hold.set()
    service.server.shutdown()
    service.server.server_close()
    client.close()
    theirs = outcome(lambda: client.update_item(**ARGUMENTS))
    assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == theirs == "EndpointConnectionError"
    assert len(posts) == 2


def test_a_server_that_hangs_up_without_an_answer(session, posts):
    with serving() as service:
        client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
        wire = learnt(client)

        def hang_up(_):
            raise ConnectionAbortedError

        service.answer = hang_up
        theirs = outcome(lambda: client.update_item(**ARGUMENTS))
        assert (
            outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == theirs == "ConnectionClosedError"
        )
        assert len(posts) == 1


def test_an_interrupt_comes_through_and_the_next_call_works(service, client, posts):
    wire = learnt(client)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket.socket, "sendall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            wire.call(client, "update_item", ARGUMENTS, SIGNING)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 2


def test_a_closed_client_may_be_used_again(service, client, posts):
    wire = learnt(client)
    client.close()
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    client.close()
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 2
    assert len(service.asked) == 3


def test_a_closed_client_leaves_no_connection_open(service, client, posts):
    wire = learnt(client)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert sockets_to(service)
    client.close()
    gc.collect()
    assert not sockets_to(service)


def sockets_to(service):
    """Open sockets of this process that are connected to the service; other tests may have left some of other families."""
    port = service.server.server_port
    sockets = [each for each in gc.get_objects() if isinstance(each, socket.socket)]
    open_ones = [each for each in sockets if each.fileno() >= 0 and each.family == socket.AF_INET]
    found = []
    for each in open_ones:
        with contextlib.suppress(OSError):
            if each.getpeername()[1] == port:
                found.append(each)
    return found


def test_connections_that_were_closed_from_below_are_opened_anew(service, client, posts):
    """So do older versions of urllib3 when a client is closed."""
    wire = learnt(client)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    session = client._endpoint.http_session
    kept = connections_of(session, f"{service.url}/")[0]
    session.close()
    kept.close()
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 2


# ---- Ways to the service.


def test_a_private_certificate_is_checked_as_botocore_checks_it(session, tmp_path, posts, monkeypatch):
    context, known = certificate(tmp_path)
    with serving(tls=context) as service:
        client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10), verify=str(known))
        wire = learnt(client)
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
        assert len(posts) == 1
        client.close()
        known.write_bytes(certificate(tmp_path)[1].read_bytes())  # another one of the same name
        theirs = outcome(lambda: client.update_item(**ARGUMENTS))
        assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == theirs
    with serving(tls=certificate(tmp_path)[0]) as stranger:
        client = session.client("dynamodb", endpoint_url=stranger.url, config=client_config(10))
        with pytest.raises(SSLError):
            Pool(client._endpoint.http_session, stranger.url).post({}, b"{}")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_ipv6(session, posts):
    try:
        running = serving(host="::1")
        service = running.__enter__()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    try:
        client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
        learnt(client).call(client, "update_item", ARGUMENTS, SIGNING)
        assert len(posts) == 1
        assert service.asked[0].headers["Host"] == service.asked[1].headers["Host"]
    finally:
        running.__exit__(None, None, None)


def test_a_proxy_is_asked_as_botocore_asks_it(session, service, posts, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", service.url)
    client = session.client("dynamodb", endpoint_url="http://dynamodb.test:8000", config=client_config(10))
    learnt(client).call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 1
    assert {asked.target for asked in service.asked} == {"http://dynamodb.test:8000/"}
    assert {asked.headers["Host"] for asked in service.asked} == {"dynamodb.test:8000"}


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}, {"user_agent_extra": "mine/1.0"}],
    ids=str,
)
def test_endpoint_rules_and_the_user_agent_are_botocores(session, service, monkeypatch, settings):
    from botocore.config import Config

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nothing leaves this machine
    client = session.client("dynamodb", config=client_config(10).merge(Config(**settings)))
    prepared, posted, wire, post = [], [], wire_for(client), Pool.post

    def note(request, **_):
        prepared.append((request.url, request.headers["User-Agent"].decode()))

    def noted(pool, headers, body):
        posted.append((pool.url, headers["User-Agent"]))
        return post(pool, headers, body)

    monkeypatch.setattr(Pool, "post", noted)
    client.meta.events.register("before-send.dynamodb", note)
    assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == "ProxyConnectionError"
    client.meta.events.unregister("before-send.dynamodb", note)
    assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == "ProxyConnectionError"
    assert posted == prepared
    assert len(posted) == 1


def test_another_accounts_credentials_go_to_its_own_endpoint(service, client, posts, monkeypatch):
    if "account_id" not in ReadOnlyCredentials._fields:
        pytest.skip("this botocore knows no accounts")
    credentials = Credentials("key", "secret", account_id="111111111111")
    monkeypatch.setattr(client, "_get_credentials", lambda: credentials)
    monkeypatch.setattr(client._request_signer, "_credentials", credentials)
    wire = learnt(client)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    credentials.account_id = "222222222222"
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 1, "botocore works out where another account's requests go"
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 2


# ---- One connection, one write.


@pytest.fixture
def writes(monkeypatch):
    """The bytes of each write to a connection."""
    seen = []
    send = http.client.HTTPConnection.send

    def noted(connection, data):
        seen.append(bytes(data))
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", noted)
    return seen


def test_a_request_is_one_write_on_the_connection_of_the_call_before(service, client, posts, writes):
    wire = learnt(client)
    writes.clear()
    for _ in range(2):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    client.update_item(**ARGUMENTS)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert [write.startswith(b"POST / HTTP/1.1\r\n") for write in writes[:2]] == [True, True]
    assert all(write.endswith(service.asked[1].body) for write in writes[:2])
    assert len(posts) == 3
    assert service.connections == 1


def test_a_server_that_closes_after_each_answer_is_connected_to_anew(service, client, posts):
    wire = learnt(client)
    service.answer = lambda _: says(Connection="close")
    for _ in range(3):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 3
    assert service.connections == 3, "the first of them on the connection of botocore's call"


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(service, client, posts):
    wire = learnt(client)
    service.hang_up()
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(service.asked) == 2
    assert service.connections == 2


def test_headers_that_come_twice_are_both_told(service, client, posts):
    wire = learnt(client)
    service.answer = lambda _: says(X_Twice="one\r\nX-Twice: two")
    ours = wire.call(client, "update_item", ARGUMENTS, SIGNING)["ResponseMetadata"]["HTTPHeaders"]
    theirs = client.update_item(**ARGUMENTS)["ResponseMetadata"]["HTTPHeaders"]
    assert ours["x-twice"] == theirs["x-twice"] == "one, two"


def test_who_adds_a_header_on_the_way_has_it_sent(service, client, posts, monkeypatch):
    """As tracing libraries do that hook into urllib3."""
    urlopen = HTTPConnectionPool.urlopen

    def traced(pool, method, url, body=None, headers=None, **named):
        headers["traceparent"] = "00-1"
        return urlopen(pool, method, url, body, headers, **named)

    wire = learnt(client)
    monkeypatch.setattr(HTTPConnectionPool, "urlopen", traced)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert service.asked[-1].headers["traceparent"] == "00-1"
    assert service.asked[-1].headers["User-Agent"] == service.asked[0].headers["User-Agent"]
    assert len(posts) == 1


def test_who_gives_botocores_pools_another_connection_has_every_call(service, client, posts, monkeypatch):
    """As tools do that record or replay HTTP."""
    seen = []

    class Recording(AWSHTTPConnection):
        def request(self, *given, **named):
            seen.append(given[0])
            super().request(*given, **named)

    wire = wire_for(client)
    monkeypatch.setattr(AWSHTTPConnectionPool, "ConnectionCls", Recording)
    for _ in range(3):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert seen == ["POST"] * 3
    assert len(service.asked) == 3


def test_credentials_with_a_line_break_add_no_header(service, client, posts, monkeypatch):
    wire = learnt(client)
    credentials = Credentials("key", "secret", "token\r\nX-Injected: yes")
    monkeypatch.setattr(client, "_get_credentials", lambda: credentials)
    monkeypatch.setattr(client._request_signer, "_credentials", credentials)
    theirs = outcome(lambda: client.update_item(**ARGUMENTS))
    assert outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING)) == theirs
    assert len(service.asked) == 1
    assert not posts


def test_an_old_urllib3_sends_as_ever(service, session, posts, monkeypatch):
    monkeypatch.setattr(wire_module, "POOL_CLASSES", {})
    client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
    wire = learnt(client)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(posts) == 1
    assert service.connections == 1


# ---- Where it steps aside.


def hooked_by_handler(client, seen):
    client.meta.events.register("before-parameter-build.dynamodb", lambda **_: seen.append(1))


def hooked_by_partial_class_handler(client, seen):
    class Handler:
        def __call__(self, **_):
            seen.append(1)

    client.meta.events.register("after-call.dynamodb.UpdateItem", Handler())


def hooked_on_all(client, seen):
    client.meta.events.register("request-created", lambda **_: seen.append(1))


def method_replaced(client, seen):
    method = client.update_item
    client.update_item = lambda **given: seen.append(1) or method(**given)


HOOKS = [hooked_by_handler, hooked_by_partial_class_handler, hooked_on_all, method_replaced]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("before", [True, False], ids=["before the first call", "afterwards"])
def test_who_hooks_into_the_client_sees_every_call(service, client, posts, hook, before):
    seen = []
    if before:
        hook(client, seen)
    wire = learnt(client)
    if not before:
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
        assert posts
        hook(client, seen)
    seen.clear()
    posts.clear()
    for _ in range(2):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(seen) == 2
    assert not posts


def test_once_the_hook_is_gone_it_is_used_again(service, client, posts):
    wire, seen = learnt(client), []

    def handler(**_):
        seen.append(1)

    client.meta.events.register("before-call.dynamodb", handler)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    client.meta.events.unregister("before-call.dynamodb", handler)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert (len(seen), len(posts)) == (1, 1)


@pytest.mark.parametrize(
    ("owner", "name"), [(BaseClient, "_make_api_call"), (Endpoint, "make_request"), (Endpoint, "_send_request")]
)
def test_who_wraps_botocores_functions_sees_every_call(service, client, posts, monkeypatch, owner, name):
    wire, seen, function = learnt(client), [], getattr(owner, name)

    def wrapped(*arguments, **named):
        seen.append(1)
        return function(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, wrapped)
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
        assert (len(seen), len(posts)) == (1, 0)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert (len(seen), len(posts)) == (1, 1)


def test_a_stubbed_client_answers_as_it_was_told(service, client, posts):
    wire = learnt(client)
    with Stubber(client) as stubber:
        stubber.add_client_error("update_item", "ThrottlingException", "stubbed")
        assert (
            outcome(lambda: wire.call(client, "update_item", ARGUMENTS, SIGNING))[-1]["Error"]["Code"]
            == "ThrottlingException"
        )
        stubber.assert_no_pending_responses()
    assert len(service.asked) == 1


def test_in_a_lambda_function_each_request_carries_its_own_trace(service, client, posts, monkeypatch):
    wire = learnt(client)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "nightly")
    for trace in ("Root=1", "Root=2"):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert [asked.headers.get("X-Amzn-Trace-Id") for asked in service.asked] == [None, "Root=1", "Root=2"]
    assert not posts


def test_a_botocore_of_another_make_is_left_to_itself(service, client, posts, monkeypatch):
    """If its private parts are not where we know them, everything works, by its whole path."""
    wire = wire_for(client)

    def gone(*_):
        raise AttributeError("gone")

    monkeypatch.setattr(wire_module, "http_session_of", gone)
    for _ in range(3):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(service.asked) == 3
    assert not posts


def test_the_installed_botocore_is_one_that_we_know(service, client, posts):
    learnt(client).call(client, "update_item", ARGUMENTS, SIGNING)
    assert posts, "a new version: look at `ddb_lease.dynamodb.internals`"


@pytest.mark.parametrize(
    ("name", "value"), [("DDB_LEASE_WIRE", "boto3"), ("BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER", "1")]
)
def test_a_variable_turns_it_off(service, session, posts, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    bucket = LeaseBucket("nightly", max_tokens=1, session=session, endpoint_url=service.url)
    ask(bucket, service, times=2)
    assert not posts


@pytest.mark.parametrize(
    ("name", "value"), [("DDB_LEASE_WIRE", "botocore"), ("BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER", "")]
)
def test_another_value_of_a_variable_leaves_it_on(client, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert isinstance(wire_for(client), Wire)


@pytest.mark.parametrize("stand_in", [None, object(), types.SimpleNamespace(meta=None)])
def test_what_merely_behaves_like_a_client_has_none(stand_in):
    before = dir(stand_in)
    assert wire_for(stand_in) is None
    assert dir(stand_in) == before


def test_why_it_steps_aside_is_told_once_for_each_of_the_first_eight_reasons(service, client, posts, caplog):
    wire, reasons = learnt(client), [f"Handler{number}" for number in range(10)]
    with caplog.at_level(logging.DEBUG, "ddb_lease"):
        for name in [reasons[0], *reasons]:
            handler = type(name, (), {"__call__": lambda self, **_: None})()
            client.meta.events.register("before-call.dynamodb", handler)
            wire.call(client, "update_item", ARGUMENTS, SIGNING)
            client.meta.events.unregister("before-call.dynamodb", handler)
        queued.debug("the end")
        eventually(lambda: "the end" in caplog.messages)
    said = "requests take botocore's whole path: "
    told = [message.removeprefix(said) for message in caplog.messages if message.startswith(said)]
    assert told == [f"tests.dynamodb.test_wire.{name} handles before-call" for name in reasons[:8]]
    assert not posts


def test_a_client_of_the_users_own_takes_botocores_path(service, client, posts):
    bucket = LeaseBucket("nightly", max_tokens=1, lease_seconds=10, client=client)
    ask(bucket, service, times=2)
    assert not posts


def test_a_bucket_uses_it(service, session, posts):
    bucket = LeaseBucket("nightly", max_tokens=1, session=session, endpoint_url=service.url)
    ask(bucket, service, times=3)
    assert len(posts) == 2


def test_all_that_share_a_client_share_its_wire_and_go_with_it(session, service):
    client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
    wire = learnt(client)
    assert isinstance(wire, Wire)
    assert wire_for(client) is wire
    client.meta.events.register("before-call.dynamodb", lambda kept=[client], **_: None)  # it keeps its client
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    gone = weakref.ref(client)
    del client, wire
    gc.collect()
    assert gone() is None


def test_a_table_named_by_its_arn_takes_botocores_path(service, session, posts):
    """Its endpoint may be another account's: botocore's rules look at the table of each request."""
    table = "arn:aws:dynamodb:eu-west-1:111111111111:table/leases"
    bucket = LeaseBucket("nightly", max_tokens=1, session=session, table=table, endpoint_url=service.url)
    ask(bucket, service, times=2)
    assert not posts


def test_a_user_agent_that_is_not_ascii_is_sent_as_botocore_sends_it(service, session, posts):
    from botocore.config import Config

    config = client_config(10).merge(Config(user_agent_extra="caf\u00e9"))
    client = session.client("dynamodb", endpoint_url=service.url, config=config)
    wire = learnt(client)
    for _ in range(2):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len({asked.headers["User-Agent"] for asked in service.asked}) == 1
    assert len(service.asked) == 3
    assert not posts


def test_a_class_made_by_the_session_is_called(service, session, posts):
    seen = []

    class Seeing:
        def _make_api_call(self, *arguments):
            seen.append(arguments[0])
            return super()._make_api_call(*arguments)

    session.events.register("creating-client-class.dynamodb", lambda base_classes, **_: base_classes.insert(0, Seeing))
    client = session.client("dynamodb", endpoint_url=service.url, config=client_config(10))
    wire = wire_for(client)
    for _ in range(3):
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert seen == ["UpdateItem"] * 3
    assert not posts


@pytest.mark.parametrize("part", ["client", "endpoint", "session"])
def test_who_replaces_a_method_of_one_object_sees_every_call(service, client, posts, part):
    wire, seen = learnt(client), []
    owner, name = {
        "client": (client, "_make_request"),
        "endpoint": (client._endpoint, "_send_request"),
        "session": (client._endpoint.http_session, "send"),
    }[part]
    method = getattr(owner, name)
    setattr(owner, name, lambda *given, **named: seen.append(1) or method(*given, **named))
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert (len(seen), len(posts)) == (1, 0)


def test_who_records_botocores_history_has_every_call(service, client, posts):
    wire, recorder, seen = learnt(client), get_global_history_recorder(), []

    class Handler:
        def emit(self, event_type, *_):
            seen.append(event_type)

    recorder.add_handler(Handler())
    recorder.enable()
    try:
        wire.call(client, "update_item", ARGUMENTS, SIGNING)
    finally:
        recorder.disable()
        recorder._handlers.clear()
    assert "HTTP_REQUEST" in seen
    assert not posts


@pytest.mark.parametrize("part", ["handlers_of", "inside_of"])
def test_a_private_part_that_is_gone_later_is_none_of_the_callers_trouble(service, client, posts, monkeypatch, part):
    wire = learnt(client)

    def gone(*_):
        raise AttributeError("gone")

    monkeypatch.setattr(hooks_module, part, gone)
    wire.call(client, "update_item", ARGUMENTS, SIGNING)
    assert len(service.asked) == 2
    assert not posts
