"""An engine in a thread of this process, for tests: private, and quick to start.

Importing this module needs the extra `ddb-lease[local]`.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ddb_lease.local.app import App
from ddb_lease.local.clock import Clock
from ddb_lease.local.engine import Engine
from ddb_lease.local.httpd import HttpServer

# Short, so that a test does not wait long for its engine to stop.
_POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedEngine(Engine):
    """A running engine of this process, with access to its app."""

    app: App

    @property
    def clock(self) -> Clock:
        """The engine's clock: the one passed to `serve`, or one that never steps."""
        return self.app.clock

    def sweep(self, now_s: float | None = None) -> int:
        """Delete by TTL now: an embedded engine does not do it by itself. See `App.sweep`."""
        return self.app.sweep(now_s)


@contextlib.contextmanager
def serve(*, clock: Clock | None = None, app: App | None = None, port: int = 0) -> Iterator[EmbeddedEngine]:
    """Run an engine in a thread, on loopback, until the block ends.

    The engine is private: `find` does not find it. It neither stops nor deletes by TTL by itself. Several can run
    at once, each with its own tables; moto's `mock_aws` in the same process would reset them all.

    Args:
        clock: Seconds since the epoch, for `Date`, client tokens and TTL.
        app: An app to serve instead of a new one. Its tables outlive the block and can be served again.
        port: The port to listen on; 0 picks a free one.

    Yields:
        The engine.

    Example:
        >>> with serve() as engine:
        ...     client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        ...     client.list_tables()["TableNames"]
        []
    """
    served = App(clock=clock) if app is None else app
    server = HttpServer(served, port=port, poll_s=_POLL_S)
    server.start()
    try:
        yield EmbeddedEngine(
            endpoint_url=server.endpoint_url,
            pid=os.getpid(),
            started_at_ms=int(time.time() * 1000),
            instance_id=served.instance_id,
            access_key_id=served.access_key_id or "local",
            app=served,
        )
    finally:
        server.stop()
        if app is None:
            served.close()
