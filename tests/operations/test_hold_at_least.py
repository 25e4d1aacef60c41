"""Hold at least: the slot goes to nobody else before the time that its holder asked for, whatever becomes of it."""

from datetime import timedelta

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, LossReason, StoreUnavailable
from ddb_lease._protocol.messages import Claim, Close, Mint, Release, Take
from scripts.harness.inside import held_of
from tests.support import CONFLICT, LOST, THROTTLED, UNSENT, leases_in

CONTRACT = True
NOT_ON = ("embedded", "ministack", "dynoxide")  # what these answer to its requests: see dynamodb/test_requests_close
APIS = ("simulated",)  # over asyncio too


def two(environment, **arguments):
    """Two processes' buckets of leases of 30 s."""
    return environment.bucket(**arguments), environment.bucket(**arguments)


def free_at(bucket, environment, *others, until=400.0):
    """After how many seconds from now another process gets a slot."""
    began = environment.now_ms
    while environment.now_ms < began + until * 1000:
        lease = bucket.try_acquire()
        if lease is not None:
            return (environment.now_ms - began) / 1000
        environment.run(1.0, bucket, *others)
    return None


def test_a_release_before_closes_the_slot_until_then(environment, table):
    bucket, other = two(environment, max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=200)
    until = table.get(0)["acquired_at"] + 200_000
    assert table.get(0)["expires_at"] == until
    environment.run(50.0, bucket)
    bucket.tap.clear()
    assert lease.release()
    assert bucket.tap.count() == {"Close": 1}
    assert not lease.held
    slot = table.get(0)
    assert (slot["expires_at"], slot["owner"]) == (until, lease.owner)
    assert slot["lease_id"] == lease.id.replace("-", "-closed-")
    assert slot["ttl"] * 1000 > until + 3_600_000
    bucket.tap.clear()
    assert bucket.try_acquire() is None, "nor does this process get it"
    assert bucket.tap.count() == {"Look": 1}, "nor does it try"
    assert 149.0 <= free_at(other, environment) <= 155.0


def test_a_release_after_it_is_like_any_other(environment, table):
    bucket, other = two(environment, max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=40)
    environment.run(60.0, bucket)
    assert lease.held
    bucket.tap.clear()
    assert lease.release()
    assert bucket.tap.count() == {"Release": 1}
    assert other.try_acquire() is not None


def test_a_crash_keeps_it_closed_until_then(environment):
    bucket, other = two(environment, max_tokens=1)
    bucket.acquire(5, hold_at_least=timedelta(seconds=200))
    environment.run(50.0, bucket)  # from here on its process does nothing
    assert 149.0 <= free_at(other, environment) <= 155.0


def test_a_shorter_time_than_the_lease_changes_nothing_of_a_crash(environment, table):
    bucket, other = two(environment, max_tokens=1)
    bucket.acquire(5, hold_at_least=1)
    slot = table.get(0)
    assert slot["expires_at"] - slot["acquired_at"] == 30_000
    assert 29.0 <= free_at(other, environment) <= 34.0


def test_it_is_believed_in_until_then_though_no_renewal_works(environment, table):
    bucket, other = two(environment, max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=200)
    assert 190.0 < lease.remaining < 199.0
    bucket.tap.everything_fails = UNSENT
    environment.run(150.0, bucket)
    lease.check()
    environment.run(49.0, bucket)
    assert not lease.held
    assert lease.lost is LossReason.UNREACHABLE
    assert other.try_acquire() is None


def test_it_is_renewed_at_the_pace_of_any_lease_and_sees_a_revocation(environment, table):
    bucket, operator = two(environment, max_tokens=1)
    told = []
    lease = bucket.acquire(5, hold_at_least=200, on_lost=lambda lease: told.append(lease.lost))
    until = table.get(0)["expires_at"]
    environment.run(35.0, bucket)
    assert 3 <= bucket.tap.count()["Renew"] <= 4
    assert table.get(0)["expires_at"] == until
    assert operator.revoke(lease.id)
    environment.run(11.0, bucket)
    assert told == [LossReason.REVOKED]
    assert leases_in(table) == {0: lease.id.replace("-", "-closed-")}


def test_renewals_keep_the_margin_of_a_lease_however_long_it_is_held_at_least(environment):
    bucket = environment.bucket(max_tokens=1)
    year = 365 * 86_400
    lease = bucket.acquire(5, hold_at_least=year)  # its own margin is longer than a lease
    assert year - 13_000 < lease.remaining < year - 12_000
    now = environment.clock.steady()
    with held_of(lease).attempts.lock:
        renewal = held_of(lease).belief.begin_renewal(now, environment.now_ms)
    assert 20.0 < renewal.deadline - now < 30.0


def test_renewals_go_on_beyond_it(environment, table):
    bucket, other = two(environment, max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=45)
    environment.run(200.0, bucket)
    lease.check()
    assert other.try_acquire() is None


@pytest.mark.parametrize("opens", ["release", "revoke", "reset"])
def test_an_operator_opens_it(environment, table, opens):
    bucket, other = two(environment, max_tokens=2)
    bucket.acquire(5, count=2, hold_at_least=200).release()
    [closed] = {lease.lease_id for lease in other.status().leases}
    assert all(lease.closed and lease.owner == bucket.owner for lease in other.status().leases)
    if opens == "reset":
        assert other.reset() == 1
    else:
        assert getattr(other, opens)(closed)
        assert not getattr(other, opens)(closed)
    assert leases_in(table) == {}
    assert other.try_acquire(count=2) is not None


def test_a_reset_opens_what_this_process_holds(environment, table):
    bucket = environment.bucket(max_tokens=1)
    bucket.acquire(5, hold_at_least=200)
    assert bucket.reset() == 1
    assert leases_in(table) == {}


def test_a_reset_opens_all_before_any_holder_is_told(environment, table):
    bucket = environment.bucket(max_tokens=2)
    leases = []
    told = [
        lambda _: held_of(leases[1]).release(),
        lambda _: held_of(leases[0]).release(),
    ]  # whichever is told first ends the other
    leases += [bucket.acquire(5, hold_at_least=200, on_lost=each) for each in told]
    bucket.heartbeats.call_back = lambda job, **_: job()  # at once, before the next one is told
    bucket.reset()
    assert leases_in(table) == {}


def test_several_slots_are_closed_together(environment, table):
    bucket, other = two(environment, max_tokens=3)
    lease = bucket.acquire(5, count=2, hold_at_least=100)
    lease.release()
    assert leases_in(table) == dict.fromkeys(lease.slots, lease.id.replace("-", "-closed-"))
    assert other.try_acquire(count=2) is None
    assert other.try_acquire() is not None


def test_a_decorated_function_holds_at_least(environment, table):
    bucket = environment.bucket(max_tokens=1)
    with pytest.raises(ConfigurationError, match="hold_at_least"):
        bucket.leased(timeout=5, hold_at_least=0)(lambda lease: lease.check())()
    bucket.leased(timeout=5, hold_at_least=100)(lambda lease: lease.check())()
    assert leases_in(table)[0].startswith("0-closed-")


def test_closing_the_bucket_closes_its_slots(environment, table):
    bucket, _ = two(environment, max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=100)
    bucket.close()
    assert leases_in(table) == {0: lease.id.replace("-", "-closed-")}


@pytest.mark.parametrize("answer", [LOST, CONFLICT, THROTTLED, UNSENT])
def test_closing_survives_what_passes(environment, table, answer):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=100)
    bucket.tap.inject(Close, answer=answer, commits=answer is LOST)
    assert lease.release(), "it recognises its own write"
    assert leases_in(table) == {0: lease.id.replace("-", "-closed-")}


def test_an_unanswered_close_that_was_not_carried_out_leaves_the_lease_and_its_time(environment, table):
    bucket, other = two(environment, max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=100)
    bucket.tap.everything_fails = LOST
    with pytest.raises(StoreUnavailable):
        lease.release()
    assert leases_in(table) == {0: lease.id}
    assert free_at(other, environment) >= 85.0


def test_a_close_whose_answer_was_lost_until_its_time_had_passed_is_known_again(environment, table):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5, hold_at_least=32)
    environment.run(26.0, bucket)
    bucket.tap.inject(Close, answer=LOST, commits=True)
    assert lease.release()
    assert bucket.tap.count().get("Release", 0) <= 1


@pytest.mark.parametrize("kind", [Mint, Take])
def test_an_acquire_that_is_given_up_leaves_nothing_closed(environment, table, kind):
    bucket = environment.bucket(max_tokens=2)
    bucket.acquire(5, count=2).release()
    count = 2 if kind is Take else 1
    bucket.tap.inject(Take if kind is Take else Claim, answer=LOST, commits=True, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(5, count=count, hold_at_least=100)
    assert leases_in(table) == {}
    assert not bucket.tap.count().get("Close")
    assert bucket.tap.of(Release)


def test_a_timeout_says_until_when(environment):
    bucket, other = two(environment, max_tokens=1)
    bucket.acquire(5, hold_at_least=100).release()
    with pytest.raises(AcquireTimeout, match=r"slot 0 is closed until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"):
        other.acquire(0)
    with pytest.raises(AcquireTimeout, match="slot 0 is closed until"):
        bucket.acquire(0)


def test_a_waiter_gets_it_when_its_time_has_passed(environment):
    bucket, other = two(environment, max_tokens=1)
    bucket.acquire(5, hold_at_least=100).release()
    other.tap.clear()
    lease = other.acquire(150)
    assert 99.0 <= lease.waited <= 104.0
    assert set(other.tap.count()) <= {"Look", "Claim"}, "it waits without writing"


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "14m", True, 366 * 86_400, timedelta(0)])
def test_what_is_no_such_time_is_refused(environment, wrong):
    bucket = environment.bucket(max_tokens=1)
    with pytest.raises(ConfigurationError, match="hold_at_least"):
        bucket.acquire(5, hold_at_least=wrong)
    assert not bucket.tap.count()
