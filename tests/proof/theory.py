"""What is to be proved, and what becomes of it when a part of a request or an assumption is missing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import z3

from tests.proof.alterations import alterations
from tests.proof.shipped import Write
from tests.proof.steps import Clauses, Failure, Setting, Step, check, failures
from tests.proof.translation import MISSING, NUMBER, STRING, Attr


@dataclass(frozen=True)
class Part:
    """Steps from states of which the same is known, and what they must keep.

    Attributes:
        steps: All steps from a state.
        known: What is known of a state.
        invariant: What must hold after each step.
        by_counting: See `steps.failures`.
    """

    steps: Callable[[Any, Setting], Iterator[Step[Any]]]
    known: Callable[[Any, Setting], list[Any]]
    invariant: Callable[[Any], Clauses]
    by_counting: frozenset[str] = frozenset()
    _known: dict[frozenset[str], list[Any]] = field(default_factory=dict, compare=False)

    def failures(self, state: Any, setting: Setting) -> Iterator[Failure]:
        """The steps that break it."""
        if setting.dropped not in self._known:
            self._known[setting.dropped] = self.known(state, setting)
        known = self._known[setting.dropped]
        return failures(self.steps(state, setting), known, self.invariant, by_counting=self.by_counting)


@dataclass(frozen=True)
class Alteration:
    """A part of a request that is missing or weaker, in all writes of the request that are written alike.

    Attributes:
        request: The request.
        what: The part.
        where: The item that the write is to.
        altered: The altered writes, for `Setting`.
    """

    request: str
    where: str
    what: str
    altered: Mapping[tuple[str, int, int], Write]


@dataclass(frozen=True, eq=False)
class Theory:
    """What is proved of one kind of items.

    Attributes:
        name: Of what.
        state: A state of which nothing is known.
        beginning: What holds at the beginning.
        parts: What is proved; the first part's invariant must hold at the beginning.
        where: What item a write is to, for people.
        alike: What writes of a request have in common that are altered together.
        also_removed: Attributes that an alteration removes, by where.
        looked_at: Whether an alteration, by its words, is of what is looked at.
        redundant: Why some alterations break nothing, by the item, the part, and the requests (as a pattern).
        shown: A state, for people: labels and terms, and a formula that says whether a row matters.
    """

    name: str
    state: Callable[[], Any]
    beginning: Callable[[Any], list[Any]]
    parts: tuple[Part, ...]
    where: Callable[[Write], str]
    alike: Callable[[Write], Any]
    also_removed: Mapping[str, tuple[str, ...]]
    looked_at: Callable[[str], bool]
    redundant: Mapping[tuple[str, str, str], str]
    shown: Callable[[Any], list[tuple[str, Any, Any]]]
    _setting: Setting = field(default_factory=Setting, compare=False)

    def beginning_breaks(self) -> z3.ModelRef | None:
        """A beginning for which the invariant does not hold; None if there is none."""
        state = self.state()
        return check([*self.beginning(state), z3.Not(z3.And(list(self.parts[0].invariant(state).values())))])

    def failures(self, setting: Setting | None = None) -> Iterator[Failure]:
        """The steps that break what is proved."""
        setting = self.setting() if setting is None else setting
        for part in self.parts:
            yield from part.failures(self.state(), setting)

    def impossible(self) -> list[str]:
        """The steps of the first part that can never happen: of them, anything could be proved."""
        setting, state, part = self.setting(), self.state(), self.parts[0]
        known = part.known(state, setting)
        return [step.name for step in part.steps(state, setting) if check([*known, *step.when]) is None]

    def setting(self) -> Setting:
        """The shipped requests, and all assumptions."""
        if not self._setting.requests():
            state = self.state()
            for part in self.parts:
                part.known(state, self._setting)
                list(part.steps(state, self._setting))
        return self._setting

    def assumptions(self) -> list[str]:
        """The assumptions that are made."""
        return list(self.setting().assumed)

    def without(self, assumption: str) -> Failure | None:
        """What breaks without an assumption."""
        return next(self.failures(self.setting().but(dropped=frozenset({assumption}))), None)

    def with_altered(self, alteration: Alteration) -> Failure | None:
        """What breaks with an alteration."""
        return next(self.failures(self.setting().but(altered=alteration.altered, only=alteration.request)), None)

    def alterations(self) -> Iterator[Alteration]:
        """Every alteration of every request, each in all writes that are `alike` and have the part."""
        for request, sent in self.setting().requests().items():
            found: dict[Any, dict[tuple[str, int, int], Write]] = {}
            for number, way in enumerate(sent):
                for place, write in enumerate(way.returned):
                    where = self.where(write)
                    for one in alterations(write, also_removed=self.also_removed[where]):
                        altered = found.setdefault((where, self.alike(write), one.what), {})
                        altered[request, number, place] = one.write
            for (where, _, what), altered in found.items():
                if not self.looked_at(what):
                    continue
                yield Alteration(request, where, what, altered)

    def reason(self, alteration: Alteration) -> str | None:
        """Why nothing breaks with an alteration; None if no reason is known."""
        for (where, what, request), reason in self.redundant.items():
            if (where, what) == (alteration.where, alteration.what) and fnmatch.fnmatchcase(
                alteration.request, request
            ):
                return reason
        return None

    def table(self, failure: Failure) -> str:
        """A counterexample: the state before the step, and what of it is another one after."""
        before, after = self.shown(self.state()), self.shown(failure.found.after)
        rows = [("", "before", "after")]
        for (label, old, matters), (_, new, matters_after) in zip(before, after, strict=True):
            if z3.is_true(failure.model.eval(z3.Or(matters, matters_after), model_completion=True)):
                left, right = _text(old, failure.model), _text(new, failure.model)
                rows.append((label, left, "" if left == right else right))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"step: {failure.step}", f"breaks: {failure.broken}", *lines])


def _text(term: Any, model: z3.ModelRef) -> str:
    def value(part: Any) -> Any:
        return model.eval(part, model_completion=True) if isinstance(part, z3.ExprRef) else part

    if not isinstance(term, Attr):
        return str(value(term))
    kind = term.kind if isinstance(term.kind, int) else value(term.kind).as_long()
    return {MISSING: "-", NUMBER: str(value(term.value)), STRING: f'"{value(term.value)}"'}.get(kind, "there")
