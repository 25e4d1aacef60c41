"""What `ddb-lease rate` prints: a rate, its limits and its keys, for people and as JSON. No I/O."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Final

from ddb_lease._numbers import as_seconds
from ddb_lease.cli.formatting import printable, shown, table
from ddb_lease.models import Limit, RateStatus

_STATUS_HEAD: Final = ("LIMIT", "RATE", "BURST", "AVAILABLE", "NEXT", "WHOLE BURST")
_KEYS_HEAD: Final = ("KEY", "AVAILABLE", "NEXT", "NOTES")
_SHORT: Final = 0.1
"""Seconds; shorter times are shown in milliseconds."""

_PERIODS: Final = {1.0: "s", 60.0: "m", 3600.0: "h", 86_400.0: "d"}

_RIGHT: Final = {"BURST", "AVAILABLE", "NEXT", "WHOLE BURST"}


def as_json(status: RateStatus, *, indent: int | None = 2) -> str:
    """A status as one JSON object."""
    return json.dumps(dataclasses.asdict(status), indent=indent)


def as_table(status: RateStatus) -> str:
    """A status for people: a line that sums it up, then a line for each limit."""
    of = f", key {printable(status.key)}," if status.key else ""
    head = f"{printable(status.name)}{of} in table {printable(status.table)}: {_standing(status)}"
    rows = [
        (
            name,
            _rate(limit) + (" (override)" if name in status.override else ""),
            f"{limit.burst}",
            f"{status.limits[name].remaining}",
            _in(status.limits[name].retry_after),
            _in(status.limits[name].reset_after),
        )
        for name, limit in status.settings.items()
    ]
    return "\n".join([head, "", *table([_STATUS_HEAD, *rows], right=_RIGHT)])


def keys_table(keys: Sequence[RateStatus]) -> str:
    """Keys for people, by name."""
    if not keys:
        return "no key was used lately"
    rows = [
        (printable(key.key), f"{key.available}{_tightest(key)}", _in(key.wait_seconds), ", ".join(_notes(key)))
        for key in sorted(keys, key=lambda key: key.key)
    ]
    return "\n".join(table([_KEYS_HEAD, *rows], right=_RIGHT))


def limits_text(limits: Mapping[str, Limit]) -> str:
    """Limits for people, in one line."""
    single = len(limits) == 1 and "permits" in limits
    return "; ".join(
        f"{'' if single else f'{name} '}{_rate(limit)}, burst {limit.burst}" for name, limit in limits.items()
    )


def _standing(status: RateStatus) -> str:
    if status.blocked_seconds:
        return f"blocked for {shown(status.blocked_seconds)} more"
    if status.available:
        return f"{status.available}{_tightest(status)} available"
    return f"none available{_tightest(status, ' of ')}, the next in {_in(status.wait_seconds)}"


def _notes(key: RateStatus) -> list[str]:
    notes = [f"blocked for {shown(key.blocked_seconds)} more"] if key.blocked_seconds else []
    return [*notes, *(["override"] if key.override else [])]


def _tightest(key: RateStatus, before: str = " ") -> str:
    """Of which limit the figures of a key are, where it has several: of the tightest one, as in `RateStatus`."""
    if len(key.limits) == 1:
        return ""
    of = key.limits.items()
    *_, name = min((-one.retry_after, one.remaining / (key.settings[name].burst or 1), name) for name, one in of)
    return f"{before}{printable(name)}"


def _rate(limit: Limit) -> str:
    """As `--rate` takes it: `100/s`, `3/2.5s`."""
    per = as_seconds(limit.per)
    return f"{limit.permits:g}/{_PERIODS.get(per) or f'{per:.12g}s'}"


def _in(seconds: float) -> str:
    if not seconds:
        return "now"
    return f"{seconds * 1000:.3g}ms" if seconds < _SHORT else shown(seconds)
