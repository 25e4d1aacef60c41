"""The referee: judges holders by their own log. Shares no code with the library.

Each holder appends a line whenever it finds that it holds: the machine's one steady clock, job, process, slot, fence.
A span is what one process noted for one slot and fence: from its first line to its last it did hold, by its own word.
"""

import json
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

QUIET = 0.5
"""Seconds without a note after which a holder is shown as gone (for display only; verdicts use the notes alone)."""


def now() -> float:
    """The machine's one steady clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC)


def note(path: str | Path, **fields: int | str) -> None:
    """Append one line; a short write to a file opened for appending is never torn."""
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

    @property
    def alive(self) -> bool:
        """Whether it has just been heard of."""
        return now() - self.last < QUIET


class Log:
    """The holders' notes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def spans(self) -> list[Span]:
        """All spans, by their first note."""
        found: dict[tuple[int, int, int], Span] = {}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            beat = json.loads(line)
            key = (beat["pid"], beat["slot"], beat["fence"])
            span = found.setdefault(
                key, Span(beat["job"], beat["slot"], beat["fence"], first=beat["at"], last=beat["at"])
            )
            span.last = max(span.last, beat["at"])
        return sorted(found.values(), key=lambda span: span.first)

    def most_at_once(self) -> int:
        """The largest number of spans that ran at one instant."""
        spans = self.spans()
        return max((sum(s.first <= at.first <= s.last for s in spans) for at in spans), default=0)

    def overlaps(self) -> list[tuple[Span, Span]]:
        """Pairs of spans that held one slot at one instant."""
        return [(a, b) for a, b in self._neighbours() if b.first <= a.last]

    def fences_rise(self) -> bool:
        """Whether every later holder of a slot had a higher fence."""
        return all(a.fence < b.fence for a, b in self._neighbours())

    def _neighbours(self) -> list[tuple[Span, Span]]:
        spans = self.spans()
        slots = {span.slot for span in spans}
        return [pair for slot in slots for pair in pairwise([s for s in spans if s.slot == slot])]
