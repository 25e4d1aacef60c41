"""Several slots at once: all or nothing, one lease, and a waiter for many holds none of them meanwhile."""

import random
from dataclasses import replace

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, LossReason, StoreUnavailable
from ddb_lease._protocol.decisions import WINDOW
from ddb_lease._protocol.messages import (
    BringBack,
    Claim,
    Create,
    Look,
    Mint,
    Refused,
    Release,
    Renew,
    Reply,
    Seen,
    Take,
)
from ddb_lease._protocol.records import MAX_TOKENS, Claimant, Counter, Slot, View
from ddb_lease._runtime.ports import Wakeup
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.testing import MovableClock
from ddb_lease.testing.manual_heartbeat import ManualHeartbeats
from scripts.harness.inside import core_of
from tests.support import (
    CONFLICT,
    LONG_AGO,
    LOST,
    THROTTLED,
    TTL,
    UNSENT,
    Fault,
    claimant,
    eventually,
    leases_in,
    new_token,
    put_counter,
    put_free,
    put_leased,
)

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too


def take(*claims, mints=(), lease_id="0.1-mine", fence=100, seen_max=3, re_mint=False, expired_before=2 * 10**12):
    return Take(
        claims=claims,
        mints=tuple(mints),
        fence=fence,
        lease=claimant(lease_id),
        expired_before=expired_before,
        ttl=TTL + 1,
        seen_max=seen_max,
        re_mint=re_mint,
        token=new_token(),
    )


def circulating(table):
    return {n for n, slot in table.slots().items() if "retired" not in slot}


# The request.


def test_all_are_leased_in_one_request_with_one_fence_and_one_expiry(store, table):
    put_counter(table)
    put_free(table, 0, 1, 2)
    store.send(take(0, 2, lease_id="0.2-mine"))
    slots = table.slots()
    assert leases_in(table) == {0: "0.2-mine", 2: "0.2-mine"}
    assert slots[0] == slots[2]
    assert slots[0]["fence"] == 100
    assert table.get("counter")["rev"] == 7, "what circulates already counts for nothing more"


@pytest.mark.parametrize(
    "spoilt", [{"lease_id": "1-other", "expires_at": 3 * 10**12}, {"retired": True}, {"fence": 100}]
)
def test_where_one_cannot_be_had_none_is(store, table, spoilt):
    put_counter(table)
    put_free(table, 0, 1, 2)
    table.set(1, **spoilt)
    before = table.all()
    refused = store.send(take(0, 1)).answer
    assert isinstance(refused, Refused)
    assert list(refused.found) == [1]
    assert table.all() == before


def test_where_one_does_not_exist_none_is_claimed_and_it_is_told_which(store, table):
    put_counter(table)
    put_free(table, 0)
    refused = store.send(take(0, 1)).answer
    assert refused.found == {1: None}
    assert leases_in(table) == {}


def test_those_that_do_not_exist_are_minted_and_counted(store, table):
    put_counter(table, minted=1)
    put_free(table, 0)
    store.send(take(0, mints=(1, 2), lease_id="0.1.2-mine"))
    assert set(leases_in(table)) == {0, 1, 2}
    counter = table.get("counter")
    assert (counter["minted"], counter["rev"]) == (3, 8)


def test_none_is_minted_over_a_slot_that_exists(store, table):
    put_counter(table, minted=1)
    put_free(table, 0)
    assert store.send(take(mints=(0, 1))).answer.found[0].number == 0
    assert leases_in(table) == {}


@pytest.mark.parametrize(
    ("counter", "re_mint"),
    [
        ({"minted": 2}, False),  # one may be minted, not two
        ({"max_tokens": 2, "minted": 0}, False),  # shrunk since: 2 lies beyond it
        ({"minted": 1}, True),  # two may be minted: no drift hides it
        ({"max_tokens": 2, "minted": 3}, True),
        ({"max_tokens": 4, "minted": 3}, True),  # grown since: it must be seen
    ],
)
def test_none_is_minted_where_the_counter_does_not_allow_all(store, table, counter, re_mint):
    put_counter(table, **counter)
    put_free(table, 0)
    refused = store.send(take(0, mints=(1, 2), re_mint=re_mint)).answer
    assert refused.counter.minted == table.get("counter")["minted"]
    assert refused.counter_failed
    assert not refused.slot_failed
    assert leases_in(table) == {}


def test_drift_is_mended_by_those_that_are_missing(store, table):
    put_counter(table, minted=3)
    put_free(table, 0)
    store.send(take(mints=(1, 2), re_mint=True))
    assert table.get("counter")["minted"] == 3
    assert set(leases_in(table)) == {1, 2}


def test_a_second_sending_finds_all_of_them_ours(store, table):
    put_counter(table, minted=1)
    put_free(table, 0)
    request = take(0, mints=(1,))
    store.send(request)
    again = store.send(replace(request, token=new_token())).answer
    assert {n: slot.lease.lease_id for n, slot in again.found.items()} == {0: "0.1-mine", 1: "0.1-mine"}


def test_no_more_than_dynamodb_takes_are_asked_for_in_one_request():
    _, arguments = call_for(take(*range(98), mints=(98,), seen_max=99), BucketAddress(table="t", bucket="b"))
    assert len(arguments["TransactItems"]) == 100


# Acquiring.


def test_so_many_slots_are_one_lease(new_bucket, table):
    bucket = new_bucket(max_tokens=5)
    lease = bucket.acquire(5, count=3)
    assert len(lease.slots) == 3
    assert lease.slot == min(lease.slots)
    assert lease.held
    assert leases_in(table) == dict.fromkeys(lease.slots, lease.id)
    assert {slot["fence"] for n, slot in table.slots().items() if n in lease.slots} == {lease.fence}


def test_an_uncontended_acquire_of_several_is_one_request(new_bucket):
    bucket = new_bucket(max_tokens=5)
    bucket.acquire(5, count=3).release()
    bucket.tap.clear()
    bucket.acquire(5, count=3)
    assert bucket.tap.count() == {"Take": 1}


def test_too_few_free_slots_are_none(new_bucket, table):
    bucket = new_bucket(max_tokens=5)
    held = bucket.acquire(5, count=3)
    before = leases_in(table)
    bucket.tap.clear()
    assert bucket.try_acquire(count=3) is None
    assert not bucket.tap.of(Take)
    assert leases_in(table) == before
    held.release()
    assert bucket.try_acquire(count=5).held


def test_two_waiters_for_many_never_hold_some_each(new_bucket, in_thread, table):
    buckets = [new_bucket(max_tokens=4) for _ in range(3)]

    def work(bucket):
        for _ in range(3):
            with bucket.acquire(timeout=60, count=3) as lease:
                assert len(lease.slots) == 3

    for done in [in_thread(work, bucket) for bucket in buckets]:
        done.result(60)
    assert leases_in(table) == {}


def test_missing_slots_are_minted_with_those_that_are_there(new_bucket, table):
    put_counter(table, max_tokens=4, minted=2)
    put_free(table, 0, 1)
    lease = new_bucket().acquire(5, count=4)
    assert lease.slots == (0, 1, 2, 3)
    assert table.get("counter")["minted"] == 4


def test_drift_does_not_keep_several_from_being_had(new_bucket, table):
    put_counter(table, max_tokens=4, minted=4)
    put_free(table, 3)
    bucket = new_bucket()
    assert bucket.acquire(5, count=4).slots == (0, 1, 2, 3)
    assert table.get("counter")["minted"] == 4
    assert len(bucket.tap.of(Take)) == 1


def test_part_of_the_drift_does_not_either(new_bucket, table):
    put_counter(table, max_tokens=4, minted=3)
    put_free(table, 3)
    assert new_bucket().acquire(5, count=3).held
    counter = table.get("counter")
    assert len(circulating(table)) <= counter["minted"] <= counter["max_tokens"]


def test_retired_slots_are_brought_back_for_it(new_bucket, table):
    put_counter(table, max_tokens=3, minted=1)
    put_free(table, 0, 1, 2)
    table.set(1, retired=True)
    table.set(2, retired=True)
    bucket = new_bucket()
    assert bucket.acquire(5, count=3).slots == (0, 1, 2)
    assert len(bucket.tap.of(BringBack)) == 2
    assert table.get("counter")["minted"] == 3


def test_a_new_bucket_is_made_for_it(new_bucket, table):
    bucket = new_bucket(max_tokens=120)
    assert len(bucket.acquire(10, count=99).slots) == 99
    assert len(bucket.tap.of(Create)) == 1
    assert len(new_bucket(max_tokens=120).acquire(10, count=21).slots) == 21
    assert table.get("counter")["minted"] == 120


def test_free_slots_are_gathered_from_all_windows_of_a_large_bucket(environment, table):
    put_counter(table, max_tokens=3 * WINDOW, minted=3 * WINDOW)
    free = (5, WINDOW + 5, 2 * WINDOW + 5)
    for slot in range(3 * WINDOW):
        if slot not in free:
            put_leased(table, slot, expires_at=environment.now_ms + 3_600_000)
    put_free(table, *free)
    bucket = environment.bucket()
    lucky = bucket.try_acquire(count=3)  # now it knows of how many windows there are
    if lucky:
        lucky.release()
    core_of(bucket).state.hints.forget_free()
    assert bucket.try_acquire(count=3).slots == free


def test_a_race_for_one_of_them_goes_on_with_others(new_bucket, table):
    bucket = new_bucket(max_tokens=4)
    bucket.acquire(5).release()
    bucket.tap.inject(
        Take, before=lambda request: put_leased(table, request.slots[0], "0-other", expires_at=9 * 10**12)
    )
    lease = bucket.acquire(5, count=3)
    assert len(lease.slots) == 3
    assert len(leases_in(table)) == 4


def test_a_waiter_for_many_tries_when_enough_leases_have_expired(environment, table):
    put_counter(table, max_tokens=3, minted=3)
    for slot, seconds in enumerate((5, 20, 60)):
        put_leased(table, slot, expires_at=environment.now_ms + 1000 * seconds)
    began = environment.clock.steady()
    bucket = environment.bucket()
    assert bucket.acquire(100, count=2).slots == (0, 1)
    assert len(bucket.tap.of(Look)) < 60, "about one a second, not one after the other once the first lease is over"
    assert 20.0 <= environment.clock.steady() - began <= 23.0


def test_several_slots_that_do_not_come_free_time_out(environment):
    bucket = environment.bucket(max_tokens=2)
    bucket.acquire(5)
    with pytest.raises(AcquireTimeout, match="no 2 slots"):
        bucket.acquire(3, count=2)


@pytest.mark.parametrize("count", [0, -1, 100, 1.5, True, "2", None])
def test_a_count_must_be_a_whole_number_that_one_transaction_takes(new_bucket, table, count):
    bucket = new_bucket(max_tokens=5)
    for acquire in (lambda: bucket.acquire(5, count=count), lambda: bucket.try_acquire(count=count)):
        with pytest.raises(ConfigurationError, match="count"):
            acquire()
    assert bucket.tap.sent == []


def test_more_than_a_bucket_has_are_refused_before_anything_is_written(new_bucket, table):
    bucket = new_bucket(max_tokens=3)
    with pytest.raises(ConfigurationError, match="max_tokens=3"):
        bucket.acquire(count=4)  # for ever
    assert table.all() == {}
    bucket.acquire(5)
    bucket.tap.clear()
    with pytest.raises(ConfigurationError, match="max_tokens=3"):
        bucket.try_acquire(count=4)
    assert bucket.tap.count() == {"Look": 1}, "it might have grown"


def test_what_is_stored_rules_how_many_can_be_had(new_bucket):
    new_bucket(max_tokens=5).acquire(5).release()
    assert new_bucket(max_tokens=2).acquire(5, count=5).held


def test_a_decorated_function_gets_them_too(new_bucket):
    bucket = new_bucket(max_tokens=3)

    @bucket.leased(timeout=5, count=2)
    def slots(lease):
        return lease.slots

    assert len(slots()) == 2


def test_data_that_would_not_fit_on_all_of_them_is_refused(new_bucket):
    bucket = new_bucket(max_tokens=99)
    with pytest.raises(ConfigurationError, match="too large"):
        bucket.acquire(5, count=99, data={"x": "y" * 60_000})
    assert bucket.tap.sent == []


# Trouble.


@pytest.mark.parametrize("answer", [LOST, CONFLICT, THROTTLED, UNSENT])
@pytest.mark.parametrize("commits", [True, False])
def test_taking_several_survives_what_passes(environment, table, answer, commits):
    bucket = environment.bucket(max_tokens=3)
    bucket.acquire(5).release()
    bucket.tap.inject(Take, answer=answer, commits=commits and answer is LOST)
    lease = bucket.acquire(30, count=2)
    assert lease.held
    assert leases_in(table) == dict.fromkeys(lease.slots, lease.id)


def test_several_whose_answer_is_lost_are_ours_only_where_all_of_them_are(environment, table):
    bucket = environment.bucket(max_tokens=3)
    bucket.acquire(5).release()

    def rob(request):
        table.unset(request.slots[0], "lease_id", "owner", "acquired_at", "expires_at")
        put_leased(table, request.slots[0], "0-other", expires_at=9 * 10**12)

    again = Fault(Take, commits=False)

    def forgotten(request):
        # The token is known for ten minutes; after that, the conditions decide.
        again.answer = bucket.tap.store.send(replace(request, token=new_token())).answer

    again.before = forgotten
    bucket.tap.inject(Take, answer=LOST, after=rob)
    bucket.tap.faults.append(again)
    lease = bucket.acquire(30, count=2)
    assert lease.held
    mine = [slot for slot, lease_id in leases_in(table).items() if lease_id == lease.id]
    assert sorted(mine) == list(lease.slots)
    assert len(leases_in(table)) == 3, "what was left of the first attempt has been given back"


def test_what_was_taken_in_vain_is_given_back_on_all_slots(environment, table):
    bucket = environment.bucket(max_tokens=2)
    bucket.acquire(5).release()
    for _ in range(6):
        bucket.tap.inject(Take, answer=LOST)
    with pytest.raises(StoreUnavailable):
        bucket.acquire(0.1, count=2)
    assert leases_in(table) == {}


# Holding and losing.


def test_all_are_renewed_together(environment, table):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    environment.run(100.0, bucket)
    assert lease.held
    assert len({slot["expires_at"] for slot in table.slots().values()}) == 1
    assert table.get(2)["expires_at"] > environment.now_ms


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda table, slot: table.delete(slot), LossReason.GONE),
        (lambda table, slot: table.set(slot, lease_id="0-other"), LossReason.TAKEN),
        (lambda table, slot: table.set(slot, revoked="by an operator"), LossReason.REVOKED),
    ],
    ids=["gone", "taken", "revoked"],
)
def test_losing_one_loses_the_lease_and_the_others_are_given_back(environment, table, which, spoil, reason):
    bucket, told = environment.bucket(max_tokens=3), []
    lease = bucket.acquire(5, count=3, on_lost=lambda lease: told.append((lease.lost, set(leases_in(table)))))
    spoil(table, which)
    environment.run(12.0, bucket)
    assert [why for why, _ in told] == [reason]
    assert told[0][1] >= {0, 1, 2} - {which}, "the others only once the callback has returned"
    assert lease.id not in leases_in(table).values()


def test_without_a_callback_the_others_are_given_back_by_the_holder(environment, table):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    table.delete(1)
    environment.run(12.0, bucket)
    assert lease.lost is LossReason.GONE
    assert set(leases_in(table)) == {0, 2}
    assert lease.release()
    assert leases_in(table) == {}


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_renewal_that_fails_on_one_extends_nothing(environment, table, failing):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    environment.clock.pass_time(5.0)
    before = lease.remaining
    for slot in range(3):
        bucket.tap.inject(Renew, **({"commits": False, "answer": UNSENT} if slot == failing else {}))
    with pytest.raises(StoreUnavailable):
        lease.renew()
    assert lease.remaining == pytest.approx(before)
    assert lease.held
    lease.renew()
    assert lease.remaining > before


def test_one_failing_release_leaves_no_other_held(environment, table):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    for _ in range(6):
        bucket.tap.inject(Release, commits=False, answer=CONFLICT)
    with pytest.raises(StoreUnavailable):
        lease.release()
    assert len(leases_in(table)) == 1
    assert lease.release()
    assert leases_in(table) == {}


def test_an_outage_does_not_keep_the_holder_for_each_slot_anew(environment):
    bucket = environment.bucket(max_tokens=30)
    lease = bucket.acquire(5, count=30)
    bucket.tap.everything_fails = UNSENT
    began = environment.clock.steady()
    bucket.tap.clear()
    with pytest.raises(StoreUnavailable):
        lease.release()
    assert environment.clock.steady() - began <= 10.0
    assert len({request.slot for request in bucket.tap.of(Release)}) < 12, "each may take a whole timeout"


def test_they_are_released_by_their_id_from_anywhere(new_bucket, table):
    lease = new_bucket(max_tokens=3).acquire(5, count=3)
    stranger = new_bucket(max_tokens=3)
    assert stranger.release(lease.id)
    assert leases_in(table) == {}
    assert not stranger.release(lease.id)


def test_releasing_many_wakes_as_many_waiters(new_bucket, in_thread):
    bucket = new_bucket(max_tokens=3)
    lease = bucket.acquire(5, count=3)
    waiting = [in_thread(lambda: bucket.acquire(60)) for _ in range(3)]
    eventually(lambda: core_of(bucket).state.hints.waiting == 3)
    lease.release()
    assert {waiter.result(10).slot for waiter in waiting} == {0, 1, 2}


def test_an_expired_lease_on_several_slots_is_claimed_slot_by_slot(new_bucket, table):
    put_counter(table, max_tokens=2, minted=2)
    for slot in (0, 1):
        put_leased(table, slot, "0.1-dead", expires_at=LONG_AGO)
    bucket = new_bucket()
    assert bucket.acquire(5).held
    assert bucket.acquire(5).held
    assert "0.1-dead" not in leases_in(table).values()


def test_a_lease_on_several_says_so(new_bucket):
    lease = new_bucket(max_tokens=2).acquire(5, count=2)
    assert "slots=0,1" in repr(lease)
    lease.release()
    with pytest.raises(Exception, match="slots 0,1"):
        lease.check()


def test_a_single_slot_is_still_claimed_by_a_single_write(new_bucket):
    bucket = new_bucket(max_tokens=2)
    bucket.acquire(5, count=1)
    assert not bucket.tap.of(Take)
    assert bucket.tap.of(Claim) or bucket.tap.of(Mint)
    assert bucket.tap.of(Look)


@pytest.mark.parametrize(("mints", "seen_max"), [((3,), 3), ((0, 9), 4)])
def test_what_lies_beyond_the_bound_that_was_seen_cannot_even_be_asked_for(mints, seen_max):
    with pytest.raises(ValueError, match="not all below"):
        take(mints=mints, seen_max=seen_max)


# In one process with other waiters.


def test_a_waiter_for_one_is_served_while_a_thread_before_it_waits_for_two(new_bucket, in_thread):
    held = new_bucket(max_tokens=2).acquire(timeout=5)
    bucket = new_bucket(max_tokens=2)
    big = in_thread(lambda: bucket.acquire(timeout=20, count=2))
    eventually(lambda: core_of(bucket).state.hints.waiting and bucket.tap.sent)
    small = bucket.acquire(timeout=10)
    assert not big.done()
    small.release()
    held.release()
    assert big.result(20).slots == (0, 1)


def test_a_bucket_that_has_grown_gives_more_than_were_known_of(new_bucket):
    bucket = new_bucket(max_tokens=2)
    bucket.acquire(timeout=5).release()
    new_bucket().resize(5)
    assert len(bucket.try_acquire(count=4).slots) == 4
    bucket = new_bucket(max_tokens=2)
    with pytest.raises(ConfigurationError, match="max_tokens=5"):
        bucket.try_acquire(count=6)


class AlwaysRenewed:
    """A large bucket whose leases are all renewed in time, for ever; counts what is asked of it."""

    def __init__(self, clock, slots):
        self.clock, self.slots, self.asked = clock, slots, []

    def _slot(self, number):
        expires_at = round(self.clock.wall() * 1000) + 40_000 + number % 20_000
        lease = Claimant(lease_id=f"{number}-x", owner="", acquired_at=0, expires_at=expires_at)
        return Slot(number=number, fence=1, lease=lease)

    def send(self, request):
        self.clock.pass_time(0.005)
        self.asked.append(type(request).__name__)
        assert isinstance(request, Look), "a full bucket costs no writes"
        end = min(self.slots, request.start + request.limit)
        more = end < self.slots
        counter = Counter(max_tokens=self.slots, minted=self.slots, rev=1, lease_ms=60_000)
        view = View(
            counter=None if request.start else counter,
            slots={n: self._slot(n) for n in range(request.start, end)},
            covered=range(request.start, end if more else MAX_TOKENS),
            counter_looked_for=request.start == 0,
        )
        return Reply(answer=Seen(view=view, more=more), genuine=True, date=float(int(self.clock.wall())))

    def fit(self, lease_seconds):
        pass

    def close(self):
        pass


class PassingBell(Wakeup):
    """Pauses take no time but the clock's."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def pause(self, seconds):
        self.clock.pass_time(seconds)

    sleep = pause


def test_waiting_for_several_slots_of_a_large_full_bucket_costs_no_writes(new_bucket):
    clock = MovableClock()
    service = AlwaysRenewed(clock, 20_000)
    bucket = new_bucket(
        max_tokens=20_000,
        lease_seconds=60,
        runtime=Runtime(
            clock=clock,
            chance=random.Random(1),
            heartbeats=ManualHeartbeats(clock),
            wrap=lambda _: service,
            wakeup=lambda: PassingBell(clock),
        ),
    )
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=200, count=2)
    assert 100 < len(service.asked) < 1_000
