"""Reports: the results as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.company import TITLES


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report."""
    about = results["about"]
    lines = [
        f"Engine {about['engine']}; {about['machine']}; "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        + f"; {about['seconds']:.0f} s in all.",
        "",
    ]
    if results.get("goals"):
        lines += ["## Goals", "", *_table(results["goals"], ("measure", "goal", "measured", "met")), ""]
    for name, title, rows in _tables(results):
        hidden = {"rounds", "handovers_ms", "first_requests"}
        keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in hidden]
        lines += [f"## {title}", "", *_table(rows, keys), ""]
        if name == "single" and (checked := results["single"].get("checked")):
            said = "; ".join(
                f"{TITLES[kind]} {check['by_rules']:g} and {check['reported']:g}"
                if check
                else f"{TITLES[kind]} nothing"
                for kind, check in checked.items()
            )
            bare = results["single"]["bare_put_item"]
            lines += [
                f"Rounds: {rows[0]['rounds']} of each. Units by our rules, and as the engine reports them: {said}.",
                f"A `put_item` of the same item without any condition takes {bare['to_floor']:.2f} of the floor's.",
                "",
            ]
    return "\n".join(lines)


def _tables(results: Mapping[str, Any]) -> list[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    found: list[tuple[str, str, Sequence[Mapping[str, Any]]]] = []
    if part := results.get("single"):
        found += [("single", "A single client", part["rows"]), ("full", "try_acquire on a full bucket", part["full"])]
    if part := results.get("contention"):
        found.append(("contention", f"Contention (each holds {part['hold_seconds']:g} s)", part["rows"]))
    if part := results.get("handover"):
        rows = [{"hand-over": name, **part[name]} for name in ("within", "across")]
        found.append(("by_token", "A lease that is handed over", part["by_token"]))
        found += [("handover", "Hand-over", rows), ("recovery", "Recovery", part["recovery"]["deaths"])]
    if part := results.get("waiting"):
        found.append(("waiting", f"Waiting for {part['tokens']} tokens that are held", part["rows"]))
    if part := results.get("scale"):
        found += [("slots", "Slots of a bucket", part["slots"]), ("leases", "Leases of a process", part["leases"])]
    if part := results.get("large"):
        found += [
            ("last_free", "The last free slots of a large bucket (simulated)", part["last_free"]),
            ("fill", "Filling a new bucket (simulated)", part["fill"]),
            ("wait", "Waiting for a full bucket (simulated)", part["wait"]),
        ]
    if part := results.get("manners"):
        found.append(("manners", "Under the real service's manners (simulated)", part["rows"]))
    if part := results.get("rates"):
        found.append(("rates", "Rates: a permit, and a denial", part["rows"]))
        found += [
            ("prefetch", "Prefetching", [part["prefetch"]]),
            ("sharing", f"Processes that want the same rate, over {part['seconds']:g} s", part["sharing"]),
            ("order", "A large call beside small ones", [part["order"]]),
            ("alone", "A process alone: permits beyond rate * t + burst", part["alone"]),
            ("threads", "Threads of a process, without prefetch", [part["threads"]]),
            ("denial", "Denials from memory", [part["denial"]]),
            ("making", "One more limiter, one more key", part["making"]),
            ("limits", "Several limits, and reservations", part["limits"]),
        ]
    return found + _of_programs(results) + _of_process(results.get("process") or {})


def _of_programs(results: Mapping[str, Any]) -> list[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    found: list[tuple[str, str, Sequence[Mapping[str, Any]]]] = []
    if part := results.get("middleware"):
        found.append(("middleware", "Middleware: a request, in microseconds", part))
    if part := results.get("imports"):
        found.append(("imports", "Imports", [{"program": k, "to_boto3": v} for k, v in part["to_boto3"].items()]))
    if part := results.get("leader"):
        title = f"Leaders: from the end of one to the next (leases of {part['lease_seconds']:g} s)"
        found.append(("leader", title, part["rows"]))
    return found


def _of_process(part: Mapping[str, Any]) -> list[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    titles = {
        "throughput": "Requests of 16 threads of a process on one core",
        "first": "The first lease of a process, from its import",
        "tasks": "1,000 tasks of a process on 10 tokens",
    }
    return [(name, titles[name], rows) for name, rows in part.items()]


def _table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    heads = [key.replace("_", " ") for key in keys]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_cell(key, row.get(key)) for key in keys) + " |" for row in rows]
    return lines


def _cell(key: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "**no**"
        case float():
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
        case int():
            return f"{value:,}"
        case _:
            return TITLES.get(value, value) if key == "contender" else str(value)
