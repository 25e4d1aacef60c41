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


BELOW_THE_RUNTIME = [m for m in MODULES if m.split(".")[1] in {"_protocol", "_operations", "_state"}]


@pytest.mark.parametrize("module", BELOW_THE_RUNTIME)
def test_time_and_chance_are_passed_in(module):
    """Below the runtime. What took its own could not be played twice in the simulator. The linter sees other imports."""
    assert not [node.lineno for node in ast.walk(MODULES[module]) if takes_time_or_chance(node)]


def takes_time_or_chance(node):
    match node:
        case ast.Import(names=names):
            return any(alias.name == "random" for alias in names)
        case ast.ImportFrom(module="random", names=names):
            return any(alias.name != "Random" for alias in names)
        case ast.Call(func=ast.Name(id="Random")):
            return True
        case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr="now" | "utcnow" | "today"):
            return True
    return False


@pytest.mark.parametrize(
    "line", ["import random", "from random import choice", "x = Random(1)", "x = datetime.now(timezone.utc)"]
)
def test_time_or_chance_of_ones_own_is_seen(line):
    assert any(takes_time_or_chance(node) for node in ast.walk(ast.parse(line)))


PRIVATE_PACKAGES = {path.name for path in PACKAGE.iterdir() if path.is_dir()}

THEIRS = {
    *("_exit", "_getframe", "_exiting", "_is_owned", "_is_coroutine", "_fields", "_replace"),  # Python's
    *("_actions", "_SubParsersAction"),  # argparse's: an option of ours is found by what it says
    *("_endpoint", "_session", "_credentials", "_get_credentials", "_request_signer"),  # botocore's
    *("_make_api_call", "_handlers", "_refresh_using", "_cache", "_expiry_time", "_content"),
    *("_get_conn", "_put_conn", "_response_received"),  # urllib3's
}
"""Private attributes of others, which tests read or replace."""


def named_privates(tree):
    """The private attributes that a test's module names of something else than its own objects, with their lines."""
    own = {name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for name in privates(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name):
                names = [name]
            case ast.Call(func=ast.Name(id=deed) | ast.Attribute(attr=deed)) if deed.strip("_").endswith("attr"):
                texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                names = [part for text in texts for part in text.split(".") if part not in PRIVATE_PACKAGES]
            case _:
                continue
        for name in names:
            if name.startswith("_") and not name.startswith("__") and name not in own | THEIRS:
                yield node.lineno, name


TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def test_no_test_names_a_private_attribute_of_ours():
    """Else it holds on to today's shape. What is behind a public object is reached through `scripts.harness.inside`."""
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line} {name}"
        for path in TESTS
        for line, name in named_privates(ast.parse(path.read_text()))
    ]
    assert not found, "test what a user sees, or what it says without an underscore"


@pytest.mark.parametrize(
    "line",
    [
        "bucket._core.state",
        "monkeypatch.setattr(bucket, '_core', None)",
        "getattr(bucket, '_core')",
        "monkeypatch.setattr('ddb_lease.bucket._core', None)",
        "module._deed()",
    ],
)
def test_a_private_attribute_is_seen_however_it_is_named(line):
    assert list(named_privates(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["self._core", "os._exit(0)", "item._replace(a=1)", "bucket.__dict__", "core_of(bucket)"]
)
def test_what_may_be_named_is(line):
    assert not list(named_privates(ast.parse(line)))
