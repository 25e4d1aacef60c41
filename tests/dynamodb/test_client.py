"""The boto3 client: one attempt, short timeouts, and the user's own client only if it has both."""

from types import SimpleNamespace

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, NoRegionError

from ddb_lease import ConfigurationError, LeaseBucket, client_config
from ddb_lease._protocol.messages import Unknown
from ddb_lease._protocol.records import Counter
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.client import new_session, timeout_for
from scripts.harness.inside import core_of
from tests.dynamodb.clients import Clients
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


def test_a_forked_child_makes_a_client_of_its_own_before_its_first_request_and_not_before(monkeypatch):
    clients = Clients(monkeypatch)
    store = store_of(ConnectionSettings(session=session(), endpoint_url=NOWHERE))
    (parents,) = clients.alive
    store.after_fork_in_child()
    assert set(clients.alive) == {parents}  # at that moment, another thread of the parent's may have held its locks
    store.send(claim())
    child = clients.sender(lambda: store.send(claim()))
    assert child is not parents
    assert clients.sender(lambda: store.send(claim())) is child
    assert set(clients.alive) == {parents, child}


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
    ("lease_seconds", "timeout"),
    [(0.5, 0.25), (2.5, 0.25), (4.0, 0.4), (29.0, 2.9), (30.0, 3.0), (40.0, 3.0), (86_400.0, 3.0)],
)
def test_a_timeout_is_a_tenth_of_the_lease_from_a_quarter_of_a_second_to_three(lease_seconds, timeout):
    assert timeout_for(lease_seconds) == pytest.approx(timeout)
    config = client_config(lease_seconds)
    assert (config.connect_timeout, config.read_timeout) == (pytest.approx(timeout), pytest.approx(timeout))
    settings = ConnectionSettings(session=session())
    assert settings.call_seconds(lease_seconds) == pytest.approx(2 * timeout), "to connect, and to read"
    assert settings.answer_seconds == 0.0


def test_a_client_of_ours_is_set_up_for_leases():
    set_up = {
        "connect_timeout": 3.0,
        "read_timeout": 3.0,
        "tcp_keepalive": True,
        "max_pool_connections": 50,
    }
    made = ConnectionSettings(session=session(), endpoint_url=NOWHERE).connect(60)
    for config in (client_config(), made.meta.config):
        assert {name: getattr(config, name) for name in set_up} == set_up
        assert config.retries["total_max_attempts"] == 1
        assert config.retries["mode"] == "standard"
    assert client_config().parameter_validation is False, "tests check requests: here it would only take time"
    assert (made.meta.service_model.service_name, made.meta.endpoint_url) == ("dynamodb", NOWHERE)


@pytest.mark.parametrize(
    ("connect", "read", "longest", "both"),
    [(1, 2, 2.0, 3.0), (2, 1, 2.0, 3.0), (None, 2, 2.0, 2.0), (1, None, 1.0, 1.0)],
)
def test_a_client_of_the_users_own_is_waited_for_as_long_as_it_waits(connect, read, longest, both):
    client = own_client(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    client.meta.config.connect_timeout, client.meta.config.read_timeout = connect, read
    settings = ConnectionSettings(client=client)
    assert settings.answer_seconds == longest
    assert settings.call_seconds(60) == both
    assert settings.connect(60) is client


def test_what_only_behaves_like_a_client_waits_for_no_time_that_is_known():
    stand_in = SimpleNamespace(meta=SimpleNamespace(config=SimpleNamespace(retries={"total_max_attempts": 1})))
    settings = ConnectionSettings(client=stand_in)
    assert (settings.answer_seconds, settings.call_seconds(60)) == (0.0, 0.0)
    for retries in ({}, None, {"total_max_attempts": 2}, {"max_attempts": 1}):
        stand_in.meta.config.retries = retries
        with pytest.raises(ConfigurationError, match="retries by itself"):
            ConnectionSettings(client=stand_in)
    del stand_in.meta.config.retries
    with pytest.raises(ConfigurationError, match="retries by itself"):
        ConnectionSettings(client=stand_in)


def test_a_client_comes_with_nothing_else():
    client = own_client(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    for more in ({"endpoint_url": NOWHERE}, {"session": session()}):
        with pytest.raises(ConfigurationError, match="^give a client, or a session and endpoint_url, not both$"):
            ConnectionSettings(client=client, **more)


def test_where_no_region_is_set_it_is_said_how_to_set_one(monkeypatch):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    settings = ConnectionSettings(session=boto3.Session("x", "x"))
    with pytest.raises(ConfigurationError, match="^no AWS region is set: set AWS_DEFAULT_REGION") as caught:
        settings.connect(30)
    assert isinstance(caught.value.__cause__, NoRegionError)


def test_an_endpoint_that_is_no_url_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigurationError, match="^cannot set up a DynamoDB client: Invalid endpoint: nowhere$"):
        ConnectionSettings(session=session(), endpoint_url="nowhere").connect(30)


def test_a_session_is_for_the_profile_and_region_that_are_named(monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[profile ours]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    ours = new_session(profile="ours")
    assert (ours.profile_name, ours.region_name) == ("ours", "eu-north-1")
    assert new_session(profile="ours", region="eu-south-1").region_name == "eu-south-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert new_session().region_name == "eu-west-1"
    with pytest.raises(ConfigurationError, match=r"\(theirs\) could not be found: see `aws configure list-profiles`$"):
        new_session(profile="theirs")


def test_a_client_of_a_session_is_closed_by_whoever_had_it_made_even_if_it_does_not_close():
    settings, closed = ConnectionSettings(session=session(), endpoint_url=NOWHERE), []
    client = settings.connect(30)

    def close():
        closed.append(True)
        raise OSError("a socket that does not close")

    client.close = close
    settings.disconnect(client, user=None)
    assert closed == [True]


def test_a_store_says_where_its_table_is():
    def whereabouts(connection):
        return store_of(connection, table="leases").whereabouts

    assert whereabouts(ConnectionSettings(session=session(), endpoint_url=NOWHERE)) == ("leases", NOWHERE, "eu-west-1")
    stand_in = SimpleNamespace(meta=SimpleNamespace(config=SimpleNamespace(retries={"total_max_attempts": 1})))
    assert whereabouts(ConnectionSettings(client=stand_in)) == ("leases", "None", "None")


@pytest.mark.parametrize(("lease_seconds", "timeout"), [(300.0, 3.0), (60.0, 3.0), (30.0, 3.0), (10.0, 1.0)])
def test_a_shorter_lease_shortens_the_timeouts_and_a_longer_one_leaves_them(monkeypatch, lease_seconds, timeout):
    def client():
        return clients.sender(lambda: store.send(claim()))

    clients = Clients(monkeypatch)
    store = store_of(ConnectionSettings(session=session(), endpoint_url=NOWHERE))
    before, closed = client(), []
    before.close = lambda: closed.append(True)
    store.fit(lease_seconds)
    after = client()
    assert after.meta.config.read_timeout == timeout
    assert (after is before) == (timeout == 3.0)
    assert closed == ([] if timeout == 3.0 else [True])
    for longer in (lease_seconds, 30.0):
        store.fit(longer)
        assert client() is after


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
            core_of(bucket).state.adopt(
                Counter(max_tokens=1, minted=1, rev=1, lease_ms=round(stored * 1000)), sure=True
            )
        assert core_of(bucket).state.hints.counter is None


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
