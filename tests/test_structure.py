"""The structure of the package: rules that a linter does not check."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ddb_lease"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}

MOST_LINES = 300
MOST_METHODS = 25
LARGER = {}
"""Classes that are larger than that, and why."""


def classes():
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield module, node


def imported(tree):
    """What each name that a module imports from the package stands for, as (module, name)."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddb_lease")
        for alias in node.names
    }


def privates(node):
    """The private attributes and methods that a class defines."""
    methods = {f.name for f in node.body if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))}
    names = {
        t.id for line in node.body if isinstance(line, ast.Assign) for t in line.targets if isinstance(t, ast.Name)
    }
    names |= {line.target.id for line in node.body if isinstance(line, ast.AnnAssign)}
    attributes = {a.attr for a in own_attributes(node) if isinstance(a.ctx, ast.Store)}
    return {name for name in methods | names | attributes if name.startswith("_") and not name.startswith("__")}


def own_attributes(node):
    return [
        a
        for a in ast.walk(node)
        if isinstance(a, ast.Attribute) and isinstance(a.value, ast.Name) and a.value.id == "self"
    ]


CLASSES = {(module, node.name): node for module, node in classes()}
DERIVED = [
    (module, node, base)
    for module, node in classes()
    for base in (b.id for b in node.bases if isinstance(b, ast.Name))
    if (imported(MODULES[module]).get(base) or (module, base)) in CLASSES
]


def test_there_is_something_to_look_at():
    assert len(CLASSES) > 100
    assert len(DERIVED) > 10


@pytest.mark.parametrize(("module", "node", "base"), DERIVED, ids=lambda value: getattr(value, "name", value))
def test_no_subclass_touches_its_parents_private_attributes(module, node, base):
    parent = CLASSES[imported(MODULES[module]).get(base) or (module, base)]
    touched = {attribute.attr for attribute in own_attributes(node)} & privates(parent)
    assert not touched - privates(node), "hold the other object, and ask it, in place of deriving from it"


@pytest.mark.parametrize(("module", "node"), list(classes()), ids=lambda value: getattr(value, "name", value))
def test_no_class_is_too_large_to_be_held_in_ones_head(module, node):
    if f"{module}.{node.name}" in LARGER:
        return
    docs = sum(len(ast.get_docstring(n, clean=False).splitlines()) for n in ast.walk(node) if is_documented(n))
    methods = [f for f in node.body if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert node.end_lineno - node.lineno - docs <= MOST_LINES
    assert len(methods) <= MOST_METHODS


def is_documented(node):
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module):
    assert ast.get_docstring(MODULES[module]), module


@pytest.mark.parametrize("module", MODULES)
def test_nothing_waits_for_a_queue_with_a_timeout(module):
    """Before Python 3.13, a `SimpleQueue` waits for ever if the time is over while a signal is handled."""
    calls = [node for node in ast.walk(MODULES[module]) if isinstance(node, ast.Call)]
    gets = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "get"]
    assert not [call.lineno for call in gets if any(word.arg == "timeout" for word in call.keywords)]
