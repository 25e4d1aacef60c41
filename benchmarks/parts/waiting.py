"""Waiting: what those who wait for a full bucket cost."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.company import DLM, LOCK, NAIVE, OURS, Company
from benchmarks.parts import Tick

SECONDS = 20.0
THREADS = (1, 50)
TOKENS = 10


def run(company: Company, tick: Tick, *, seconds: float = SECONDS) -> dict[str, Any]:
    """All contenders wait at the same time, each for a bucket of its own that is full."""
    rows = []
    for share, threads in enumerate(THREADS):
        kinds = (OURS, NAIVE, DLM, LOCK) if threads == 1 else (OURS, NAIVE)
        waiting = []
        for kind in kinds:
            bucket, tokens = company.bucket(), 1 if kind == LOCK else TOKENS
            holder = company.hire(kind, tokens=tokens)
            holder.ask("open", bucket=bucket)
            holder.ask("fill", bucket=bucket, count=tokens)
            member = company.hire(kind, tokens=tokens)
            member.ask("open", bucket=bucket)
            member.ask("count")
            waiting.append((kind, bucket, holder, member))
        until = time.monotonic() + seconds
        for _, bucket, _, member in waiting:
            member.tell("watch", bucket=bucket, threads=threads, seconds=until - time.monotonic())
        for kind, _, holder, member in waiting:
            count = member.hear()
            reads = sum(n for operation, n in count["requests"].items() if operation in {"Query", "GetItem"})
            rows.append(
                {
                    "contender": kind,
                    "threads": threads,
                    "reads_a_second": reads / seconds,
                    "writes_a_second": (sum(count["requests"].values()) - reads) / seconds,
                    "wcu_a_second": count["wcu"] / seconds,
                    "rcu_a_second": count["rcu"] / seconds,
                    "cpu": count["cpu"],
                }
            )
            company.dismiss(holder)
            company.dismiss(member)
        tick((share + 1) / len(THREADS))
    return {"seconds": seconds, "tokens": TOKENS, "rows": rows}
