"""Which tests run which lines, so that a change is tried on the tests that can notice it, the quickest first.

Invariants:

- It never leaves out a test that runs the changed line. A line outside of functions runs at import. What depends on it is
  seen where it gives a name a value, or is a function's header: the tests that run a line with that name, or the function,
  count. Of any other such line, all tests do.
  What a fixture of a module or a session runs counts for each test of the module, or of all. What other processes run is
  not seen, so tests that start processes always count, as the last.
- The tests are run once without any change, to see that; a change of the code or the tests makes it void.
- It says nothing of tests that this run left out: it only lists them.

`Recorder` is the pytest plugin of that run: coverage files each line under the context in force, which is the test.
"""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest

_EVERY_TEST = "*"
_STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.forkpty"}
_FOLDER = "DDB_LEASE_REACH"
"""The environment variable that says where the recorder writes."""


class Recorder:
    """Says which test runs, and notes how long it took and whether it started or asked another process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._now = _EVERY_TEST
        self._seconds: dict[str, float] = {}
        self._elsewhere: set[str] = set()
        self._left_out: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        to_a_file = event == "socket.connect" and isinstance(arguments[1], str | bytes)
        to_a_warm_process = event == "socket.sendmsg" and arguments[0].family == socket.AF_UNIX
        if event in _STARTS_A_PROCESS or to_a_file or to_a_warm_process:
            self._elsewhere.add(self._now)

    def _switch(self, context: str) -> None:
        self._now = context
        running = coverage.Coverage.current()
        assert running is not None, "to be run under coverage"
        running.switch_context(context)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._switch(item.nodeid)
        try:
            return (yield)
        finally:
            self._switch(_EVERY_TEST)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        before = self._now
        match fixturedef.scope:
            case "function":
                pass
            case "module" | "class":
                self._switch(request.node.nodeid.partition("::")[0])
            case _:
                self._switch(_EVERY_TEST)
        try:
            return (yield)
        finally:
            self._switch(before)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._left_out += [item.nodeid for item in items]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:  # what it would have run after that is not known
            self._elsewhere.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        told = {
            "root": str(Path.cwd()),
            "seconds": self._seconds,
            "elsewhere": sorted(self._elsewhere),
            "left_out": self._left_out,
        }
        (self._folder / "tests.json").write_text(json.dumps(told))


def pytest_configure(config: pytest.Config) -> None:
    """As pytest calls it where this module is named as a plugin."""
    config.pluginmanager.register(Recorder(Path(os.environ[_FOLDER])))


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The tests that ran, and what is known of each line.

    Attributes:
        root: The repository, or the copy of it, whose files `lines` names.
        modules: Its modules as they were, by their paths in the repository.
        seconds: How long each test took.
        elsewhere: Tests that started processes, or failed; or files whose fixtures started some, or `*` for all of them.
        left_out: Tests that were there, and not chosen.
        lines: Which tests ran each line.
    """

    root: Path
    modules: Mapping[Path, ast.Module]
    seconds: Mapping[str, float]
    elsewhere: frozenset[str]
    left_out: tuple[str, ...]
    lines: coverage.CoverageData

    def seen_at(self, path: Path, line: int) -> list[str]:
        """The tests that run this line of a file, given by its path in the repository: the quickest first."""
        spans = depending_on(self.modules, path, line)
        if spans is None:
            return self._in_order({_EVERY_TEST})
        found: set[str] = set()
        for file in {file for file, _ in spans}:
            contexts = self.lines.contexts_by_lineno(str(self.root / file))
            numbers = {number for of, span in spans if of == file for number in span}
            found |= {context or _EVERY_TEST for number in numbers for context in contexts.get(number, ())}
        return self._in_order(found)

    def unseen(self) -> list[str]:
        """The tests that may run any line, as they start processes: the quickest first."""
        return sorted(
            (test for test in self.seconds if self._counts_in(test, self.elsewhere)), key=self.seconds.__getitem__
        )

    def passed(self, test: str) -> bool:
        """Whether this test is known to pass without any change."""
        return test in self.seconds and test not in self.elsewhere

    def joined(self, other: Reach) -> Reach:
        """This, and what other tests ran in another copy of the same code."""
        lines = coverage.CoverageData(no_disk=True)
        lines.update(self.lines)
        lines.update(other.lines, map_path=lambda name: name.replace(str(other.root), str(self.root), 1))
        return Reach(
            root=self.root,
            modules=self.modules,
            seconds={**self.seconds, **other.seconds},
            elsewhere=self.elsewhere | other.elsewhere,
            left_out=(*self.left_out, *other.left_out),
            lines=lines,
        )

    def _in_order(self, contexts: set[str]) -> list[str]:
        seen = (test for test in self.seconds if self._counts_in(test, contexts))
        return sorted(
            (test for test in seen if not self._counts_in(test, self.elsewhere)), key=self.seconds.__getitem__
        )

    @staticmethod
    def _counts_in(test: str, contexts: Collection[str]) -> bool:
        return any(context in contexts for context in (test, test.partition("::")[0], _EVERY_TEST))


def measure(root: Path, folder: Path, tests: Sequence[str]) -> Reach:
    """Run these tests in a copy of the repository, and read what they ran.

    Args:
        root: The copy.
        folder: Where that is written; what is there already is read, and nothing is run.
        tests: The tests, as pytest's arguments.
    """
    folder.mkdir(exist_ok=True)
    done = folder / "done"
    if not done.exists():
        _run(root, folder, tests)
        done.touch()
    told = json.loads((folder / "tests.json").read_text())
    lines = coverage.CoverageData(str(folder / "lines"))
    lines.read()
    return Reach(
        root=Path(told["root"]),
        modules={path.relative_to(root): ast.parse(path.read_text()) for path in (root / "ddb_lease").rglob("*.py")},
        seconds=told["seconds"],
        elsewhere=frozenset(told["elsewhere"]),
        left_out=tuple(told["left_out"]),
        lines=lines,
    )


def _run(root: Path, folder: Path, tests: Sequence[str]) -> None:
    settings = folder / "coverage.ini"
    settings.write_text(f"[run]\nsource = {root / 'ddb_lease'}\ndata_file = {folder / 'lines'}\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DDB_LEASE_"))}
    own = {"PYTHONPATH": str(root), "HYPOTHESIS_PROFILE": "ci", "DDB_LEASE_SCHEDULES": "2000", _FOLDER: str(folder)}
    quiet = ("-q", "--tb=short", "-p", "no:cacheprovider")
    run = subprocess.run(
        [
            *(sys.executable, "-B", "-m", "coverage", "run", f"--rcfile={settings}"),
            *("-m", "pytest", *quiet, "-p", "tests.mutants.reach", "--timeout", "0", *tests),
        ],
        cwd=root,
        env=kept | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode not in {0, 1}:  # a test may fail, as coverage slows it down
        raise RuntimeError(f"the tests could not be run:\n{run.stdout[-2_000:]}")


def depending_on(modules: Mapping[Path, ast.Module], path: Path, line: int) -> set[tuple[Path, range]] | None:
    """The spans of lines in functions whose run depends on a line; None if any may."""
    span = statement_around(modules[path], line)
    if span is not None:
        return {(path, span)}
    for node in ast.walk(modules[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.lineno <= line < node.body[0].lineno:
            return {(path, range(node.body[0].lineno, (node.end_lineno or line) + 1))}
    found: set[tuple[Path, range]] = set()
    names = _names_at(modules[path], line)
    known: set[str] = set()
    while names:
        known |= names
        more: set[str] = set()
        for file, tree in modules.items():
            for use in _uses(tree, names):
                around = statement_around(tree, use)
                given = _names_at(tree, use)
                if around is not None:
                    found.add((file, around))
                elif given:
                    more |= given
                else:  # in a class, a decorator or the like
                    return None
        names = more - known
    return found if known else None


def _names_at(tree: ast.Module, line: int) -> set[str]:
    """The names to which the module's own statement around this line gives a value; or that it imports."""
    for node in tree.body:
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            match node:
                case ast.Assign(targets=targets):
                    return {target.id for target in targets if isinstance(target, ast.Name)}
                case ast.AnnAssign(target=ast.Name(id=name)):
                    return {name}
                case ast.ImportFrom(names=names):
                    return {name.asname or name.name for name in names}
                case _:
                    return set()
    return set()


def _uses(tree: ast.Module, names: set[str]) -> Iterator[int]:
    """The lines of a module in which one of these names is read."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name) if name in names:
                yield node.lineno
            case ast.ImportFrom(names=imported) if any(each.name in names and each.asname for each in imported):
                yield node.lineno
            case _:
                pass


def statement_around(tree: ast.Module, line: int) -> range | None:
    """The lines of the innermost statement around this one, without the blocks in it; None outside of functions."""
    best: range | None = None
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in (node for statement in function.body for node in ast.walk(statement)):
            if not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
                continue
            span = _without_blocks(node)
            if line in span and (best is None or len(span) <= len(best)):
                best = span
    return best


def _without_blocks(node: ast.stmt | ast.ExceptHandler | ast.match_case) -> range:
    first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
    body: list[ast.stmt] = getattr(node, "body", None) or []
    cases: list[ast.match_case] = getattr(node, "cases", None) or []
    inner = [statement.lineno for statement in body] + [case.pattern.lineno for case in cases]
    last = min(inner) - 1 if inner else getattr(node, "end_lineno", None) or first
    return range(first, max(first, last) + 1)
