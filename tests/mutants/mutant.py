"""What a mutant is, and how the code becomes one.

Invariants: a mutant is bound to a named function, method or constant, and to one fragment of code inside it. Both are
compared as syntax trees, so formatting and comments do not matter, and whatever else moves in the file does not
either. A target or a fragment that is not there exactly once is an error: the table is out of date.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ddb_lease"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change that breaks a promise, and the tests that must notice it.

    Attributes:
        name: The promise, in a few words; unique.
        module: Its file, below the package.
        target: The function, method, class or constant to change: as much of its qualified name as is unique in the
            module, such as `_take` or `Attempt._take`.
        code: What to change there: one expression or statement on one line. Empty: the whole body of the function.
        without: What stands there instead. Empty: nothing. A statement is dropped, and so is an operand of `and` or
            `or`, an argument of a call, an entry of a list or dict, or the condition of a `case`.
        noticed_by: Tests of which at least one fails, as pytest takes them.
    """

    name: str
    module: str
    target: str
    code: str
    without: str
    noticed_by: tuple[str, ...]

    def applied_to(self, source: str) -> str:
        """The module's source with this change.

        Raises:
            ValueError: The target or the fragment is not there exactly once.
        """
        tree = ast.parse(source)
        nodes = self._targets(tree)
        if self.code:
            self._change_fragment(nodes)
        else:
            self._change_body(nodes)
        return ast.unparse(tree) + "\n"

    def path(self, root: Path = ROOT) -> Path:
        """Where its module is in a copy of the repository."""
        return root / PACKAGE / self.module

    def _wrong(self, problem: str) -> ValueError:
        return ValueError(f"{self.module}: {self.name!r}: {problem}")

    def _targets(self, tree: ast.Module) -> list[ast.AST]:
        wanted = self.target.split(".")
        found: dict[str, list[ast.AST]] = {}
        for name, node in _named(tree):
            if name.split(".")[-len(wanted) :] == wanted:
                found.setdefault(name, []).append(node)
        if len(found) != 1:
            raise self._wrong(f"{self.target} is there {len(found)} times, not once ({', '.join(found)})")
        # A property and its setter, and what differs by platform, share one name.
        return next(iter(found.values()))

    def _change_body(self, nodes: list[ast.AST]) -> None:
        node = nodes[0]
        if len(nodes) != 1 or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            raise self._wrong(f"{self.target} is no single function")
        node.body = ast.parse(self.without or "pass").body

    def _change_fragment(self, nodes: list[ast.AST]) -> None:
        old, new = _fragment(self.code), _fragment(self.without) if self.without else None
        if isinstance(old, ast.expr) and isinstance(new, ast.stmt):
            old = ast.Expr(old)
        wanted = ast.dump(old)
        alike = (place for node in nodes for place in _places(node) if type(place.node) is type(old))
        places = [place for place in alike if ast.dump(place.node) == wanted]
        if len(places) != 1:
            raise self._wrong(f"{self.code!r} is in {self.target} {len(places)} times, not once")
        if new is not None:
            if isinstance(old, ast.stmt) and isinstance(new, ast.expr):
                new = ast.Expr(new)
            places[0].put(new)
        elif not places[0].drop():
            raise self._wrong(f"{self.code!r} cannot simply be left out: say what stands there instead")


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """Mutants that belong together."""

    title: str
    mutants: tuple[Mutant, ...]


@dataclass(frozen=True)
class _Place:
    """Where a node is: in a field of its parent, or in that field's list."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    above: _Place | None

    def put(self, new: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new

    def drop(self) -> bool:
        """Leave it out, where the language allows that; returns whether it does."""
        parent, field, index = self.parent, self.field, self.index
        match parent:
            case _ if isinstance(self.node, ast.stmt):
                self.put(ast.Pass())
            case ast.Expr():
                parent.value = ast.Constant(None)
            case ast.keyword() if self.above is not None and self.above.index is not None:
                getattr(self.above.parent, self.above.field).pop(self.above.index)
            case ast.Dict() if index is not None:
                parent.keys.pop(index)
                parent.values.pop(index)
            case ast.match_case() if field == "guard":
                parent.guard = None
            case ast.BoolOp() | ast.Call() | ast.List() | ast.Tuple() | ast.Set() | ast.comprehension() if (
                index is not None
            ):
                getattr(parent, field).pop(index)
            case _:
                return False
        return True


def _places(node: ast.AST, above: _Place | None = None) -> Iterator[_Place]:
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST):
                place = _Place(node, field, index, child, above)
                yield place
                yield from _places(child, place)


def _named(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """All functions, classes and constants, by qualified name."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield prefix + child.name, child
                yield from _named(child, f"{prefix}{child.name}.")
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]) if not isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef)
            ):
                yield prefix + name, child
            case ast.If() | ast.Try() | ast.With():
                yield from _named(child, prefix)
            case _:
                pass


@functools.cache
def _fragment(code: str) -> ast.stmt | ast.expr:
    (statement,) = ast.parse(code).body
    return statement.value if isinstance(statement, ast.Expr) else statement
