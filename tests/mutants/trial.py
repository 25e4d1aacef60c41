"""Trials: some tests against one mutant, in a copy of the repository.

Invariants: a trial that cannot fail proves nothing. So the tests must pass without the mutant, they must import the
copy and not an installed package, and a copy that cannot be imported is no trial.
"""

from __future__ import annotations

import contextlib
import enum
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.mutants.mutant import ROOT, Mutant

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS = 300.0
"""Longest time that a trial may take; a mutant that hangs counts as noticed."""

_NOT_COPIED = (".git", ".venv*", ".dynoxide*", ".mutation-sample", ".hypothesis", ".*_cache", "site", "*-pytest-*")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)

ROOT_TESTS = tuple(
    f"tests/{path.name}"
    for path in sorted((ROOT / "tests").glob("test_*.py"))
    if path.name not in {"test_mutants.py", "test_simulation.py", "test_benchmarks.py"}
)

STAGES: tuple[tuple[str, ...], ...] = (
    ("tests/protocol", "tests/state", "tests/dynamodb/test_answers.py"),
    ("tests/dynamodb", "tests/operations", "tests/runtime", *ROOT_TESTS, "-k", "simulated"),
    ("tests/dynamodb", "tests/operations", "tests/runtime", *ROOT_TESTS, "-k", "not simulated"),
    ("tests/aio", "tests/fuzz", "tests/test_simulation.py"),
    ("tests/cli", "tests/faults", "tests/local"),
)
"""The suite in portions, the quickest first, to search for tests that notice."""


class Verdict(enum.Enum):
    """How a trial ended."""

    NOTICED = "noticed"
    HUNG = "noticed: it hung"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN: no test could be run"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How one trial ended, the tests that failed in it, and pytest's output."""

    verdict: Verdict
    failed: tuple[str, ...]
    output: str

    @property
    def noticed(self) -> bool:
        """Whether the suite notices the mutant."""
        return self.verdict in {Verdict.NOTICED, Verdict.HUNG}


class Copy:
    """A copy of the repository to try mutants in.

    With what Python compiled, as compiling it again would take most of a short trial. A compiled file counts only for the
    source's time and size; a mutant's source is newer, and nothing is compiled for later (`-B`). What pytest compiled
    stays behind, as that names the files of the original.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)

    def try_out(self, mutant: Mutant, tests: Sequence[str], *, most: int = 1, seconds: float = SECONDS) -> Trial:
        """Run these tests against a mutant, until `most` have failed; the module is restored afterwards."""
        mutated = mutant.applied_to(mutant.path(self.root).read_text())
        return self.try_source(mutant.path().relative_to(ROOT), mutated, tests, most=most, seconds=seconds)

    def type_checks(self, path: Path, mutated: str) -> bool:
        """Whether the type checker accepts another text of one file, as `scripts/check` runs it."""
        with self._having(path, mutated):
            line = [sys.executable, "-m", "mypy", "--no-error-summary"]
            done = subprocess.run(line, cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode not in {0, 1} or done.stderr:
            raise RuntimeError(f"the type checker failed: {done.stdout}{done.stderr}")
        return done.returncode == 0

    def try_source(
        self, path: Path, mutated: str, tests: Sequence[str], *, most: int = 1, seconds: float = SECONDS
    ) -> Trial:
        """Run these tests with another text of one file, given by its path in the repository."""
        with self._having(path, mutated):
            return self.run(tests, most=most, seconds=seconds)

    @contextlib.contextmanager
    def _having(self, path: Path, mutated: str) -> Iterator[None]:
        module = self.root / path
        source = module.read_text()
        module.write_text(mutated)
        try:
            yield
        finally:
            module.write_text(source)

    def run(self, tests: Sequence[str], *, most: int = 1, seconds: float | None = None) -> Trial:
        """Run these tests in the copy as it is."""
        quick = ("--assert=plain", "-p", "no:cacheprovider")  # rewriting assertions takes as long as many a trial
        line = [sys.executable, "-B", "-m", "pytest", "-q", "--tb=short", *quick, f"--maxfail={most}"]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DDB_LEASE_"))
        }
        environment |= {"PYTHONPATH": str(self.root), "HYPOTHESIS_PROFILE": "ci", "DDB_LEASE_SCHEDULES": "2000"}
        with subprocess.Popen(
            [*line, *tests],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                return Trial(verdict=Verdict.HUNG, failed=tuple(_FAILED.findall(output)), output=output)
        return Trial(verdict=_verdict(process.returncode), failed=tuple(_FAILED.findall(output)), output=output)


def _verdict(code: int) -> Verdict:
    match code:
        case 0:
            return Verdict.SURVIVED
        case 1:
            return Verdict.NOTICED
        case _:
            return Verdict.BROKEN


def in_copies(
    copies: Sequence[Copy], items: Sequence[Item], job: Callable[[Copy, Item], Result]
) -> Iterator[tuple[Item, Result]]:
    """Do a job for each item, in as many copies at a time as there are; yields the results as they come."""
    done: queue.SimpleQueue[tuple[Item, Result] | BaseException] = queue.SimpleQueue()
    free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    stop = threading.Event()
    for copy in copies:
        free.put(copy)

    def do_one(item: Item) -> None:
        if stop.is_set():
            return
        copy = free.get()
        try:
            done.put((item, job(copy, item)))
        except BaseException as error:
            done.put(error)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        try:
            for item in items:
                pool.submit(do_one, item)
            for _ in items:
                result = done.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            stop.set()


def search(
    copy: Copy, mutant: Mutant, stages: Iterable[Sequence[str]] = STAGES, *, most: int = 4, seconds: float = 3 * SECONDS
) -> tuple[str, ...]:
    """Tests that notice a mutant, from the first stage in which any does.

    A test that also fails without the mutant notices nothing.
    """
    for stage in stages:
        trial = copy.try_out(mutant, stage, most=most, seconds=seconds)
        if trial.noticed:
            sound = [test for test in trial.failed if copy.run([test]).verdict is Verdict.SURVIVED]
            if sound or trial.verdict is Verdict.HUNG:
                return tuple(sound) or (f"(hung in {' '.join(stage)})",)
        if trial.verdict is Verdict.BROKEN:
            return (f"(broken: {trial.output[-500:]})",)
    return ()
