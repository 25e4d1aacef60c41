"""Exploring: many schedules, on all cores.

Invariants: a seed alone identifies a schedule, so it does not matter which process plays it; a failure comes back as a
seed and a description.
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.simulation import performance, schedule
from tests.simulation.performance import Failure, quiet
from tests.simulation.rates import performance as rate_performance
from tests.simulation.rates import schedule as rate_schedule

PORTION = 50
"""Schedules that a worker plays at a time."""


@dataclass(frozen=True)
class Kind:
    """What is simulated.

    Attributes:
        play: Plays a schedule.
        schedule_for: The schedule of a seed.
        counted: Numbers of a record that are added up.
    """

    play: Callable[..., Any]
    schedule_for: Callable[[int], Any]
    counted: tuple[str, ...]


_OF_LEASES = (
    "requests",
    "events",
    "grants",
    "takeovers",
    "adopted",
    "mints",
    "re_mints",
    "kept_closed",
    "lost",
    "given_up",
    "untimely",
)

KINDS = {
    "leases": Kind(performance.play, schedule.schedule_for, _OF_LEASES),
    "ordered": Kind(performance.play, schedule.ordered_schedule_for, _OF_LEASES),
    "rates": Kind(
        rate_performance.play,
        rate_schedule.schedule_for,
        (
            "requests",
            "events",
            "permits",
            "charges",
            "booked",
            "charged_again",
            "timeouts",
            "denials",
            "conflicts",
            "reservations",
            "settlements",
            "sweeps",
        ),
    ),
}


@dataclass
class Tally:
    """The result of many schedules."""

    kind: str = "leases"
    schedules: int = 0
    failures: list[tuple[int, Failure]] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    deeds: Counter[str] = field(default_factory=Counter)

    def add(self, record: Any) -> None:
        """Count one run."""
        self.schedules += 1
        if record.failure is not None:
            self.failures.append((record.schedule.seed, record.failure))
        for name in KINDS[self.kind].counted:
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


def explore(seeds: Iterable[int], kind: str = "leases") -> Tally:
    """Play these, here."""
    tally, played = Tally(kind), KINDS[kind]
    with quiet(None):
        for seed in seeds:
            tally.add(played.play(played.schedule_for(seed)))
    return tally


def explore_on_all_cores(
    first: int, count: int, *, workers: int | None = None, kind: str = "leases"
) -> Iterator[Tally]:
    """Play `count` schedules from seed `first` on; yields a tally for each portion, in any order."""
    portions = [range(at, min(at + PORTION, first + count)) for at in range(first, first + count, PORTION)]
    # Fresh interpreters: a fork would copy threads that wait for work.
    context = multiprocessing.get_context("spawn")
    places = context.SimpleQueue()
    for place in range(workers or os.cpu_count() or 1):
        places.put(place)
    with context.Pool(workers, initializer=_settle_down, initargs=(places,)) as pool:
        yield from pool.imap_unordered(functools.partial(explore, kind=kind), portions)


def _settle_down(places: Any) -> None:
    gc.freeze()  # what was imported need not be looked through again and again
    gc.set_threshold(20_000, 20, 20)
    # Threads that alternate switch faster on one core than across two.
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[places.get() % len(cores)]})
