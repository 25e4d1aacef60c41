"""Contention: many workers that always want tokens, as threads of one process and as processes.

Each worker acquires, holds for 20 ms, releases, and acquires again. Fairness is Jain's index over the workers' grants.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from benchmarks.company import DLM, NAIVE, OURS, Company, Member
from benchmarks.figures import quantile
from benchmarks.parts import Tick
from scripts.harness.rate_referee import jain

HOLD_SECONDS = 0.02
CONTENDERS = (OURS, NAIVE, DLM)


class Cell(NamedTuple):
    """A number of processes, threads in each, slots, and seconds."""

    processes: int
    threads: int
    slots: int
    seconds: float
    contenders: Sequence[str] = CONTENDERS

    @property
    def workers(self) -> int:
        """All workers."""
        return self.processes * self.threads


CELLS = (
    Cell(1, 1, 1, 2.0),
    Cell(1, 8, 1, 3.0),
    Cell(1, 16, 8, 3.0),
    Cell(1, 64, 8, 4.0),
    Cell(1, 128, 64, 3.0),
    Cell(8, 1, 1, 7.0),
    Cell(8, 8, 8, 6.0),
    Cell(16, 1, 8, 22.0, (OURS,)),  # long enough for turns of a second to even out
    Cell(16, 1, 8, 6.0, (NAIVE, DLM)),
    Cell(16, 8, 64, 5.0),
)


def run(company: Company, tick: Tick, *, cells: Sequence[Cell] = CELLS) -> dict[str, Any]:
    """Cell by cell; within each cell, one contender after the other."""
    rows: list[dict[str, Any]] = []
    whole = sum(cell.seconds * len(cell.contenders) for cell in cells)
    done = 0.0
    for processes in sorted({cell.processes for cell in cells}):
        for kind in CONTENDERS:
            mine = [cell for cell in cells if cell.processes == processes and kind in cell.contenders]
            with company.hired([kind] * processes, tokens=1) as members:
                for cell in mine:
                    rows.append(_play(company, members, kind, cell))
                    done += cell.seconds
                    tick(done / whole)
    rows.sort(key=lambda row: (row["processes"], row["workers"], row["slots"]))
    return {"hold_seconds": HOLD_SECONDS, "rows": rows}


def _play(company: Company, members: Sequence[Member], kind: str, cell: Cell) -> dict[str, Any]:
    bucket = company.bucket()
    for member in members:
        member.tell("open", bucket=bucket, tokens=cell.slots)
    for member in members:
        member.hear()
    for member in members:  # all have used the bucket before the measurement
        member.ask("cycles", bucket=bucket, times=1)
    for member in members:
        member.ask("count")
    start = time.monotonic() + 0.3
    for member in members:
        member.tell(
            "contend", bucket=bucket, threads=cell.threads, start=start, until=start + cell.seconds, hold=HOLD_SECONDS
        )
    answers = [member.hear() for member in members]
    counts = [member.ask("count") for member in members]
    logs = [log for answer in answers for log in answer["logs"]]
    grants = [len(log) for log in logs]
    waits = [granted - wanted for log in logs for wanted, granted, _, _ in log]
    total = max(1, sum(grants))
    return {
        "contender": kind,
        "processes": cell.processes,
        "workers": cell.workers,
        "slots": cell.slots,
        "seconds": cell.seconds,
        "grants_a_second": sum(grants) / cell.seconds,
        "requests_a_grant": sum(sum(count["requests"].values()) for count in counts) / total,
        "wcu_a_grant": sum(count["wcu"] for count in counts) / total,
        "rcu_a_grant": sum(count["rcu"] for count in counts) / total,
        "wasted_writes_a_grant": sum(count["wasted_writes"] for count in counts) / total,
        "wait_p50_ms": quantile(waits, 0.5) * 1e3,
        "wait_p99_ms": quantile(waits, 0.99) * 1e3,
        "jain": jain(grants),
        "handovers_ms": _handovers(logs) if cell.slots == 1 else None,
        "overlaps": _overlaps(logs, cell.slots),
    }


def _handovers(logs: Sequence[Sequence[Sequence[float]]]) -> dict[str, float]:
    """The time from the return of a release to the next grant, on one slot."""
    held = sorted((granted, released) for log in logs for _, granted, _, released in log)
    gaps = [max(0.0, after - released) for (_, released), (after, _) in pairwise(held)]
    return {"median": quantile(gaps, 0.5) * 1e3, "p99": quantile(gaps, 0.99) * 1e3}


def _overlaps(logs: Sequence[Sequence[Sequence[float]]], slots: int) -> int:
    """How often more tokens were held than there are: from each grant to the call of its release."""
    changes = sorted(
        change for log in logs for _, granted, releasing, _ in log for change in ((granted, 1), (releasing, -1))
    )
    held = over = 0
    for _, change in changes:
        held += change
        over += change > 0 and held > slots
    return over
