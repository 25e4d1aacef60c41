"""Exploring: many schedules, on all cores.

Invariants: a seed alone identifies a schedule, so it does not matter which process plays it; a failure comes back as a
seed and a description.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.performance import Failure, Record, play, quiet
from tests.simulation.schedule import schedule_for

PORTION = 50
"""Schedules that a worker plays at a time."""


@dataclass
class Tally:
    """The result of many schedules."""

    schedules: int = 0
    failures: list[tuple[int, Failure]] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    deeds: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count one run."""
        self.schedules += 1
        if record.failure is not None:
            self.failures.append((record.schedule.seed, record.failure))
        for name in ("requests", "events", "grants", "takeovers", "mints", "re_mints", "lost", "given_up", "untimely"):
            self.sums[name] += getattr(record, name)
        self.faults.update(
            fate.name if fate.instead is None else f"{fate.name}: {fate.instead}" for fate in record.faults.values()
        )
        self.deeds.update(record.deeds)

    def merge(self, other: Tally) -> None:
        """Add another tally."""
        self.schedules += other.schedules
        self.failures += other.failures
        self.sums.update(other.sums)
        self.faults.update(other.faults)
        self.deeds.update(other.deeds)


def explore(seeds: Iterable[int]) -> Tally:
    """Play these, here."""
    tally = Tally()
    with quiet(None):
        for seed in seeds:
            tally.add(play(schedule_for(seed)))
    return tally


def explore_on_all_cores(first: int, count: int, *, workers: int | None = None) -> Iterator[Tally]:
    """Play `count` schedules from seed `first` on; yields a tally for each portion, in any order."""
    portions = [range(at, min(at + PORTION, first + count)) for at in range(first, first + count, PORTION)]
    # Fresh interpreters: a fork would copy threads that wait for work.
    context = multiprocessing.get_context("spawn")
    places = context.SimpleQueue()
    for place in range(workers or os.cpu_count() or 1):
        places.put(place)
    with context.Pool(workers, initializer=_settle_down, initargs=(places,)) as pool:
        yield from pool.imap_unordered(explore, portions)


def _settle_down(places: Any) -> None:
    # Threads that alternate switch faster on one core than across two.
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[places.get() % len(cores)]})
