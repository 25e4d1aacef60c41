"""Who may claim which slot of an ordered bucket, and when a waiter looks again."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol import queueing
from ddb_lease._protocol.decisions import choose
from ddb_lease._protocol.queueing import (
    HEAD_SECONDS,
    PATIENCE_SECONDS,
    QUICKEST_SECONDS,
    STILL_SECONDS,
    Signs,
    Standing,
    share,
    standing,
)
from ddb_lease._protocol.records import Claimant, Counter, Slot, View
from ddb_lease._protocol.steps import ClaimSlot, MintSlot, NothingFree
from ddb_lease._protocol.tickets import Ticket, numbered

NOW = 1_000_000


def ticket(arrival, *, priority=0, count=1, expires_at=NOW, name=None):
    return Ticket(
        priority=priority, arrival=arrival, name=name or f"{arrival:016x}", count=count, expires_at=expires_at
    )


def queue_of(*counts):
    return tuple(ticket(arrival, count=count) for arrival, count in enumerate(counts))


# Standing


def test_tickets_stand_by_priority_then_by_arrival_then_by_name():
    first, second = ticket(9, priority=9), ticket(1, priority=5)
    third, fourth = ticket(5, name="a" * 16), ticket(5, name="b" * 16)
    assert sorted([fourth, third, second, first], key=lambda t: t.place) == [first, second, third, fourth]


def test_a_waiter_stands_behind_all_that_came_before_it():
    others = queue_of(1, 2, 1)
    stands = standing(others, ticket(7), more=False, now_ms=NOW)
    assert (stands.ahead, stands.place, stands.exact) == (others, 4, True)
    assert stands.slots_ahead() == 4
    assert standing(others, others[1], more=False, now_ms=NOW).ahead == others[:1]


def test_an_expired_ticket_counts_for_nothing():
    dead, alive = ticket(1, expires_at=NOW - 1), ticket(2)
    stands = standing((dead, alive), ticket(3), more=False, now_ms=NOW)
    assert (stands.ahead, stands.place) == ((alive,), 2)
    assert queueing.expired((dead, alive), NOW) == (dead,)


def test_ones_own_ticket_counts_even_if_a_look_does_not_show_it_or_shows_it_expired():
    own = ticket(2, expires_at=NOW - 1)
    for seen in ((ticket(1), ticket(3)), (ticket(1), own, ticket(3))):
        stands = standing(seen, own, more=True, now_ms=NOW)
        assert (stands.place, stands.exact) == (2, True)


@pytest.mark.parametrize("seen", [(1, 2, 3), (1, 2, 7)])
def test_a_place_is_exact_only_where_the_look_reaches_it(seen):
    own = ticket(5)
    stands = standing([ticket(arrival) for arrival in seen], own, more=True, now_ms=NOW)
    assert stands.exact == (seen[-1] > 5)


def test_beyond_what_is_seen_a_place_is_estimated_by_the_pace_of_the_arrivals():
    seen = [ticket(1000 * n) for n in range(1, 33)]
    stands = standing(seen, ticket(100_000), more=True, now_ms=NOW)
    assert (stands.place, stands.exact) == (100, False)
    assert standing(seen, ticket(100_000, priority=9), more=True, now_ms=NOW).place == 1, "nobody is so urgent"


def test_numbers_tell_how_far_behind_one_stands_however_unevenly_they_came():
    crowd = [ticket(n, name=numbered("f" * 16, n + 1)) for n in range(32)]  # within 32 ms
    late = ticket(100_000, name=numbered("f" * 16, 64))
    stands = standing(crowd, late, more=True, now_ms=NOW)
    assert (stands.place, stands.exact) == (64, False)
    assert late.name == "000040" + "f" * 10
    assert ticket(1, name=numbered("f" * 16, 10**9)).number == 16**6 - 1


def test_a_number_follows_that_of_the_last_and_without_one_the_arrivals_pace():
    line = [ticket(1000 * n, name=numbered("f" * 16, n)) for n in range(1, 33)]
    assert queueing.number_after([], ticket(5)) == 1
    assert queueing.number_after(line[:1], ticket(5000)) == 2
    assert queueing.number_after(line, ticket(32_500)) == 33
    assert queueing.number_after(line, ticket(42_000)) == 42, "there are others between the last of these and it"
    assert queueing.number_after(line, ticket(5_500)) == 6, "it is not behind all of them"
    assert queueing.number_after(line, ticket(42_000, priority=5)) == 1


def test_only_who_could_be_served_if_all_slots_came_free_looks_at_them():
    ahead = queue_of(2, 3)
    stands = Standing(ahead=ahead, place=3, exact=True)
    assert stands.may_be_served(3, max_tokens=8)
    assert not stands.may_be_served(4, max_tokens=8)
    assert not Standing(ahead=ahead, place=99, exact=False).may_be_served(1, max_tokens=8)


# Shares


def fresh(*slots):
    return dict.fromkeys(slots, 0.0)


def test_the_i_th_of_the_queue_takes_the_i_th_free_slot():
    free = fresh(2, 5, 7)
    taken = [share(queue_of(*[1] * place), 1, free).slots for place in range(4)]
    assert taken == [{2}, {5}, {7}, frozenset()]


def test_a_waiter_for_several_slots_is_waited_for():
    assert not share(queue_of(6), 1, fresh(0, 1, 2)).slots, "three are not enough for the first, and kept for it"
    assert share(queue_of(2), 1, fresh(0, 1, 2)).slots == {2}
    assert not share(queue_of(2), 2, fresh(0, 1, 2)).slots
    assert share((), 3, fresh(0, 1, 2)).slots == {0, 1, 2}


def test_slots_that_were_left_free_for_long_belong_to_the_next():
    first, second = queue_of(1, 1)
    at_once = share((first,), 1, {3: PATIENCE_SECONDS - 0.1})
    assert not at_once.slots
    assert at_once.turn_in == pytest.approx(0.1)
    late = share((first,), 1, {3: PATIENCE_SECONDS})
    assert (late.slots, late.passed_over) == ({3}, (first,))
    assert not share((first, second), 1, {3: PATIENCE_SECONDS}).slots, "then it is the second's turn"
    latest = share((first, second), 1, {3: 2 * PATIENCE_SECONDS})
    assert (latest.slots, latest.passed_over) == ({3}, (first, second))


def test_only_time_in_which_there_were_enough_slots_for_a_waiter_counts_against_it():
    big = queue_of(3)
    assert not share(big, 1, {0: 99.0, 1: 99.0}).slots, "it has refreshed its ticket just now"
    assert not share(big, 1, {0: 99.0, 1: 99.0, 2: PATIENCE_SECONDS - 0.1}).slots
    assert share(big, 1, {0: 99.0, 1: 99.0, 2: PATIENCE_SECONDS}).slots


def test_one_who_may_still_sleep_is_not_taken_for_dead():
    (first,) = queue_of(1)
    asleep = {first.name: Signs(asleep=4.0)}
    early = share((first,), 1, {3: 4.9}, asleep)
    assert not early.slots
    assert early.turn_in == pytest.approx(0.1)
    assert share((first,), 1, {3: 5.0}, asleep).passed_over == (first,)


def test_one_who_wants_more_than_is_free_is_passed_over_when_it_shows_no_life():
    big, second = queue_of(3, 1)
    free = {0: 2 * STILL_SECONDS, 1: 1.0}

    def left_after(still):
        return share((big,), 1, free, {big.name: Signs(still=still)})

    assert not left_after(STILL_SECONDS - 0.1).slots
    assert left_after(STILL_SECONDS - 0.1).turn_in == pytest.approx(0.1)
    assert left_after(STILL_SECONDS).passed_over == (big,)
    assert left_after(STILL_SECONDS).slots == {0}
    assert not share((big,), 1, {0: 1.0}, {big.name: Signs(still=99.0)}).slots, "it need not, while nothing is free"
    both = {ticket.name: Signs(still=99.0) for ticket in (big, second)}
    assert not share((big, second), 1, {0: STILL_SECONDS + 1.0}, both).slots, "then it is the second's turn"
    assert share((big, second), 1, {0: STILL_SECONDS + PATIENCE_SECONDS}, both).slots == {0}


def test_a_turn_is_told_ahead_where_slots_wait_for_those_before():
    assert share(queue_of(1, 1, 1), 1, {0: 0.5}).turn_in == pytest.approx(3 * PATIENCE_SECONDS - 0.5)
    assert share(queue_of(2), 1, {0: 0.5}).turn_in == pytest.approx(queueing.STILL_SECONDS), "it has just been seen"
    assert share(queue_of(1), 1, {}).turn_in == math.inf


@given(
    counts=st.lists(st.integers(1, 4), max_size=6),
    dwells=st.lists(st.floats(0.0, 6.0), max_size=8),
)
def test_what_all_of_a_queue_may_take_at_one_time_is_disjoint(counts, dwells):
    """As long as nobody is taken for dead: those passed over may still be alive, and then the condition decides."""
    free = {n: min(dwell, PATIENCE_SECONDS - 0.01) for n, dwell in enumerate(dwells)}
    line = queue_of(*counts)
    shares = [share(line[:place], count, free).slots for place, count in enumerate(counts)]
    assert sum(map(len, shares)) == len(frozenset().union(*shares))
    for place, taken in enumerate(shares):
        assert len(taken) in {0, counts[place]}
        if not taken:  # strict: who comes after somebody that is waited for takes nothing
            assert not any(shares[place:])


@given(count=st.integers(1, 3), ahead=st.lists(st.integers(1, 3), max_size=5), slots=st.integers(3, 8))
def test_everybody_is_served_in_the_end_if_slots_stay_free(count, ahead, slots):
    """A dead queue blocks nobody for longer than a time for each of its tickets."""
    dwell = PATIENCE_SECONDS * len(ahead)
    assert share(queue_of(*ahead), count, dict.fromkeys(range(slots), dwell)).slots


# What is left over of a view


def leased(number, *, expires_at=NOW):
    return Slot(number=number, fence=1, lease=Claimant(lease_id="x", owner="", acquired_at=0, expires_at=expires_at))


COUNTER = Counter(max_tokens=4, minted=4, rev=1, lease_ms=1, order="fifo")


def view(*slots):
    return View(counter=COUNTER, slots={slot.number: slot for slot in slots}, covered=range(100_000))


def test_free_expired_missing_and_retired_slots_can_be_had_and_strangers_cannot():
    seen = view(
        leased(0), leased(1, expires_at=5), Slot(number=2, fence=1, retired=True), Slot(number=4, fence=1), leased(5)
    )
    assert queueing.free_slots(seen, max_tokens=5, expired_before=9) == [1, 2, 3, 4]
    strange = view(Slot(number=0, fence=0, foreign=True))
    assert queueing.free_slots(strange, max_tokens=1, expired_before=9) == []


@pytest.mark.parametrize("ours", [(), (1,), (3,), (1, 3)])
def test_a_waiter_chooses_among_its_own_share_alone(ours):
    seen = view(leased(0), Slot(number=1, fence=1), leased(2))
    left = queueing.only(seen, free=[1, 3], ours=frozenset(ours))
    step = choose(left, counter=COUNTER, expired_before=9, chance=random.Random(1))
    if not ours:
        assert isinstance(step, NothingFree)
    else:
        assert isinstance(step, (ClaimSlot, MintSlot))
        assert step.slot in ours
    assert choose(seen, counter=COUNTER, expired_before=9, chance=random.Random(1)) == ClaimSlot(slot=1, fence=1)


def test_strays_are_seen():
    assert queueing.has_strays(view(Slot(number=4, fence=1)), 4)
    assert not queueing.has_strays(view(Slot(number=4, fence=1, retired=True), Slot(number=3, fence=1)), 4)


# When to look again


def test_the_first_looks_four_times_a_second_and_the_others_the_more_seldom_the_farther_they_are():
    waits = [queueing.next_look(place, pace=1e9) for place in range(1, 400)]
    assert waits[0] == HEAD_SECONDS
    assert waits == sorted(waits)
    assert max(waits) <= queueing.FARTHEST_SECONDS


@given(place=st.integers(1, 10_000), pace=st.floats(queueing.QUICKEST_PACE, 1e4))
def test_nobody_sleeps_past_a_quarter_of_the_way(place, pace):
    wait = queueing.next_look(place, pace=pace)
    assert QUICKEST_SECONDS <= wait <= max(QUICKEST_SECONDS, pace * place / 4)


def test_long_waits_are_looked_at_seldom():
    assert queueing.next_look(1_000, pace=0.1) == 25.0
    assert queueing.next_look(10_000, pace=0.1) == pytest.approx(1_000 / 6)
    assert queueing.next_look(10_000, pace=1.0) == queueing.FARTHEST_SECONDS


def test_the_pace_is_what_was_seen_and_before_that_what_the_first_has_waited():
    stands = Standing(ahead=queue_of(1, 1), place=3, exact=True, first_waits=10.0)
    assert queueing.pace_of(stands, seen=None) == 5.0
    assert queueing.pace_of(stands, seen=7.0) == 7.0


def test_who_could_be_served_if_all_slots_came_free_sleeps_for_no_longer_than_others_give_it():
    assert queueing.next_look(30, pace=10.0) == pytest.approx(0.25 * 30**1.5)
    assert queueing.next_look(30, pace=10.0, near=True) == queueing.NEAR_SECONDS
    assert queueing.next_look(30, pace=0.125, near=True) == pytest.approx(30 / 32)
    assert queueing.longest_sleep(1, near=True) == HEAD_SECONDS


# Arrivals


@pytest.mark.parametrize(("last", "arrival"), [(None, NOW), (NOW - 5, NOW), (NOW, NOW + 1), (NOW + 900, NOW + 901)])
def test_a_newcomer_comes_after_the_last_one_whatever_their_clocks_show(last, arrival):
    assert queueing.arrival_after(last and ticket(last), now_ms=NOW) == arrival


def test_an_arrival_that_only_a_hand_can_have_written_is_not_followed():
    assert queueing.arrival_after(ticket(NOW + 10**9), now_ms=NOW) == NOW


def test_a_ticket_for_more_slots_than_there_are_counts_no_more():
    shrunk, other = ticket(1, count=3), ticket(2, count=2)
    assert standing((shrunk, other), ticket(5), more=False, now_ms=NOW, max_tokens=2).ahead == (other,)


def test_slots_that_several_looks_have_shown_are_chosen_among_together():
    seen = queueing.ours_alone({3: Slot(number=3, fence=1), 5: None}, view=view())
    assert seen.covered == range(3, 6)
    assert seen.slots[4].foreign
    assert set(seen.slots) == {3, 4}


def test_whoever_waits_looks_at_the_slots_now_and_then():
    assert [queueing.glance(place) for place in (2, 3, 99)] == [PATIENCE_SECONDS, 2 * PATIENCE_SECONDS, 30.0]


@pytest.mark.parametrize("pace", [0.0, 0.01, 0.025, 0.1, 1.0, 10.0])
def test_ten_thousand_waiters_read_less_than_a_table_gives(pace):
    """A look is one read unit (32 tickets of up to 256 bytes); who may be served looks at the slots, too: some more."""
    looks = [1 / (0.9 * queueing.next_look(place, pace=pace, near=place <= 32)) for place in range(1, 10_001)]
    assert sum(looks) + sum(looks[:8]) < 1_000


def test_a_thousand_waiters_cost_a_twentieth_of_what_they_cost_without_order():
    """Four tokens, held for 10 s: a grant each 2.5 s. Unordered, a thousand look 800 times a second: 2,000 a grant."""
    pace, places = 2.5, range(1, 1_001)
    looks = sum(1 / (0.9 * queueing.next_look(place, pace=pace, near=place <= 4)) for place in places)
    slots = sum(1 / (0.9 * queueing.next_look(place, pace=pace)) for place in (1, 2))
    slots += 2 / pace  # the third and the fourth look at them when the queue has moved
    glances = sum(1 / max(queueing.glance(place), queueing.next_look(place, pace=pace)) for place in range(3, 33))
    refreshed = sum(1 / queueing.longest(place, pace=pace, least=queueing.REFRESH_SECONDS) for place in places)
    assert pace * (looks + slots + glances + refreshed) + 4 <= 104


# What hides the living.


@pytest.mark.parametrize(("counting", "hides"), [(0, True), (15, True), (16, False), (32, False)])
@pytest.mark.parametrize("other", [{"expires_at": NOW - 1}, {"count": 9}], ids=["dead", "wants too many"])
def test_the_first_tickets_hide_the_living_where_fewer_than_half_of_them_count(counting, hides, other):
    alive = [ticket(arrival) for arrival in range(counting)]
    tickets = [*alive, *(ticket(arrival, **other) for arrival in range(counting, 32))]
    assert queueing.hides_the_living(tickets, now_ms=NOW, max_tokens=8) is hides
