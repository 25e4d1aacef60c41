"""What messages say of where requests go: the command that makes a table there, and that nobody listens there."""

from __future__ import annotations

import socket
import uuid
from types import SimpleNamespace
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import exceptions as aws

from ddb_lease import LeaseBucket, LeaseLost, StoreRejected, StoreUnavailable
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import explain
from ddb_lease.dynamodb.endpoint import AWS, Endpoint, endpoint_of
from ddb_lease.dynamodb.table import check_table, create_table
from ddb_lease.local.app import App
from ddb_lease.local.embedded import serve
from tests.conftest import QUICK
from tests.support import eventually

NO_TABLE = aws.ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "Query")
HAS_ENDED = r"Connection refused: the embedded engine that this program uses has ended.* with local\.connect\(\)"


@pytest.fixture
def plain_session():
    return boto3.Session(aws_access_key_id="a", aws_secret_access_key="a", region_name="eu-west-1")


@pytest.fixture
def nobody():
    """The URL of a port of this machine on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_missing_table_is_made_where_the_requests_go(plain_session):
    def told(endpoint, table="tab"):
        return explain(NO_TABLE, BucketAddress(table=table, bucket="b", endpoint=endpoint))

    assert told(AWS).endswith("`ddb-lease create-table --table tab`")
    assert told(endpoint_of(plain_session, None)) == told(AWS)
    elsewhere = endpoint_of(plain_session, "http://127.0.0.1:8000/a b")
    assert "`ddb-lease create-table --table tab --endpoint-url 'http://127.0.0.1:8000/a b'`" in told(elsewhere)
    with serve() as engine:
        own = endpoint_of(engine.session(), engine.endpoint_url)
    assert "`ddb-lease create-table --table tab --local`" in told(own)


def test_a_command_that_is_advised_names_its_table_whatever_the_variables_of_a_shell_say():
    assert AWS.place(table="ddb-lease") == "--table ddb-lease"
    assert (
        endpoint_of(None, "http://127.0.0.1:1").place(table="a b") == "--table 'a b' --endpoint-url http://127.0.0.1:1"
    )


def test_a_command_and_its_options_are_to_be_typed_as_they_are():
    engine = Endpoint(options="--local", gone="it has ended")
    assert engine.command("ls", table="a b") == "ddb-lease ls --table 'a b' --local"
    assert engine.place(table="tab") == "--table tab --local"
    assert (AWS.options, AWS.gone, AWS.command("ls", table="tab")) == ("", "", "ddb-lease ls --table tab")


def test_an_endpoint_is_what_its_session_knows_it_as_before_its_url():
    engine = Endpoint(options="--local")
    assert endpoint_of(SimpleNamespace(ddb_lease_endpoint=engine), "http://127.0.0.1:1") is engine
    assert endpoint_of(SimpleNamespace(ddb_lease_endpoint="no endpoint"), None) is AWS
    assert endpoint_of(object(), "") is AWS
    assert endpoint_of(object(), "http://127.0.0.1:1") == Endpoint(options="--endpoint-url http://127.0.0.1:1", gone="")


def test_the_embedded_engine_says_how_its_tables_are_made():
    with serve() as engine:
        session, table = engine.session(), f"t-{uuid.uuid4().hex}"
        settings = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
        with pytest.raises(StoreRejected, match=f"`ddb-lease create-table --table {table} --local`"):
            check_table(table, connection=settings, clock=SystemClock())
        with (
            LeaseBucket("b", max_tokens=1, table=table, session=session, endpoint_url=engine.endpoint_url) as bucket,
            pytest.raises(StoreRejected, match=f"`ddb-lease create-table --table {table} --local`"),
        ):
            bucket.acquire(timeout=5)


def test_a_program_whose_engine_has_ended_is_told_so_and_what_to_do():
    app = App()
    with serve(app=app) as engine:
        where = {"session": engine.session(), "endpoint_url": engine.endpoint_url}
        create_table("tab", connection=ConnectionSettings(**where), clock=SystemClock())
        bucket = LeaseBucket("b", max_tokens=2, table="tab", lease_seconds=2.0, timing=QUICK, **where)
        lease = bucket.acquire(timeout=30)
    try:
        with pytest.raises(StoreUnavailable, match=HAS_ENDED):
            bucket.acquire(timeout=0.1)
        eventually(lambda: lease.lost)
        with pytest.raises(LeaseLost, match=HAS_ENDED):
            lease.check()
        with pytest.raises(StoreUnavailable, match=HAS_ENDED):
            check_table("tab", connection=ConnectionSettings(**where), clock=SystemClock(), timeout=0.0)
    finally:
        with serve(app=app, port=urlsplit(engine.endpoint_url).port):
            bucket.close()
        app.close()


def test_an_outage_elsewhere_is_an_outage(plain_session, nobody):
    """Also for the commands that work on the table: they say what the system said."""
    settings = ConnectionSettings(session=plain_session, endpoint_url=nobody)
    for work in (create_table, check_table):
        with pytest.raises(StoreUnavailable, match="DynamoDB does not answer: .*: Connection refused$"):
            work("tab", connection=settings, clock=SystemClock(), timeout=0.0)
