"""Goals: each bound, the measured value, and whether it is met."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.company import OURS
from benchmarks.goal import Goal
from benchmarks.rate_goals import RATE_GOALS


def _operation(operation: str, key: str) -> Callable[[Mapping[str, Any]], float]:
    def figure(results: Mapping[str, Any]) -> float:
        (row,) = _rows(results["single"], contender=OURS, operation=operation)
        return float(row[key])

    return figure


def _rows(part: Mapping[str, Any], **wanted: Any) -> list[Mapping[str, Any]]:
    return [row for row in part["rows"] if all(row[key] == value for key, value in wanted.items())]


def _full(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda results: next(row[key] for row in results["single"]["full"] if row["contender"] == OURS)


def _largest(results: Mapping[str, Any]) -> float:
    rows = [row for row in results["scale"]["slots"] if row["operation"] == "acquire"]
    most = max(row["slots"] for row in rows)
    return max(float(row["to_smallest"]) for row in rows if row["slots"] == most)


def _contention(key: str, **cell: Any) -> Callable[[Mapping[str, Any]], float]:
    return lambda results: float(_rows(results["contention"], contender=OURS, **cell)[0][key])


def _waiting(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda results: max(float(row[key]) for row in _rows(results["waiting"], contender=OURS))


def _leases(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda results: float(max(results["scale"]["leases"], key=lambda row: row["leases"])[key])


def _last_free(results: Mapping[str, Any]) -> float:
    rows = results["large"]["last_free"]
    return float(max(rows, key=lambda row: row["slots"])["most_s"])


def _fill(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda results: next(float(row[key]) for row in results["large"]["fill"] if row["processes"] == 1)


def _wait_large(results: Mapping[str, Any]) -> float:
    return max(float(row["looks_a_second"]) for row in results["large"]["wait"])


def _process(measure: str, key: str, way: str = "ddb_lease") -> Callable[[Mapping[str, Any]], float]:
    return lambda results: next(float(row[key]) for row in results["process"][measure] if row["way"] == way)


GOALS = (
    *(
        Goal(measure=f"{operation} / the same request by boto3", bound=bound, figure=_operation(operation, "to_floor"))
        for operation, bound in (("acquire", 0.70), ("renew", 0.65), ("release", 0.65))
    ),
    Goal(
        measure="acquire / the same request by boto3: processor time",
        bound=0.50,
        figure=_operation("acquire", "cpu_to_floor"),
    ),
    *(
        Goal(measure=f"{operation}: {what}", bound=1.0, figure=_operation(operation, key))
        for operation in ("acquire", "renew", "release")
        for what, key in (("requests", "requests"), ("write units", "wcu"))
    ),
    Goal(measure="try_acquire on a full bucket: reads", bound=1.0, figure=_full("reads")),
    Goal(measure="try_acquire on a full bucket: writes", bound=0.0, figure=_full("writes")),
    Goal(measure="acquire at 10,000 slots / at 10", bound=1.2, figure=_largest),
    Goal(
        measure="64 threads, 8 slots: requests a grant",
        bound=3.0,
        figure=_contention("requests_a_grant", processes=1, workers=64),
    ),
    Goal(
        measure="8 processes of 8 threads, 8 slots: requests a grant",
        bound=3.0,
        figure=_contention("requests_a_grant", processes=8, workers=64),
    ),
    Goal(
        measure="release to next grant in a process / one claim",
        bound=1.2,
        figure=lambda results: float(results["handover"]["within"]["to_claim"]),
    ),
    Goal(
        measure="release to next grant across processes, 8 waiting",
        bound=100.0,
        figure=lambda results: float(results["handover"]["across"]["median_ms"]),
        unit="ms",
    ),
    Goal(measure="waiting, 1 and 50 threads: writes a second", bound=0.0, figure=_waiting("writes_a_second")),
    Goal(measure="waiting, 1 and 50 threads: reads a second", bound=1.0, figure=_waiting("reads_a_second")),
    Goal(
        measure="crash to re-acquire, beyond the rest of the lease",
        bound=2.0,
        figure=lambda results: float(results["handover"]["recovery"]["worst_beyond_s"]),
        unit="s",
    ),
    Goal(measure="5,000 leases in a process: lost", bound=0.0, figure=_leases("lost")),
    Goal(measure="5,000 leases in a process, 10 s heartbeat: cores", bound=0.5, figure=_leases("cpu_cores")),
    Goal(
        measure="16 processes, 8 slots: Jain's index",
        bound=0.95,
        figure=_contention("jain", processes=16, workers=16),
        at_least=True,
    ),
    Goal(measure="10 of 100,000 slots free: the slowest claim", bound=3.0, figure=_last_free, unit="s"),
    Goal(measure="one process fills 700 tokens: requests a claim", bound=1.05, figure=_fill("requests_a_claim")),
    Goal(measure="one process fills 700 tokens / its claims alone", bound=1.05, figure=_fill("to_claims_alone")),
    Goal(measure="waiting for 100 to 10,000 tokens: looks a second", bound=2.6, figure=_wait_large),
    *RATE_GOALS,
    Goal(
        measure="from ddb_lease import LeaseBucket / import boto3",
        bound=1.05,
        figure=lambda results: float(results["imports"]["to_boto3"]["LeaseBucket"]),
    ),
    Goal(
        measure="requests a second, 16 threads on one core / boto3's",
        bound=2.0,
        figure=_process("throughput", "requests_a_second_to_first"),
        at_least=True,
    ),
    Goal(
        measure="first lease of a process, from its import / without the wire",
        bound=0.7,
        figure=_process("first", "seconds_to_first"),
    ),
    Goal(
        measure="asyncio, 1,000 tasks on 10 tokens: speed / without the wire",
        bound=1.5,
        figure=lambda results: 1 / _process("tasks", "seconds_to_first")(results),
        at_least=True,
    ),
)


def judge(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each goal whose parts were run, with its figure."""
    judged = []
    for goal in GOALS:
        try:
            figure = goal.figure(results)
        except (KeyError, IndexError):
            continue
        judged.append(
            {
                "measure": goal.measure,
                "goal": f"{'>=' if goal.at_least else '<='} {goal.bound:g} {goal.unit}".strip(),
                "measured": "not yet" if figure is None else figure,
                "met": goal.met(figure),
            }
        )
    return judged
