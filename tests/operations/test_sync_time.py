"""Asking for the time: only when it is not certain enough, and never for long."""

import contextlib
import itertools

import pytest

from ddb_lease import StoreRejected
from ddb_lease._operations.sync_time import TIME_UNKNOWN, ask_while, confirm, make_certain, settle, without_time
from ddb_lease._protocol.messages import Look, Pause, Seen
from ddb_lease._protocol.outcomes import Unavailable
from ddb_lease._protocol.records import View
from ddb_lease._state.offset import AGREEING, WINDOW
from ddb_lease._state.service_time import ServiceTime
from tests.support import CONFLICT, LOST, REJECTED, THROTTLED, UNSENT, MovableClock

SEEN = Seen(view=View(counter=None, slots={}, covered=range(0)), more=False)


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def time(clock):
    return ServiceTime(clock)


def answered(time, clock, *, odd=0.0):
    sent = time.steady()
    clock.pass_time(0.01)
    time.observe(sent=sent, received=time.steady(), date=float(int(clock.wall() + odd)))


def test_it_asks_a_few_times_at_most(time):
    assert len(list(ask_while(lambda: True, time))) == AGREEING
    assert len(list(ask_while(lambda: True, time, times=7))) == 7


def test_it_asks_only_while_something_is_wanting(time):
    wanting = itertools.chain([True, True], itertools.repeat(False))
    assert len(list(ask_while(lambda: next(wanting), time))) == 2


def test_it_asks_no_longer_than_it_may(time, clock):
    asked = []
    for effect in ask_while(lambda: True, time, until=clock.steady() + 1.0):
        asked.append(effect)
        clock.pass_time(0.6)
    assert len(asked) == 2


def test_it_asks_by_the_cheapest_read_there_is(time):
    assert set(ask_while(lambda: True, time)) == {Look(limit=1, consistent=False)}


@pytest.mark.parametrize("failure", [LOST, UNSENT, REJECTED, CONFLICT, THROTTLED], ids=lambda f: type(f).__name__)
def test_before_the_first_answer_a_failure_ends_the_asking_and_is_told(time, failure):
    asking = confirm(time)
    next(asking)
    with pytest.raises(StopIteration) as ended:
        asking.send(failure)
    assert ended.value.value is failure
    if failure is REJECTED:
        with pytest.raises(StoreRejected, match="permission"):
            without_time(failure)
    else:
        assert without_time(failure).cause is failure.cause


def test_later_it_asks_again_after_a_failure(time, clock):
    answered(time, clock)
    asking = confirm(time)
    assert [next(asking), asking.send(LOST), asking.send(LOST)] == [Look(limit=1, consistent=False)] * AGREEING
    with pytest.raises(StopIteration) as ended:
        asking.send(UNSENT)
    assert ended.value.value is UNSENT, "the last one is told"


@pytest.mark.parametrize("ask", [settle, confirm, make_certain])
@pytest.mark.parametrize("before", [[], [LOST], [SEEN]], ids=["at once", "after a failure", "after an answer"])
def test_later_too_a_refusal_ends_the_asking_and_is_told(time, clock, ask, before):
    answered(time, clock)
    answered(time, clock, odd=900.0)  # there is something to ask for
    asking = ask(time)
    next(asking)
    for answer in before:
        asking.send(answer)
    with pytest.raises(StopIteration) as ended:
        asking.send(REJECTED)
    assert ended.value.value is REJECTED


def test_where_it_was_answered_and_the_time_is_not_told_that_is_the_cause():
    assert without_time(None) == Unavailable(cause=TIME_UNKNOWN)


def test_it_pauses_between_one_answer_and_the_next_question(time):
    effects = list(ask_while(lambda: True, time, times=2, pause=0.1))
    assert [type(effect) for effect in effects] == [Look, Pause, Look, Pause]
    assert effects[1] == Pause(seconds=0.1, wakeable=False), "who asks is not woken by what others do"


def test_the_time_is_settled_once_answers_agree_and_confirmed_by_a_second_one(time, clock):
    answered(time, clock)
    assert list(settle(time)) == []
    asked = 0
    for _ in confirm(time):
        asked += 1
        clock.pass_time(0.3)
        answered(time, clock)
    assert asked == 1
    answered(time, clock)
    assert list(make_certain(time)) == []
    answered(time, clock, odd=900.0)
    asked = 0
    for _ in settle(time):
        asked += 1
        answered(time, clock)
    assert asked == 1


def played(operation, time, clock, odds):
    """Run an operation whose looks are answered with these errors of the Date; how many were sent."""
    asked = 0
    with contextlib.suppress(StopIteration):
        next(operation)
        while True:
            answered(time, clock, odd=odds[asked] if asked < len(odds) else 0.0)
            asked += 1
            operation.send(SEEN)
    return asked


@pytest.mark.parametrize("ask", [confirm, make_certain])
@pytest.mark.parametrize("order", [order for order in itertools.product([0.0, 7.0], repeat=5) if sum(order) <= 14.0])
def test_five_answers_of_which_two_are_wrong_are_enough_in_any_order(time, clock, ask, order):
    assert played(ask(time), time, clock, order) <= WINDOW
    assert time.certain == (ask is make_certain or len(set(order[:2])) > 1 or order[0] == order[1] == 7.0)
    assert time.confirmed
    assert not time.unsettled
    assert time.expired_before_ms() <= clock.wall() * 1000


def test_it_asks_no_more_than_a_few_times_if_no_answer_comes(time):
    for ask in (confirm, make_certain):
        assert len(list(ask(time))) == AGREEING
