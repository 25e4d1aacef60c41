"""A run as a timeline for people to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.performance import play

_WHO = 9


def timeline(record: Any, *, play: Callable[..., Any] = play) -> str:
    """Play a run again; returns its timeline."""
    schedule = record.schedule
    told = play(replace(schedule, faults=dict(record.faults)), watch=True)
    head = [
        f"seed {schedule.seed}: {len(schedule.jobs)} processes, {schedule.about}, "
        f"requests take about {2 * schedule.latency:g} s, "
        f"front ends off by {', '.join(f'{off:+g}' for off in schedule.front_ends)} s"
        + ("" if schedule.dated else ", answers without Date"),
        *(f"  {deed.at:8.3f} s: p{deed.process + 1} {deed.what} ({deed.size:.3f})" for deed in schedule.deeds),
        "",
    ]
    lines = [f"{at:9.3f}  {who:{_WHO}} {what}" for at, who, what in told.timeline]
    end = "no failure" if told.failure is None else f"FAILURE at {told.failure.at:.3f} s: {told.failure.what}"
    return "\n".join([*head, *lines, end])
