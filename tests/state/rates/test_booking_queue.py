"""The queue of callers: order, and places whose owner is gone."""

import gc

from ddb_lease._state.rates.booking_queue import BookingQueue


class Caller:
    """Somebody who waits."""


def queue_of(callers):
    queue = BookingQueue()
    for caller in callers:
        queue.join(caller)
    return queue


def test_callers_stand_in_the_order_in_which_they_joined():
    callers = [Caller() for _ in range(4)]
    queue = queue_of(callers)
    assert queue.first() is callers[0]
    assert queue.waiting() == callers
    assert queue.waiting(2) == callers[:2]
    assert callers[3] in queue
    assert Caller() not in queue


def test_each_leaves_from_any_place_and_once():
    callers = [Caller() for _ in range(3)]
    queue = queue_of(callers)
    for caller in (callers[1], callers[1], Caller()):
        queue.leave(caller)
    assert queue.waiting() == [callers[0], callers[2]]
    queue.leave(callers[0])
    assert queue.first() is callers[2]
    queue.leave(callers[2])
    assert not queue
    assert queue.first() is None


def test_places_without_an_owner_disappear():
    callers = [Caller() for _ in range(5)]
    queue, last = queue_of(callers), callers[3]
    del callers[:3], callers[-1]
    del callers
    gc.collect()
    assert queue.first() is last
    assert queue.waiting() == [last]
    queue.leave(last)
    del last
    gc.collect()
    assert queue.first() is None
    assert not queue


def test_a_newcomer_does_not_inherit_the_place_of_one_that_is_gone():
    queue, numbers = queue_of([]), set()
    gone = Caller()
    queue.join(gone)
    numbers.add(id(gone))
    staying = Caller()
    queue.join(staying)
    del gone
    for _ in range(100):
        newcomer = Caller()
        queue.join(newcomer)
        assert queue.waiting() == [staying, newcomer]
        queue.leave(newcomer)
        if id(newcomer) in numbers:
            break
