"""Reading a whole table, for the command line: the connection, and the operation that it carries out.

Invariant: it only reads.
"""

from __future__ import annotations

from typing import Final

from ddb_lease._operations.listing import list_table
from ddb_lease._protocol.listing import TableListing
from ddb_lease._runtime.arguments import checked_text
from ddb_lease._runtime.driver import Driver
from ddb_lease._runtime.instrumentation import Observer
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.shared_time import shared_time
from ddb_lease.dynamodb import ConnectionSettings, Store
from ddb_lease.models import Timing

_LEASE_SECONDS: Final = 60.0  # for the client's timeouts only
_SECONDS: Final = 10.0


class TableReader:
    """Lists a table, as often as wanted, over one connection. For one thread.

    Args:
        table: Its name.
        connection: How to reach it.
        runtime: Clocks, threads and locks.

    Raises:
        ConfigurationError: The name or the connection cannot work. Nothing was sent.
    """

    def __init__(self, table: str, *, connection: ConnectionSettings, runtime: Runtime | None = None) -> None:
        self._table = checked_text("table", table)
        self._runtime = runtime or Runtime()
        self._shared = shared_time(connection, table=table, timing=Timing(), clock=self._runtime.clock)
        store = Store(
            table=table,
            bucket="",
            connection=connection,
            lease_seconds=_LEASE_SECONDS,
            signing=self._shared.signing,
        )
        self._store = self._runtime.wrap(store)
        self._driver = Driver(
            sender=self._store,
            time=self._shared.time,
            signing=self._shared.signing,
            runtime=self._runtime,
            whose=f"table {table!r}",
        )

    def read(self, *, observe: Observer | None = None) -> TableListing:
        """Read the whole table: a Scan for each 1 MB of it, 1 RCU for each 8 KB, at most 1,000 RCU a second.

        Args:
            observe: Called with each request and its answer.

        Raises:
            StoreUnavailable: The service did not answer.
            StoreRejected: The service refuses for good.
        """
        shared = self._shared
        operation = list_table(shared.time, shared.rate_time, self._runtime.chance, table=self._table, seconds=_SECONDS)
        return self._driver.run(operation, self._runtime.wakeup(), observe=observe)

    def close(self) -> None:
        """Close the connection, unless others use it."""
        self._store.close()
