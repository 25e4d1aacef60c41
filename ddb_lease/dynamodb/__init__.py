"""DynamoDB: every expression, request and error code. Besides `local`, no other package imports boto3."""

from __future__ import annotations

from ddb_lease.dynamodb.client import Client, ConnectionSettings, Session, client_config, new_session
from ddb_lease.dynamodb.store import Store

__all__ = ["Client", "ConnectionSettings", "Session", "Store", "client_config", "new_session"]
