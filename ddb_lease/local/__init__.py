"""A DynamoDB-compatible engine for one machine, started on demand and shared by a user's processes.

Invariants: the engine listens on loopback only. Its tables are in memory and end with it. Importing this package
needs no extra; running an engine needs `ddb-lease[local]`.

It is for development, tests and single machines: nothing is durable. It answers only programs that know its access
key, which the user alone can read. It does not check signatures, and knows no permissions beyond that.

Example:
    >>> import ddb_lease.local
    >>> engine = ddb_lease.local.start()
    >>> table = engine.session().resource("dynamodb", endpoint_url=engine.endpoint_url)
"""

from ddb_lease.local.connection import connect
from ddb_lease.local.discovery import find, start, stop
from ddb_lease.local.engine import Engine
from ddb_lease.local.errors import EngineError

__all__ = ["Engine", "EngineError", "connect", "find", "start", "stop"]
