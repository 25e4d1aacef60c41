"""One process alone with a rate: whether it keeps to it, how fast it is, and what a denial costs."""

from __future__ import annotations

from typing import Any

from benchmarks.company import RATE, Company
from benchmarks.figures import quantile
from benchmarks.parts import Tick
from benchmarks.parts.rates.sharing import contend, prepare, requests_of
from scripts.harness.rate_referee import Allowed, as_returned, worst_window

CELLS = ((10, 1, 0), (100, 10, 0), (1_000, 100, 0), (1_000, 100, 100))
"""Rate, burst and prefetch of a process whose permits are compared with ``rate * t + burst``."""
FAST, THREADS = 5_000, 16
DENIALS = 1_000


def excess(company: Company, tick: Tick, *, seconds: float) -> list[dict[str, Any]]:
    """By how many permits a process exceeds its rate in the worst of all windows, from its very first call on."""
    rows = []
    for done, (rate, burst, prefetch) in enumerate(CELLS, start=1):
        bucket, allowed = company.bucket(), Allowed(permits=rate, burst=burst)
        with company.hired((RATE,), tokens=rate, burst=burst, prefetch=prefetch) as members:
            members[0].ask("open", bucket=bucket)  # it does not know the time yet: it learns it while it works
            calls, _, _ = contend(members, bucket, threads=1, seconds=seconds, counts=[1])
        worst, returned = worst_window(calls, allowed), worst_window(as_returned(calls), allowed)
        rows.append(
            {
                "rate": rate,
                "burst": burst,
                "prefetch": prefetch,
                "permits": sum(call.served for call in calls),
                "excess": max(0.0, float(worst.excess)) if worst else None,
                "excess_by_returns": max(0.0, float(returned.excess)) if returned else None,
            }
        )
        tick(done / len(CELLS))
    return rows


def threads(company: Company, tick: Tick, *, seconds: float) -> dict[str, Any]:
    """The permits a second of many threads, without prefetch; and, in a second run, their requests."""
    found: dict[bool, tuple[float, int]] = {}
    for metered in (False, True):  # a meter slows our client down
        bucket = company.bucket()
        with company.hired((RATE,), tokens=FAST) as members:
            prepare(members, bucket, metered=metered)
            calls, _, until = contend(members, bucket, threads=THREADS, seconds=seconds, counts=[1])
            requests = requests_of(members)
        in_time = sum(call.served and call.ended <= until for call in calls)
        found[metered] = in_time / seconds, requests
        counted = sum(call.served for call in calls)
        tick(0.5 + 0.5 * metered)
    return {
        "rate": FAST,
        "threads": THREADS,
        "permits_a_second": found[False][0],
        "requests_a_permit": found[True][1] / max(1, counted),
    }


def denial(company: Company, tick: Tick) -> dict[str, Any]:
    """What a denial from memory costs, once the table has denied one."""
    bucket = company.bucket()
    with company.hired((RATE,), tokens=1, burst=1, per=3_600.0) as (member,):
        member.ask("open", bucket=bucket)
        while member.ask("permits", bucket=bucket, times=1)["admitted"]:
            pass
        member.ask("count")
        denied = member.ask("permits", bucket=bucket, times=DENIALS)
        count = member.ask("count")
    tick(1.0)
    return {
        "denials": DENIALS - denied["admitted"],
        "requests": sum(count["requests"].values()),
        "median_us": quantile(denied["seconds"], 0.5) * 1e6,
        "p99_us": quantile(denied["seconds"], 0.99) * 1e6,
    }
