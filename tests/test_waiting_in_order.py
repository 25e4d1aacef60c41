"""Many processes that wait for an ordered bucket, on the simulated service: order, fairness, cost, and use of the slots."""

import pytest

from benchmarks.queues import CASES, Case, out_of_order, play
from benchmarks.real_queues import figures


@pytest.fixture(scope="module")
def crowd():
    """Twelve processes on four slots, held for a second each, for twenty seconds."""
    return play(Case(name="crowd", order="fifo", processes=12, tokens=4, hold=1.0, seconds=20.0, warm=12.0))


def test_nobody_is_overtaken_and_all_have_equal_shares(crowd):
    assert crowd["overtaken"] == crowd["overtaken_by_far"] == 0
    assert crowd["jain"] >= 0.99
    assert crowd["least"] >= 5


def test_slots_are_in_use_nearly_all_the_time(crowd):
    assert crowd["use"] >= 0.9


def test_a_wait_costs_two_writes_and_no_lost_ones(crowd):
    assert crowd["writes_a_grant"] == pytest.approx(4.0, abs=0.2), "ticket, claim, ticket, release"
    assert crowd["lost_writes_a_grant"] < 0.05


def test_a_waiter_for_most_slots_gets_its_share_beside_a_stream_of_small_ones():
    case = Case(name="big", order="fifo", processes=9, tokens=4, hold=1.0, seconds=25.0, warm=12.0, wants=3)
    found = play(case)
    assert found["grants_of_who_wants_several"] >= found["grants"] / found["processes"] - 2
    assert found["jain"] >= 0.99


@pytest.mark.parametrize(("name", "each"), [("1-waits", 8.8), ("10-wait", 1.8)])
def test_what_waiting_costs_is_what_the_page_says(name, each):
    (case,) = [case for case in CASES if case.name == name]
    waiting = case.processes - case.tokens
    assert play(case)["requests_a_second"] / waiting == pytest.approx(each, rel=0.15)


def test_the_measure_tells_who_was_overtaken():
    came_first, came_later = (0.0, 9.0), (1.0, 8.0)
    assert out_of_order([came_later, came_first]) == 1
    assert out_of_order([came_first, came_later]) == 0
    assert out_of_order([came_later, came_first], longer=2.0) == 0
    assert out_of_order([(0.1, 8.0), came_first]) == 0, "less than a look apart"


def test_the_figures_of_real_processes_count_what_was_had_in_the_time():
    case = Case(name="pair", order="fifo", processes=2, tokens=1, hold=1.0, seconds=2.0, warm=1.0)
    first, second = [(0.0, 0.1, 1.5), (1.5, 2.5, 3.5)], [(0.0, 1.5, 2.5), (2.5, 3.5, 4.5)]
    found = figures(case, [first, second], [1, 1], requests=10)
    assert (found["grants"], found["least"], found["jain"]) == (2, 1, 1.0)
    assert found["use"] == pytest.approx((0.5 + 1.0 + 0.5) / 2.0)
    assert found["requests a grant"] == 5.0
    assert found["out of order"] == found["overtaken"] == 0
