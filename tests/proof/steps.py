"""What a proof is made of: steps from a state to the next, what they assume, and the check that they keep an invariant.

Invariants:

- A state has one item that is looked at, any one, and what is known beside it. So a step is proved for every item.
- A hypothesis is taken at some terms only, and the invariant is to be shown of terms of which nothing is known. So no
  formula has a quantifier, the solver always decides, and a state that it finds is a state of which all is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import z3

from ddb_lease.dynamodb.address import BucketAddress
from tests.proof.shipped import CallFor, Sent, call_for, sent
from tests.proof.symbols import Run, Way

S = TypeVar("S")
Build = Callable[[Callable[[Run], Any], CallFor], list[Way[Sent]]]
Clauses = dict[str, Any]
"""Formulas by name."""


@dataclass(frozen=True)
class Step(Generic[S]):
    """Something that happens.

    Attributes:
        name: What, for people.
        when: When it can happen.
        after: The state after it.
        promises: What must hold of the step itself, by name, beside the invariant after it.
        counted: What counting tells of the state after it, where the invariant holds of every item.
    """

    name: str
    when: list[Any]
    after: S
    promises: Clauses = field(default_factory=dict)
    counted: list[Any] = field(default_factory=list)


@dataclass
class Setting:
    """What a proof takes as given: the requests, some of them altered, and the assumptions, some of them dropped.

    Attributes:
        maker: What makes a request's call.
        dropped: Names of assumptions that are not made.
        altered: Writes in place of the shipped ones, by request, way and place.
        only: The request that is altered, if only the steps of its altered ways are wanted; None for all steps.
        assumed: Names of the assumptions that were asked for.
        kinds: The kinds of requests that were asked for.
    """

    maker: CallFor = call_for
    dropped: frozenset[str] = frozenset()
    altered: Mapping[tuple[str, int, int], Any] = field(default_factory=dict)
    only: str | None = None
    assumed: dict[str, None] = field(default_factory=dict)
    kinds: set[type] = field(default_factory=set)
    _sent: dict[str, list[Way[Sent]]] = field(default_factory=dict)

    def assume(self, name: str, formula: Any) -> Any:
        """An assumption; nothing, if it is dropped."""
        self.assumed[name] = None
        return z3.BoolVal(True) if name in self.dropped else formula

    def keeps(self, name: str) -> bool:
        """Whether an assumption is made, for a step that is another one without it."""
        self.assumed[name] = None
        return name not in self.dropped

    def sent(self, name: str, request: Callable[[Run], Any], *, build: Build = sent) -> list[Way[Sent]]:
        """The writes of a request, on every way, as `shipped.sent`; altered ones in place of the shipped ones."""
        if name not in self._sent:
            self._sent[name] = build(request, self._noted)
        if self.only not in {None, name}:
            return []
        ways = self._with_alterations(name)
        if self.only is None:
            return ways
        touched = {number for _, number, _ in self.altered}
        return [way for number, way in enumerate(ways) if number in touched]

    def _noted(self, request: Any, address: BucketAddress) -> tuple[str, dict[str, Any]]:
        self.kinds.add(type(request))
        return self.maker(request, address)

    def requests(self) -> dict[str, list[Way[Sent]]]:
        """All requests that were asked for, as `sent` gives them, whichever are wanted."""
        return {name: self._with_alterations(name) for name in self._sent}

    def _with_alterations(self, name: str) -> list[Way[Sent]]:
        return [
            Way(
                way.run,
                tuple(self.altered.get((name, number, place), write) for place, write in enumerate(way.returned)),
            )
            for number, way in enumerate(self._sent[name])
        ]

    def but(self, **changes: Any) -> Setting:
        """The same requests, with other alterations or assumptions."""
        return Setting(maker=self.maker, _sent=self._sent, **changes)


@dataclass(frozen=True)
class Failure:
    """A step that breaks the proof.

    Attributes:
        step: Its name.
        broken: The first clause of the invariant, or promise, that does not hold after it.
        model: The counterexample.
        found: The step.
    """

    step: str
    broken: str
    model: z3.ModelRef
    found: Any


class Undecided(Exception):
    """The solver could not tell."""


def check(formulas: Iterable[Any], *, logic: str = "QF_UFLIA", seconds: float = 10.0) -> z3.ModelRef | None:
    """A model of all formulas; None if there is none."""
    solver = z3.SolverFor(logic)
    solver.set("timeout", int(seconds * 1000))
    solver.add(*formulas)
    found = solver.check()
    if found == z3.unknown:
        raise Undecided(solver.reason_unknown())
    return solver.model() if found == z3.sat else None


def failures(
    steps: Iterable[Step[S]],
    known: list[Any],
    invariant: Callable[[S], Clauses],
    *,
    by_counting: frozenset[str] = frozenset(),
) -> Iterator[Failure]:
    """The steps that break the invariant or a promise, each with a counterexample.

    Args:
        steps: The steps.
        known: What is known of the state before.
        invariant: What must hold of the state after.
        by_counting: The clauses for which a step's `counted` is used. All others are shown first, without it, as
            counting rests on them.
    """
    for step in steps:
        wanted = {**step.promises, **invariant(step.after)}
        given = [*known, *step.when]
        first = {name: formula for name, formula in wanted.items() if name not in by_counting}
        second = {name: formula for name, formula in wanted.items() if name in by_counting}
        for clauses, more in ((first, []), (second, step.counted)):
            every = [*given, *more]
            if clauses and check([*every, z3.Not(z3.And(list(clauses.values())))]) is not None:
                yield _first_broken(step, every, clauses)
                break


def _first_broken(step: Step[S], given: list[Any], clauses: Clauses) -> Failure:
    """The first clause that can break: which one a model breaks is the solver's choice, and may change with it."""
    models = ((name, check([*given, z3.Not(z3.And([formula]))])) for name, formula in clauses.items())
    name, model = next((name, model) for name, model in models if model is not None)
    return Failure(step.name, name, model, step)
