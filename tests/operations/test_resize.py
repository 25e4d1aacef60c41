"""Resizing, repairing and resetting a bucket in use; with crashes and other clients in between."""

import threading
from dataclasses import replace

import pytest

from ddb_lease import ConfigurationError, Overtaken, Repaired, Resized, StoreRejected, StoreUnavailable, UnknownBucket
from ddb_lease._protocol.messages import Grow, Look, Recount, Refused, Release, Retire, Shown, Snapshot
from ddb_lease._protocol.records import Counter
from scripts.harness.inside import core_of
from tests.support import (
    CONFLICT,
    LEASE_MS,
    LOST,
    NOW,
    REJECTED,
    THROTTLED,
    TTL,
    UNSENT,
    bring_back,
    claim,
    eventually,
    leases_in,
    mint,
    put_counter,
    put_free,
    put_leased,
    retire,
)

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too


def in_circulation(table):
    return {number for number, slot in table.slots().items() if "retired" not in slot}


def counter_of(table):
    counter = table.get("counter")
    return counter["max_tokens"], counter["minted"]


def take_all(bucket):
    """Leases until there are none left."""
    leases = []
    while (lease := bucket.try_acquire()) is not None:
        leases.append(lease)
    return leases


# The requests.


def test_a_snapshot_shows_the_counter_and_what_is_there(store, table):
    put_counter(table, max_tokens=4, minted=5, rev=9)
    put_free(table, 0, fence=5)
    put_leased(table, 2, "2-x", retired=True)
    table.set(3, odd="thing")
    shown = store.send(Snapshot(slots=(3, 0, 1, 2), counter=True)).answer
    assert isinstance(shown, Shown)
    assert shown.counter == Counter(max_tokens=4, minted=5, rev=9, lease_ms=LEASE_MS)
    assert list(shown.slots) == [3, 0, 1, 2]
    assert shown.slots[3].foreign
    assert (shown.slots[0].fence, shown.slots[0].lease, shown.slots[0].retired) == (5, None, False)
    assert shown.slots[1] is None
    assert (shown.slots[2].retired, shown.slots[2].lease.lease_id) == (True, "2-x")


def test_a_snapshot_without_the_counter_and_of_nothing(store, table):
    put_counter(table)
    assert store.send(Snapshot(slots=(1,), counter=False)).answer == Shown(counter=None, slots={1: None})
    table.delete("counter")
    assert store.send(Snapshot(slots=(1,), counter=True)).answer == Shown(counter=None, slots={1: None})


def test_a_snapshot_takes_as_many_as_one_step_needs(store, table):
    put_counter(table)
    put_free(table, 98)
    shown = store.send(Snapshot(slots=tuple(range(99)), counter=True)).answer
    assert shown.counter.rev == 7
    assert [n for n, slot in shown.slots.items() if slot] == [98]


@pytest.mark.parametrize(
    ("request_", "changed"),
    [(Grow(rev=7, max_tokens=9), {"max_tokens": 9}), (Recount(rev=7, minted=2), {"minted": 2})],
    ids=["grow", "recount"],
)
def test_the_counter_is_written_as_it_was_seen_and_only_so(store, table, request_, changed):
    put_counter(table)
    before = table.get("counter")
    store.send(request_)
    assert table.get("counter") == before | changed | {"rev": 8}
    again = store.send(request_).answer
    assert isinstance(again, Refused)
    assert (again.counter.rev, again.counter_failed, again.slot_failed) == (8, True, False)
    assert table.get("counter")["rev"] == 8
    table.delete("counter")
    gone = store.send(request_).answer
    assert (gone.counter, gone.counter_failed) == (None, True)
    assert table.get("counter") is None, "it makes none"


def test_a_retirement_without_a_slot_lowers_the_bound_alone(store, table):
    put_counter(table, minted=1)
    store.send(retire(rev=7, max_tokens=2, minted=1))
    assert table.get("counter") == {"max_tokens": 2, "minted": 1, "rev": 8, "lease_ms": LEASE_MS, "schema": 1}


# Shrinking and growing.


def test_a_shrink_retires_from_the_top_and_ends_no_lease(new_bucket, table):
    bucket, operator = new_bucket(max_tokens=8), new_bucket(max_tokens=8)
    leases = {lease.slot: lease for lease in take_all(bucket)}
    assert operator.resize(3) == Resized(before=8, after=3, retired=5, running=5)
    assert counter_of(table) == (3, 3)
    assert in_circulation(table) == {0, 1, 2}
    for lease in leases.values():
        lease.renew()
    for slot in range(3, 8):
        leases[slot].release()
    assert bucket.try_acquire() is None, "what was released is retired"
    leases[1].release()
    assert bucket.acquire(timeout=5).slot == 1


def test_a_lease_of_several_slots_that_leave_is_one_that_runs_on(new_bucket):
    bucket = new_bucket(max_tokens=3)
    bucket.acquire(timeout=5, count=3)
    assert bucket.resize(1) == Resized(before=3, after=1, retired=2, running=1)


def test_a_shrink_counts_only_leases_that_run(environment, table):
    bucket = environment.bucket(max_tokens=3)
    take_all(bucket)
    table.set(2, expires_at=environment.now_ms - 60_000)
    assert environment.bucket(max_tokens=3).resize(1) == Resized(before=3, after=1, retired=2, running=1)


def test_no_request_under_way_leases_a_slot_above_a_shrink(store, new_bucket, table):
    put_counter(table, max_tokens=6, minted=5)
    put_free(table, 0, 1, 2, 3)
    table.set(4, fence=10, ttl=TTL, retired=True)
    under_way = [claim(slot=3), mint(slot=5), mint(slot=5, re_mint=True), bring_back(4), bring_back(4, re_mint=True)]
    new_bucket().resize(3)
    for request in under_way:
        assert isinstance(store.send(request).answer, Refused), request
    assert in_circulation(table) == {0, 1, 2}
    assert leases_in(table) == {}


def test_a_large_shrink_is_a_series_of_complete_ones_from_the_top_down(new_bucket, table):
    put_counter(table, max_tokens=250, minted=205)
    put_free(table, *range(205))
    bucket = new_bucket(lease_seconds=120)  # with time for a slow engine
    assert bucket.resize(2) == Resized(before=250, after=2, retired=203, running=0)
    steps = list(dict.fromkeys(bucket.tap.of(Retire)))  # what a slow engine did not answer in time is sent again
    assert [(len(step.slots), step.max_tokens, step.minted) for step in steps] == [
        (54, 151, 151),
        (99, 52, 52),
        (50, 2, 2),
    ]
    assert [len(snapshot.slots) for snapshot in dict.fromkeys(bucket.tap.of(Snapshot))] == [99, 99, 50]
    assert counter_of(table) == (2, 2)
    assert in_circulation(table) == {0, 1}


def test_a_shrink_that_crashed_midway_leaves_a_whole_bucket_and_is_gone_on_with(new_bucket, table):
    put_counter(table, max_tokens=120, minted=120)
    put_free(table, *range(120))
    operator = new_bucket(lease_seconds=120)
    operator.tap.inject(Retire)  # the first passes
    operator.tap.inject(Retire, commits=False, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        operator.resize(5)
    assert counter_of(table) == (21, 21)
    assert in_circulation(table) == set(range(21))
    assert len(take_all(new_bucket())) == 21
    assert new_bucket().resize(5) == Resized(before=21, after=5, retired=16, running=16)
    assert in_circulation(table) == set(range(5))


def test_growing_is_one_update_and_the_slots_come_when_they_are_needed(new_bucket, table):
    bucket, operator = new_bucket(max_tokens=2), new_bucket(max_tokens=2)
    leases = take_all(bucket)
    operator.tap.clear()
    assert operator.resize(4) == Resized(before=2, after=4, retired=0, running=0)
    assert operator.tap.count() == {"Grow": 1, "Look": 2}
    assert in_circulation(table) == {0, 1}
    more = take_all(bucket)
    assert sorted(lease.slot for lease in more) == [2, 3]
    assert counter_of(table) == (4, 4)
    assert all(lease.held for lease in leases + more)


def test_what_a_shrink_retired_a_growth_brings_back(new_bucket, table):
    bucket = new_bucket(max_tokens=4)
    running = take_all(bucket)
    bucket.resize(1)
    bucket.resize(4)
    assert counter_of(table) == (4, 1)
    assert bucket.try_acquire() is None, "leases still run on all of them"
    for lease in running:
        lease.release()
    assert len(take_all(bucket)) == 4
    assert in_circulation(table) == {0, 1, 2, 3}
    assert counter_of(table) == (4, 4)


def test_the_size_that_it_has_already_is_no_change(new_bucket, table):
    bucket = new_bucket(max_tokens=3)
    bucket.acquire(timeout=5)
    before = table.all()
    bucket.tap.clear()
    assert bucket.resize(3) == Resized(before=3, after=3, retired=0, running=0)
    assert table.all() == before
    assert bucket.tap.count() == {"Look": 2}


def test_a_waiter_in_the_same_process_is_served_by_a_growth(new_bucket, in_thread, monkeypatch):
    monkeypatch.setattr(
        "ddb_lease._protocol.retry.LONGEST_POLL_SECONDS", 6_000.0
    )  # the wait of a waiter that is not woken
    bucket = new_bucket(max_tokens=1)
    bucket.acquire(timeout=5)
    bucket.tap.clear()
    waiting = in_thread(lambda: bucket.acquire(timeout=20))
    eventually(lambda: core_of(bucket).state.hints.waiting and bucket.tap.sent)
    bucket.resize(2)
    assert waiting.result(10).slot == 1


@pytest.mark.parametrize("to", [1, 5])
def test_strays_beyond_the_old_size_are_retired_first(new_bucket, table, to):
    put_counter(table, max_tokens=3, minted=3)
    put_free(table, 0, 1, 2)
    put_leased(table, 3, "3-hand")
    put_free(table, 200)
    result = new_bucket().resize(to)
    assert (result.before, result.after) == (3, to)
    assert in_circulation(table) == set(range(min(to, 3)))
    assert "lease_id" in table.get(3)
    assert table.get("counter")["minted"] >= len(in_circulation(table))


def test_what_is_not_ours_is_left_alone(new_bucket, table):
    put_counter(table, max_tokens=3, minted=3)
    put_free(table, 0, 1)
    table.set(2, note="not a slot")
    table.set(7, note="neither")
    assert new_bucket().resize(1).retired == 1
    assert table.get(2) == {"note": "not a slot"}
    assert table.get(7) == {"note": "neither"}


def test_a_drifted_count_never_falls_below_nothing(new_bucket, table):
    put_counter(table, max_tokens=3, minted=0)
    put_free(table, 0, 1, 2)
    new_bucket().resize(1)
    assert counter_of(table) == (1, 0)
    assert len(take_all(new_bucket())) == 1


@pytest.mark.parametrize("to", [0, -1, 100_001, 2.0, True, "3", None])
def test_a_size_that_cannot_be_is_refused_before_anything_is_sent(new_bucket, to):
    bucket = new_bucket()
    with pytest.raises(ConfigurationError, match="max_tokens must be a whole number from 1 to 100,000"):
        bucket.resize(to)
    assert bucket.tap.sent == []


@pytest.mark.parametrize("operation", [lambda b: b.resize(2), lambda b: b.repair(), lambda b: b.reset()])
def test_a_bucket_that_does_not_exist_is_not_made(new_bucket, table, operation):
    with pytest.raises(UnknownBucket, match="does not exist"):
        operation(new_bucket())
    assert table.all() == {}


# Others, and faults, in between.


def resized_meanwhile(bucket, other, kind, to):
    """The other resizes just before a request of this kind."""
    bucket.tap.inject(kind, before=lambda _: other.resize(to))


@pytest.mark.parametrize(("to", "other", "left"), [(2, 5, 5), (2, 3, 3), (8, 5, 5), (8, 3, 3), (5, 5, 5), (9, 9, 9)])
def test_of_two_resizers_one_stops_and_reports(new_bucket, table, to, other, left):
    bucket, rival = new_bucket(max_tokens=6), new_bucket(max_tokens=6)
    bucket.acquire(timeout=5).release()
    resized_meanwhile(bucket, rival, Retire if to < 6 else Grow, other)
    with pytest.raises(Overtaken, match=f"another resize came in between: max_tokens is {other}") as told:
        bucket.resize(to)
    assert told.value.max_tokens == other
    assert table.get("counter")["max_tokens"] == left
    assert all(number < left for number in in_circulation(table))


def test_a_growth_between_two_steps_is_noticed(new_bucket, table):
    put_counter(table, max_tokens=150, minted=150)
    put_free(table, *range(150))
    bucket, rival = new_bucket(), new_bucket()
    bucket.tap.inject(Snapshot)
    resized_meanwhile(bucket, rival, Snapshot, 60)
    with pytest.raises(Overtaken):
        bucket.resize(10)
    assert table.get("counter")["max_tokens"] == 60


def test_minting_in_between_is_seen_and_the_shrink_goes_on(new_bucket, store, table):
    put_counter(table, max_tokens=3, minted=2)
    put_free(table, 0, 1)
    bucket = new_bucket()
    bucket.tap.inject(Retire, before=lambda _: store.send(mint("2-new", slot=2)))
    assert bucket.resize(1) == Resized(before=3, after=1, retired=2, running=1)
    assert counter_of(table) == (1, 1)
    assert in_circulation(table) == {0}


def test_minting_in_between_is_seen_and_the_growth_goes_on(new_bucket, store, table):
    put_counter(table, max_tokens=3, minted=2)
    put_free(table, 0, 1)
    bucket = new_bucket()
    bucket.tap.inject(Grow, before=lambda _: store.send(mint("2-new", slot=2)))
    assert bucket.resize(5).after == 5
    assert counter_of(table) == (5, 3)


def test_a_slot_that_ttl_takes_in_between_is_no_obstacle(new_bucket, table):
    bucket = new_bucket(max_tokens=3)
    bucket.acquire(timeout=5).release()
    bucket.tap.inject(Retire, before=lambda _: table.delete(2))
    assert bucket.resize(1) == Resized(before=3, after=1, retired=1, running=0)
    assert in_circulation(table) == {0}


@pytest.mark.parametrize("answer", [LOST, CONFLICT, THROTTLED, UNSENT])
@pytest.mark.parametrize(
    ("kind", "operation", "done"),
    [
        (Look, lambda b: b.resize(1), Resized(before=3, after=1, retired=2, running=0)),
        (Snapshot, lambda b: b.resize(1), Resized(before=3, after=1, retired=2, running=0)),
        (Retire, lambda b: b.resize(1), Resized(before=3, after=1, retired=2, running=0)),
        (Grow, lambda b: b.resize(9), Resized(before=3, after=9, retired=0, running=0)),
        (Recount, lambda b: b.repair(), Repaired(max_tokens=3, before=4, after=3, retired=0)),
    ],
    ids=["look", "snapshot", "retire", "grow", "recount"],
)
def test_what_passes_is_waited_out(environment, table, kind, operation, done, answer):
    put_counter(table, minted=4 if kind is Recount else 3)
    put_free(table, 0, 1, 2)
    bucket = environment.bucket()
    bucket.tap.inject(kind, answer=answer, commits=answer is LOST)
    assert operation(bucket) == done


def test_a_growth_that_worked_is_recognised_though_its_answer_was_lost_and_others_have_minted_since(
    new_bucket, store, table
):
    put_counter(table, max_tokens=4, minted=3)
    put_free(table, 0, 1, 3)
    bucket = new_bucket()
    bucket.tap.inject(Grow, answer=LOST, after=lambda _: store.send(mint("2-new", slot=2)))
    assert bucket.resize(6) == Resized(before=4, after=6, retired=0, running=0)
    assert counter_of(table) == (6, 4)


@pytest.mark.parametrize("then", ["a conflict", "nothing", "what it finds"])
def test_a_shrink_that_worked_is_recognised_though_its_answer_was_lost_and_others_have_minted_since(
    new_bucket, store, table, then
):
    put_counter(table, max_tokens=4, minted=3)
    put_free(table, 0, 1, 3)
    bucket = new_bucket()
    bucket.tap.inject(Retire, answer=LOST, after=lambda _: store.send(mint("2-new", slot=2)))
    # As after ten minutes, when the token is known no more: the copy is judged by its conditions.
    found = Counter(max_tokens=3, minted=3, rev=9, lease_ms=LEASE_MS) if then == "what it finds" else None
    refused = Refused(slot_failed=then != "nothing", counter_failed=found is not None, counter=found)
    bucket.tap.inject(Retire, commits=False, answer=refused)
    assert bucket.resize(3) == Resized(before=4, after=3, retired=1, running=0)
    assert counter_of(table) == (3, 3)
    assert in_circulation(table) == {0, 1, 2}


@pytest.mark.parametrize(("answer", "error"), [(UNSENT, StoreUnavailable), (REJECTED, StoreRejected)])
@pytest.mark.parametrize(
    "operation", [lambda b: b.resize(1), lambda b: b.repair(), lambda b: b.reset()], ids=["resize", "repair", "reset"]
)
def test_an_outage_is_told_in_bounded_time_and_nothing_is_changed(environment, table, answer, error, operation):
    bucket = environment.bucket(max_tokens=3)
    bucket.acquire(timeout=5)
    before = table.all()
    bucket.tap.everything_fails = answer
    began = environment.clock.steady()
    with pytest.raises(error):
        operation(bucket)
    assert environment.clock.steady() - began <= 40
    assert table.all() == before


def test_a_counter_that_never_rests_is_told_in_bounded_time(environment, table):
    put_counter(table, minted=4)
    put_free(table, 0, 1, 2)
    bucket = environment.bucket()
    began = environment.clock.steady()
    for _ in range(120):
        bucket.tap.inject(Recount, before=lambda _: table.set("counter", rev=table.get("counter")["rev"] + 1))
    with pytest.raises(StoreUnavailable, match="other clients keep changing its counter"):
        bucket.repair()
    assert environment.clock.steady() - began <= 40


def test_a_shrink_that_arrives_late_does_not_bring_ttl_before_a_fence_that_has_risen_since(new_bucket, store, table):
    put_counter(table)
    put_free(table, 0, 1, 2)
    store.send(claim("2-late", slot=2, fence=NOW))
    ttl = table.get(2)["ttl"]
    store.send(replace(retire(2, rev=7, max_tokens=2, minted=2), ttl=ttl - 100))
    assert table.get(2)["retired"]
    assert table.get(2)["ttl"] == ttl


# Repairing.


@pytest.mark.parametrize("minted", [0, 2, 3, 9])
def test_a_repair_counts_what_circulates(new_bucket, table, minted):
    put_counter(table, max_tokens=4, minted=minted)
    put_free(table, 0, 2)
    put_leased(table, 1, "1-x")
    table.set(3, fence=1, ttl=TTL, retired=True)
    bucket = new_bucket()
    assert bucket.repair() == Repaired(max_tokens=4, before=minted, after=3, retired=0)
    assert counter_of(table) == (4, 3)
    assert bucket.tap.count().get("Recount", 0) == (minted != 3)


def test_a_repair_of_a_large_bucket_counts_all_of_it_at_the_rev_of_its_beginning(new_bucket, store, table):
    put_counter(table, max_tokens=230, minted=0)
    put_free(table, *range(0, 230, 2))
    bucket = new_bucket(lease_seconds=120)  # with time for a slow engine: requests are counted
    bucket.tap.inject(Snapshot)
    bucket.tap.inject(Snapshot, before=lambda _: store.send(mint(slot=1)))
    assert bucket.repair().after == 116, "it counts again: what was minted lies before what it had come to"
    assert [len(snapshot.slots) for snapshot in bucket.tap.of(Snapshot)] == [99, 99, 32] * 2
    assert counter_of(table) == (230, 116)


def test_a_repair_that_takes_long_is_not_given_up_for_one_mint_in_between(environment, store, table):
    put_counter(table, max_tokens=120, minted=0)
    put_free(table, *range(0, 120, 2))
    bucket = environment.bucket()
    bucket.tap.inject(Snapshot)

    def much_later(_):
        environment.clock.pass_time(100)  # as of a bucket of 100,000
        store.send(mint(slot=1))

    bucket.tap.inject(Snapshot, before=much_later)
    assert bucket.repair().after == 61


def test_the_largest_bucket_has_no_strays_to_look_for(new_bucket, table):
    put_counter(table, max_tokens=100_000, minted=3)
    put_free(table, 5, 20_000, 99_999)
    bucket = new_bucket()
    assert bucket.resize(99_990) == Resized(before=100_000, after=99_990, retired=1, running=0)
    assert bucket.tap.count() == {"Look": 1, "Retire": 1, "Snapshot": 1}


def test_a_repair_retires_strays(new_bucket, table):
    put_counter(table, max_tokens=2, minted=5)
    put_free(table, 0, 1, 4)
    put_leased(table, 3, "3-hand")
    assert new_bucket().repair() == Repaired(max_tokens=2, before=3, after=2, retired=2)
    assert in_circulation(table) == {0, 1}
    assert leases_in(table) == {3: "3-hand"}


def test_a_repair_counts_no_stray_that_comes_up_meanwhile(new_bucket, table):
    put_counter(table, max_tokens=2, minted=5)
    put_free(table, 0, 1)
    bucket = new_bucket()
    bucket.tap.inject(Snapshot, before=lambda _: put_free(table, 2))
    assert bucket.repair() == Repaired(max_tokens=2, before=5, after=2, retired=0)


def test_what_is_a_stray_no_more_is_not_retired(new_bucket, table):
    put_counter(table, max_tokens=2, minted=2)
    put_free(table, 0, 1, 2)
    bucket = new_bucket()
    bucket.tap.inject(Snapshot, before=lambda _: put_counter(table, max_tokens=3, minted=2, rev=8))
    assert bucket.repair() == Repaired(max_tokens=3, before=2, after=3, retired=0)
    assert in_circulation(table) == {0, 1, 2}


@pytest.mark.parametrize(
    ("operation", "max_tokens"), [(lambda b: b.resize(1), 2), (lambda b: b.repair(), 1)], ids=["resize", "repair"]
)
def test_no_retirement_lets_ttl_delete_a_slot_before_its_lease_and_its_fence_are_over(
    environment, table, operation, max_tokens
):
    put_counter(table, max_tokens=max_tokens, minted=2)
    put_free(table, 0)
    far = environment.now_ms + 500_000_000
    put_leased(table, 1, "1-x", expires_at=far)
    table.unset(1, "ttl")  # as only a hand leaves it
    bucket = environment.bucket()
    operation(bucket)
    assert table.get(1)["retired"]
    assert table.get(1)["ttl"] >= far // 1000 + 3_600
    table.unset(1, "retired", "lease_id", "owner", "acquired_at", "expires_at", "ttl")
    table.set(1, fence=far + 1_000_000)
    put_counter(table, max_tokens=max_tokens, minted=2)
    operation(bucket)
    assert table.get(1)["retired"]
    assert table.get(1)["ttl"] >= far // 1000 + 1_000 + 3_600


def test_a_repair_whose_answer_was_lost_counts_again(new_bucket, store, table):
    put_counter(table, max_tokens=5, minted=2)
    put_free(table, 0, 1, 2)
    bucket = new_bucket()
    # Not carried out; and then a mint makes the counter look as it would have been.
    bucket.tap.inject(Recount, commits=False, answer=LOST, after=lambda _: store.send(mint("3-x", slot=3)))
    assert bucket.repair() == Repaired(max_tokens=5, before=2, after=4, retired=0)
    assert counter_of(table) == (5, 4)


def test_what_is_for_people_only_makes_no_slot_foreign_to_a_repair(new_bucket, table):
    put_counter(table, max_tokens=2, minted=2)
    put_free(table, 0)
    put_leased(table, 1, "1-x", data="spoilt")
    put_leased(table, 4, "4-x", data="spoilt")
    assert new_bucket().repair() == Repaired(max_tokens=2, before=2, after=2, retired=1)
    assert in_circulation(table) == {0, 1}


# Resetting.


def test_a_reset_ends_every_lease_and_keeps_settings_and_fences(new_bucket, table):
    bucket, operator = new_bucket(max_tokens=4), new_bucket(max_tokens=4)
    single, pair = bucket.acquire(timeout=5), bucket.acquire(timeout=5, count=2)
    mine = operator.acquire(timeout=5)
    fences = {number: slot["fence"] for number, slot in table.slots().items()}
    table.set("counter", minted=9)
    assert operator.reset() == 3
    assert leases_in(table) == {}
    assert {number: slot["fence"] for number, slot in table.slots().items()} == fences
    assert counter_of(table) == (4, 4)
    assert not mine.held
    assert len(take_all(operator)) == 4
    assert not single.release()
    assert not pair.release()
    assert len(leases_in(table)) == 4, "what is released late is nobody else's"


def test_a_reset_ends_leases_of_others_making_on_retired_slots_too(new_bucket, table):
    put_counter(table, max_tokens=2, minted=2)
    put_leased(table, 0, "not of our making", expires_at=NOW + 10**9)
    put_leased(table, 1, "7-elsewhere")
    put_leased(table, 5, "5-retired", retired=True)
    assert new_bucket().reset() == 3
    assert leases_in(table) == {}
    assert in_circulation(table) == {0, 1}


def test_a_reset_counts_a_lease_whose_release_was_not_answered(environment, table):
    environment.bucket(max_tokens=2).acquire(5)
    operator = environment.bucket(max_tokens=2)
    operator.tap.inject(Release, answer=LOST)
    assert operator.reset() == 1
    assert leases_in(table) == {}


def test_holders_are_told_of_a_reset_at_their_next_renewal(environment):
    bucket, told = environment.bucket(max_tokens=1), []
    bucket.acquire(5, on_lost=lambda lease: told.append(lease.lost))
    environment.bucket(max_tokens=1).reset()
    environment.run(10.5, bucket)
    assert [reason.value for reason in told] == ["taken"]


# All at once.


def test_after_a_shrink_from_8_to_3_returned_no_claim_lies_above_while_16_contend(new_bucket, table, in_thread):
    bucket, over = new_bucket(max_tokens=8), threading.Event()
    watched, above = new_bucket(max_tokens=8), []
    clients = [new_bucket(max_tokens=8) for _ in range(4)]

    def work(client):
        while not over.is_set():
            lease = client.acquire(timeout=60)
            with lease:
                if returned.is_set() and lease.slot >= 3 and lease.fence > bound:
                    above.append(lease.id)

    returned, bound = threading.Event(), 0
    workers = [in_thread(lambda client=client: work(client)) for client in clients * 4]
    while sum(client.tap.count().get("Claim", 0) for client in clients) < 60:
        over.wait(0.01)
    assert bucket.resize(3).after == 3
    leased = leases_in(table)
    fences = {number: slot["fence"] for number, slot in table.slots().items()}
    bound = max(fences.values())
    returned.set()
    seen = [{n: lease for n, lease in leases_in(table).items() if n >= 3} for _ in range(40)]
    over.set()
    for worker in workers:
        worker.result(60)
    assert above == []
    started = {n: lease for n, lease in leased.items() if n >= 3}
    assert all(lease == started.get(n) for view in seen for n, lease in view.items()), "none that was not there"
    after = {number: slot["fence"] for number, slot in table.slots().items()}
    assert {n: fence for n, fence in after.items() if n >= 3} == {n: f for n, f in fences.items() if n >= 3}
    assert watched.status().max_tokens == 3
    assert len(take_all(watched)) == 3
