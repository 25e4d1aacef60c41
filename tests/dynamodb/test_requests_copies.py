"""Late and repeated copies of requests: the network may deliver any of them again, at any time."""

import pytest

from ddb_lease._protocol.messages import BringBack, Claim, Create, Mint, Refused, Release, Renew, Retire
from tests.support import leases_in, put_counter, put_free

CONTRACT = True  # the simulator's DynamoDB too


def only(bucket, kind):
    (request,) = bucket.tap.of(kind)
    return request


def taken_by(bucket):
    """A lease of a one-slot bucket, and a copy of the write that took it."""
    lease = bucket.acquire(timeout=5)
    request = [*bucket.tap.of(Claim), *bucket.tap.of(Mint)][-1]
    return lease, request


def start(table, how):
    """A bucket of one slot whose next lease is claimed, or minted."""
    put_counter(table, max_tokens=1, minted=1 if how == "Claim" else 0)
    if how == "Claim":
        put_free(table, 0)


TAKES = pytest.mark.parametrize("how", ["Claim", "Mint"])


@TAKES
def test_a_copy_of_what_took_a_lease_changes_nothing_while_the_lease_runs(new_bucket, table, how):
    start(table, how)
    bucket = new_bucket()
    lease, request = taken_by(bucket)
    lease.renew()
    before = table.all()
    bucket.tap.resend(request)
    assert table.all() == before


@TAKES
def test_a_copy_of_what_took_a_lease_revives_nothing_after_its_release(new_bucket, table, how):
    start(table, how)
    bucket = new_bucket()
    lease, request = taken_by(bucket)
    lease.release()
    before = table.all()
    bucket.tap.resend(request)
    assert table.all() == before


@TAKES
def test_a_copy_of_what_took_a_lease_takes_nothing_from_its_successor(new_bucket, table, how):
    start(table, how)
    bucket, other = new_bucket(), new_bucket()
    lease, request = taken_by(bucket)
    lease.release()
    successor = other.acquire(timeout=5)
    before = table.all()
    bucket.tap.resend(request)
    assert table.all() == before
    assert leases_in(table) == {0: successor.id}
    assert successor.fence > lease.fence


@TAKES
def test_a_copy_of_what_took_a_lease_takes_nothing_even_once_its_successor_has_expired(new_bucket, table, how):
    start(table, how)
    bucket, other = new_bucket(), new_bucket()
    lease, request = taken_by(bucket)
    lease.release()
    other.acquire(timeout=5)
    table.expire(0)
    before = table.all()
    bucket.tap.resend(request)
    assert table.all() == before


@TAKES
def test_a_copy_that_arrives_after_a_retirement_brings_nothing_back(new_bucket, table, how):
    start(table, how)
    bucket = new_bucket()
    lease, request = taken_by(bucket)
    lease.release()
    table.set(0, retired=True)
    before = table.all()
    bucket.tap.resend(request)
    assert table.all() == before


def test_a_late_renewal_never_shortens_a_lease(environment, table):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    lease.renew()
    early = only(bucket, Renew)
    environment.clock.pass_time(5)
    lease.renew()
    before = table.get(0)
    assert isinstance(bucket.tap.resend(early), Refused)
    assert table.get(0) == before
    assert lease.held


def test_a_late_renewal_revives_no_released_lease_and_touches_no_successor(new_bucket, table):
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    lease.renew()
    renewal = only(bucket, Renew)
    lease.release()
    before = table.all()
    bucket.tap.resend(renewal)
    assert table.all() == before
    other.acquire(timeout=5)
    before = table.all()
    bucket.tap.resend(renewal)
    assert table.all() == before


def test_a_repeated_release_does_not_end_a_later_lease(new_bucket, table):
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    successor = other.acquire(timeout=5)
    before = table.all()
    bucket.tap.resend(only(bucket, Release))
    assert table.all() == before
    assert leases_in(table) == {0: successor.id}


def test_a_copy_of_a_creation_resets_nothing(new_bucket, table):
    bucket = new_bucket(max_tokens=2)
    bucket.acquire(timeout=5)
    table.set("counter", max_tokens=1, rev=table.get("counter")["rev"] + 1)
    before = table.all()
    bucket.tap.resend(only(bucket, Create))
    assert table.all() == before


def test_a_copy_of_a_creation_makes_nothing_over_slots_that_were_left(new_bucket, table):
    bucket = new_bucket(max_tokens=2)
    lease = bucket.acquire(timeout=5)
    table.delete("counter")
    before = table.all()
    bucket.tap.resend(only(bucket, Create))
    assert table.all() == before
    assert leases_in(table) == {lease.slot: lease.id}


def test_a_copy_of_a_bringing_back_counts_nothing_twice(new_bucket, table):
    put_counter(table, max_tokens=2, minted=0)
    put_free(table, 0, 1)
    table.set(0, retired=True)
    table.set(1, retired=True)
    bucket = new_bucket()
    bucket.acquire(timeout=5)
    before = table.all()
    bucket.tap.resend(only(bucket, BringBack))
    assert table.all() == before


def test_a_copy_of_a_retirement_takes_nothing_out_after_the_bound_was_raised_again(new_bucket, table):
    put_counter(table, max_tokens=1, minted=2)
    put_free(table, 0, 1)
    bucket = new_bucket()
    bucket.acquire(timeout=5)
    retirement = only(bucket, Retire)
    table.set("counter", max_tokens=2, rev=table.get("counter")["rev"] + 1)
    new_bucket().acquire(timeout=5)
    before = table.all()
    bucket.tap.resend(retirement)
    assert table.all() == before


def test_no_copy_of_anything_changes_what_a_whole_history_has_come_to(new_bucket, table):
    bucket, other = new_bucket(max_tokens=2), new_bucket(max_tokens=2)
    for client in (bucket, other, bucket):
        with client.acquire(timeout=5) as lease:
            lease.renew()
    kept = other.acquire(timeout=5)
    before = table.all()
    for client in (bucket, other):
        for request in list(client.tap.sent):
            if not (isinstance(request, Claim) and request.lease.lease_id == kept.id):
                client.tap.resend(request)
    assert table.all() == before
