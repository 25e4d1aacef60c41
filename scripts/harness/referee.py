"""The referee: judges holders by their own log. It shares no code with the library.

A holder appends a line whenever it finds that it holds: time on the machine's one steady clock, job, process, slot,
fence. A span is all that one job noted for one slot and fence: by its own account it held from the first line to the
last. A holder reads the clock first, then asks its lease, then notes that time. So it claims nothing that it did not
know: a lease that is held when asked was held at the time read before.
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

QUIET = 0.5
"""Seconds without a note after which a holder is shown as gone (for display only; verdicts use the notes alone)."""


def now() -> float:
    """The machine's one steady clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC)


def note(path: str | Path, **fields: float | str) -> None:
    """Append one line, of this moment unless `at` says otherwise.

    A short write to a file opened for appending is never torn.
    """
    line = json.dumps({"at": now(), **fields}) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@dataclass
class Span:
    """One holder's time on one slot."""

    job: int
    slot: int
    fence: int
    first: float
    last: float

    def __str__(self) -> str:
        return f"job {self.job} on slot {self.slot} with fence {self.fence} from {self.first:.6f} to {self.last:.6f}"

    @property
    def alive(self) -> bool:
        """Whether there is a recent note."""
        return now() - self.last < QUIET


class Log:
    """The holders' notes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def spans(self) -> list[Span]:
        """All spans, by their first note."""
        found: dict[tuple[int, ...], Span] = {}
        text = self.path.read_text() if self.path.exists() else ""
        for line in text.splitlines():
            beat = json.loads(line)
            # The job too: two threads of one process are two holders, even if a bug gave them the same fence.
            key = (beat["pid"], beat["job"], beat["slot"], beat["fence"])
            span = found.setdefault(
                key, Span(beat["job"], beat["slot"], beat["fence"], first=beat["at"], last=beat["at"])
            )
            span.first = min(span.first, beat["at"])
            span.last = max(span.last, beat["at"])
        return sorted(found.values(), key=lambda span: span.first)

    def most_at_once(self) -> int:
        """The largest number of spans at one instant."""
        return most_at_once(self.spans())

    def overlaps(self) -> list[tuple[Span, Span]]:
        """Pairs of spans that held one slot at the same time."""
        return overlaps(self.spans())

    def fences_rise(self) -> bool:
        """Whether every later holder of a slot had a higher fence."""
        return not inversions(self.spans())

    def complaints(self, tokens: int) -> list[str]:
        """All that is wrong, in words; empty if at most `tokens` held at once and all rules were kept."""
        spans = self.spans()
        most = most_at_once(spans)
        return [
            *([f"{most} held at once, where {tokens} may"] if most > tokens else []),
            *(f"beyond the last slot: {span}" for span in spans if not 0 <= span.slot < tokens),
            *(f"one slot, two holders: {a}, and {b}" for a, b in overlaps(spans)),
            *(f"the fence did not rise: {a}, then {b}" for a, b in inversions(spans)),
        ]


def most_at_once(spans: Iterable[Span]) -> int:
    """The largest number of spans at one instant; a span includes its ends."""
    # At the same instant, beginnings count before ends.
    edges = sorted(edge for span in spans for edge in ((span.first, 0), (span.last, 1)))
    most = running = 0
    for _, ends in edges:
        running += -1 if ends else 1
        most = max(most, running)
    return most


def overlaps(spans: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Spans that held one slot at the same time: each with the one that had held the slot longest."""
    found = []
    for on_slot in _by_slot(spans):
        longest = on_slot[0]
        for span in on_slot[1:]:
            if span.first <= longest.last:
                found.append((longest, span))
            longest = max(longest, span, key=lambda s: s.last)
    return found


def inversions(spans: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Successive spans on one slot whose fence did not rise."""
    return [(a, b) for on_slot in _by_slot(spans) for a, b in pairwise(on_slot) if a.fence >= b.fence]


def _by_slot(spans: Iterable[Span]) -> list[list[Span]]:
    slots: dict[int, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.first):
        slots.setdefault(span.slot, []).append(span)
    return list(slots.values())
