"""Waiting in order in a model of all states: it holds, and each of its clauses has a reason."""

from pathlib import Path

import pytest

from tests.model.waiting import rules
from tests.model.waiting.__main__ import clause_table, scenario_row
from tests.model.waiting.clauses import Clause, Kept
from tests.model.waiting.scenarios import BREAKS, SCENARIOS
from tests.model.waiting.search import search
from tests.model.waiting.state import Item

PAGE = (Path(__file__).parents[3] / "docs" / "model.md").read_text()


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if not scenario.large])
def test_with_every_clause_all_states_of_a_scenario_hold(name):
    scenario = SCENARIOS[name]
    found = search(name)
    assert found.counterexample is None
    assert found.states >= scenario.least, "the scenario has become so small that it may show nothing"
    assert not set(scenario.sees) - found.landmarks, "what the scenario is for does not happen in it"
    assert found.at_rest > 0


@pytest.mark.parametrize("clause", BREAKS, ids=lambda clause: clause.name)
def test_without_a_clause_its_scenario_breaks(clause):
    broken = BREAKS[clause]
    found = search(broken.scenario, [clause], only=broken.broken)
    assert found.counterexample is not None
    assert found.counterexample.broken == broken.broken
    assert found.counterexample.trace


def test_every_clause_is_shown_to_be_needed():
    assert set(BREAKS) == set(Clause)


def test_a_property_of_rest_is_told_with_the_way_to_where_faults_stop():
    told = [label[0] for label in search("a dead head", [Clause.PASSED_REMOVED]).counterexample.trace]
    assert told.index("a waiter dies") < told.index("faults stop, slots come free")
    assert told[-1] == "quiet, a tick"


def test_ticks_are_as_fine_as_the_rules_need():
    assert rules.PATIENCE * rules.TICK_SECONDS == rules.queueing.PATIENCE_SECONDS
    dead = (Item(9, 1, 0, 1, expires=4),)
    assert rules.expired(dead, 4) == ()
    assert rules.expired(dead, 5) == dead
    stands = rules.standing(dead, Item(9, 2, 1, 1, 9), now=4, max_tokens=1, keep=Kept())
    assert not rules.share(stands, 1, {0: rules.PATIENCE - 1}, Kept()).slots
    assert rules.share(stands, 1, {0: rules.PATIENCE}, Kept()).slots == {0}


def test_the_page_has_the_tables():
    assert clause_table() in PAGE
    assert not [name for name in SCENARIOS if scenario_row(name) not in PAGE.splitlines()]
