"""The goals of rates: those of issue 20, and that of prefetching."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.company import RATE, ZAE
from benchmarks.goal import Goal

_Results = Mapping[str, Any]


def _row(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """The row that has these values; IndexError if there is none, as for any part that was not run."""
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found[0]


def _shared(key: str, **cell: Any) -> Callable[[_Results], float]:
    return lambda results: float(_row(results["rates"]["sharing"], **cell)[key])


def _most_requests(results: _Results) -> float:
    return max(float(row["requests_a_permit"]) for row in results["rates"]["sharing"])


def _one(part: str, key: str) -> Callable[[_Results], float]:
    return lambda results: float(results["rates"][part][key])


def _excess(*, prefetch: bool) -> Callable[[_Results], float]:
    def figure(results: _Results) -> float:
        rows = [row for row in results["rates"]["alone"] if bool(row["prefetch"]) is prefetch]
        return max(float(row["excess"]) for row in rows)

    return figure


def _key(name: str) -> Callable[[_Results], float | None]:
    return lambda results: _row(results["rates"]["making"], made="key").get(name)


def _limits(contender: str, operation: str, name: str) -> Callable[[_Results], float | None]:
    return lambda results: _row(results["rates"]["limits"], contender=contender, operation=operation).get(name)


def _limits_to_zae(operation: str, name: str) -> Callable[[_Results], float | None]:
    def figure(results: _Results) -> float | None:
        ours, theirs = (_limits(kind, operation, name)(results) for kind in (RATE, ZAE))
        return None if ours is None or theirs is None else ours / theirs

    return figure


def _permit_to_zae(name: str) -> Callable[[_Results], float]:
    def figure(results: _Results) -> float:
        rows = results["rates"]["rows"]
        return float(_row(rows, contender=RATE)[name] / _row(rows, contender=ZAE)[name])

    return figure


RATE_GOALS = (
    *(
        Goal(
            measure=f"{processes} processes at {rate:,}/s: Jain's index",
            bound=0.97,
            figure=_shared("jain", processes=processes, rate=rate),
            at_least=True,
        )
        for processes in (4, 8)
        for rate in (1, 10, 100, 1_000)
    ),
    Goal(measure="the same, the most: requests a permit", bound=1.05, figure=_most_requests),
    Goal(measure="20 permits beside ones, the most: wait / place", bound=1.1, figure=_one("order", "most_to_place")),
    Goal(measure="20 permits beside ones: overtaken by, permits", bound=0.0, figure=_one("order", "overtaken_by")),
    Goal(
        measure="16 threads at 5,000/s, no prefetch: permits a second",
        bound=2_000.0,
        figure=_one("threads", "permits_a_second"),
        at_least=True,
    ),
    Goal(
        measure="16 threads at 5,000/s, no prefetch: requests a permit",
        bound=0.1,
        figure=_one("threads", "requests_a_permit"),
    ),
    Goal(measure="a process alone: permits beyond rate * t + burst", bound=0.0, figure=_excess(prefetch=False)),
    Goal(measure="the same with prefetch=100", bound=0.0, figure=_excess(prefetch=True)),
    Goal(measure="rate with prefetch=100: requests a permit", bound=0.02, figure=_one("prefetch", "requests_a_permit")),
    Goal(measure="a key's first use: requests", bound=1.0, figure=_key("requests")),
    Goal(measure="a key, used: bytes", bound=1_024.0, figure=_key("bytes_used")),
    Goal(measure="a key: to make", bound=50.0, figure=_key("us"), unit="us"),
    Goal(measure="a key, used: threads", bound=0.0, figure=_key("threads")),
    Goal(measure="a key, used: sockets", bound=0.0, figure=_key("sockets")),
    Goal(measure="100,000 keys, used", bound=150.0, figure=_key("mb_for_100_000"), unit="MB"),
    *(
        Goal(measure=f"{operation}: {what}", bound=bound, figure=_limits(RATE, operation, name))
        for operation, bound in (("three limits at once", 1.0), ("reserve, and settle", 2.0))
        for what, name in (("requests", "requests"), ("write units", "wcu"))
    ),
    Goal(measure="a denial from memory: requests", bound=0.0, figure=_one("denial", "requests")),
    Goal(measure="a denial from memory", bound=20.0, figure=_one("denial", "median_us"), unit="us"),
    *(
        Goal(measure=f"a permit, {what}: ours / zae-limiter", bound=1.0, figure=_permit_to_zae(name))
        for what, name in (
            ("cold, requests", "cold_requests"),
            ("cold, time", "cold_ms"),
            ("warm, time", "median_ms"),
            ("warm, requests", "requests"),
            ("warm, write units", "wcu"),
        )
    ),
    *(
        Goal(measure=f"{operation}, {what}: ours / zae-limiter", bound=1.0, figure=_limits_to_zae(operation, name))
        for operation in ("three limits at once", "reserve, and settle")
        for what, name in (("time", "median_ms"), ("requests", "requests"), ("write units", "wcu"))
    ),
)
