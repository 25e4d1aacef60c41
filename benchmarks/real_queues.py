"""Waiting in order on an engine, with real processes: the smaller cases of `benchmarks.queues`.

    python -m benchmarks.real_queues                 both orders of both cases on ministack, six minutes
    python -m benchmarks.real_queues 16-on-8         one of them
    python -m benchmarks.real_queues --engine embedded

A process acquires, holds for a second, releases, and wants the next slot at once, on its own machine's clock. What it
shows of time depends on the machine: compare the two orders.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

from benchmarks.queues import CASES, LOOK_SECONDS, Case, out_of_order
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from scripts.harness import engines
from scripts.harness.holders import PATIENCE, TABLE, started
from scripts.harness.queuers import QueueJob, work_in_turn
from scripts.harness.rate_referee import jain

WARM, SECONDS = 15.0, 60.0
NAMES = ("16-on-8", "16-on-8-any", "6-of-8", "6-of-8-any")


def measure(case: Case, endpoint_url: str) -> dict[str, Any]:
    """One case, on a bucket of its own."""
    job = QueueJob(
        endpoint_url=endpoint_url,
        bucket=f"real-{case.name}-{time.time_ns()}",
        number=0,
        tokens=case.tokens,
        ordered=case.order == "fifo",
        hold=case.hold,
        warm=case.warm,
        seconds=case.warm + case.seconds,
        lease_seconds=60.0,
    )
    counts = [1] * (case.processes - 1) + [case.wants]
    jobs = [replace(job, number=number, count=count) for number, count in enumerate(counts)]
    with started(work_in_turn, *jobs) as workers:
        for worker in workers:
            worker.expect("ready")
        for worker in workers:
            worker.tell()
        time.sleep(job.seconds)
        told = [worker.expect("done", PATIENCE + case.hold) for worker in workers]
    return figures(case, [one["spans"] for one in told], counts, sum(one["requests"] for one in told))


def figures(
    case: Case, spans: list[list[tuple[float, float, float]]], counts: list[int], requests: int
) -> dict[str, Any]:
    """What processes told: each of its leases when it was wanted, had and given back; and the requests of all."""
    begins = min(own[0][0] for own in spans if own) + case.warm
    ends = begins + case.seconds
    counted = [[span for span in own if begins <= span[1] < ends] for own in spans]
    grants = sorted((had, wanted) for own in counted for wanted, had, _ in own)
    shares = [len(own) for own in counted]
    held = sum(
        count * (min(given, ends) - max(had, begins))
        for own, count in zip(spans, counts, strict=True)
        for _, had, given in own
        if given > begins and had < ends
    )
    arrivals = [(wanted, had) for had, wanted in grants]
    return {
        "name": case.name,
        "grants": sum(shares),
        "least": min(shares),
        "who wants several": shares[-1] if case.wants > 1 else "",
        "jain": jain(shares),
        "use": held / (case.tokens * (ends - begins)),
        "requests a grant": requests / max(1, sum(shares)),
        "out of order": out_of_order(arrivals),
        "overtaken": out_of_order(arrivals, longer=LOOK_SECONDS),
    }


def main() -> None:
    """Run the cases, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_queues", description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--engine", choices=("ministack", "embedded"), default="ministack", help="(ministack)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="counted, of each case (%(default)g)")
    asked = parser.parse_args()
    cases = [case for case in CASES if case.name in (asked.cases or NAMES)]
    with getattr(engines, asked.engine)() as engine:
        create_table(
            TABLE,
            connection=ConnectionSettings(session=engine.session(), endpoint_url=engine.endpoint_url),
            clock=SystemClock(),
        )
        for number, case in enumerate(cases):
            row = measure(replace(case, warm=WARM, seconds=asked.seconds), engine.endpoint_url)
            if not number:
                print("| " + " | ".join(row) + " |\n" + "| --- " * len(row) + "|")
            cells = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row.values()]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
