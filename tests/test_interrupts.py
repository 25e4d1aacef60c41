"""An interrupt at any point of a release, a renewal, a close or a block leaves no slot leased that should be free.

The process is tried out, not the engine: the simulator's DynamoDB is enough.
"""

import functools

import pytest

from ddb_lease._protocol.messages import Claim, Done, Refused, Release
from scripts.harness.inside import core_of, held_of
from tests.interrupting import interrupted
from tests.support import eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
NOT_ON = ("embedded", "ministack")


def release(bucket, leases):
    leases[0].release()


def close(bucket, leases):
    bucket.close()


def leave_the_block(bucket, leases):
    leases[0].__exit__(None, None, None)


def leave_the_buckets_block(bucket, leases):
    bucket.__exit__(None, None, None)


def renew(bucket, leases):
    leases[0].renew()


NOT_BEGUN = {
    release: ({"release"}, 2),
    close: ({"close"}, 1),
    leave_the_block: ({"__exit__"}, 1),
    leave_the_buckets_block: ({"__exit__", "close"}, 2),
}
"""Where an interrupt may strike before the release has begun, and how often: on entry of the methods themselves, before
any of their code has run. The leases are held as before, and the caller may call again."""


@pytest.mark.parametrize("action", list(NOT_BEGUN), ids=lambda action: action.__name__)
def test_a_release_that_is_interrupted_at_any_point_is_done_all_the_same(new_bucket, table, action):
    entries, most = NOT_BEGUN[action]
    new_bucket(lease_seconds=600).acquire().release()  # the bucket and its slots are there
    not_begun, strike_at = [], 1
    while True:
        bucket = new_bucket(lease_seconds=600)
        leases = [bucket.acquire(timeout=60), bucket.acquire(timeout=60)]
        struck = interrupted(strike_at, functools.partial(action, bucket, leases))
        if struck is None:
            break
        left = leases if action in {close, leave_the_buckets_block} else leases[:1]
        if all(lease.held for lease in left):
            assert struck.on_entry_of in entries, struck.struck_at
            assert all(lease.id in core_of(bucket).leases for lease in left), "it is renewed, and released at the exit"
            not_begun.append(struck.struck_at)
            action(bucket, leases)
        assert not any(lease.held for lease in left)
        ids = {lease.id for lease in left}
        eventually(lambda ids=ids: not ids & set(leases_in(table).values()))
        eventually(lambda bucket=bucket: not core_of(bucket).owed)
        bucket.close()
        assert leases_in(table) == {}
        strike_at += 1
    assert strike_at > 50, "the interrupter has hardly met the library"
    assert len(not_begun) <= most, not_begun


@pytest.mark.parametrize("action", [release, close, leave_the_block], ids=lambda action: action.__name__)
def test_a_second_interrupt_leaves_the_release_to_the_exit_at_the_latest(new_bucket, table, action):
    new_bucket(lease_seconds=600).acquire().release()
    second, both = 1, 0
    while True:
        bucket = new_bucket(lease_seconds=600)
        leases = [bucket.acquire(timeout=60), bucket.acquire(timeout=60)]
        struck = interrupted(25, functools.partial(action, bucket, leases), again=second)
        if struck is None or struck.strikes < 2:
            break
        both += 1
        left = leases if action is close else leases[:1]
        assert not any(lease.held for lease in left) or action is close
        core_of(bucket).at_exit(core_of(bucket).runtime.clock.steady() + 60)
        assert leases_in(table) == {}, struck.struck_at
        second += 1
    assert both > 10, "the interrupter has hardly met the library"


def test_a_renewal_that_is_interrupted_at_any_point_costs_no_lease(new_bucket, table):
    bucket = new_bucket(lease_seconds=600)
    lease = bucket.acquire(timeout=60)
    strike_at = 1
    while interrupted(strike_at, functools.partial(renew, bucket, [lease])):
        assert lease.held
        assert leases_in(table) == {lease.slot: lease.id}
        assert held_of(lease).attempts.serial.acquire(timeout=10), "the next renewal would wait for ever"
        held_of(lease).attempts.serial.release()
        strike_at += 1
    assert strike_at > 50, "the interrupter has hardly met the library"
    before = table.get(lease.slot)["expires_at"]
    lease.renew()
    assert table.get(lease.slot)["expires_at"] >= before
    assert lease.release()


def test_a_decorated_function_that_is_interrupted_at_any_point_leaves_nothing_leased(new_bucket, table):
    bucket = new_bucket(lease_seconds=600)
    work = bucket.leased(timeout=60)(lambda lease: lease.check())
    work()
    strike_at, kept = 1, []
    while struck := interrupted(strike_at, work):
        if core_of(bucket).leases:  # between the acquire and the block, and on entry of its end: no code can guard that
            assert struck.on_entry_of in {"__enter__", "__exit__"}
            kept.append(struck.struck_at)
            for lease in list(core_of(bucket).leases.values()):
                assert lease.held
                lease.release()
        eventually(lambda: not leases_in(table))
        strike_at += 1
    assert strike_at > 100, "the interrupter has hardly met the library"
    assert len(kept) <= 2, kept


# A claim that its own release overtakes


def interrupted_acquire(bucket):
    """Interrupt an acquire as its claim is on the way; returns the claim, which has not arrived."""
    bucket.acquire(timeout=5).release()
    bucket.tap.clear()
    bucket.tap.inject(Claim, commits=False, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(timeout=5)
    return bucket.tap.of(Claim)[-1]


@pytest.mark.parametrize("seconds", [0.0, 3.0, 20.0])
def test_a_claim_that_arrives_after_its_own_release_is_released_again(environment, table, seconds):
    bucket = environment.bucket(max_tokens=1)
    claim = interrupted_acquire(bucket)
    environment.run(seconds, bucket)
    assert isinstance(bucket.tap.resend(claim), Done)
    assert leases_in(table)
    environment.run(32.0, bucket)
    assert leases_in(table) == {}
    assert core_of(bucket).owed == {}
    assert bucket.heartbeats.scheduled() == []


def test_a_claim_that_arrives_as_the_process_ends_is_released_again(environment, table):
    bucket = environment.bucket(max_tokens=1)
    claim = interrupted_acquire(bucket)
    arrives = [claim]
    environment.meanwhile.append(lambda: arrives and bucket.tap.resend(arrives.pop()))
    core_of(bucket).at_exit(environment.clock.steady() + 5)
    assert not arrives
    assert leases_in(table) == {}


def test_once_the_slot_has_changed_hands_the_claim_cannot_arrive_and_nothing_is_repeated(environment, table):
    bucket, other = environment.bucket(max_tokens=1), environment.bucket(max_tokens=1)
    claim = interrupted_acquire(bucket)
    environment.clock.pass_time(0.2)
    with other.acquire(timeout=5) as theirs:
        bucket.tap.clear()
        environment.run(5.0, bucket, other)
        assert len(bucket.tap.of(Release)) == 1
        assert isinstance(bucket.tap.resend(claim), Refused)
        assert theirs.held
    assert core_of(bucket).owed == {}


def test_a_claim_that_never_arrives_is_released_a_bounded_number_of_times(environment):
    bucket = environment.bucket(max_tokens=1)
    interrupted_acquire(bucket)
    environment.run(300.0, bucket)
    assert 4 < len(bucket.tap.of(Release)) < 12, "while it could still have an effect"
    assert bucket.heartbeats.scheduled() == []
