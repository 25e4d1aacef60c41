"""ddb_lease's rate limiter: as many permits a second as the setting has tokens."""

from __future__ import annotations

import gc
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import ddb_lease
from benchmarks.contenders import Setting
from ddb_lease import AcquireTimeout, RateLimiter

_FAST = {"requests": 100_000, "tokens": 1_000_000, "bytes": 1_000_000}
"""Limits a second that no measure reaches."""


class Rate:
    def __init__(self, setting: Setting, session: Any) -> None:
        self._setting = setting
        self._where = {"table": setting.table, "session": session, "endpoint_url": setting.endpoint_url}
        self._limiter = self._made(setting.bucket)
        self._keyed: Any = None

    def permit(self) -> bool:
        return self._limiter.try_acquire()

    def wait(self) -> None:
        self._limiter.acquire()

    def take(self, n: int, timeout: float) -> bool:
        """Wait for n permits; whether they came in time."""
        try:
            self._limiter.acquire(n, timeout=timeout)
        except AcquireTimeout:
            return False
        return True

    def learn_the_time(self) -> dict[str, Any]:
        """What a process does at its first request anyway."""
        self._limiter.status()
        return {}

    def make(self, kind: str, count: int) -> dict[str, Any]:
        """Make limiters, or keys of one, and use each once; what one costs. Empty if there are no keys yet."""
        use: Callable[[Any], Any] = lambda made: made.try_acquire()  # noqa: E731 - or with a limit's name
        if kind == "limiter":
            made_of: Callable[[str], Any] = self._made
        elif (limiter := self._limits()) is not None:
            made_of, use = limiter.key, lambda made: made.try_acquire(requests=1)
        else:
            return {}
        names = [f"{self._setting.bucket}-{kind}-{number}" for number in range(count)]
        began = time.perf_counter()
        timed = [made_of(f"timed-{name}") for name in names]
        seconds = time.perf_counter() - began
        del timed
        threads, files = threading.active_count(), _open_files()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        made = [made_of(name) for name in names]
        made_bytes = tracemalloc.get_traced_memory()[0] - before
        for one in made:
            use(one)
        gc.collect()  # what a request leaves in cycles is no part of a key
        used_bytes = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return {
            "us": seconds * 1e6 / count,
            "bytes": made_bytes / count,
            "bytes_used": used_bytes / count,
            "threads": (threading.active_count() - threads) / count,
            "sockets": (_open_files() - files) / count,
            "mb_for_100_000": used_bytes / count * 100_000 / 1e6,
        }

    def several(self, times: int) -> dict[str, Any]:
        """Permits of three limits at once. Empty if a limiter has but one yet."""
        limiter = self._limits()
        if limiter is None:
            return {}
        key, taken = limiter.key("team"), []
        for _ in range(times):
            began = time.perf_counter()
            if not key.try_acquire(requests=1, tokens=900, bytes=5):
                raise RuntimeError("denied")
            taken.append(time.perf_counter() - began)
        return {"seconds": taken}

    def settled(self, times: int) -> dict[str, Any]:
        """Reservations, each settled for less. Empty if there are none yet."""
        limiter = self._limits()
        key = None if limiter is None else limiter.key("team")
        if not hasattr(key, "reserve"):
            return {}
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            with key.reserve(requests=1, tokens=900, timeout=30.0) as reservation:
                reservation.settle(tokens=700)
            taken.append(time.perf_counter() - began)
        return {"seconds": taken}

    def _made(self, name: str) -> RateLimiter:
        setting = self._setting
        return RateLimiter(
            name,
            rate=setting.tokens,
            per=setting.per,
            burst=setting.burst or setting.tokens,
            prefetch=setting.prefetch,
            **self._where,
        )

    def _limits(self) -> Any:
        """A limiter with three limits and keys; None if there is no such thing yet."""
        if not (hasattr(RateLimiter, "key") and hasattr(ddb_lease, "Limit")):
            return None
        if self._keyed is None:
            self._keyed = RateLimiter(
                f"{self._setting.bucket}-keyed",
                limits={name: ddb_lease.Limit(permits) for name, permits in _FAST.items()},
                **self._where,
            )
        return self._keyed


def _open_files() -> int:
    return len(os.listdir("/dev/fd"))


def make(setting: Setting, session: Any) -> Rate:
    return Rate(setting, session)
