"""An interrupt at any point of a release, a renewal, a close or a block leaves no slot leased that should be free.

The process is tried out, not the engine: the simulator's DynamoDB is enough.
"""

import contextlib

import pytest

from ddb_lease import LeaseLost
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


def leave_the_block_of_a_lost_lease(bucket, leases):
    leases[0]._held.belief._planned = 0.0
    with contextlib.suppress(LeaseLost):
        leases[0].__enter__()


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
        struck = interrupted(strike_at, lambda: action(bucket, leases))
        if struck is None:
            break
        left = leases if action in {close, leave_the_buckets_block} else leases[:1]
        if all(lease.held for lease in left):
            assert struck.on_entry_of in entries, struck.struck_at
            assert all(lease.id in bucket._core.leases for lease in left), "it is renewed, and released at the exit"
            not_begun.append(struck.struck_at)
            action(bucket, leases)
        assert not any(lease.held for lease in left)
        ids = {lease.id for lease in left}
        eventually(lambda ids=ids: not ids & set(leases_in(table).values()))
        eventually(lambda bucket=bucket: not bucket._core.owed)
        bucket.close()
        assert leases_in(table) == {}
        strike_at += 1
    assert strike_at > 50, "the interrupter has hardly met the library"
    assert len(not_begun) <= most, not_begun
