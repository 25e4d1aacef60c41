"""Blocks of threads whose leases are ended by another thread, or by themselves."""

import logging
import threading
import time

import pytest

from ddb_lease import LeaseLost, LossReason
from ddb_lease._runtime.ending import tell_holder
from tests.support import eventually, leases_in
from tests.test_lease_ended_here import PATIENT, Told

CONTRACT = True  # the simulator's DynamoDB too


@pytest.fixture
def told(table):
    return Told(table)


@pytest.fixture
def bucket(new_bucket):
    return new_bucket(max_tokens=1, timing=PATIENT)


@pytest.fixture
def in_block(bucket, told, in_thread):
    """A thread that is in a block of a lease until it may leave; its lease."""
    entered, may_leave, at = threading.Event(), threading.Event(), []

    def work():
        with bucket.acquire(timeout=5, on_lost=told) as lease:
            at.append(lease)
            entered.set()
            assert may_leave.wait(60)

    working = in_thread(work)
    assert entered.wait(60)
    yield at[0]
    may_leave.set()
    working.result(60)


def test_a_block_that_ends_its_own_lease_by_its_id_is_its_holder(bucket, table, told):
    with bucket.acquire(timeout=5, on_lost=told) as lease:
        assert bucket.release(lease.id)
        assert leases_in(table) == {}
    assert lease.lost is None
    assert told.reasons == []


def test_a_block_of_a_thread_is_told_and_not_waited_for_as_nothing_ends_it(bucket, table, told, in_block):
    began = time.monotonic()
    assert bucket.release(in_block.id)
    assert time.monotonic() - began < PATIENT.grace
    assert told.reasons == [LossReason.RELEASED]
    assert leases_in(table) == {}


def test_a_bucket_that_is_closed_tells_the_blocks_of_other_threads_first(bucket, table, told, in_block, caplog):
    with caplog.at_level(logging.WARNING, logger="ddb_lease"):
        bucket.close()
    assert told.reasons == [LossReason.RELEASED]
    assert told.seen == [{0: in_block.id}]
    assert leases_in(table) == {}
    assert "released: its bucket was closed" in caplog.text
    with pytest.raises(LeaseLost, match="closed"):
        in_block.check()


def test_a_bucket_that_is_closed_takes_nothing_from_whoever_closes_it(bucket, table, told):
    lease = bucket.acquire(timeout=5, on_lost=told)
    bucket.close()
    assert lease.lost is None
    assert told.reasons == []
    assert leases_in(table) == {}


def test_a_block_that_closes_its_own_bucket_loses_nothing(bucket, table, told):
    with bucket.acquire(timeout=5, on_lost=told) as lease:
        bucket.close()
    assert lease.lost is None
    assert told.reasons == []


def test_an_interrupted_close_frees_no_slot_before_its_holder_has_stopped(new_bucket, table, in_thread, monkeypatch):
    told, entered, may_leave = Told(table, at_once=False), threading.Event(), threading.Event()
    bucket = new_bucket(max_tokens=1, timing=PATIENT)

    def work():
        with bucket.acquire(timeout=5, on_lost=told):
            entered.set()
            assert may_leave.wait(60)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    working = in_thread(work)
    assert entered.wait(60)
    with monkeypatch.context() as patched:
        patched.setattr("ddb_lease.bucket.give_back", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bucket.close()
    eventually(lambda: told.reasons)
    # A worker that releases it at once needs some milliseconds; so this fails where it matters, and never by chance.
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        time.sleep(0.05)
        assert leases_in(table)
    told.may_return.set()
    eventually(lambda: not leases_in(table), within=60)
    may_leave.set()
    working.result(60)


@pytest.mark.parametrize("where", ["release_told", "tell_holder"])
def test_one_that_nobody_waits_for_after_an_interrupt_is_given_back(environment, table, monkeypatch, where):
    bucket, told = environment.bucket(max_tokens=1), Told(table)
    lease = bucket.acquire(timeout=5, on_lost=told)

    def interrupted(*arguments, **how):
        if where == "tell_holder":
            tell_holder(*arguments, **how)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"ddb_lease.bucket.{where}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bucket.release(lease.id)
    assert lease.lost is LossReason.RELEASED
    environment.run(lease.grace + 11, bucket)
    assert told.reasons == [LossReason.RELEASED]
    assert leases_in(table) == {}
