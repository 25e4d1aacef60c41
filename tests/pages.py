"""The pages' snippets: what is fenced in each page, and which of its Python a test has run.

A test module that runs the Python of pages names them in ``SNIPPETS = Snippets("docs/rates.md")``, and runs it from
there. Each statement, and the body of each lambda, notes that it runs. Once every test of the module has passed, all of
them must have run: `Watch` sees to that, so no module can name a page without running it. `tests/test_snippets.py` runs
the pages that no module names.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ddb_lease._runtime.arguments import DEFAULT_TABLE
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"( *)(`{3,}|~{3,}) *([^`\n]*)\n?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What stands in one fence."""

    page: str
    line: int
    """The number of its first line in the page."""
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it begins, as editors and terminals link it."""
        return f"{self.page}:{self.line}"


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in their order; those of one language."""
    found, begun, lines = [], None, []
    for number, line in enumerate((ROOT / page).read_text().splitlines(keepends=True), 1):
        fence = _FENCE.fullmatch(line)
        if begun is None:
            if fence:
                begun, lines = (number, fence), []
        elif fence and not fence[3] and fence[2].startswith(begun[1][2]):
            text = "".join(line[len(begun[1][1]) :] if line.strip() else "\n" for line in lines)
            found.append(Block(page=page, line=begun[0] + 1, language=begun[1][3].strip(), text=text))
            begun = None
        else:
            lines.append(line)
    assert begun is None, f"{page}:{begun[0]}: this fence is not closed"
    return [block for block in found if language in {None, block.language}]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    fenced = {block.line + n for block in blocks(page) for n in range(-1, block.text.count("\n") + 1)}
    lines = (ROOT / page).read_text().splitlines(keepends=True)
    return "".join(line for number, line in enumerate(lines, 1) if number not in fenced)


class Snippets:
    """The Python of some pages: it runs as it stands there, and notes what of it has run."""

    def __init__(self, *pages: str) -> None:
        self._snippets = {page: [Snippet(block) for block in blocks(page, "python")] for page in pages}
        assert all(self._snippets.values()), f"there is no Python in some of {pages}"

    def of(self, page: str | None = None) -> list[Snippet]:
        """Those of a page, in their order; of the only one."""
        if page is None:
            (page,) = self._snippets
        return self._snippets[page]

    def run(self, world: dict[str, object], page: str | None = None) -> dict[str, object]:
        """Run a page from its beginning to its end, with these names; returns them, and what it defined."""
        for snippet in self.of(page):
            snippet.run(world)
        return world

    def missed(self) -> list[str]:
        """What has not run: its place and its text."""
        return [missed for snippets in self._snippets.values() for snippet in snippets for missed in snippet.missed()]


class Snippet:
    """One block of Python."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._marker = _Marker()
        tree = ast.increment_lineno(ast.parse(block.text, block.place), block.line - 1)
        self._tree = ast.fix_missing_locations(self._marker.visit(tree))
        self._ran: set[tuple[int, int]] = set()
        self._told: list[Path] = []

    def run(self, world: dict[str, object]) -> dict[str, object]:
        """Run it here, and return the world. A traceback shows the page's own lines."""
        before = world.get(_NOTE)
        world[_NOTE] = self._noting(before)
        exec(compile(self._tree, ROOT / self.block.page, "exec"), world)
        return world

    def program(self, told: Path) -> str:
        """It as a program that runs elsewhere, and notes in this file what of it has run."""
        self._told.append(told)
        note = f"def {_NOTE}(line, column):\n    with open({str(told)!r}, 'a') as told:\n        print(line, column, file=told)"
        return f"{note}\n\n\n{ast.unparse(self._tree)}\n"

    def missed(self) -> Iterator[str]:
        """What of it has not run."""
        for told in self._told:
            if told.exists():
                lines = told.read_text().splitlines()
                self._ran.update(tuple(int(number) for number in line.split()) for line in lines)
        for line, column in sorted(self._marker.places - self._ran):
            text = self.block.text.splitlines()[line - self.block.line][column:]
            yield f"{self.block.page}:{line}: {text}"

    def _noting(self, before: Callable[[int, int], None] | None) -> Callable[[int, int], None]:
        """Notes what runs of this block, and of those that ran in the same world before."""

        def note(line: int, column: int) -> None:
            if (line, column) in self._marker.places:
                self._ran.add((line, column))
            elif before is not None:
                before(line, column)

        return note


_NOTE = "__ran__"


class _Marker(ast.NodeTransformer):
    """Has every statement, and the body of every lambda, call ``__ran__`` with its place before it runs."""

    def __init__(self) -> None:
        self.places: set[tuple[int, int]] = set()

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                marked = [each for statement in statements for each in self._marked(statement)]
                setattr(node, name, marked)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        super().generic_visit(node)
        both = ast.Tuple([self._call(node.body), node.body], ast.Load())
        node.body = ast.Subscript(both, ast.Constant(1), ast.Load())
        return node

    def _marked(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return [statement]  # a docstring, which must stay first, or an ellipsis: nothing that could be wrong
        return [ast.Expr(self._call(statement)), statement]

    def _call(self, node: ast.expr | ast.stmt) -> ast.Call:
        place = (node.lineno, node.col_offset)
        self.places.add(place)
        return ast.Call(ast.Name(_NOTE, ast.Load()), [ast.Constant(number) for number in place], [])


@contextlib.contextmanager
def engine() -> Iterator[dict[str, object]]:
    """An embedded engine with the default table, and nothing else; what a bucket on it takes."""
    from scripts.harness.engines import embedded  # takes a second

    with embedded() as running:
        where = {"session": running.session(), "endpoint_url": running.endpoint_url}
        create_table(DEFAULT_TABLE, connection=ConnectionSettings(**where), clock=SystemClock())
        yield {"table": DEFAULT_TABLE, **where}


class Watch:
    """A plugin of pytest: the pages of a module's ``SNIPPETS`` have run once the module's tests have.

    Nothing is asked of a module of which only some tests were selected, or of which one has failed.
    """

    def __init__(self) -> None:
        self._narrowed: set[object] = set()
        self._left: dict[object, set[pytest.Item]] = {}
        self._failed: set[str] = set()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Called by `-k`, `--deselect` and their like."""
        self._narrowed |= {item.module for item in items if isinstance(item, pytest.Function)}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """See which modules run all of their tests."""
        if any("::" in argument for argument in session.config.args):
            return
        for item in session.items:
            if isinstance(item, pytest.Function) and hasattr(item.module, "SNIPPETS"):
                self._left.setdefault(item.module, set()).add(item)
        for module in self._narrowed:
            self._left.pop(module, None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test was set up, called or torn down."""
        if report.failed:
            self._failed.add(_file_of(report.nodeid))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """After the last test of a module, all of its pages have run."""
        left = self._left.get(getattr(item, "module", None))
        if left is None:
            return
        left.discard(item)
        if not left and _file_of(item.nodeid) not in self._failed:
            missed = item.module.SNIPPETS.missed()
            if missed:
                pytest.fail(
                    "No test of this module has run these lines of its pages. Call what the pages define, with asserts "
                    "that fail if it does something else:\n" + "\n".join(missed),
                    pytrace=False,
                )


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def named() -> dict[str, list[str]]:
    """The test modules that name each page in their ``SNIPPETS``, read from their sources."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "SNIPPETS = " not in text:
            continue
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name("SNIPPETS")], value=ast.Call(args=pages)):
                    for page in pages:
                        found.setdefault(ast.literal_eval(page), []).append(str(path.relative_to(ROOT)))
    return found
