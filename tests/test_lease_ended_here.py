"""A lease that its own process ends under its holder: by its id, in a reset, by a mark, or with its bucket.

The holder is told first, as of any loss, and has its grace; then the slot is given back. A block that ends its own lease
is the holder, and so is whoever has the lease itself.
"""

import asyncio
import logging
import threading
import time
from dataclasses import replace

import pytest

from ddb_lease import LeaseBucket, LeaseLost, LossReason, StoreError, StoreUnavailable, Timing, events
from ddb_lease._protocol.messages import Close, Release, Renew, RenewEach, Revoke
from ddb_lease._runtime import lease_end
from ddb_lease._runtime.ending import tell_holder
from scripts.harness.inside import core_of, held_of
from tests.support import LOST, REJECTED, Stalling, eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too
PATIENT = Timing(front_end_skew=0.1, grace=9.0)
"""A grace that outlasts a machine that stands still: who waits until it has passed fails its test by far."""


class Told:
    """A lost-callback that notes why, and what the table had at that time; it returns when it may."""

    def __init__(self, table, *, at_once=True):
        self.table = table
        self.reasons = []
        self.seen = []
        self.may_return = threading.Event()
        if at_once:
            self.may_return.set()

    def __call__(self, lease):
        self.seen.append(leases_in(self.table))
        self.reasons.append(lease.lost)
        assert self.may_return.wait(60)


@pytest.fixture
def told(table):
    return Told(table)


@pytest.fixture
def bucket(new_bucket):
    return new_bucket(max_tokens=1, timing=PATIENT)


@pytest.fixture
def not_sent_later(monkeypatch):
    """A release that nobody has asked for, though its holder was told, is sent long after the test only."""
    monkeypatch.setattr(lease_end, "RELEASE_SECONDS", 600.0)


ENDINGS = {
    "by its id": lambda bucket, lease: bucket.release(lease.id),
    "in a reset": lambda bucket, _: bucket.reset(),
}
EACH_ENDING = pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())


@EACH_ENDING
def test_the_holder_is_told_before_the_slot_is_given_back(bucket, table, told, end):
    lease = bucket.acquire(timeout=5, on_lost=told)
    carried = leases_in(table)
    assert end(bucket, lease) == 1
    assert told.reasons == [LossReason.RELEASED]
    assert told.seen == [carried]
    assert leases_in(table) == {}
    assert lease.lost is LossReason.RELEASED
    with pytest.raises(LeaseLost, match="released: .*(by its id|was reset)") as raised:
        lease.check()
    assert raised.value.reason is LossReason.RELEASED
    assert not lease.release()
    assert told.reasons == [LossReason.RELEASED]


@EACH_ENDING
def test_the_slot_is_kept_until_the_callback_has_returned(bucket, table, in_thread, end):
    told = Told(table, at_once=False)
    lease = bucket.acquire(timeout=5, on_lost=told)
    ending = in_thread(lambda: end(bucket, lease))
    eventually(lambda: told.reasons)
    assert leases_in(table) == {0: lease.id}
    assert bucket.try_acquire() is None
    told.may_return.set()
    assert ending.result(60) == 1
    assert leases_in(table) == {}


def test_a_callback_that_does_not_return_has_the_grace_and_no_longer(new_bucket, table, in_thread):
    told = Told(table, at_once=False)
    bucket = new_bucket(max_tokens=1, timing=Timing(front_end_skew=0.1, grace=0.2))
    lease = bucket.acquire(timeout=5, on_lost=told)
    began = time.monotonic()
    assert bucket.release(lease.id)
    assert time.monotonic() - began >= 0.2
    assert told.reasons == [LossReason.RELEASED]
    told.may_return.set()


def test_a_callback_of_a_loss_before_has_the_grace_too(new_bucket, table):
    told = Told(table, at_once=False)
    bucket = new_bucket(max_tokens=1, timing=Timing(front_end_skew=0.1, grace=0.2))
    lease = bucket.acquire(timeout=5, on_lost=told)
    held_of(lease).lose(LossReason.REVOKED)
    began = time.monotonic()
    assert bucket.release(lease.id)
    assert time.monotonic() - began >= 0.2
    eventually(lambda: told.reasons == [LossReason.REVOKED], within=60)
    told.may_return.set()


def test_without_a_callback_nobody_is_waited_for(bucket, table):
    lease = bucket.acquire(timeout=5)
    began = time.monotonic()
    assert bucket.release(lease.id)
    assert time.monotonic() - began < PATIENT.grace
    assert leases_in(table) == {}


def test_of_two_that_release_it_at_once_both_wait_and_one_has_ended_it(bucket, table, in_thread):
    told = Told(table, at_once=False)
    lease = bucket.acquire(timeout=5, on_lost=told)
    ending = [in_thread(lambda: bucket.release(lease.id)) for _ in range(2)]
    eventually(lambda: told.reasons)
    assert bucket.tap.of(Release) == []
    told.may_return.set()
    assert sorted(each.result(60) for each in ending) == [False, True]
    assert told.reasons == [LossReason.RELEASED]


def test_a_callback_that_ends_the_lease_again_does_not_wait_for_itself(bucket, table):
    ended, began = [], time.monotonic()
    lease = bucket.acquire(timeout=5, on_lost=lambda lease: ended.append(bucket.release(lease.id)))
    bucket.release(lease.id)
    eventually(lambda: ended)
    assert time.monotonic() - began < PATIENT.grace
    assert leases_in(table) == {}


@pytest.mark.parametrize("trouble", [LOST, REJECTED], ids=lambda answer: type(answer).__name__)
def test_a_release_that_fails_leaves_it_lost_and_owed(environment, table, trouble):
    bucket, told = environment.bucket(max_tokens=1), Told(table)
    lease = bucket.acquire(timeout=5, on_lost=told)
    bucket.tap.everything_fails = trouble
    with pytest.raises(StoreError):
        bucket.release(lease.id)
    assert told.reasons == [LossReason.RELEASED]
    assert lease.lost is LossReason.RELEASED
    bucket.tap.everything_fails = None
    assert bucket.release(lease.id) or leases_in(table) == {}
    environment.run(60, bucket)
    assert leases_in(table) == {}
    assert told.reasons == [LossReason.RELEASED]


def test_what_was_not_answered_is_sent_again_in_the_background(environment, table):
    bucket, told = environment.bucket(max_tokens=1), Told(table)
    lease = bucket.acquire(timeout=5, on_lost=told)
    bucket.tap.everything_fails = LOST
    with pytest.raises(StoreUnavailable):
        bucket.release(lease.id)
    bucket.tap.everything_fails = None
    environment.run(31, bucket)
    assert leases_in(table) == {}


def test_an_interrupted_release_is_sent_when_the_grace_is_over(new_bucket, table, monkeypatch, not_sent_later):
    bucket, told = new_bucket(max_tokens=1, timing=replace(PATIENT, grace=0.5)), Told(table, at_once=False)
    lease = bucket.acquire(timeout=5, on_lost=told)
    stopping = held_of(lease).end.stopping

    def interrupted(*_, **__):
        raise KeyboardInterrupt if isinstance(bucket, LeaseBucket) else asyncio.CancelledError
        yield

    with monkeypatch.context() as patched:
        patched.setattr(stopping, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bucket.release(lease.id)
    assert lease.lost is LossReason.RELEASED
    eventually(lambda: told.reasons)
    try:
        eventually(lambda: not leases_in(table), within=60)
    finally:
        told.may_return.set()


def test_a_renewal_in_flight_revives_nothing(new_bucket, table, in_thread):
    bucket, told = new_bucket(max_tokens=1, lease_seconds=30, timing=Timing(front_end_skew=0.1, grace=0.0)), Told(table)
    lease = bucket.acquire(timeout=5, on_lost=told)
    stalling = Stalling(bucket, lease)
    renewing = in_thread(lease.renew)
    eventually(lambda: stalling.hung)
    ending = in_thread(lambda: bucket.release(lease.id))
    eventually(lambda: told.reasons)
    with pytest.raises(LeaseLost):
        lease.check()
    stalling.go.set()
    assert ending.result(60)
    with pytest.raises(LeaseLost, match="released"):
        renewing.result(60)
    assert leases_in(table) == {}
    assert told.reasons == [LossReason.RELEASED]


def test_a_lease_that_is_ended_before_its_holder_has_it_is_lost_at_once(bucket, table):
    told, hold = Told(table), core_of(bucket).hold

    def held(*arguments, **how):
        lease = hold(*arguments, **how)
        assert tell_holder(lease, here=None, why="by its id")  # another thread has read its id by `status`
        return lease

    core_of(bucket).hold = held
    lease = bucket.acquire(timeout=5, on_lost=told)
    del core_of(bucket).hold
    eventually(lambda: told.reasons == [LossReason.RELEASED])
    assert bucket.release(lease.id)
    with pytest.raises(LeaseLost, match="released"), lease:
        raise AssertionError("entered")
    assert leases_in(table) == {}


def test_a_lease_that_is_to_be_held_at_least_keeps_its_slot_closed(bucket, table, told):
    lease = bucket.acquire(timeout=5, hold_at_least=3600, on_lost=told)
    assert bucket.release(lease.id)
    assert told.reasons == [LossReason.RELEASED]
    assert leases_in(table) == {0: f"0-closed-{lease.id.partition('-')[2]}"}
    assert bucket.tap.of(Close)
    assert bucket.try_acquire() is None


def test_a_release_by_id_that_failed_and_is_repeated_keeps_it_closed_too(environment, table, told):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5, hold_at_least=3600, on_lost=told)
    bucket.tap.everything_fails = LOST
    with pytest.raises(StoreUnavailable):
        bucket.release(lease.id)
    bucket.tap.everything_fails = None
    assert bucket.release(lease.id)
    assert leases_in(table) == {0: f"0-closed-{lease.id.partition('-')[2]}"}
    assert told.reasons == [LossReason.RELEASED]


def test_a_reset_opens_what_was_to_be_held_at_least(bucket, table, told):
    bucket.acquire(timeout=5, hold_at_least=3600, on_lost=told)
    assert bucket.reset() == 1
    assert told.reasons == [LossReason.RELEASED]
    assert leases_in(table) == {}


def test_a_lease_of_several_slots_is_told_once_and_all_are_given_back(new_bucket, table, told):
    bucket = new_bucket(max_tokens=3, timing=PATIENT)
    lease = bucket.acquire(timeout=5, count=3, on_lost=told)
    assert bucket.release(lease.id)
    assert told.reasons == [LossReason.RELEASED]
    assert told.seen == [dict.fromkeys(range(3), lease.id)]
    assert leases_in(table) == {}


def test_a_reset_tells_all_holders_before_it_waits_for_one(new_bucket, table, in_thread):
    bucket, told = new_bucket(max_tokens=3, timing=PATIENT), [Told(table, at_once=False) for _ in range(3)]
    for each in told:
        bucket.acquire(timeout=5, on_lost=each)
    ending = in_thread(bucket.reset)
    eventually(lambda: all(each.reasons for each in told))
    assert len(leases_in(table)) == 3
    for each in told:
        each.may_return.set()
    assert ending.result(60) == 3


def test_another_object_is_as_another_process(environment, table, told):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5, on_lost=told)
    assert environment.bucket(max_tokens=1).release(lease.id)
    assert told.reasons == []
    environment.run(11, bucket)
    assert told.reasons == [LossReason.TAKEN]


def test_the_lease_itself_is_its_holders_whoever_calls_it(bucket, table, told, in_thread):
    with bucket.acquire(timeout=5, on_lost=told) as lease:
        assert in_thread(lease.release).result(60)
        with pytest.raises(LeaseLost, match="released"):
            lease.check()
    assert lease.lost is None
    assert told.reasons == []


def test_a_mark_by_its_own_process_is_noticed_at_once(bucket, table, told):
    lease = bucket.acquire(timeout=5, on_lost=told)
    assert bucket.revoke(lease.id)
    assert lease.lost is LossReason.REVOKED
    eventually(lambda: not leases_in(table))
    assert told.reasons == [LossReason.REVOKED]
    assert told.seen == [{0: lease.id}]
    assert bucket.tap.of(Renew) == bucket.tap.of(RenewEach) == []
    assert len(bucket.tap.of(Revoke)) == 1
    assert not bucket.revoke(lease.id)


def test_the_log_and_the_events_tell_of_it(bucket, table, new_bucket, caplog):
    seen = []
    bucket = new_bucket(max_tokens=1, timing=PATIENT, on_event=seen.append)
    lease = bucket.acquire(timeout=5)
    with caplog.at_level(logging.INFO, logger="ddb_lease"):
        bucket.release(lease.id)
    eventually(lambda: [event for event in seen if isinstance(event, events.Lost)])
    (lost,) = (event for event in seen if isinstance(event, events.Lost))
    assert (lost.reason, lost.cause) == (LossReason.RELEASED, "somebody released it by its id")
    assert [event for event in seen if isinstance(event, events.Released)] == []
    (record,) = (record for record in caplog.records if "is lost" in record.getMessage())
    assert record.levelno == logging.INFO, "nobody works under it"


def test_closing_waits_for_nobody_for_ever(new_bucket, table, in_thread):
    told, entered, leave = Told(table, at_once=False), threading.Event(), threading.Event()
    bucket = new_bucket(max_tokens=2, timing=Timing(front_end_skew=0.1, grace=600.0), lease_seconds=2400)

    def work():
        with bucket.acquire(timeout=5, on_lost=told):
            entered.set()
            assert leave.wait(60)

    working = in_thread(work)
    assert entered.wait(60)
    other = bucket.acquire(timeout=5)
    began = time.monotonic()
    bucket.close()
    assert time.monotonic() - began < 60
    eventually(lambda: not leases_in(table))
    assert other.lost is None
    told.may_return.set()
    leave.set()
    working.result(60)


def test_a_reset_that_fails_for_one_gives_the_others_back_all_the_same(environment, table, not_sent_later):
    bucket = environment.bucket(max_tokens=3)
    leases = [bucket.acquire(timeout=5) for _ in range(3)]
    read = core_of(bucket).status

    def status():
        found = yield from read()
        bucket.tap.everything_fails = LOST
        return found

    core_of(bucket).status = status
    with pytest.raises(StoreUnavailable):
        bucket.reset()
    assert {lease.lost for lease in leases} == {LossReason.RELEASED}
    bucket.tap.everything_fails = None
    environment.run(31, bucket)
    assert leases_in(table) == {}


def test_a_callback_that_closes_its_bucket_is_not_waited_for(new_bucket, table):
    bucket, took = new_bucket(max_tokens=3, timing=PATIENT), []

    def close(_):
        began = time.monotonic()
        bucket.close()
        took.append(time.monotonic() - began)

    others = [bucket.acquire(timeout=5) for _ in range(2)]
    with bucket.acquire(timeout=5, on_lost=close) as lease:
        held_of(lease).lose(LossReason.REVOKED)
        eventually(lambda: took, within=60)
    assert took[0] < PATIENT.grace - 1.0
    assert leases_in(table) == {}
    assert {other.held for other in others} == {False}
