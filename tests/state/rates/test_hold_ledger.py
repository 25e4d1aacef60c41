"""The ledger of a key's reservations: what it settles, and what it makes of answers in any order."""

import itertools

import pytest

from ddb_lease._protocol.rates.records import Hold
from ddb_lease._protocol.rates.settling import SWEPT_AFTER, Reserved
from ddb_lease._state.rates.hold_ledger import Held, HoldLedger, Settler, covers
from tests.rates import key_state, limit


def held(permits=3, *, until=100, used=None):
    return Held(reserved={"tokens": Reserved(permits=permits, interval=10)}, until=until, used=used)


def hold(amount, attempt="a"):
    return Hold(held={"tokens": amount}, until=100, attempt=attempt)


def shows(attempt, amount=30, lanes=None):
    holds = {} if attempt is None else {"p": hold(amount, attempt)}
    return key_state(limits={"tokens": limit(0, amount)}, holds=holds, lanes=lanes or {})


def ledger(*entries, bases=("before",)):
    made = HoldLedger()
    for entry in entries:
        made.add(entry, bases=bases)
    return made


def settlement(book, amount, *, reserving=False, now=50, attempt="s"):
    return book.settlement(hold(amount), process="p", lane=1, attempt=attempt, reserving=reserving, now=now)


def test_what_is_ready_is_settled_together_and_what_is_held_stays():
    first, second, third = held(3, used={"tokens": 1}), held(2), held(4, used={})
    found = settlement(ledger(first, second, third), 90)
    assert found.entries == (first, third)
    assert (found.held, found.used) == ({"tokens": 70}, {"tokens": 10 + 40})


def test_what_is_overdue_is_settled_in_full():
    found = settlement(ledger(held(3, until=40), held(2)), 50)
    assert (found.held, found.used) == ({"tokens": 30}, {"tokens": 30})


@pytest.mark.parametrize("readings", range(6))
def test_what_its_holder_tells_just_as_it_is_settled_counts_or_does_not(readings):
    class Telling(Held):
        """What its holder tells under another lock, after so many readings."""

        @property
        def used(self):
            return {"tokens": 1} if next(count) >= readings else None

        @used.setter
        def used(self, _):
            pass

    count = itertools.count()
    one = Telling(reserved=held(3).reserved, until=40)
    found = settlement(ledger(one), 30)
    assert found.used == {"tokens": 30 if one in found.in_full else 10}


def test_what_nobody_holds_is_settled_in_full_unless_a_charge_is_under_way():
    assert settlement(ledger(held(3)), 50, reserving=True) is None
    found = settlement(ledger(held(3)), 50)
    assert (found.entries, found.held, found.used) == ((), {"tokens": 20}, {"tokens": 20})
    assert settlement(ledger(held(3)), 30) is None


def test_one_settlement_is_under_way_until_its_outcome_is_known():
    one, other = held(3, used={}), held(2)
    book = ledger(one, other)
    found = settlement(book, 50)
    other.used = {}
    assert settlement(book, 50, attempt="another") is found
    book.saw(shows("s", 20), process="p")
    assert (one.counted, other.counted) == (True, None)
    assert settlement(book, 20, attempt="another").entries == (other,)


def test_a_settlement_is_recognised_by_its_lane_too():
    one = held(used={})
    book = ledger(one)
    settlement(book, 30)
    book.saw(shows(None, lanes={1: "s"}), process="p")
    assert one.counted is True
    assert book.entries == []


def test_an_answer_that_comes_late_does_not_undo_what_was_seen_since():
    book = ledger(held(), bases=["before"])
    book.saw(shows("now"), process="p")
    book.saw(shows("before"), process="p")
    assert book.seen == shows("now")
    settled = held(used={})
    book.add(settled, bases=["now"])
    found = settlement(book, 60)
    found.bases.add("then")
    book.over(found, counted=True)
    book.saw(shows("s"), process="p")
    for late in ("now", "then"):
        book.saw(shows(late), process="p")
        assert book.seen == shows("s")


def test_a_hold_that_is_made_anew_ends_all_older_reservations():
    old, new = held(), held()
    book = ledger(old)
    book.add(new, bases=[None])
    assert (old.counted, new.counted) == (False, None)
    assert book.entries == [new]


def test_a_settlement_of_what_nobody_held_is_over_once_the_hold_is_made_anew():
    book, new = ledger(held()), held(used={})
    settlement(book, 50)
    book.lose(book.entries)
    book.add(new, bases=[None])
    found = settlement(book, 30, attempt="another")
    assert (found.attempt, found.entries) == ("another", (new,))


def test_a_charge_that_was_given_up_may_have_made_the_hold_anew_and_tells_so_once():
    book = ledger(held())
    book.left_behind("lost", bases=[None, None], now=7)
    assert not book.starts_with("another")
    assert [book.starts_with("lost") for _ in range(2)] == [True, False]
    assert book.is_unsure(now=7)


@pytest.mark.parametrize("bases", [["before"], [None, "before"]])
def test_a_charge_that_may_have_built_upon_a_hold_has_not_surely_made_it_anew(bases):
    old = held()
    book = ledger(old)
    book.left_behind("lost", bases=bases, now=7)
    assert not book.starts_with("lost")
    book.add(held(), bases=["lost"])
    assert old.counted is None


def test_what_builds_upon_a_hold_that_was_made_anew_without_our_knowing_ends_all_older_reservations_too():
    old, new = held(), held()
    book = ledger(old)
    book.left_behind("lost", bases=[None], now=7)
    book.left_behind("also lost", bases=["lost"], now=8)
    book.add(new, bases=["lost", "also lost"])
    assert (old.counted, book.entries) == (False, [new])


def test_the_oldest_are_swept_if_a_hold_has_less():
    old, new = held(3), held(2)
    book = ledger(old, new)
    assert book.swept(hold(50)) == []
    assert book.swept(hold(20)) == [old]
    assert book.swept(None) == [old, new]


def test_a_settlement_of_what_was_swept_is_over():
    one, other = held(3, used={}), held(2, used={})
    book = ledger(one, other)
    found = settlement(book, 50)
    assert covers(hold(50), found)
    assert not covers(hold(20), found)
    book.lose([one])
    assert settlement(book, 20, attempt="another").entries == (other,)


def test_what_is_long_overdue_is_forgotten():
    one, other = held(until=100), held(until=200)
    book = ledger(one, other)
    book.forget_overdue(now=101 + SWEPT_AFTER)
    assert (one.counted, other.counted) == (False, None)


def test_one_sends_for_all_and_those_who_are_done_are_woken():
    book, woken = HoldLedger(), []
    first, second, third = (
        Settler(wake=lambda number=number: woken.append(number), held=held(), deadline=1.0) for number in range(3)
    )
    for settler in (first, second, third):
        book.join(settler)
    assert [book.my_turn(settler) for settler in (first, second, third)] == [True, False, False]
    third.held.counted = True
    assert book.others(first) == [third]
    assert book.leave(first) == [second, third]
    assert book.my_turn(second)


def test_a_settlement_is_recognised_by_its_lane_or_its_hold():
    made = settlement(ledger(held(used={})), 30)
    assert made.happened(shows("s"))
    assert made.happened(shows("later", lanes={1: "s"}))
    assert not made.happened(shows("later", lanes={2: "s"}))
    assert not made.happened(shows(None))
