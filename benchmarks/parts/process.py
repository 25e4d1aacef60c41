"""One process: how many requests it sends on one core, its first lease, and many tasks; with the wire and without.

Throughput and the first lease are measured against a responder that answers at once, so that no engine blurs them; the
tasks against the engine, as they fight over tokens. `without` is the same library with DDB_LEASE_WIRE=boto3.
"""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
from typing import Any

from benchmarks.company import OURS, RAW, ROOT, Company
from benchmarks.figures import quantile
from benchmarks.parts import Tick
from benchmarks.responder import responding
from ddb_lease.dynamodb.wire import VARIABLE

SECONDS = 2.0
ROUNDS = 5
FIRST_ROUNDS = 15
TASK_ROUNDS = 3
TASKS = 1_000

WITHOUT = {VARIABLE: "boto3"}
_WAYS = (("ddb_lease", {}), ("ddb_lease without the wire", WITHOUT))


def run(
    company: Company,
    tick: Tick,
    *,
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    first_rounds: int = FIRST_ROUNDS,
    task_rounds: int = TASK_ROUNDS,
    tasks: int = TASKS,
) -> dict[str, Any]:
    """One measure after the other; the ways of each in turn, round by round."""
    compileall.compile_dir(str(ROOT / "ddb_lease"), quiet=1)  # as an installer does
    with responding() as url:
        setting = {"endpoint_url": url, "table": "leases", "seconds": seconds}
        ways = (("boto3", "raw-threads", {}), *((way, "threads", there) for way, there in _WAYS))
        throughput = _measured(company, ways, setting, rounds, "requests_a_second", "cpu_ms_a_request")
        tick(0.5)
        ways = tuple((way, "first", there) for way, there in reversed(_WAYS))
        first = _measured(company, ways, setting, first_rounds, "seconds", "cpu_seconds")
        tick(0.7)
    setting = {"endpoint_url": company.endpoint_url, "table": company.table(OURS), "tasks": tasks}
    ways = tuple((way, "tasks", there) for way, there in reversed(_WAYS))
    rows = _measured(company, ways, setting, task_rounds, "seconds")
    tick(1.0)
    return {"throughput": throughput, "first": first, "tasks": rows}


def _measured(
    company: Company,
    ways: tuple[tuple[str, str, dict[str, str]], ...],
    setting: dict[str, Any],
    rounds: int,
    *keys: str,
) -> list[dict[str, Any]]:
    """The medians of each way, and of the ratios to the first way in the same round."""
    taken: dict[str, list[dict[str, float]]] = {way: [] for way, _, _ in ways}
    for _ in range(rounds):
        for way, program, there in ways:
            taken[way].append(_play(company, program, {**setting, "bucket": company.bucket()}, there))
    base = taken[ways[0][0]]
    rows = []
    for way, each in taken.items():
        row: dict[str, Any] = {"way": way}
        for key in keys:
            row[key] = quantile([one[key] for one in each], 0.5)
            ratios = [one[key] / other[key] for one, other in zip(each, base, strict=True)]
            row[f"{key}_to_first"] = statistics.median(ratios)
        rows.append(row)
    return rows


def _play(company: Company, program: str, setting: dict[str, Any], there: dict[str, str]) -> dict[str, float]:
    usual = {name: value for name, value in os.environ.items() if name != VARIABLE}
    said = subprocess.run(
        [str(company.pythons[RAW]), "-m", "benchmarks.program", program, json.dumps(setting)],
        cwd=ROOT,
        env=usual | company.environment | there,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    measured: dict[str, float] = json.loads(said)
    return measured
