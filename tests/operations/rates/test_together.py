"""Permits of a key and its parents: all or none, as of one time, each transaction once; contention and reservations."""

import itertools
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lease._operations.rates.settling import clear_overdue
from ddb_lease._operations.rates.together import MOST_PREPARED, Call, Member, Unprepared, charge_together
from ddb_lease._protocol.outcomes import Admitted, Busy, Denied, LostRace, Unavailable
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import ChargeTogether
from ddb_lease._protocol.rates.steering import change_policy
from ddb_lease._protocol.rates.validation import limit_policies
from ddb_lease._state.rates.service_contact import ServiceContact
from ddb_lease.errors import ConfigurationError
from ddb_lease.models import Limit
from tests.operations.rates.rate_world import NS, START, Fate, excess, fates_of
from tests.operations.rates.reserving_world import ReservingWorld
from tests.support import WatchedLock

SEARCH = settings(max_examples=max(1, settings().max_examples // 3))
"""Each example is a whole schedule."""
HOUR = Limit(10, per=36_000, burst=10)
INTERVAL = 3_600 * NS


def charged(world, key):
    state = world.state(key)
    return 0 if state is None else (state.limits["permits"].tat - START) // INTERVAL


def test_all_of_them_or_none_in_one_request():
    world = ReservingWorld(HOUR, [0])
    world.call(0, 8, key="org")
    assert isinstance(world.together(0, ("team", "org"), 3).outcome, Denied)
    assert charged(world, "team") == 0
    sent = len(world.requests)
    assert world.together(0, ("team", "org"), 2).outcome == Admitted()
    assert len(world.requests) == sent + 1
    assert (charged(world, "team"), charged(world, "org")) == (2, 10)


def test_a_parent_is_shared_by_its_keys():
    world = ReservingWorld(HOUR, [0, 0])
    taken = [world.together(number % 2, (f"team-{number}", "org"), 3).outcome == Admitted() for number in range(5)]
    assert taken == [True, True, True, False, False]
    assert [charged(world, key) for key in ("team-0", "team-1", "team-2", "org")] == [3, 3, 3, 9]


def test_one_process_alone_needs_one_request_a_call():
    world = ReservingWorld(Limit(10, burst=10), [0])
    world.together(0, ("team", "org"))
    sent = len(world.requests)
    for _ in range(20):
        call = world.together(0, ("team", "org"), patience=60 * NS)
        world.run(world.now + 100_000_000)
        assert call.outcome == Admitted()
    assert len(world.requests) == sent + 20


def test_a_waiter_books_and_sleeps_until_the_last_of_them_is_due():
    world = ReservingWorld(Limit(1, burst=5), [0, 0])
    world.call(1, 5, key="org")
    call = world.together(0, ("team", "org"), 2, patience=60 * NS)
    assert call.over_at is None
    sent = len(world.requests)
    world.run(START + 10 * NS)
    assert call.over_at == pytest.approx(START + 2 * NS, abs=20_000_000)
    assert len(world.requests) == sent
    assert world.state("team").limits["permits"].tat == pytest.approx(START + 4 * NS, abs=20_000_000), (
        "as of the due time"
    )


def test_permits_pass_the_gates_of_all_members_at_one_moment():
    world = ReservingWorld(Limit(1, burst=2), [0])
    assert world.together(0, ("team", "org")).outcome == Admitted()
    world.run(START + 10 * NS)
    state, two = world.processes[0].state, Wanted(booked={"permits": 2})
    assert state.book("org").gate.wait_ns(two, state.limits, now=10 * NS - NS // 2) == 0
    call = world.together(0, ("team", "org"), patience=5 * NS)
    world.run(START + 20 * NS)
    passed_at = 10 * NS + NS // 2
    assert call.over_at == pytest.approx(START + passed_at, abs=10_000), "the parent's gate is passed then"
    wait = state.book("team").gate.wait_ns(two, state.limits, now=passed_at)
    assert wait == pytest.approx(NS, abs=10_000), "and so is the key's"


@pytest.mark.parametrize("patience", [0, 60 * NS])
def test_a_fork_at_any_moment_of_a_call_ends_it_in_the_child(patience):
    steps = []
    for step in range(1, 40):
        world = ReservingWorld(Limit(10, burst=5), [0])
        world.together(0, ("team", "org"))
        world.run(world.now + NS)
        state, taken, forked = world.processes[0].state, itertools.count(1), []

        def fork(world=world, state=state, taken=taken, forked=forked, step=step):
            calls = world.together_calls
            if len(calls) == 2 and calls[-1].outcome is None and next(taken) == step:  # it has begun, and not ended
                state.after_fork_in_child()  # a signal handler's fork, as the child sees it
                forked.append(step)

        lock = state.lock = WatchedLock()
        lock.before = fork
        call = world.together(0, ("team", "org"), patience=patience)
        world.run(world.now + 2 * NS)
        if not forked:
            break
        steps += forked
        assert isinstance(call.raised, ConfigurationError), f"before lock {step}"
        assert "forked amid a call" in str(call.raised)
    assert len(steps) >= 5, "it takes the lock to plan, to learn, and to use"


def test_who_cannot_be_served_in_time_is_told_at_once():
    world = ReservingWorld(Limit(1, burst=5), [0])
    world.call(0, 5, key="org")
    call = world.together(0, ("team", "org"), 3, patience=2 * NS)
    assert (call.over_at, type(call.outcome)) == (START, Denied)
    assert world.state("team") is None


@pytest.mark.parametrize("fate", [Fate(out=None), Fate(back=None), Fate(back=None, again=2 * NS)])
def test_a_transaction_whose_answer_is_lost_is_sent_again_as_it_was_and_counts_once(fate):
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), fate])
    call = world.together(0, ("team", "org"), 3, patience=60 * NS)
    world.run(START + 20 * NS)
    assert call.outcome == Admitted()
    sent = [request for request in world.requests if isinstance(request, ChargeTogether)]
    assert len(set(map(repr, sent))) == 1
    assert (charged(world, "team"), charged(world, "org")) == (3, 3)


@pytest.mark.parametrize(("patience", "admitted"), [(199, False), (201, True)])
def test_who_would_book_too_early_for_one_of_them_waits_until_it_may_if_there_is_time(patience, admitted):
    """The key may be booked for half a minute ahead at most, and its parent for an hour."""
    world = ReservingWorld(Limit(1, burst=5), [0])
    world.together(0, ("team", "org"))
    parent, (limit,) = world.items.item("org"), world.items.policy.limits.values()
    parent.state = replace(
        parent.state, override={"permits": replace(limit, interval=3_600 * NS, burst=1)}, override_rev=9
    )
    world.run(START + NS)
    assert world.together(0, ("team", "org")).outcome == Admitted(), "for the next hour"
    due = START + 3_601 * NS
    world.run(due - 200 * NS)
    call = world.together(0, ("team", "org"), patience=patience * NS)
    sent = len(world.requests)
    world.run(due - 31 * NS)
    assert (call.over_at is None) is admitted
    assert len(world.requests) - sent <= 10, "it knows when to come again"
    world.run(due + NS)
    assert (call.outcome == Admitted()) is admitted
    if admitted:
        assert call.over_at == pytest.approx(due, abs=20_000_000)


def test_a_transaction_whose_token_was_forgotten_is_recognised_by_its_items():
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(back=None)])
    call = world.together(0, ("team", "org"), 3, patience=60 * NS)
    world.items.tokens.clear()
    world.run(START + 20 * NS)
    assert call.outcome == Admitted()
    assert (charged(world, "team"), charged(world, "org")) == (3, 3)


def test_conflicts_are_tried_again_and_reported_where_they_do_not_end():
    world = ReservingWorld(HOUR, [0])
    world.items.conflicts = 3
    call = world.together(0, ("team", "org"), patience=60 * NS)
    world.run(START + 60 * NS)
    assert call.outcome == Admitted()
    world.items.conflicts = 10_000
    call = world.together(0, ("team", "org"))
    world.run(START + 120 * NS)
    assert isinstance(call.outcome, Busy)


def test_a_policy_that_changed_is_read_again():
    world = ReservingWorld(Limit(10, burst=5), [0, 0])
    world.together(0, ("team", "org"))
    world.together(1, ("team", "org"))
    policy = world.items.policy
    limit = policy.limits["permits"].__class__(
        interval=NS, burst=2, permits=1.0, per=1.0, rev=policy.rev + 1, since=START
    )
    world.items.policy = policy.__class__(limits={"permits": limit}, rev=policy.rev + 1)
    world.run(START + 31 * NS)
    assert [world.together(0, ("team", "org")).outcome == Admitted() for _ in range(3)] == [True, True, False]
    assert isinstance(world.together(1, ("team", "org")).outcome, Denied)


def test_a_newer_policy_is_asked_for_again_where_the_answer_is_lost():
    world = ReservingWorld(HOUR, [0, 0], fates=[Fate()] * 7 + [Fate(back=None)])
    world.together(0, ("team", "org"))
    fewer = limit_policies({"permits": replace(HOUR, burst=9)})
    world.items.policy = change_policy(world.items.policy, fewer, now=world.now + NS).policy
    world.run(START + NS)
    world.together(1, ("other", "org"))
    call = world.together(0, ("team", "org"))
    world.run(START + 9 * NS)
    assert call.outcome == Admitted()
    assert world.count()["ReadPolicy"] == 4, "one of each process, and one of them twice more"


def test_a_waiter_that_has_not_booked_meets_a_faster_policy_within_half_a_minute():
    world = ReservingWorld(Limit(1, per=120, burst=1), [0, 0], delay=20_000_000)
    world.together(0, ("team", "another"))  # it reads the policy
    for _ in range(3):
        world.call(1, key="org", patience=7_200 * NS)
    world.run(START + 5 * NS)
    faster = limit_policies({"permits": Limit(100, burst=10)})
    world.items.policy = change_policy(world.items.policy, faster, now=world.now).policy
    world.run(START + 29 * NS)
    waiting = world.together(0, ("red", "org"), patience=7_200 * NS)
    world.run(START + 30 * NS)
    assert waiting.over_at is None
    world.run(START + (5 + 34) * NS)
    assert waiting.outcome == Admitted()


def test_a_limit_that_the_policy_has_no_more_is_an_error():
    world = ReservingWorld({"requests": HOUR, "tokens": HOUR}, [0])
    world.together(0, ("team", "org"), requests=1)
    policy = world.processes[0].state.policy
    world.processes[0].state.policy = policy.__class__(limits={"tokens": policy.limits["tokens"]}, rev=policy.rev)
    call = world.together(0, ("team", "org"), requests=1)
    assert isinstance(call.raised, ConfigurationError)
    assert "no limit 'requests'" in str(call.raised)


def test_a_key_that_was_forgotten_while_it_was_charged_keeps_its_override():
    world = ReservingWorld(HOUR, [0], fates=[Fate()] * 5 + [Fate(back=NS // 10)])
    world.together(0, ("team", "org"), patience=NS, within=60 * NS)
    item, (limit,) = world.items.item("team"), world.items.policy.limits.values()
    item.state = replace(item.state, override={"permits": replace(limit, burst=5)}, override_rev=9)
    assert world.together(0, ("team", "org"), patience=NS, within=60 * NS).outcome == Admitted()
    call = world.together(0, ("team", "org"), 2, patience=NS, within=60 * NS)
    world.processes[0].state.book("team").known = None  # as whoever waits for a settlement does
    world.run(START + NS)
    assert call.outcome == Admitted()
    more = world.together(0, ("team", "org"), 3, patience=NS, within=60 * NS)
    world.run(START + 5 * NS)
    assert isinstance(more.outcome, Denied)
    assert item.state.limits["permits"].held == 4 * INTERVAL


def test_what_was_seen_of_a_charge_before_its_own_answer_came_is_not_counted_twice():
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(), Fate(back=NS)])
    world.together(0, ("a", "org"))
    slow = world.together(0, ("a", "org"), 5)
    assert isinstance(world.together(0, ("b", "org"), 6).outcome, Denied), "it sees the parent as it is"
    world.run(START + 2 * NS)
    assert slow.outcome == Admitted()
    assert world.together(0, ("b", "org"), 4).outcome == Admitted()
    assert charged(world, "org") == 10


@pytest.mark.parametrize("answered_after", [0, 3])
def test_a_call_within_a_budget_ends_by_its_first_failure_and_not_by_its_last_try(answered_after):
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(back=answered_after * NS)] + [Fate(out=None)] * 40)
    contact = ServiceContact(on_unavailable="allow", budget=6.0, call_seconds=1.0, share=1.0)
    assert contact.patience == pytest.approx(4.0)
    world.processes[0].state.contact = contact
    world.items.conflicts = 1
    call = world.together(0, ("team", "org"), patience=60 * NS)
    world.run(START + 60 * NS)
    assert isinstance(call.outcome, Unavailable)
    assert 4 * NS <= call.over_at - START <= 5.5 * NS, (
        "a request takes a second, and may begin at the end of the fourth"
    )


# Reservations.


def test_a_reservation_holds_of_each_and_is_settled_for_each():
    world = ReservingWorld(HOUR, [0])
    call = world.together(0, ("team", "org"), 6, patience=NS, within=60 * NS)
    assert call.outcome == Admitted()
    assert [world.state(key).limits["permits"].held // INTERVAL for key in ("team", "org")] == [6, 6]
    assert isinstance(world.call(0, 5, key="org").outcome, Denied)
    for key, held in zip(("team", "org"), call.call.held, strict=True):
        reserved = type(call)(held=held)
        world.settle(0, reserved, 2, key=key)
        assert held.counted is True
    assert [charged(world, key) for key in ("team", "org")] == [2, 2]
    assert [world.state(key).holds for key in ("team", "org")] == [{}, {}]


def test_a_waiter_under_the_parent_gets_what_a_settlement_of_its_process_gives_back():
    world = ReservingWorld(HOUR, [0])
    reserved = world.reserve(0, 10, key="org")
    call = world.together(0, ("team", "org"), 4, patience=60 * NS)
    world.run(START + 5 * NS)
    assert call.over_at is None
    world.settle(0, reserved, 0, key="org")
    world.run(START + 5 * NS + 1_000_000)
    assert call.outcome == Admitted()


def test_what_is_reserved_at_this_moment_is_not_taken_for_something_that_nobody_holds():
    slow_answer = Fate(back=NS)
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(), slow_answer])
    first = world.reserve(0, 2, key="org")
    call = world.together(0, ("team", "org"), 3, patience=9 * NS, within=60 * NS)
    assert world.state("org").limits["permits"].held // INTERVAL == 5
    assert call.over_at is None
    world.settle(0, first, 0, key="org")
    world.run(START + NS // 2)
    assert first.held.counted is True
    assert world.state("org").limits["permits"].held // INTERVAL == 3
    world.run(START + 2 * NS)
    assert call.outcome == Admitted()
    assert [held.counted for held in call.call.held] == [None, None]


def test_holds_of_dead_processes_are_swept_before_a_charge():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    world.together(0, ("team", "org"), 10, patience=NS, within=20 * NS)
    call = world.together(1, ("other", "org"), 2, patience=100 * NS)
    world.run(START + 100 * NS)
    assert call.outcome == Admitted()
    assert world.state("org").holds == {}
    assert world.state("team").holds != {}, "who uses it will sweep it"


def test_a_hold_that_cannot_be_swept_keeps_nobody_from_charging():
    world = ReservingWorld(Limit(1, burst=10), [0, 0])
    world.together(0, ("team", "org"), 2, patience=NS, within=20 * NS)
    assert world.call(1, key="org").outcome == Admitted(), "the hold is seen"
    world.run(START + 30 * NS)
    world.items.settle_conflicts = 10_000
    assert world.together(1, ("other", "org"), 2).outcome == Admitted()
    waits = world.together(1, ("other", "org"), 9, patience=3_600 * NS)
    world.run(START + 100 * NS)
    assert waits.over_at is None, "what is held is held"
    world.items.settle_conflicts = 0
    world.run(START + 200 * NS)
    assert waits.outcome == Admitted()


@pytest.mark.parametrize("patience", [0, 600 * NS])
def test_however_many_dead_processes_hold_permits_a_caller_is_not_told_before_its_time(patience):
    world = ReservingWorld(Limit(1, burst=100), [0] * 101)
    for dead in range(100):
        world.reserve(dead, 1, within=NS, key="org")
    world.run(START + 300 * NS)
    call = world.together(100, ("team", "org"), 90, patience=patience)
    world.run(START + 900 * NS)
    assert call.over_at is not None
    if patience:
        assert call.outcome == Admitted()
        assert world.state("org").holds == {}
    else:
        assert call.over_at == START + 300 * NS, "a try does not wait"


def test_who_does_not_wait_sweeps_what_it_meets_all_the_same():
    world = ReservingWorld(Limit(1, burst=10), [0, 0], delay=2_000_000)
    world.together(1, ("team", "org"))
    world.reserve(0, 5, within=NS, key="org")
    world.run(START + 60 * NS)
    call = world.together(1, ("team", "org"), 9, patience=1)
    world.run(START + 61 * NS)
    assert isinstance(call.outcome, Denied), "it is swept, and counts as used by now"
    assert world.state("org").holds == {}


def test_a_long_wait_meets_any_number_of_overdue_holds():
    world = ReservingWorld(Limit(1, burst=10), [0] * 31)
    call = None
    for dies in range(1, 31):
        world.reserve(dies, 1, within=NS, key="org", patience=30 * NS)
        call = call or world.together(0, ("team", "org"), 10, patience=10_000 * NS)
        world.run(world.now + 2 * NS)
        assert call.over_at is None
    world.run(world.now + 60 * NS)
    assert call.outcome == Admitted()


class Passing:
    """A lock that lets others do something whenever it is left: the worst that threads can do to one another."""

    def __init__(self, lock, others):
        self._lock, self._others, self._depth = lock, others, 0

    def __enter__(self):
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_):
        self._depth -= 1
        if not self._depth:
            self._depth = 1  # what they do does not let others in
            self._others()
            self._depth = 0
        self._lock.release()


def test_whoever_comes_when_a_reservation_is_known_does_not_take_it_for_swept():
    world = ReservingWorld(HOUR, [0])
    world.call(0, key="org")
    state = world.processes[0].state

    def another_thread_settles():
        book = state.book("org")
        if book.ledger is not None:
            next(clear_overdue(state, "org", book, deadline=1e9), None)

    state.lock = Passing(state.lock, another_thread_settles)
    call = world.together(0, ("team", "org"), 3, patience=NS, within=60 * NS)
    assert call.outcome == Admitted()
    assert [held.counted for held in call.call.held] == [None, None]


def test_a_hold_is_never_shortened_whatever_others_forget_meanwhile():
    world = ReservingWorld(HOUR, [0])
    world.together(0, ("team", "org"), 2, patience=NS, within=3_600 * NS)
    state = world.processes[0].state
    until = world.state("org").holds[state.process].until

    class Forgetting(Random):
        """Another thread has found that it must ask the table, just when a charge was planned."""

        def getrandbits(self, bits):
            if bits == 128:
                state.book("org").known = None
            return super().getrandbits(bits)

    state.chance = Forgetting(1)
    world.together(0, ("team", "org"), 2, patience=NS, within=60 * NS)
    assert len(world.state("org").holds) == 1
    assert world.state("org").limits["permits"].held == 4 * INTERVAL
    assert world.state("org").holds[state.process].until == until


@pytest.mark.parametrize(
    ("arrives", "seconds_later"),
    [(0.1, [1]), (None, [1]), (1.5, [1, 2, 3.1])],
    ids=["before the next call", "never", "after the next call"],
)
def test_a_reservation_that_was_cancelled_under_way_is_settled_by_the_next_call(arrives, seconds_later):
    on_the_way = Fate(out=None if arrives is None else round(arrives * NS), back=None)
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(), on_the_way])
    world.together(0, ("team", "org"), 1)
    call = world.together(0, ("team", "org"), 4, patience=30 * NS, within=3_600 * NS)
    call.cancel()
    for seconds in seconds_later:
        world.run(START + round(seconds * NS))
        assert world.together(0, ("team", "org"), 1).outcome == Admitted()
    assert world.together(0, ("team", "org"), 1).outcome == Admitted()
    for key in ("team", "org"):
        assert world.state(key).holds == {}, "nobody else would settle it before its time"
        assert charged(world, key) == len(seconds_later) + 2 + (4 if arrives else 0), (
            "in full: who knows whether it was used"
        )


def test_an_override_that_was_raised_is_read_before_more_is_refused():
    world = ReservingWorld(HOUR, [0])
    world.together(0, ("team", "org"))
    item, (limit,) = world.items.item("team"), world.items.policy.limits.values()
    item.state = replace(item.state, override={"permits": replace(limit, burst=50)}, override_rev=9)
    early = world.together(0, ("team", "other"), 20)
    assert isinstance(early.raised, ConfigurationError), "remembered for 30 s"
    world.run(START + 31 * NS)
    assert isinstance(world.together(0, ("team", "org"), 20).raised, ConfigurationError), "the parent has no override"
    parent = world.items.item("org")
    parent.state = replace(parent.state, override={"permits": replace(limit, burst=50)}, override_rev=9)
    world.run(START + 62 * NS)
    assert world.together(0, ("team", "org"), 20).outcome == Admitted()


def test_what_is_read_before_a_refusal_is_asked_for_again_where_the_answer_is_lost():
    world = ReservingWorld(HOUR, [0], fates=[Fate()] * 4 + [Fate(back=None)])
    world.together(0, ("team", "org"))
    world.run(START + 31 * NS)
    call = world.together(0, ("team", "org"), 20)
    world.run(START + 40 * NS)
    assert isinstance(call.raised, ConfigurationError)
    assert world.count()["ReadKey"] == 3, "of both keys, and one of them twice"


def test_a_waiter_for_what_is_held_does_not_forget_the_override_that_allows_it():
    world = ReservingWorld(HOUR, [0, 0])
    for key in ("team", "org"):
        world.call(0, key=key)
        item, (limit,) = world.items.item(key), world.items.policy.limits.values()
        item.state = replace(item.state, override={"permits": replace(limit, burst=20)}, override_rev=9)
    world.run(START + 31 * NS)
    held = world.reserve(1, 15, key="org")
    assert held.outcome == Admitted()
    call = world.together(0, ("team", "org"), 12, patience=60 * NS)
    world.run(START + 40 * NS)
    assert (call.over_at, call.raised) == (None, None)
    world.settle(1, held, 0, key="org")
    world.run(START + 60 * NS)
    assert call.outcome == Admitted()


@pytest.mark.parametrize("second", ["together", "alone"])
def test_who_reserved_first_and_learns_it_last_does_not_end_what_others_reserved_since(second):
    world = ReservingWorld(HOUR, [0], fates=[Fate(), Fate(), Fate(), Fate(back=None)])
    world.call(0, key="org")
    slow = world.together(0, ("a", "org"), 3, patience=60 * NS, within=60 * NS)
    if second == "together":
        swift = world.together(0, ("b", "org"), 2, patience=60 * NS, within=60 * NS)
        held_by_swift = swift.call.held[1]
    else:
        swift = world.reserve(0, 2, key="org")
        held_by_swift = swift.held
    assert (slow.outcome, swift.outcome) == (None, Admitted())
    world.run(START + 10 * NS)
    assert slow.outcome == Admitted()
    for held in (held_by_swift, slow.call.held[1]):
        world.settle(0, type(slow)(held=held), 1, key="org")
        assert held.counted is True
    assert world.state("org").holds == {}
    assert charged(world, "org") == 3


def test_no_limit_is_left_held_whatever_is_forgotten_while_a_charge_is_under_way():
    world = ReservingWorld({"requests": HOUR, "tokens": HOUR}, [0], fates=[Fate()] * 4 + [Fate(back=NS // 10)])
    first = world.together(0, ("team", "org"), patience=NS, within=60 * NS, requests=2, tokens=3)
    assert world.call(0, key="another", requests=1).outcome == Admitted()
    second = world.together(0, ("team", "org"), patience=NS, within=60 * NS, tokens=1)
    world.processes[0].state.book("org").known = None  # as whoever waits for a settlement does
    world.run(START + NS)
    for one in (second, first):
        for key, held in zip(("team", "org"), one.call.held, strict=True):
            world.settle(0, type(one)(held=held), key=key, tokens=0)
            assert held.counted is True
    for key in ("team", "org"):
        assert world.state(key).holds == {}
        assert [limit.held for limit in world.state(key).limits.values()] == [0, 0]


# Random schedules.

SECONDS_AWAY = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3))
DELAY = st.one_of(st.none(), SECONDS_AWAY, SECONDS_AWAY)
FATES = fates_of(DELAY, again=st.one_of(st.none(), st.none(), SECONDS_AWAY), most=40)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 4)),
        st.integers(0, 2),
        st.integers(1, 8),
        st.sampled_from([("a", "org"), ("b", "org"), ("org",), ("a",), ("b", "a", "org")]),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@SEARCH
@given(rate=st.sampled_from([1, 3, 10]), burst=st.integers(1, 8), processes=st.integers(1, 3), steps=STEPS, fates=FATES)
def test_whatever_happens_no_key_and_no_parent_admits_too_much(rate, burst, processes, steps, fates):
    limit = Limit(rate, burst=burst)
    world = ReservingWorld(limit, [0] * processes, fates=fates)
    singles = []
    for seconds, number, n, keys, patient in steps:
        world.run(world.now + round(seconds * NS))
        process, permits = number % processes, min(n, burst)
        patience = 20 * NS if patient else 0
        if len(keys) == 1:
            singles.append((keys[0], world.call(process, permits, key=keys[0], patience=patience)))
        else:
            world.together(process, keys, permits, patience=patience)
    world.run(world.now + 1_000 * NS)
    assert all(call.over_at is not None and call.raised is None for call in world.together_calls)
    late = 12.0 if fates else 0.001
    for key in ("a", "b", "org"):
        used = [
            (call.over_at, call.n) for call in world.together_calls if key in call.keys and call.outcome == Admitted()
        ]
        used += [(call.admitted_at, call.n) for name, call in singles if name == key and call.admitted_at is not None]
        assert excess(used, limit) <= rate * late + 1e-3
        attempts = [charge.attempt for _, charge in world.items.charges if charge.key == key]
        assert len(attempts) == len(set(attempts)) or fates, "each is charged once"


@pytest.mark.parametrize(
    ("prepared", "seconds_left", "patient", "outcome", "pauses"),
    [
        (MOST_PREPARED - 1, 0.5, True, Unprepared(), 0),
        (MOST_PREPARED - 1, 0.5, False, Unprepared(), 0),
        (MOST_PREPARED, 0.5, True, Unprepared(), 1),
        (MOST_PREPARED, 0.0, True, LostRace(), 0),
        (MOST_PREPARED, 0.5, False, LostRace(), 0),
    ],
)
def test_a_call_that_was_often_prepared_in_vain_pauses_and_ends_at_its_deadline(
    monkeypatch, prepared, seconds_left, patient, outcome, pauses
):
    state = ReservingWorld(HOUR, [0]).processes[0].state
    monkeypatch.setattr(state.rate_time, "now_ns", lambda: None)  # so it must be prepared again
    now = state.time.steady()
    member = Member(state=state, key="", book=state.book(""), wanted=Wanted(booked={"permits": 1}))
    call = Call(members=(member,), began=now, deadline=now + seconds_left, patient=patient, prepared=prepared)
    operation, seen = charge_together(call), []
    ended = None
    while ended is None:
        try:
            seen.append(next(operation))
        except StopIteration as end:
            ended = end.value
    assert ended == outcome
    assert len(seen) == pauses
    assert all(pause.wakeable and pause.seconds <= seconds_left for pause in seen)
