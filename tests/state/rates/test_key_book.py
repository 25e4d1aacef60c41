"""The book of a key: what it takes from answers that come late."""

import pytest

from ddb_lease._state.rates.key_book import KeyBook, last_seen
from ddb_lease._state.rates.use_gate import UseGate
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


def test_an_item_that_shows_less_than_was_guessed_was_forgiven_nothing(book):
    gate = book.gate
    book.learn(key_state(limits={"requests": limit(1_300)}), now=1_010, guessed=True)
    book.learn(key_state(limits={"requests": limit(1_400)}), now=1_020, guessed=True)
    shown = key_state(limits={"requests": limit(1_200)})
    book.learn(shown, now=1_040, since=1_030)
    assert (book.known, book.gate) == (shown, gate)
    book.learn(key_state(limits={"requests": limit(1_150)}), now=1_060, since=1_050)
    assert book.gate is None


def test_an_item_that_shows_less_than_before_a_guess_was_forgiven_something(book):
    book.learn(key_state(limits={"requests": limit(1_300)}), now=1_010, guessed=True)
    book.learn(key_state(limits={"requests": limit(1_050)}), now=1_040, since=1_030)
    assert book.gate is None


def test_a_guess_about_a_key_that_was_never_seen_tells_nothing_of_what_was_forgiven():
    book = KeyBook()
    gate = book.gate = UseGate()
    book.learn(key_state(limits={"requests": limit(1_300)}), now=1_010, guessed=True)
    book.learn(key_state(limits={"requests": limit(1_200)}), now=1_040, since=1_030)
    assert book.gate is gate


def test_what_was_seen_last_is_known_while_another_thread_learns_the_item():
    class Learning(KeyBook):
        """A book whose item another thread learns as it is looked whether it is doubted."""

        __slots__ = ("_doubted",)

        @property
        def doubted(self):
            doubted = self._doubted
            if doubted is not None:
                self.learn(seen, now=1_020)
            return doubted

        @doubted.setter
        def doubted(self, state):
            self._doubted = state

    seen, book = key_state(limits={"requests": limit(1_100)}), Learning()
    book.doubted = seen
    assert last_seen(book) == seen
