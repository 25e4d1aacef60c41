"""Lost answers and interrupts: we recognise our own writes, clean up what we give up, and count nothing twice."""

import pytest

from ddb_lease import AcquireTimeout, StoreUnavailable
from ddb_lease._protocol.messages import BringBack, Claim, Create, Look, Mint, Release, Renew, Retire
from scripts.harness.inside import core_of, held_of
from tests.support import LOST, NO_ANSWERS, UNSENT, leases_in, put_counter, put_free

CONTRACT = True  # the simulator's DynamoDB too

COMMITTED = pytest.mark.parametrize("commits", [True, False], ids=["committed", "not committed"])


def ready_for(kind, table):
    """Put a bucket of one slot into the table, so that an acquire sends a request of this kind."""
    match kind.__name__:
        case "Claim":
            put_counter(table, max_tokens=1, minted=1)
            put_free(table, 0)
        case "Mint":
            put_counter(table, max_tokens=1, minted=0)
        case "BringBack":
            put_counter(table, max_tokens=1, minted=0)
            put_free(table, 0)
            table.set(0, retired=True)
        case "Retire":
            put_counter(table, max_tokens=1, minted=2)
            put_free(table, 0, 1)
        case "Create" | "Look":
            pass


WRITES = pytest.mark.parametrize("kind", [Claim, Mint, BringBack, Create, Retire])
TAKES = pytest.mark.parametrize("kind", [Claim, Mint])

# After fewer than three answers, a slow one leaves the time so uncertain that the grant is given up for that already.
ANSWERS_BEFORE = pytest.mark.parametrize("before", [0, 3], ids=["time hardly known", "time known"])


@WRITES
@COMMITTED
@pytest.mark.parametrize("times", [1, 2])
def test_an_acquire_survives_a_lost_answer_and_counts_once(new_bucket, table, kind, commits, times):
    ready_for(kind, table)
    bucket = new_bucket(max_tokens=1)
    for _ in range(times):
        bucket.tap.inject(kind, commits=commits, answer=LOST)
    lease = bucket.acquire(timeout=10)
    assert leases_in(table) == {0: lease.id}
    assert table.get("counter")["minted"] == 1
    assert len(bucket.tap.of(kind)) == times + 1


@WRITES
def test_a_request_sent_again_is_the_same_to_the_last_bit(new_bucket, table, kind):
    ready_for(kind, table)
    bucket = new_bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=False, answer=LOST)
    bucket.acquire(timeout=10)
    first, second = bucket.tap.of(kind)
    assert first == second


@TAKES
def test_the_lease_found_after_a_lost_answer_is_believed_no_longer_than_its_first_sending_allows(
    environment, table, kind
):
    ready_for(kind, table)
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=True, answer=LOST, after=lambda _: environment.clock.pass_time(10))
    started = environment.clock.steady()
    lease = bucket.acquire(timeout=60)
    believed_until = environment.clock.steady() + lease.remaining
    assert believed_until <= started + 30 - held_of(lease).end.release.grant.margin + 0.001


@TAKES
@pytest.mark.parametrize(
    ("commits", "answer"), [(True, LOST), *((False, answer) for answer in NO_ANSWERS)], ids=lambda v: type(v).__name__
)
def test_an_acquire_that_gives_up_leaves_no_lease(new_bucket, table, kind, commits, answer):
    ready_for(kind, table)
    bucket = new_bucket(max_tokens=1)
    for each in [Claim, Mint] * 50:  # a slot that was minted unseen, and released, is claimed next
        bucket.tap.inject(each, commits=commits, answer=answer)
    with pytest.raises(StoreUnavailable):
        bucket.acquire(timeout=0.5)
    assert leases_in(table) == {}


@TAKES
def test_what_was_surely_not_written_is_not_cleaned_up(new_bucket, table, kind):
    ready_for(kind, table)
    bucket = new_bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=False, answer=UNSENT)
    bucket.acquire(timeout=5)
    assert bucket.tap.of(Release) == []


@TAKES
def test_a_claim_refused_after_a_lost_answer_takes_nothing_from_the_holder(new_bucket, table, kind):
    ready_for(kind, table)
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=False, answer=LOST, after=lambda _: other.acquire(timeout=5))
    assert bucket.try_acquire() is None
    assert list(leases_in(table).values()) == list(core_of(other).leases)


@pytest.mark.parametrize("kind", [Look, Create, Claim, Mint, BringBack, Retire])
@COMMITTED
def test_an_interrupted_acquire_leaves_no_lease(new_bucket, table, kind, commits):
    ready_for(kind, table)
    bucket = new_bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=commits, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(timeout=10)
    assert leases_in(table) == {}
    assert bucket.acquire(timeout=10).held


def test_an_interrupt_while_the_interrupted_claim_is_cleaned_up_still_comes_out(new_bucket, table):
    ready_for(Claim, table)
    bucket = new_bucket(max_tokens=1)
    bucket.tap.inject(Claim, commits=True, raises=KeyboardInterrupt())
    bucket.tap.inject(Release, commits=False, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(timeout=10)


@TAKES
@ANSWERS_BEFORE
@pytest.mark.parametrize("answer", [None, LOST], ids=["answered late", "answer lost"])
def test_an_acquisition_answered_after_its_own_deadline_is_released_and_tried_anew(
    environment, table, kind, answer, before
):
    ready_for(kind, table)
    bucket = environment.bucket(max_tokens=1)
    for _ in range(before):
        bucket.status()
    bucket.tap.inject(kind, commits=True, answer=answer, after=lambda _: environment.clock.pass_time(29))
    lease = bucket.acquire(timeout=120)
    late, *_ = bucket.tap.of(kind)
    assert lease.id != late.lease.lease_id
    assert lease.remaining > 25
    assert [request.lease_id for request in bucket.tap.of(Release)] == [late.lease.lease_id]
    assert leases_in(table) == {0: lease.id}


@TAKES
@ANSWERS_BEFORE
def test_an_acquisition_answered_after_its_own_deadline_is_never_returned(environment, table, kind, before):
    ready_for(kind, table)
    bucket = environment.bucket(max_tokens=1)
    for _ in range(before):
        bucket.status()
    bucket.tap.inject(kind, commits=True, after=lambda _: environment.clock.pass_time(29))
    with pytest.raises(StoreUnavailable, match="no slot of bucket .*: one was won too late to rely on it"):
        bucket.acquire(timeout=1)
    assert leases_in(table) == {}


def test_where_a_slot_was_won_too_late_a_try_goes_on(environment, table):
    bucket = environment.bucket(max_tokens=1, lease_seconds=8)
    bucket.tap.inject(Claim, commits=True, after=lambda _: environment.clock.pass_time(7.9))
    lease = bucket.try_acquire()
    assert lease.held
    assert leases_in(table) == {0: lease.id}
    assert bucket.tap.count()["Claim"] == 2


@COMMITTED
def test_a_renewal_whose_answer_is_lost_costs_no_lease(environment, table, commits):
    bucket = environment.bucket(max_tokens=1)
    lost = []
    lease = bucket.acquire(timeout=5, on_lost=lost.append)
    bucket.tap.inject(Renew, commits=commits, answer=LOST)
    environment.run(60, bucket)
    assert lease.held
    assert lost == []
    assert leases_in(table) == {0: lease.id}


@COMMITTED
def test_a_release_whose_answer_is_lost_is_sent_again_and_says_that_it_ended_the_lease(new_bucket, table, commits):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.inject(Release, commits=commits, answer=LOST)
    assert lease.release()
    assert leases_in(table) == {}
    assert len(bucket.tap.of(Release)) == 2


def test_a_release_committed_unseen_does_not_end_a_later_lease(new_bucket, table):
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    bucket.tap.inject(Release, commits=True, answer=LOST, after=lambda _: other.acquire(timeout=5))
    lease.release()
    assert list(leases_in(table).values()) == list(core_of(other).leases)


@COMMITTED
def test_a_release_that_is_given_up_may_be_called_again(environment, table, commits):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    for _ in range(6):
        bucket.tap.inject(Release, commits=commits, answer=LOST)
    with pytest.raises(StoreUnavailable):
        lease.release()
    assert not lease.held
    assert lease.release() is not commits
    assert leases_in(table) == {}


def test_a_cleaned_up_claim_does_not_free_the_slot_of_a_later_lease(new_bucket, table):
    ready_for(Claim, table)
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    for _ in range(6):
        bucket.tap.inject(Claim, commits=False, answer=LOST)
    bucket.tap.inject(Release, before=lambda _: other.acquire(timeout=5))
    assert bucket.try_acquire() is None
    assert list(leases_in(table).values()) == list(core_of(other).leases)


@TAKES
def test_what_is_sent_again_is_not_sent_after_its_own_deadline(environment, table, kind):
    ready_for(kind, table)
    bucket = environment.bucket(max_tokens=1)
    for _ in range(3):
        bucket.tap.inject(kind, commits=False, answer=LOST, after=lambda _: environment.clock.pass_time(20))
    assert bucket.acquire(timeout=300).held
    first = bucket.tap.of(kind)[0].lease.lease_id
    assert [request.lease.lease_id for request in bucket.tap.of(kind)].count(first) == 2


@TAKES
def test_what_is_sent_again_is_not_sent_after_the_timeout(environment, table, kind):
    ready_for(kind, table)
    bucket = environment.bucket(max_tokens=1)
    for _ in range(6):
        bucket.tap.inject(kind, commits=False, answer=LOST, after=lambda _: environment.clock.pass_time(2))
    with pytest.raises(StoreUnavailable):
        bucket.acquire(timeout=3)
    assert len(bucket.tap.of(kind)) == 2


@TAKES
def test_cleaning_up_keeps_nobody_for_long(environment, table, kind):
    ready_for(kind, table)
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.inject(kind, commits=True, answer=LOST, after=lambda _: environment.clock.pass_time(60))
    for _ in range(4):
        bucket.tap.inject(Release, commits=False, answer=UNSENT, after=lambda _: environment.clock.pass_time(0.6))
    with pytest.raises((AcquireTimeout, StoreUnavailable)):
        bucket.acquire(timeout=30)
    assert len(bucket.tap.of(Release)) == 2


def test_a_claim_that_was_refused_is_not_cleaned_up_by_an_interrupt_later(new_bucket, table):
    ready_for(Claim, table)
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    bucket.tap.inject(Claim, before=lambda _: other.acquire(timeout=5))
    for _ in range(2):  # what is there, and the time
        bucket.tap.inject(Look)
    bucket.tap.inject(Look, commits=False, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(timeout=10)
    assert len(bucket.tap.of(Claim)) == 1
    assert bucket.tap.of(Release) == []
