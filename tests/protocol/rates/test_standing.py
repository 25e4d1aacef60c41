"""Where a key stands: what is left of each limit, and when there is more."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.records import Policy
from ddb_lease._protocol.rates.standing import LimitStanding, shortage, standing
from tests.rates import POLICY, REQUESTS, key_state, limit

FULL = LimitStanding(remaining=10, retry_after=0, reset_after=0, held=0)


def stands(state, policy=POLICY):
    return standing(policy, state, now=1_000)


def test_an_unused_key_has_its_whole_burst():
    assert stands(None).limits["requests"] == FULL
    assert stands(key_state(limits={"requests": limit(999)})).limits["requests"] == FULL


def test_what_is_charged_and_held_is_not_left():
    found = stands(key_state(limits={"requests": limit(1_035, 21)})).limits["requests"]
    assert found == LimitStanding(remaining=4, retry_after=0, reset_after=56, held=3)


def test_it_is_told_when_one_more_can_be_had():
    found = stands(key_state(limits={"requests": limit(1_095)})).limits["requests"]
    assert (found.remaining, found.retry_after) == (0, 5)


def test_a_debt_leaves_nothing():
    found = stands(key_state(limits={"requests": limit(1_500)})).limits["requests"]
    assert found == LimitStanding(remaining=0, retry_after=410, reset_after=500, held=0)


def test_a_blocked_key_has_nothing_until_its_block_ends():
    found = stands(key_state(blocked_until=1_300)).limits["requests"]
    assert (found.remaining, found.retry_after, found.reset_after) == (0, 300, 300)
    assert stands(key_state(blocked_until=1_000)).limits["requests"] == FULL


def test_the_tightest_limit_is_the_one_that_is_waited_for_longest():
    assert stands(key_state(limits={"requests": limit(1_095), "tokens": limit(1_500)})).tightest == "tokens"
    assert stands(key_state(limits={"requests": limit(1_050), "tokens": limit(1_005)})).tightest == "requests"
    assert stands(key_state(limits={"requests": limit(1_010), "tokens": limit(1_030)})).tightest == "tokens"
    assert stands(None).tightest == "requests"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, {"requests": 0, "tokens": 0}),
        (key_state(limits={"requests": limit(900)}), {"requests": 0, "tokens": 0}),
        (key_state(limits={"requests": limit(1_060, 20), "tokens": limit(1_045)}), {"requests": 10, "tokens": 0}),
        (key_state(limits={"tokens": limit(1_046)}), {"requests": 0, "tokens": 1}),
        (key_state(limits={"requests": limit(1_090)}, blocked_until=1_005), {"requests": 20, "tokens": 5}),
        (key_state(limits={"requests": limit(1_090)}, blocked_until=999), {"requests": 20, "tokens": 0}),
    ],
)
def test_what_is_wanted_is_had_once_each_limit_has_room_for_all_of_it(state, expected):
    wanted = Wanted(booked={"requests": 2, "gone": 1}, reserved={"requests": 1, "tokens": 5})
    assert shortage(POLICY, state, wanted, now=1_000) == expected


def test_a_changed_policy_and_an_override_count():
    new = Policy(limits={"requests": replace(REQUESTS, rev=8, since=950)}, rev=8)
    assert stands(key_state(limits={"requests": limit(9_000)}), new).limits["requests"].remaining == 5
    state = key_state(override={"requests": replace(REQUESTS, burst=3)}, override_rev=1)
    assert stands(state).limits["requests"].remaining == 3
