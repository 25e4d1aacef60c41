"""DynamoDB: every expression, request and error code. Besides `local`, no other package imports boto3.

Private, without an underscore: it may change at any time. `client_config` is public as `ddb_lease.client_config`.
"""

from __future__ import annotations

from ddb_lease.dynamodb.client import Client, ConnectionSettings, Session, client_config, new_session
from ddb_lease.dynamodb.store import Store

__all__ = ["Client", "ConnectionSettings", "Session", "Store", "client_config", "new_session"]
