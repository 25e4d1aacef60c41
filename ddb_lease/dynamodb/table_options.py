"""What a table may have besides what leases need: protection against deletion, and a cap on its throughput.

Invariants: values only. None leaves a setting as it is; a setting that is asked for is set at the creation, or later if
the table has another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ddb_lease.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """Settings of a table that are asked for.

    Attributes:
        deletion_protection: Whether DynamoDB refuses to delete the table; None: as it is.
        max_reads: Read request units a second at most; None: as it is.
        max_writes: Write request units a second at most; None: as it is. What goes beyond is throttled, so it bounds
            the bill. A claim, a renewal and a release cost one each.

    Raises:
        ConfigurationError: A cap below 1.
    """

    deletion_protection: bool | None = None
    max_reads: int | None = None
    max_writes: int | None = None

    def __post_init__(self) -> None:
        for name, units in (("max_reads", self.max_reads), ("max_writes", self.max_writes)):
            if units is not None and units < 1:
                raise ConfigurationError(
                    f"{name} must be a whole number of request units a second, 1 or more: {units!r}"
                )

    def __str__(self) -> str:
        protection = {True: "deletion protection on", False: "deletion protection off", None: ""}
        caps = ((self.max_reads, "read"), (self.max_writes, "write"))
        told = [f"at most {units} {what} request units a second" for units, what in caps if units is not None]
        return ", ".join(filter(None, [protection[self.deletion_protection], *told]))

    def request(self) -> dict[str, Any]:
        """The arguments of CreateTable for all of them."""
        return self.lacking({})

    def lacking(self, described: dict[str, Any]) -> dict[str, Any]:
        """The arguments of UpdateTable for those that a table, as DescribeTable shows it, does not have."""
        arguments: dict[str, Any] = {}
        protection = self.deletion_protection
        if protection is not None and bool(described.get("DeletionProtectionEnabled")) is not protection:
            arguments["DeletionProtectionEnabled"] = protection
        caps = {"MaxReadRequestUnits": self.max_reads, "MaxWriteRequestUnits": self.max_writes}
        asked = {name: units for name, units in caps.items() if units is not None}
        has = described.get("OnDemandThroughput") or {}
        if any(has.get(name) != units for name, units in asked.items()):
            arguments["OnDemandThroughput"] = asked
        return arguments
