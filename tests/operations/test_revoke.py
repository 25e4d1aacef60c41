"""Revoking: the holder is asked, and nobody else gets the slot before it has released it."""

import pytest

from ddb_lease import ConfigurationError, LossReason, StoreRejected, StoreUnavailable
from ddb_lease._protocol.messages import Refused, Revoke
from tests.support import CONFLICT, LOST, REJECTED, THROTTLED, UNSENT, leases_in, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too


def test_the_lease_meant_is_marked_and_nothing_else_is_changed(store, table):
    put_leased(table, 0, "0-mine")
    before = table.get(0)
    store.send(Revoke(slot=0, lease_id="0-mine", by="an operator"))
    assert table.get(0) == before | {"revoked": "an operator"}


@pytest.mark.parametrize("there", [None, "free", "0-other"])
def test_another_lease_is_not_marked_nor_is_a_slot_made(store, table, there):
    if there == "free":
        put_free(table, 0)
    elif there:
        put_leased(table, 0, there)
    before = table.all()
    assert isinstance(store.send(Revoke(slot=0, lease_id="0-mine", by="x")).answer, Refused)
    assert table.all() == before


@pytest.mark.parametrize("count", [1, 3])
def test_a_holder_is_told_within_a_third_of_its_lease_and_gives_its_slots_back(environment, table, count):
    bucket, operator, told = environment.bucket(max_tokens=3), environment.bucket(max_tokens=3), []
    lease = bucket.acquire(5, count=count, on_lost=lambda lease: told.append(lease.lost))
    assert operator.revoke(lease.id)
    assert lease.held, "not before it has found out"
    assert set(leases_in(table)) == set(lease.slots)
    environment.run(10.5, bucket)
    assert told == [LossReason.REVOKED]
    assert leases_in(table) == {}


def test_nobody_else_has_the_slot_before_the_holder_let_go(environment, table):
    bucket, other = environment.bucket(max_tokens=1), environment.bucket(max_tokens=1)
    lease = bucket.acquire(5)  # without a callback: it gives the slot back when it releases
    assert other.revoke(lease.id)
    environment.run(12.0, bucket)
    assert lease.lost is LossReason.REVOKED
    assert other.try_acquire() is None
    lease.release()
    assert other.try_acquire() is not None


def test_a_lease_that_is_not_held_is_not_revoked(new_bucket, table):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(5)
    lease.release()
    assert not bucket.revoke(lease.id)
    assert "revoked" not in table.get(0)
    with pytest.raises(ConfigurationError, match="not a lease id"):
        bucket.revoke("nonsense")


def test_revoking_costs_one_update(new_bucket):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(5)
    bucket.tap.clear()
    assert bucket.revoke(lease.id)
    assert bucket.tap.count() == {"Revoke": 1}


@pytest.mark.parametrize("answer", [LOST, CONFLICT, THROTTLED, UNSENT])
def test_a_revocation_survives_what_passes(environment, table, answer):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5)
    bucket.tap.inject(Revoke, answer=answer, commits=answer is LOST)
    assert bucket.revoke(lease.id)
    assert table.get(0)["revoked"]


@pytest.mark.parametrize(("answer", "error"), [(UNSENT, StoreUnavailable), (REJECTED, StoreRejected)])
def test_a_revocation_that_fails_says_so_in_bounded_time(environment, answer, error):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5)
    bucket.tap.everything_fails = answer
    began = environment.clock.steady()
    with pytest.raises(error):
        bucket.revoke(lease.id)
    assert environment.clock.steady() - began <= 6.0
    assert lease.held


def test_a_new_lease_of_the_slot_is_not_revoked(new_bucket, table):
    bucket = new_bucket(max_tokens=1)
    lease = bucket.acquire(5)
    bucket.revoke(lease.id)
    lease.release()
    again = bucket.acquire(5)
    again.renew()
    assert again.held
    assert "revoked" not in table.get(0)


def test_a_holder_is_told_though_its_item_is_spoilt(environment, table):
    bucket, told = environment.bucket(max_tokens=1), []
    lease = bucket.acquire(5, on_lost=lambda lease: told.append(lease.lost))
    table.set(0, acquired_at="yesterday", data="none")
    assert environment.bucket(max_tokens=1).revoke(lease.id)
    environment.run(10.5, bucket)
    assert told == [LossReason.REVOKED]
    assert "lease_id" not in table.get(0)
