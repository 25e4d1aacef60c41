"""A bucket through `LeaseBucket`: creation, drift, repair, bounds; and what each operation costs in requests."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.decisions import WINDOW
from ddb_lease._protocol.messages import BringBack, Claim, Create, Look, Mint, Retire, Seen
from ddb_lease._protocol.records import Counter, Slot
from scripts.harness.inside import core_of
from tests.support import LONG_AGO, THROTTLED, UNSENT, Fault, leases_in, put_counter, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB too


def in_circulation(table):
    return {number for number, slot in table.slots().items() if "retired" not in slot}


def take_all(bucket):
    """Leases until there are none left."""
    leases = []
    while (lease := bucket.try_acquire()) is not None:
        leases.append(lease)
    return leases


def assert_sound(table):
    """Invariants N and S4, as far as the table shows them."""
    counter = table.get("counter")
    assert all(number < counter["max_tokens"] for number in in_circulation(table))
    assert counter["minted"] >= len(in_circulation(table))


def test_the_first_acquire_of_a_new_bucket_looks_creates_and_claims(new_bucket, table):
    bucket = new_bucket(max_tokens=2)
    bucket.acquire(timeout=5)
    assert bucket.tap.count() == {"Look": 2, "Create": 1, "Claim": 1}, "one look more, to be sure of the time"
    assert in_circulation(table) == {0, 1}


def test_the_first_acquire_of_a_client_on_an_old_bucket_looks_and_claims(new_bucket):
    new_bucket().acquire(timeout=5).release()
    bucket = new_bucket()
    bucket.acquire(timeout=5)
    assert bucket.tap.count() == {"Look": 2, "Claim": 1}, "one look more, to be sure of the time"
    assert [look.limit for look in bucket.tap.of(Look)] == [WINDOW + 1, 1]


def test_warm_each_operation_is_one_request(new_bucket):
    bucket = new_bucket()
    bucket.acquire(timeout=5).release()
    for _ in range(3):
        bucket.tap.clear()
        lease = bucket.acquire(timeout=5)
        assert bucket.tap.count() == {"Claim": 1}
        lease.renew()
        assert bucket.tap.count() == {"Claim": 1, "Renew": 1}
        lease.release()
        assert bucket.tap.count() == {"Claim": 1, "Release": 1, "Renew": 1}


def test_a_process_claims_first_the_slot_that_it_released_itself(new_bucket):
    bucket = new_bucket(max_tokens=20)
    lease = bucket.acquire(timeout=5)
    lease.release()
    assert bucket.acquire(timeout=5).slot == lease.slot


def test_clients_do_not_all_start_with_the_same_slot(new_bucket):
    new_bucket(max_tokens=50).acquire(timeout=5).release()
    firsts = set()
    for _ in range(8):
        with new_bucket().acquire(timeout=5) as lease:
            firsts.add(lease.slot)
    assert len(firsts) > 2


def test_trying_a_full_bucket_is_one_look_and_no_write(new_bucket):
    bucket = new_bucket(max_tokens=2)
    take_all(bucket)
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    assert bucket.tap.count() == {"Look": 1}


def test_there_are_never_more_leases_than_tokens(new_bucket, table):
    leases = take_all(new_bucket(max_tokens=3))
    assert sorted(lease.slot for lease in leases) == [0, 1, 2]
    assert new_bucket().try_acquire() is None
    assert leases_in(table) == {lease.slot: lease.id for lease in leases}


def test_fences_of_a_slot_rise_strictly(new_bucket, table):
    fences = []
    for bucket in [new_bucket(max_tokens=1), new_bucket(max_tokens=1)] * 3:
        with bucket.acquire(timeout=5) as lease:
            fences.append(lease.fence)
    assert fences == sorted(set(fences))


def test_a_fence_rises_above_what_stands_in_the_table_even_if_that_is_ahead_of_the_clock(new_bucket, table):
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0, fence=9_000_000_000_000)
    assert new_bucket().acquire(timeout=5).fence == 9_000_000_000_001


def test_a_fence_rises_across_the_deletion_of_its_slot_by_ttl(environment, table):
    first = environment.bucket(max_tokens=1).acquire(timeout=5)
    environment.clock.pass_time(3_600)  # the least retention there is
    table.delete(0)
    assert environment.bucket(max_tokens=1).acquire(timeout=5).fence > first.fence


def test_a_claim_on_a_stale_hint_costs_a_round_trip_and_teaches_what_is_true(new_bucket):
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    other.acquire(timeout=5)
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    assert bucket.tap.count() == {"Claim": 1, "Look": 1}


def test_after_two_misses_a_client_looks(new_bucket, table):
    bucket = new_bucket(max_tokens=5)
    bucket.acquire(timeout=5).release()
    for slot in range(4):
        put_leased(table, slot, f"{slot}-other")
    bucket.acquire(timeout=5).release()
    for slot in range(5):
        put_leased(table, slot, f"{slot}-other")
    for slot in range(5):
        core_of(bucket).state.hints.learn_slot(slot, Slot(number=slot, fence=1))
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    assert bucket.tap.count() == {"Claim": 2, "Look": 1}


def test_an_expired_lease_is_taken_over_and_its_data_is_gone(new_bucket, table):
    new_bucket(max_tokens=1).acquire(timeout=5, data={"job": "dead"})
    table.expire(0)
    lease = new_bucket().acquire(timeout=5)
    assert leases_in(table) == {0: lease.id}
    assert "data" not in table.get(0)


def test_slots_beyond_the_first_transaction_are_minted_on_demand(new_bucket, table):
    bucket = new_bucket(max_tokens=101)
    bucket.acquire(timeout=5).release()
    assert len(in_circulation(table)) == 99
    for slot in range(99):
        put_leased(table, slot, f"{slot}-other")
    slots = {lease.slot for lease in take_all(new_bucket())}
    assert slots == {99, 100}
    assert table.get("counter")["minted"] == 101
    assert_sound(table)


@pytest.mark.parametrize("minted", [1, 2, 3, 7], ids=lambda n: f"minted-{n}")
def test_whatever_is_counted_exactly_max_tokens_leases_can_be_had(new_bucket, table, minted):
    put_counter(table, max_tokens=3, minted=minted)
    put_free(table, 1)
    leases = take_all(new_bucket())
    assert sorted(lease.slot for lease in leases) == [0, 1, 2]
    assert_sound(table)


def test_slots_that_ttl_deleted_are_minted_again(new_bucket, table):
    bucket = new_bucket(max_tokens=3)
    for lease in take_all(bucket):
        lease.release()
        table.delete(lease.slot)
    assert len(take_all(bucket)) == 3
    assert_sound(table)


def test_a_retired_slot_comes_back_when_max_tokens_allows_it(new_bucket, table):
    put_counter(table, max_tokens=2, minted=1)
    put_free(table, 0, 1)
    table.set(1, retired=True)
    bucket = new_bucket()
    assert len(take_all(bucket)) == 2
    assert bucket.tap.count()["BringBack"] == 1
    assert_sound(table)


def test_a_retired_slot_on_which_a_lease_runs_is_not_leased_again(new_bucket, table):
    put_counter(table, max_tokens=1, minted=0)
    put_leased(table, 0, "0-other")
    table.set(0, retired=True)
    assert new_bucket().try_acquire() is None
    assert leases_in(table) == {0: "0-other"}


def test_a_retired_slot_whose_lease_expired_comes_back(new_bucket, table):
    put_counter(table, max_tokens=1, minted=0)
    put_leased(table, 0, "0-other", expires_at=LONG_AGO, retired=True)
    lease = new_bucket().acquire(timeout=5)
    assert leases_in(table) == {0: lease.id}
    assert_sound(table)


def test_strays_beyond_max_tokens_are_retired_before_anything_is_claimed(new_bucket, table):
    put_counter(table, max_tokens=1, minted=3)
    put_free(table, 0, 1)
    put_leased(table, 2, "2-other")
    bucket = new_bucket()
    leases = take_all(bucket)
    assert [lease.slot for lease in leases] == [0]
    assert in_circulation(table) == {0}
    assert table.get(2)["lease_id"] == "2-other"  # it runs on
    assert_sound(table)
    kinds = [type(request).__name__ for request in bucket.tap.sent]
    assert kinds.index("Retire") < kinds.index("Claim")


def test_no_claim_is_sent_for_a_remembered_slot_that_is_now_beyond_the_bound(new_bucket, table):
    bucket = new_bucket(max_tokens=3)
    leases = take_all(bucket)
    for lease in leases:
        lease.release()
    bucket.status()
    table.set("counter", max_tokens=1, rev=table.get("counter")["rev"] + 1)
    for lease in take_all(new_bucket()):
        lease.release()  # the other client has seen to the strays
    assert [lease.slot for lease in take_all(bucket)] == [0]


def test_a_bucket_whose_counter_was_deleted_is_made_anew_around_its_leases(new_bucket, table):
    old = new_bucket(max_tokens=2)
    held = old.acquire(timeout=5)
    table.delete("counter")
    leases = take_all(new_bucket(max_tokens=2))
    assert len(leases) == 1
    assert leases[0].slot != held.slot
    held.renew()
    assert table.get("counter")["minted"] == 2
    assert_sound(table)


def test_left_over_slots_beyond_the_new_bound_are_retired(new_bucket, table):
    put_free(table, 0, 1, 2, 3)
    assert len(take_all(new_bucket(max_tokens=2))) == 2
    assert in_circulation(table) == {0, 1}


def test_a_lost_race_to_create_adopts_what_the_winner_made(new_bucket, table):
    winner, loser = new_bucket(max_tokens=2), new_bucket(max_tokens=9)
    loser.tap.inject(Create, before=lambda _: winner.acquire(timeout=5))
    lease = loser.acquire(timeout=5)
    assert lease.held
    assert table.get("counter")["max_tokens"] == 2
    assert len(leases_in(table)) == 2


def test_a_lost_race_to_mint_goes_on_to_another_slot(new_bucket, table):
    put_counter(table, max_tokens=2, minted=0)
    winner, loser = new_bucket(), new_bucket()
    loser.tap.inject(Mint, before=lambda request: put_leased(table, request.slot, f"{request.slot}-other"))
    assert loser.acquire(timeout=5).held
    assert len(leases_in(table)) == 2
    assert winner.try_acquire() is None


def test_a_lost_race_for_a_slot_goes_on_to_another(new_bucket, table):
    bucket = new_bucket(max_tokens=2)
    bucket.tap.inject(Claim, before=lambda request: put_leased(table, request.slot, f"{request.slot}-other"))
    lease = bucket.acquire(timeout=5)
    assert len(leases_in(table)) == 2
    assert leases_in(table)[lease.slot] == lease.id


def test_a_look_at_a_large_bucket_is_of_constant_size(new_bucket, table):
    put_counter(table, max_tokens=100_000, minted=100_000)
    put_free(table, 5, 50_000, 99_999)
    bucket = new_bucket()
    assert bucket.try_acquire() is not None
    assert all(look.limit <= WINDOW + 1 for look in bucket.tap.of(Look))
    assert sum(bucket.tap.count().values()) <= 4


def test_clients_of_a_large_bucket_do_not_all_look_at_the_same_slots(environment, table):
    put_counter(table, max_tokens=100_000, minted=100_000)
    for slot in (*range(WINDOW + 1), 99_999):  # the last one, so that more follows the first page on every engine
        put_leased(table, slot, expires_at=environment.now_ms + 3_600_000)
    starts = set()
    for _ in range(12):
        bucket = environment.bucket()
        assert bucket.try_acquire().release()
        first, second, *_ = [look for look in bucket.tap.of(Look) if look.limit > 1]
        assert first.start == 0, "the counter comes with it"
        starts.add(second.start)
    assert len(starts) > 6


def test_a_try_looks_through_one_window_of_a_large_bucket_after_the_other(environment, table):
    put_counter(table, max_tokens=3 * WINDOW, minted=3 * WINDOW)
    for slot in range(3 * WINDOW):
        put_leased(table, slot, expires_at=environment.now_ms + 3_600_000)
    bucket = environment.bucket()
    # It knows from an earlier look how many windows there are.
    core_of(bucket).state.hints.learn_counter(Counter(max_tokens=3 * WINDOW, minted=0, rev=1, lease_ms=30_000))
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    starts = [look.start for look in bucket.tap.of(Look) if look.limit > 1]
    assert sorted(starts) == [0, WINDOW, 2 * WINDOW]


def test_a_waiter_for_a_large_bucket_finds_out_that_it_was_resized(environment, table):
    put_counter(table, max_tokens=100_000, minted=100_000)
    bucket = environment.bucket()
    for _ in range(1_000):  # whatever it tries in the windows that it looks at, it gets nowhere
        bucket.tap.inject(Mint, commits=False, answer=THROTTLED)
    core_of(bucket).state.hints.learn_counter(Counter(max_tokens=100_000, minted=100_000, rev=7, lease_ms=30_000))

    def resize():
        if len(environment.pauses) == 10:
            put_counter(table, max_tokens=1, minted=1, rev=8)
            put_free(table, 0)

    environment.meanwhile.append(resize)
    assert bucket.acquire(120).slot == 0


def test_a_page_that_large_data_cut_short_is_gone_on_from(environment, table):
    put_counter(table, max_tokens=3, minted=3)
    for slot in range(2):
        put_leased(table, slot, expires_at=environment.now_ms + 3_600_000)
    put_free(table, 2)
    bucket = environment.bucket()

    page = Fault(Look, commits=False)

    def cut_short(look):
        # As DynamoDB does when a page is full at 1 MB, here with two slots in it.
        view = bucket.tap.store.send(look).answer.view
        slots = {number: slot for number, slot in view.slots.items() if number < 2}
        page.answer = Seen(view=replace(view, slots=slots, covered=range(2)), more=True)

    page.before = cut_short
    bucket.tap.faults.append(page)
    assert bucket.try_acquire().slot == 2
    starts = [look.start for look in bucket.tap.of(Look) if look.limit > 1]
    assert starts == [0, 2]


def test_a_full_bucket_of_just_as_many_slots_as_a_window_takes_one_look(environment, table):
    put_counter(table, max_tokens=WINDOW, minted=WINDOW)
    for slot in range(WINDOW):
        put_leased(table, slot, expires_at=environment.now_ms + 3_600_000)
    bucket = environment.bucket()
    bucket.try_acquire()
    bucket.tap.clear()
    assert bucket.try_acquire() is None
    assert bucket.tap.count() == {"Look": 1}


def test_a_creation_waits_until_a_second_answer_stands_for_the_time(environment, table):
    bucket = environment.bucket(max_tokens=2)
    bucket.tap.odd = [7_200.0]  # of the first look: an expiry written by it would never be lowered
    assert bucket.acquire(10).held
    assert table.get("counter")["rev"] <= environment.now_ms + 3_000
    assert max(slot["fence"] for slot in table.slots().values()) <= environment.now_ms + 3_000


@pytest.mark.parametrize("odd", [-7_200.0, 7_200.0])
def test_a_mint_waits_until_a_second_answer_stands_for_the_time(environment, table, odd):
    put_counter(table, max_tokens=1, minted=0)
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.odd = [odd]  # no condition would compare the fence with that of an item which TTL has deleted
    mints = []
    bucket.tap.inject(Mint, before=mints.append)
    assert bucket.acquire(10).held
    assert environment.now_ms - 10_000 <= mints[0].fence <= environment.now_ms + 3_000


@pytest.mark.parametrize("kind", [Create, Mint, Claim])
def test_nothing_is_made_or_claimed_by_a_time_that_only_one_answer_told(environment, table, kind):
    if kind is not Create:
        put_counter(table, max_tokens=1, minted=0 if kind is Mint else 1)
    if kind is Claim:
        put_free(table, 0)
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.inject(Look)
    for _ in range(3):
        bucket.tap.inject(Look, commits=False, answer=UNSENT)
    confirmed = []
    bucket.tap.inject(kind, before=lambda _: confirmed.append(core_of(bucket).state.time.confirmed))
    assert bucket.acquire(30).held
    assert confirmed == [True]


def test_a_bucket_created_again_with_a_lower_rev_is_noticed_by_clients_of_the_old_one(environment, table):
    bucket = environment.bucket(max_tokens=2)
    bucket.acquire(10).release()
    table.delete_all()
    put_counter(table, max_tokens=4, minted=4, rev=1)
    put_free(table, 0, 1, 2, 3)
    for number in range(4):
        assert bucket.try_acquire() is not None, number
    assert core_of(bucket).state.hints.counter.max_tokens == 4


def test_a_waiter_sees_that_the_bucket_was_created_again_with_a_lower_rev(environment, table):
    put_counter(table, max_tokens=1, minted=1, rev=900)
    put_leased(table, 0, expires_at=environment.now_ms + 3_600_000)
    bucket = environment.bucket(max_tokens=1)
    environment.meanwhile.append(lambda: put_counter(table, max_tokens=2, minted=1, rev=5))
    assert bucket.acquire(30).slot == 1


def test_a_counter_deleted_while_another_window_was_looked_at_comes_back_alone(environment, table):
    put_counter(table, max_tokens=1_000, minted=WINDOW)
    put_free(table, *range(WINDOW, 2 * WINDOW))
    bucket = environment.bucket(max_tokens=1_000)
    core_of(bucket).state.hints.learn_counter(Counter(max_tokens=1_000, minted=WINDOW, rev=7, lease_ms=30_000))

    def next_window(_):
        table.delete("counter")

    bucket.tap.inject(Mint, before=next_window)  # in a window without slots
    for _ in range(20):
        if bucket.acquire(30) and table.get("counter")["minted"] != WINDOW:
            break
    counter = table.get("counter")
    assert counter["minted"] >= len(in_circulation(table))
    assert_sound(table)


def test_what_is_retired_stays_for_as_long_as_the_lease_on_it(environment, table):
    put_counter(table, max_tokens=1, minted=2)
    ten_days_ahead = environment.now_ms + 864_000_000
    put_free(table, 0)
    put_leased(table, 1, expires_at=ten_days_ahead)
    table.unset(1, "ttl")  # as only a hand leaves it: else it keeps its own
    bucket = environment.bucket(max_tokens=1)
    assert bucket.try_acquire() is not None
    assert "retired" in table.get(1)
    assert table.get(1)["ttl"] >= ten_days_ahead / 1000 + 86_400


def test_the_last_slot_of_the_largest_bucket_can_be_leased(new_bucket, table):
    put_counter(table, max_tokens=100_000, minted=100_000)
    bucket = new_bucket()
    core_of(bucket).state.hints.learn_slot(99_999, Slot(number=99_999, fence=10))
    put_free(table, 99_999)
    bucket.status()
    lease = bucket.try_acquire()
    assert lease is not None
    assert lease.release()


@pytest.mark.parametrize("kind", [BringBack, Retire])
def test_what_goes_out_of_circulation_or_comes_back_stays_while_a_lease_may_run_on_it(environment, table, kind):
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0 if kind is BringBack else 1)
    if kind is BringBack:
        table.set(0, retired=True)
    table.unset(0 if kind is BringBack else 1, "ttl")  # as only a hand leaves it: else it keeps its own
    bucket = environment.bucket(max_tokens=1)
    ttls = []
    bucket.tap.inject(kind, after=lambda _: ttls.extend(slot["ttl"] for slot in table.slots().values()))
    assert bucket.try_acquire() is not None
    # Somebody may have claimed or renewed it since we looked.
    assert min(ttls) >= environment.now_ms / 1000 + 30 + 86_400


@pytest.mark.parametrize("kind", [Create, Retire])
def test_what_was_changed_by_another_or_by_us_is_looked_at_consistently(new_bucket, table, kind):
    other = new_bucket(max_tokens=1)
    bucket = new_bucket(max_tokens=1)
    if kind is Retire:
        put_counter(table, max_tokens=1, minted=2)
        put_free(table, 0, 1)
        bucket.tap.inject(Retire)
    else:
        bucket.tap.inject(Create, before=lambda _: other.acquire(timeout=5).release())
    assert bucket.try_acquire() is not None
    assert [look.consistent for look in bucket.tap.of(Look) if look.limit > 1] == [True, True]


def test_a_bucket_that_a_look_shows_to_be_gone_is_made_anew_at_once(environment, table):
    bucket = environment.bucket()
    bucket.acquire(timeout=5).release()
    table.delete_all()
    bucket.tap.clear()
    core_of(bucket).state.hints.forget_free()
    assert bucket.try_acquire() is not None
    assert bucket.tap.count() == {"Look": 1, "Create": 1, "Claim": 1}


def test_a_bucket_that_a_mint_shows_to_be_gone_is_made_anew_at_once(environment, table):
    put_counter(table, max_tokens=3, minted=0)
    bucket = environment.bucket()
    bucket.tap.inject(Mint, before=lambda _: table.delete_all())
    assert bucket.try_acquire() is not None
    assert bucket.tap.count() == {"Look": 2, "Mint": 1, "Create": 1, "Claim": 1}


def test_a_mint_that_is_refused_teaches_the_new_bound(environment, table):
    put_counter(table, max_tokens=3, minted=1)
    put_leased(table, 0, expires_at=environment.now_ms + 20_000)
    bucket = environment.bucket()
    bucket.tap.inject(Mint, before=lambda _: table.set("counter", max_tokens=1, rev=9_999_999_999_999))
    assert bucket.try_acquire() is None
    assert bucket.tap.count()["Mint"] == 1
