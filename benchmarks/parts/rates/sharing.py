"""Processes that want the same rate: who gets how much, in which order, and at how many requests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.company import RATE, Company, Member
from benchmarks.figures import quantile
from benchmarks.parts import Tick
from scripts.harness.rate_referee import NS, Allowed, Call, jain, overtaken, served_by, to_its_place, within

PROCESSES = (4, 8)
THREADS = {1: 1, 10: 2, 100: 4, 1_000: 16}
"""For each rate, the callers of a process: so many that they want more than there is."""
LARGE, SMALL_RATE, SMALL_PROCESSES, SMALL_THREADS = 20, 20, 4, 2
"""Of the order: a process that wants `LARGE` permits at a time, beside some that want one."""
SLACK = 0.25
"""Seconds by which calls may differ from their order: a request there, and a thread's wake-up."""


def contend(
    members: Sequence[Member], bucket: str, *, threads: int, seconds: float, counts: Sequence[int]
) -> tuple[list[Call], int, int]:
    """Let members want permits at the same time; returns their calls, and from when to when they called."""
    begin = time.monotonic() + 0.5
    for member, n in zip(members, counts, strict=True):
        member.tell("want", bucket=bucket, threads=threads, n=n, start=begin, until=begin + seconds)
    calls = [
        Call(process=number, n=n, wanted=wanted, ended=ended, served=served)
        for number, (member, n) in enumerate(zip(members, counts, strict=True))
        for wanted, ended, served in member.hear()["calls"]
    ]
    return calls, int(begin * NS), int((begin + seconds) * NS)


def prepare(members: Sequence[Member], bucket: str, **settings: Any) -> None:
    """Make a limiter in each, and let it learn the time, so that all begin alike."""
    for member in members:
        member.ask("open", bucket=bucket, **settings)
        member.ask("measure", bucket=bucket, what="learn_the_time")
        member.ask("count")


def requests_of(members: Sequence[Member]) -> int:
    """The requests of all since they were counted last."""
    return sum(counted(members).values())


def counted(members: Sequence[Member]) -> Counter[str]:
    """The same, by operation."""
    requests: Counter[str] = Counter()
    for member in members:
        requests.update(member.ask("count")["requests"])
    return requests


def share(company: Company, tick: Tick, *, seconds: float) -> list[dict[str, Any]]:
    """Jain's index, and requests a permit, for each number of processes and each rate."""
    rows = []
    with company.hired((RATE,) * max(PROCESSES), tokens=1) as everyone:
        cells = [(processes, rate) for processes in PROCESSES for rate in THREADS]
        for done, (processes, rate) in enumerate(cells, start=1):
            members, bucket, threads = everyone[:processes], company.bucket(), THREADS[rate]
            prepare(members, bucket, tokens=rate)
            calls, begin, until = contend(members, bucket, threads=threads, seconds=seconds, counts=[1] * processes)
            shares = served_by(within(calls, begin, until))
            permits = sum(shares.values())
            # Of all calls: some began before the end and were served after it.
            requests, served = counted(members), max(1, sum(served_by(calls).values()))
            rows.append(
                {
                    "processes": processes,
                    "rate": rate,
                    "threads": threads,
                    "permits_a_second": permits / seconds,
                    "jain": jain([shares.get(number, 0) for number in range(processes)]),
                    "fewest": min(shares.get(number, 0) for number in range(processes)),
                    "most": max(shares.values()),
                    "requests_a_permit": sum(requests.values()) / served,
                    "writes_a_permit": (requests["UpdateItem"] + requests["PutItem"]) / served,
                }
            )
            tick(done / len(cells))
    return rows


def order(company: Company, tick: Tick, *, seconds: float) -> dict[str, Any]:
    """How long a large call waits, beside small ones, relative to its place in the queue."""
    counts = [1] * SMALL_PROCESSES + [LARGE]
    bucket = company.bucket()
    with company.hired((RATE,) * len(counts), tokens=SMALL_RATE) as members:
        prepare(members, bucket)
        calls, begin, until = contend(members, bucket, threads=SMALL_THREADS, seconds=seconds, counts=counts)
    tick(1.0)
    allowed = Allowed(permits=SMALL_RATE, burst=SMALL_RATE)
    large = [call for call in calls if call.n == LARGE]
    places = [to_its_place(call, calls, allowed, slack=SLACK) for call in large]
    in_time = [call for call in large if call.served and call.ended <= until]
    behind = [one for one in overtaken(calls, slack=SLACK) if one.call.n == LARGE]
    return {
        "n": LARGE,
        "rate": SMALL_RATE,
        "small_callers": SMALL_PROCESSES * SMALL_THREADS,
        "served": len(in_time),
        "permits": sum(served_by(within(calls, begin, until)).values()),
        "median_to_place": quantile(places, 0.5),
        "most_to_place": max(places, default=float("nan")),
        "overtaken_by": max((one.permits for one in behind), default=0),
    }
