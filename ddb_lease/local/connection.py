"""Connects a program to the embedded engine: starts it, makes the table, returns what `LeaseBucket` needs."""

from __future__ import annotations

import logging
from typing import Any

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from ddb_lease.local.control import report
from ddb_lease.local.discovery import start

_log = logging.getLogger("ddb_lease")


def connect(table: str = "ddb-lease") -> dict[str, Any]:
    """Find or start this user's engine, create the table if it is missing, and return the arguments to reach it.

    Returns:
        Keyword arguments for `LeaseBucket`: `table`, `session` (with the engine's own credentials) and `endpoint_url`.

    Raises:
        EngineError: The engine cannot be started, or its extra is not installed.

    Example:
        >>> from ddb_lease import LeaseBucket, local
        >>> bucket = LeaseBucket("experiments", max_tokens=2, **local.connect())
    """
    engine = start()
    for bucket in report(engine).awaited:
        _log.warning(
            "%s: nothing is granted for another %.0f s: leases run that an earlier engine granted, which was ended "
            "(if their holders are dead: ddb-lease local start --no-wait)",
            bucket.bucket,
            bucket.remaining_s,
        )
    session = engine.session()
    connection = ConnectionSettings(session=session, endpoint_url=engine.endpoint_url)
    create_table(table, connection=connection, clock=SystemClock())
    return {"table": table, "session": session, "endpoint_url": engine.endpoint_url}
