"""Credentials that expire while a lease is held: refreshed or replaced in time, or not."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError, MetadataRetrievalError

from ddb_lease import StoreError, StoreRejected, client_config
from scripts.harness.holders import PATIENCE, UNANSWERED, note_held, session
from scripts.harness.referee import now
from tests.faults.proxy import expired
from tests.support import eventually

OLD, NEW = "key-old", "key-new"
BEGINNING = datetime(2030, 1, 1, tzinfo=timezone.utc)
SHORT_LEASE = 5.0
LEASE = 6.0
"""Seconds; not fewer, as a machine that stands still for a second must not take the lease."""


class Rotation:
    """Credentials of a role: botocore asks for new ones when the old ones are about to expire."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.fetched = 0
        self.fails = False
        self.error: Exception = OSError("the role's service does not answer")

    def session_for(self, endpoint_url):
        made = session(endpoint_url)
        self.made = made
        made._session._credentials = RefreshableCredentials(
            access_key=OLD,
            secret_key="old",
            token="old",
            expiry_time=BEGINNING + timedelta(hours=1),
            refresh_using=self.fetch,
            method="a role",
            time_fetcher=lambda: self.now,
        )
        return made

    def rotate(self):
        """Let the hour pass."""
        self.now = BEGINNING + timedelta(hours=1)

    def fetch(self):
        self.fetched += 1
        if self.fails:
            raise self.error
        expiry = (self.now + timedelta(hours=1)).isoformat()
        return {"access_key": NEW, "secret_key": "new", "token": "new", "expiry_time": expiry}


class Replacement:
    """Credentials that somebody replaces in the session."""

    def session_for(self, endpoint_url):
        self.made = session(endpoint_url, OLD)
        return self.made

    def rotate(self):
        self.made.get_credentials().access_key = NEW


@pytest.fixture(params=[Rotation, Replacement], ids=["refreshed by botocore", "replaced by hand"])
def credentials(request):
    return request.param()


@pytest.fixture
def client_of(new_bucket, proxy):
    """Makes buckets with these credentials, through the proxy."""
    with ExitStack() as stack:

        def make(credentials, *, lease_seconds=30, **settings):
            client = credentials.session_for(proxy.endpoint_url).client(
                "dynamodb", endpoint_url=proxy.endpoint_url, config=client_config(lease_seconds)
            )
            stack.callback(client.close)
            return new_bucket(client=client, lease_seconds=lease_seconds, **settings)

        yield make


def test_a_lease_whose_credentials_are_renewed_in_time_is_kept(credentials, client_of, proxy, table):
    calls = []
    lease = client_of(credentials).acquire(timeout=PATIENCE, on_lost=calls.append)
    proxy.decide = expired(OLD)
    with pytest.raises(StoreRejected, match="credentials have run out"):
        lease.renew()
    lease.check()
    eventually(lambda: proxy.count("expired", on="UpdateItem") >= 3, within=PATIENCE)  # the heartbeat keeps trying
    lease.check()
    before = table.get(lease.slot)["expires_at"]
    credentials.rotate()
    eventually(lambda: table.get(lease.slot)["expires_at"] > before, within=PATIENCE)
    lease.renew()
    assert not calls
    assert lease.release()


def test_a_lease_whose_credentials_are_not_renewed_is_lost_as_unreachable_before_another_has_it(
    client_of, new_bucket, proxy, job, log
):
    calls = []
    lease = client_of(Replacement(), max_tokens=1, lease_seconds=SHORT_LEASE).acquire(
        timeout=PATIENCE, on_lost=lambda lost: calls.append(lost.lost)
    )
    note_held(job(number=0), lease)
    proxy.decide = expired(OLD)
    last = now()
    while lease.held:
        last = now()
    with new_bucket(max_tokens=1, lease_seconds=SHORT_LEASE).acquire(timeout=PATIENCE) as successor:
        note_held(job(number=1), successor)
        assert log.spans()[-1].first > last
        assert successor.fence > lease.fence
    eventually(lambda: calls, within=PATIENCE)
    assert calls == [lease.lost]
    assert lease.lost in UNANSWERED
    assert proxy.count("expired", on="UpdateItem") >= 2
    assert not log.complaints(1)


@pytest.mark.parametrize("engine", ["ministack"], indirect=True)  # the embedded one takes no batches
def test_batches_go_on_as_soon_as_credentials_that_ran_out_are_replaced(client_of, proxy, caplog):
    credentials, batch = Replacement(), "BatchExecuteStatement"
    caplog.set_level("INFO", "ddb_lease")
    lease = client_of(credentials, lease_seconds=LEASE).acquire(timeout=PATIENCE, count=2)
    eventually(lambda: proxy.count("passes", on=batch), within=PATIENCE)
    proxy.decide = expired(OLD)
    eventually(lambda: proxy.count("expired", on=batch) >= 2, within=PATIENCE)
    passed = proxy.count("passes", on=batch)
    credentials.rotate()
    eventually(lambda: proxy.count("passes", on=batch) > passed, within=PATIENCE)
    assert proxy.count("expired", on="UpdateItem") == 0
    assert "one by one" not in caplog.text
    assert lease.release()


def test_acquiring_with_expired_credentials_raises_at_once(credentials, client_of, proxy):
    bucket = client_of(credentials)
    proxy.decide = expired(OLD)
    for acquire in (bucket.acquire, bucket.try_acquire):
        with pytest.raises(StoreRejected, match="credentials have run out: The security token") as raised:
            acquire()
        assert raised.value.__cause__.response["Error"]["Code"] == "ExpiredTokenException"
    credentials.rotate()
    with bucket.acquire(timeout=PATIENCE) as lease:
        lease.check()


def test_a_lease_outlives_a_refresh_that_fails(client_of, proxy, table):
    """If botocore itself cannot get new credentials, nothing is sent at all."""
    role = Rotation()
    lease = client_of(role).acquire(timeout=PATIENCE)
    role.fails = True
    role.rotate()
    with pytest.raises(StoreError):
        lease.renew()
    eventually(lambda: role.fetched >= 3, within=PATIENCE)
    lease.check()
    before = table.get(lease.slot)["expires_at"]
    role.fails = False
    eventually(lambda: table.get(lease.slot)["expires_at"] > before, within=PATIENCE)
    assert lease.release()


@pytest.mark.parametrize(
    "error",
    [
        CredentialRetrievalError(provider="a role", error_msg="busy"),
        MetadataRetrievalError(error_msg="timed out"),
        OSError("the role's service does not answer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_waiting_outlasts_a_role_whose_service_is_busy(client_of, error):
    """If no credentials can be had for a moment, a waiter waits: that is no refusal."""
    role = Rotation()
    role.error = error
    bucket = client_of(role)
    role.fails = True
    role.rotate()

    def recover():
        eventually(lambda: role.fetched >= 2, within=PATIENCE)
        role.fails = False

    helper = threading.Thread(target=recover)
    helper.start()
    with bucket.acquire(timeout=PATIENCE) as lease:
        lease.check()
    helper.join(PATIENCE)
    assert role.fetched >= 3


def test_a_refresh_that_hangs_holds_up_one_call_and_no_lease(client_of, table):
    """botocore refreshes early, on the thread that happens to come; the others use the credentials at hand."""
    role, go = Rotation(), threading.Event()
    bucket = client_of(role, lease_seconds=LEASE, max_tokens=3)
    leases = [bucket.acquire(timeout=PATIENCE) for _ in range(3)]
    fetch = role.fetch

    def hang():
        expiry = fetch()
        assert go.wait(3 * PATIENCE)
        return expiry

    before = {lease.slot: table.get(lease.slot)["expires_at"] for lease in leases}
    role.made._session._credentials._refresh_using = hang
    role.now = BEGINNING + timedelta(minutes=47)
    try:
        eventually(
            lambda: all(table.get(lease.slot)["expires_at"] > before[lease.slot] + 1000 * LEASE for lease in leases),
            within=PATIENCE,
        )
        assert role.fetched == 1
        assert all(lease.held for lease in leases)
    finally:
        go.set()
