"""The process of one contender: reads commands as lines of JSON, and answers each with one line.

    python -m benchmarks.contender NAME '{"endpoint_url": ..., "table": ..., "tokens": ..., "lease_seconds": ...}'

Invariants: times are of CLOCK_MONOTONIC, which all processes of a machine share; only the contender's own call is
timed.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import boto3

from benchmarks.contenders import Contender, Setting, contender
from benchmarks.meter import Meter

_now = time.perf_counter
PATIENCE = 30.0
"""Seconds that a call for permits waits at most."""


class Stall:
    """Carries out the commands."""

    def __init__(self, name: str, setting: dict[str, Any]) -> None:
        self._name = name
        self._setting = setting
        self._session = boto3.Session()
        self._meter = Meter(self._session.events)
        self._buckets: dict[str, Contender] = {}
        self._held: dict[str, list[Any]] = {}

    def open(self, bucket: str, *, metered: bool = True, **other: Any) -> dict[str, Any]:
        """Make the contender for a bucket; later commands name it. Unless `metered`, nobody listens to its requests."""
        setting = Setting(bucket=bucket, **{**self._setting, **other})
        session = self._session if metered else boto3.Session()
        self._buckets[bucket] = contender(self._name, setting, session)
        self._held.setdefault(bucket, [])
        return {}

    def count(self) -> dict[str, Any]:
        """The requests sent since the last count."""
        return self._meter.take()

    def record(self, on: bool) -> dict[str, Any]:
        """Whether requests are recorded for `count` from now on. If not, nobody listens to our clients' events."""
        self._meter.record(on, [client for made in self._buckets.values() for client in getattr(made, "clients", ())])
        return {}

    def cycles(self, bucket: str, times: int) -> dict[str, Any]:
        """Acquire, renew, release, so many times. Of each, also the processor time of the process."""
        made = self._buckets[bucket]
        operations = ("acquire", "renew", "release", "bare")
        taken: dict[str, list[float]] = {name: [] for each in operations for name in (each, f"{each} cpu")}
        gc.collect()
        for _ in range(times):
            if hasattr(made, "prepare"):
                made.prepare()
            held = self._timed(taken["acquire"], lambda: made.acquire(30.0), cpu=taken["acquire cpu"])
            try:
                self._timed(taken["renew"], lambda held=held: made.renew(held), cpu=taken["renew cpu"])
            except NotImplementedError:
                taken["renew"].clear()
                taken["renew cpu"].clear()
            self._timed(taken["release"], lambda held=held: made.release(held), cpu=taken["release cpu"])
            if hasattr(made, "bare"):
                self._timed(taken["bare"], made.bare, cpu=taken["bare cpu"])
        return taken

    def burn(self, bucket: str, times: int) -> dict[str, Any]:
        """Processor time of one renewal in milliseconds."""
        made: Any = self._buckets[bucket]
        made.prepare()
        held = made.acquire(30.0)
        before = time.process_time()
        for _ in range(times):
            made.renew(held)
        return {"cpu_ms": (time.process_time() - before) * 1e3 / times}

    def fill(self, bucket: str, count: int, threads: int = 1) -> dict[str, Any]:
        """Hold so many tokens until `drop`; how long each took."""
        made, held, taken = self._buckets[bucket], self._held[bucket], []
        todo = iter(range(count))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    if next(todo, None) is None:
                        return
                held.append(self._timed(taken, lambda: made.acquire(60.0)))

        _together([work] * threads)
        return {"acquire": taken}

    def drop(self, bucket: str) -> dict[str, Any]:
        """Release all held tokens."""
        held, self._held[bucket] = self._held[bucket], []
        for one in held:
            self._buckets[bucket].release(one)
        return {}

    def tries(self, bucket: str, times: int) -> dict[str, Any]:
        """try_acquire, so many times; the bucket is full."""
        made, taken = self._buckets[bucket], []
        for _ in range(times):
            if self._timed(taken, made.try_acquire) is not None:
                raise RuntimeError("the bucket is not full")
        return {"try_acquire": taken}

    def permits(self, bucket: str, times: int) -> dict[str, Any]:
        """Take permits of a rate, if they are available now."""
        made: Any = self._buckets[bucket]
        taken: list[float] = []
        admitted = sum(self._timed(taken, made.permit) for _ in range(times))
        return {"seconds": taken, "admitted": admitted}

    def waits(self, bucket: str, times: int) -> dict[str, Any]:
        """Wait for permits of a rate, one after another; returns how long all took."""
        made: Any = self._buckets[bucket]
        began = _now()
        for _ in range(times):
            made.wait()
        return {"seconds": _now() - began}

    def measure(self, bucket: str, what: str, **how: Any) -> dict[str, Any]:
        """A measure that only some contenders have, by the name of their method."""
        measured: dict[str, Any] = getattr(self._buckets[bucket], what)(**how)
        return measured

    def want(self, bucket: str, threads: int, n: int, start: float, until: float) -> dict[str, Any]:
        """Wait for n permits again and again, in threads, from `start` until then: [wanted, ended, served], in ns."""
        made: Any = self._buckets[bucket]
        calls: list[tuple[int, int, bool]] = []

        def work() -> None:
            while (wanted := time.monotonic_ns()) < until * 1e9:
                served = made.take(n, timeout=PATIENCE)
                calls.append((wanted, time.monotonic_ns(), served))

        time.sleep(max(0.0, start - time.monotonic()))
        _together([work] * threads)
        return {"calls": calls}

    def contend(
        self, bucket: str, threads: int, until: float, hold: float, start: float = 0.0, rest: float = 0.0
    ) -> dict[str, Any]:
        """Acquire, hold, release and rest in a loop, in threads, until then: [wanted, granted, releasing, released]."""
        made = self._buckets[bucket]
        logs: list[list[tuple[float, float, float, float]]] = [[] for _ in range(threads)]

        def work(log: list[tuple[float, float, float, float]]) -> None:
            while (wanted := time.monotonic()) < until:
                held = made.acquire(until - wanted)
                if held is None:
                    return
                granted = time.monotonic()
                time.sleep(hold)
                releasing = time.monotonic()
                made.release(held)
                log.append((wanted, granted, releasing, time.monotonic()))
                time.sleep(rest)

        time.sleep(max(0.0, start - time.monotonic()))
        before = time.process_time()
        _together([lambda log=log: work(log) for log in logs])
        return {"logs": logs, "cpu": time.process_time() - before}

    def watch(self, bucket: str, threads: int, seconds: float) -> dict[str, Any]:
        """Wait for a full bucket in threads for some time; returns what that took. They keep waiting afterwards."""
        made = self._buckets[bucket]
        for _ in range(threads):
            threading.Thread(target=made.acquire, args=(3600.0,), daemon=True).start()
        before = time.process_time()
        time.sleep(seconds)
        return {**self._meter.take(), "cpu": (time.process_time() - before) / seconds}

    def beat(self, buckets: list[str], seconds: float) -> dict[str, Any]:
        """Let the heartbeat renew for some time; returns CPU, lateness of renewals and leases still held."""
        made: list[Any] = [self._buckets[bucket] for bucket in buckets]
        for one in made:
            one.renewed.clear()
        before, began = time.process_time(), time.monotonic()
        time.sleep(seconds)
        cpu, passed = time.process_time() - before, time.monotonic() - began
        late = [seconds for one in made for seconds in one.renewed]
        held = sum(lease.held for bucket in buckets for lease in self._held[bucket])
        return {"cpu": cpu / passed, "late": late, "held": held, "renewals_a_second": len(late) / passed}

    def check(self, bucket: str, times: int) -> dict[str, Any]:
        """Cycles whose requests ask the engine what they consumed."""
        self._meter.take()
        self._meter.asking = True
        try:
            self.cycles(bucket, times)
            return self._meter.take()
        finally:
            self._meter.asking = False

    def versions(self) -> dict[str, str]:
        """The versions of what runs here."""
        import botocore  # noqa: PLC0415

        return {"python": sys.version.split()[0], "boto3": boto3.__version__, "botocore": botocore.__version__}

    @staticmethod
    def _timed(taken: list[float], call: Callable[[], Any], *, cpu: list[float] | None = None) -> Any:
        busy, began = time.process_time(), _now()
        result = call()
        taken.append(_now() - began)
        if cpu is not None:
            cpu.append(time.process_time() - busy)
        return result


def _together(jobs: list[Callable[[], None]]) -> None:
    failed: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    name, setting = sys.argv[1], json.loads(sys.argv[2])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not end up among the answers
    stall = Stall(name, setting)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(stall, command.pop("do"))(**command)
        except Exception as error:  # noqa: BLE001 - the parent's to raise
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)
    os._exit(0)  # another library's threads must not delay the end


if __name__ == "__main__":
    main()
