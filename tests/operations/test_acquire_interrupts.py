"""An interrupted acquire leaves no lease behind, wherever the interrupt comes."""

import sys
from typing import Any

import pytest

from ddb_lease._state.hints import Hints
from scripts.harness.inside import core_of
from tests.interrupting import Interrupter, without_collector

CONTRACT = True  # the simulator's DynamoDB too

ENGINE = {"warm": "embedded", "cold": "simulated"}
"""A cold bucket's way is twice as long, and each try needs a client of its own: without HTTP that is nothing. What only an
answer over HTTP goes through is on a warm one's way."""

STRIDE = 1
"""Every point. It is a matter of seconds."""


def acquire_with(interrupter: Interrupter, bucket: Any) -> Any:
    """Acquire under the interrupter; returns the lease, or None if the interrupt was raised."""
    with without_collector():
        sys.setprofile(interrupter)
        try:
            return bucket.acquire(timeout=5)
        except KeyboardInterrupt:
            return None
        finally:
            sys.setprofile(None)


@pytest.mark.parametrize("state", ["warm", "cold"])
def test_an_interrupt_at_any_point_of_an_acquire_leaves_nothing_leased(new_bucket, table, engine, state):
    if engine.name != ENGINE[state]:
        pytest.skip("what is tried out is this process, not the engine: once is enough")
    new_bucket().acquire().release()  # the bucket and its slots are there
    bucket = new_bucket()
    left_behind = []
    strike_at = 1
    while True:
        if state == "cold":
            bucket = new_bucket()
        interrupter = Interrupter(strike_at)
        lease = acquire_with(interrupter, bucket)
        if lease is not None:
            lease.release()
        if interrupter.struck_at is None:
            break
        if lease is None and any("lease_id" in slot for slot in table.slots().values()):
            left_behind.append((strike_at, interrupter.struck_at))
            for number in table.slots():
                table.unset(number, "lease_id", "expires_at")
        strike_at += STRIDE
    assert not left_behind
    assert strike_at > 100, "the interrupter has hardly met the library"
    assert core_of(bucket).leases == {}


def test_a_waiter_that_is_interrupted_as_it_leaves_the_queue_blocks_no_other(new_bucket, monkeypatch):
    bucket, other = new_bucket(max_tokens=1), new_bucket(max_tokens=1)
    leave, interrupts = Hints.leave, [KeyboardInterrupt()]

    def interrupted(self, waiter):
        if interrupts:
            raise interrupts.pop()
        leave(self, waiter)

    monkeypatch.setattr(Hints, "leave", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:  # kept with its frames, and all that they refer to
        bucket.acquire(timeout=5)
    assert caught.value.__traceback__ is not None
    assert not interrupts
    theirs = other.acquire(timeout=5)
    assert bucket.try_acquire() is None  # so nothing is known to be free, and only the first in line looks
    theirs.release()
    assert bucket.acquire(timeout=0).held
