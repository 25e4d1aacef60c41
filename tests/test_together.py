"""Leases of several buckets together: all or none, one deadline, and nothing left by what ends it before."""

import functools
import sys
import threading

import boto3
import pytest

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    LeaseBucket,
    LeaseLost,
    LossReason,
    RateLimiter,
    RateTimeout,
    StoreUnavailable,
    acquire_all,
)
from ddb_lease._protocol.messages import Claim, Look, Release
from ddb_lease._runtime import together_core
from ddb_lease._runtime.held_lease import HeldLease
from scripts.harness.inside import core_of
from tests.conftest import TABLE
from tests.interrupting import Interrupter, interrupted, without_collector
from tests.support import LOST, UNSENT, Table, eventually, leases_in

CONTRACT = True
NOT_ON = ("embedded", "ministack", "dynoxide")  # it sends what acquire and release send, and nothing else


@pytest.fixture
def two(environment, bucket_name):
    """Two buckets of one process, of a token and of two."""
    return tuple(environment.bucket(name=f"{bucket_name}-{tokens}", max_tokens=tokens) for tokens in (1, 2))


def leased(bucket):
    return [lease.lease_id for lease in bucket.status().leases]


def test_all_are_had_and_the_block_releases_all(two):
    one, other = two
    with acquire_all([one, (other, 2)], timeout=5, data={"job": "nightly"}) as leases:
        assert [len(lease.slots) for lease in leases] == [1, 2]
        assert leases.held
        assert 0 < leases.remaining <= min(lease.remaining for lease in leases)
        assert leases.lost is None
        leases.check()
        assert {lease.data["job"] for lease in other.status().leases} == {"nightly"}
    assert not leases.held
    assert leased(one) == leased(other) == []
    with pytest.raises(LeaseLost):
        leases.check()


def test_it_costs_an_acquire_of_each(two):
    for bucket in two:
        bucket.acquire(5).release()
        bucket.tap.clear()
    acquire_all(two, timeout=5).release()
    assert [bucket.tap.count() for bucket in two] == [{"Claim": 1, "Release": 1}] * 2


@pytest.mark.parametrize("full", [0, 1])
def test_what_cannot_be_had_in_time_leaves_nothing_held_and_is_named(two, environment, full):
    two[1 - full].acquire(5).release()
    holder = environment.bucket(name=two[full].name, max_tokens=full + 1).acquire(5, count=full + 1)
    began = environment.clock.steady()
    with pytest.raises(AcquireTimeout, match=f"bucket '{two[full].name}'.*none of the 2 buckets' slots are held"):
        acquire_all(two, timeout=20)
    assert 19.0 <= environment.clock.steady() - began <= 22.0, "one deadline for all"
    assert leased(two[1 - full]) == []
    assert leased(two[full]) == [holder.id] * (full + 1)


def test_it_holds_nothing_while_it_waits_and_has_all_as_soon_as_it_can(two, environment, table):
    one, other = two
    holder = environment.bucket(name=other.name, max_tokens=2).acquire(5, count=2)
    seen = []

    def look():
        seen.append(leases_of(table, one.name))
        if environment.clock.steady() > began + 20 and holder.held:
            holder.release()

    began = environment.clock.steady()
    environment.meanwhile.append(look)
    leases = acquire_all(two, timeout=60)
    environment.meanwhile.clear()
    assert leases.held
    assert sum(bool(held) for held in seen) <= 2, "it had it for as long as it took to see that the other is full"
    assert environment.clock.steady() - began < 25
    leases.release()


def leases_of(table, name):
    """The leases of a bucket as the table has them: no request of ours."""
    return leases_in(Table(table.client, TABLE, name))


@pytest.mark.parametrize("wrong", ["a name", [], [None], [(None, 2)], 5])
def test_what_is_no_list_of_buckets_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="acquire_all takes"):
        acquire_all(wrong)


def test_arguments_that_cannot_work_are_refused_before_anything_is_sent(two):
    one, other = two
    for wrong, match in (
        ({"buckets": [one, (other, 0)]}, "count"),
        ({"buckets": [one, (one, 1)]}, "named twice"),
        ({"buckets": two, "timeout": -1}, "timeout"),
        ({"buckets": two, "rate": other}, "rate must be a limiter"),
        ({"buckets": two, "on_lost": 5}, "on_lost"),
    ):
        with pytest.raises(ConfigurationError, match=match):
            acquire_all(**wrong)
    assert not one.tap.count()
    assert not other.tap.count()


def test_an_error_of_one_releases_the_others(two):
    one, other = two
    one.acquire(5).release()
    other.tap.everything_fails = UNSENT
    with pytest.raises(StoreUnavailable):
        acquire_all(two, timeout=30)
    assert leased(one) == []


def test_a_lost_answer_to_one_claim_is_no_failure(two):
    for bucket in two:
        bucket.acquire(5).release()
    two[1].tap.inject(Claim, answer=LOST)
    leases = acquire_all(two, timeout=5)
    assert leases.held
    two[0].tap.inject(Release, answer=LOST)
    assert leases.release()


def test_losing_one_is_told_once_and_seen_by_check(two, environment):
    told = []
    leases = acquire_all(two, timeout=5, on_lost=told.append)
    for bucket in two:
        assert bucket.revoke(leased(bucket)[0])
    environment.run(11.0, *two)
    assert len(told) == 1
    assert told[0] in set(leases)
    assert leases.lost is LossReason.REVOKED
    with pytest.raises(LeaseLost):
        leases.check()
    with pytest.raises(LeaseLost), leases:
        raise AssertionError("it is not entered")
    assert not leases.release()


def test_no_revoked_slot_is_given_back_before_the_one_callback_has_returned(two, environment, table):
    seen = []

    def on_lost(_):
        seen.append([leases_of(table, bucket.name) for bucket in two])

    leases = acquire_all(two, timeout=5, on_lost=on_lost)
    for bucket in two:
        assert bucket.revoke(leased(bucket)[0])
    environment.run(11.0, *two)
    assert [bool(held) for held in seen[0]].count(True) >= 1
    assert len(seen) == 1
    assert not leases.held
    assert [leases_of(table, bucket.name) for bucket in two] == [{}, {}]


def test_a_block_is_entered_once(two):
    leases = acquire_all(two, timeout=5)
    with leases:
        with pytest.raises(ConfigurationError, match="entered already"), leases:
            pass
        leases.check()


def test_one_that_cannot_be_released_keeps_none_of_the_others(two):
    leases = acquire_all(two, timeout=5)
    two[0].tap.everything_fails = UNSENT
    with pytest.raises(StoreUnavailable):
        leases.release()
    two[0].tap.everything_fails = None
    assert leased(two[1]) == []


def test_permits_are_taken_last_and_not_at_all_if_they_come_too_late(two, session, engine):
    with RateLimiter(
        "calls", rate=1, per=60, burst=2, table=TABLE, session=session, endpoint_url=engine.endpoint_url
    ) as limiter:
        acquire_all(two, timeout=5, rate=limiter).release()
        assert limiter.status().available == 1
        holder = two[0].acquire(5)
        with pytest.raises(AcquireTimeout):
            acquire_all(two, timeout=0, rate=limiter)
        assert limiter.status().available == 1, "without the leases, none is spent"
        holder.release()
        with pytest.raises(RateTimeout):
            acquire_all(two, timeout=1, rate=(limiter, 2))
        assert limiter.status().available == 1
        assert leased(two[0]) == leased(two[1]) == []


def test_an_interrupt_at_any_point_leaves_nothing_leased(two, table):
    for bucket in two:
        bucket.acquire(5).release()
    strike_at, left = 1, []
    while True:
        got = []
        struck = interrupted(strike_at, lambda got=got: got.append(acquire_all(two, timeout=5)))
        for leases in got:
            leases.release()
        if any(leases_of(table, bucket.name) for bucket in two):
            left.append(struck and struck.struck_at)
            for bucket in two:
                bucket.reset()
        if struck is None:
            break
        strike_at += 5
    assert not left
    assert strike_at > 300


@pytest.mark.parametrize("full", [True, False])
def test_what_is_lost_before_all_are_had_is_not_told_and_nothing_lost_is_returned(two, environment, table, full):
    one, other = two
    other.acquire(5).release()
    holder = environment.bucket(name=other.name, max_tokens=2).acquire(5, count=2) if full else None
    told = []

    def lose(_):
        for lease in list(core_of(one).leases.values()):
            table_of(table, one.name).set(lease.slot, revoked="an operator")
            with pytest.raises(LeaseLost):
                lease.renew()
        if holder is not None:
            holder.release()

    other.tap.inject(Look if full else Claim, after=lose)
    if full:
        leases = acquire_all(two, timeout=60, on_lost=told.append)
        assert leases.held
        assert told == []
        assert one.revoke(leases.leases[0].id)
        environment.run(11.0, *two)
        assert told == [leases.leases[0]]
        leases.release()
    else:
        with pytest.raises(LeaseLost) as raised:
            acquire_all(two, timeout=60, on_lost=told.append)
        assert raised.value.reason is LossReason.REVOKED
        assert told == []
    assert [leases_of(table, bucket.name) for bucket in two] == [{}, {}]


def table_of(table, name):
    return Table(table.client, TABLE, name)


def test_one_bucket_by_two_sessions_is_named_twice():
    def reached(name="jobs", *, region="eu-west-1", table="leases", url="http://127.0.0.1:9"):
        session = boto3.Session("a", "key", region_name=region)
        return LeaseBucket(name, max_tokens=1, table=table, session=session, endpoint_url=url)

    one = reached()
    for other in (
        reached("others"),
        reached(region="us-east-1"),
        reached(table="t"),
        reached(url="http://127.0.0.1:8"),
    ):
        assert len(together_core.WantedTogether([one, other], kind=LeaseBucket, timeout=5).parts) == 2
    with pytest.raises(ConfigurationError, match="named twice"):
        acquire_all([one, reached()], timeout=5)


def test_it_keeps_its_timeout_also_where_it_is_in_its_own_way(environment, bucket_name):
    two = [environment.bucket(name=bucket_name, max_tokens=1) for _ in range(2)]
    core_of(two[1]).whereabouts = ("elsewhere",)  # as two ways to one table may hide it
    began = environment.clock.steady()
    with pytest.raises(AcquireTimeout):
        acquire_all(two, timeout=2)
    assert environment.clock.steady() - began < 3
    assert two[0].status().leases == ()


def test_what_can_never_be_had_is_refused_before_anything_is_sent(two, session, engine):
    one, other = two
    at = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    with RateLimiter("few", rate=1, per=60, burst=2, **at) as few, RateLimiter("all", rate=9, **at) as parent:
        for wrong in ((few, 0), (few, "2"), (few.key("user", under=[parent]), 0)):
            with pytest.raises(ConfigurationError):
                acquire_all(two, timeout=5, rate=wrong)
        acquire_all(two, timeout=5, rate=few).release()  # now the stored rate is known
        for bucket in two:
            bucket.tap.clear()
        with pytest.raises(ConfigurationError, match="burst|at most"):
            acquire_all(two, timeout=5, rate=(few, 50))
    with pytest.raises(ConfigurationError, match="data is too large"):
        acquire_all([one, (other, 2)], timeout=5, data={"much": "x" * 400_000})
    assert not one.tap.count()
    assert not other.tap.count()


# Python swallows one that comes as the generator of the moves is dropped; the first one goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_second_interrupt_leaves_what_was_had_to_workers_or_the_exit(two, table, monkeypatch):
    one, other = two
    one.acquire(5).release()
    strikers = []

    def interrupt(*_, **__):
        sys.setprofile(strikers[-1])
        raise KeyboardInterrupt

    monkeypatch.setattr(core_of(other), "begin_acquire", interrupt)
    while len(strikers) < 200:
        strikers.append(Interrupter(len(strikers) + 1))
        try:
            with pytest.raises(KeyboardInterrupt), without_collector():
                acquire_all(two, timeout=5)
        finally:
            sys.setprofile(None)
        at = strikers[-1].struck_at
        assert not any(lease.held for lease in core_of(one).leases.values()), at
        core_of(one).at_exit(core_of(one).runtime.clock.steady() + 60)
        assert leases_of(table, one.name) == {}, at
        core_of(one).state.closed = False  # for the next round
        if at is None:
            break
    assert 20 < len(strikers) < 200


@pytest.mark.parametrize("begins", [True, False])
def test_a_block_whose_begin_or_end_is_interrupted_releases_all(two, table, begins):
    for bucket in two:
        bucket.acquire(5).release()
    strike_at, not_begun = 1, []
    while True:
        leases = acquire_all(two, timeout=5)
        ends = leases.__enter__ if begins else functools.partial(leases.__exit__, None, None, None)
        struck = interrupted(strike_at, ends)
        if struck is None and begins:
            leases.release()
        if any(lease.held for lease in leases):
            not_begun.append(struck.on_entry_of)
            leases.release()
        eventually(lambda: not any(leases_of(table, bucket.name) or core_of(bucket).owed for bucket in two))
        if struck is None:
            break
        strike_at += 1
    assert not_begun == ["__enter__" if begins else "__exit__"], "before any of its code has run"
    assert strike_at > (5 if begins else 50)


def test_in_an_outage_it_gives_back_all_at_once(environment, bucket_name, table, monkeypatch):
    four = [environment.bucket(name=f"{bucket_name}-{number}", max_tokens=1) for number in range(4)]
    four[3].acquire(5).release()
    four[3].tap.everything_fails = UNSENT
    waited = []

    def release(held):
        waited.append(held)
        raise StoreUnavailable("nothing answers")

    monkeypatch.setattr(HeldLease, "release", release)
    with pytest.raises(StoreUnavailable):
        acquire_all(four, timeout=1)
    assert len(waited) == 1, "it does not wait for one after another"
    assert [leases_of(table, bucket.name) for bucket in four] == [{}] * 4, "workers release all of them"


def test_threads_that_name_the_buckets_in_other_orders_all_get_their_turns(new_bucket, bucket_name):
    one, other = (new_bucket(f"{bucket_name}-{number}", max_tokens=1) for number in range(2))
    holding, most, errors = [], [], []

    def work(buckets):
        try:
            for _ in range(3):
                with acquire_all(buckets, timeout=60):
                    holding.append(1)
                    most.append(len(holding))
                    holding.pop()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(buckets,)) for buckets in ([one, other], [other, one]) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert most == [1] * 12
    for bucket in (one, other):
        assert bucket.status().leases == ()


def test_one_that_somebody_releases_by_its_id_is_lost_under_the_block(two, in_thread):
    told = []
    with acquire_all(two, timeout=5, on_lost=lambda lease: told.append(lease.lost)) as leases:
        assert in_thread(lambda: two[0].release(leases.leases[0].id)).result(60)
        assert leases.lost is LossReason.RELEASED
        with pytest.raises(LeaseLost, match="by its id"):
            leases.check()
    assert told == [LossReason.RELEASED]
    with acquire_all(two, timeout=5, on_lost=lambda lease: told.append(lease.lost)) as leases:
        assert two[0].release(leases.leases[0].id)
        assert leases.lost is None, "the block is the holder"
    assert told == [LossReason.RELEASED]
    assert leased(two[0]) == leased(two[1]) == []
