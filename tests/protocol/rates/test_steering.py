"""What an operator sends: policies, overrides, blocks, resets."""

from dataclasses import replace

import pytest

from ddb_lease import ConfigurationError
from ddb_lease._protocol.rates.messages import Block, ChangePolicy, Reset
from ddb_lease._protocol.rates.records import Policy
from ddb_lease._protocol.rates.steering import (
    block,
    change_policy,
    create_policy,
    differing,
    override,
    raise_policy,
    reset,
    same,
)
from tests.rates import POLICY, REQUESTS, TOKENS, key_state, limit

MS = 10**6
SLOW = replace(REQUESTS, interval=20)


def test_a_first_policy_has_the_time_as_its_revision():
    found = create_policy({"requests": REQUESTS}, now=55 * MS + 9).policy
    assert found == Policy(limits={"requests": replace(REQUESTS, rev=55, since=55 * MS + 9)}, rev=55)


def test_a_change_dates_the_limits_that_it_changes_and_no_others():
    found = change_policy(POLICY, {"requests": SLOW, "tokens": TOKENS}, now=3 * MS)
    assert found.rev_before == 7
    assert found.policy == Policy(limits={"requests": replace(SLOW, rev=8, since=3 * MS), "tokens": TOKENS}, rev=8)
    assert change_policy(POLICY, {"requests": SLOW}, now=90 * MS).policy.rev == 90


def test_limits_come_and_go():
    found = change_policy(POLICY, {"requests": None, "new": SLOW}, now=0).policy
    assert sorted(found.limits) == ["new", "tokens"]
    with pytest.raises(ConfigurationError, match="not 0"):
        change_policy(POLICY, {"requests": None, "tokens": None}, now=0)
    with pytest.raises(ConfigurationError, match="not 11"):
        change_policy(POLICY, {f"limit_{n}": SLOW for n in range(9)}, now=0)


def test_one_limit_may_be_left():
    assert change_policy(POLICY, {"requests": None}, now=0).policy == Policy(limits={"tokens": TOKENS}, rev=8)


def test_a_policy_is_raised_above_what_an_item_shows_and_its_limits_stay():
    assert raise_policy(POLICY, above=20) == ChangePolicy(policy=replace(POLICY, rev=21), rev_before=7)


def test_a_change_that_changes_nothing_is_not_sent():
    assert change_policy(POLICY, {"requests": replace(REQUESTS, permits=1.0, rev=3)}, now=0) is None


def test_a_difference_is_one_of_rate_or_burst():
    assert same(REQUESTS, replace(REQUESTS, rev=9, since=9, permits=3.0))
    assert not same(REQUESTS, replace(REQUESTS, burst=11))
    assert differing(POLICY, {"requests": REQUESTS, "tokens": TOKENS}) == ()
    assert differing(POLICY, {"requests": SLOW, "more": TOKENS}) == ("more", "requests", "tokens")


def overridden(state, limits, now=1_000):
    return override(POLICY, state, limits, key="k", now=now, retention=3_600)


def test_an_override_stays_and_cuts_what_is_beyond_it():
    state = key_state(limits={"requests": limit(9_000), "tokens": limit(9_000)}, override_rev=4)
    found = overridden(state, {"requests": SLOW})
    assert (found.cuts, found.override_rev, found.override_rev_after, found.ttl) == ({"requests": 1_200}, 4, 5, None)
    assert (found.key, found.rev) == ("k", 7)
    first = overridden(None, {"requests": SLOW}, now=55 * MS)
    assert (first.override_rev, first.override_rev_after) == (0, 55)
    assert overridden(key_state(limits={"requests": limit(1_200)}), {"requests": SLOW}).cuts == {}


def test_where_an_override_ends_the_policy_cuts():
    state = key_state(limits={"requests": limit(9_000)}, override={"requests": SLOW}, override_rev=4)
    found = overridden(state, {})
    assert (found.cuts, found.limits, found.ttl) == ({"requests": 1_100}, {}, 3_601)
    state = replace(state, blocked_until=90 * 10**9)
    assert overridden(state, {}).ttl == 90 + 3_600, "what else it shows keeps the item"


def test_a_block_keeps_its_item_until_it_ends():
    second = 10**9
    request = Block(key="k", until=90 * second, rev=7, override_rev=0, ttl=90 + 3_600)
    assert block(POLICY, None, key="k", until=90 * second, now=0, retention=3_600) == request
    state = key_state(override={"requests": SLOW}, override_rev=4)
    found = block(POLICY, state, key="k", until=90, now=0, retention=3_600)
    assert (found.override_rev, found.ttl) == (4, None)


def test_a_key_can_be_blocked_where_somebody_has_taken_all_limits_out_of_the_policy():
    found = block(replace(POLICY, limits={}), None, key="k", until=90 * 10**9, now=0, retention=3_600)
    assert found.ttl == 90 + 3_600


def test_a_reset_names_the_limits_that_were_not_seen():
    state = key_state(limits={"requests": limit(1)})
    assert reset(POLICY, state, key="k") == Reset(key="k", seen=state, others=("tokens",))
