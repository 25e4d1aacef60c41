"""The fixtures, for pytest: ``pytest_plugins = ["ddb_lease.testing"]`` loads them.

Invariants: it is the only one that imports pytest. An engine lives as long as the test run, a table as long as
its test; each fixture may be overridden by one of the same name, as always in pytest.
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
    """The engine that all of this run's tests are on: embedded, in a thread of this process, and nobody else's.

    Override it (scope ``session``) to be on another one: anything with `endpoint_url`, and with `session()` that makes
    a `boto3.Session` for it. ``return ddb_lease.local.start()`` is an engine in a process of its own, for tests in
    whose process moto's `mock_aws` is used, as that forgets the tables of all engines around it.

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
    """A new table, as keyword arguments for a `LeaseBucket`: on real time, with real heartbeats. It goes with the test.

    For tests of threads and processes that wait for one another, as in ``LeaseBucket("jobs", max_tokens=2,
    **lease_table)``. Close such a bucket before the test ends: its heartbeat knows nothing of tests.
    """
    table = f"leases-{uuid.uuid4().hex}"
    connection = ConnectionSettings(session=lease_session, endpoint_url=lease_engine.endpoint_url)
    create_table(table, connection=connection, clock=SystemClock())
    yield {"table": table, "session": lease_session, "endpoint_url": lease_engine.endpoint_url}
    client = connection.connect(_LEASE_SECONDS)
    client.delete_table(TableName=table)
    client.close()


@pytest.fixture
def lease_stage(lease_table: dict[str, Any]) -> Iterator[TestEnvironment]:
    """A stage on a table of its own: buckets on a clock that the test moves. Closed when the test ends."""
    with TestEnvironment(**lease_table) as environment:
        yield environment


@pytest.fixture
def lease_bucket(lease_stage: TestEnvironment) -> LeaseBucket:
    """A bucket on the stage, of one token and leases of a minute; `TestEnvironment.bucket` makes others."""
    return lease_stage.bucket()
