"""Alterations: each part of a write left out or weakened, mechanically. The proof must fail with each of them.

Invariants: an alteration is made on the tree of a shipped expression, or on the item of a put; none is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from scripts.harness.expression_tree import AllOf, AnyOf, Compare, Condition, IfNotExists, Update
from tests.proof.shipped import Write

WEAKER = {"<": "<=", ">": ">=", "=": ">="}
"""Comparisons that hold wherever the other one does, and at its edge too."""

KEYS = frozenset({"pk", "sk"})
EVERYTHING = AllOf(())


@dataclass(frozen=True)
class Altered:
    """A write of which a part is another.

    Attributes:
        what: The part, and what became of it, for people.
        write: The write.
    """

    what: str
    write: Write


def alterations(write: Write, *, also_removed: tuple[str, ...] = ()) -> Iterator[Altered]:
    """Every alteration of a write.

    Args:
        write: The write.
        also_removed: Attributes of which an update that leaves them alone is to remove each, once.
    """
    shown = _Shown(write)
    for part, condition in _conditions(write.condition):
        yield Altered(shown(part), replace(write, condition=condition))
    if write.update is None:
        for name in write.item:
            if name not in KEYS:
                item = {other: value for other, value in write.item.items() if other != name}
                yield Altered(f"puts no {name}", replace(write, item=item))
        return
    for part, update in _updates(write.update):
        yield Altered(shown(part), replace(write, update=update))
    touched = {
        *(write.names[target] for target, _ in write.update.sets),
        *(write.names[name] for name in write.update.removes),
    }
    for name in also_removed:
        if name not in touched:
            removed = replace(write.update, removes=(*write.update.removes, "#also"))
            yield Altered(f"removes {name} too", replace(write, update=removed, names={**write.names, "#also": name}))


class _Shown:
    """Expressions as people read them: with the names that placeholders stand for."""

    def __init__(self, write: Write) -> None:
        self._names = write.names

    def __call__(self, text: str) -> str:
        for placeholder in sorted(self._names, key=len, reverse=True):
            text = text.replace(placeholder, self._names[placeholder])
        return text


def _conditions(condition: Condition) -> Iterator[tuple[str, Condition]]:
    halves = condition.parts if isinstance(condition, AllOf) else (condition,)
    for number, half in enumerate(halves):
        rest = halves[:number] + halves[number + 1 :]
        yield f"without `{half}`", AllOf(rest)
        for text, weaker in _weaker(half):
            yield text, AllOf((*rest[:number], weaker, *rest[number:]))


def _weaker(half: Condition) -> Iterator[tuple[str, Condition]]:
    match half:
        case Compare(left, operator, right) if operator in WEAKER:
            weaker = Compare(left, WEAKER[operator], right)
            yield f"`{half}` as `{weaker}`", weaker
        case AllOf(parts) | AnyOf(parts):
            for number, part in enumerate(parts):
                for text, weaker in _weaker(part):
                    yield text, type(half)((*parts[:number], weaker, *parts[number + 1 :]))
                if isinstance(half, AllOf):
                    yield f"without `{part}`", AllOf(parts[:number] + parts[number + 1 :])
                elif isinstance(part, AllOf):
                    for inner in range(len(part.parts)):
                        left = AllOf(part.parts[:inner] + part.parts[inner + 1 :])
                        yield (
                            f"without `{part.parts[inner]}`",
                            AnyOf((*parts[:number], left, *parts[number + 1 :])),
                        )


def _updates(update: Update) -> Iterator[tuple[str, Update]]:
    for number, (target, term) in enumerate(update.sets):
        rest = update.sets[:number] + update.sets[number + 1 :]
        yield f"does not set `{target} = {term}`", replace(update, sets=rest)
        if isinstance(term, IfNotExists):
            other: Any = (target, term.instead)
            yield f"`{target} = {term}` as `{target} = {term.instead}`", replace(update, sets=(*rest, other))
    for number, name in enumerate(update.removes):
        yield (
            f"does not remove `{name}`",
            replace(update, removes=update.removes[:number] + update.removes[number + 1 :]),
        )
