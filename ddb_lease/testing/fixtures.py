"""The fixtures, for pytest: ``pytest_plugins = ["ddb_lease.testing"]`` loads them.

Invariants: this is the only module that imports pytest. An engine lives as long as the test run, a table as long as
its test. Each fixture may be overridden by one of the same name, as always in pytest.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.bucket import LeaseBucket
from ddb_lease.dynamodb import ConnectionSettings, Session
from ddb_lease.dynamodb.table import create_table
from ddb_lease.local import Engine, EngineError
from ddb_lease.local.errors import MISSING_EXTRA
from ddb_lease.testing.environment import TestEnvironment

_LEASE_SECONDS = 60.0  # for the client's timeouts only


@pytest.fixture(scope="session")
def lease_engine() -> Iterator[Engine]:
    """The engine of this test run: embedded, in a thread of this process.

    Override it (scope ``session``) to use another one: any object with `endpoint_url` and a method `session()` that
    makes a `boto3.Session` for it. ``return ddb_lease.local.start()`` is an engine in a process of its own; use it if
    the tests also use moto's `mock_aws`, which deletes the tables of all engines in the process.

    Raises:
        EngineError: The extra ``ddb-lease[local]`` is not installed.
    """
    try:
        from ddb_lease.local.embedded import serve  # noqa: PLC0415 - needs an extra, and a second
    except ImportError as error:
        raise EngineError(f"{MISSING_EXTRA} ({error})") from error
    with serve() as engine:
        yield engine


@pytest.fixture(scope="session")
def lease_session(lease_engine: Engine) -> Session:
    """A `boto3.Session` for the engine: one for all, as making one takes longer than a test."""
    return lease_engine.session()


@pytest.fixture
def lease_table(lease_engine: Engine, lease_session: Session) -> Iterator[dict[str, Any]]:
    """A new table, as keyword arguments for a `LeaseBucket`: on real time, with real heartbeats.

    It is deleted after the test. Use it when threads or processes wait for one another, as in ``LeaseBucket("jobs",
    max_tokens=2, **lease_table)``. Close such a bucket before the test ends: its heartbeat knows nothing of tests.
    """
    table = f"leases-{uuid.uuid4().hex}"
    connection = ConnectionSettings(session=lease_session, endpoint_url=lease_engine.endpoint_url)
    create_table(table, connection=connection, clock=SystemClock())
    yield {"table": table, "session": lease_session, "endpoint_url": lease_engine.endpoint_url}
    client = connection.connect(_LEASE_SECONDS)
    client.delete_table(TableName=table)
    client.close()


@pytest.fixture
def lease_environment(lease_table: dict[str, Any]) -> Iterator[TestEnvironment]:
    """A test environment on a table of its own: buckets on a clock that the test moves. Closed when the test ends."""
    with TestEnvironment(**lease_table) as environment:
        yield environment


@pytest.fixture
def lease_stage(lease_environment: TestEnvironment) -> TestEnvironment:
    """The same environment, by the name that it had in earlier versions."""
    return lease_environment


@pytest.fixture
def lease_bucket(lease_stage: TestEnvironment) -> LeaseBucket:
    """A bucket of one token and leases of a minute; `TestEnvironment.bucket` makes others.

    It depends on the old name, so that it follows a project's own override of either name.
    """
    return lease_stage.bucket()
