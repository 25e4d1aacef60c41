"""Bad input and bad surroundings, as a table: the problem -> the error, its message, and that nothing changed."""

import http.server
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    Lease,
    LeaseBucket,
    StoreRejected,
    StoreUnavailable,
    Timing,
    UnknownBucket,
)
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.cli import main
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import check_table, create_table
from scripts.harness.inside import core_of
from tests.conftest import QUICK, TABLE
from tests.support import put_counter, put_free, put_leased

NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""
FAR = 4_102_444_800_000
"""Milliseconds: in the year 2100."""

PORTAL = b"<!doctype html><title>Welcome</title><p>Please sign in to use this network."


@dataclass
class Place:
    """The objects for a row's operation."""

    engine: Any
    session: Any
    table: Any
    name: str
    made: list[LeaseBucket] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    """What stood in the table before the operation."""

    def bucket(self, name=None, **changes):
        settings = {"max_tokens": 3, "lease_seconds": 30, "timing": QUICK, "table": TABLE, "session": self.session}
        settings |= {"endpoint_url": self.engine.endpoint_url} | changes
        bucket = LeaseBucket(self.name if name is None else name, **settings)
        self.made.append(bucket)
        return bucket

    def old(self, **changes):
        """A client of a bucket that exists, of three tokens, one of them leased."""
        put_counter(self.table)
        put_free(self.table, 0, 2)
        put_leased(self.table, 1, "1-other", expires_at=FAR)
        self.before = self.table.all()
        return self.bucket(**changes)


@pytest.fixture
def place(engine, session, table, bucket_name):
    place = Place(engine, session, table, bucket_name)
    yield place
    for bucket in place.made:
        bucket.close()


def stranger(**settings):
    """A session with nothing of this machine's, and these settings."""
    core = botocore.session.Session()
    core.set_config_variable("region", settings.get("region"))
    if settings.get("credentials", True):
        core.set_credentials("local", "local")
    else:
        core.register_component("credential_provider", Nothing())
    return boto3.Session(botocore_session=core)


class Nothing:
    def load_credentials(self):
        return None


def refused_by_iam(action):
    """A session whose every request of this action is refused, in IAM's words."""

    def refuse(**_):
        said = (
            f"User: arn:aws:iam::123456789012:user/job is not authorized to perform: dynamodb:{action} on resource: "
            f"arn:aws:dynamodb:us-east-1:123456789012:table/{TABLE} because no identity-based policy allows the "
            f"dynamodb:{action} action"
        )
        headers = {"x-amzn-RequestId": "R1", "Content-Type": "application/x-amz-json-1.0"}
        response = AWSResponse(NOBODY, 400, headers, None)
        response._content = (
            b'{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"%s"}' % said.encode()
        )
        return response

    session = stranger(region="us-east-1")
    session.events.register(f"before-send.dynamodb.{action}", refuse)
    return session


UNPRINTABLE = {"k": object()}

# What is wrong -> the error, and what it says of what to do.
ARGUMENTS = {
    "no name": (lambda p: p.bucket(""), "a bucket's name"),
    "a name too long": (lambda p: p.bucket("n" * 2049), "2048 bytes"),
    "a name too long in bytes": (lambda p: p.bucket("\N{SNOWMAN}" * 700), "2048 bytes"),
    "a name that is no text": (lambda p: p.bucket(7), "a bucket's name"),
    "a name that cannot be encoded": (lambda p: p.bucket("\ud800"), "a bucket's name"),
    "no tokens": (lambda p: p.bucket(max_tokens=0), "max_tokens must be a whole number from 1 to 100,000"),
    "fewer than no tokens": (lambda p: p.bucket(max_tokens=-1), "max_tokens must be a whole number from 1"),
    "too many tokens": (lambda p: p.bucket(max_tokens=100_001), "from 1 to 100,000"),
    "half a token": (lambda p: p.bucket(max_tokens=1.5), "max_tokens must be a whole number"),
    "no length": (lambda p: p.bucket(lease_seconds=0), "lease_seconds must be a number of seconds"),
    "a length that is none": (lambda p: p.bucket(lease_seconds=float("nan")), "lease_seconds must be a number"),
    "too short for its margin": (
        lambda p: p.bucket(lease_seconds=3, timing=Timing()),
        r"a lease of 3 s is too short: .* three margins long: at least 3\.\d s, as the margin grows",
    ),
    "a grace too long for its lease": (
        lambda p: p.bucket(lease_seconds=60, timing=Timing(grace=3600)),
        r"a lease of 60 s is too short: its margin is 1h, .* three margins long: at least 3h,",
    ),
    "a timeout in the past": (lambda p: p.old().acquire(timeout=-1), "timeout must be 0 or more"),
    "no slots together": (lambda p: p.old().acquire(5, count=0), "count must be a whole number from 1 to 99"),
    "too many together": (lambda p: p.old().try_acquire(count=100), "count must be a whole number from 1 to 99"),
    "more together than there are": (lambda p: p.old().acquire(5, count=4), "4 slots cannot be had together"),
    "a lease id that is none, released": (lambda p: p.old().release("nonsense"), "'nonsense' is not a lease id"),
    "a lease id that is none, revoked": (lambda p: p.old().revoke("1-"), "'1-' is not a lease id"),
    "a lease id that is no text": (lambda p: p.old().release(None), "a lease id"),
    "a lease for its id, released": (
        lambda p: p.old().release(Lease.__new__(Lease)),
        r"a lease's id, not a Lease: write lease\.release\(\), or pass lease\.id$",
    ),
    "a lease for its id, revoked": (lambda p: p.old().revoke(Lease.__new__(Lease)), "or pass lease.id"),
    "data that is no mapping": (lambda p: p.old().acquire(5, data=[1]), "data must be a mapping"),
    "data that JSON cannot say": (
        lambda p: p.old().acquire(5, data=UNPRINTABLE),
        "data cannot hold a value of type object",
    ),
    "data with keys that are no text": (lambda p: p.old().acquire(5, data={1: 2}), "keys must be strings"),
    "data too large": (lambda p: p.old().try_acquire(data={"k": "x" * 300_001}), "data is too large"),
    "data too large for several": (
        lambda p: p.old(max_tokens=99).try_acquire(count=40, data={"k": "x" * 100_000}),
        "data is too large",
    ),
    "a size that cannot be": (lambda p: p.old().resize(0), "max_tokens must be a whole number"),
    "no table's name": (lambda p: p.bucket(table=""), "table"),
    "no region": (
        lambda p: p.bucket(session=stranger(region=None), endpoint_url=None),
        r"no AWS region is set: set AWS_DEFAULT_REGION, .* or give session= with one; .* \*\*ddb_lease.local.connect",
    ),
}

SURROUNDINGS = {
    "no table": (
        lambda p: p.bucket(table="nowhere").try_acquire(),
        StoreRejected,
        "make it with `ddb-lease create-table",
    ),
    "no credentials": (
        lambda p: p.old(session=stranger(region="us-east-1", credentials=False)).try_acquire(),
        StoreRejected,
        "check credentials, profile and region",
    ),
    "may not look": (
        lambda p: p.old(session=refused_by_iam("Query")).try_acquire(),
        StoreRejected,
        "permission is missing: .* not authorized to perform: dynamodb:Query",
    ),
    "may not claim": (
        lambda p: p.old(session=refused_by_iam("PutItem")).acquire(5),
        StoreRejected,
        "permission is missing: .* not authorized to perform: dynamodb:PutItem",
    ),
    "may not take several": (
        lambda p: p.old(session=refused_by_iam("TransactWriteItems")).acquire(5, count=2),
        StoreRejected,
        "permission is missing",
    ),
    "may not revoke": (
        lambda p: p.old(session=refused_by_iam("UpdateItem")).revoke("1-other"),
        StoreRejected,
        "permission is missing: .* not authorized to perform: dynamodb:UpdateItem",
    ),
    "may not take a snapshot": (
        lambda p: p.old(session=refused_by_iam("TransactGetItems")).resize(1),
        StoreRejected,
        "permission is missing",
    ),
    "no network": (lambda p: p.old(endpoint_url=NOBODY).acquire(1), StoreUnavailable, "Could not connect"),
    "no network, at once": (lambda p: p.old(endpoint_url=NOBODY).try_acquire(), StoreUnavailable, "Could not connect"),
    "no bucket to show": (lambda p: p.bucket().status(), UnknownBucket, "the first acquire creates it"),
    "no bucket to resize": (lambda p: p.bucket().resize(3), UnknownBucket, "the first acquire creates it"),
    "no bucket to reset": (lambda p: p.bucket().reset(), UnknownBucket, "the first acquire creates it"),
}

COUNTERS = {
    "a newer schema": ({"schema": 2}, r"newer version of this library \(schema 2\): upgrade ddb-lease"),
    "a counter of another shape": ({"max_tokens": "three"}, "not of this library's shape"),
    "a bound beyond bounds": ({"max_tokens": 100_001}, "not of this library's shape"),
    "a lease of no length": ({"lease_ms": 0}, "not of this library's shape"),
}
OPERATIONS = {
    "acquire": lambda bucket: bucket.acquire(5),
    "try_acquire": lambda bucket: bucket.try_acquire(),
    "several": lambda bucket: bucket.acquire(5, count=2),
    "status": lambda bucket: bucket.status(),
    "resize": lambda bucket: bucket.resize(1),
    "repair": lambda bucket: bucket.repair(),
    "reset": lambda bucket: bucket.reset(),
}


def goes_wrong(place, operation, error, says):
    """The operation ends in this error, and leaves everything as it was."""
    with pytest.raises(error, match=says) as told:
        operation(place)
    assert type(told.value) is error
    assert place.table.all() == place.before
    assert all(core_of(bucket).leases == {} for bucket in place.made)


@pytest.mark.parametrize("wrong", ARGUMENTS)
def test_what_cannot_work_is_refused_and_nothing_is_changed(place, wrong):
    goes_wrong(place, ARGUMENTS[wrong][0], ConfigurationError, ARGUMENTS[wrong][1])


@pytest.mark.parametrize("wrong", SURROUNDINGS)
def test_what_surrounds_is_told_as_what_it_is_and_nothing_is_changed(place, wrong):
    goes_wrong(place, *SURROUNDINGS[wrong])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_that_is_none_of_ours_is_left_alone(place, counter, operation):
    changes, says = COUNTERS[counter]
    bucket = place.old()
    place.table.set("counter", **changes)
    before = place.table.all()
    with pytest.raises(StoreRejected, match=says):
        OPERATIONS[operation](bucket)
    assert place.table.all() == before


@pytest.fixture
def portal():
    """A captive portal: whatever is asked, it answers a page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(self.server.status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(PORTAL)))
            self.end_headers()
            self.wfile.write(PORTAL)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.status = 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize(
    "operation",
    [lambda b: b.acquire(1), lambda b: b.try_acquire(), lambda b: b.release("1-" + "0" * 32)],
    ids=["acquire", "try_acquire", "release"],
)
def test_an_endpoint_that_answers_pages_is_no_dynamodb(place, portal, status, operation):
    portal.status = status
    bucket = place.old(endpoint_url=f"http://127.0.0.1:{portal.server_port}")
    with pytest.raises(StoreUnavailable):
        operation(bucket)
    assert place.table.all() == place.before


@pytest.mark.parametrize("name", ["a'b\"c", "#pk = :pk", "slot#00001", "counter", "\N{SNOWMAN}\u202e\x00", "x" * 2048])
def test_any_other_name_is_a_name(place, name):
    bucket = place.bucket(f"{name}"[:2048])
    with bucket.acquire(10) as lease:
        assert bucket.status().leases[0].lease_id == lease.id
    place.table.bucket, before = bucket.name, place.table.bucket
    place.table.delete_all()
    place.table.bucket = before


def test_a_slot_of_foreign_shape_is_passed_over_and_left_alone(place):
    bucket = place.old()
    for slot in (0, 2):
        place.table.delete(slot)
        place.table.set(slot, note="not ours", fence="seven")
    before = place.table.all()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(0.5)
    assert place.table.all() == before


# Tables.


@pytest.fixture
def made(engine, session, client):
    """A table of its own; its name, and how it is reached."""
    name = f"bad-{uuid.uuid4().hex[:8]}"
    connection = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
    create_table(name, connection=connection, clock=SystemClock())
    yield name, connection
    client.delete_table(TableName=name)


def described_with(engine, **more):
    """A reach through which tables are described with more than the engine says."""
    session = engine.session()

    def add(parsed, **_):
        parsed["Table"] |= more

    session.events.register("after-call.dynamodb.DescribeTable", add)
    return ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (None, "two holders may have one slot"),
        ("EVENTUAL", "two holders may have one slot"),
        ("STRONG", "neither transactions"),
    ],
)
@pytest.mark.parametrize("make", [create_table, check_table])
def test_a_table_with_replicas_will_not_do(made, engine, mode, says, make):
    name, _ = made
    more = {"Replicas": [{"RegionName": "eu-west-1"}]} | ({"MultiRegionConsistency": mode} if mode else {})
    with pytest.raises(StoreRejected, match=rf"has replicas \(eu-west-1\).*{says}.*without replicas"):
        make(name, connection=described_with(engine, **more), clock=SystemClock())


def test_a_table_that_will_do_is_told_so(made):
    name, connection = made
    assert check_table(name, connection=connection, clock=SystemClock())


def test_a_table_that_is_not_there_will_not_do_and_is_not_made(engine, client, session):
    connection = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
    with pytest.raises(StoreRejected, match="ddb-lease create-table --table nowhere-to-be-found"):
        check_table("nowhere-to-be-found", connection=connection, clock=SystemClock())
    assert "nowhere-to-be-found" not in client.list_tables()["TableNames"]


def test_a_table_without_ttl_is_warned_of_and_serves(engine, session, client, capsys, caplog, monkeypatch, bucket_name):
    name = f"bad-{uuid.uuid4().hex[:8]}"
    keys = [("pk", "HASH"), ("sk", "RANGE")]
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key, _ in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    monkeypatch.setattr("ddb_lease.cli.connection.new_session", lambda **_: session)
    line = ["create-table", "--check", f"--table={name}", f"--endpoint-url={engine.endpoint_url}"]
    try:
        assert main.main(line) == 0
        assert f"table {name}: active, fit for leases" in capsys.readouterr().out
        (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "has TTL off" in warning.getMessage()
        bucket = LeaseBucket(
            bucket_name, max_tokens=1, timing=QUICK, table=name, session=session, endpoint_url=engine.endpoint_url
        )
        with bucket.acquire(5) as lease:
            assert lease.held
        bucket.close()
        assert main.main([word for word in line if word != "--check"]) == 0
        caplog.clear()
        assert main.main(line) == 0
        assert caplog.records == []
    finally:
        client.delete_table(TableName=name)
