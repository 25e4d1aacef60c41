"""Scale: does it cost more with more slots, or with more leases in one process?"""

from __future__ import annotations

from typing import Any

from benchmarks.company import OURS, RAW, Company
from benchmarks.figures import quantile, ratio, summary
from benchmarks.parts import Tick

SLOTS = (10, 100, 1_000, 10_000)
OCCUPIED = (0.1, 0.9, 1.0)
ROUNDS = 16
CYCLES = 4
LEASES = (10, 100, 1_000, 5_000)
"""How many leases of `LEASE_SECONDS` in one process: the most make 500 renewals a second. `floor_cpu_ms` is what boto3
alone takes for one renewal."""

LEASE_SECONDS = 30.0
PER_BUCKET = 1_250  # 5,000 are in four: the engines' Query is slower the more slots a bucket has
BEAT_SECONDS = 12.0  # each is renewed once, or more
_TRIES = 2  # the Query of the engines here is slower the larger the table is; DynamoDB's is not
_THREADS = 4


def run(
    company: Company,
    tick: Tick,
    *,
    rounds: int = ROUNDS,
    leases: tuple[int, ...] = LEASES,
    seconds: float = BEAT_SECONDS,
) -> dict[str, Any]:
    """First the slots, then the leases."""
    slots = _slots(company, tick, rounds)
    return {"slots": slots, "leases": _leases(company, tick, leases, seconds), "floor_cpu_ms": _floor(company)}


def _floor(company: Company) -> float:
    """Processor time of one bare boto3 call, in milliseconds: no renewal by boto3 takes less."""
    bucket = company.bucket()
    with company.hired([RAW], tokens=1) as (member,):
        member.ask("open", bucket=bucket)
        member.ask("cycles", bucket=bucket, times=20)
        return float(member.ask("burn", bucket=bucket, times=200)["cpu_ms"])


def _slots(company: Company, tick: Tick, rounds: int) -> list[dict[str, Any]]:
    buckets = {}
    tables = {}
    for slots in SLOTS:
        tables[slots] = company.fresh_table()
        for occupied in OCCUPIED:
            buckets[slots, occupied] = company.bucket()
            company.furnish(buckets[slots, occupied], slots=slots, leased=int(slots * occupied))
            tick(0.3 * len(buckets) / (len(SLOTS) * len(OCCUPIED)))
    rows = []
    with company.hired([OURS], tokens=1) as (member,):
        warm: dict[Any, list[float]] = {}
        counts: dict[Any, Any] = {}
        for (slots, occupied), bucket in buckets.items():
            member.ask("open", bucket=bucket, tokens=slots, table=tables[slots])
            member.ask("count")
            if occupied == 1.0:
                member.ask("tries", bucket=bucket, times=1)
                counts[slots, occupied] = member.ask("count")
            else:
                first = member.ask("fill", bucket=bucket, count=1)["acquire"][0]
                counts[slots, occupied] = {**member.ask("count"), "first_ms": first * 1e3}
                member.ask("drop", bucket=bucket)
        medians: dict[Any, list[float]] = {}
        # Interleaved: a round has a few cycles on each bucket.
        for number in range(rounds):
            for (slots, occupied), bucket in buckets.items():
                if occupied == 1.0:
                    if number >= _TRIES:
                        continue
                    taken = member.ask("tries", bucket=bucket, times=1)["try_acquire"]
                else:
                    taken = member.ask("cycles", bucket=bucket, times=CYCLES)["acquire"]
                warm.setdefault((slots, occupied), []).extend(taken)
                medians.setdefault((slots, occupied), []).append(quantile(taken, 0.5))
    for (slots, occupied), taken in warm.items():
        count = counts[slots, occupied]
        rows.append(
            {
                "slots": slots,
                "occupied": occupied,
                "operation": "try_acquire" if occupied == 1.0 else "acquire",
                **summary(taken),
                "to_smallest": ratio(medians[slots, occupied], medians[SLOTS[0], occupied]),
                "first_requests": count["requests"],
                "first_rcu": count["rcu"],
                "first_ms": count.get("first_ms"),
            }
        )
    tick(0.5)
    return rows


def _leases(company: Company, tick: Tick, sizes: tuple[int, ...], seconds: float) -> list[dict[str, Any]]:
    rows = []
    for number, leases in enumerate(sizes):
        company.fresh_table()
        each = min(leases, PER_BUCKET)
        buckets = [company.bucket() for _ in range(leases // each)]
        for bucket in buckets:
            company.furnish(bucket, slots=each, leased=0, lease_seconds=LEASE_SECONDS)
        with company.hired([OURS], tokens=each, lease_seconds=LEASE_SECONDS, watched=True) as (member,):
            for bucket in buckets:
                member.ask("open", bucket=bucket)
                member.ask("fill", bucket=bucket, count=each, threads=_THREADS)
            member.ask("count")
            answer = member.ask("beat", buckets=buckets, seconds=seconds)
            count = member.ask("count")
        late = answer["late"]
        rows.append(
            {
                "leases": leases,
                "buckets": len(buckets),
                "renewals_a_second": answer["renewals_a_second"],
                "requests_a_second": sum(count["requests"].values()) / seconds,
                "cpu_cores": answer["cpu"],
                "cpu_ms_a_renewal": answer["cpu"] * 1e3 / max(1e-9, answer["renewals_a_second"]),
                "late_p99_s": quantile(late, 0.99),
                "latest_s": max(late, default=float("nan")),
                "lost": leases - answer["held"],
            }
        )
        tick(0.5 + 0.5 * (number + 1) / len(sizes))
    return rows
