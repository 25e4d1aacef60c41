"""What a process knows of a rate, its queue, and both after a fork: without a clock and without a table."""

import gc
import threading
from random import Random

import pytest

from ddb_lease._protocol.gcra import BusyBranch, FromHand, IdleBranch, Later
from ddb_lease._protocol.records import Rate
from ddb_lease._state.permits import STALE_SECONDS, Permits, PermitWaiter

RATE = Rate(rate=100.0, per=1.0, burst=5, interval_ns=10)
"""Five at once; one comes back every ten."""


@pytest.fixture
def permits():
    return Permits(RATE, lanes=8, chance=Random(1))


def waiter(count=1, *, patient=True, woken=None):
    return PermitWaiter(lambda: None if woken is None else woken.append(count), count=count, patient=patient)


def in_hand(permits):
    return permits.balance.in_hand


# What can be had.


def test_where_nothing_is_known_the_table_is_asked(permits):
    assert permits.at_once(5, now=100) is None
    assert permits.newcomer_step(5, now=100) == IdleBranch(missing=5)


def test_a_newcomer_is_denied_from_memory_until_the_time_that_was_seen(permits):
    permits.learn(150)
    assert permits.at_once(1, now=109) is False
    assert permits.newcomer_step(1, now=109) == Later(at=110)
    assert permits.at_once(1, now=110) is None


def test_permits_in_hand_are_handed_out_when_they_are_due_and_each_once(permits):
    permits.charged(tat=130, taken=3, used=0)
    assert [permits.at_once(1, now=now) for now in (59, 60, 60, 70, 80)] == [False, True, False, True, True]
    assert in_hand(permits) == 0


def test_of_a_charge_the_permits_that_were_wanted_are_spent_at_once(permits):
    permits.charged(tat=200, taken=10, used=4)
    assert in_hand(permits) == 6
    assert permits.balance.tat == 200


def test_nobody_passes_a_waiter_and_a_newcomer_is_counted_behind_it(permits):
    permits.charged(tat=130, taken=3, used=0)
    first = waiter(2)
    permits.join(first)
    assert permits.at_once(1, now=100) is None, "in hand, and not for a newcomer"
    assert permits.at_once(2, now=100) is None, "one is in hand, and one more is to be charged"
    permits.learn(1_000)
    assert permits.at_once(2, now=100) is False
    assert permits.newcomer_step(2, now=100) == Later(at=960)
    permits.leave(first)
    assert permits.at_once(3, now=100) is True


def test_the_waiter_whose_turn_it_is_spends_what_is_in_hand_or_charges_what_is_missing(permits):
    permits.charged(tat=130, taken=3, used=0)
    few, many = waiter(2), waiter(4)
    permits.join(few)
    assert permits.begin(few, now=59) == Later(at=70)
    assert permits.begin(few, now=70) == FromHand()
    assert in_hand(permits) == 1
    permits.leave(few)
    permits.join(many)
    assert permits.begin(many, now=110) == BusyBranch(missing=3)
    assert in_hand(permits) == 1, "spent only once the charge is admitted"


def test_only_a_caller_that_does_not_wait_comes_after_those_in_front(permits):
    permits.learn(110)
    first, patient, hasty = waiter(3), waiter(2), waiter(2, patient=False)
    permits.join(first)
    permits.join(patient)
    permits.join(hasty)
    assert permits.step_for(patient, now=100) == BusyBranch(missing=2)
    assert permits.step_for(hasty, now=100) == permits.begin(hasty, now=100) == Later(at=130)
    permits.leave(patient)
    assert permits.step_for(hasty, now=110) == BusyBranch(missing=5)
    assert permits.begin(hasty, now=110) == BusyBranch(missing=2), "for itself alone, where those in front are overdue"


def test_an_attempt_under_way_stays_one_for_as_many_permits_whatever_is_in_hand(permits):
    permits.charged(tat=130, taken=3, used=0)
    assert permits.another_sending(2, now=100) == BusyBranch(missing=2)
    assert permits.another_sending(2, now=99) == Later(at=100)
    assert in_hand(permits) == 3


def test_what_was_in_hand_when_the_limiter_was_closed_is_missing_later(permits):
    permits.charged(tat=130, taken=3, used=0)
    permits.empty()
    assert in_hand(permits) == 0
    permits.charged(tat=150, taken=2, used=5)
    assert in_hand(permits) == 0


# The queue.


def test_the_first_in_line_that_is_never_seen_again_holds_nobody_up_for_ever(permits):
    gone, other = waiter(), waiter()
    permits.join(gone)
    permits.join(other)
    assert permits.my_turn(gone, now=100.0)
    assert not permits.my_turn(other, now=100.0 + STALE_SECONDS)
    permits.rests(gone, until=200.0)
    assert not permits.my_turn(other, now=200.0 + STALE_SECONDS)
    assert permits.my_turn(other, now=200.1 + STALE_SECONDS)


def test_only_the_first_may_rest(permits):
    first, other = waiter(), waiter()
    permits.join(first)
    permits.join(other)
    assert permits.my_turn(first, now=100.0)
    permits.rests(other, until=900.0)
    assert permits.my_turn(other, now=100.1 + STALE_SECONDS)


def test_the_place_of_a_waiter_that_was_torn_away_falls_vacant(permits):
    gone, other = waiter(3), waiter()
    permits.join(gone)
    permits.join(other)
    assert permits.wanted_before(other) == 3
    del gone
    gc.collect()
    assert permits.wanted_before(other) == 0
    assert permits.my_turn(other, now=0.0)


def test_leaving_wakes_the_one_that_is_first_then(permits):
    woken = []
    first, second, third = waiter(1), waiter(2, woken=woken), waiter(3, woken=woken)
    for each in (first, second, third):
        permits.join(each)
    permits.leave(second)
    assert woken == []
    permits.join(second)
    permits.leave(first)
    assert woken == [3]


def test_news_wakes_those_that_do_not_wait_and_closing_wakes_all(permits):
    woken = []
    kept = [waiter(1, woken=woken), waiter(2, woken=woken, patient=False), waiter(3, woken=woken, patient=False)]
    for each in kept:
        permits.join(each)
    permits.learn(100)
    assert woken == [2, 3]
    permits.failed(OSError("out"))
    assert woken == [2, 3] * 2
    permits.wake_all()
    assert woken == [2, 3] * 2 + [1, 2, 3]


def test_trouble_is_told_until_the_table_answers(permits):
    trouble = OSError("out")
    permits.failed(trouble)
    assert permits.trouble is trouble
    permits.learn(100)
    assert permits.trouble is None
    permits.failed(trouble)
    permits.charged(tat=110, taken=1, used=1)
    assert permits.trouble is None


# Forks.


def test_a_forked_child_starts_with_an_empty_hand_and_queue_in_a_lane_of_its_own_but_knows_the_time(permits):
    kept = [waiter(), waiter()]
    for each in kept:
        permits.join(each)
    permits.charged(tat=130, taken=3, used=0)
    permits.failed(OSError("out"))
    assert permits.my_turn(kept[0], now=0.0)
    before = permits.lane
    permits.after_fork_in_child()
    assert (in_hand(permits), permits.wanted_before(None), permits.trouble) == (0, 0, None)
    assert permits.balance.tat == 130
    assert permits.lane != before, "as this seed draws"
    late, later = waiter(), waiter()
    permits.join(late)
    permits.join(later)
    assert not permits.my_turn(later, now=1e9), "nobody is overdue: the parent's first is not ours"


def test_a_lock_that_another_thread_of_the_parents_holds_does_not_hold_up_the_child(permits):
    held, done = threading.Event(), threading.Event()

    class Slow:
        """A count that takes its time to be added, while the lock is held."""

        def __radd__(self, total):
            held.set()
            done.wait(20)
            return total

    slow = waiter(Slow())
    permits.join(slow)
    thread = threading.Thread(target=lambda: permits.wanted_before(None))
    thread.start()
    assert held.wait(20)
    permits.after_fork_in_child()  # as the child would find it
    answered = []
    other = threading.Thread(target=lambda: answered.append(permits.at_once(5, now=100)), daemon=True)
    other.start()
    other.join(5)
    done.set()
    thread.join(20)
    assert answered == [None]
