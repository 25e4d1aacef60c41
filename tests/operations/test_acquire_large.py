"""Buckets of more than one window: the last free slots are found without pauses, and a full bucket is searched once.

A look shows four slots here, as it shows 128 of a real bucket. What is told apart is which requests are sent, and when:
the engine does not matter.
"""

import threading

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError
from ddb_lease._operations.look import MOST_AT_ONCE
from ddb_lease._protocol.messages import Claim, Look, Mint
from ddb_lease._protocol.records import Counter
from ddb_lease._state.windows import POLLED, lately
from scripts.harness.inside import core_of
from tests.support import CONFLICT, LEASE_MS, NOW, THROTTLED, eventually, leases_in, put_counter, put_free, put_leased

CONTRACT = True  # on the simulator's DynamoDB
NOT_ON = ("embedded", "ministack")
APIS = ("simulated",)  # over asyncio too

WINDOW = 4
WINDOWS = 30
SLOTS = WINDOW * WINDOWS


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr("ddb_lease._protocol.decisions.WINDOW", WINDOW)


@pytest.fixture
def full(environment, table):
    """All slots are leased by others, for long."""
    put_counter(table, max_tokens=SLOTS, minted=SLOTS)
    for slot in range(SLOTS):
        put_leased(table, slot, f"{slot}-other", expires_at=environment.now_ms + 36_000_000)


def free_up(table, *slots):
    for slot in slots:
        table.delete(slot)
    put_free(table, *slots)


def windows_looked_at(bucket):
    return [look.start // WINDOW for look in bucket.tap.of(Look) if look.limit > 1]


def bucket_that_knows(environment):
    """A bucket that knows the time, how large the bucket is, and nothing else of it."""
    bucket = environment.bucket(max_tokens=SLOTS)
    assert bucket.try_acquire() is None
    core_of(bucket).state.hints.windows.forget()
    bucket.tap.clear()
    environment.pauses.clear()
    return bucket


# The last free slots


def test_the_only_free_slot_of_a_large_bucket_is_found_without_a_pause(environment, full, table):
    for free in (0, 57, SLOTS - 1):
        free_up(table, free)
        bucket = environment.bucket(max_tokens=SLOTS)
        lease = bucket.acquire(timeout=60)
        assert lease.slot == free
        assert len(windows_looked_at(bucket)) <= WINDOWS + 12, "each window once, and the counter now and then"
        assert environment.pauses == []
        put_leased(table, free, expires_at=environment.now_ms + 36_000_000)


def test_a_search_reads_at_most_twice_the_windows_that_it_needs(environment, full, table):
    bucket = bucket_that_knows(environment)
    free_up(table, *range(0, SLOTS, 2 * WINDOW))  # every second window has one
    bucket.acquire(timeout=60)
    assert len(windows_looked_at(bucket)) <= 3
    free_up(table, *range(1, SLOTS, WINDOW))
    core_of(bucket).state.hints.forget_free()
    bucket.tap.clear()
    bucket.acquire(timeout=60)
    assert len(windows_looked_at(bucket)) == 1


def test_looks_double_up_to_a_bound(environment, full):
    bucket = bucket_that_knows(environment)
    sizes = []

    def note(looks, *, observe):
        sizes.append(len(looks))
        return perform(looks, observe=observe)

    perform = core_of(bucket).driver.perform_at_once
    core_of(bucket).driver.perform_at_once = note
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1)
    assert sizes[:4] == [2, 4, MOST_AT_ONCE, MOST_AT_ONCE]
    assert max(sizes) == MOST_AT_ONCE


def test_the_slots_that_a_search_saw_free_besides_are_claimed_without_a_look(environment, full, table):
    bucket = bucket_that_knows(environment)
    free_up(table, *range(40, 60))
    leases = [bucket.acquire(timeout=60) for _ in range(20)]
    assert sorted(lease.slot for lease in leases) == list(range(40, 60))
    assert len(windows_looked_at(bucket)) <= WINDOWS + 12
    assert environment.pauses == []


def test_several_slots_together_are_found_across_windows_without_a_pause(environment, full, table):
    free_up(table, 3, 50, 51, 117)
    bucket = environment.bucket(max_tokens=SLOTS)
    assert bucket.acquire(timeout=60, count=4).slots == (3, 50, 51, 117)
    assert environment.pauses == []


def test_a_try_in_vain_does_not_make_the_next_acquire_wait(environment, full, table):
    bucket = environment.bucket(max_tokens=SLOTS)
    free_up(table, 70)
    for _ in range(3):
        if bucket.try_acquire() is not None:
            return
    assert bucket.acquire(timeout=60).slot == 70
    assert environment.pauses == []


# A full bucket


def test_a_full_bucket_is_searched_once_and_then_polled_as_before(environment, full):
    bucket = bucket_that_knows(environment)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=200)
    looks = windows_looked_at(bucket)
    assert set(looks[: WINDOWS + 12]) == set(range(WINDOWS)), "the search"
    polls = (len(looks) - WINDOWS - 12) / POLLED
    assert 110 < polls < 230, "one in 1.25 s on average"
    assert set(bucket.tap.count()) == {"Look"}


def test_who_comes_after_a_search_in_vain_waits_without_another(environment, full):
    bucket = bucket_that_knows(environment)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1)
    bucket.tap.clear()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1)
    assert len(windows_looked_at(bucket)) <= 3 * POLLED
    bucket.tap.clear()
    environment.run(lately(WINDOWS) + 1)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1)
    assert set(windows_looked_at(bucket)) == set(range(WINDOWS)), "nobody has looked for long"


def test_trying_looks_at_a_polls_windows_and_the_next_try_at_the_next_ones(environment, full):
    bucket = bucket_that_knows(environment)
    seen = []
    for _ in range(6):
        bucket.tap.clear()
        assert bucket.try_acquire() is None
        assert len(windows_looked_at(bucket)) == POLLED
        seen += windows_looked_at(bucket)
    assert len(set(seen)) >= 6 * POLLED - 4, "each try goes on; the counter's window comes up more often"
    bucket.tap.clear()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=0)
    assert len(windows_looked_at(bucket)) == POLLED


def test_trying_searches_all_windows_while_the_counter_shows_room(environment, full, table):
    put_counter(table, max_tokens=SLOTS, minted=SLOTS - 1)
    table.delete(70)
    bucket = environment.bucket(max_tokens=SLOTS)
    assert bucket.try_acquire().slot == 70
    assert environment.pauses == []


def test_room_that_is_nowhere_to_be_found_is_searched_for_once(environment, full, table):
    put_counter(table, max_tokens=SLOTS, minted=SLOTS - 1)  # as after a shrink, while leases run on: all is leased
    bucket = bucket_that_knows(environment)
    assert bucket.try_acquire() is None
    assert set(windows_looked_at(bucket)) == set(range(WINDOWS))
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    assert len(windows_looked_at(bucket)) == POLLED


def test_a_timeout_ends_a_search_between_two_looks(environment, full):
    bucket = bucket_that_knows(environment)
    bucket.tap.inject(Look, after=lambda _: environment.clock.pass_time(0.4))
    bucket.tap.inject(Look, after=lambda _: environment.clock.pass_time(0.4))
    bucket.tap.inject(Look, after=lambda _: environment.clock.pass_time(0.4))
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1)
    assert len(windows_looked_at(bucket)) == POLLED


def test_closing_the_bucket_ends_a_search(environment, full):
    bucket = bucket_that_knows(environment)
    for number in range(6):
        bucket.tap.inject(Look, after=lambda _, number=number: bucket.close() if number == 5 else None)
    with pytest.raises(ConfigurationError, match="is closed"):
        bucket.acquire(timeout=60)
    assert len(windows_looked_at(bucket)) < WINDOWS


@pytest.mark.parametrize("answer", [THROTTLED, CONFLICT])
def test_windows_whose_look_was_not_answered_are_searched_after_a_backoff(environment, full, table, answer):
    bucket = bucket_that_knows(environment)
    free_up(table, 77)
    for number in range(12):
        bucket.tap.inject(Look, commits=number % 3 == 0, answer=None if number % 3 == 0 else answer)
    began = environment.clock.steady()
    assert bucket.acquire(timeout=60).slot == 77
    assert environment.clock.steady() - began < 8, "a few backoffs, and no round of polls"


def test_a_slot_seen_beside_a_look_that_failed_is_taken_at_once(environment, full, table):
    bucket = bucket_that_knows(environment)
    bucket.tap.inject(Look)
    # Of the next two, which are sent at once, one shows what is free, and the other fails.
    bucket.tap.inject(Look, before=lambda look: free_up(table, look.start))
    bucket.tap.inject(Look, commits=False, answer=THROTTLED)
    assert bucket.acquire(timeout=60).held
    assert environment.pauses == []


# One's own leases


def test_windows_full_of_ones_own_leases_are_passed_over(environment, table):
    put_counter(table, max_tokens=SLOTS, minted=SLOTS)
    put_free(table, *range(4 * WINDOW))
    for slot in range(4 * WINDOW, SLOTS):
        put_leased(table, slot, f"{slot}-other", expires_at=environment.now_ms + 36_000_000)
    bucket = environment.bucket(max_tokens=SLOTS)
    leases = [bucket.acquire(timeout=60) for _ in range(4 * WINDOW)]
    core_of(bucket).state.hints.windows.forget()
    bucket.tap.clear()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1)
    assert set(windows_looked_at(bucket)) - {0} == set(range(4, WINDOWS)), "those of others, and perhaps the counter's"
    for lease in leases:
        lease.release()
    core_of(bucket).state.hints.forget_free()
    bucket.tap.clear()
    assert bucket.acquire(timeout=60).slot < 4 * WINDOW, "what was given back is looked at again"


def test_a_process_that_holds_all_tokens_still_sees_that_the_bucket_has_grown(environment, table):
    put_counter(table, max_tokens=3 * WINDOW, minted=3 * WINDOW)
    put_free(table, *range(3 * WINDOW))
    bucket = environment.bucket(max_tokens=3 * WINDOW)
    for _ in range(3 * WINDOW):
        bucket.acquire(timeout=60)
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    assert windows_looked_at(bucket) == [0], "the counter's"
    put_counter(table, max_tokens=4 * WINDOW, minted=3 * WINDOW, rev=99)
    assert bucket.acquire(timeout=60).slot >= 3 * WINDOW


def test_a_waiter_that_holds_the_counters_window_itself_sees_that_the_bucket_has_grown(environment, full, table):
    free_up(table, *range(WINDOW))
    bucket = environment.bucket(max_tokens=SLOTS)
    for _ in range(WINDOW):
        bucket.acquire(timeout=60)
    environment.pauses.clear()
    environment.meanwhile.append(
        lambda: len(environment.pauses) == 10 and put_counter(table, max_tokens=SLOTS + 1, minted=SLOTS, rev=99)
    )
    assert bucket.acquire(timeout=60).slot == SLOTS


def test_a_bucket_that_has_grown_within_its_last_window_is_searched_again_at_once(environment, full, table):
    put_counter(table, max_tokens=SLOTS - 1, minted=SLOTS - 1, rev=8)
    table.delete(SLOTS - 1)
    bucket = environment.bucket(max_tokens=SLOTS)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1)
    put_counter(table, max_tokens=SLOTS, minted=SLOTS - 1, rev=9)
    core_of(bucket).state.adopt(Counter(max_tokens=SLOTS, minted=SLOTS - 1, rev=9, lease_ms=LEASE_MS), sure=True)
    environment.run(3)
    environment.pauses.clear()
    assert bucket.acquire(timeout=60).slot == SLOTS - 1
    assert environment.pauses == []


# Filling


def test_a_new_bucket_is_filled_without_a_pause_and_with_hardly_more_than_a_request_a_claim(environment, table):
    tokens = 150 + WINDOW  # some are made with the bucket, the others are minted
    bucket = environment.bucket(max_tokens=tokens)
    slots = {bucket.acquire(timeout=60).slot for _ in range(tokens)}
    assert slots == set(range(tokens))
    assert environment.pauses == []
    assert sum(bucket.tap.count().values()) <= tokens + 6
    assert bucket.tap.count()["Mint"] == tokens - 99


def test_a_new_bucket_is_filled_by_trying_to_the_last_token(environment):
    bucket = environment.bucket(max_tokens=130)
    assert all(bucket.try_acquire() is not None for _ in range(130))
    assert bucket.try_acquire() is None
    assert sum(bucket.tap.count().values()) < 130 + WINDOWS + 20


def test_two_processes_fill_a_bucket_and_a_mint_that_was_lost_leads_to_a_look(environment, table):
    put_counter(table, max_tokens=SLOTS, minted=0)
    one, other = environment.bucket(max_tokens=SLOTS), environment.bucket(max_tokens=SLOTS)
    for _ in range(SLOTS // 2):
        one.acquire(timeout=60)
        other.acquire(timeout=60)
    assert len(leases_in(table)) == SLOTS
    assert table.get("counter")["minted"] == SLOTS
    assert environment.pauses == []
    sent = [*one.tap.sent, *other.tap.sent]
    assert sum(isinstance(request, Mint) for request in sent) < 1.5 * SLOTS


def test_a_mint_on_a_stale_hint_costs_a_round_trip_and_teaches_what_is_true(environment, table):
    put_counter(table, max_tokens=SLOTS, minted=0)
    bucket = environment.bucket(max_tokens=SLOTS)
    bucket.acquire(timeout=60)  # the look that it took showed what is missing
    bucket.tap.clear()
    bucket.tap.inject(Mint, before=lambda mint: put_leased(table, mint.slot, f"{mint.slot}-other"))
    assert bucket.acquire(timeout=60).held
    assert bucket.tap.count() == {"Mint": 2, "Look": 1}


def test_a_mint_on_a_stale_hint_learns_that_the_bucket_is_full(environment, table):
    put_counter(table, max_tokens=SLOTS, minted=0)
    bucket = environment.bucket(max_tokens=SLOTS)
    bucket.acquire(timeout=60)
    bucket.tap.clear()

    def shrink(_):
        put_counter(table, max_tokens=1, minted=1, rev=99)
        put_leased(table, 0)

    bucket.tap.inject(Mint, before=shrink)
    assert bucket.try_acquire() is None
    assert core_of(bucket).state.hints.counter.max_tokens == 1
    assert bucket.tap.count()["Mint"] == 1


def test_a_mint_on_a_stale_hint_makes_a_deleted_bucket_anew(environment, table):
    put_counter(table, max_tokens=SLOTS, minted=0)
    bucket = environment.bucket(max_tokens=SLOTS)
    bucket.acquire(timeout=60).release()
    core_of(bucket).state.hints.take_free(core_of(bucket).state.chance)
    bucket.tap.inject(Mint, before=lambda _: table.delete_all())
    assert bucket.acquire(timeout=60).held
    assert bucket.tap.count()["Create"] == 1


def test_a_free_slot_is_claimed_before_another_is_minted(environment, table):
    put_counter(table, max_tokens=SLOTS, minted=0)
    bucket = environment.bucket(max_tokens=SLOTS)
    lease = bucket.acquire(timeout=60)
    slot = lease.slot
    lease.release()
    bucket.tap.clear()
    assert bucket.acquire(timeout=60).slot == slot
    assert bucket.tap.count() == {"Claim": 1}


# In threads


def test_one_waiter_of_a_process_searches_for_all(new_bucket, table, in_thread):
    put_counter(table, max_tokens=SLOTS, minted=SLOTS)
    for slot in range(SLOTS):
        put_leased(table, slot, f"{slot}-other", expires_at=NOW * 2)
    bucket = new_bucket(max_tokens=SLOTS)
    assert bucket.try_acquire() is None
    core_of(bucket).state.hints.windows.forget()
    bucket.tap.clear()
    hold, go_on = [], threading.Event()
    for _ in range(3):
        bucket.tap.inject(Look, before=lambda look: (hold.append(look), go_on.wait(60)))
    waiting = [in_thread(lambda: bucket.acquire(timeout=60)) for _ in range(8)]
    eventually(lambda: core_of(bucket).state.hints.waiting == 8)
    eventually(lambda: hold)
    assert len(hold) == 1, "its first look"
    go_on.set()
    eventually(lambda: set(windows_looked_at(bucket)) >= set(range(WINDOWS)))
    assert len(windows_looked_at(bucket)) <= WINDOWS + 20, "not eight times as many"
    assert not any(isinstance(request, Claim) for request in bucket.tap.sent)
    free_up(table, *range(SLOTS))
    for waiter in waiting:
        assert waiter.result(30).held
