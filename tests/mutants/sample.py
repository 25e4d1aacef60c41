"""What `scripts/mutation-sample` runs in its environment: changes drawn at random from all of the code.

Invariants:

- mutmut's operators make the changes. Its runner is not used: it runs the same tests for every module, and leaves out
  constants. A place is drawn first, and then one of the changes that are possible there, so that places where many
  are possible count no more than others.
- A change counts as noticed only if the test that fails does so twice, and passes without it; or if the type checker,
  which the gate runs as well, refuses it.
- A sample that was interrupted goes on where it was, if neither code nor tests have changed since.
- Log lines, and the words of errors and of the command line's help, are for people, and types are for the type checker:
  they are not changed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import libcst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

from tests.mutants.mirror import API_TESTS
from tests.mutants.mutant import PACKAGE, ROOT
from tests.mutants.portions import portions
from tests.mutants.progress import Progress
from tests.mutants.reach import Reach, measure
from tests.mutants.trial import ROOT_TESTS, Copy, Trial, Verdict, in_copies

SEED = 2031
COUNT = 200

LONGEST_SECONDS = 1_800.0
"""Longest time for one change. Each test has its own limit, which is much shorter: a test that hangs fails."""

_FAILURES = 2
"""So many failures end a trial. The first may be of a test that load broke."""

_IN_ONE_PROCESS = "not ministack and not dynoxide and not embedded"
"""On the simulator's DynamoDB, which shares the tests' process."""

_OTHERS = (
    *("tests/protocol", "tests/state", "tests/dynamodb", "tests/runtime"),
    *(test for test in ROOT_TESTS if test not in API_TESTS),
)
"""The tests of the layers below the operations, and of what is not the core of the API: what of them runs a line is seen,
as it is of the API's."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change: where it is, and the module's text with it."""

    path: Path
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    def diff(self) -> str:
        """The change as a diff without context."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=0, lineterm="")
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def main() -> int:
    """Draw a sample, try it, and list what survives; 1 if anything does."""
    parser = argparse.ArgumentParser(prog="scripts/mutation-sample")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))  # tests wait, too
    options = parser.parse_args()
    changes = sample(options.words, seed=options.seed, count=options.count)
    if not changes:
        print("no such module", file=sys.stderr)
        return 2
    if options.list:
        for change in changes:
            print(f"{change}\n{change.diff()}")
        return 0
    progress = Progress("-".join([str(options.seed), str(options.count), *options.words]).replace("/", "_"))
    folder = progress.copies()
    try:
        copies = [Copy(folder / str(n)) for n in range(max(1, options.workers))]
        print("first, which tests run which lines ...", flush=True)
        reach = _measure(copies, progress.folder)
        return _try_all(copies, changes, reach, progress, seed=options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sample(words: Sequence[str], *, seed: int, count: int) -> list[Change]:
    """So many changes, or as many as there are places, of modules whose path has all of these words."""
    modules = [path for path in sorted((ROOT / PACKAGE).rglob("*.py")) if all(word in str(path) for word in words)]
    places = [(path, place) for path in modules for place in _places(path)]
    chance = Random(seed)
    chance.shuffle(places)
    drawn: list[Change] = []
    for path, (module, line, mutations) in places:
        if len(drawn) == count:
            break
        mutation = chance.choice(mutations)
        before, after = module.code, _with(module, mutation)
        if _is_code(after) and ast.dump(ast.parse(before)) != ast.dump(ast.parse(after)):
            drawn.append(Change(path=path.relative_to(ROOT), line=line, before=before, after=after))
    return drawn


def _places(path: Path) -> Iterator[tuple[libcst.Module, int, list[Mutation]]]:
    """Each place of a module where something can be changed: its line, and what can be."""
    source = path.read_text()
    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()))
    module = MetadataWrapper(libcst.parse_module(source)).visit(visitor)
    positions = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    texts, left_alone = _not_changed(source)
    found: dict[int, list[Mutation]] = {}
    for mutation in visitor.mutations:
        found.setdefault(id(mutation.original_node), []).append(mutation)
    for mutations in found.values():
        node = mutations[0].original_node
        line = positions[node].start.line
        if line not in left_alone and not (line in texts and isinstance(node, libcst.BaseString)):
            yield module, line, mutations


def _not_changed(source: str) -> tuple[set[int], set[int]]:
    """The lines of errors' words and of help, where no string is changed; and of log calls and types, where nothing is."""
    texts: set[int] = set()
    left_alone: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case (
                ast.Raise()
                | ast.keyword(arg="help" | "description" | "epilog" | "usage" | "metavar" | "format")
                | ast.Call(func=ast.Attribute(attr="add_bucket_command"))
            ):
                texts.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            case (
                ast.Call(func=ast.Attribute(value=ast.Name(id="_log")))
                | ast.AnnAssign(annotation=ast.Name(id="TypeAlias"))
            ):
                left_alone.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            case _:
                pass
    return texts, left_alone


def _with(module: libcst.Module, mutation: Mutation) -> str:
    changed = module.deep_replace(mutation.original_node, mutation.mutated_node)
    assert isinstance(changed, libcst.Module)
    return changed.code


def _is_code(source: str) -> bool:
    try:
        compile(source, "changed", "exec")
    except SyntaxError:
        return False
    return True


def _measure(copies: Sequence[Copy], folder: Path) -> Reach:
    """Which tests run which lines, those of the API and the others; in two copies at once, if there are two."""

    def one(copy: Copy, tests: Sequence[str]) -> Reach:
        return measure(copy.root, folder / tests[0].replace("/", "-"), [*tests, "-k", _IN_ONE_PROCESS])

    first, second = (reach for _, reach in in_copies(copies[:2], [API_TESTS, _OTHERS], one))
    return first.joined(second)


def try_one(copy: Copy, change: Change, reach: Reach) -> Trial:
    """A change on its module's tests and on those of the API, in portions, until a test notices it; then on its types."""
    output = "no test runs the line"
    for tests in portions(change.path, change.line, reach):
        trial = _try_on(copy, change, tests, reach) if tests else None
        if trial is not None and trial.verdict is not Verdict.SURVIVED:
            return trial
        output = trial.output if trial is not None else output
    if copy.type_checks(change.path, change.after):
        return Trial(verdict=Verdict.SURVIVED, failed=(), output=output)
    return Trial(verdict=Verdict.NOTICED, failed=("the type checker",), output=output)


def _try_on(copy: Copy, change: Change, tests: Sequence[str], reach: Reach) -> Trial:
    """A change on some tests, until one notices it."""
    trial = copy.try_source(
        change.path, change.after, [*tests, "--timeout", "120"], most=_FAILURES, seconds=LONGEST_SECONDS
    )
    if trial.verdict is not Verdict.NOTICED or not trial.failed:
        return trial  # none has failed; or it hung, or nothing could even be imported
    failed = next((test for test in trial.failed if _notices(copy, change, test, reach)), None)
    if failed is None:
        return replace(trial, verdict=Verdict.SURVIVED, failed=())
    return replace(trial, failed=(failed,))


def _notices(copy: Copy, change: Change, test: str, reach: Reach) -> bool:
    """Whether a test that failed fails again with the change, and passes without: else it is load that broke it."""
    if copy.try_source(change.path, change.after, [test]).verdict is Verdict.SURVIVED:  # not even imported: noticed
        return False
    return reach.passed(test) or copy.run([test]).verdict is Verdict.SURVIVED


@dataclass
class _Tally:
    """Tells of each change that was tried, and counts."""

    of: int
    tried: int = 0
    survivors: int = 0

    def tell(self, change: Change, verdict: str, by: str) -> None:
        self.tried += 1
        print(f"{self.tried:>4} of {self.of}  {verdict:<9} {change}  {by}", flush=True)
        if verdict == Verdict.SURVIVED.value:
            self.survivors += 1
            print(change.diff(), flush=True)

    def __str__(self) -> str:
        noticed = self.tried - self.survivors
        return f"{noticed} of {self.tried} noticed ({noticed / self.tried:.0%})" if self.tried else "none tried"


def _try_all(copies: Sequence[Copy], changes: Sequence[Change], reach: Reach, progress: Progress, *, seed: int) -> int:
    tally, before = _Tally(of=len(changes)), progress.results()
    for place, told in before.items():
        tally.tell(changes[place], told["verdict"], told["by"])

    def try_at(copy: Copy, place: int) -> Trial:
        return try_one(copy, changes[place], reach)

    try:
        for place, trial in in_copies(copies, [n for n in range(len(changes)) if n not in before], try_at):
            verdict = "noticed: nothing could be run" if trial.verdict is Verdict.BROKEN else trial.verdict.value
            by = trial.failed[0] if trial.failed else ""
            progress.note(place, verdict=verdict, by=by)
            tally.tell(changes[place], verdict, by)
    finally:  # also of a sample that somebody interrupts: those under trial then are the slow ones, and not counted
        print(f"seed {seed}: {tally}", flush=True)
    return 1 if tally.survivors else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
