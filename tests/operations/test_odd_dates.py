"""Wrong Dates while leases are wanted: two of five, in any order, take nothing and stop nobody.

They are all orders, many times over: so the simulator's DynamoDB alone runs them.
"""

import itertools

import pytest

from ddb_lease import AcquireTimeout, StoreRejected, Timing
from ddb_lease._protocol.messages import Claim, Look
from tests.support import REJECTED, leases_in, put_counter, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB
NOT_ON = ("embedded", "ministack")
WALL_MAY_BE_WRONG = Timing(max_clock_skew=1e6)
"""With this, the wall clock objects to no Date."""


@pytest.mark.parametrize("odd", [-5_000.0, -7.0, 7.0, 5_000.0])
def test_two_odd_answers_to_begin_with_that_agree_are_not_claimed_by_if_the_wall_clock_objects(environment, table, odd):
    put_counter(table)
    put_free(table, 0, 1, 2)
    bucket = environment.bucket()
    bucket.tap.odd = [odd, odd]
    claims = []
    bucket.tap.inject(Claim, before=claims.append)
    assert bucket.acquire(10).held
    assert "Release" not in bucket.tap.count(), "nothing was claimed by their time"
    assert 0 <= claims[0].lease.expires_at - (environment.now_ms + 30_000) <= 3_000


def test_who_may_not_ask_for_the_time_after_a_look_without_a_date_is_told_at_once(environment, table):
    put_counter(table)
    put_free(table, 0)
    bucket = environment.bucket()
    bucket.tap.odd = [None]
    bucket.tap.inject(Look, after=lambda _: bucket.tap.inject(Look, answer=REJECTED, commits=False))
    with pytest.raises(StoreRejected, match="permission is missing"):
        bucket.try_acquire()
    assert bucket.tap.count() == {"Look": 2}


def test_a_claim_by_two_answers_takes_a_free_slot_only(environment, table):
    # What it knows of the slot is old: another has leased it meanwhile. Two odd answers say that his lease is over.
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0)
    bucket = environment.bucket(timing=WALL_MAY_BE_WRONG)
    bucket.tap.odd = [7_200.0, 7_200.0]
    bucket.tap.inject(Claim, before=lambda _: put_leased(table, 0, "0-other", expires_at=environment.now_ms + 60_000))
    assert bucket.try_acquire() is None
    assert leases_in(table) == {0: "0-other"}


def orders(odd):
    """All orders of five Dates of which two at most are wrong, and agree with each other."""
    return [order for order in itertools.product([0.0, odd], repeat=5) if order.count(odd) <= 2]


@pytest.mark.parametrize("timing", [Timing(), WALL_MAY_BE_WRONG], ids=["", "any-wall-clock"])
@pytest.mark.parametrize("odd", [-3_600.0, -7.0, 7.0, 3_600.0])
def test_no_order_of_two_odd_dates_among_five_claims_what_another_holds(environment, table, odd, timing):
    put_counter(table, max_tokens=1, minted=1)
    for order in orders(odd):
        put_leased(table, 0, "0-other", expires_at=environment.now_ms + 3_000)
        bucket = environment.bucket(timing=timing)
        bucket.tap.odd = list(order)
        assert bucket.try_acquire() is None, order
        with pytest.raises(AcquireTimeout):
            bucket.acquire(1.0)
        assert leases_in(table) == {0: "0-other"}, order
        bucket.tap.odd = []
        with bucket.acquire(20):
            assert environment.now_ms > table.get(0)["acquired_at"] - 3_000


@pytest.mark.parametrize("timing", [Timing(), WALL_MAY_BE_WRONG], ids=["", "any-wall-clock"])
@pytest.mark.parametrize("odd", [-3_600.0, -7.0, 7.0, 3_600.0])
def test_in_any_order_of_two_odd_dates_among_five_a_lease_is_had_whose_expiry_fits(environment, table, odd, timing):
    put_counter(table, max_tokens=1, minted=1)
    for order in orders(odd):
        put_free(table, 0)
        bucket = environment.bucket(timing=timing)
        bucket.tap.odd = list(order)
        lease = bucket.acquire(10)
        ends_ms = environment.now_ms + lease.remaining * 1000
        assert ends_ms <= table.get(0)["expires_at"] <= environment.now_ms + 33_000, order
        lease.release()
