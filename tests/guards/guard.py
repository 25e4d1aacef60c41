"""What a guard is, and how it is taken out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ddb_lease"


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One guard.

    Attributes:
        name: What it guarantees, in a few words; unique.
        room: Its file, below the package.
        code: The text that carries it, which occurs there once.
        without: What stands there once it is gone.
        noticed_by: Tests of which at least one fails without it, as pytest takes them.
    """

    name: str
    room: str
    code: str
    without: str
    noticed_by: tuple[str, ...] = ()

    def taken_out_of(self, source: str) -> str:
        """The room's source without this guard.

        Raises:
            ValueError: Its text does not stand there exactly once: the table is out of date.
        """
        found = source.count(self.code)
        if found != 1:
            raise ValueError(f"{self.room}: {self.name!r}: its text stands there {found} times, not once")
        return source.replace(self.code, self.without)

    def path(self, root: Path = ROOT) -> Path:
        """Where its room is in a copy of the repository."""
        return root / PACKAGE / self.room


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """Guards that belong together."""

    title: str
    guards: tuple[Guard, ...]
