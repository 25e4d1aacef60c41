"""The book of a key: what it takes from answers that come late."""

import pytest

from ddb_lease._state.key_book import KeyBook
from ddb_lease._state.use_gate import UseGate
from tests.rates import key_state, limit


@pytest.fixture
def book():
    book = KeyBook()
    book.learn(key_state(limits={"requests": limit(1_100)}), now=1_000)
    book.gate = UseGate()
    return book


LESS = [key_state(limits={"requests": limit(1_050)}), key_state(), None]


@pytest.mark.parametrize("less", LESS, ids=["less", "nothing of the limit", "no item"])
def test_an_item_that_shows_less_was_forgiven_something(book, less):
    book.learn(less, now=1_020, since=1_000)
    assert (book.known, book.known_at, book.gate) == (less, 1_020, None)


@pytest.mark.parametrize("less", LESS, ids=["less", "nothing of the limit", "no item"])
def test_an_answer_that_was_overtaken_shows_an_older_item(book, less):
    known, gate = book.known, book.gate
    book.learn(less, now=1_020, since=999)
    assert (book.known, book.known_at, book.gate) == (known, 1_000, gate)


def test_an_answer_that_was_overtaken_and_shows_more_is_newer_all_the_same(book):
    more = key_state(limits={"requests": limit(1_200)})
    gate = book.gate
    book.learn(more, now=1_020, since=999)
    assert (book.known, book.known_at, book.gate) == (more, 1_020, gate)
