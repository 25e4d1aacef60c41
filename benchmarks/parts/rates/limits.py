"""Several limits at once, and a reservation with its settling: what each costs, beside zae-limiter."""

from __future__ import annotations

from typing import Any

from benchmarks.company import RATE, ZAE, Company
from benchmarks.figures import summary
from benchmarks.parts import Tick

ROUNDS = 100
OPERATIONS = {"several": "three limits at once", "settled": "reserve, and settle"}


def run(company: Company, tick: Tick) -> list[dict[str, Any]]:
    """One row for each contender and operation; a short one where it has none yet."""
    rows: list[dict[str, Any]] = []
    for kind in company.there((RATE, ZAE)):
        bucket = company.bucket()
        with company.hired((kind,), tokens=100_000) as (member,):
            member.ask("open", bucket=bucket)
            for what, operation in OPERATIONS.items():
                row: dict[str, Any] = {"contender": kind, "operation": operation}
                if member.ask("measure", bucket=bucket, what=what, times=5):
                    member.ask("count")
                    seconds = member.ask("measure", bucket=bucket, what=what, times=ROUNDS)["seconds"]
                    count = member.ask("count")
                    row |= summary(seconds)
                    row |= {
                        "requests": sum(count["requests"].values()) / ROUNDS,
                        "wcu": count["wcu"] / ROUNDS,
                        "rcu": count["rcu"] / ROUNDS,
                    }
                else:
                    row["state"] = "not yet"
                rows.append(row)
    tick(1.0)
    return rows
