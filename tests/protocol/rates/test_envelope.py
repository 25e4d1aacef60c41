"""A random search for permits beyond what is promised: of those used in t seconds at most rate * (t + s) + burst.

Each rule of the protocol that carries the promise is broken once, and the search must find that.
"""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.rates import charging
from ddb_lease._protocol.rates.charging import Attempt, Wanted
from ddb_lease._protocol.rates.messages import KeyWritten
from tests.protocol.rates.world import HOLD_FOR, START, SWEPT_AFTER, Process, Setting, Use, World, most_beyond

RUNS = 2_000
STEPS = 30
ROUNDING = 1e-6


def excess_of(seed, setting):
    world = World(Random(seed), setting)
    world.run(STEPS)
    return world.excess()


SETTINGS = {
    "one limit, booked": Setting(limits=1, reserves=False),
    "one limit, reserved": Setting(limits=1),
    "several limits, booked": Setting(limits=3, reserves=False),
    "several limits, reserved": Setting(limits=3),
    "a policy that changes": Setting(changes=True),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_no_more_permits_are_used_than_promised(setting):
    found = [seed for seed in range(RUNS) if excess_of(seed, setting) > ROUNDING]
    assert not found


@given(seed=st.integers(1_000_000), setting=st.sampled_from(list(SETTINGS.values())))
def test_no_more_permits_are_used_than_promised_whatever_the_seed(seed, setting):
    assert excess_of(seed, setting) <= ROUNDING


@pytest.mark.parametrize("broken", ["held", "refund", "as of now"])
def test_the_search_finds_each_rule_that_is_broken(broken):
    setting = Setting(limits=2, faults=False, broken=broken)
    assert any(excess_of(seed, setting) > ROUNDING for seed in range(RUNS))


def test_the_oracle_counts_the_permits_of_every_window():
    assert most_beyond([(START, 5)], 2) == pytest.approx(5)
    assert most_beyond([(START, 5), (START + 2, 1)], 2) == pytest.approx(5)
    assert most_beyond([(START, 5), (START + 2, 3)], 2) == pytest.approx(7)
    assert most_beyond([(START + 2 * number, 1) for number in range(50)], 2) == pytest.approx(1)
    world = World(Random(1), Setting(limits=1, reserves=False))
    limit = world.policy.limits["limit_0"]
    assert world.excess() < 0
    world.uses = [Use(limit="limit_0", rev=1, at=START, permits=limit.burst + 100)]
    assert world.excess() > 0


@pytest.mark.parametrize("seed", range(60))
def test_after_faults_the_whole_rate_is_to_be_had(seed):
    world = World(Random(seed), Setting(limits=2))
    world.run(STEPS)
    world.pass_time(40)  # whatever is under way arrives
    last = Process(name="last", lane=7, error=0, slew=0, policy=world.policy, seen=world.item.state)
    reach = max((limit.reach for limit in world.item.state.limits.values()), default=0) if world.item.state else 0
    world.pass_time(max(0, reach - world.now) + 2 * HOLD_FOR + SWEPT_AFTER + 60)
    world.setting = Setting(limits=2, faults=False)
    for _ in range(2 * len(world.processes)):
        last.seen = world.item.state
        world.sweep(last)
    if world.item.state is None:
        return  # nothing was ever charged
    assert not world.item.state.holds
    world.pass_time(max(0, *(limit.reach - world.now for limit in world.item.state.limits.values()), 1) + 1)
    for name, limit in world.policy.limits.items():
        for count in (limit.burst, *[1] * 5):
            request = charging.propose(
                world.policy,
                world.item.state,
                Wanted(booked={name: count}),
                attempt=Attempt(key="k", id=world.next_attempt(), lane=7),
                now=world.now,
                horizon=0,
                retention=0,
            )
            assert isinstance(world.send(request), KeyWritten)
            world.pass_time(limit.interval)


@pytest.mark.parametrize("seed", range(200))
def test_bookings_are_due_in_their_order(seed):
    world = World(Random(seed), Setting(limits=1, reserves=False, faults=False))
    for process in world.processes:
        process.error = process.slew = 0
    world.run(STEPS)
    dues = [use.at for use in world.uses]
    assert dues == sorted(dues)
