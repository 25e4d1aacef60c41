"""What it costs to have one more limiter, or one more key of a limiter, in a process."""

from __future__ import annotations

from typing import Any

from benchmarks.company import RATE, Company
from benchmarks.parts import Tick

LIMITERS, KEYS = 30, 500


def run(company: Company, tick: Tick, *, limiters: int = LIMITERS, keys: int = KEYS) -> list[dict[str, Any]]:
    """One row each; that of keys is short where the limiter has none yet."""
    rows: list[dict[str, Any]] = []
    for what, count in (("limiter", limiters), ("key", keys)):
        with company.hired((RATE,), tokens=100_000) as (member,):
            for metered in (True, False):  # a meter keeps what it counts, and that is no memory of ours
                warm, bucket = company.bucket(), company.bucket()
                for each in (warm, bucket):
                    member.ask("open", bucket=each, metered=metered)
                member.ask("measure", bucket=warm, what="make", kind=what, count=10)
                member.ask("measure", bucket=bucket, what="make", kind=what, count=1)
                member.ask("count")
                made = member.ask("measure", bucket=bucket, what="make", kind=what, count=count)
                if metered:
                    requests = sum(member.ask("count")["requests"].values())
        if made:
            rows.append({"made": what, **made, "requests": requests / count})
        else:
            rows.append({"made": what, "state": "not yet"})
        tick(0.5 * len(rows))
    return rows
