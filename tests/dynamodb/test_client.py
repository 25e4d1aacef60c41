"""The boto3 client: one attempt, short timeouts, and the user's own client only if it has both."""

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lease import ConfigurationError, LeaseBucket, client_config
from ddb_lease._protocol.messages import Unknown
from ddb_lease._protocol.records import Counter
from ddb_lease.dynamodb import ConnectionSettings
from tests.dynamodb.http_body import Body
from tests.support import claim, mint, release, renew, store_of

NOWHERE = "http://127.0.0.1:9"  # nothing is sent there: the tests answer themselves


def session():
    return boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="eu-west-1")


def own_client(**config):
    return session().client("dynamodb", endpoint_url=NOWHERE, config=Config(**config))


def answered_in_trouble(client):
    """Every sending is answered by a server in trouble, and noted."""
    sendings = []

    def answer(request, **_):
        sendings.append(request)
        return AWSResponse(request.url, 500, {}, Body(b"{}"))

    client.meta.events.register("before-send.dynamodb", answer)
    return sendings


@pytest.mark.parametrize("made", ["by us", "by the user"])
def test_a_request_is_sent_once_and_never_again_by_botocore(made):
    if made == "by us":
        client = ConnectionSettings(session=session(), endpoint_url=NOWHERE).connect(30)
    else:
        client = session().client("dynamodb", endpoint_url=NOWHERE, config=client_config(30))
    sendings = answered_in_trouble(client)
    with pytest.raises(ClientError):
        client.query(TableName="t", KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": "b"}})
    assert len(sendings) == 1


def test_a_200_ok_without_a_request_id_is_no_lease():
    client = ConnectionSettings(session=session(), endpoint_url=NOWHERE).connect(30)
    portal = {"Date": "Mon, 23 Nov 2026 21:52:35 GMT"}  # a captive portal, or a proxy: it says yes to everything
    client.meta.events.register(
        "before-send.dynamodb", lambda request, **_: AWSResponse(request.url, 200, portal, Body(b"{}"))
    )
    store = store_of(ConnectionSettings(client=client))
    for request in (claim(), mint(), renew(), release()):
        reply = store.send(request)
        assert isinstance(reply.answer, Unknown)
        assert not reply.genuine


def test_a_forked_child_makes_a_client_of_its_own_before_its_first_request_and_not_before():
    store = store_of(ConnectionSettings(session=session(), endpoint_url=NOWHERE))
    parents = store._client
    store.after_fork_in_child()
    assert store._client is parents  # at that moment, another thread of the parent's may have held its locks
    store.send(claim())
    child = store._client
    assert child is not parents
    store.send(claim())
    assert store._client is child


def test_a_forked_child_drops_the_connections_of_a_client_of_the_users_own(monkeypatch):
    client = session().client("dynamodb", endpoint_url=NOWHERE, config=client_config(30))
    closed = []
    monkeypatch.setattr(client, "close", lambda: closed.append(True))
    store = store_of(ConnectionSettings(client=client))
    store.after_fork_in_child()
    for _ in range(2):
        store.send(claim())
        assert closed == [True]


@pytest.mark.parametrize("lease_seconds", [0.5, 1.0, 3.0, 10.0, 60.0, 86_400.0])
def test_timeouts_stay_under_a_third_of_the_lease_where_a_handshake_allows(lease_seconds):
    config = client_config(lease_seconds)
    assert config.connect_timeout == config.read_timeout
    assert 0.25 <= config.read_timeout <= max(0.25, lease_seconds / 6)
    assert config.read_timeout <= 3.0, "a healthy answer takes milliseconds: waiting longer delays the next try"


@pytest.mark.parametrize(
    "retries",
    [
        None,
        {"total_max_attempts": 2},
        {"max_attempts": 1},
        {"mode": "standard"},
        {"max_attempts": 4, "mode": "adaptive"},
    ],
    ids=str,
)
def test_a_client_that_retries_by_itself_is_refused(retries):
    client = own_client(connect_timeout=1, read_timeout=1, **({"retries": retries} if retries else {}))
    with pytest.raises(ConfigurationError, match="retries by itself"):
        LeaseBucket("b", max_tokens=1, client=client)


@pytest.mark.parametrize("retries", [{"total_max_attempts": 1}, {"max_attempts": 0}], ids=str)
def test_a_client_that_does_not_is_taken(retries):
    LeaseBucket("b", max_tokens=1, client=own_client(connect_timeout=1, read_timeout=1, retries=retries)).close()


@pytest.mark.parametrize("which", ["connect_timeout", "read_timeout"])
def test_a_client_that_waits_longer_than_the_lease_allows_is_refused(which):
    timeouts = {"connect_timeout": 1, "read_timeout": 1} | {which: 11}
    client = own_client(retries={"total_max_attempts": 1}, **timeouts)
    with pytest.raises(ConfigurationError, match="waits up to 11 s"):
        LeaseBucket("b", max_tokens=1, lease_seconds=30, client=client)
    LeaseBucket("b", max_tokens=1, lease_seconds=60, client=client).close()


@pytest.mark.parametrize(("stored", "own", "timeout"), [(6.0, 60.0, 10), (30.0, 90.0, 25)])
def test_a_client_that_waits_longer_than_the_stored_lease_allows_is_refused_each_time(stored, own, timeout):
    client = own_client(connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1})
    bucket = LeaseBucket("b", max_tokens=1, lease_seconds=own, client=client)
    for _ in range(3):
        with pytest.raises(ConfigurationError, match=f"waits up to {timeout} s"):
            bucket._core.state.adopt(Counter(max_tokens=1, minted=1, rev=1, lease_ms=round(stored * 1000)), sure=True)
        assert bucket._core.state.hints.counter is None


def test_the_users_own_client_is_not_closed_with_the_bucket():
    closed = []
    own = own_client(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    own.close = lambda: closed.append(own)
    LeaseBucket("b", max_tokens=1, client=own).close()
    assert closed == []


def test_a_client_and_a_session_are_one_too_many():
    client = own_client(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    with pytest.raises(ConfigurationError, match="not both"):
        LeaseBucket("b", max_tokens=1, client=client, session=session())
