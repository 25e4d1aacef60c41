"""The gate: what one process uses in any time, and how long it waits where the policy has changed."""

import pytest

from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.validation import limit_policies
from ddb_lease._state.rates.use_gate import UseGate
from ddb_lease.models import Limit

NS = 1_000_000_000


def limits(rate, burst, per=1):
    return limit_policies({"permits": Limit(rate, per=per, burst=burst)})


def some(n):
    return Wanted(booked={"permits": n})


def test_a_burst_passes_at_once_and_then_one_an_interval():
    gate, ten = UseGate(), limits(10, 3)
    assert [gate.wait_ns(some(1), ten, now=0) for _ in range(4)] == [0, 0, 0, NS // 10]
    assert gate.wait_ns(some(1), ten, now=NS // 10 - 1) == 1
    assert gate.wait_ns(some(1), ten, now=NS // 10) == 0
    assert gate.wait_ns(some(3), ten, now=NS // 10) == NS * 3 // 10


def test_what_passed_under_a_slow_policy_holds_nobody_back_under_a_fast_one():
    gate = UseGate()
    assert gate.wait_ns(some(5), limits(1, 5, per=3600), now=0) == 0
    fast = limits(10, 3)
    assert gate.wait_ns(some(1), fast, now=0) == NS // 10
    assert gate.wait_ns(some(3), fast, now=0) == NS * 3 // 10
    assert gate.wait_ns(some(3), fast, now=NS * 3 // 10) == NS * 3 // 10, "it is as if nothing were used before"


@pytest.mark.parametrize("used", [0, 1])
def test_what_was_booked_under_a_larger_burst_passes_in_the_end(used):
    gate, small = UseGate(), limits(10, 2)
    if used:
        assert gate.wait_ns(some(1), small, now=0) == 0
        assert gate.wait_ns(some(5), small, now=0) == NS // 10
    assert gate.wait_ns(some(5), small, now=used * NS // 10) == 0
    assert gate.wait_ns(some(1), small, now=used * NS // 10) > 0
