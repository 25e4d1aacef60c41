"""What one waiter of an ordered bucket remembers of the queue."""

from ddb_lease._protocol.records import Slot, View
from ddb_lease._state.queue_memory import FreeFor, Pace


def test_a_queue_that_has_not_moved_has_no_pace():
    pace = Pace()
    assert pace.seconds is None
    pace.note(5, 0.0, exact=True)
    pace.note(5, 9.0, exact=True)
    pace.note(6, 10.0, exact=True)
    assert pace.seconds is None


def test_the_pace_is_the_quicker_of_that_since_it_came_and_that_of_late():
    pace = Pace()
    pace.note(10, 0.0, exact=True)
    pace.note(8, 20.0, exact=True)
    assert pace.seconds == 10.0, "two places are few"
    pace.note(4, 22.0, exact=True)
    assert pace.seconds == 22.0 / 6
    pace.note(1, 23.5, exact=True)
    assert pace.seconds == 0.5


def test_estimated_places_tell_no_pace_of_late():
    pace = Pace()
    pace.note(300, 0.0, exact=False)
    pace.note(100, 100.0, exact=False)
    assert pace.seconds == 0.5
    pace.note(400, 101.0, exact=False)
    pace.note(90, 101.5, exact=False)
    assert pace.seconds == 101.5 / 210
    pace.note(10, 160.0, exact=True)
    assert pace.seconds == 160.0 / 70, "it is not believed to have come from more than eight times as far back"


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
    assert free.note(view(covered=range(2, 4)), [2], 11.0) == {1: 1.0, 2: 0.0}
    assert (free.slot(1), free.slot(2)) == (Slot(number=1, fence=5), None)
    assert free.note(view(covered=range(2)), [], 12.0) == {2: 1.0}
    free.forget([2])
    assert free.note(view(covered=range(2)), [], 12.0) == {}
