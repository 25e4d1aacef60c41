"""Errors of the local engine."""

from ddb_lease.errors import EngineError

__all__ = ["MISSING_EXTRA", "EngineError"]

MISSING_EXTRA = "the local engine needs an extra of this package: pip install 'ddb-lease[local]'"
