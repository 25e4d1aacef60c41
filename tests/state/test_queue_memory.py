"""What one waiter of an ordered bucket remembers of the queue."""

import pytest

from ddb_lease._protocol.queueing import HEAD_SECONDS, NEAR_SECONDS, longest_sleep
from ddb_lease._protocol.records import Slot, View
from ddb_lease._protocol.tickets import Ticket
from ddb_lease._state.queue_memory import FreeFor, Others, Pace


def queue(first, last, *, each=100, expires_at=0):
    """Tickets that came in this order, one every so many ms."""
    return [
        Ticket(priority=0, arrival=each * number, name=f"{number:016x}", expires_at=expires_at)
        for number in range(first, last)
    ]


def test_a_queue_that_has_hardly_moved_has_no_pace():
    pace = Pace()
    assert pace.seconds is None
    assert not pace.note(queue(0, 5), 0.0)
    assert not pace.note(queue(0, 5), 9.0)
    assert pace.note(queue(2, 5), 10.0)
    assert pace.seconds is None


def test_the_pace_is_the_quicker_of_that_since_it_came_and_that_of_late():
    pace = Pace()
    pace.note(queue(0, 20), 0.0)
    pace.note(queue(4, 20), 20.0)
    assert pace.seconds == 5.0
    pace.note(queue(6, 20), 21.0)
    assert pace.seconds == 0.5
    pace.note(queue(7, 20), 22.0)
    assert pace.seconds == 0.5, "one is few"
    pace.note(queue(10, 20), 22.3)
    assert pace.seconds == pytest.approx(0.1)
    pace.note(queue(10, 20), 23.0)
    assert pace.seconds == pytest.approx(0.7), "it has come to rest"
    pace.note(queue(11, 20), 82.0)
    assert pace.seconds == 82.0 / 11
    pace.note(queue(20, 25), 83.0)
    assert pace.seconds == pytest.approx(1.0 / 9)


def test_who_comes_before_others_later_does_not_slow_the_queue():
    pace = Pace()
    pace.note(queue(10, 20), 0.0)
    pace.note(queue(0, 3) + queue(14, 20), 8.0)
    assert pace.seconds == 2.0


def test_where_all_that_were_seen_have_gone_their_arrivals_tell_how_many_more_have():
    pace = Pace()
    pace.note(queue(0, 32), 0.0)
    pace.note(queue(100, 132), 50.0)
    assert pace.seconds == pytest.approx(0.5)


def test_one_that_was_not_seen_before_may_sleep_as_long_as_any_that_is_near():
    others = Others()
    (first,) = queue(0, 1)
    assert others.note([first], 0.0, max_tokens=4)[first.name].asleep == NEAR_SECONDS
    assert others.note([first], NEAR_SECONDS - 0.1, max_tokens=4)[first.name].asleep == NEAR_SECONDS
    assert others.note([first], NEAR_SECONDS, max_tokens=4)[first.name].asleep == HEAD_SECONDS


def test_one_may_sleep_as_long_as_at_the_place_at_which_it_may_have_looked_last():
    others = Others()
    line = queue(0, 10)
    last = line[-1].name
    far, near = longest_sleep(10, near=False), longest_sleep(10, near=True)
    for now in range(0, 40, 4):
        assert others.note(line, now, max_tokens=8)[last].asleep == far, "it is not near: ten slots are wanted"
    assert others.note(line[-1:], 37.0, max_tokens=8)[last].asleep == far
    assert others.note(line[-1:], 37.0 + far, max_tokens=8)[last].asleep == HEAD_SECONDS
    assert near == NEAR_SECONDS < far


def test_a_ticket_that_is_refreshed_stirs():
    others = Others()
    assert others.note(queue(0, 1), 5.0, max_tokens=4)[f"{0:016x}"].still == 0.0
    assert others.note(queue(0, 1), 8.0, max_tokens=4)[f"{0:016x}"].still == 3.0
    assert others.note(queue(0, 1, expires_at=9), 9.0, max_tokens=4)[f"{0:016x}"].still == 0.0
    assert others.note([], 10.0, max_tokens=4) == {}
    assert others.note(queue(0, 1, expires_at=9), 11.0, max_tokens=4)[f"{0:016x}"].still == 0.0


def view(*slots, covered=range(100)):
    return View(counter=None, slots={slot.number: slot for slot in slots}, covered=covered)


def test_a_slot_is_free_for_as_long_as_looks_have_shown_it_so():
    free = FreeFor()
    seen = view(Slot(number=1, fence=5))
    assert free.note(seen, [1, 2], 10.0) == {1: 0.0, 2: 0.0}
    assert free.note(seen, [1, 2], 11.5) == {1: 1.5, 2: 1.5}


def test_a_slot_that_was_leased_meanwhile_begins_anew():
    free = FreeFor()
    free.note(view(Slot(number=1, fence=5), Slot(number=2, fence=5)), [1, 2], 10.0)
    assert free.note(view(Slot(number=1, fence=6), Slot(number=2, fence=5)), [1], 11.0) == {1: 0.0}
    assert free.note(view(Slot(number=2, fence=5)), [2], 12.0) == {2: 0.0}, "somebody had it at the look before"


def test_slots_of_other_windows_are_remembered():
    free = FreeFor()
    free.note(view(Slot(number=1, fence=5), covered=range(2)), [1], 10.0)
    assert free.note(view(covered=range(2, 4)), [2], 11.0) == {1: 0.0, 2: 0.0}, "somebody may have it by now"
    assert (free.slot(1), free.slot(2)) == (Slot(number=1, fence=5), None)
    assert free.note(view(covered=range(2)), [], 12.0) == {2: 0.0}
    assert free.note(view(covered=range(2, 4)), [2], 13.0) == {2: 2.0}
    free.forget([2])
    assert free.note(view(covered=range(2)), [], 12.0) == {}
