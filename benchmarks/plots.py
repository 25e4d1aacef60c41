"""Plots, for what a table does not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "ddb_lease"  # the same figures draw the same file
mpl.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of a backend without a screen

from benchmarks.company import TITLES  # noqa: E402

_COLOURS = {"ours": "#1f77b4", "raw": "#7f7f7f", "naive": "#d62728", "dlm": "#ff7f0e", "lock": "#9467bd"}
_MARKS = {"ours": "o", "raw": "d", "naive": "s", "dlm": "^", "lock": "v"}


def draw(results: Mapping[str, Any], folder: Path, *, kind: str = "svg") -> list[Path]:
    """Draw the results; returns the files."""
    drawn: list[Path] = []
    plots: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "single": _single,
        "contention": _contention,
        "waiting": _waiting,
        "manners": _manners,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        if name in results:
            figure = plot(results[name])
            path = folder / f"{name}.{kind}"
            figure.savefig(path, metadata={"Date": None} if kind == "svg" else None, dpi=110)
            plt.close(figure)
            drawn.append(path)
    return drawn


def _single(part: Mapping[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    operations = ("acquire", "renew", "release")
    kinds = list(dict.fromkeys(row["contender"] for row in part["rows"]))
    for place, kind in enumerate(kinds):
        for number, operation in enumerate(operations):
            for row in part["rows"]:
                if (row["contender"], row["operation"]) == (kind, operation):
                    at = number + (place - (len(kinds) - 1) / 2) * 0.16
                    label = TITLES[kind] if operation == "acquire" else None
                    axes.bar(at, row["to_floor"], 0.15, color=_COLOURS[kind], label=label)
                    axes.text(at, row["to_floor"] + 0.02, f"{row['to_floor']:.2f}", ha="center", fontsize=8)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(operations)), operations)
    axes.set_ylabel("time / time of the same boto3 call")
    axes.set_title("One client without contention, interleaved in one run")
    axes.legend(fontsize=8)
    return figure


def _contention(part: Mapping[str, Any]) -> Any:
    figure, every = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
    cells = list(dict.fromkeys((row["processes"], row["workers"], row["slots"]) for row in part["rows"]))
    names = [f"{workers} on {slots}\n({processes} proc.)" for processes, workers, slots in cells]
    shown = (
        ("grants_a_second", "grants per second", False),
        ("wcu_a_grant", "write units per grant (log)", True),
        ("jain", "Jain's fairness index (1: all got the same)", False),
    )
    kinds = list(dict.fromkeys(row["contender"] for row in part["rows"]))
    for axes, (key, label, logarithmic) in zip(every, shown, strict=True):
        for kind in kinds:
            rows = {(r["processes"], r["workers"], r["slots"]): r[key] for r in part["rows"] if r["contender"] == kind}
            xs = [number for number, cell in enumerate(cells) if cell in rows]
            ys = [rows[cells[number]] for number in xs]
            axes.plot(xs, ys, _MARKS[kind], color=_COLOURS[kind], label=TITLES[kind], markersize=8)
        axes.set_xticks(range(len(cells)), names, fontsize=7, rotation=60)
        axes.set_ylabel(label)
        axes.grid(axis="y", alpha=0.3)
        if logarithmic:
            axes.set_yscale("log")
            axes.set_yticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
            axes.minorticks_off()
        else:
            axes.set_ylim(bottom=0.0)
    every[0].legend(fontsize=8)
    figure.suptitle(
        f"Workers on slots, each holding for {part['hold_seconds'] * 1000:g} ms and wanting the next at once"
    )
    return figure


def _waiting(part: Mapping[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    rows = part["rows"]
    names = [f"{TITLES[row['contender']]}, {row['threads']} thread{'s' * (row['threads'] > 1)}" for row in rows]
    for number, row in enumerate(rows):
        cost = (row["wcu_a_second"] * 0.625e-6 + row["rcu_a_second"] * 0.125e-6) * 3600
        axes.barh(number, cost, color=_COLOURS[row["contender"]])
        axes.text(
            cost * 1.1,
            number,
            f"{row['writes_a_second']:.0f} writes/s, {row['reads_a_second']:.1f} reads/s",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 30)
    axes.set_xlabel("dollars per hour (log), on demand, us-east-1")
    axes.set_title("One process that waits for a full bucket of ten tokens")
    return figure


def _manners(part: Mapping[str, Any]) -> Any:
    figure, every = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    shown = (("grants_a_second", "grants per second"), ("wcu_a_grant", "write units per grant (log)"))
    for axes, (key, label) in zip(every, shown, strict=True):
        for kind in dict.fromkeys(row["contender"] for row in part["rows"]):
            rows = [row for row in part["rows"] if row["contender"] == kind and row["grants_a_second"] > 0]
            none = [row for row in part["rows"] if row["contender"] == kind and row["grants_a_second"] == 0]
            if key == "grants_a_second":
                rows += none
            line = [row["workers"] for row in rows], [row[key] for row in rows]
            axes.plot(*line, f"{_MARKS[kind]}-", color=_COLOURS[kind], label=TITLES[kind])
        axes.set_xscale("log")
        axes.set_xlabel("processes that want tokens (log)")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    every[1].set_yscale("log")
    every[1].set_yticks([2, 10, 100], ["2", "10", "100"])
    every[0].set_ylim(bottom=0.0)
    every[0].legend(fontsize=9)
    figure.suptitle(
        f"Simulated DynamoDB partition (1,000 write units/s): {part['tokens']} tokens, "
        f"held {part['hold_seconds'] * 1000:g} ms, wanted again after {part['rest_seconds'] * 1000:g} ms"
    )
    return figure
