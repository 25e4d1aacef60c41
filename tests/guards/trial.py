"""Trials: the suite without one guard, in a copy of the repository.

Invariants: a trial that cannot fail proves nothing. So the named tests must pass with all guards in place, they
must run on the copy and not on anything installed, and a copy that cannot be imported is no trial.
"""

from __future__ import annotations

import enum
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guards.guard import ROOT, Guard

SECONDS = 300.0
"""Longest time that a trial may take; what hangs without a guard is noticed, too."""

_COPIED = ("ddb_lease", "tests", "scripts", "docs", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml")
_UNIT = ("test_protocol", "test_belief", "test_clock", "test_retry", "test_memory", "test_heartbeat", "test_driver")
_OPERATIONS = "slot circulation copies recovery bucket errors"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)

STAGES: tuple[tuple[str, ...], ...] = (
    (*(f"tests/{name}.py" for name in _UNIT), "tests/dynamodb/test_answers.py", "-k", "not embedded"),
    ("tests", "-k", "simulated"),
    (
        "tests",
        "--ignore=tests/cli",
        "--ignore=tests/faults",
        "--ignore=tests/model",
        "--ignore=tests/test_simulation.py",
        "--ignore=tests/local",
        "-k",
        "not simulated",
    ),
    ("tests/test_simulation.py", "tests/faults", "tests/cli"),
)
"""The suite in portions, the quickest first, to look for tests that notice."""


class Verdict(enum.Enum):
    """What came of a trial."""

    NOTICED = "noticed"
    HUNG = "noticed: it hung"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN: no test could be run"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial's outcome, with the tests that failed in it."""

    verdict: Verdict
    failed: tuple[str, ...]
    told: str

    @property
    def noticed(self) -> bool:
        """Whether the suite misses the guard."""
        return self.verdict in {Verdict.NOTICED, Verdict.HUNG}


class Bench:
    """A copy of the repository to try things on."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, folder / name)

    def without(self, guard: Guard, tests: Sequence[str], *, most: int = 1, seconds: float = SECONDS) -> Trial:
        """Run these tests without a guard, until so many have failed; all guards stand again afterwards."""
        room = guard.path(self._root)
        source = room.read_text()
        room.write_text(guard.taken_out_of(source))
        try:
            return self.run(tests, most=most, seconds=seconds)
        finally:
            room.write_text(source)

    def run(self, tests: Sequence[str], *, most: int = 1, seconds: float | None = None) -> Trial:
        """Run these tests as the copy stands."""
        line = [sys.executable, "-B", "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", f"--maxfail={most}"]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DDB_LEASE_"))
        }
        environment |= {"PYTHONPATH": str(self._root), "HYPOTHESIS_PROFILE": "ci", "DDB_LEASE_SCHEDULES": "2000"}
        with subprocess.Popen(
            [*line, *tests],
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                told, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                told, _ = process.communicate()
                return Trial(verdict=Verdict.HUNG, failed=tuple(_FAILED.findall(told)), told=told)
        return Trial(verdict=_verdict(process.returncode), failed=tuple(_FAILED.findall(told)), told=told)


def _verdict(code: int) -> Verdict:
    match code:
        case 0:
            return Verdict.SURVIVED
        case 1:
            return Verdict.NOTICED
        case _:
            return Verdict.BROKEN


def search(
    bench: Bench, guard: Guard, stages: Iterable[Sequence[str]] = STAGES, *, most: int = 4, seconds: float = 3 * SECONDS
) -> tuple[str, ...]:
    """Tests that notice that a guard is missing, from the first stage in which any does.

    One that fails with all guards in place as well notices nothing.
    """
    for environment in stages:
        trial = bench.without(guard, environment, most=most, seconds=seconds)
        if trial.noticed:
            whole = [test for test in trial.failed if bench.run([test]).verdict is Verdict.SURVIVED]
            if whole or trial.verdict is Verdict.HUNG:
                return tuple(whole) or (f"(hung in {' '.join(environment)})",)
        if trial.verdict is Verdict.BROKEN:
            return (f"(broken: {trial.told[-500:]})",)
    return ()
