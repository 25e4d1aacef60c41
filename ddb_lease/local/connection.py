"""Connects a program to the embedded engine: starts it, makes the table, returns what `LeaseBucket` needs."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from botocore.exceptions import ParamValidationError

from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import Client, ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from ddb_lease.errors import ConfigurationError, StoreRejected
from ddb_lease.local.control import report
from ddb_lease.local.discovery import start
from ddb_lease.local.waiting import news

_log = logging.getLogger("ddb_lease")


def connect(table: str = DEFAULT_TABLE, *, create: bool = False) -> dict[str, Any]:
    """Find or start this user's engine, and return the arguments to reach a table of it.

    The engine's default table, `ddb-lease`, is made if it is missing. Another one must exist, as on the real service:
    a mistyped name would be a table of its own, with tokens of its own.

    Args:
        table: The table's name.
        create: Make the table, if it is missing, whatever its name. So does ``ddb-lease create-table --local``.

    Returns:
        Keyword arguments for `LeaseBucket`: `table`, `session` (with the engine's own credentials) and `endpoint_url`.

    Raises:
        EngineError: The engine cannot be started, or its extra is not installed.
        StoreRejected: There is no such table, or it has other keys. Tables end with the engine.

    Example:
        >>> from ddb_lease import LeaseBucket, local
        >>> bucket = LeaseBucket("experiments", max_tokens=2, **local.connect())
    """
    return reach(table, create=create)


def reach(table: str, *, create: bool = False, bucket: str | None = None) -> dict[str, Any]:
    """As `connect`; `bucket` is the only one that the caller uses, and then it is told of no other one."""
    engine = start()
    waits = news(report(engine).awaited, instance_id=engine.instance_id, table=table, bucket=bucket)
    if waits:
        _log.warning("%s", waits)
    session = engine.session()
    connection = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
    if create or table == DEFAULT_TABLE:
        create_table(table, connection=connection, clock=SystemClock())
    else:
        _require_table(table, session.client("dynamodb", endpoint_url=engine.endpoint_url))
    return {"table": table, "session": session, "endpoint_url": engine.endpoint_url}


def _require_table(table: str, client: Client) -> None:
    with contextlib.closing(client):
        try:
            client.describe_table(TableName=table)
        except client.exceptions.ResourceNotFoundException as error:
            raise StoreRejected(
                f"this machine's engine has no table {table!r}: if the name is right, make it with `ddb-lease "
                f"create-table --local --table {table}` or local.connect({table!r}, create=True)"
            ) from error
        except ParamValidationError as error:
            raise ConfigurationError(f"table {table!r}: {error}") from error
