"""The time in lines that programs write and `ddb-lease timeline` reads: under ``at``, in all of them.

Invariants: it is UTC, in the form of RFC 3339 with milliseconds; what is read may also be seconds since the epoch.
"""

from __future__ import annotations

import contextlib
import math
from datetime import datetime, timezone
from typing import Final

KEY: Final = "at"
_EARLIEST, _LATEST = 0.0, 253_402_300_799.0  # a year of four digits


def stamp(seconds: float) -> str:
    """Seconds since the epoch as text."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def seconds_in(value: object) -> float:
    """Seconds since the epoch from a text, or from a number of them. A time without a zone is UTC.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
            return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
        if math.isfinite(seconds) and _EARLIEST <= seconds <= _LATEST:
            return seconds
    raise ValueError(f"not a time: {str(value)[:40]!r}")
