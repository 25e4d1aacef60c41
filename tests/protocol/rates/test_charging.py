"""What is proposed for a charge, and what its answer means, case by case."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.rates import charging
from ddb_lease._protocol.rates.charging import (
    Attempt,
    HeldBack,
    KeyWanted,
    NeverEnough,
    NotBefore,
    StalePolicy,
    Wanted,
    adopted,
    due_of,
    due_times,
    horizon_of,
    is_charged,
    limits_of,
    propose,
    propose_together,
    remembered_until,
)
from ddb_lease._protocol.rates.messages import LimitCharge
from ddb_lease._protocol.rates.records import Hold, LimitPolicy, Policy
from ddb_lease._protocol.rates.validation import NS
from tests.rates import POLICY, REQUESTS, charge, key_state, limit, part

ATTEMPT = Attempt(key="k", id="mine", lane=3, process="p", settle_by=9_000)
NOW = 1_000
HOUR = 3_600


def proposed(state=None, *, policy=POLICY, booked=None, reserved=None, horizon=0, slack=0, now=NOW):
    wanted = Wanted(booked={"requests": 1} if booked is None else booked, reserved=reserved or {})
    return propose(policy, state, wanted, attempt=ATTEMPT, now=now, horizon=horizon, retention=HOUR, slack=slack)


def idle(**changes):
    return replace(LimitCharge(name="requests", branch="idle", charged=10, tolerance=100), **changes)


@pytest.mark.parametrize(
    ("tat", "horizon", "expected"),
    [
        (None, 0, idle()),
        (999, 0, idle()),
        (1_000, 0, idle(branch="busy")),
        (1_090, 0, idle(branch="busy")),
        (1_091, 0, NotBefore(at=1_001, limit="requests")),
        (1_091, 1, idle(branch="busy")),
        (1_200, 100, NotBefore(at=1_110, limit="requests")),
    ],
)
def test_one_limit_is_charged_as_of_now_and_booked_within_the_horizon(tat, horizon, expected):
    found = proposed(None if tat is None else key_state(limits={"requests": limit(tat)}), horizon=horizon)
    if isinstance(expected, NotBefore):
        assert found == expected
    else:
        assert (found.limits, found.due, found.horizon) == ((expected,), NOW, horizon)


def test_several_limits_are_charged_as_of_the_time_at_which_the_last_is_due():
    state = key_state(limits={"requests": limit(1_005), "tokens": limit(1_060)})
    found = proposed(state, booked={"requests": 1, "tokens": 1}, horizon=50)
    assert (found.due, found.horizon) == (1_011, 0)
    assert [one.branch for one in found.limits] == ["idle", "busy"]
    assert proposed(state, booked={"requests": 1, "tokens": 1}, horizon=50, slack=7).due == 1_018
    assert proposed(state, booked={"requests": 1, "tokens": 1}, horizon=12, slack=7).due == 1_012
    assert proposed(booked={"requests": 1, "tokens": 1}, horizon=12, slack=7).due == NOW


def test_a_limit_of_which_nothing_is_wanted_is_left_alone():
    assert [one.name for one in proposed(booked={"requests": 0, "tokens": 1}).limits] == ["tokens"]


def test_what_is_held_is_waited_for_until_it_may_be_swept():
    holds = {"p": Hold(held={"requests": 60}, until=7_000, attempt="x"), "q": Hold(held={}, until=1, attempt="y")}
    state = key_state(limits={"requests": limit(900, 60)}, holds=holds)
    assert proposed(state, booked={"requests": 5}, horizon=10**6) == HeldBack(limit="requests", until=7_000)
    assert proposed(state, booked={"requests": 4}).limits[0].branch == "idle"
    assert proposed(replace(state, holds={}), booked={"requests": 5}) == HeldBack(limit="requests", until=None)


def test_more_than_a_burst_is_never_to_be_had():
    assert proposed(booked={"requests": 11}) == NeverEnough(limit="requests", burst=10)
    assert proposed(booked={"requests": 6}, reserved={"requests": 5}) == NeverEnough(limit="requests", burst=10)


def test_a_blocked_key_is_booked_from_the_end_of_its_block():
    state = key_state(blocked_until=1_500)
    assert proposed(state) == NotBefore(at=1_500, limit="requests")
    found = proposed(state, horizon=600)
    assert (found.due, found.horizon) == (1_500, 100)


def test_an_override_rules_for_its_key():
    slow = replace(REQUESTS, interval=50)
    state = key_state(override={"requests": slow, "gone": slow}, override_rev=4)
    assert limits_of(POLICY, state) == {"requests": slow, "tokens": POLICY.limits["tokens"]}
    found = proposed(state)
    assert (found.limits[0].charged, found.override_rev, found.ttl) == (50, 4, None)


def test_an_item_of_a_newer_policy_asks_for_the_policy():
    assert proposed(key_state(rev=8)) == StalePolicy()


NEW = Policy(
    limits={"requests": replace(REQUESTS, rev=8, since=950), "tokens": POLICY.limits["tokens"]},
    rev=8,
)


def test_the_first_charge_under_a_new_policy_starts_from_the_change_and_a_burst():
    state = key_state(limits={"requests": limit(50_000, 3), "tokens": limit(1_020)})
    assert adopted(NEW, state).limits == {"requests": limit(1_050, 3), "tokens": limit(1_020)}
    found = proposed(state, policy=NEW, booked={"tokens": 1})
    assert found.adopts
    assert [(one.name, one.branch, one.cut, one.charged) for one in found.limits] == [
        ("requests", "cut", 1_050, 0),
        ("tokens", "busy", 0, 1),
    ]
    assert [one.branch for one in proposed(state, policy=NEW).limits] == ["cut"]
    assert proposed(state, policy=NEW, booked={"requests": 8}) == NotBefore(at=1_033, limit="requests")


def test_a_limit_that_was_not_charged_beyond_the_cut_keeps_what_it_has():
    state = key_state(limits={"requests": limit(1_050), "tokens": limit(1_020)})
    assert [one.branch for one in proposed(state, policy=NEW, booked={"tokens": 1}).limits] == ["kept", "busy"]
    assert [one.branch for one in proposed(state, policy=NEW).limits] == ["busy"]
    overridden = replace(state, override={"requests": REQUESTS}, limits={"requests": limit(5_000)})
    assert adopted(NEW, overridden) == overridden


def test_however_slow_a_policy_was_a_key_is_free_a_burst_after_its_change():
    state = key_state(limits={"requests": limit(10**15)})
    assert isinstance(proposed(state, policy=NEW, now=1_060), type(charge()))
    assert proposed(state, policy=NEW, now=950) == NotBefore(at=960, limit="requests")


def test_a_reservation_adds_to_the_hold_of_its_process():
    before = Hold(held={"requests": 20, "tokens": 2}, until=9_500, attempt="older")
    state = key_state(limits={"requests": limit(900, 20)}, holds={"p": before})
    found = proposed(state, booked={"tokens": 1}, reserved={"requests": 2})
    assert found.hold == Hold(held={"requests": 40, "tokens": 2}, until=9_500, attempt="mine")
    assert (found.process, found.hold_before) == ("p", "older")
    first = proposed(reserved={"requests": 2}, booked={})
    assert (first.hold, first.hold_before) == (Hold(held={"requests": 20}, until=9_000, attempt="mine"), None)
    assert (proposed(state).hold, proposed(state).process) == (None, "")


def test_a_ttl_is_a_retention_after_all_is_paid_for():
    second = 10**9
    assert proposed(now=second).ttl == 1 + 1 + HOUR  # rounded up
    state = key_state(limits={"tokens": limit(50 * second, 2 * second)})
    assert proposed(state, now=second).ttl == 52 + HOUR
    hold = Hold(held={}, until=70 * second, attempt="x")
    assert proposed(replace(state, holds={"q": hold}), now=second).ttl == 71 + HOUR, "a burst after it is settled"
    assert proposed(replace(state, blocked_until=80 * second), now=second, horizon=90 * second).ttl == 92 + HOUR


def test_what_is_held_keeps_the_item_until_it_is_paid_for_however_late_it_is_settled():
    second = 10**9
    slow = LimitPolicy(interval=600 * second, burst=6, permits=6, per=3_600)
    policy = replace(POLICY, limits={"requests": slow})
    attempt = replace(ATTEMPT, settle_by=3_000 * second)
    wanted = Wanted(reserved={"requests": 6}, settle_within=3_000 * second)
    found = propose(policy, None, wanted, attempt=attempt, now=second, horizon=0, retention=HOUR)
    assert found.ttl == 3_000 + 3_600 + HOUR


def test_a_key_and_its_parents_are_due_together():
    parent = KeyWanted(
        policy=POLICY,
        state=key_state(limits={"requests": limit(1_095)}),
        wanted=Wanted(booked={"requests": 1}),
        attempt=replace(ATTEMPT, key="org"),
    )
    child = replace(parent, state=None, attempt=ATTEMPT)
    found = propose_together([child, parent], token="t", now=NOW, horizon=50, retention=HOUR, slack=2)
    assert {one.due for one in found.charges} == {1_007}
    assert [one.limits[0].branch for one in found.charges] == ["idle", "busy"]
    assert propose_together([child, parent], token="t", now=NOW, horizon=4, retention=HOUR) == NotBefore(
        at=1_005, limit="requests"
    )
    assert propose_together([child], token="t", now=NOW, horizon=4, retention=HOUR, slack=2).charges[0].due == NOW


# What an answer means.


def test_permits_are_due_when_their_charge_is_within_the_tolerance():
    booked = charge(part("busy"), horizon=500)
    assert due_of([booked], key_state(limits={"requests": limit(1_050, 10)})) == 1_000
    assert due_of([booked], key_state(limits={"requests": limit(1_240, 10)})) == 1_150


def test_an_attempt_that_is_recognised_is_due_no_later_than_any_of_its_sendings_allowed():
    sent = [charge(part("busy"), horizon=500), charge(part("busy"), due=1_100, horizon=400)]
    assert due_of(sent, key_state(limits={"requests": limit(9_000)})) == 1_500
    assert due_of(sent, key_state(limits={"requests": limit(1_050)})) == 1_100
    assert due_of(sent, key_state()) == 1_100


@pytest.mark.parametrize("changed", [{"rev": 8}, {"override_rev": 5}], ids=str)
def test_an_attempt_that_is_recognised_after_a_cut_is_due_at_the_end_of_its_horizon(changed):
    sent = [charge(part("busy"), horizon=500)]
    assert due_of(sent, key_state(limits={"requests": limit(1_010)})) == 1_000
    assert due_of(sent, key_state(limits={"requests": limit(1_010)}, **changed)) == 1_500


def test_several_limits_are_due_when_they_were_charged():
    both = charge(part(), part(name="tokens"), due=1_200)
    assert due_of([charge(part(), part(name="tokens")), both], key_state(limits={"requests": limit(9_000)})) == 1_200


def test_permits_for_several_waiters_are_dealt_out_in_order():
    booked = charge(part("busy", charged=60), horizon=500)
    state = key_state(limits={"requests": limit(1_140)})
    assert due_times([booked], state, [10, 20, 20, 10]) == (1_000, 1_010, 1_030, 1_040)
    assert due_times([charge(part(), part(name="tokens"))], state, [10, 20]) == (1_000, 1_000)


def test_an_attempt_is_recognised_by_its_lane_or_its_hold():
    sent = charge(process="p", hold=Hold(held={}, until=1, attempt="mine"))
    assert not is_charged(sent, None)
    assert not is_charged(sent, key_state(lanes={1: "mine", 0: "other"}))
    assert is_charged(sent, key_state(lanes={0: "mine"}))
    assert is_charged(sent, key_state(holds={"p": Hold(held={}, until=1, attempt="mine")}))
    assert not is_charged(charge(), key_state(holds={"": Hold(held={}, until=1, attempt="other")}))


def test_the_horizon_is_the_time_left_but_no_more_than_30_s_or_two_intervals():
    slow = LimitPolicy(interval=20 * NS, burst=1, permits=1, per=20)
    wanted = Wanted(booked={"requests": 1})
    assert horizon_of(5 * NS, wanted, {"requests": REQUESTS}) == 5 * NS
    assert horizon_of(90 * NS, wanted, {"requests": REQUESTS, "slow": slow}) == 30 * NS
    assert horizon_of(90 * NS, wanted, {"requests": slow}) == 40 * NS
    assert horizon_of(-1, wanted, {"requests": slow}) == 0


def test_a_denial_is_remembered_for_as_long_as_it_holds_and_not_for_long():
    limits = {"requests": replace(REQUESTS, interval=NS)}
    state = key_state(limits={"requests": limit(10**15)})

    def until(at, *, state=state, limits=limits):
        return remembered_until(NotBefore(at=at, limit="requests"), state, limits, now=NOW)

    assert until(NOW + 5 * NS) == NOW + 5 * NS
    assert until(NOW + 10**15) == NOW + 30 * NS
    assert until(NOW + 10**15, state=key_state(limits={"requests": limit(10**15, 1)})) == NOW + NS
    assert until(NOW + 10**15, state=replace(state, holds={"p": Hold(held={}, until=1, attempt="x")})) == NOW + NS
    assert charging.REMEMBERED >= charging.REMEMBERED_BRIEFLY
