"""Hand-over: from a release to the next grant. Recovery: from a holder's death to the next grant.

By token: one process hands a lease over, and another one adopts it.
In one process: two threads. Across processes: one holder that releases now and then, and eight waiters.
"""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import Any

from benchmarks.company import OURS, Company
from benchmarks.figures import quantile, summary
from benchmarks.parts import Tick

LEASE_SECONDS = 6.0
WAITING = 8  # and one more, which rests
ACROSS = 30
WITHIN = 40
BY_TOKEN = 60
DEATHS = 2
_HOLD = 0.02


def run(
    company: Company,
    tick: Tick,
    *,
    within: int = WITHIN,
    across: int = ACROSS,
    deaths: int = DEATHS,
    by_token: int = BY_TOKEN,
) -> dict[str, Any]:
    """One after the other."""
    result: dict[str, Any] = {"within": _within(company, within)}
    tick(0.2)
    result["across"] = _across(company, across, tick)
    result["by_token"] = _by_token(company, by_token)
    result["recovery"] = _recovery(company, deaths, tick)
    tick(1.0)
    return result


def _within(company: Company, rounds: int) -> dict[str, Any]:
    """Two threads that pass one slot to and fro, and in between the time of one claim in the same process."""
    bucket, alone = company.bucket(), company.bucket()
    with company.hired([OURS], tokens=1) as (member,):
        member.ask("open", bucket=bucket)
        member.ask("open", bucket=alone)
        member.ask("cycles", bucket=bucket, times=5)
        member.ask("cycles", bucket=alone, times=5)
        handed: list[float] = []
        claims: list[float] = []
        ratios = []
        while len(handed) < rounds:
            # The claim that it is compared with comes after an equal rest, so caches are equally cold.
            until = time.monotonic() + 0.5
            lone = member.ask("contend", bucket=alone, threads=1, until=until, hold=_HOLD, rest=_HOLD)["logs"][0]
            claim = [granted - wanted for wanted, granted, _, _ in lone]
            until = time.monotonic() + 1.0
            logs = member.ask("contend", bucket=bucket, threads=2, until=until, hold=_HOLD)["logs"]
            gaps = _gaps(logs)
            handed += gaps
            claims += claim
            ratios.append(quantile(gaps, 0.5) / quantile(claim, 0.5))
    return {**summary(handed), "claim_median_ms": quantile(claims, 0.5) * 1e3, "to_claim": quantile(ratios, 0.5)}


def _gaps(logs: list[list[list[float]]]) -> list[float]:
    held = sorted((granted, released, worker) for worker, log in enumerate(logs) for _, granted, _, released in log)
    return [
        max(0.0, after - released) for (_, released, worker), (after, _, other) in pairwise(held) if worker != other
    ]


def _across(company: Company, rounds: int, tick: Tick) -> dict[str, Any]:
    """A holder releases while eight processes wait; the first grant ends the round."""
    bucket = company.bucket()
    gaps = []
    with company.hired([OURS] * (WAITING + 2), tokens=1) as members:
        for member in members:
            member.ask("open", bucket=bucket)
            member.ask("cycles", bucket=bucket, times=1)
        holder, *waiting = members
        holder.ask("fill", bucket=bucket, count=1)
        # The last holder rests for a while, so that it does not compete: the waiters pass the slot on.
        until = time.monotonic() + rounds * 0.5
        for member in waiting:
            member.tell("contend", bucket=bucket, threads=1, until=until, hold=0.3, rest=0.4)
        time.sleep(2.0)
        holder.ask("drop", bucket=bucket)
        logs = [log for member in waiting for log in member.hear()["logs"]]
        gaps = _gaps(logs)
        tick(0.6)
    return {**summary(gaps), "waiting": WAITING}


def _by_token(company: Company, rounds: int) -> list[dict[str, Any]]:
    """One process hands a lease over, and another adopts it, again and again. Both know the bucket."""
    bucket = company.bucket()
    taken: dict[str, list[float]] = {"acquire": [], "hand_over": [], "adopt": [], "end to hold": []}
    with company.hired([OURS, OURS], tokens=1) as (giver, adopter):
        for member in (giver, adopter):
            member.ask("open", bucket=bucket)
            member.ask("cycles", bucket=bucket, times=5)
        for _ in range(rounds):
            given = giver.ask("measure", bucket=bucket, what="give")
            adopted = adopter.ask("measure", bucket=bucket, what="adopt", token=given["token"])
            for name in ("acquire", "hand_over"):
                taken[name].append(given[name])
            taken["adopt"].append(adopted["adopt"])
            taken["end to hold"].append(adopted["held"] - given["over"])  # with the way of the token, by two pipes
    return [{"by token": name, **summary(seconds)} for name, seconds in taken.items()]


def _recovery(company: Company, deaths: int, tick: Tick) -> dict[str, Any]:
    """A holder is killed in the middle of its lease: how much longer than the lease does the next one wait?"""
    rows = []
    for number in range(deaths):
        bucket = company.bucket()
        with company.hired([OURS, OURS], tokens=1, lease_seconds=LEASE_SECONDS) as (holder, waiter):
            for member in (holder, waiter):
                member.ask("open", bucket=bucket)
            holder.ask("fill", bucket=bucket, count=1)
            time.sleep(random.uniform(0.2, LEASE_SECONDS))  # renewed meanwhile, or not yet
            waiter.tell("fill", bucket=bucket, count=1)
            time.sleep(0.5)
            item = company.client.get_item(
                TableName=company.table(OURS),
                Key={"pk": {"S": bucket}, "sk": {"S": "slot#00000"}},
                ConsistentRead=True,
            )["Item"]
            holder.kill()
            killed, died = time.time(), time.monotonic()
            rest = int(item["expires_at"]["N"]) / 1000 - killed
            waiter.hear()
            took = time.monotonic() - died
        rows.append({"rest_of_lease_s": rest, "re_acquired_s": took, "beyond_s": took - rest})
        tick(0.6 + 0.4 * (number + 1) / deaths)
    return {"lease_seconds": LEASE_SECONDS, "deaths": rows, "worst_beyond_s": max(row["beyond_s"] for row in rows)}
