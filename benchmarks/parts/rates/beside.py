"""Rates: what a permit costs, cold and warm, and a denial; next to zae-limiter."""

from __future__ import annotations

from typing import Any

from benchmarks.company import RATE, ZAE, Company
from benchmarks.figures import quantile, ratio, summary
from benchmarks.parts import Tick

ROUNDS = 40
CYCLES = 5
FAST, SLOW, BURSTS = 100_000, 5, 5
DENIALS = 50
PERMITS = 2_000
"""Of a process with prefetch."""


def run(company: Company, tick: Tick, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Permits of a rate that is never reached, then denials of one that is used up, then prefetching."""
    rows: list[dict[str, Any]] = []
    bucket, empty = company.bucket(), company.bucket()
    with company.hired(company.there((RATE, ZAE)), tokens=FAST) as members:
        taken: dict[str, list[float]] = {}
        medians: dict[str, list[float]] = {}
        counts: dict[str, dict[str, Any]] = {}
        for member in members:
            member.ask("open", bucket=bucket)
            member.ask("count")
            cold = member.ask("permits", bucket=bucket, times=1)["seconds"][0]
            counts[member.kind] = {"cold": member.ask("count"), "cold_ms": cold * 1e3}
            member.ask("permits", bucket=bucket, times=5)
            member.ask("count")
            taken[member.kind], medians[member.kind] = [], []
        for number in range(rounds):
            for member in members if number % 2 else members[::-1]:
                seconds = member.ask("permits", bucket=bucket, times=CYCLES)["seconds"]
                taken[member.kind] += seconds
                medians[member.kind].append(quantile(seconds, 0.5))
            tick(0.6 * (number + 1) / rounds)
        for member in members:
            warm = member.ask("count")
            member.ask("open", bucket=empty, tokens=SLOW)
            while member.ask("permits", bucket=empty, times=1)["admitted"]:
                pass
            member.ask("count")
            denied = member.ask("permits", bucket=empty, times=DENIALS)
            denials = member.ask("count")
            refused = DENIALS - denied["admitted"]
            times = rounds * CYCLES
            rows.append(
                {
                    "contender": member.kind,
                    **summary(taken[member.kind]),
                    "to_ours": ratio(medians[member.kind], medians[RATE]),
                    "requests": sum(warm["requests"].values()) / times,
                    "wcu": warm["wcu"] / times,
                    "rcu": warm["rcu"] / times,
                    "cold_requests": sum(counts[member.kind]["cold"]["requests"].values()),
                    "cold_ms": counts[member.kind]["cold_ms"],
                    "requests_a_denial": sum(denials["requests"].values()) / max(1, refused),
                }
            )
    tick(0.8)
    with company.hired((RATE,), tokens=1_000, prefetch=100) as (member,):
        bucket = company.bucket()
        member.ask("open", bucket=bucket)
        member.ask("waits", bucket=bucket, times=10)
        member.ask("count")
        seconds = member.ask("waits", bucket=bucket, times=PERMITS)["seconds"]
        count = member.ask("count")
    tick(1.0)
    return {
        "rows": rows,
        "prefetch": {
            "k": 100,
            "permits_a_second": PERMITS / seconds,
            "requests_a_permit": sum(count["requests"].values()) / PERMITS,
        },
    }
