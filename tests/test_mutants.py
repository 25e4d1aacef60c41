"""The table of mutants fits the code: each target exists once, and so do the tests. `scripts/mutants` does the rest."""

import ast
import functools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.document import DOCUMENT, document
from tests.mutants.mirror import API_TESTS, mirrored_tests
from tests.mutants.mutant import PACKAGE, ROOT, Mutant
from tests.mutants.portions import portions
from tests.mutants.progress import Progress
from tests.mutants.reach import Reach, depending_on, measure, statement_around
from tests.mutants.table import CHAPTERS
from tests.mutants.trial import Copy, Verdict, search

MUTANTS = [mutant for chapter in CHAPTERS for mutant in chapter.mutants]
AN_EXAMPLE = next(mutant for mutant in MUTANTS if mutant.name == "a claim never takes a running lease")


@functools.cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@functools.cache
def normal(path: Path) -> str:
    """The code as a mutant that changes nothing would leave it."""
    return ast.unparse(ast.parse(path.read_text())) + "\n"


@functools.cache
def left_by(mutant: Mutant) -> str:
    """The code with the mutant: two tests look at it."""
    return mutant.applied_to(mutant.path().read_text())


def a_mutant(target: str, code: str, without: str, *, module: str = "models.py") -> Mutant:
    return Mutant(name="made up", module=module, target=target, code=code, without=without, noticed_by=())


def mutated(source: str, target: str, code: str, without: str) -> str:
    return a_mutant(target, code, without).applied_to(source)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_fits_the_code_once_and_what_is_left_is_other_code(mutant):
    left = left_by(mutant)
    assert left != normal(mutant.path())
    compile(left, mutant.module, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_a_single_line_and_names_tests_that_are_there(mutant):
    assert "\n" not in mutant.code + mutant.without
    assert mutant.noticed_by
    for test in mutant.noticed_by:
        path, _, function = test.partition("::")
        assert function in functions(ROOT / path)


def test_no_two_mutants_have_one_name_or_leave_the_same_code():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.module, left_by(mutant)) for mutant in MUTANTS}) == len(MUTANTS)


def test_the_page_in_the_docs_is_the_table():
    assert DOCUMENT.read_text() == document(), "scripts/mutants --table writes it anew"


MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / PACKAGE).rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_tests_of_its_own_for_the_random_sample(module):
    tests = mirrored_tests(module)
    assert tests
    assert all((ROOT / test).exists() for test in (*tests, *API_TESTS))


def test_the_tests_of_a_module_are_those_that_mirror_its_path():
    assert mirrored_tests(Path("ddb_lease/_operations/resize.py")) == ("tests/operations/test_resize.py",)
    assert "tests/operations/test_acquire_costs.py" in mirrored_tests(Path("ddb_lease/_operations/acquire.py"))
    assert mirrored_tests(Path("ddb_lease/local/folder.py")) == ("tests/local",)


def test_formatting_and_comments_do_not_matter():
    source = "LIMIT: int = (  # a limit\n    1 +\n    2\n)\n"
    assert mutated(source, "LIMIT", "1 + 2", "3 + 4") == "LIMIT: int = 3 + 4\n"


def test_only_the_named_function_is_changed():
    source = "def one():\n    return x\n\nclass Two:\n\n    def three(self):\n        return x\n"
    assert mutated(source, "three", "x", "y") == source.replace("        return x", "        return y")
    assert mutated(source, "Two.three", "x", "y") == source.replace("        return x", "        return y")
    assert mutated(source, "one", "x", "y") == source.replace("    return x", "    return y", 1)


@pytest.mark.parametrize(
    ("line", "code", "left"),
    [
        ("return a and b and c", "b", "return a and c"),
        ("return a or b", "a", "return b"),
        ("call(a, b)", "b", "call(a)"),
        ("call(a=b)", "b", "call()"),
        ("x = {'a': b, 'c': d}", "b", "x = {'c': d}"),
        ("x = [n for n in y if z]", "z", "x = [n for n in y]"),
        ("call(a)", "call(a)", "None"),
        ("x = a", "x = a", "pass"),
        ("yield from call()", "yield from call()", "None"),
    ],
)
def test_what_is_left_out(line, code, left):
    assert mutated(f"def f():\n    {line}\n", "f", code, "") == f"def f():\n    {left}\n"


def test_a_statement_of_several_lines_is_given_on_one():
    source = "def f():\n    if a:\n        return b\n    return c\n"
    assert mutated(source, "f", "if a: return b", "") == "def f():\n    pass\n    return c\n"


def test_an_expression_that_stands_alone_is_replaced_by_astatement_around():
    assert mutated("def f():\n    call()\n", "f", "call()", "raise") == "def f():\n    raise\n"


def test_the_condition_of_a_case_is_left_out():
    source = "def f():\n    match x:\n        case 1 if y:\n            pass\n"
    assert mutated(source, "f", "y", "") == source.replace(" if y", "")


def test_without_a_fragment_the_whole_body_is_another():
    assert mutated("def f():\n    a()\n    b()\n", "f", "", "pass") == "def f():\n    pass\n"


@pytest.mark.parametrize(
    ("target", "code", "without", "problem"),
    [
        ("f", "x", "y", "'x' is in f 2 times, not once"),
        ("f", "z", "y", "'z' is in f 0 times, not once"),
        ("g", "x", "y", "g is there 2 times, not once"),
        ("h", "x", "y", "h is there 0 times, not once"),
        ("f", "x + x", "", "cannot simply be left out"),
        ("A", "", "pass", "A is no single function"),
    ],
)
def test_a_mutant_that_does_not_fit_the_code_is_an_error(target, code, without, problem):
    source = "def f():\n    return x + x\n\nclass A:\n\n    def g(self):\n        x\n\nclass B:\n\n    def g(self):\n        x\n"
    with pytest.raises(ValueError, match=problem.replace("+", r"\+")):
        mutated(source, target, code, without)


def test_a_copy_lacks_nothing_that_a_test_may_read(tmp_path):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    Copy(tmp_path)
    assert {name for name in tracked.splitlines() if (ROOT / name).exists() and not (tmp_path / name).exists()} == set()


def test_a_mutant_is_noticed_by_the_test_it_names_and_by_no_other(tmp_path):
    copy = Copy(tmp_path)
    tests = [*AN_EXAMPLE.noticed_by, "-k", "simulated"]
    trial = copy.try_out(AN_EXAMPLE, tests)
    assert trial.verdict is Verdict.NOTICED
    assert trial.failed
    assert copy.try_out(AN_EXAMPLE, ["tests/test_smoke.py", "-k", "embedded"]).verdict is Verdict.SURVIVED
    assert copy.run(tests).verdict is Verdict.SURVIVED  # the module is as it was, and without the mutant they pass


def test_code_that_cannot_even_be_imported_proves_nothing(tmp_path):
    broken = a_mutant("SCHEMA", "1", "nothing", module="_protocol/records.py")
    trial = Copy(tmp_path).try_out(broken, ["tests/protocol/test_decisions.py"])
    assert trial.verdict is Verdict.BROKEN
    assert not trial.noticed


def test_a_mutant_that_hangs_is_noticed(tmp_path):
    endless = a_mutant(
        "windows",
        "return max(1, -(-max_tokens // WINDOW))",
        "__import__('time').sleep(600)",  # a loop would hang as well, and use the processor
        module="_protocol/decisions.py",
    )
    trial = Copy(tmp_path).try_out(
        endless, ["tests/protocol/test_decisions.py", "-k", "seen_once_in_so_many"], seconds=15
    )
    assert trial.verdict is Verdict.HUNG
    assert trial.noticed


def test_a_test_that_fails_without_the_mutant_too_does_not_count(tmp_path):
    copy = Copy(tmp_path)
    (tmp_path / "tests" / "test_broken.py").write_text("def test_of_nothing():\n    assert False\n")
    stages = [["tests/test_broken.py"], [*AN_EXAMPLE.noticed_by, "-k", "simulated"]]
    found = search(copy, AN_EXAMPLE, stages, most=1)
    assert found
    assert all(AN_EXAMPLE.noticed_by[0] in test for test in found)


A_PACKAGE = """\
LIMIT = 3


def small(number):
    return number < LIMIT


def other(numbers):
    for number in numbers:
        if number:
            yield number + 1


def unused():
    return 1
"""
ITS_TESTS = """\
import subprocess
import sys

import pytest

from ddb_lease.package import other, small


@pytest.fixture(scope="module")
def answers():
    return list(other([0, 1]))


def test_small():
    assert small(1)


def test_first(answers):
    assert answers == [2]


def test_second(answers):
    assert len(answers) == 1


def test_elsewhere():
    subprocess.run([sys.executable, "-c", "import ddb_lease.package"], check=True)
"""


@pytest.fixture(scope="module")
def reach(tmp_path_factory):
    """Which tests run which lines of a small repository."""
    root = tmp_path_factory.mktemp("repository")
    for name, text in {
        "ddb_lease/__init__.py": "",
        "ddb_lease/package.py": A_PACKAGE,
        "tests/__init__.py": "",
        "tests/mutants/__init__.py": "",
        "tests/mutants/reach.py": (ROOT / "tests" / "mutants" / "reach.py").read_text(),
        "tests/test_package.py": ITS_TESTS,
    }.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(text)
    folder = tmp_path_factory.mktemp("reach")
    return measure(root, folder, ["tests/test_package.py"])


def tried_on(reach: Reach, text: str) -> list[str]:
    line = A_PACKAGE.splitlines().index(text) + 1
    tests = [*reach.seen_at(Path("ddb_lease/package.py"), line), *reach.unseen()]
    return [test.partition("::")[2] for test in tests]


def test_a_change_is_tried_on_the_tests_that_run_its_line(reach):
    assert tried_on(reach, "    return number < LIMIT") == ["test_small", "test_elsewhere"]


def test_what_a_fixture_of_a_module_runs_counts_for_all_tests_of_the_module(reach):
    assert set(tried_on(reach, "            yield number + 1")) > {"test_first", "test_second"}


def test_what_no_test_runs_is_tried_on_those_whose_processes_cannot_be_seen(reach):
    assert tried_on(reach, "    return 1") == ["test_elsewhere"]


def test_what_two_runs_have_seen_can_be_joined(reach, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(reach.root, other)
    (other / "tests" / "test_package.py").rename(other / "tests" / "test_elsewhere.py")
    joined = reach.joined(measure(other, tmp_path / "seen", ["tests/test_elsewhere.py"]))
    line = A_PACKAGE.splitlines().index("    return number < LIMIT") + 1
    assert set(joined.seen_at(Path("ddb_lease/package.py"), line)) == {
        "tests/test_package.py::test_small",
        "tests/test_elsewhere.py::test_small",
    }


def test_what_was_seen_is_read_again_and_not_run_again(reach, tmp_path):
    seen = tmp_path / "seen"
    measure(reach.root, seen, ["tests/test_package.py"])
    path = Path("ddb_lease/package.py")
    again = measure(reach.root, seen, ["tests/test_that_is_none.py"])
    assert again.seen_at(path, 5) == reach.seen_at(path, 5) != []


def test_a_sample_goes_on_where_it_was_until_the_code_or_the_tests_change(tmp_path):
    code, folder = tmp_path / "code", tmp_path / "kept"
    (code / "ddb_lease").mkdir(parents=True)
    (code / "ddb_lease" / "one.py").write_text("A = 1")
    progress = Progress("7-20", root=code, folder=folder)
    progress.note(3, verdict="noticed", by="a test")
    progress.note(1, verdict="SURVIVED", by="")
    (progress.copies() / "0").mkdir()
    again = Progress("7-20", root=code, folder=folder)
    assert again.results() == {3: {"verdict": "noticed", "by": "a test"}, 1: {"verdict": "SURVIVED", "by": ""}}
    assert list(again.copies().iterdir()) == []
    assert Progress("8-20", root=code, folder=folder).results() == {}
    (code / "ddb_lease" / "one.py").write_text("A = 2")
    assert Progress("7-20", root=code, folder=folder).results() == {}
    assert not again.folder.exists()


def test_a_change_is_tried_on_its_modules_tests_first_and_then_on_the_others_that_run_its_line(reach, monkeypatch):
    path = Path("ddb_lease/otel.py")  # whose own tests are in two files of events
    own, other, left = "tests/runtime/test_events.py", "tests/aio/test_lease.py", "tests/aio/test_leader.py"
    seconds = {f"{other}::test_a": 1.0, f"{own}::test_b": 2.0, f"{own}::test_elsewhere": 3.0, f"{left}::test_c": 1.0}
    known = replace(
        reach,
        seconds=seconds,
        elsewhere=frozenset({f"{own}::test_elsewhere"}),
        left_out=(f"{own}::test_d[embedded]", f"{own}::test_d[ministack]", f"{other}::test_e[embedded]"),
    )
    monkeypatch.setattr(Reach, "seen_at", lambda *_: [f"{other}::test_a", f"{own}::test_b"])
    assert list(portions(path, 1, known)) == [
        [f"{own}::test_b"],
        ["tests/test_figures.py"],
        ["tests/runtime/rates/test_reporter.py", "-k", "not ministack and not dynoxide"],
        [f"{own}::test_d[embedded]"],
        [f"{other}::test_a"],
        [f"{own}::test_elsewhere"],
        [],
    ]


@pytest.mark.parametrize("line", ["LIMIT = 3", "def small(number):"])
def test_a_constant_or_a_header_is_tried_on_the_tests_that_run_what_depends_on_it(reach, line):
    assert tried_on(reach, line) == ["test_small", "test_elsewhere"]


def test_what_depends_on_a_constant_is_found_through_others_and_other_modules():
    modules = {
        Path("one.py"): ast.parse("A = 1\nB = A + 1\nC = 3\ndef of():\n    return 0\ndef by():\n    return B\n"),
        Path("two.py"): ast.parse("from one import B as D\nimport one\ndef f():\n    x = one.A\n    return D\n"),
        Path("three.py"): ast.parse("import one\nclass E:\n    x: int = one.C\n"),
    }
    assert depending_on(modules, Path("one.py"), 1) == {
        (Path("one.py"), range(7, 8)),
        (Path("two.py"), range(4, 5)),
        (Path("two.py"), range(5, 6)),
    }
    assert depending_on(modules, Path("one.py"), 3) is None, "a class may use it wherever it is used"


def test_the_header_of_a_block_is_not_the_block():
    tree = ast.parse(A_PACKAGE)
    assert statement_around(tree, 9) == range(9, 10)
    assert statement_around(tree, 10) == range(10, 11)
    assert statement_around(tree, 1) is None
