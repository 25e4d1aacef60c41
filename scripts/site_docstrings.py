"""What the API pages need from the docstrings: examples and costs told apart, links, no private names in signatures.

Docstrings are written for `help()`, where `acquire` in backticks is enough. On a page it should lead to the method.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import griffe

_ROOT = Path(__file__).resolve().parent.parent
_LISTED = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
_NAMED = re.compile(r"(?<![`\[\w])`([A-Za-z_][\w.]*)(?:\(\))?`(?![`\]])")

NOT_MADE_BY_USERS = {"Lease", "Leases", "KeyLimiter", "Reservation"}
"""Classes whose objects come from a method: their `__init__` takes private objects, so a page does not show it."""

SPELLED_OUT = {"Application", "Cost", "Environ", "KeyFunction", "OnBusy", "OnElected", "OnLost", "Scope"}
"""Aliases that have no entry of their own: a signature shows what they stand for."""


class ForReaders(griffe.Extension):
    """Changes what the pages are made of; the source stays as it is."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for each object that is found: call the sections what the parser calls them."""
        if obj.docstring is not None:
            obj.docstring.value = sections(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Called once, when all of the package is read."""
        self._package = pkg
        self._known_aio = dict(_identifiers(pkg, aio=True))  # those of `aio` come last, and win
        self._known = self._known_aio | dict(_identifiers(pkg, aio=False))
        for module in _modules(pkg):
            for found in module.members.values():
                if not found.is_alias:
                    self._mend(found)

    def _mend(self, obj: griffe.Object) -> None:
        if isinstance(obj, griffe.Class):
            if obj.name in NOT_MADE_BY_USERS:
                obj.members.pop("__init__", None)
            for member in obj.members.values():
                if not member.is_alias:
                    self._mend(member)
        elif isinstance(obj, griffe.Function):
            obj.returns = self._spelled_out(obj.returns)
            for parameter in obj.parameters:
                parameter.annotation = self._spelled_out(parameter.annotation)
                parameter.default = self._value_of(parameter.default)
        if obj.docstring is not None:
            table = self._known_aio if obj.path.startswith("ddb_lease.aio") else self._known
            obj.docstring.value = linked(obj.docstring.value, table, *_where(obj))

    def _value_of(self, default: object) -> object:
        """The number or string that a constant stands for: its name says nothing to a reader."""
        if not isinstance(default, griffe.ExprName) or default.name in {"None", "True", "False"}:
            return default
        value = self._attribute(default)
        return str(value) if re.fullmatch(r"[\d._]+|'[^']*'|\"[^\"]*\"", str(value)) else default

    def _spelled_out(self, annotation: object) -> object:
        if isinstance(annotation, griffe.ExprName):
            return self._attribute(annotation) or annotation if annotation.name in SPELLED_OUT else annotation
        if isinstance(annotation, griffe.Expr):
            for field in dataclasses.fields(annotation):
                part = getattr(annotation, field.name)
                if isinstance(part, griffe.Expr):
                    setattr(annotation, field.name, self._spelled_out(part))
                elif isinstance(part, list):
                    setattr(annotation, field.name, [self._spelled_out(item) for item in part])
        return annotation

    def _attribute(self, name: griffe.ExprName) -> object:
        try:
            found = self._package[name.canonical_path.removeprefix("ddb_lease.")]
        except (KeyError, griffe.NameResolutionError):
            return None
        return _unquoted(found.value, found.parent) if found.is_attribute else None


def _unquoted(value: object, module: griffe.Module) -> object:
    """A name that is quoted in the source, as it is defined further down, is a name."""
    if isinstance(value, str) and re.fullmatch(r"['\"][A-Za-z_]\w*['\"]", value) and value[1:-1] in module.members:
        return griffe.ExprName(value[1:-1], parent=module)
    if isinstance(value, list):
        return [_unquoted(item, module) for item in value]
    if isinstance(value, griffe.Expr) and not isinstance(value, griffe.ExprName):
        for field in dataclasses.fields(value):
            setattr(value, field.name, _unquoted(getattr(value, field.name), module))
    return value


def sections(docstring: str) -> str:
    """Our docstrings say "Example:", one each; the parser knows "Examples:" only. A cost is a paragraph: name it."""
    docstring = re.sub(r"^( *)Example:$", r"\1Examples:", docstring, flags=re.MULTILINE)
    docstring = re.sub(r"^( *)Invariants:$", r"\1**What holds:**", docstring, flags=re.MULTILINE)
    return re.sub(r"^( *)(Cost[\w ]*:)(?= )", r"\1**\2**", docstring, flags=re.MULTILINE)


def linked(docstring: str, known: dict[str, str], owner: str = "", own: frozenset[str] = frozenset()) -> str:
    """Let names in backticks lead to their entries: `Class`, `Class.method`, and a method of `owner` by itself.

    Args:
        docstring: What the source says.
        known: The identifier of each entry, by its name.
        owner: The class that the docstring is of, or stands in.
        own: Names that mean something else here, such as parameters, and the entry itself.
    """

    def led(match: re.Match[str]) -> str:
        name = match[1]
        identifier = None if name in own else known.get(name) or (known.get(f"{owner}.{name}") if owner else None)
        return f"[{match[0]}][{identifier}]" if identifier else match[0]

    def in_prose(line: str) -> bool:
        return not line.lstrip().startswith((">>>", "...", "|"))

    head, examples, tail = docstring.partition("Examples:\n")
    lines = [_NAMED.sub(led, line) if in_prose(line) else line for line in head.split("\n")]
    return "\n".join(lines) + examples + tail


def _where(obj: griffe.Object) -> tuple[str, frozenset[str]]:
    """The class of an object, and the names that are no links in its docstring."""
    if isinstance(obj, griffe.Class):
        taken = {parameter.name for parameter in obj.parameters} | {obj.name}
        return obj.name, frozenset(taken)
    if obj.parent is not None and isinstance(obj.parent, griffe.Class):
        taken = {parameter.name for parameter in obj.parameters} if isinstance(obj, griffe.Function) else set()
        return obj.parent.name, frozenset(taken | {obj.name, obj.parent.name, f"{obj.parent.name}.{obj.name}"})
    return "", frozenset({obj.name})


def _identifiers(pkg: griffe.Module, *, aio: bool) -> list[tuple[str, str]]:
    """Each entry of the API pages: how docstrings name it, and its identifier."""
    found = []
    for page in sorted((_ROOT / "docs" / "api").glob("*.md"), key=lambda page: page.stem == "asyncio"):
        for path in _LISTED.findall(page.read_text()):
            if path.startswith("ddb_lease.aio.") and not aio:
                continue
            listed = pkg[path.removeprefix("ddb_lease.")]
            entries = [listed] if not listed.is_module else [m for m in listed.members.values() if _shown(m)]
            for entry in entries:
                identifier = path if entry is listed else f"{path}.{entry.name}"
                found += [(entry.name, identifier), (identifier, identifier)]
                if entry.is_class:
                    defined = entry.final_target if entry.is_alias else entry
                    for name in [member.name for member in defined.members.values() if _shown(member)]:
                        found += [(f"{written}.{name}", f"{identifier}.{name}") for written in (entry.name, identifier)]
    return found


def _shown(member: griffe.Object | griffe.Alias) -> bool:
    return not member.name.startswith("_") and not member.is_alias and member.has_docstring


def _modules(module: griffe.Module) -> list[griffe.Module]:
    inside = [found for found in module.members.values() if not found.is_alias and found.is_module]
    return [module, *(deeper for found in inside for deeper in _modules(found))]
