"""The local book: each key has its share exactly, and memory stays bounded however many keys there are."""

import itertools

import pytest

from ddb_lease._protocol.rates.charging import NeverEnough, NotBefore, Wanted
from ddb_lease._protocol.rates.validation import limit_policies
from ddb_lease._state.rates import local_book
from ddb_lease._state.rates.local_book import LocalBook
from ddb_lease.models import Limit

NS = 1_000_000_000
LIMITS = limit_policies({"permits": Limit(100, burst=50)})
ONE = Wanted(booked={"permits": 1})


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(local_book, "MOST_KEYS", 3)


def take(book, key, *, now=0, horizon=0, wanted=ONE, limits=LIMITS):
    return book.take(key, wanted, limits, now=now, horizon=horizon)


def burst(book, key, *, now=0):
    """How many permits a key has at once."""
    return len(
        list(itertools.takewhile(lambda due: isinstance(due, int), (take(book, key, now=now) for _ in range(99))))
    )


def test_each_key_has_its_share_of_the_burst_and_then_of_the_rate():
    book = LocalBook(0.1)
    assert burst(book, "a") == 5
    assert burst(book, "b") == 5
    assert burst(book, "a", now=NS // 10 - 1) == 0
    assert burst(book, "a", now=NS // 10) == 1
    assert take(book, "a", now=NS // 10) == NotBefore(at=NS // 5, limit="permits")


def test_a_caller_that_waits_books_ahead_in_order():
    book = LocalBook(0.1)
    burst(book, "a")
    assert [take(book, "a", horizon=3 * NS // 10) for _ in range(3)] == [NS // 10, NS // 5, 3 * NS // 10]
    assert take(book, "a", horizon=3 * NS // 10) == NotBefore(at=2 * NS // 5, limit="permits")


def test_more_permits_than_the_shares_burst_are_never_had():
    assert take(LocalBook(0.1), "a", wanted=Wanted(booked={"permits": 6})) == NeverEnough(limit="permits", burst=5)


def test_a_denial_changes_nothing():
    book = LocalBook(0.1)
    burst(book, "a")
    before = book.state_of("a")
    assert not isinstance(take(book, "a"), int)
    assert book.state_of("a") == before


@pytest.mark.usefixtures("few")
def test_keys_beyond_the_most_share_one_entry():
    book = LocalBook(0.1)
    for key in "abc":
        assert burst(book, key) == 5
    assert burst(book, "d") == 5
    assert burst(book, "e") == 0, "d and e share"
    assert len(book) == 3


@pytest.mark.usefixtures("few")
def test_keys_whose_permits_are_paid_for_make_room():
    book = LocalBook(0.1)
    for key in "abc":
        burst(book, key)
    assert burst(book, "d", now=NS // 2) == 5
    assert burst(book, "e", now=NS // 2) == 5
    assert len(book) <= 3


@pytest.mark.usefixtures("few")
def test_a_key_that_gets_an_entry_of_its_own_begins_where_the_shared_one_stands():
    book = LocalBook(0.1)
    for number, key in enumerate("abc"):
        burst(book, key, now=number)
    assert burst(book, "d", now=NS // 4) == 5, "the others have paid for less than half"
    assert burst(book, "d", now=NS // 2 + 2) == 2, "a tenth of a second for each permit since"


@pytest.mark.usefixtures("few")
def test_a_hundred_keys_take_no_more_memory_than_the_most():
    book = LocalBook(0.1)
    for number in range(100):
        take(book, str(number), now=number * 1_000)
        assert len(book) <= 3
