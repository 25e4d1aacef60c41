"""One session and one client for all that bring none, closed by the last, and none of it shared with a forked child."""

import gc
import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

from ddb_lease import LeaseBucket, RateLimiter, StoreRejected, StoreUnavailable, aio
from ddb_lease._protocol.messages import Look
from ddb_lease.dynamodb import client as client_module
from ddb_lease.dynamodb.shared import SharedClients
from scripts.harness.holders import PATIENCE
from scripts.harness.inside import core_of
from tests.conftest import QUICK, TABLE
from tests.dynamodb.clients import Clients

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9"
ELSEWHERE = "http://127.0.0.1:13"


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """A process that has made nothing yet: the sessions that it makes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(client_module, "SHARED", SharedClients())
    made = []
    session = boto3.Session

    def new(*arguments, **settings):
        made.append(session(*arguments, **settings))
        return made[-1]

    monkeypatch.setattr(boto3, "Session", new)
    return made


def bucket(name="b", *, endpoint_url=NOWHERE, **settings):
    return LeaseBucket(name, max_tokens=1, endpoint_url=endpoint_url, **settings)


@pytest.fixture(autouse=True)
def clients(monkeypatch):
    return Clients(monkeypatch)


@pytest.fixture
def client_of(clients):
    """The client by which a bucket or a limiter sends."""
    look = Look(limit=1, consistent=False)
    return lambda guard: clients.sender(lambda: core_of(guard).driver.perform(look))


def test_all_that_bring_no_session_share_one_and_a_client(made, client_of):
    guards = [bucket(), bucket("another"), RateLimiter("r", rate=1, endpoint_url=NOWHERE)]
    guards.append(bucket(lease_seconds=3600))
    assert len({id(client_of(guard)) for guard in guards}) == 1
    assert len(made) == 1
    other = aio.LeaseBucket("b", max_tokens=1, endpoint_url=NOWHERE)
    assert client_of(other) is client_of(guards[0])


def test_another_endpoint_or_another_timeout_is_another_client_of_the_same_session(made, client_of):
    clients = {id(client_of(each)) for each in (bucket(), bucket(endpoint_url=ELSEWHERE), bucket(lease_seconds=10))}
    assert len(clients) == 3
    assert len(made) == 1


def test_who_brings_a_session_shares_with_nobody(made, client_of):
    own = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="eu-west-1")
    guards = [bucket(), bucket(session=own), bucket(session=own)]
    assert len({id(client_of(guard)) for guard in guards}) == 3


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_DEFAULT_REGION", "eu-central-1"), ("AWS_SESSION_TOKEN", "t"), ("HTTPS_PROXY", "http://p")]
)
def test_once_the_environment_has_changed_newcomers_get_what_it_says_now(made, monkeypatch, name, value, client_of):
    before = bucket()
    monkeypatch.setenv(name, value)
    after = bucket()
    assert client_of(before) is not client_of(after)
    assert len(made) == 2
    assert client_of(bucket()) is client_of(after)


def test_connections_are_closed_by_the_last_that_closes(monkeypatch, client_of):
    first, second, third = bucket(), bucket("another"), RateLimiter("r", rate=1, endpoint_url=NOWHERE)
    closed = []
    monkeypatch.setattr(client_of(first), "close", lambda: closed.append(True))
    first.close()
    first.close()
    third.close()
    assert not closed
    second.close()
    assert closed
    assert client_of(bucket()) is client_of(first), "it is kept for newcomers, and opens connections as needed"


def test_who_is_dropped_without_a_close_keeps_no_connection_open(monkeypatch, client_of):
    first, second = bucket(), bucket("another")
    closed = []
    monkeypatch.setattr(client_of(first), "close", lambda: closed.append(True))
    del second
    gc.collect()
    first.close()
    assert closed


def test_threads_that_make_buckets_at_once_share_too(made, client_of):
    with ThreadPoolExecutor(max_workers=16) as pool:
        guards = list(pool.map(bucket, [f"b{n}" for n in range(64)]))
    assert len({id(client_of(guard)) for guard in guards}) == 1
    assert len(made) == 1


def test_a_process_keeps_only_a_few_clients_for_newcomers(clients):
    for number in range(40):
        bucket(endpoint_url=f"http://127.0.0.1:{1000 + number}").close()
    gc.collect()
    assert 1 <= len(clients.alive) <= 8


@pytest.mark.parametrize(
    ("name", "is_a_setting"),
    [
        ("AWS_PROFILE", True),
        ("BOTO_CONFIG", True),
        ("HTTP_PROXY", True),
        ("https_proxy", True),
        ("NO_PROXY", True),
        ("no_proxy", True),
        ("REQUESTS_CA_BUNDLE", True),
        ("HOME", True),
        ("SOME_AWS_PROFILE", False),
        ("LANG", False),
    ],
)
def test_a_setting_is_what_botocore_and_its_http_client_read(monkeypatch, name, is_a_setting):
    clients, sessions = SharedClients(), iter(range(9))

    def lent():
        return clients.lend(
            ("key",), user=None, new_session=lambda: next(sessions), new_client=lambda session: f"of session {session}"
        )

    monkeypatch.delenv(name, raising=False)
    assert [lent(), lent()] == ["of session 0", "of session 0"]
    monkeypatch.setenv(name, "another value")
    assert lent() == ("of session 1" if is_a_setting else "of session 0")


class Client:
    """Stands for a client: only who it is counts."""


def lent(clients, key, user=None):
    return clients.lend((key,), user=user, new_session=object, new_client=lambda _: Client())


def test_only_who_uses_a_client_counts_and_once():
    clients, one, other = SharedClients(), Client(), Client()
    client = lent(clients, "a")
    assert clients.give_back(client, user=one), "nobody in particular uses it"
    assert [lent(clients, "a", user) is client for user in (one, one, other)] == [True, True, True]
    assert not clients.give_back(client, user=one)
    assert clients.give_back(client, user=other)
    assert not clients.give_back(Client(), user=one), "it is not one of these"


def test_a_client_that_is_forgotten_is_for_no_newcomer_and_the_others_stay():
    clients = SharedClients()
    one, other = lent(clients, "a"), lent(clients, "b")
    clients.forget(one)
    assert lent(clients, "a") is not one
    assert lent(clients, "b") is other
    assert not clients.give_back(one, user=None)


def test_eight_are_kept_for_newcomers_and_the_oldest_goes_first():
    clients = SharedClients()
    made = [lent(clients, number) for number in range(9)]
    assert [lent(clients, number) is made[number] for number in range(1, 9)] == [True] * 8
    assert lent(clients, 0) is not made[0]


def test_a_client_that_all_share_has_room_for_their_connections(client_of):
    config = client_of(bucket()).meta.config
    assert (config.max_pool_connections, config.read_timeout, config.connect_timeout) == (250, 3.0, 3.0)


FORKING = f"""
import os, sys
from boto3.session import Session
from ddb_lease import LeaseBucket, StoreError
made, senders, make = [], [], Session.client
def client(*given, **named):
    client = make(*given, **named)
    client.meta.events.register("before-send.dynamodb", lambda **_: senders.append(client))
    made.append(client)
    return client
Session.client = client
first, second = (LeaseBucket(name, max_tokens=1, endpoint_url={NOWHERE!r}) for name in "ab")
parents = list(made)
def senders_of(bucket):
    senders.clear()
    try:
        bucket.acquire(timeout=0)
    except StoreError:
        pass
    return senders[:1]
child = os.fork()
if child == 0:
    code = 1
    try:
        theirs = senders_of(first) + senders_of(second)
        code = 0 if len(set(theirs)) == 1 and theirs[0] is not parents[0] else 2
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
assert senders_of(first) == senders_of(second) == parents == made
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_shares_one_client_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", FORKING], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=120
    )
    assert done.returncode == 0


def test_credentials_that_come_later_are_found(monkeypatch, made, client_of):
    """As with a metadata service that did not answer when the client was made."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    guards = [bucket(), bucket("another")]
    for guard in guards:
        with pytest.raises(StoreRejected, match="Unable to locate credentials"):
            guard.acquire(timeout=0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    for guard in guards:
        with pytest.raises(StoreUnavailable, match="refused"):
            guard.acquire(timeout=0)
    assert client_of(guards[0]) is client_of(guards[1])


@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
def test_a_closed_bucket_is_kept_by_nothing(engine, session, bucket_name, table, client_of):
    """The heartbeat's schedule has an entry for each lease until it would have been due."""
    kept = LeaseBucket(
        "keeps-the-heartbeat-busy",
        max_tokens=1,
        table=TABLE,
        session=session,
        endpoint_url=engine.endpoint_url,
        timing=QUICK,
    )
    with kept, kept.acquire(timeout=PATIENCE):
        closed = []
        for _ in range(3):
            guard = LeaseBucket(
                bucket_name,
                max_tokens=2,
                table=TABLE,
                session=session,
                endpoint_url=engine.endpoint_url,
                lease_seconds=3600,
            )
            guard.acquire(timeout=PATIENCE)
            guard.acquire(timeout=PATIENCE).release()
            closed += [weakref.ref(core_of(guard)), weakref.ref(client_of(guard))]
            guard.close()
            del guard
        gc.collect()
        assert [each() for each in closed] == [None] * len(closed)
