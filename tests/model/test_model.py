"""The protocol in an explicit-state model: it holds, and each of its clauses has a reason."""

from pathlib import Path

import pytest

from tests.model.__main__ import clause_table, scenario_row
from tests.model.checker import TooLarge, explore, that_cannot_reach
from tests.model.clauses import Clause
from tests.model.scenarios import BREAKS, DEFENCE, SCENARIOS
from tests.model.search import search
from tests.model.world import World


@pytest.mark.parametrize("name", SCENARIOS)
def test_with_every_clause_all_states_of_a_scenario_hold(name):
    scenario = SCENARIOS[name]
    found = search(name)
    assert found.counterexample is None
    assert found.states >= scenario.least, "the scenario has become so small that it may show nothing"
    assert not set(scenario.sees) - found.landmarks, "what the scenario is for does not happen in it"
    assert found.at_rest > 0
    assert scenario_row(name, found.states) in PAGE


@pytest.mark.parametrize("clause", BREAKS, ids=lambda clause: clause.name)
def test_without_a_clause_its_scenario_breaks(clause):
    scenario, broken = BREAKS[clause].scenario, BREAKS[clause].broken
    found = search(scenario, [clause], only=broken)
    assert found.counterexample is not None
    assert found.counterexample.broken == broken
    assert found.counterexample.trace


@pytest.mark.parametrize("clause", DEFENCE, ids=lambda clause: clause.name)
def test_without_a_clause_that_is_defence_in_depth_everything_still_holds(clause):
    for name in DEFENCE[clause].scenarios:
        found = search(name, [clause])
        assert found.counterexample is None
        assert not set(SCENARIOS[name].sees) - found.landmarks


@pytest.mark.parametrize(
    "clause", [clause for clause, defence in DEFENCE.items() if defence.behind], ids=lambda clause: clause.name
)
def test_a_clause_in_depth_bites_once_the_clauses_before_it_are_gone(clause):
    defence = DEFENCE[clause]
    alone = search(defence.scenario, defence.behind, only=defence.broken)
    assert alone.counterexample is None, "the clause keeps this property by itself"
    both = search(defence.scenario, [*defence.behind, clause], only=defence.broken)
    assert both.counterexample is not None
    assert both.counterexample.trace


def test_every_clause_is_either_needed_or_documented_as_defence_in_depth():
    assert set(BREAKS) | set(DEFENCE) == set(Clause)
    assert not set(BREAKS) & set(DEFENCE)


# Keeping the model small loses nothing.


@pytest.mark.parametrize("name", ["fence ahead", "renewals", "create over", "shrink"])
def test_forgetting_dead_requests_hides_no_state_of_table_and_clients(name):
    def seen(forget):
        world = World(SCENARIOS[name], forget_the_dead=forget)
        return {(s.now, s.table, s.clients, s.operators) for s in explore(world, cap=SCENARIOS[name].cap).states}

    assert seen(forget=True) == seen(forget=False)


def test_the_service_answers_a_repeated_transaction_by_its_token():
    assert "a token answers a repeated mint, answered" in search("one minter").landmarks
    assert "mint is refused, answered" in search("one minter", [Clause.MINT_TOKEN]).landmarks


# The page says what the command prints.

PAGE = (Path(__file__).parents[2] / "docs" / "model.md").read_text()


def test_the_page_has_the_table_of_clauses():
    assert clause_table() in PAGE


# The explorer itself.


class Walk:
    """Numbers from 0 up to a last one, by ones and threes; some are forbidden, and some may not be left by threes."""

    def __init__(self, last, forbidden=(), no_threes=()):
        self.last, self.forbidden, self.no_threes = last, forbidden, no_threes

    def initial(self):
        yield 0

    def steps(self, state):
        for by in (1, 3):
            if state + by <= self.last:
                after = state + by
                yield (f"by {by}", state), after, "leap" if by == 3 and state in self.no_threes else None

    def broken_in(self, state):
        return "forbidden" if state in self.forbidden else None


def test_the_explorer_visits_every_state():
    assert set(explore(Walk(10), cap=100).states) == set(range(11))


def test_the_explorer_fails_rather_than_stop_at_its_cap():
    with pytest.raises(TooLarge):
        explore(Walk(10), cap=10)
    assert len(explore(Walk(10), cap=11).states) == 11


def test_a_counterexample_is_a_shortest_one():
    found = explore(Walk(10, forbidden={7}), cap=100)
    assert found.counterexample.broken == "forbidden"
    assert len(found.counterexample.trace) == 3


def test_a_step_can_break_what_the_state_after_it_does_not():
    found = explore(Walk(10, no_threes={3}), cap=100)
    assert found.counterexample.broken == "leap"
    assert found.counterexample.trace[-1] == ("by 3", 3)


def test_a_start_that_is_broken_already_is_found():
    assert explore(Walk(10, forbidden={0}), cap=100).counterexample.trace == []


def test_backward_reachability_finds_what_cannot_come_home():
    found = explore(Walk(4), cap=100, keep_edges=True)
    assert that_cannot_reach(found, lambda state: state == 2) == [3, 4]
    assert that_cannot_reach(found, lambda state: state == 4) == []
