"""What a call of a limiter asks the table for, and how it ended. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease.models import DecidedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one call asks the table for.

    Attributes:
        key: Of which key; empty for a limiter without keys.
        wanted: The permits.
        began: When the call began, on the steady clock.
        deadline: When to give up, on the steady clock.
        patient: Whether it waits for them.
        decides: Whether it is a `check`: it ends with a denial only where something known denies the permits.
    """

    key: str
    wanted: Wanted
    began: float
    deadline: float
    patient: bool
    decides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a call ended; true if the permits were taken.

    Attributes:
        allowed: Whether they were.
        by: Who decided.
        retry_in: Seconds until it is worth asking again, as far as the outcome tells.
    """

    allowed: bool
    by: DecidedBy = "table"
    retry_in: float = 0.0

    def __bool__(self) -> bool:
        return self.allowed
