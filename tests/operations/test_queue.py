"""Waiting in order: what one waiter of an ordered bucket sends, and when it is served."""

import itertools

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, StoreRejected
from ddb_lease._protocol.messages import Claim, Take
from ddb_lease._protocol.queueing import NEAR_SECONDS, PATIENCE_SECONDS, SIGN_SECONDS, STILL_SECONDS
from ddb_lease._protocol.tickets import DropTicket, LookAtQueue, PutTicket, QueueSeen, RefreshTicket, Ticket
from ddb_lease.dynamodb.tickets import ticket_key
from scripts.harness.inside import core_of
from tests.support import LONG_AGO, LOST, REJECTED, UNSENT, eventually, leases_in, put_counter, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too
NOT_ON = ("ministack", "dynoxide")  # the requests are tested there; what is tested here is the waiter

FAR = 4_000_000_000_000
LOOK = 0.6
"""Seconds: more than between two looks of the first of the queue, less than its patience."""


def put_ticket(table, environment, ago, *, priority=0, count=1, lasts=60.0, name=0):
    """A ticket of another process, which came so many seconds ago."""
    now = environment.now_ms
    ticket = Ticket(
        priority=priority,
        arrival=now - round(1000 * ago),
        name=f"{name:016x}",
        owner="other",
        count=count,
        expires_at=now + round(1000 * lasts),
    )
    key = ticket_key(ticket)
    table.set(key, owner="other", count=count, expires_at=ticket.expires_at, ttl=FAR // 1000)
    return key


def tickets_in(table):
    return [key for key in table.all() if key.startswith("wait#")]


@pytest.fixture
def bucket(environment, table):
    """A client that has looked at an ordered bucket of two slots, both leased, and knows the time."""
    put_counter(table, max_tokens=2, minted=2, order="fifo")
    put_leased(table, 0, expires_at=FAR)
    put_leased(table, 1, "1-other", expires_at=FAR)
    bucket = environment.bucket()
    for _ in range(2):
        assert bucket.try_acquire() is None
    bucket.tap.clear()
    environment.pauses.clear()
    return bucket


def in_pause(environment, number, act):
    """Do something in a waiter's pause of this number, 0 being the first."""
    environment.meanwhile.append(lambda: act() if len(environment.pauses) == number + 1 else None)


def when(environment, seconds, act):
    """Do something once, in the first pause that ends so many seconds after now."""
    at, done = environment.now_ms + 1000 * seconds, []
    environment.meanwhile.append(lambda: done or environment.now_ms < at or done.append(act()))


def free(table, *slots):
    for slot in slots:
        table.unset(slot, "lease_id", "owner", "acquired_at", "expires_at")


def waits_for_both(environment, table, *, for_seconds, every=SIGN_SECONDS):
    """A ticket for both slots, whose waiter lives for so long: it refreshes it."""
    key = put_ticket(table, environment, ago=9, count=2)
    for number in range(1, round(for_seconds / every)):
        when(environment, number * every, lambda: table.set(key, expires_at=environment.now_ms + 60_000))
    return key


# The costs of one wait


def test_a_free_slot_that_nobody_waits_for_costs_two_looks_and_the_claim(bucket, table):
    put_free(table, 0)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    bucket.acquire(5)
    assert bucket.tap.count() == {"Claim": 1, "Look": 1, "LookAtQueue": 1}
    assert tickets_in(table) == []


def test_a_waiter_joins_the_queue_is_served_and_leaves_it_with_two_writes(environment, bucket, table):
    seen = []

    def release():
        seen.extend(tickets_in(table))
        table.unset(1, "lease_id", "owner", "acquired_at", "expires_at")

    in_pause(environment, 10, release)
    lease = bucket.acquire(60)
    assert lease.slots == (1,)
    assert len(seen) == 1
    assert tickets_in(table) == []
    writes = {kind: n for kind, n in bucket.tap.count().items() if not kind.startswith("Look")}
    assert writes == {"Claim": 1, "DropTicket": 1, "PutTicket": 1}
    assert lease.waited == pytest.approx(sum(environment.pauses))
    assert environment.pauses[-1] <= 0.25, "the first of the queue looks four times a second"


def test_a_ticket_says_who_waits_since_when_and_for_how_much(environment, bucket, table):
    came = environment.now_ms
    bucket.try_acquire()
    in_pause(environment, 0, lambda: seen.update(table.all()))
    seen = {}
    with pytest.raises(AcquireTimeout):
        bucket.acquire(1, count=2, priority=7)
    ((key, item),) = [(key, item) for key, item in seen.items() if key.startswith("wait#")]
    assert key.startswith("wait#2#")
    assert abs(int(key.split("#")[2]) - came) <= 1000, "the service's time is known to a second"
    assert (item["count"], item["owner"]) == (2, bucket.owner)
    assert item["expires_at"] - came == pytest.approx(60_000, abs=1500)


def test_who_gives_up_leaves_no_ticket(bucket, table):
    with pytest.raises(AcquireTimeout):
        bucket.acquire(3)
    assert tickets_in(table) == []
    assert bucket.tap.count()["PutTicket"] == bucket.tap.count()["DropTicket"] == 1


def test_who_does_not_wait_writes_nothing(bucket, table):
    assert bucket.try_acquire() is None
    with pytest.raises(AcquireTimeout):
        bucket.acquire(0)
    assert set(bucket.tap.count()) == {"Look", "LookAtQueue"}


def test_a_ticket_is_refreshed_every_twenty_seconds(environment, bucket, table):
    with pytest.raises(AcquireTimeout):
        bucket.acquire(65)
    refreshed = [request.ticket.expires_at for request in bucket.tap.of(RefreshTicket)]
    assert len(refreshed) == 3
    assert [later - earlier for earlier, later in itertools.pairwise(refreshed)] == pytest.approx(
        [20_000] * 2, abs=1000
    )


# Order


def test_a_slot_is_left_to_those_who_came_before(environment, bucket, table):
    put_ticket(table, environment, ago=9)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    assert bucket.try_acquire() is None
    with pytest.raises(AcquireTimeout):
        bucket.acquire(LOOK)
    assert bucket.tap.of(Claim) == []
    table.unset(1, "lease_id", "owner", "acquired_at", "expires_at")
    assert bucket.acquire(LOOK).slots == (1,), "the first slot is the first waiter's"


def test_a_higher_priority_comes_before_all_lower_ones(environment, bucket, table):
    put_ticket(table, environment, ago=9, priority=4)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    with pytest.raises(AcquireTimeout):
        bucket.acquire(LOOK, priority=4)
    assert bucket.acquire(LOOK, priority=5).slots == (0,)


@pytest.mark.parametrize("priority", [-1, 10, True, "5", 1.0])
def test_what_is_no_priority_is_refused(bucket, priority):
    with pytest.raises(ConfigurationError, match="priority must be a whole number from 0 to 9"):
        bucket.acquire(1, priority=priority)
    assert bucket.tap.sent == []


def test_a_waiter_for_several_slots_is_not_overtaken(environment, bucket, table):
    waits_for_both(environment, table, for_seconds=20)
    free(table, 0)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(15)
    assert bucket.tap.of(Claim) == []


def test_who_wants_more_than_is_free_shows_that_it_lives_while_it_holds_others_up(environment, bucket, table):
    in_pause(environment, 20, lambda: free(table, 0))
    in_pause(environment, 100, lambda: free(table, 1))
    assert bucket.acquire(60, count=2).slots == (0, 1)
    signs = sum(environment.pauses[21:101]) / SIGN_SECONDS
    assert signs * 0.8 <= bucket.tap.count()["RefreshTicket"] <= signs


def test_several_slots_are_taken_together_when_it_is_their_turn(environment, bucket, table):
    in_pause(environment, 2, lambda: table.unset(0, "lease_id", "owner", "acquired_at", "expires_at"))
    in_pause(environment, 30, lambda: table.unset(1, "lease_id", "owner", "acquired_at", "expires_at"))
    assert bucket.acquire(60, count=2).slots == (0, 1)
    assert len(bucket.tap.of(Take)) == 1


def test_more_slots_than_there_are_is_told_at_once(bucket):
    with pytest.raises(ConfigurationError, match="3 slots cannot be had together"):
        bucket.acquire(60, count=3)


def test_a_newcomer_comes_after_the_last_one_whose_clock_is_ahead(environment, bucket, table):
    ahead = put_ticket(table, environment, ago=-7)
    in_pause(environment, 0, lambda: seen.extend(tickets_in(table)))
    seen = []
    with pytest.raises(AcquireTimeout):
        bucket.acquire(LOOK)
    assert seen[0] == ahead
    assert len(seen) == 2


def test_tickets_are_numbered_so_that_a_place_far_back_is_known(environment, bucket, table):
    for number in range(40):
        put_ticket(table, environment, ago=100 - number / 100, name=(number + 1) << 40)
    in_pause(environment, 0, lambda: seen.extend(tickets_in(table)))
    seen = []
    with pytest.raises(AcquireTimeout):
        bucket.acquire(LOOK)
    assert seen[-1].split("#")[3].startswith(f"{41:06x}")


def test_the_end_of_a_long_queue_is_looked_for_once(environment, bucket, table):
    for number in range(40):
        put_ticket(table, environment, ago=100 - number, name=number)
    last = put_ticket(table, environment, ago=-3, name=99)
    in_pause(environment, 0, lambda: seen.extend(tickets_in(table)))
    seen = []
    with pytest.raises(AcquireTimeout):
        bucket.acquire(LOOK)
    assert seen.index(last) == 40
    assert len(seen) == 42
    assert [request.last_of for request in bucket.tap.of(LookAtQueue) if request.limit == 1] == [0]
    assert bucket.tap.count().get("Look", 0) == 0, "who is not among those seen looks at no slots"


# The dead


def test_an_expired_ticket_is_skipped_and_removed(environment, bucket, table):
    put_ticket(table, environment, ago=9, lasts=-5.0)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    assert bucket.acquire(LOOK).slots == (0,)
    assert tickets_in(table) == []


def test_nobody_is_taken_for_dead_by_one_answers_time(environment, table):
    put_counter(table, max_tokens=2, minted=2, order="fifo")
    put_free(table, 0, 1)
    key = put_ticket(table, environment, ago=9)
    newcomer = environment.bucket()
    newcomer.tap.odd = [7_200.0, None]  # two hours ahead: by that, the ticket has long expired
    assert newcomer.try_acquire(count=2) is None
    assert key in tickets_in(table)


def test_one_who_does_not_take_its_slot_is_passed_over_and_removed(environment, bucket, table):
    put_ticket(table, environment, ago=9)
    freed = []
    when(environment, NEAR_SECONDS + 1, lambda: (free(table, 0), freed.append(environment.now_ms)))
    lease = bucket.acquire(60)
    waited = (environment.now_ms - freed[0]) / 1000
    assert PATIENCE_SECONDS - 0.01 <= waited <= PATIENCE_SECONDS + 1.0, "two polls and a second, and a look"
    assert lease.slots == (0,)
    assert tickets_in(table) == []


def test_one_who_may_have_come_to_the_head_in_its_sleep_is_left_the_time_to_wake_up(environment, bucket, table):
    keys = [put_ticket(table, environment, ago=30 - number, name=number) for number in range(10)]
    freed = []

    def serve_nine():  # many slots came free at once, as it seems to the tenth
        for key in keys[:-1]:
            table.delete(key)
        free(table, 0)
        freed.append(environment.now_ms)

    when(environment, 20, serve_nine)
    bucket.acquire(60)
    waited = (environment.now_ms - freed[0]) / 1000
    assert 7.0 <= waited <= 14.0, "who stood tenth looked every eight seconds, at least"


def test_who_sees_slots_come_free_for_others_looks_again_soon(environment, table):
    put_counter(table, max_tokens=12, minted=12, order="fifo")
    for slot in range(12):
        put_leased(table, slot, f"{slot}-other", expires_at=FAR)
    bucket = environment.bucket()
    keys = [put_ticket(table, environment, ago=90 - 9 * number, name=number) for number in range(9)]
    at = []

    def serve_one():
        table.delete(keys[0])
        free(table, 3)
        at.append(len(environment.pauses))

    when(environment, 20, serve_one)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(30)
    before, after = environment.pauses[: at[0]], environment.pauses[at[0] :]
    assert 4.0 <= max(before) <= NEAR_SECONDS
    assert sum(pause <= 1.0 for pause in after) >= 2


def test_each_of_several_dead_in_a_row_has_its_time_and_no_more(environment, bucket, table):
    for number in range(4):
        put_ticket(table, environment, ago=30 - number, name=number)
    freed = []
    when(environment, NEAR_SECONDS + 5, lambda: (free(table, 0), freed.append(environment.now_ms)))
    bucket.acquire(60)
    waited = (environment.now_ms - freed[0]) / 1000
    glance = 4 * PATIENCE_SECONDS
    assert 4 * PATIENCE_SECONDS <= waited <= 4 * PATIENCE_SECONDS + glance + 1.0


def test_slots_that_are_free_already_are_seen_free_from_the_first_look_on(environment, bucket, table):
    for number in range(4):
        put_ticket(table, environment, ago=30 - number, name=number)
    free(table, 0)
    came = environment.now_ms
    bucket.acquire(60)
    assert (environment.now_ms - came) / 1000 <= 4 * PATIENCE_SECONDS + NEAR_SECONDS


def test_a_dead_waiter_for_more_than_is_free_is_passed_over_when_it_does_not_stir(environment, bucket, table):
    waits_for_both(environment, table, for_seconds=12)
    when(environment, 3, lambda: free(table, 0))
    began = environment.now_ms
    assert bucket.acquire(60).slots == (0,)
    last_sign = 10.0
    waited = (environment.now_ms - began) / 1000 - last_sign
    assert STILL_SECONDS - 0.8 <= waited <= STILL_SECONDS + 1.6
    assert tickets_in(table) == []


def test_where_all_that_is_seen_are_dead_whoever_looks_removes_some(environment, bucket, table):
    for number in range(40):
        put_ticket(table, environment, ago=100, name=number, lasts=-5.0)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(LOOK)
    assert len(bucket.tap.of(DropTicket)) >= 4
    assert len(tickets_in(table)) <= 36


def test_slots_are_had_at_once_however_many_expired_tickets_lie_before(environment, bucket, table):
    for number in range(1000):  # TTL has not deleted them yet, or is off
        put_ticket(table, environment, ago=2000 - number, name=number, lasts=-5.0)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    assert bucket.try_acquire() is not None
    assert environment.pauses == []
    assert bucket.tap.count()["LookAtQueue"] == 3


def test_tickets_for_more_slots_than_there_are_any_more_hide_nobody(environment, bucket, table):
    for number in range(40):  # from before a shrink, and dead
        put_ticket(table, environment, ago=2000 - number, name=number, count=3)
    free(table, 0)
    assert bucket.try_acquire() is not None


def test_tries_of_one_process_learn_together_who_is_dead(environment, bucket, table):
    key = put_ticket(table, environment, ago=9)
    free(table, 0)
    before = environment.now_ms
    while (lease := bucket.try_acquire()) is None:
        environment.clock.pass_time(1.0)
    assert PATIENCE_SECONDS <= (environment.now_ms - before) / 1000 <= NEAR_SECONDS + PATIENCE_SECONDS + 2
    assert lease.slots == (0,)
    assert key not in tickets_in(table)


def test_a_try_takes_no_slot_from_one_who_lives(environment, bucket, table):
    key = put_ticket(table, environment, ago=9, count=2)
    free(table, 0)
    for _ in range(30):
        assert bucket.try_acquire() is None
        environment.clock.pass_time(SIGN_SECONDS)
        table.set(key, expires_at=environment.now_ms + 60_000)


def test_items_with_tickets_keys_that_are_none_block_nobody(bucket, table):
    for number in range(33):
        table.set(f"wait#0#of another version {number:03d}", owner="x")
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    assert bucket.try_acquire() is not None


def test_who_waits_behind_expired_tickets_is_not_overtaken(environment, bucket, table):
    put_ticket(table, environment, ago=9, name=99)
    for number in range(40):
        put_ticket(table, environment, ago=100 - number, name=number, lasts=-5.0)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    assert bucket.try_acquire() is None
    assert bucket.tap.of(Claim) == []


def test_slots_left_by_more_dead_than_one_look_shows_are_had_before_these_expire(environment, bucket, table):
    for number in range(33):  # a crowd that was killed after it had waited for long
        put_ticket(table, environment, ago=1000 - number, name=number, lasts=720.0)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    bucket.acquire(33 * PATIENCE_SECONDS + 30)
    assert sum(environment.pauses) >= 32 * PATIENCE_SECONDS, "each of them has had its time"
    assert tickets_in(table) == []


def test_who_is_far_takes_no_slot_that_it_sees_free(environment, bucket, table):
    for number in range(40):
        put_ticket(table, environment, ago=1000 - number, name=number, lasts=720.0)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    with pytest.raises(AcquireTimeout):
        bucket.acquire(31 * PATIENCE_SECONDS)
    assert bucket.tap.count()["Look"] == 1
    assert bucket.tap.of(Claim) == []
    assert len(tickets_in(table)) == 40


def test_who_is_far_from_the_head_of_a_queue_that_moves_looks_seldom(environment, bucket, table):
    keys = [put_ticket(table, environment, ago=9000 - number, name=number, lasts=9000.0) for number in range(60)]
    environment.meanwhile.append(lambda: table.delete(keys[len(environment.pauses) - 1]))
    with pytest.raises(AcquireTimeout):
        bucket.acquire(900)
    assert len(environment.pauses) < 12
    assert bucket.tap.count().get("Look", 0) == 0


def test_a_waiter_whose_ticket_was_removed_keeps_its_place(environment, bucket, table):
    own = []

    def remove():
        own.extend(tickets_in(table))
        table.delete(own[0])

    in_pause(environment, 2, remove)
    environment.meanwhile.append(lambda: again.update(tickets_in(table)) if sum(environment.pauses) > 5 else None)
    again = set()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(10)
    assert again == set(own)
    assert tickets_in(table) == []


def test_an_expired_lease_is_taken_by_the_first_of_the_queue(environment, bucket, table):
    table.set(1, expires_at=LONG_AGO)
    put_ticket(table, environment, ago=9)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(LOOK)
    assert leases_in(table)[1] == "1-other"
    assert bucket.acquire(LOOK, priority=1).slots == (1,)


# Failures


@pytest.mark.parametrize("answer", [LOST, UNSENT])
@pytest.mark.parametrize("kind", [PutTicket, RefreshTicket, DropTicket, LookAtQueue])
def test_a_failure_leaves_no_ticket_and_no_second_one(environment, bucket, table, kind, answer):
    bucket.tap.inject(kind, answer=answer, commits=answer is LOST)
    most = []
    environment.meanwhile.append(lambda: most.append(len(tickets_in(table))))
    in_pause(environment, 130, lambda: table.unset(1, "lease_id", "owner", "acquired_at", "expires_at"))
    assert bucket.acquire(100).slots == (1,)
    assert max(most) == 1
    assert tickets_in(table) == []


def test_a_ticket_that_cannot_be_deleted_for_good_is_an_error_and_nothing_is_held(environment, bucket, table):
    bucket.tap.inject(DropTicket, answer=REJECTED, commits=False)
    in_pause(environment, 3, lambda: table.unset(1, "lease_id", "owner", "acquired_at", "expires_at"))
    with pytest.raises(StoreRejected):
        bucket.acquire(60)
    eventually(lambda: 1 not in leases_in(table))


def test_a_lease_that_was_won_does_not_wait_for_each_dead_ticket_that_cannot_be_deleted(environment, bucket, table):
    for number in range(8):
        put_ticket(table, environment, ago=100 - number, name=number)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    for _ in range(40):
        bucket.tap.inject(DropTicket, answer=LOST, commits=False)
    bucket.acquire(60)
    assert bucket.tap.count()["DropTicket"] == 6, "three for the first of them, three for its own"


def test_a_put_that_finds_its_ticket_there_is_followed_by_a_refreshment(environment, bucket, table):
    def look_lags():  # after two seconds in which a ticket may be missing
        bucket.tap.inject(LookAtQueue, answer=QueueSeen(tickets=(), more=False), commits=False)

    when(environment, 5, look_lags)
    with pytest.raises(AcquireTimeout):
        bucket.acquire(8)
    sent = [type(request) for request in bucket.tap.sent]
    assert sent.count(PutTicket) == 2
    last = len(sent) - 1 - sent[::-1].index(PutTicket)
    assert sent[last + 1] is RefreshTicket


@pytest.mark.parametrize("at", [PutTicket, LookAtQueue])
def test_an_interrupted_waiter_leaves_no_ticket(environment, bucket, table, at):
    def interrupt():
        bucket.tap.inject(LookAtQueue, raises=KeyboardInterrupt())

    if at is PutTicket:
        bucket.tap.inject(PutTicket, raises=KeyboardInterrupt())
    else:
        in_pause(environment, 3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(60)
    eventually(lambda: tickets_in(table) == [])  # in asyncio, a worker sees to it


def test_a_closed_bucket_leaves_no_ticket(environment, bucket, table):
    in_pause(environment, 3, core_of(bucket).begin_closing)
    with pytest.raises(ConfigurationError, match="is closed"):
        bucket.acquire(60)
    eventually(lambda: tickets_in(table) == [])


# Others


def test_a_bucket_that_becomes_unordered_serves_its_waiters(environment, bucket, table):
    put_ticket(table, environment, ago=9)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    in_pause(environment, 1, lambda: environment.bucket().configure(order="any"))
    assert bucket.acquire(LOOK * 2).slots == (0,)


def test_in_a_bucket_that_has_become_unordered_nobody_keeps_a_ticket(environment, bucket, table):
    in_pause(environment, 3, lambda: environment.bucket().configure(order="any"))
    when(environment, 5, lambda: seen.append(tickets_in(table)))
    seen = []
    with pytest.raises(AcquireTimeout):
        bucket.acquire(10)
    assert seen == [[]], "those behind it would not learn the new order"


def test_the_order_is_learned_with_the_first_look(environment, bucket, table):
    put_ticket(table, environment, ago=9)
    table.unset(0, "lease_id", "owner", "acquired_at", "expires_at")
    newcomer = environment.bucket()
    assert newcomer.try_acquire() is None
    assert newcomer.tap.of(Claim) == []
