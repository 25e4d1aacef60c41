"""Booking: order, fairness and cost over several processes; lost answers; who is told at once."""

import itertools
import sys
import threading
import weakref
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._operations.rates import booking
from ddb_lease._operations.rates.booking import ATTEMPT_SECONDS
from ddb_lease._operations.rates.policy import learn_policy
from ddb_lease._operations.rates.steer import read_key
from ddb_lease._protocol.outcomes import Admitted, Denied, Unavailable
from ddb_lease._protocol.rates.messages import ChangePolicy, Charge, CreatePolicy, KeyIs, ReadKey, ReadPolicy
from ddb_lease._protocol.rates.records import Hold, LimitState
from ddb_lease._protocol.rates.steering import change_policy
from ddb_lease._protocol.rates.validation import SINGLE, limit_policies
from ddb_lease._state.rates import booking_queue
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Limit
from tests.operations.rates.rate_world import NS, START, Fate, World, excess, fates_of, jain
from tests.support import WatchedLock, memory_of

SEARCH = settings(max_examples=max(1, settings().max_examples // 3))
"""Each example is a whole schedule."""


def saturated(limit, processes, *, seconds, delay=5_000_000, threads=1, prefetch=0, errors=None, n=1):
    """Every thread of every process wants permits, and others as soon as it has them."""
    world = World(limit, errors or [0] * processes, delay=delay, prefetch=prefetch)
    end = START + seconds * NS

    def again(call):
        if world.now < end:
            world.at(world.now + 20_000, lambda: world.call(call.process, n, patience=3_600 * NS, done=again))

    for process in range(processes):
        for _ in range(threads):
            world.call(process, n, patience=3_600 * NS, done=again)
    world.run(end)
    return world


# From idle.


def test_from_idle_exactly_the_burst_is_admitted_at_once():
    world = World(Limit(100, burst=5), [0])
    assert [world.call(0).outcome == Admitted() for _ in range(7)] == [True] * 5 + [False] * 2


def test_the_first_use_reads_and_creates_the_policy_and_a_permit_is_one_charge():
    world = World(Limit(100, burst=5), [0])
    world.call(0)
    assert [type(request).__name__ for request in world.requests] == ["ReadPolicy", "CreatePolicy", "Charge"]
    world.call(0)
    assert len(world.requests) == 4
    world.call(0, key="another")
    assert len(world.requests) == 5, "a key's first use costs one request"


def test_a_denial_from_memory_sends_nothing():
    world = World(Limit(100, burst=5), [0])
    world.call(0, 5)
    sent = len(world.requests)
    assert isinstance(world.call(0).outcome, Denied)
    assert len(world.requests) == sent
    world.run(world.now + 10_000_001)
    assert world.call(0).outcome == Admitted()


# Waiting.


def test_who_waits_out_a_block_or_a_long_denial_meets_its_end_within_half_a_minute():
    world = World(Limit(1, per=60, burst=1), [0, 0])
    world.call(0, key="team")
    items = world.items.keys
    items["team"] = replace(items["team"], blocked_until=world.now + 3600 * NS)
    waiting, sent = world.call(1, key="team", patience=7200 * NS), len(world.requests)
    world.run(world.now + 300 * NS)
    assert len(world.requests) - sent <= 20, "it asks twice a minute"
    items["team"] = replace(items["team"], limits={}, blocked_until=0)
    world.run(world.now + 31 * NS)
    assert waiting.outcome == Admitted()


def test_a_waiter_books_with_one_request_and_sleeps_until_its_permits_are_due():
    world = World(Limit(10, burst=1), [0])
    world.call(0)
    sent = len(world.requests)
    call = world.call(0, patience=NS)
    world.run(world.now + NS)
    assert len(world.requests) == sent + 1
    assert call.admitted_at == pytest.approx(START + NS // 10, abs=10_000)


def test_who_waits_is_served_in_the_order_of_bookings_over_all_processes_and_large_ones_too():
    world = World(Limit(10, burst=8), [0, 0, 0])
    world.call(0, 8)
    calls = []
    for step, (process, n) in enumerate([(1, 1), (2, 8), (0, 1), (1, 1), (2, 1)]):
        world.run(START + (step + 1) * 1_000_000)
        calls.append(world.call(process, n, patience=60 * NS))
    world.run(world.now + 60 * NS)
    at = [call.admitted_at for call in calls]
    assert at == sorted(at)
    assert len(set(at)) == len(at)
    assert [round((when - START) / NS, 1) for when in at] == [0.1, 0.9, 1.0, 1.1, 1.2]


def test_who_cannot_be_served_in_time_is_told_at_once():
    world = World(Limit(1, burst=1), [0, 0])
    for _ in range(4):
        world.call(0, patience=60 * NS)
    late = world.call(1, patience=2 * NS)
    assert late.over_at == START
    assert isinstance(late.outcome, Denied)
    behind = world.call(0, patience=2 * NS)
    assert behind.over_at == START
    world.run(START + 10 * NS)
    assert len(world.used()) == 4


def test_one_write_books_for_all_who_wait_up_to_the_burst():
    world = World(Limit(100, burst=50), [0], delay=10_000_000)
    first = world.call(0, patience=NS)
    others = [world.call(0, patience=NS) for _ in range(20)]
    world.run(START + NS)
    assert all(call.admitted_at for call in (first, *others))
    assert [len(charge.limits) for charge in world.charges] == [1] * len(world.charges)
    assert len(world.charges) <= 2


def test_each_waiter_of_one_write_has_its_own_due_time():
    world = World(Limit(10, burst=4), [0], delay=1_000_000)
    world.call(0, 4, patience=NS)
    world.run(START + 10_000_000)
    calls = [world.call(0, patience=NS) for _ in range(3)]
    world.run(START + NS)
    assert [round((call.admitted_at - START) / NS, 1) for call in calls] == [0.1, 0.2, 0.3]


def test_nobody_books_beyond_the_horizon():
    world = World(Limit(1, burst=1), [0] * 100)
    for process in range(100):
        world.call(process, patience=600 * NS)
    booked = world.items.keys[""].limits["permits"].tat
    assert booked <= START + 31 * NS
    world.run(START + 120 * NS)
    assert sum(n for _, n in world.used()) >= 118 - 20, "the rate is used meanwhile"


def test_beyond_the_horizon_age_decides():
    world = World(Limit(1, burst=1), [0] * 90)
    calls = []
    for process in range(90):
        world.run(START + process * NS * 2 // 3)
        calls.append(world.call(process, patience=600 * NS))
    world.run(START + 200 * NS)
    assert all(call.admitted_at for call in calls)
    for older in calls:
        passed_by = [one for one in calls if one.began > older.began and one.admitted_at < older.admitted_at]
        assert all(one.began - older.began < 20 * NS for one in passed_by)
    assert len(world.charges) <= 3 * 90


# Fairness, throughput and cost.


@pytest.mark.parametrize("processes", [4, 8])
@pytest.mark.parametrize("rate", [1, 10, 100, 1_000])
def test_processes_that_want_the_same_get_the_same_at_one_request_a_permit(processes, rate):
    seconds = {1: 60, 10: 60, 100: 20, 1_000: 4}[rate]
    world = saturated(Limit(rate), processes, seconds=seconds)
    shares = [sum(n for _, n in world.used(process)) for process in range(processes)]
    assert jain(shares) >= 0.97
    if rate <= 100:  # a round trip for each permit takes too long for more
        assert sum(shares) >= 0.95 * rate * seconds
    first_guesses = processes
    charged = sum(part.charged for _, charge in world.items.charges for part in charge.limits) * rate // NS
    assert len(world.charges) - first_guesses <= 1.05 * charged
    assert charged <= sum(shares) * 1.05 + 2 * processes + rate // 8


def test_sixteen_threads_of_one_process_share_writes():
    world = saturated(Limit(5_000, burst=5_000), 1, seconds=2, threads=16, delay=4_000_000)
    total = sum(n for _, n in world.used())
    assert total / 2 >= 2_000
    assert len(world.charges) / total <= 0.1


@pytest.mark.parametrize("rate", [10, 100, 1_000])
@pytest.mark.parametrize("prefetch", [0, 50])
def test_one_process_alone_never_exceeds_its_rate_at_the_times_of_use(rate, prefetch):
    limit = Limit(rate, burst=max(1, rate // 5))
    world = saturated(limit, 1, seconds=5, threads=4, delay=60_000_000, prefetch=prefetch)
    assert excess(world.used(), limit) <= 1e-3
    assert sum(n for _, n in world.used()) >= 0.8 * min(rate * 5, 5 / 0.06)


def test_the_work_for_each_of_many_waiters_does_not_grow_with_their_number(monkeypatch):
    looks = []

    class Counted(weakref.ref):
        def __call__(self):
            looks.append(1)
            return super().__call__()

    monkeypatch.setattr(booking_queue.weakref, "ref", Counted)
    monkeypatch.setattr(booking, "IN_FRONT", 10)
    each = []
    for waiters in (500, 1_000):
        world = World(Limit(10, burst=1), [0], delay=5_000_000)
        world.call(0)
        looks.clear()
        for _ in range(waiters):
            world.call(0, patience=3_600 * NS)
        world.run(START + 20 * NS)
        each.append(len(looks) / waiters)
    assert each[1] <= 1.4 * each[0]


def test_who_waits_behind_one_who_may_not_book_yet_is_told_at_once_too():
    world = World(Limit(1, burst=1), [0])
    for _ in range(40):
        world.call(0, patience=600 * NS)
    world.run(START + NS // 2)
    late = world.call(0, patience=2 * NS)
    assert isinstance(late.outcome, Denied)
    assert late.over_at == world.now


def test_millions_of_prefetched_permits_are_a_few_entries():
    world = World(Limit(1_000_000, burst=60_000_000), [0], prefetch=5_000_000)
    assert world.call(0).outcome == Admitted()
    spares = world.processes[0].state.book("").spares
    assert memory_of(spares) < 1_000_000
    assert spares.in_hand(now=world.now) == 4_999_999
    assert world.call(0, 4_999_999).outcome == Admitted()
    assert len(world.charges) == 1


@pytest.mark.parametrize("fate", [Fate(out=None), Fate(back=None)])
def test_a_batch_that_is_found_out_about_under_another_policy_keeps_that_one(fate):
    slow, fast = Limit(1, burst=10), Limit(10, burst=10)
    world = World(slow, [0], fates=[Fate(), Fate(), Fate(), Fate(0, NS // 10), fate])
    world.call(0, 10)
    world.call(0, patience=60 * NS)
    calls = [world.call(0, patience=60 * NS) for _ in range(5)]
    world.run(START + NS // 2)
    new = change_policy(world.items.policy, limit_policies({"permits": fast}), now=world.now).policy
    world.items.policy = world.processes[0].state.policy = new
    world.run(START + 60 * NS)
    assert excess([(call.admitted_at, 1) for call in calls], fast) <= 1e-3
    assert all(call.admitted_at <= START + 16 * NS for call in calls)
    if fate.out is None:
        assert calls[-1].admitted_at <= START + 2 * NS, "charged under the new policy"


def test_prefetching_is_fair_and_economical():
    world = saturated(Limit(100, burst=100), 4, seconds=30, prefetch=50)
    shares = [sum(n for _, n in world.used(process)) for process in range(4)]
    assert jain(shares) >= 0.97
    assert len(world.charges) / sum(shares) <= 0.04
    assert sum(shares) >= 0.95 * 100 * 30


def test_many_processes_that_want_little_charge_only_what_they_use():
    chance = Random(1)
    world = World(Limit(1_000), [chance.randint(-50_000_000, 50_000_000) for _ in range(100)], delay=6_000_000)
    end = START + 10 * NS

    def now_and_then(process):
        world.call(process)
        if world.now < end:
            world.at(world.now + round(chance.expovariate(1 / 1.5) * NS), lambda: now_and_then(process))

    for process in range(100):
        world.at(START + chance.randrange(NS), lambda process=process: now_and_then(process))
    world.run(end + NS)
    used = sum(n for _, n in world.used())
    assert used == len(world.calls), "the rate has room for ten times as many"
    charged = sum(part.charged for _, charge in world.items.charges for part in charge.limits) * 1_000 // NS
    assert charged <= 1.1 * used


# Several limits.


def test_what_is_prefetched_is_within_the_horizon_too():
    world = World(Limit(20, per=60, burst=20), [0], prefetch=20)
    for _ in range(12):
        world.call(0, 5, patience=60 * NS)
    booked = world.items.keys[""].limits["permits"].reach - 20 * 3 * NS - START
    assert 24 * NS < booked <= 30 * NS


def test_several_limits_are_charged_together_or_not_at_all():
    world = World({"requests": Limit(10, burst=10), "tokens": Limit(100, burst=100)}, [0])
    assert world.call(0, requests=1, tokens=90).outcome == Admitted()
    assert isinstance(world.call(0, requests=1, tokens=90).outcome, Denied)
    assert world.call(0, requests=9, tokens=10).outcome == Admitted()
    assert isinstance(world.call(0, requests=1).outcome, Denied)


def test_waiters_for_several_limits_are_served_and_keep_both():
    limits = {"requests": Limit(10, burst=5), "tokens": Limit(100, burst=50)}
    world = World(limits, [0, 0, 0], delay=5_000_000)
    chance = [(1, 5), (2, 10), (1, 50), (5, 1)]
    for number in range(40):
        world.run(START + number * NS // 20)
        requests, tokens = chance[number % 4]
        world.call(number % 3, patience=300 * NS, requests=requests, tokens=tokens)
    world.run(START + 300 * NS)
    assert all(call.admitted_at for call in world.calls)
    for name, limit in limits.items():
        times = [(call.admitted_at, call.wanted.booked[name]) for call in world.calls]
        late = 0.011 * limit.permits  # an answer is under way for so long
        assert excess(times, limit) <= late


def test_a_waiter_for_a_limit_that_was_removed_is_told_and_harms_no_other():
    limits = {name: Limit(10, burst=3) for name in ("a", "b", "c")}
    world = World(limits, [0], delay=10_000_000)
    world.call(0, a=3)
    world.run(START + NS // 20)
    calls = [world.call(0, patience=5 * NS, a=1, **{other: 1}) for other in ("b", "b", "c")]
    policy = world.items.policy
    changed = change_policy(policy, {"c": None}, now=world.now).policy
    world.items.policy = world.processes[0].state.policy = changed
    world.run(START + 5 * NS)
    assert [call.outcome == Admitted() for call in calls] == [True, True, False]
    assert isinstance(calls[2].raised, ConfigurationError)
    assert "no limit 'c'" in str(calls[2].raised)


# Lost answers, cancelled callers, dead leaders.


@pytest.mark.parametrize("fate", [Fate(out=None), Fate(back=None), Fate(back=None, again=2 * NS)])
def test_a_lost_answer_is_found_out_and_counted_once(fate):
    world = World(Limit(10, burst=5), [0], fates=[Fate(), Fate(), fate])
    call = world.call(0, 2)
    world.run(START + 10 * NS)
    assert call.outcome == Admitted()
    assert len({charge.attempt for charge in world.charges}) == 1
    assert len(world.items.charges) == 1


def test_an_attempt_whose_outcome_stays_unknown_is_given_up_after_a_while():
    world = World(Limit(10, burst=5), [0], fates=[Fate(), Fate(), *[Fate(out=None)] * 100])
    call = world.call(0)
    world.run(START + 60 * NS)
    assert isinstance(call.outcome, (Unavailable, Denied))
    assert call.over_at <= START + 11 * NS
    assert ATTEMPT_SECONDS < 11


def test_what_a_cancelled_caller_booked_goes_to_another_of_its_process():
    world = World(Limit(1, burst=1), [0])
    world.call(0)
    first = world.call(0, patience=60 * NS)
    second = world.call(0, patience=60 * NS)
    world.run(START + NS // 10)
    charged = len(world.items.charges)
    first.cancel()
    third = world.call(0, patience=60 * NS)
    world.run(START + 60 * NS)
    assert round((third.admitted_at - START) / NS, 1) == 1.0
    assert round((second.admitted_at - START) / NS, 1) == 2.0
    assert len(world.items.charges) == charged


@pytest.mark.parametrize("patience", [0, NS // 2])
def test_whose_permits_another_thread_books_while_it_finds_none_has_them(patience):
    for step in range(1, 10):
        world = World(Limit(1, burst=1), [0])
        for _ in range(40):  # more than may book now
            world.call(0, patience=600 * NS)
        world.run(START + NS // 2)
        state, dealt, steps = world.processes[0].state, [], itertools.count(1)
        book = state.book("")
        before = len(book.waiting())

        def others_book(world=world, book=book, before=before, dealt=dealt, steps=steps, step=step):
            if len(book.waiting()) > before and next(steps) == step:
                for one in book.waiting():
                    book.give_back(one.wanted, due=world.now)
                dealt += book.deal(now=world.now, steady=world.now / NS)

        state.lock = WatchedLock()
        state.lock.before = others_book
        late = world.call(0, patience=patience)
        if not dealt:
            break
        world.run(world.now + 60 * NS)
        assert late.booking in dealt
        assert late.outcome == Admitted(), f"before lock {step}"
    assert step > 3, "it takes the lock to find its place, to look, and to end"
    assert isinstance(late.outcome, Denied)


@pytest.mark.parametrize("delay", [0, 50_000_000])
@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("patience", [5 * NS // 2, 600 * NS])
def test_nothing_is_charged_in_vain_where_others_hand_over_permits_at_any_moment(patience, rounds, delay):
    steps = 0
    for step in range(1, 20):
        world = World(Limit(1, burst=1), [0], delay=delay)
        world.run(START + NS)
        world.call(0)
        world.run(world.now + NS // 2)
        booked = [world.call(0, patience=600 * NS) for _ in range(4)]
        world.run(world.now + 2 * NS // 5)
        taken = itertools.count(1)

        def others(world=world, booked=booked, taken=taken, step=step):
            if next(taken) == step:
                for one in booked[:rounds]:
                    one.cancel()  # its permit goes to who is first
                    world.call(0, patience=600 * NS)  # deals it out, and wants another one

        lock = world.processes[0].state.lock = WatchedLock()
        lock.before = others
        world.call(0, patience=patience)
        world.run(world.now + 60 * NS)
        if next(taken) <= step:
            break
        steps = step
        used = [call for call in world.calls if call.outcome == Admitted()]
        charged = sum(part.charged for _, charge in world.items.charges for part in charge.limits) // NS
        assert charged == len(used), f"before lock {step}"
        assert all(call.raised is None for call in world.calls)
    assert steps > 5, "it takes the lock to find its place, to plan, to send, and to deal out"


@pytest.mark.parametrize("patience", [0, 60 * NS])
def test_a_fork_at_any_moment_of_a_call_ends_it_in_the_child(patience):
    steps = 0
    for step in range(1, 20):
        world = World(Limit(10, burst=5), [0])
        world.call(0)
        world.run(world.now + NS)
        state, taken = world.processes[0].state, itertools.count(1)

        def fork(state=state, taken=taken, step=step):
            if next(taken) == step:
                state.after_fork_in_child()  # a signal handler's fork, as the child sees it

        lock = state.lock = WatchedLock()
        lock.before = fork
        call = world.call(0, patience=patience)
        if next(taken) <= step:
            break
        steps = step
        world.run(world.now + 2 * NS)
        assert isinstance(call.raised, ConfigurationError), f"before lock {step}"
        assert "forked amid a call" in str(call.raised)
    assert steps > 5, "it takes the lock to find its place, to plan, to send, to deal out, and to use"


def test_the_last_hold_of_others_may_go_while_a_call_looks_whether_there_is_one():
    world = World(Limit(10, burst=5), [0])
    world.call(0)
    world.run(world.now + NS)
    state = world.processes[0].state
    book, switched = state.book(""), []
    without = book.known
    hold = Hold(held={SINGLE: NS // 10}, until=world.now + 100 * NS, attempt="theirs")
    book.learn(replace(without, holds={"theirs": hold}), now=world.now, process=state.process)

    def switch(frame, event, _):
        """Where the interpreter may go on with another thread, after a call within the function: once."""
        if event == "c_return" and frame.f_code.co_name == "_clear_the_way" and not switched:
            switched.append(True)
            book.learn(without, now=world.now, process=state.process)

    before = sys.getprofile()
    sys.setprofile(switch)
    try:
        call = world.call(0, patience=NS)
    finally:
        sys.setprofile(before)
    assert switched
    assert call.outcome == Admitted()


def test_what_a_key_showed_when_permits_were_booked_is_remembered_before_they_are_far():
    world = World(Limit(1, burst=20), [20 * NS])
    for _ in range(20):
        world.call(0)
    state = world.processes[0].state
    call = world.call(0, 4, patience=60 * NS)  # due in 4 s
    world.run(world.now + NS)
    assert call.booking.due is not None
    forgiven = world.items.keys[""] = replace(world.items.keys[""], limits={})
    state.book("").learn(forgiven, now=state.rate_time.now_ns(), process=state.process)
    world.processes[0].time.error = 0  # it was 20 s ahead, and steps down: the permits are far then
    world.run(world.now + 10 * NS)
    assert call.outcome == Admitted()


def test_permits_in_hand_that_are_due_after_a_callers_deadline_are_not_for_it():
    world = World(Limit(1, burst=2), [0], prefetch=4)
    world.call(0, 2, patience=30 * NS)
    prefetching = world.call(0, patience=30 * NS)  # due in 1 s; three more are in hand, due in 2, 3 and 4 s
    hasty = world.call(0, patience=NS // 2)
    patient = world.call(0, patience=30 * NS)
    world.run(world.now + 30 * NS)
    assert prefetching.outcome == patient.outcome == Admitted()
    assert isinstance(hasty.outcome, Denied)
    assert hasty.over_at == hasty.began
    assert patient.admitted_at - START == pytest.approx(2 * NS, abs=NS // 10)


def test_what_nobody_takes_in_time_is_forgone():
    world = World(Limit(1, burst=1), [0])
    world.call(0)
    cancelled = world.call(0, patience=60 * NS)
    cancelled.cancel()
    world.run(START + 10 * NS)
    assert world.call(0).outcome == Admitted()
    assert isinstance(world.call(0).outcome, Denied), "one from the table, and none from the hand"


def test_a_charge_that_its_sender_left_behind_is_finished_by_the_next_one():
    world = World(Limit(10, burst=5), [0], delay=20_000_000)
    world.call(0)
    world.run(START + NS)
    charged = len(world.items.charges)
    first = world.call(0, 2, patience=60 * NS)
    second = world.call(0, patience=60 * NS)
    first.cancel()
    world.run(START + 3 * NS)
    assert second.admitted_at is not None
    attempts = [charge.attempt for _, charge in world.items.charges[charged:]]
    assert len(set(attempts)) == len(attempts), "each attempt is charged once"


def test_a_policy_that_was_deleted_and_made_anew_by_a_clock_that_is_behind_closes_nothing():
    world = World(Limit(10, burst=3), [2 * NS, 0])
    assert world.call(0).outcome == Admitted()
    world.items.policy = None
    assert world.call(1, key="another").outcome == Admitted()  # it makes the policy
    world.run(world.now + 60 * NS)
    assert world.call(1).outcome == Admitted()
    assert world.items.policy.rev == world.items.keys[""].rev > world.items.keys["another"].rev
    assert world.call(0).outcome == world.call(1, key="another").outcome == Admitted()


def test_a_policy_that_is_deleted_before_it_could_be_raised_is_read_again():
    world = World(Limit(10, burst=3), [2 * NS, 0], fates=[Fate()] * 6 + [Fate(), Fate(), Fate(out=NS)])
    assert world.call(0).outcome == Admitted()
    world.items.policy = None
    assert world.call(1, key="another").outcome == Admitted()
    call = world.call(1, patience=60 * NS)
    assert isinstance(world.requests[-1], ChangePolicy)
    world.items.policy = None
    world.run(world.now + 60 * NS)
    assert call.raised is None
    assert call.outcome == Admitted()
    assert world.items.policy.rev == world.items.keys[""].rev


def test_a_policy_is_as_old_as_the_question_that_was_answered_with_it():
    slow = Fate(back=9 * NS)
    world = World(Limit(10, burst=3), [0], fates=[Fate(), Fate(), Fate(), slow])
    assert world.call(0).outcome == Admitted()
    world.run(START + 31 * NS)
    call = world.call(0, patience=60 * NS)
    assert isinstance(world.requests[-1], ReadPolicy)
    world.run(START + 60 * NS)
    assert call.outcome == Admitted()
    sent = world.requests.count(ReadPolicy(consistent=False))
    assert world.call(0).outcome == Admitted()
    assert world.requests.count(ReadPolicy(consistent=False)) == sent
    world.run(START + 61 * NS)
    assert world.call(0).outcome == Admitted()
    assert world.requests.count(ReadPolicy(consistent=False)) == sent + 1


def test_after_hours_of_idling_nobody_goes_on_by_the_old_policy_while_one_asks():
    world = World(Limit(10, burst=3), [0], delay=20_000_000)
    world.call(0)
    world.run(START + 7_200 * NS)
    changed = change_policy(world.items.policy, limit_policies({"permits": Limit(1, burst=1)}), now=world.now)
    world.items.policy = changed.policy
    calls = [world.call(0, key=key, patience=NS) for key in ("", "another")]
    world.run(world.now + NS)
    assert [call.outcome for call in calls] == [Admitted(), Admitted()]
    assert {charge.rev for charge in world.charges[1:]} == {changed.policy.rev}


def test_callers_of_any_keys_share_one_question_for_the_policy_at_first_and_after_idling():
    world = World(Limit(10, burst=3), [0], delay=20_000_000)
    for since in (START, START + 7_200 * NS):
        world.run(since)
        sent = len(world.requests)
        calls = [world.call(0, key=f"k{number}", patience=NS) for number in range(20)]
        world.run(world.now + NS)
        assert {str(call.outcome) for call in calls} == {"Admitted()"}
        names = [type(request).__name__ for request in world.requests[sent:]]
        assert (names.count("ReadPolicy"), names.count("Charge")) == (1, 20)
    assert sum(isinstance(request, CreatePolicy) for request in world.requests) == 1


def test_those_who_wait_for_anothers_question_for_the_policy_do_not_wait_for_long():
    world = World(Limit(10, burst=3), [0], delay=20_000_000)
    asking, waiting = (world.call(0, key=key, patience=10 * NS) for key in ("a", "b"))
    asking.cancel()
    world.run(world.now + 2 * NS)
    assert waiting.outcome == Admitted()


# What waiters make of a changed policy, an override, and a reset.


def change(world, limit):
    world.items.policy = change_policy(world.items.policy, limit_policies({"permits": limit}), now=world.now).policy


def raise_the_rate(world):
    change(world, Limit(100, burst=10))


def override_the_key(world):
    item, override = world.items.keys["k"], limit_policies({"permits": Limit(100, burst=10)})
    tat = world.now + NS // 10
    item = replace(item, limits={"permits": LimitState(tat=tat, reach=tat)}, override=override, override_rev=1)
    world.items.keys["k"] = item


def reset_the_key(world):
    world.items.keys["k"] = replace(world.items.keys["k"], limits={})


@pytest.mark.parametrize("changed_after", [1, 13, 28])
@pytest.mark.parametrize("changed", [raise_the_rate, override_the_key, reset_the_key])
def test_whoever_waits_far_ahead_has_its_permits_within_half_a_minute_of_a_change(changed, changed_after):
    world = World(Limit(1, per=120, burst=1), [0, 0], delay=20_000_000)
    assert world.call(1, key="k") is not None
    world.run(START + NS)
    waiting = [world.call(process, key="k", patience=7_200 * NS) for process in (0, 0, 0, 1)]
    world.run(START + (60 + changed_after) * NS)
    assert any(call.booking.due is not None for call in waiting), "they have booked, two minutes ahead"
    changed(world)
    since, many = world.now, 1 if changed is reset_the_key else 4
    world.run(since + 32 * NS)
    assert sum(call.outcome == Admitted() for call in waiting) >= many
    world.run(since + 7_200 * NS)
    assert all(call.outcome == Admitted() for call in waiting)


def test_whoever_waits_and_has_not_booked_meets_a_change_within_half_a_minute():
    world = World(Limit(1, per=120, burst=1), [0, 0], delay=20_000_000)
    world.call(0)  # it reads the policy
    for _ in range(3):
        world.call(1, key="k", patience=7_200 * NS)
    world.run(START + 5 * NS)
    raise_the_rate(world)
    world.run(START + 29 * NS)
    waiting = world.call(0, key="k", patience=7_200 * NS)
    world.run(START + 30 * NS)
    assert waiting.booking.due is None, "the table is booked as far ahead as it may be"
    world.run(START + (5 + 32) * NS)
    assert waiting.outcome == Admitted()


def test_a_waiter_looks_twice_a_minute_and_keeps_its_place_if_nothing_changed():
    world = World(Limit(1, per=120, burst=1), [0], delay=20_000_000)
    world.call(0, key="k")
    world.run(START + NS)
    waiting = [world.call(0, key="k", patience=7_200 * NS) for _ in range(2)]
    world.run(START + 110 * NS)
    names = [type(request).__name__ for request in world.requests]
    assert names.count("ReadKey") <= 4
    assert names.count("ReadPolicy") <= 5
    world.run(START + 300 * NS)
    assert [round((call.admitted_at - START) / NS) for call in waiting] == [120, 240]
    assert len(world.charges) <= 6


def test_a_slower_policy_takes_no_place_from_whoever_has_booked():
    world = World(Limit(1, per=120, burst=1), [0], delay=20_000_000)
    world.call(0, key="k")
    world.run(START + NS)
    waiting = world.call(0, key="k", patience=7_200 * NS)
    world.run(START + 61 * NS)
    change(world, Limit(1, per=600, burst=1))
    world.run(START + 121 * NS)
    assert round((waiting.admitted_at - START) / NS) == 120


def test_a_process_that_learns_of_a_faster_policy_frees_all_its_waiters_at_once():
    world = World(Limit(1, per=120, burst=1), [0], delay=20_000_000)
    world.call(0, key="k")
    world.run(START + NS)
    waiting = [world.call(0, key="k", patience=7_200 * NS) for _ in range(3)]
    world.run(START + 70 * NS)
    raise_the_rate(world)
    learn_policy(world.processes[0].state, world.items.policy, asked=world.processes[0].time.steady())
    world.run(world.now + NS)
    assert all(call.outcome == Admitted() for call in waiting)


def test_a_policy_that_another_thread_reads_late_takes_the_place_of_no_newer_one():
    class Compared(int):
        """A `rev`; as it is compared, another thread learns a newer policy, or waits until this one is learned."""

        def __ge__(self, known):
            other.start()
            other.join(0.2)
            return int(self) >= known

    world = World(Limit(10, burst=3), [0])
    world.call(0)
    state, now = world.processes[0].state, world.processes[0].time.steady()
    newer = replace(state.policy, rev=state.policy.rev + 2, limits=limit_policies({"permits": Limit(5, burst=1)}))
    other = threading.Thread(target=lambda: learn_policy(state, newer, asked=now))
    learn_policy(state, replace(state.policy, rev=Compared(state.policy.rev + 1)), asked=now)
    other.join()
    assert state.policy is newer


def test_others_go_on_for_a_moment_while_one_asks_for_a_policy_that_has_just_become_old():
    world = World(Limit(10, burst=3), [0], fates=[Fate()] * 3 + [Fate(back=10 * NS)])
    world.call(0)
    world.run(START + 30 * NS)
    world.call(0, patience=20 * NS)
    assert isinstance(world.requests[-1], ReadPolicy)
    world.run(START + 30 * NS + NS // 2)
    assert world.call(0, key="another").outcome == Admitted()
    assert world.requests.count(ReadPolicy(consistent=False)) == 1
    world.run(START + 32 * NS)
    sent = len(world.requests)
    assert world.call(0, key="third").outcome == Admitted()
    assert isinstance(world.requests[sent], ReadPolicy), "not for long"


def test_after_a_stall_of_the_whole_process_a_large_one_is_still_served_in_its_place():
    world = World(Limit(100, burst=5), [0], delay=4_000_000)
    stall, happens_at = (START + NS, START + NS * 3 // 2), world.at
    world.at = lambda when, happens: happens_at(stall[1] if stall[0] <= when < stall[1] else when, happens)
    end = START + 8 * NS

    def again(call):
        if world.now < end:
            world.at(world.now + 20_000, lambda: world.call(0, patience=600 * NS, done=again))

    for _ in range(100):
        world.call(0, patience=600 * NS, done=again)
    world.run(START + 3 * NS)
    large = world.call(0, 5, patience=600 * NS)
    world.run(START + 6 * NS)
    assert large.admitted_at is not None
    assert large.admitted_at - large.began <= 1.5 * NS, "about a hundred stood in front"


def test_one_whose_thread_is_stuck_delays_those_behind_it_for_a_moment_and_not_each_of_them():
    world = World(Limit(10, burst=1), [0])
    world.call(0)
    happens_at = world.at
    world.at = lambda when, happens: happens_at(START + 20 * NS, happens)
    stuck = world.call(0, patience=60 * NS)
    world.at = happens_at
    calls = [world.call(0, patience=60 * NS) for _ in range(10)]
    world.run(START + 30 * NS)
    waits = [(call.admitted_at - START) / NS for call in calls]
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(0.35, abs=0.001), "a quarter of a second after the stuck one was due"
    assert waits[-1] <= 1.26
    assert stuck.admitted_at == START + 20 * NS


def test_an_attempt_that_its_sender_has_no_time_for_is_finished_by_those_it_was_made_for():
    fates = [Fate(), Fate(), Fate(), Fate(0, NS // 10), Fate(back=None)]
    world = World(Limit(10, burst=10), [0], fates=fates)
    world.call(0)
    world.call(0, patience=60 * NS)
    hasty, *calls = [world.call(0, patience=patience * NS // 2) for patience in (1, 60, 60, 60)]
    world.run(START + 30 * NS)
    assert isinstance(hasty.outcome, Unavailable)
    assert all(call.outcome == Admitted() for call in calls)
    charged = sum(part.charged for _, charge in world.items.charges for part in charge.limits) * 10 // NS
    assert charged == 2 + 4, "once for each"


def test_one_reads_the_policy_again_while_the_others_go_on():
    world = World(Limit(1_000), [0], delay=20_000_000)
    world.call(0)
    world.run(START + 31 * NS)
    sent = len(world.requests)
    calls = [world.call(0, key=f"key-{number}") for number in range(50)]
    world.run(world.now + NS)
    assert all(call.outcome == Admitted() for call in calls)
    assert sum(isinstance(request, ReadPolicy) for request in world.requests[sent:]) == 1


def test_what_was_booked_for_those_who_are_gone_serves_the_one_who_finds_out():
    world = World(Limit(10, burst=50), [0], delay=20_000_000)
    world.call(0)
    world.run(START + NS)
    gone = world.call(0, 50, patience=60 * NS)
    gone.cancel()
    call = world.call(0)
    world.run(world.now + NS)
    assert call.outcome == Admitted()
    assert len(call.sent) == 1


def test_once_the_table_answers_again_the_trouble_before_is_forgotten():
    world = World(Limit(1, burst=1), [0, 0])
    for process in (0, 1):
        world.call(process)
    book = world.processes[0].state.book("")
    book.trouble = OSError("out")
    for _ in range(40):
        world.call(1, patience=600 * NS)
    world.call(0, patience=600 * NS)
    assert len(book.waiting()) == 1, "it may not book yet"
    assert book.trouble is None


def test_a_reading_that_a_charge_overtook_does_not_pass_for_permits_given_back():
    world = World(Limit(10, burst=5), [0])
    world.call(0, 2)
    state = world.processes[0].state
    before, book = world.items.keys[""], state.book("")
    reading = read_key(state, "", deadline=1e9)
    assert isinstance(next(reading), ReadKey)
    world.run(world.now + NS // 100)
    world.call(0, 3)
    gate, after = book.gate, book.known
    with pytest.raises(StopIteration):
        reading.send(KeyIs(state=before))
    assert book.gate is gate
    assert book.known == after
    reading = read_key(state, "", deadline=1e9)
    next(reading)
    with pytest.raises(StopIteration):
        reading.send(KeyIs(state=None))
    assert book.known is None


def test_a_changed_policy_is_read_where_an_item_shows_it():
    world = World(Limit(10, burst=5), [0, 0])
    world.call(0)
    world.call(1)
    policy = world.items.policy
    later = {
        "permits": policy.limits["permits"].__class__(
            interval=NS, burst=2, permits=1.0, per=1.0, rev=policy.rev + 1, since=START
        )
    }
    world.items.policy = policy.__class__(limits=later, rev=policy.rev + 1)
    world.run(START + 31 * NS)
    assert [world.call(0).outcome == Admitted() for _ in range(3)] == [True, True, False]
    assert isinstance(world.call(1).outcome, Denied)
    assert [type(request) for request in world.calls[-1].sent][-1] in {Charge, ReadPolicy}


# Random schedules.

SECONDS = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3))
FATES = fates_of(st.one_of(st.none(), SECONDS), again=st.one_of(st.none(), SECONDS), most=60)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 4)), st.integers(0, 3), st.integers(1, 12), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=40,
)
LIMITS = st.builds(
    lambda rate, per, burst: Limit(rate, per=per, burst=burst),
    st.sampled_from([1, 3, 10, 100, 997]),
    st.sampled_from([1.0, 0.5, 7]),
    st.integers(1, 12),
)


@SEARCH
@given(
    limit=LIMITS,
    errors=st.lists(st.floats(-1, 1), min_size=1, max_size=4),
    largest=st.integers(0, 10),
    steps=STEPS,
    fates=FATES,
    prefetch=st.sampled_from([0, 0, 5]),
)
def test_whatever_happens_no_more_is_used_than_the_rate_the_burst_and_the_clocks_allow(
    limit, errors, largest, steps, fates, prefetch
):
    interval = limit.per / limit.permits * NS
    errors = [round(error * largest * interval) for error in errors]
    world = World(limit, errors, fates=fates, prefetch=prefetch)
    for intervals, process, n, patient, cancelled in steps:
        world.run(world.now + round(intervals * interval))
        patience = round(20 * interval) if patient else 0
        call = world.call(process % len(errors), min(n, limit.burst), patience=patience)
        if cancelled:
            world.at(world.now + round(3 * interval), call.cancel)
    world.run(world.now + 3_600 * NS)
    assert all(call.over and call.raised is None for call in world.calls)
    # An attempt is charged for the time at which it was sent; its answer, or that of a later sending, takes this long.
    late = (ATTEMPT_SECONDS + 7.0) if fates else 0.001
    spread = (max(errors) - min(errors)) / NS
    assert excess(world.used(), limit) <= limit.permits / limit.per * (spread + late + 1.0 * (prefetch > 0)) + 1e-3
    for process in range(len(errors)):
        assert excess(world.used(process), limit) <= 1e-3, "one process alone never exceeds it"
    charged = sum(part.charged for _, charge in world.items.charges for part in charge.limits)
    assert charged >= sum(n for _, n in world.used()) * round(interval) * 0.999, "nothing is used that was not charged"
