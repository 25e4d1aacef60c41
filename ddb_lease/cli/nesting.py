"""What the enclosing `ddb-lease run` commands hold, so that one that waits for itself says so.

Invariant: this only ever leads to a message. The variable is inherited by whatever the command starts, so it may be
stale, and a child may clear it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from ddb_lease.cli.streams import say

VARIABLE: Final = "DDB_LEASE_HELD"

_PATIENCE_SECONDS: Final = 2.0
"""A nested acquire may well succeed, where the bucket has more slots: only one that waits is worth a word."""


def held(env: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Place, bucket and number of slots of each enclosing `run`, outermost first; what cannot be read is ignored."""
    try:
        return [(str(place), str(bucket), int(count)) for place, bucket, count in json.loads(env.get(VARIABLE, "[]"))]
    except (ValueError, TypeError):
        return []


def with_another(env: Mapping[str, str], *, place: str, bucket: str, count: int) -> str:
    """The variable's value for a command that runs under one more lease."""
    return json.dumps([*held(env), (place, bucket, count)], separators=(",", ":"))


class NestedWarning:
    """Around an acquire: says, once, if it waits and an enclosing `run` holds slots of the same bucket.

    Args:
        env: Our environment.
        place: Where the table is (see `connection.place`).
        bucket: The bucket that is waited for.
    """

    def __init__(self, env: Mapping[str, str], *, place: str, bucket: str) -> None:
        self._bucket = bucket
        self._count = sum(count for *where, count in held(env) if where == [place, bucket])
        self._timer = threading.Timer(_PATIENCE_SECONDS, self.warn)
        self._timer.daemon = True
        self._once = threading.Lock()

    def warn(self) -> None:
        """Say it now, where there is something to say."""
        if self._count and self._once.acquire(blocking=False):
            slots = "1 slot" if self._count == 1 else f"{self._count} slots"
            say(
                f"this runs inside another `ddb-lease run` that holds {slots} of {self._bucket!r}: "
                "it may be waiting for itself"
            )

    def __enter__(self) -> NestedWarning:
        if self._count:
            self._timer.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
