"""The page on moving from other libraries: its programs before and after, with these libraries where they are installed."""

import uuid
from datetime import timedelta
from types import SimpleNamespace

import boto3
import pytest

from ddb_lease import AcquireTimeout, LeaseBucket, LeaseLost, local
from scripts.harness.inside import core_of
from tests.pages import Snippets

SNIPPETS = Snippets("docs/howto/migrating.md")
BOTH, *FILES = SNIPPETS.of()
FILES = {snippet.block.text.splitlines()[0].removeprefix("# "): snippet for snippet in FILES}
LONG = 240.0


def run(snippet):
    return SimpleNamespace(**snippet.run({"__name__": "page"}))


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """The engine of this machine, and of boto3's default session and endpoint, as the old libraries use them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDB_LEASE_LOCAL_DIR", str(tmp_path_factory.mktemp("engine")))
        local.start(timeout=LONG)
        yield local.connect()
        local.stop()


@pytest.fixture
def by_default(where, monkeypatch):
    """So do the libraries that take boto3's defaults."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", where["session"])
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", where["endpoint_url"])
    return where["session"].client("dynamodb", endpoint_url=where["endpoint_url"])


class Lock:
    def __init__(self, told):
        self._told = told

    def __enter__(self):
        self._told.append("locked")

    def __exit__(self, *_):
        self._told.append("unlocked")


def test_both_locks_are_held_for_the_days_of_the_change(where):
    told = []
    with LeaseBucket("moved", max_tokens=1, **where) as bucket:
        run(BOTH).both(Lock(told), bucket, lambda lease: told.append(lease.held))
    assert told == ["locked", True, "unlocked"]


@pytest.fixture
def old_report(by_default):
    """The program before, and its library."""
    library = pytest.importorskip(
        "python_dynamodb_lock.python_dynamodb_lock",
        reason="python_dynamodb_lock is not installed: scripts/test brings it",
    )
    if "DynamoDBLockTable" not in by_default.list_tables()["TableNames"]:
        library.DynamoDBLockClient.create_dynamodb_table(by_default)
    page = run(FILES["report_before.py"])
    yield page, library
    page.client.close(release_locks=True)


def test_the_report_before_excludes_others_and_swallows_what_fails(old_report, capsys):
    page, library = old_report
    other = library.DynamoDBLockClient(boto3.resource("dynamodb"))
    done = []

    def work():
        with pytest.raises(library.DynamoDBLockError) as late:
            other.acquire_lock("report", retry_period=timedelta(seconds=0.1), retry_timeout=timedelta(seconds=0.1))
        assert late.value.code == "ACQUIRE_TIMEOUT"
        done.append("work")

    page.report(work)
    page.report(lambda: 1 / 0)  # as the page says
    page.stop("LOCK_STOLEN", None)  # as the library calls it
    assert capsys.readouterr().out == "stop: LOCK_STOLEN\n"
    other.close()
    assert done == ["work"]


def test_old_and_new_lock_together(old_report, where):
    page, _ = old_report
    with LeaseBucket("report", max_tokens=1, **where) as bucket:
        held = []
        run(BOTH).both(page.client.acquire_lock("report"), bucket, lambda lease: held.append(lease.held))
    assert held == [True]


def test_the_report_after_excludes_others_raises_what_fails_and_tells_of_a_loss(where, capsys):
    page = run(FILES["report_after.py"])
    done = []
    with page.bucket, LeaseBucket("report", max_tokens=1, **where) as other:

        def work():
            assert other.try_acquire() is None
            done.append("work")

        page.report(work)
        with pytest.raises(ZeroDivisionError):
            page.report(lambda: 1 / 0)

        def lose():
            (lease,) = other.status().leases
            other.release(lease.lease_id)
            (held,) = core_of(page.bucket).leases.values()
            with pytest.raises(LeaseLost):  # else it is told by the next renewal
                held.renew()

        with pytest.raises(LeaseLost):
            page.report(lose)
    assert done == ["work"]


def test_three_render_at_once_before(by_default):
    library = pytest.importorskip("dynamo_dlm", reason="dynamo-dlm is not installed: scripts/test brings it")
    by_default.create_table(
        TableName=library.DEFAULT_TABLE_NAME,
        KeySchema=[
            {"AttributeName": "resource_id", "KeyType": "HASH"},
            {"AttributeName": "concurrency_id", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "resource_id", "AttributeType": "S"},
            {"AttributeName": "concurrency_id", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    page = run(FILES["render_before.py"])

    def nested(more):
        if more:
            page.render(lambda: nested(more - 1))
            return
        fourth = library.DynamoDbLock("render", concurrency=3, duration=600, wait_forever=False)
        with pytest.raises(library.LockNotAcquiredError):
            fourth.acquire()

    nested(3)


def test_three_render_at_once_after(where):
    page = run(FILES["render_after.py"])

    def nested(more):
        if more:
            page.render(lambda: nested(more - 1))
            return
        with pytest.raises(AcquireTimeout):
            page.bucket.acquire(timeout=0)

    with page.bucket:
        nested(3)
        assert page.bucket.status().free == 3


def test_a_java_lock_is_held_while_its_version_changes(where):
    """Items as the Java client writes them (awslabs/amazon-dynamodb-lock-client, AmazonDynamoDBLockClient.java)."""
    client = where["session"].client("dynamodb", endpoint_url=where["endpoint_url"])
    client.create_table(
        TableName="java-locks",
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    table = where["session"].resource("dynamodb", endpoint_url=where["endpoint_url"]).Table("java-locks")
    is_held = run(FILES["java_lock.py"]).is_held
    item = {"key": "report", "ownerName": "jvm", "leaseDuration": "20000"}

    def heartbeat(seconds=None, **more):
        table.put_item(Item=item | {"recordVersionNumber": str(uuid.uuid4())} | more)

    waited = []
    assert not is_held(table, "report", pause=waited.append), "there is none"
    heartbeat()
    assert waited == []
    assert is_held(table, "report", pause=heartbeat)
    assert not is_held(table, "report", pause=waited.append), "its holder is dead"
    assert waited == [21]
    assert not is_held(table, "report", pause=lambda _: heartbeat(isReleased="1"))
    heartbeat(isReleased="1")
    assert not is_held(table, "report", pause=pytest.fail)
