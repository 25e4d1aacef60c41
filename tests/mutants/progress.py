"""What a random sample goes on from when it was interrupted: which tests run which lines, and what was tried.

Invariants: it counts for the code and the tests as they are. After any change of them, a sample begins anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Final

from tests.mutants.mutant import ROOT

FOLDER: Final = ROOT / ".mutation-sample"
"""Not of the repository."""

_COUNTS: Final = ("ddb_lease", "tests", "scripts/harness")


class Progress:
    """One sample, kept in a folder.

    Args:
        sample: Which sample: its seed, its size, its words.
        root: The repository.
        folder: Where all samples are kept.
    """

    def __init__(self, sample: str, *, root: Path = ROOT, folder: Path = FOLDER) -> None:
        code = _digest(root)
        for other in folder.glob("*"):
            if other.name != code:
                shutil.rmtree(other)
        self.folder = folder / code
        self.folder.mkdir(parents=True, exist_ok=True)
        self._results = self.folder / f"{sample}.jsonl"

    def copies(self) -> Path:
        """A folder for the copies; those that an interrupted run left are gone."""
        copies = self.folder / "copies"
        shutil.rmtree(copies, ignore_errors=True)
        copies.mkdir()
        return copies

    def results(self) -> dict[int, dict[str, str]]:
        """What was found of the changes that were tried, by their places in the sample."""
        if not self._results.exists():
            return {}
        told = (json.loads(line) for line in self._results.read_text().splitlines())
        return {each.pop("place"): each for each in told}

    def note(self, place: int, *, verdict: str, by: str) -> None:
        """A change was tried."""
        with self._results.open("a") as file:
            print(json.dumps({"place": place, "verdict": verdict, "by": by}), file=file)


def _digest(root: Path) -> str:
    found = hashlib.sha256()
    for part in _COUNTS:
        for path in sorted((root / part).rglob("*.py")):
            found.update(f"{path.relative_to(root)}\n".encode())
            found.update(path.read_bytes())
    return found.hexdigest()[:16]
