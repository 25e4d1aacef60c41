"""Searching: a scenario explored and brought to rest, with some clauses perhaps removed.

Invariant: the tests and the command line both search with this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.model.checker import Counterexample, explore
from tests.model.clauses import Clause
from tests.model.properties import L1, L2, L3
from tests.model.quiet import settle
from tests.model.scenarios import SCENARIOS
from tests.model.world import World

LIVENESS = (L1, L2, L3)


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        states: How many states were visited; all there are, unless there is a counterexample.
        at_rest: How many states of rest were visited.
        landmarks: The names of the steps that happened.
        counterexample: The broken property, and the way to it; None: nothing is broken.
    """

    states: int
    at_rest: int
    landmarks: frozenset[str]
    counterexample: Counterexample | None


def search(name: str, removed: Iterable[Clause] = (), *, only: str | None = None) -> Found:
    """Explore a scenario.

    Args:
        name: The scenario's.
        removed: The clauses to remove.
        only: The one property to look for; None: all that the scenario watches, and liveness.

    Raises:
        TooLarge: The scenario has more states than its cap.
    """
    scenario, removed = SCENARIOS[name], tuple(removed)
    watch = scenario.watch if only is None else tuple({only} - set(LIVENESS))
    found = explore(World(scenario, removed, watch=watch), cap=scenario.cap)
    counterexample, at_rest = found.counterexample, 0
    if counterexample is None and (only is None or only in LIVENESS):
        counterexample, at_rest = settle(scenario, removed, found)
        if counterexample is not None and only not in {None, counterexample.broken}:
            counterexample = None
    return Found(len(found.states), at_rest, frozenset(found.landmarks), counterexample)
