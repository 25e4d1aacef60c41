"""What users give as limits, keys and permits: what fits, and what is refused with what to do."""

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease import ConfigurationError
from ddb_lease._protocol.rates.records import LimitPolicy
from ddb_lease._protocol.rates.validation import (
    LONGEST_NS,
    NS,
    checked_key,
    checked_permits,
    limit_policies,
    limit_policy,
)
from ddb_lease.models import Limit


def test_a_limit_has_an_interval_and_a_burst_of_one_per():
    assert limit_policy(Limit(100, per=60)) == LimitPolicy(interval=600_000_000, burst=100, permits=100.0, per=60.0)
    assert limit_policy(Limit(0.5, per=timedelta(minutes=1))).burst == 1
    assert limit_policy(Limit(90_000, per=60, burst=7)).tolerance == 7 * 666_667


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 50))
def test_no_rate_is_kept_above_what_was_asked_for_nor_a_thousandth_below(permits, per, burst):
    limit = Limit(permits, per=per, burst=burst)
    kept = Fraction(NS, limit_policy(limit).interval)
    assert Fraction(permits, per) * Fraction(999, 1000) <= kept <= Fraction(permits, per)


def test_a_float_is_meant_as_it_is_written():
    assert limit_policy(Limit(0.1, per=0.1)).interval == NS
    assert limit_policy(Limit(3, per=0.3)).interval == 100_000_000


@pytest.mark.parametrize(
    "settings",
    [
        *({"permits": permits} for permits in (0, -1, float("nan"), float("inf"), True, "5", None, 10**16)),
        *({"permits": 1, "per": per} for per in (0, -1, float("nan"), float("inf"), "60", None, timedelta(0))),
        *({"permits": 1, "burst": burst} for burst in (0, -1, 1.5, float("inf"), True, "2")),
    ],
)
def test_a_limit_that_cannot_work_is_refused_when_it_is_made(settings):
    with pytest.raises(ConfigurationError, match=f"{list(settings)[-1]} must be a .*number"):
        Limit(**settings)


@pytest.mark.parametrize(
    "limit", [Limit(1_000_001), Limit(1, per=60, burst=LONGEST_NS // (60 * NS) + 1), 100, None, {"permits": 1}]
)
def test_what_is_no_limit_of_a_limiter_is_refused(limit):
    with pytest.raises(ConfigurationError):
        limit_policy(limit)


def test_a_burst_may_take_a_year_to_come_back():
    assert limit_policy(Limit(1, per=60, burst=LONGEST_NS // (60 * NS))).tolerance == LONGEST_NS


def test_limits_are_checked_and_come_in_the_order_of_their_names():
    assert list(limit_policies({"tokens": Limit(2), "requests": Limit(1)})) == ["requests", "tokens"]


@pytest.mark.parametrize(
    "name", ["", "a b", "1st", "n", "timeout", "key", "under", "self", "_a", "é", "x" * 33, None, 7]
)
def test_a_limits_name_must_be_a_keyword_argument(name):
    with pytest.raises(ConfigurationError, match="keyword argument"):
        limit_policies({name: Limit(1)})


@pytest.mark.parametrize("limits", [{}, None, [Limit(1)], {f"limit_{n}": Limit(1) for n in range(11)}])
def test_a_limiter_has_one_to_ten_limits(limits):
    with pytest.raises(ConfigurationError, match="1 to 10"):
        limit_policies(limits)


def test_a_key_is_text_of_a_bounded_size():
    assert checked_key("team-7") == "team-7"
    assert checked_key("é" * 256) == "é" * 256
    for key in ("", None, 7, b"bytes", "é" * 257, "\ud800"):
        with pytest.raises(ConfigurationError, match="key"):
            checked_key(key)


def test_numbers_of_permits_are_whole_and_of_limits_that_there_are():
    assert checked_permits({"a": 2, "b": 0}, ["a", "b", "c"]) == {"a": 2}
    for wanted in ({"d": 1}, {"a": -1}, {"a": True}, {"a": 1.0}, {"a": None}):
        with pytest.raises(ConfigurationError):
            checked_permits(wanted, ["a", "b"])
    with pytest.raises(ConfigurationError, match="from 1 up"):
        checked_permits({"a": 0}, ["a"], least=1)
