"""The command behind `scripts/simulate`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter

from tests.simulation.exploring import KINDS, Tally, explore_on_all_cores
from tests.simulation.shrinking import shrink
from tests.simulation.timeline import timeline

SHOWN = 5
"""Failures printed at the end; the rest are counted."""


def main() -> int:
    """Play, and print the result; returns 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="scripts/simulate")
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=int)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--ordered", action="store_true")
    options = parser.parse_args()
    kind = "rates" if options.rates else "ordered" if options.ordered else "leases"
    if options.replay is not None:
        return _replay(options.replay, kind, whole=options.whole)
    return _explore(options.seed, options.schedules, options.workers, kind)


def _replay(seed: int, kind: str, *, whole: bool) -> int:
    play = KINDS[kind].play
    record = play(KINDS[kind].schedule_for(seed))
    if record.failure is not None and not whole:
        before = len(record.faults) + len(record.schedule.deeds)
        record = shrink(record, play=play)
        after = len(record.faults) + len(record.schedule.deeds)
        print(f"shrunk from {before} faults and mishaps to {after}\n")
    print(timeline(record, play=play))
    return 0 if record.failure is None else 1


def _explore(first: int, count: int, workers: int | None, kind: str) -> int:
    bar = _Bar(count)
    total = Tally(kind)
    began = time.monotonic()
    for tally in explore_on_all_cores(first, count, workers=workers, kind=kind):
        total.merge(tally)
        bar.show(total, time.monotonic() - began)
    seconds = time.monotonic() - began
    bar.end()
    print(
        f"seeds {first} to {first + count - 1}: {total.schedules} schedules in {seconds:.0f} s, {total.schedules / seconds:.0f} a second"
    )
    print("  " + ", ".join(f"{total.sums[name]:,} {name.replace('_', '-')}" for name in KINDS[kind].counted))
    print("  faults:   " + _counts(total.faults))
    print("  mishaps:  " + _counts(total.deeds))
    for seed, failure in sorted(total.failures, key=lambda pair: pair[0])[:SHOWN]:
        print(
            f"  FAILED: seed {seed} at {failure.at:.3f} s: {failure.what}\n          scripts/simulate {'' if kind == 'leases' else f'--{kind} '}--replay {seed}"
        )
    print(f"{len(total.failures)} violations" if total.failures else "no violation")
    return 1 if total.failures else 0


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common())


class _Bar:
    """A progress bar on a terminal; a line now and then elsewhere."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._live = sys.stderr.isatty()
        self._next = 0.1

    def show(self, tally: Tally, seconds: float) -> None:
        """Show the progress."""
        part = tally.schedules / self._count
        rate = tally.schedules / max(seconds, 1e-9)
        left = (self._count - tally.schedules) / rate
        text = (
            f"{tally.schedules:,} of {self._count:,}  {rate:.0f}/s  {left:.0f} s left  {len(tally.failures)} violations"
        )
        if self._live:
            width = max(10, min(40, shutil.get_terminal_size().columns - len(text) - 5))
            done = round(part * width)
            print(f"\r[{'#' * done}{'.' * (width - done)}] {text} ", end="", file=sys.stderr, flush=True)
        elif part >= self._next:
            self._next = part + 0.1
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line."""
        if self._live:
            print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
