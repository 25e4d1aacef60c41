"""Reserving and settling over several processes: cost, lost answers, sweeps, and who gets what comes back."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._operations.rates.booking import take_permits
from ddb_lease._protocol.outcomes import Admitted, Busy, Denied
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import Charge, ChargeTogether, PolicyIs, ReadKey, ReadPolicy, Settle
from ddb_lease._protocol.rates.settling import SWEPT_AFTER
from ddb_lease._state.rates.booking import Booking
from ddb_lease.models import Limit
from tests.operations.rates.rate_world import NS, START, Fate, excess, fates_of
from tests.operations.rates.reserving_world import ReservingWorld
from tests.support import CONFLICT

SEARCH = settings(max_examples=max(1, settings().max_examples // 3))
"""Each example is a whole schedule."""
HOUR = Limit(10, per=36_000, burst=10)
TWO = {"requests": Limit(10, per=36_000), "tokens": Limit(100, per=36_000)}


def held(world, name="permits", key=""):
    return world.state(key).limits[name].held // round(3_600 * NS * (1 if name != "tokens" else 0.1))


# What a settlement does, and at what cost.


def test_a_reservation_and_its_settlement_are_one_request_each_and_nothing_is_read():
    world = ReservingWorld(HOUR, [0])
    reserved = world.reserve(0, 6)
    assert reserved.outcome == Admitted()
    assert world.settle(0, reserved, 2).outcome is None
    assert world.count() == {"ReadPolicy": 1, "CreatePolicy": 1, "Charge": 1, "Settle": 1}
    assert reserved.held.counted is True
    assert world.state().holds == {}
    assert [world.call(0, n).outcome == Admitted() for n in (8, 1)] == [True, False]


def test_what_is_held_counts_as_used_and_what_was_not_used_comes_back():
    world = ReservingWorld(TWO, [0, 0])
    reserved = world.reserve(0, requests=1, tokens=90)
    assert isinstance(world.call(1, tokens=20).outcome, Denied)
    world.settle(0, reserved, tokens=10)
    assert world.call(1, requests=9, tokens=90).outcome == Admitted(), "requests were not named: they count in full"


def test_more_than_was_reserved_is_a_debt():
    world = ReservingWorld(Limit(1, burst=10), [0])
    world.settle(0, world.reserve(0, 5), 25)
    call = world.call(0, patience=60 * NS)
    world.run(START + 60 * NS)
    assert call.admitted_at == pytest.approx(START + 16 * NS, abs=10_000)


def test_a_debt_is_settled_where_an_override_came_in_between():
    world = ReservingWorld(Limit(1, burst=10), [0])
    reserved = world.reserve(0, 5)
    item = world.items.item()
    item.state = replace(item.state, override=dict(world.processes[0].state.policy.limits), override_rev=5)
    assert world.settle(0, reserved, 25).outcome is None
    assert [request.ttl for _, request in world.items.settled] == [None], "an override must stay"
    assert reserved.held.counted is True


def test_reservations_are_booked_in_order_like_permits():
    world = ReservingWorld(Limit(1, burst=5), [0, 0])
    world.call(0, 5)
    first = world.reserve(0, 2, patience=60 * NS)
    second = world.reserve(1, 1, patience=60 * NS)
    world.run(START + 60 * NS)
    assert [round((one.over_at - START) / NS) for one in (first, second)] == [2, 3]


def test_a_process_settles_many_reservations_with_few_requests():
    world = ReservingWorld(Limit(1_000, per=3_600, burst=1_000), [0], delay=10_000_000)
    many = [world.reserve(0, 1, patience=60 * NS) for _ in range(50)]
    world.run(START + 10 * NS)
    assert len(world.state().holds) == 1, "one entry a process"
    calls = [world.settle(0, one, 0) for one in many]
    world.run(START + 20 * NS)
    assert all(one.held.counted for one in calls)
    assert world.count()["Settle"] <= 3
    assert world.state().holds == {}
    assert world.call(0, 1_000, patience=NS).outcome is None  # under way
    world.run(START + 21 * NS)
    assert world.calls[-1].outcome == Admitted()


def test_reserving_and_settling_at_the_same_time_loses_nothing():
    world = ReservingWorld(Limit(10_000, per=3_600, burst=10_000), [0, 0], delay=10_000_000)
    live = []
    for step in range(200):
        live.append((step % 2, world.reserve(step % 2, 3, patience=60 * NS)))
        world.run(world.now + 7_000_000)
        for process, one in [(p, one) for p, one in live if one.held is not None and one.held.used is None][:1]:
            world.settle(process, one, 1)
    world.run(world.now + 60 * NS)
    for process, one in live:
        if one.held.used is None:
            world.settle(process, one, 1)
    world.run(world.now + 60 * NS)
    assert all(one.held.counted for _, one in live)
    assert world.count()["Charge"] <= 1.05 * 200 + 4, "they do not refuse one another"
    assert world.count()["Settle"] <= 1.05 * 200
    (charged,) = world.state().limits.values()
    assert charged.held == 0
    settled = [part for _, request in world.items.settled for part in request.limits]
    assert sum(part.used for part in settled) == 200 * 360_000_000
    assert sum(part.held for part in settled) == 600 * 360_000_000


def test_a_waiter_of_the_same_process_gets_what_a_settlement_gives_back():
    world = ReservingWorld(HOUR, [0])
    reserved = world.reserve(0, 10)
    call = world.call(0, 4, patience=60 * NS)
    world.run(START + 5 * NS)
    assert not call.over
    settled_at = world.now
    world.settle(0, reserved, 0)
    world.run(settled_at + 1_000_000)
    assert call.outcome == Admitted()


def test_a_waiter_for_what_is_held_does_not_forget_the_override_that_allows_it():
    world = ReservingWorld(HOUR, [0, 0])
    world.call(0)
    item, (limit,) = world.items.item(), world.items.policy.limits.values()
    item.state = replace(item.state, override={"permits": replace(limit, burst=20)}, override_rev=9)
    world.call(0)
    reserved = world.reserve(1, 15)
    assert reserved.outcome == Admitted()
    call = world.call(0, 12, patience=60 * NS)
    world.run(START + 10 * NS)
    assert (call.over, call.raised) == (False, None)
    world.settle(1, reserved, 0)
    world.run(START + 60 * NS)
    assert call.outcome == Admitted()


@pytest.mark.parametrize("held_by", [0, 1], ids=["this process", "another"])
def test_a_try_behind_a_reservation_that_waits_is_denied_at_once(held_by):
    world = ReservingWorld(HOUR, [0, 0], delay=10_000_000)
    world.reserve(held_by, 9)
    world.run(START + NS)
    waiting = world.reserve(0, 5, patience=600 * NS)
    for seconds in range(2, 58):
        world.run(START + seconds * NS)
        tried = world.call(0, 2)
        world.run(world.now + 100_000_000)
        assert isinstance(tried.outcome, Denied), seconds
    assert waiting.over_at is None


def test_a_settlement_outlasts_others_that_write_the_item():
    world = ReservingWorld(HOUR, [0])
    reserved = world.reserve(0, 6)
    world.items.settle_conflicts = 15
    call = world.settle(0, reserved, 2)
    world.run(START + 11 * NS)
    assert (call.outcome, call.held.counted) == (None, True)
    reserved = world.reserve(0, 6)
    world.items.settle_conflicts = 10_000
    call = world.settle(0, reserved, 2)
    world.run(START + 60 * NS)
    assert isinstance(call.outcome, Busy)
    assert call.held.counted is None
    assert call.over_at < START + 23 * NS, "ten seconds, and a request"


# Answers that are lost.


@pytest.mark.parametrize("settles", [True, False])
def test_a_reservation_that_any_answer_has_shown_is_not_made_again(settles):
    world = ReservingWorld(HOUR, [0, 0], fates=[Fate()] * 3 + [Fate(back=None)])
    first = world.reserve(0, 1)
    second = world.reserve(0, 2, patience=60 * NS)
    for process in world.processes:
        process.state.lane = world.processes[0].state.lane
    if not settles:
        world.items.settle_conflicts = 1
    third = world.settle(0, first, 1)  # it is refused by the item, which shows the second reservation
    world.call(1)  # in the same lane: the item shows no more that the second one was charged
    world.run(START + 20 * NS)
    assert (second.outcome, third.held.counted) == (Admitted(), True)
    assert set(world.items.item().commits.values()) == {1}
    world.settle(0, second, 2)
    assert second.held.counted is True
    assert world.state().holds == {}
    assert held(world) == 0


@pytest.mark.parametrize("fate", [Fate(out=None), Fate(back=None), Fate(back=None, again=2 * NS), Fate(again=NS)])
def test_each_settlement_counts_once_whatever_becomes_of_its_answer(fate):
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(), fate])
    reserved = world.reserve(0, 6)
    world.settle(0, reserved, 4)
    world.run(START + 30 * NS)
    assert reserved.held.counted is True
    assert len(world.items.settled) == 1
    assert world.state().limits["permits"].held == 0
    assert [world.call(0, n).outcome == Admitted() for n in (6, 1)] == [True, False]


def test_a_reservation_whose_answer_was_lost_is_settled_like_any_other():
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(back=None)])
    reserved = world.reserve(0, 6, patience=30 * NS)
    world.run(START + 10 * NS)
    assert reserved.outcome == Admitted()
    assert len(world.items.charges) == 1
    world.settle(0, reserved, 0)
    assert world.state().holds == {}
    assert world.call(0, 10).outcome == Admitted()


def test_what_was_not_settled_in_an_outage_is_settled_with_the_next_one():
    fates = [Fate()] * 4 + [Fate(out=None)] * 6
    world = ReservingWorld(HOUR, [0], fates=fates)
    first, second = world.reserve(0, 3), world.reserve(0, 3)
    failed = world.settle(0, first, 1)
    world.run(START + 11 * NS)
    assert failed.over_at is not None
    assert failed.outcome is not None
    assert first.held.counted is None
    world.settle(0, second, 1)
    assert [one.held.counted for one in (first, second)] == [True, True]
    assert world.state().holds == {}
    assert [world.call(0, n).outcome == Admitted() for n in (8, 1)] == [True, False]


def test_a_settlement_whose_sender_is_gone_is_finished_by_the_next_one():
    world = ReservingWorld(HOUR, [0], delay=20_000_000)
    first, second = world.reserve(0, 3, patience=9 * NS), world.reserve(0, 3, patience=9 * NS)
    world.run(START + NS)
    left = world.settle(0, first, 1)
    left.cancel()
    world.settle(0, second, 1)
    world.run(START + 3 * NS)
    assert [one.held.counted for one in (first, second)] == [True, True]
    assert len({request.attempt for _, request in world.items.settled}) == len(world.items.settled)
    assert sum(part.used for _, request in world.items.settled for part in request.limits) == 2 * 3_600 * NS


def test_a_settlement_that_another_caller_found_to_be_over_is_not_sent_again():
    world = ReservingWorld(HOUR, [0], fates=[Fate()] * 3 + [Fate(back=None)])
    first = world.reserve(0, 5)
    world.settle(0, first, 2)  # it happens; its sender waits for an answer
    world.run(START + NS // 2)
    second = world.reserve(0, 5)  # waits a moment for it, then finds out, and holds as much again
    world.run(world.now + NS // 5)
    assert second.outcome == Admitted()
    world.run(START + 10 * NS)
    assert first.held.counted is True
    assert held(world) == 5
    world.settle(0, second, 0)
    assert [world.call(0, n).outcome == Admitted() for n in (8, 1)] == [True, False]


def test_a_settlement_that_another_caller_of_a_parent_found_to_be_over_is_not_sent_again():
    world = ReservingWorld(HOUR, [0], fates=[Fate()] * 3 + [Fate(back=None)])
    world.reserve(0, 5, key="org").held.give_up()
    first = world.together(0, ("team", "org"), patience=9 * NS)  # settles what was given up, and waits for an answer
    assert len(world.items.settled) == 1
    world.run(START + NS // 2)
    second = world.together(0, ("team", "org"), 6, patience=NS, within=60 * NS)  # finds out, and holds more
    assert second.outcome == Admitted()
    world.run(START + 10 * NS)
    assert first.outcome == Admitted()
    assert (held(world, key="org"), len(world.items.settled)) == (6, 1)


def test_a_hold_that_an_older_answer_does_not_show_is_asked_for_before_it_is_given_up():
    world = ReservingWorld(HOUR, [0])
    reserved = world.reserve(0, 6)
    ledger = world.processes[0].state.book("").ledger
    ledger.seen = replace(ledger.seen, holds={})
    world.settle(0, reserved, 2)
    assert reserved.held.counted is True
    assert world.count() == {"ReadPolicy": 1, "CreatePolicy": 1, "Charge": 1, "ReadKey": 1, "Settle": 1}


def test_a_reservation_that_is_cancelled_while_it_waits_is_given_back():
    world = ReservingWorld(Limit(1, burst=5), [0])
    world.call(0, 5)
    cancelled = world.reserve(0, 5, patience=60 * NS)
    world.run(START + NS)
    cancelled.cancel()
    world.run(START + 2 * NS)
    call = world.call(0, 1, patience=60 * NS)
    world.run(START + 6 * NS)
    assert call.outcome == Admitted()
    assert world.state().holds == {}


# Sweeps.


def test_what_a_dead_process_held_is_swept_by_whoever_waits_for_it():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    world.reserve(0, 10, within=20 * NS)  # and it dies
    call = world.call(1, 2, patience=100 * NS)
    world.run(START + 100 * NS)
    swept = [(at, request) for at, request in world.items.settled]
    assert len(swept) == 1
    assert START + 20 * NS + SWEPT_AFTER < swept[0][0] <= START + 24 * NS + SWEPT_AFTER
    assert call.admitted_at == pytest.approx(swept[0][0] + 2 * NS, abs=NS), "it counts in full from the sweep on"
    assert world.state().holds == {}
    assert len(world.requests) <= 35, "about one a second"


def test_a_charge_after_a_sweep_that_was_answered_late_is_not_by_an_old_policy():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    world.reserve(0, 4, within=20 * NS)  # and it dies
    world.call(1)
    world.run(START + 60 * NS)
    state = world.processes[1].state
    booking = Booking(lambda: None, wanted=Wanted(booked={"permits": 1}), began=60.0, deadline=600.0, patient=True)
    call = take_permits(state, "", state.join("", booking), booking, process=state.process)
    assert isinstance(next(call), ReadPolicy)
    assert isinstance(call.send(PolicyIs(policy=state.policy)), Settle)
    world.now += 31 * NS
    assert isinstance(call.send(CONFLICT), ReadPolicy)
    assert isinstance(call.send(PolicyIs(policy=state.policy)), Charge)


def test_a_dead_process_that_left_room_is_swept_too():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    world.reserve(0, 4, within=20 * NS)
    world.run(START + 60 * NS)
    assert world.call(1, 1).outcome == Admitted()
    assert world.call(1, 1).outcome == Admitted()
    assert world.state().holds == {}


def test_a_hold_is_not_swept_before_its_time():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    reserved = world.reserve(0, 4, within=20 * NS)
    world.run(START + 21 * NS)
    for _ in range(3):
        world.call(1, 1)
    assert world.items.settled == []
    world.settle(0, reserved, 1)
    assert reserved.held.counted is True


def test_settling_after_the_sweep_changes_nothing_and_says_so():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    reserved = world.reserve(0, 4, within=20 * NS)
    world.run(START + 60 * NS)
    for _ in range(2):
        world.call(1, 1)
    before = world.state()
    assert before.holds == {}
    world.settle(0, reserved, 0)
    assert reserved.held.counted is False
    assert world.state() == before
    assert isinstance(world.requests[-1], (ReadKey, Settle))


def test_a_hold_that_was_swept_and_made_anew_is_not_settled_with_the_old_numbers():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    old = world.reserve(0, 4, within=20 * NS)
    world.run(START + 60 * NS)
    for _ in range(2):
        world.call(1, 1)
    world.run(START + 90 * NS)
    new = world.reserve(0, 6, within=20 * NS)
    assert new.outcome == Admitted()
    world.settle(0, old, 0)
    assert old.held.counted is False
    assert world.state().limits["permits"].held == 6 * NS
    world.settle(0, new, 0)
    assert new.held.counted is True
    assert world.state().limits["permits"].held == 0


def test_one_process_alone_sweeps_what_it_never_settled():
    world = ReservingWorld(Limit(1, burst=10), [0])
    forgotten = world.reserve(0, 10, within=20 * NS)
    call = world.call(0, 2, patience=100 * NS)
    world.run(START + 100 * NS)
    assert call.outcome == Admitted()
    assert forgotten.held.counted is not None
    assert world.state().holds == {}


def test_a_process_that_reserves_on_and_on_does_not_keep_what_it_forgot():
    world = ReservingWorld(Limit(100, burst=100), [0])
    world.reserve(0, 50, within=20 * NS)
    for _ in range(60):
        world.run(world.now + NS)
        world.settle(0, world.reserve(0, 1, within=20 * NS), 1)
    assert world.state().limits["permits"].held == 0
    assert sum(part.used for _, request in world.items.settled for part in request.limits) == 110 * NS // 100


def test_what_an_attempt_reserved_that_was_given_up_is_settled_in_full():
    lost = [Fate(back=None)] + [Fate(out=None)] * 12
    world = ReservingWorld(Limit(1, burst=10), [0], fates=[Fate(), Fate(), *lost])
    given_up = world.reserve(0, 5, patience=2 * NS, within=600 * NS)
    world.run(START + 40 * NS)
    assert given_up.held is None
    assert world.state().limits["permits"].held == 5 * NS
    reserved = world.reserve(0, 1, patience=30 * NS)
    world.run(START + 60 * NS)
    world.settle(0, reserved, 0)
    world.run(START + 90 * NS)
    assert world.state().holds == {}
    assert world.state().limits["permits"].held == 0


@pytest.mark.parametrize("together", [False, True])
def test_a_settlement_that_nobody_knows_of_is_not_made_of_a_later_reservation_that_nobody_knows_of(together):
    unanswered = ()

    def fates():
        while True:
            yield Fate(back=None) if isinstance(world.requests[-1], unanswered) else Fate()

    def reserve_without_answer():
        nonlocal unanswered
        unanswered = (Charge, ChargeTogether)
        if together:
            given_up = world.together(0, ["", "parent"], 5, patience=2 * NS, within=600 * NS)
        else:
            given_up = world.reserve(0, 5, patience=2 * NS, within=600 * NS)
        world.run(world.now + 40 * NS)
        assert given_up.held is None
        assert world.state().limits["permits"].held == 5 * NS

    world = ReservingWorld(Limit(1, burst=10), [0], fates=fates())
    world.call(0, 1)
    world.call(0, 1, key="parent")
    reserve_without_answer()
    unanswered = (Settle, Charge)
    world.call(0, 1, patience=2 * NS)  # reads the item, and settles what nobody holds
    world.run(world.now + 40 * NS)
    unanswered = ()
    item = world.items.item()
    item.state = replace(item.state, lanes={})  # others have used its lane
    assert world.call(0, 1).outcome == Admitted()
    reserve_without_answer()
    unanswered = ()
    assert world.call(0, 1).outcome == Admitted()
    first, second = (request.attempt for _, request in world.items.settled if not request.key)
    assert first != second
    assert world.state().holds == {}


# Random schedules.

SECONDS_AWAY = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3))
DELAY = st.one_of(st.none(), SECONDS_AWAY, SECONDS_AWAY)
FATES = fates_of(DELAY, again=st.one_of(st.none(), st.none(), SECONDS_AWAY), most=60)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 4)),
        st.integers(0, 2),
        st.integers(1, 8),
        st.sampled_from(["take", "reserve", "reserve", "settle", "settle", "forget", "cancel"]),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=40,
)


@SEARCH
@given(rate=st.sampled_from([1, 3, 10]), burst=st.integers(1, 8), processes=st.integers(1, 3), steps=STEPS, fates=FATES)
def test_whatever_happens_each_reservation_counts_once_and_all_comes_back(rate, burst, processes, steps, fates):
    limit = Limit(rate, burst=burst)
    world = ReservingWorld(limit, [0] * processes, fates=fates)
    live, uses = [], []
    for seconds, number, n, what, used in steps:
        world.run(world.now + round(seconds * NS))
        process, permits = number % processes, min(n, burst)
        if what == "take":
            world.call(process, permits, patience=20 * NS)
        elif what in {"reserve", "cancel"}:
            one = world.reserve(process, permits, patience=20 * NS, within=30 * NS)
            if what == "cancel":
                world.at(world.now + NS, one.cancel)
            live.append((process, one, permits))
        mine = [entry for entry in live if entry[0] == process and entry[1].held and entry[1].held.used is None]
        if what in {"settle", "forget"} and mine:
            live.remove(mine[0])
            spent = min(used, mine[0][2]) if what == "settle" else mine[0][2]
            in_time = world.now <= mine[0][1].held.until
            uses.append((world.now if in_time else mine[0][1].held.until, spent if in_time else 0))
            if what == "settle" and mine[0][1].held.counted is None:
                world.settle(process, mine[0][1], spent)
    world.run(world.now + 1_000 * NS)
    late = 12.0 if fates else 0.001
    taken = world.used()
    assert excess([*taken, *[use for use in uses if use[1]]], limit) <= rate * late + 1e-3
    commits = world.items.item().commits
    for _, request in world.items.settled:
        # Only a reservation that a late copy charged anew may be settled anew: the strict side.
        assert commits[request.attempt] <= commits[request.hold_before], "each settlement happens once"
    # All that was held comes back: by being settled, or by being swept by whoever comes.
    for _ in range(12):
        world.run(world.now + 40 * NS)
        world.call(0, 1, patience=20 * NS)
        world.run(world.now + 30 * NS)
    world.run(world.now + 60 * NS)
    assert world.state().limits["permits"].held == 0
    assert world.state().holds == {}
    whole = world.call(0, burst, patience=60 * NS)
    world.run(world.now + 60 * NS)
    assert whole.outcome == Admitted()
