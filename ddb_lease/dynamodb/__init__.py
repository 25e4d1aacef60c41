"""DynamoDB: every expression, request and error code. No other room knows boto3."""

from __future__ import annotations

from ddb_lease.dynamodb.client import Reach, client_config
from ddb_lease.dynamodb.store import Store

__all__ = ["Reach", "Store", "client_config"]
