"""Every number that the code goes by, read from it: constants, and what fields and parameters are by default.

Most of them were chosen by measuring, or by reasons that stand beside them. No test of behaviour can tell whether a pause
should be a fiftieth of a second or a sixtieth: so `figures.txt` lists them all, and a change of one is made on purpose, in
two places. ``python -m tests.figures`` writes the list anew.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ddb_lease"
LIST = Path(__file__).with_name("figures.txt")


def figures() -> list[str]:
    """A line for each number, or group of numbers, in the order of modules and lines."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "__main__.py":
            continue
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        known = vars(importlib.import_module(name))
        for what, value in _given(ast.parse(path.read_text())):
            number = _evaluated(value, known)
            if _is_number(number):
                found.append(f"{path.relative_to(PACKAGE)}: {what} = {number!r}")
    return found


def _given(scope: ast.Module | ast.ClassDef, within: str = "") -> Iterator[tuple[str, ast.expr]]:
    """What is assigned in a module or a class, and what parameters are by default."""
    for node in scope.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield within + name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield within + name, value
            case ast.ClassDef():
                yield from _given(node, f"{within}{node.name}.")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                positional = [*node.args.posonlyargs, *node.args.args]
                defaults = node.args.defaults
                pairs = [*zip(positional[len(positional) - len(defaults) :], defaults, strict=True)]
                pairs += [
                    (parameter, default)
                    for parameter, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                    if default is not None
                ]
                yield from ((f"{within}{node.name}({parameter.arg})", default) for parameter, default in pairs)
            case _:
                pass


def _evaluated(value: ast.expr, known: dict[str, object]) -> object:
    """An expression's value; None if it calls something, or is of a scope of its own."""
    if any(isinstance(node, (ast.Call, ast.Lambda, ast.ListComp, ast.DictComp)) for node in ast.walk(value)):
        return None
    try:
        return eval(compile(ast.Expression(value), "<a figure>", "eval"), known)
    except (NameError, TypeError):
        return None


def _is_number(value: object) -> bool:
    if isinstance(value, (tuple, list, range)):
        return len(value) > 0 and all(map(_is_number, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for line in figures()))
