"""The table of guards is true: each stands where it says, and names tests that are there. `scripts/mutants` does the rest."""

import ast
import functools
from pathlib import Path

import pytest

from tests.guards.document import DOCUMENT, document
from tests.guards.guard import ROOT, Guard
from tests.guards.table import CHAPTERS
from tests.guards.trial import Bench, Verdict, search

GUARDS = [guard for chapter in CHAPTERS for guard in chapter.guards]
AN_EXAMPLE = next(guard for guard in GUARDS if guard.name == "a claim takes no running lease")


@functools.cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_every_guard_stands_once_where_it_says_and_what_is_left_without_it_is_code(guard):
    source = guard.path().read_text()
    without = guard.taken_out_of(source)
    assert without != source
    compile(without, guard.room, "exec")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_every_guard_names_tests_that_are_there(guard):
    assert guard.noticed_by
    for test in guard.noticed_by:
        path, _, function = test.partition("::")
        assert function in functions(ROOT / path)


def test_no_two_guards_have_one_name_or_take_the_same_thing_out():
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
    assert len({guard.taken_out_of(guard.path().read_text()) for guard in GUARDS}) == len(GUARDS)


def test_the_page_in_the_docs_is_the_table():
    assert DOCUMENT.read_text() == document(), "scripts/mutants --table writes it anew"


def test_a_guard_that_has_moved_away_is_told():
    with pytest.raises(ValueError, match="2 times"):
        Guard(name="twice", room="clock.py", code="x", without="").taken_out_of("x = x")


def test_a_missing_guard_is_noticed_by_the_test_it_names_and_by_no_other(tmp_path):
    bench = Bench(tmp_path)
    tests = [*AN_EXAMPLE.noticed_by, "-k", "simulated"]
    assert bench.run(tests).verdict is Verdict.SURVIVED
    trial = bench.without(AN_EXAMPLE, tests)
    assert trial.verdict is Verdict.NOTICED
    assert trial.failed
    assert bench.without(AN_EXAMPLE, ["tests/test_smoke.py", "-k", "embedded"]).verdict is Verdict.SURVIVED
    assert bench.run(tests).verdict is Verdict.SURVIVED  # it stands again


def test_code_that_cannot_even_be_imported_proves_nothing(tmp_path):
    broken = Guard(name="broken", room="model.py", code="SCHEMA = 1\n", without="SCHEMA = nothing\n")
    trial = Bench(tmp_path).without(broken, ["tests/protocol/test_decisions.py"])
    assert trial.verdict is Verdict.BROKEN
    assert not trial.noticed


def test_what_hangs_without_a_guard_is_noticed(tmp_path):
    endless = Guard(
        name="endless",
        room="protocol.py",
        code="    return max(1, -(-max_tokens // WINDOW))",
        without="    while True:\n        pass",
    )
    trial = Bench(tmp_path).without(
        endless, ["tests/protocol/test_decisions.py", "-k", "seen_once_in_so_many"], seconds=15
    )
    assert trial.verdict is Verdict.HUNG
    assert trial.noticed


def test_a_test_that_fails_with_the_guard_in_place_too_is_not_taken_for_one_that_notices(tmp_path):
    bench = Bench(tmp_path)
    (tmp_path / "tests" / "test_broken.py").write_text("def test_of_nothing():\n    assert False\n")
    stages = [["tests/test_broken.py"], [*AN_EXAMPLE.noticed_by, "-k", "simulated"]]
    found = search(bench, AN_EXAMPLE, stages, most=1)
    assert found
    assert all(AN_EXAMPLE.noticed_by[0] in test for test in found)
