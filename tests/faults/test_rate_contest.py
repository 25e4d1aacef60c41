"""Processes that share a rate, judged by a referee that knows nothing of the library; `scripts/soak --rates` runs longer."""

from __future__ import annotations

import pytest

from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from scripts.harness import engines
from scripts.harness.holders import TABLE
from scripts.harness.rate_contest import Plan, hold_rate_contest, judge, shown
from scripts.harness.rate_referee import Allowed, served_by, worst_window

# Rates are low: a busy machine sends some requests a second, and what is judged does not depend on the rate.
IN_PEACE = Plan(name="in-peace", processes=4, rate=4, burst=4, counts=(1, 1), seconds=9.0)
AMID_TROUBLES = Plan(name="amid-troubles", processes=4, rate=5, burst=5, counts=(1, 1, 3), seconds=8.0, troubles=True)
ALONE = Plan(name="alone", processes=1, rate=8, burst=1, counts=(1,), hows=("trying",), seconds=4.0)
UNDER_ONE_PARENT = Plan(
    name="under", processes=3, rate=6, burst=3, counts=(1, 2), hows=("under",), share=0.75, seconds=4.0
)
BROKEN = Plan(name="broken", processes=3, rate=2, burst=2, counts=(1,), hows=("own rates",), seconds=6.0)


@pytest.fixture(params=["embedded", "ministack"])
def own_engine(request):
    """An engine of the test's own, as it is restarted."""
    with {"embedded": engines.embedded, "ministack": engines.ministack}[request.param]() as running:
        create_table(
            TABLE,
            connection=ConnectionSettings(session=running.session(), endpoint_url=running.endpoint_url),
            clock=SystemClock(),
        )
        yield running


only_embedded = pytest.mark.parametrize("own_engine", ["embedded"], indirect=True)


def contest(engine, folder, plan):
    """What was noted of a contest, and what the referee says of each promise; pytest shows both if a test fails."""
    noted = hold_rate_contest(engine, folder, plan)
    facts = judge(plan, noted)
    print(shown(plan, noted, facts))
    return noted, facts


def broken(facts, *promises):
    return {name: fact.said for name, fact in facts.items() if name in promises and not fact.kept}


def test_amid_kills_stops_restarts_and_lost_answers_a_rate_is_not_exceeded(own_engine, tmp_path):
    noted, facts = contest(own_engine, tmp_path, AMID_TROUBLES)
    assert broken(facts, "noted", "envelope", "order", "whole rate") == {}
    assert {"kills", "stops", "engine restarts"} <= set(noted.met)


@only_embedded
def test_in_peace_processes_are_served_in_order_and_alike_with_one_request_a_permit(own_engine, tmp_path):
    _, facts = contest(own_engine, tmp_path, IN_PEACE)
    assert broken(facts, *facts) == {}


@only_embedded
def test_a_process_alone_never_exceeds_the_rate_at_all(own_engine, tmp_path):
    noted, facts = contest(own_engine, tmp_path, ALONE)
    assert noted.apart == 0.0
    assert broken(facts, "noted", "envelope") == {}


def test_keys_of_three_processes_under_one_parent_exceed_neither_their_rates_nor_its_own(own_engine, tmp_path):
    noted, facts = contest(own_engine, tmp_path, UNDER_ONE_PARENT)
    assert broken(facts, "noted", "envelope") == {}
    served = served_by(noted.calls)
    assert sum(served.values()) > 6, served
    allowed = Allowed(permits=6 * 0.75, burst=3)
    for process in served:
        window = worst_window([call for call in noted.calls if call.process == process], allowed, apart=0.0)
        assert window is not None
        assert window.excess <= 0, f"process {process}: {window}"


@only_embedded
def test_the_referee_notices_processes_that_have_a_rate_each(own_engine, tmp_path):
    noted, facts = contest(own_engine, tmp_path, BROKEN)
    assert facts["noted"].kept
    assert not facts["envelope"].kept
    assert noted.apart > 0.0, "the users have said how far their clocks may be off"
