"""Spare permits: taken in the order of their due times, one by one or together, and forgone after a while."""

import pytest

from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._state.spares import SPARE_NS, Spares
from tests.support import memory_of


def some(n=1, **permits):
    return Wanted(booked=permits or {"permits": n})


def spares_of(*entries):
    spares = Spares()
    for wanted, due in entries:
        spares.put(wanted, due=due)
    return spares


def test_there_are_none_at_first():
    spares = Spares()
    assert not spares
    assert spares.take(some(), now=0, by=100) is None
    assert spares.in_hand(now=0) == 0


def test_the_one_that_is_due_first_is_taken_first_however_they_came():
    spares = spares_of((some(), 30), (some(), 10), (some(), 20))
    assert [spares.take(some(), now=0, by=100) for _ in range(4)] == [10, 20, 30, None]
    assert not spares


def test_several_are_due_with_the_last_of_them():
    spares = spares_of((some(3), 10), (some(3), 20))
    assert spares.take(some(4), now=0, by=100) == 20
    assert spares.in_hand(now=0) == 2
    assert spares.take(some(3), now=0, by=100) is None
    assert spares.take(some(2), now=0, by=100) == 20


def test_those_that_are_due_too_late_stay():
    spares = spares_of((some(), 10), (some(), 20))
    assert spares.take(some(2), now=0, by=19) is None
    assert spares.take(some(), now=0, by=10) == 10
    assert spares.in_hand(now=0) == 1


def test_permits_of_several_limits_go_together():
    spares = spares_of((some(a=1, b=5), 10), (some(a=1, b=5), 20))
    assert spares.in_hand(now=0) == 10
    for other in (some(a=1), some(b=5), some(a=1, b=4), some(a=2, b=10)):
        assert spares.take(other, now=0, by=100) is None
    assert spares.take(some(a=1, b=5), now=0, by=100) == 10


def test_a_reservation_neither_is_one_nor_takes_one():
    spares = spares_of((Wanted(reserved={"permits": 2}), 10))
    assert not spares
    spares.put(some(2), due=10)
    assert spares.take(Wanted(reserved={"permits": 2}), now=0, by=100) is None


def test_those_that_nobody_took_for_a_second_are_forgone():
    spares = spares_of((some(2), 10), (some(1), 20))
    assert spares.in_hand(now=10 + SPARE_NS) == 3
    assert spares.take(some(2), now=11 + SPARE_NS, by=1 << 62) is None
    assert spares.in_hand(now=11 + SPARE_NS) == 1
    assert spares.in_hand(now=21 + SPARE_NS) == 0
    assert not spares


@pytest.mark.parametrize("n", [10**6, 10**9])
def test_millions_are_one_entry(n):
    spares = spares_of((some(n), 10), (some(n), 20))
    assert spares.take(some(n + 1), now=0, by=100) == 20
    assert spares.in_hand(now=0) == n - 1
    assert memory_of(spares) < memory_of(spares_of((some(1), 10))) + 200
