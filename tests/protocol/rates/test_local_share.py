"""A share of a rate: rounded to the strict side, and charged so that its envelope holds exactly."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.rates.charging import NeverEnough, NotBefore, Wanted, earliest_due
from ddb_lease._protocol.rates.local_share import charged, is_idle, share_of
from ddb_lease._protocol.rates.records import KeyState, LimitState
from ddb_lease._protocol.rates.validation import limit_policies
from ddb_lease.models import Limit

NS = 1_000_000_000
START = 50 * NS


@pytest.mark.parametrize(
    ("limit", "share", "interval", "burst"),
    [
        (Limit(100, burst=200), 0.1, NS // 10, 20),
        (Limit(100, burst=29), 0.1, NS // 10, 2),
        (Limit(1_000, burst=100), 0.29, -(-100 * NS // 29_000), 29),
        (Limit(1, burst=1), 0.1, 10 * NS, 1),
        (Limit(3, per=60, burst=3), 1.0, 20 * NS, 3),
        (Limit(3, burst=7), 1 / 3, -(-333_333_334 * 3 // 1), 2),
    ],
)
def test_a_share_is_slower_by_its_factor_and_has_a_smaller_burst_and_one_permit_at_least(limit, share, interval, burst):
    (part,) = share_of(limit_policies({"x": limit}), share).limits.values()
    assert part.interval == pytest.approx(interval, rel=1e-5)
    assert part.interval * Fraction(share).limit_denominator(1_000_000) >= limit_policies({"x": limit})["x"].interval
    assert part.burst == burst


@given(
    st.floats(0.01, 1.0),
    st.lists(
        st.tuples(st.integers(0, 3 * NS), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2 * NS)), max_size=40
    ),
)
def test_of_permits_by_a_share_no_more_are_due_in_any_time_than_the_share_allows_of_each_limit(share, calls):
    limits = limit_policies({"a": Limit(2, burst=4), "b": Limit(5, per=3, burst=4)})
    policy = share_of(limits, share)
    now, state, used = START, None, {"a": [], "b": []}
    for later, a, b, horizon in calls:
        now += later
        wanted = Wanted(booked={"a": a}, reserved={"b": b})
        due = earliest_due(policy, state, wanted, now=now)
        if not wanted.limits or not isinstance(due, NotBefore) or due.at > now + horizon:
            assert isinstance(due, (NotBefore, NeverEnough))
            continue
        state = charged(policy, state, wanted, due=due.at)
        for name, count in (("a", a), ("b", b)):
            used[name] += [(due.at, count)] if count else []
    for name, uses in used.items():
        part = policy.limits[name]
        for first, _ in uses:
            for last, _ in uses:
                within = sum(count for at, count in uses if first <= at <= last)
                assert first > last or within * part.interval <= last - first + part.tolerance


def test_after_a_quiet_time_the_burst_is_to_be_had_and_no_more():
    policy, now = share_of(limit_policies({"x": Limit(1, burst=40)}), 0.1), START
    state, one = charged(policy, None, Wanted(booked={"x": 1}), due=START), Wanted(booked={"x": 1})
    now += 1_000 * NS
    for _ in range(policy.limits["x"].burst):
        assert earliest_due(policy, state, one, now=now) == NotBefore(at=now, limit="")
        state = charged(policy, state, one, due=now)
    assert earliest_due(policy, state, one, now=now).at == now + policy.limits["x"].interval


def test_a_key_is_idle_when_all_of_its_permits_are_paid_for():
    state = KeyState(limits={"a": LimitState(tat=5, reach=5), "b": LimitState(tat=9, reach=9)}, rev=0)
    assert not is_idle(state, now=8)
    assert is_idle(state, now=9)
