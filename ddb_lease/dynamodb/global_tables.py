"""Global tables: whether a table is replicated to other regions, and why leases cannot be on it.

Invariants: values and text only. Sources: Amazon DynamoDB Developer Guide, "Global tables" (versions, consistency
modes), and the API Reference of TableDescription and DescribeGlobalTable. A table of version 2017.11.29 need not show
its replicas in DescribeTable; DescribeGlobalTable names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

OLD: Final = "2017.11.29"
"""The version of which DescribeTable need not show the replicas."""


def why_unfit(described: Mapping[str, Any], described_globally: Mapping[str, Any]) -> str | None:
    """Why a table will not do because it is a global one, to follow its name in a sentence; None if it is none.

    Args:
        described: The table, by DescribeTable.
        described_globally: The global table of the same name, by DescribeGlobalTable; empty if there is none.
    """
    regions = set(_regions(described, "Replicas") + _regions(described_globally, "ReplicationGroup"))
    witnesses = _regions(described, "GlobalTableWitnesses")
    # Of the later version, the replicas show; a table that has none left may still carry its number.
    old = bool(described_globally) or described.get("GlobalTableVersion") == OLD
    if not (regions or witnesses or old):
        return None
    strong = described.get("MultiRegionConsistency") == "STRONG" or bool(witnesses)
    why = (
        "has neither transactions nor TTL"
        if strong
        else "checks conditions in one region only, so two holders may have one slot"
    )
    has = f"has replicas ({', '.join(sorted(regions))})" if regions else "is a global table"
    return f"{has}; a global table of this mode {why}"


def _regions(described: Mapping[str, Any], name: str) -> list[str]:
    return [str(one.get("RegionName")) for one in described.get(name) or ()]
