"""Judges in which order those who waited were served, by notes alone. It shares no code with the library.

A note that somebody `calls` is written before the call, `stands` once its ticket was seen in the table, and `served`
after the call returned. So who stood before another one called came first, whatever the machine did meanwhile.
"""

from __future__ import annotations

import json
from pathlib import Path


def read_notes(path: Path) -> dict[int, dict[str, float]]:
    """When each one called, stood and was served, by its number."""
    found: dict[int, dict[str, float]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        told = json.loads(line)
        found.setdefault(told["job"], {}).setdefault(told["what"], told["at"])
    return found


def overtaken(notes: dict[int, dict[str, float]], *, dead: frozenset[int] = frozenset()) -> list[tuple[int, int]]:
    """Pairs of which the first came earlier, and was not served earlier; those who died do not count."""
    return [
        (first, later)
        for first, came in notes.items()
        for later, called in notes.items()
        if first not in dead
        and came.get("stands", float("inf")) < called["calls"]
        and called.get("served", float("inf")) < came.get("served", float("inf"))
    ]
