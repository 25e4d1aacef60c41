"""Waiting: what waiters for a full bucket cost."""

from __future__ import annotations

from typing import Any

from benchmarks.company import DLM, LOCK, NAIVE, OURS, Company
from benchmarks.parts import Tick

SECONDS = 20.0
WAITERS = ((OURS, 1), (OURS, 50), (NAIVE, 1), (NAIVE, 50), (DLM, 1), (LOCK, 1))
TOKENS = 10


def run(company: Company, tick: Tick, *, seconds: float = SECONDS) -> dict[str, Any]:
    """All contenders wait at the same time, each for its own full bucket."""
    rows, waiting = [], []
    for kind, threads in WAITERS:
        bucket, tokens = company.bucket(), 1 if kind == LOCK else TOKENS
        holder, member = company.hire(kind, tokens=tokens), company.hire(kind, tokens=tokens)
        holder.ask("open", bucket=bucket)
        holder.ask("fill", bucket=bucket, count=tokens)
        member.ask("open", bucket=bucket)
        member.ask("count")
        waiting.append((kind, threads, bucket, holder, member))
    for _, threads, bucket, _, member in waiting:
        member.tell("watch", bucket=bucket, threads=threads, seconds=seconds)
    for done, (kind, threads, _, holder, member) in enumerate(waiting, start=1):
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
        tick(done / len(waiting))
    return {"seconds": seconds, "tokens": TOKENS, "rows": rows}
