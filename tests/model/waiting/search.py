"""Searching: a scenario explored and brought to rest, with some clauses perhaps removed.

Invariant: the tests and the command line both search with this module.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.model.checker import Counterexample, explore, trace_to
from tests.model.search import Found
from tests.model.waiting.clauses import Clause
from tests.model.waiting.properties import LIVENESS
from tests.model.waiting.quiet import Quiet
from tests.model.waiting.scenarios import SCENARIOS
from tests.model.waiting.state import State
from tests.model.waiting.world import World


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
        states = [state for state in found.states if isinstance(state, State)]
        quiet = Quiet(scenario, removed, states)
        calm = explore(quiet, cap=4 * scenario.cap)
        counterexample, at_rest = calm.counterexample, len(calm.states)
        if counterexample is not None:
            before = list(quiet.roots.values())[counterexample.trace[0][1]]
            whole = [*trace_to(found, before), *counterexample.trace]
            counterexample = Counterexample(counterexample.broken, whole)
            if only not in {None, counterexample.broken}:
                counterexample = None
    return Found(len(found.states), at_rest, frozenset(found.landmarks), counterexample)
