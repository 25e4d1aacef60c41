"""A program in a fresh process, which measures itself and prints one line of JSON.

    python -m benchmarks.program first|threads|raw-threads|tasks '{"endpoint_url": ..., "table": ..., "bucket": ...}'

Invariants: it imports nothing that is measured before its clock starts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

THREADS = 16
TOKENS = 10


def first(setting: dict[str, Any]) -> dict[str, float]:
    """The first lease of a process, from the import on."""
    busy, began = time.process_time(), time.perf_counter()
    from ddb_lease import LeaseBucket  # noqa: PLC0415 - that is what is measured

    bucket = LeaseBucket(setting["bucket"], max_tokens=1, table=setting["table"], endpoint_url=setting["endpoint_url"])
    lease = bucket.acquire(30.0)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - busy
    lease.release()
    return {"seconds": seconds, "cpu_seconds": cpu_seconds}


def threads(setting: dict[str, Any]) -> dict[str, float]:
    """Acquires and releases by threads of one process on one core: a request each."""
    from ddb_lease import LeaseBucket  # noqa: PLC0415 - see the invariant

    bucket = LeaseBucket(
        setting["bucket"], max_tokens=THREADS, table=setting["table"], endpoint_url=setting["endpoint_url"]
    )

    def cycle(_: int) -> int:
        bucket.acquire(30.0).release()
        return 2

    return _requests_a_second(cycle, setting["seconds"])


def raw_threads(setting: dict[str, Any]) -> dict[str, float]:
    """The same requests by boto3, with a client for all threads."""
    import boto3  # noqa: PLC0415 - see the invariant

    from benchmarks.contenders import Setting  # noqa: PLC0415
    from benchmarks.contenders.raw import Raw  # noqa: PLC0415

    given = {name: setting[name] for name in ("endpoint_url", "table", "bucket")}
    session = boto3.Session()
    raws = [Raw(Setting(**given, tokens=1, lease_seconds=60.0), session) for _ in range(THREADS)]

    def cycle(number: int) -> int:
        raw = raws[number]
        raw.prepare()
        raw.release(raw.acquire(30.0))
        return 2

    return _requests_a_second(cycle, setting["seconds"])


def tasks(setting: dict[str, Any]) -> dict[str, float]:
    """Tasks that want one of few tokens at the same time, each once."""
    import asyncio  # noqa: PLC0415 - see the invariant

    from ddb_lease import aio  # noqa: PLC0415

    async def one(bucket: Any) -> None:
        async with bucket.lease(timeout=300.0):
            pass

    async def run() -> float:
        bucket = aio.LeaseBucket(
            setting["bucket"], max_tokens=TOKENS, table=setting["table"], endpoint_url=setting["endpoint_url"]
        )
        await asyncio.gather(*(one(bucket) for _ in range(2 * TOKENS)))  # creates, and learns
        began = time.perf_counter()
        await asyncio.gather(*(one(bucket) for _ in range(setting["tasks"])))
        return time.perf_counter() - began

    return {"seconds": asyncio.run(run())}


def _requests_a_second(cycle: Callable[[int], int], seconds: float) -> dict[str, float]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sent = [0] * THREADS
    failed: list[BaseException] = []
    for number in range(THREADS):  # all that is done once
        cycle(number)
    until = time.monotonic() + seconds

    def work(number: int) -> None:
        try:
            while time.monotonic() < until:
                sent[number] += cycle(number)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    busy, began = time.process_time(), time.perf_counter()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        raise failed[0]
    return {
        "requests_a_second": sum(sent) / (time.perf_counter() - began),
        "cpu_ms_a_request": (time.process_time() - busy) * 1e3 / sum(sent),
    }


PROGRAMS: dict[str, Callable[[dict[str, Any]], dict[str, float]]] = {
    "first": first,
    "threads": threads,
    "raw-threads": raw_threads,
    "tasks": tasks,
}


def main() -> None:
    """Run one, and end at once: nothing is to be released."""
    print(json.dumps(PROGRAMS[sys.argv[1]](json.loads(sys.argv[2]))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
