"""Shrinking: removes from a failing schedule all that the failure does not need.

Invariants:

- The schedule is played again without each part; the part stays removed if the same invariant is still violated.
- First the mishaps of processes and the table, then threads and jobs, then the fates of single requests (Zeller's delta
  debugging, halves first).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tests.simulation.performance import play

Part = TypeVar("Part")


def shrink(record: Any, *, tries: int = 400, play: Callable[[Any], Any] = play) -> Any:
    """The smallest schedule found that violates the same invariant.

    Args:
        record: Of a run that failed.
        tries: How often to play at most.
        play: What plays such a schedule: of leases, or of rates.
    """
    assert record.failure is not None, "nothing to shrink"
    search = _Search(record, tries, play)
    search.keep(lambda parts: replace(search.best.schedule, deeds=tuple(parts)), search.best.schedule.deeds)
    for process, threads in enumerate(search.best.schedule.jobs):
        search.keep(lambda parts, at=process: _with_threads(search.best.schedule, at, parts), threads)
        for thread in range(len(search.best.schedule.jobs[process])):
            jobs = search.best.schedule.jobs[process][thread]
            search.keep(lambda parts, at=(process, thread): _with_jobs(search.best.schedule, at, parts), jobs)
    faults = list(search.best.faults.items())
    search.keep(lambda parts: replace(search.best.schedule, faults=dict(parts)), faults)
    search.keep(lambda parts: replace(search.best.schedule, deeds=tuple(parts)), search.best.schedule.deeds)
    return search.best


class _Search:
    def __init__(self, record: Any, tries: int, play: Callable[[Any], Any]) -> None:
        self.best = record
        self._play = play
        self._law = record.failure.law if record.failure else ""
        self._tries = tries
        # From here on every fate is given: removing one changes no other.
        self._try(replace(record.schedule, faults=dict(record.faults)))

    def keep(self, build: Callable[[Sequence[Part]], Any], parts: Sequence[Part]) -> None:
        """Remove as many of these parts as possible."""
        size = len(parts)
        kept = list(parts)
        while size >= 1:
            at = 0
            while at < len(kept):
                fewer = kept[:at] + kept[at + size :]
                if self._try(build(fewer)):
                    kept = fewer
                else:
                    at += size
            size //= 2

    def _try(self, schedule: Any) -> bool:
        if self._tries <= 0:
            return False
        self._tries -= 1
        record = self._play(schedule)
        if record.failure is None or record.failure.law != self._law:
            return False
        self.best = record
        return True


def _with_threads(schedule: Any, process: int, threads: Sequence[Any]) -> Any:
    jobs = list(schedule.jobs)
    jobs[process] = tuple(threads)
    return replace(schedule, jobs=tuple(jobs))


def _with_jobs(schedule: Any, at: tuple[int, int], kept: Sequence[Any]) -> Any:
    process, thread = at
    threads = list(schedule.jobs[process])
    threads[thread] = tuple(kept)
    return _with_threads(schedule, process, threads)
