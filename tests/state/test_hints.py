"""What a process remembers, and which of its threads may look."""

import gc
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.records import Claimant, Counter, Slot, View
from ddb_lease._state.hints import FreeSlots, Hints
from ddb_lease._state.waiters import Waiter
from tests.support import every_lock_held, memory_of

STALE = 15.0
EVERYTHING = range(100_000)


def counter(max_tokens=10, rev=1, lease_ms=60_000, minted=10):
    return Counter(max_tokens=max_tokens, minted=minted, rev=rev, lease_ms=lease_ms)


def free(number, fence=1):
    return Slot(number=number, fence=fence)


def held(number):
    lease = Claimant(lease_id=f"{number}-a", owner="", acquired_at=0, expires_at=1)
    return Slot(number=number, fence=1, lease=lease)


def view(*slots, covered=EVERYTHING):
    return View(counter=None, slots={slot.number: slot for slot in slots}, covered=covered)


class Thread:
    """A thread that would wait; how often it was woken."""

    def __init__(self, hints, count=1):
        self.hints, self.wakes = hints, 0
        self.waiter = Waiter(self._wake, count)
        hints.join(self.waiter, now=0.0)

    def _wake(self):
        self.wakes += 1

    def may_try(self, now=0.0):
        return self.hints.is_first(self.waiter, now=now)

    def leave(self):
        self.hints.leave(self.waiter)


@pytest.fixture
def hints():
    hints = Hints()
    hints.learn_counter(counter())
    return hints


@pytest.fixture
def chance():
    return random.Random(1)


def taken(hints, chance):
    """All free slots that are remembered, as they are handed out."""
    found = []
    while (guess := hints.take_free(chance)) is not None:
        found.append(guess)
    return found


# Hints.


def test_nothing_is_remembered_at_first(chance):
    assert Hints().counter is None
    assert Hints().take_free(chance) is None


def test_a_free_slot_is_handed_out_once_with_its_fence(hints, chance):
    hints.learn_view(view(free(2, fence=9), held(3)))
    assert taken(hints, chance) == [(2, 9)]
    assert hints.take_free(chance) is None


def test_a_slot_that_was_handed_out_is_not_handed_out_again(hints, chance):
    hints.learn_view(view(free(2, fence=9)))
    assert hints.take_free(chance) == (2, 9)
    assert hints.take_free(chance) is None


def test_free_slots_are_drawn_at_random(hints):
    firsts = set()
    for seed in range(60):
        hints.learn_view(view(*map(free, range(10))))
        firsts.add(hints.take_free(random.Random(seed))[0])
    assert len(firsts) > 5


def test_those_that_become_free_later_are_drawn_as_often(chance):
    slots = FreeSlots()
    for number in range(10):
        slots.put(number, 1)
        assert slots.draw(chance) is not None
    assert {slots.draw(chance) for _ in range(200)} == set(range(10))


def test_the_slot_that_we_released_ourselves_comes_first(hints):
    hints.learn_view(view(*map(free, range(10))))
    hints.released(7, fence=5, now=0.0)
    for seed in range(20):
        assert hints.take_free(random.Random(seed)) == (7, 5)
        hints.released(7, fence=5, now=0.0)


@pytest.mark.parametrize(
    "slot",
    [held(2), Slot(number=2, fence=1, retired=True), Slot(number=2, fence=0, foreign=True)],
    ids=["held", "retired", "foreign"],
)
def test_what_is_not_free_is_no_hint_and_ends_the_hint_there_was(hints, chance, slot):
    hints.learn_view(view(slot))
    assert hints.take_free(chance) is None
    hints.learn_slot(2, free(2))
    hints.learn_slot(2, slot)
    assert hints.take_free(chance) is None


def test_an_expired_lease_is_no_hint_for_memory_knows_no_time(hints, chance):
    hints.learn_slot(3, held(3))
    assert hints.take_free(chance) is None


def test_a_slot_that_is_gone_is_forgotten(hints, chance):
    hints.learn_slot(2, free(2))
    hints.learn_slot(2, None)
    assert hints.take_free(chance) is None


def test_a_look_replaces_what_was_known_of_the_slots_it_covered_and_of_no_others(hints, chance):
    hints.learn_view(view(free(1), free(8)))
    hints.learn_view(view(free(2), covered=range(5)))
    assert sorted(taken(hints, chance)) == [(2, 1), (8, 1)]


def test_hints_beyond_a_bucket_that_has_shrunk_are_dropped(hints, chance):
    hints.learn_view(view(free(1), free(8)))
    hints.released(9, fence=1, now=0.0)
    hints.learn_counter(counter(max_tokens=2, rev=2))
    assert taken(hints, chance) == [(1, 1)]


@given(st.lists(st.tuples(st.sampled_from(["put", "drop", "among", "draw"]), st.integers(0, 9), st.integers(0, 9))))
def test_free_slots_are_what_a_plain_dict_would_hold(deeds):
    chance = random.Random(1)
    slots, plain = FreeSlots(), {}
    for deed, number, other in deeds:
        match deed:
            case "put":
                slots.put(number, other)
                plain[number] = other
            case "drop":
                slots.take(number)
                plain.pop(number, None)
            case "among":
                slots.take_among(range(number, number + other))
                plain = {n: f for n, f in plain.items() if not number <= n < number + other}
            case "draw":
                drawn = slots.draw(chance)
                assert (drawn is None) == (not plain)
                assert drawn is None or slots.take(drawn) == plain.pop(drawn)
        assert sorted(slots.numbers()) == sorted(plain)
        assert len(slots) == len(plain)
        assert all((n in slots) == (n in plain) for n in range(10))


def test_a_look_that_was_under_way_does_not_hide_what_was_released_here_meanwhile(hints, chance):
    sent = hints.changes
    hints.released(3, fence=9, now=0.0)
    hints.learn_view(view(free(1), held(3)), since=sent)
    assert sorted(taken(hints, chance)) == [(1, 1), (3, 9)]
    hints.released(3, fence=10, now=0.0)
    hints.learn_view(view(free(1), held(3)), since=hints.changes)
    assert taken(hints, chance) == [(1, 1)], "a look that was sent later knows better"


def test_elsewhere_the_slot_released_last_is_left_where_there_is_another(hints):
    for seed in range(20):
        hints.learn_view(view(free(1), free(2)))
        hints.released(7, fence=1, now=0.0)
        number, _ = hints.take_free(random.Random(seed), elsewhere=True)
        assert number in {1, 2}
        assert hints.free == 2
    hints.learn_view(view())
    hints.released(7, fence=1, now=0.0)
    assert hints.take_free(random.Random(1), elsewhere=True) == (7, 1)


def test_taken_slots_do_not_pile_up_in_the_pool():
    slots, chance = FreeSlots(), random.Random(1)
    for number in range(10_000):
        slots.put(number % 7, 1)
        slots.take(number % 7)
    slots.put(3, 1)
    assert slots.draw(chance) == 3
    assert memory_of(slots) < 8_000


def test_a_handler_that_comes_back_amid_any_step_leaves_the_free_slots_whole():
    """As a signal handler does, that releases a lease while its own thread draws a slot."""

    class Coming(random.Random):
        def randrange(self, *args):
            slots.put(args[0] + 100, 5)
            slots.take(0)
            return super().randrange(*args)

    slots = FreeSlots()
    for number in range(4):
        slots.put(number, 1)
    drawn = 0
    while (number := slots.draw(Coming(drawn))) is not None and drawn < 50:
        assert slots.take(number) in {1, 5}
        drawn += 1
    assert drawn >= 4


def test_the_newest_counter_is_kept_and_other_settings_are_told(hints):
    assert not hints.learn_counter(counter(rev=5, minted=3)), "minted is no setting"
    assert hints.counter.rev == 5
    assert hints.learn_counter(counter(rev=6, max_tokens=11))
    assert hints.learn_counter(counter(rev=7, max_tokens=11, lease_ms=1))
    hints.learn_counter(counter(rev=3))
    assert hints.counter.rev == 7, "an old answer that came late"
    assert hints.learn_counter(counter(rev=3), sure=True)
    assert hints.counter.rev == 3, "a bucket that was deleted and made anew"
    assert Hints().learn_counter(counter()), "the first one is news"


def test_a_bucket_that_is_gone_is_forgotten_with_all_its_slots(hints, chance):
    hints.learn_view(view(free(1)))
    hints.forget()
    assert hints.counter is None
    hints.learn_counter(counter())
    assert hints.take_free(chance) is None


def test_a_bucket_made_anew_counts_even_if_its_rev_is_lower(hints):
    hints.forget()
    hints.learn_counter(counter(rev=0))
    assert hints.counter.rev == 0


# The line.


def test_a_caller_that_does_not_wait_may_always_try(hints):
    Thread(hints)
    assert hints.is_first(None, now=0.0)
    assert hints.is_first(Waiter(lambda: None), now=0.0)


def test_of_many_waiters_the_first_tries_and_the_others_do_not(hints):
    first, second, third = (Thread(hints) for _ in range(3))
    assert [w.may_try() for w in (first, second, third)] == [True, False, False]


def test_when_the_first_leaves_the_next_is_woken_and_has_its_turn(hints):
    first, second, third = (Thread(hints) for _ in range(3))
    first.leave()
    assert (second.wakes, third.wakes) == (1, 0)
    assert second.may_try()
    assert not third.may_try()


def test_a_waiter_that_leaves_from_the_middle_keeps_the_order(hints):
    first, second, third = (Thread(hints) for _ in range(3))
    second.leave()
    assert not third.may_try()
    first.leave()
    assert third.may_try()
    third.leave()
    third.leave()  # twice is no error


def test_as_many_waiters_are_woken_and_may_try_as_there_are_free_slots(hints):
    waiters = [Thread(hints) for _ in range(4)]
    hints.learn_view(view(free(1), free(2), held(3)))
    assert [w.wakes for w in waiters] == [1, 1, 0, 0]
    assert [w.may_try() for w in waiters] == [True, True, False, False]


def test_a_waiter_that_wants_fewer_than_the_first_looks_too_and_only_the_next_one(hints):
    waiters = [Thread(hints, count) for count in (3, 3, 2, 1, 1)]
    assert [waiter.may_try() for waiter in waiters] == [True, False, True, True, False]


def test_free_slots_wake_the_waiters_that_they_are_enough_for(hints):
    waiters = [Thread(hints, count) for count in (3, 2, 2, 1, 1, 1)]
    hints.learn_view(view(*map(free, range(5))))
    assert [waiter.wakes for waiter in waiters] == [1, 1, 0, 1, 0, 0]
    hints.learn_view(view(*map(free, range(4))))
    assert [waiter.wakes for waiter in waiters] == [2, 2, 0, 2, 0, 0]


def test_whom_the_free_slots_are_not_enough_for_is_not_woken(hints):
    waiters = [Thread(hints, count) for count in (4, 3)]
    hints.learn_view(view(free(0), free(1)))
    hints.learn_slot(1, free(1))
    assert [waiter.wakes for waiter in waiters] == [0, 0], "each would look, see the same, and wake the other"
    hints.learn_slot(2, free(2))
    assert [waiter.wakes for waiter in waiters] == [0, 1]


def test_a_waiter_is_not_woken_by_its_own_look(hints):
    # It would poll without a pause: the wake comes before the pause begins.
    first, second = Thread(hints), Thread(hints)
    hints.learn_view(view(free(1), free(2)), by=first.waiter)
    assert (first.wakes, second.wakes) == (0, 1)
    hints.learn_slot(5, free(5), by=second.waiter)
    assert (first.wakes, second.wakes) == (1, 1)


def test_a_look_at_a_full_bucket_wakes_nobody(hints):
    waiter = Thread(hints)
    hints.learn_view(view(held(1)))
    hints.learn_slot(1, held(1))
    hints.learn_slot(1, None)
    assert waiter.wakes == 0


def test_a_release_in_this_process_wakes_its_first_waiter(hints, chance):
    first, second = Thread(hints), Thread(hints)
    hints.released(4, fence=1, now=0.0)
    assert (first.wakes, second.wakes) == (1, 0)
    assert hints.take_free(chance) == (4, 1)


def test_if_the_first_has_not_tried_for_long_the_others_stop_relying_on_it(hints):
    first, second, third = (Thread(hints) for _ in range(3))
    assert first.may_try(now=100.0)
    assert not second.may_try(now=100.0 + STALE)
    assert second.may_try(now=100.1 + STALE)
    assert not third.may_try(now=101.0 + STALE), "one stands in for the stuck one, not all"


def test_a_waiter_that_is_gone_without_a_word_holds_nobody_up(hints):
    # An interrupt may strike between standing in line and the block that leaves it.
    gone, second = Thread(hints), Thread(hints)
    assert not second.may_try()
    del gone
    gc.collect()
    assert second.may_try()


def test_everybody_can_be_woken(hints):
    # When a bucket is closed, all its waiters must notice.
    waiters = [Thread(hints) for _ in range(3)]
    hints.wake_all()
    assert [w.wakes for w in waiters] == [1, 1, 1]


def test_a_caller_outside_the_queue_does_not_hide_that_the_first_is_stuck(hints):
    first, second = Thread(hints), Thread(hints)
    assert first.may_try(now=100.0)
    assert hints.is_first(None, now=114.0)
    assert second.may_try(now=100.1 + STALE)


def test_after_a_fork_nobody_waits_and_no_lock_is_held(hints, in_thread):
    waiter = Thread(hints)

    def in_the_child():
        hints.empty()
        assert hints.is_first(None, now=0.0)
        other = Thread(hints)
        assert other.may_try()
        waiter.leave()
        assert other.may_try()

    with every_lock_held(hints):
        in_thread(in_the_child).result(20)


def test_wakes_are_given_without_the_lock(hints):
    # A wake may come back for the next slot at once.
    seen = []
    waiter = Waiter(lambda: seen.append(hints.take_free(random.Random(1))))
    hints.join(waiter, now=0.0)
    hints.learn_view(view(free(1)))
    assert seen == [(1, 1)]


def test_a_long_line_costs_each_waiter_no_more_than_a_short_one(hints):
    looked_at = []

    def steps_of(waiters):
        looked_at.clear()
        profile = lambda frame, event, _: looked_at.append(event)  # noqa: E731
        sys.setprofile(profile)
        try:
            for waiter in waiters:
                waiter.may_try()
                waiter.leave()
        finally:
            sys.setprofile(None)
        return len(looked_at) / len(waiters)

    short = steps_of([Thread(hints) for _ in range(10)])
    assert steps_of([Thread(hints) for _ in range(1000)]) < 1.5 * short
    assert hints.waiting == 0


def test_a_waiter_behind_vanished_ones_is_still_found(hints):
    gone = [Thread(hints, count) for count in (2, 1, 2, 1)]
    second, third = Thread(hints, 2), Thread(hints, 1)
    gone.clear()
    gc.collect()
    assert second.may_try()
    assert third.may_try()
    assert hints.waiting == 2


def test_a_slot_that_a_look_showed_as_missing_is_handed_out_once_while_the_counter_shows_room(hints, chance):
    hints.learn_counter(counter(max_tokens=4, minted=2))
    hints.learn_view(view(free(0), held(2), covered=range(100)), at=5.0)
    numbers = [hints.take_unminted(chance, now=6.0) for _ in range(3)]
    assert sorted(numbers[:2]) == [1, 3]
    assert numbers[2] is None


@pytest.mark.parametrize("learns", [None, counter(max_tokens=4, minted=4, rev=2)])
def test_no_slot_is_minted_by_hints_where_the_counter_shows_no_room_or_is_unknown(hints, chance, learns):
    hints.learn_counter(counter(max_tokens=4, minted=2))
    hints.learn_view(view(covered=range(100)), at=5.0)
    if learns is None:
        hints.counter = None
    else:
        hints.learn_counter(learns)
    assert hints.take_unminted(chance, now=6.0) is None


@pytest.mark.parametrize("forget", ["forget", "forget_free", "forget_unminted"])
def test_what_was_seen_missing_is_forgotten_with_the_rest_and_after_a_mint_in_vain(hints, chance, forget):
    hints.learn_counter(counter(max_tokens=4, minted=2))
    hints.learn_view(view(covered=range(100)), at=5.0)
    getattr(hints, forget)()
    hints.learn_counter(counter(max_tokens=4, minted=2))
    assert hints.take_unminted(chance, now=6.0) is None


def test_a_slot_that_turned_out_to_be_there_is_not_minted(hints, chance):
    hints.learn_counter(counter(max_tokens=2, minted=1))
    hints.learn_view(view(covered=range(100)), at=5.0)
    hints.learn_slot(0, held(0))
    assert hints.take_unminted(chance, now=6.0) == 1
    assert hints.take_unminted(chance, now=6.0) is None
