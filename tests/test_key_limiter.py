"""Keys of a limiter: each has limits of its own; all share a policy, a connection and the time."""

from __future__ import annotations

import gc
import os
import sys
import threading
import types

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Limit
from ddb_lease.rate_events import Denied
from scripts.harness.inside import core_of
from tests.support import charges, eventually

CONTRACT = True  # the simulator's DynamoDB too


def test_each_key_has_limits_of_its_own(limiter):
    first, second = limiter.key("first"), limiter.key("second")
    drained_first = [first.try_acquire() for _ in range(6)]
    assert drained_first == [True] * 5 + [False]
    assert second.try_acquire(5)
    assert limiter.try_acquire(5), "without a key is a key of its own, too"
    with pytest.raises(AcquireTimeout):
        first.acquire(5, timeout=0)


def test_a_limit_that_a_call_does_not_name_is_not_charged(rates):
    limits = {"requests": Limit(9, per=3600), "tokens": Limit(3, per=3600)}
    limiter = rates(rate=None, burst=None, limits=limits)
    decision = limiter.check(requests=4)
    assert {name: limit.remaining for name, limit in decision.limits.items()} == {"requests": 5, "tokens": 3}
    assert limiter.try_acquire(tokens=3)
    assert limiter.try_acquire(requests=5, tokens=0), "a limit of which none is wanted denies nothing"
    assert not limiter.try_acquire(requests=1)


def test_a_keys_first_use_costs_one_request(limiter):
    assert limiter.try_acquire()
    limiter.tap.clear()
    for name in ("first", "second", "third"):
        assert limiter.key(name).try_acquire()
    assert limiter.tap.count() == {"Charge": 3}


def test_all_views_of_a_key_share_what_is_known_of_it(limiter):
    assert limiter.key("team").try_acquire(5)
    assert not limiter.key("team").try_acquire()
    sent = charges(limiter)
    assert not limiter.key("team").try_acquire()
    assert limiter.key("team").wait_time() > 0
    assert not limiter.key("team").check().allowed
    assert charges(limiter) == sent, "the denial is remembered"


@pytest.mark.parametrize("wanted", [1, 3])
def test_a_denial_tells_of_no_permit_that_came_back_since_it_was_decided(rates, environment, wanted):
    def pass_time(event):  # the user's own function takes time, as a thread that is not scheduled does
        if isinstance(event, Denied):
            environment.clock.pass_time(10)

    limiter = rates(rate=1, burst=3, on_event=pass_time)
    assert limiter.check(3).allowed
    denied = limiter.check(wanted)
    assert not denied.allowed
    assert denied.remaining == denied.limits["permits"].remaining == wanted - 1
    assert limiter.check(3).allowed, "they are there by now"


def test_a_denial_of_several_limits_tells_of_one_that_is_short(rates, environment):
    slow = {"on_event": lambda event: environment.clock.pass_time(10) if isinstance(event, Denied) else None}
    limiter = rates(limits={"requests": Limit(1, burst=9), "tokens": Limit(1, burst=3)}, rate=None, burst=None, **slow)
    assert limiter.check(requests=1, tokens=3).allowed
    denied = limiter.check(requests=1, tokens=2)
    assert not denied.allowed
    assert (denied.tightest, denied.remaining) == ("tokens", 1)
    assert {name: limit.remaining for name, limit in denied.limits.items()} == {"requests": 9, "tokens": 1}


def test_a_denial_under_a_parent_tells_of_one_that_is_short(rates, environment):
    slow = {"on_event": lambda event: environment.clock.pass_time(10) if isinstance(event, Denied) else None}
    org = rates(name="org", rate=1, burst=9)
    key = rates(rate=1, burst=3, **slow).key("team", under=[org])
    assert key.check(3).allowed
    denied = key.check()
    assert not denied.allowed
    assert denied.remaining == denied.limits["permits"].remaining == 0


def test_a_denial_tells_of_no_permit_that_is_kept_for_who_waits_in_front(new_limiter, in_thread):
    limiter = new_limiter(rate=1, per=3_600, burst=6)
    assert limiter.check(5).allowed
    waiting = in_thread(lambda: limiter.check(6, timeout=20_000))  # too far ahead to be booked
    eventually(lambda: core_of(limiter).state.book("").first())
    denied = limiter.check()
    assert not denied.allowed, "who waits in front takes it"
    assert (denied.remaining, denied.limits["permits"].remaining) == (0, 0)
    assert denied.retry_after == denied.limits["permits"].retry_after > 0
    limiter.close()
    with pytest.raises(ConfigurationError, match="closed"):
        waiting.result(20)


def test_another_process_sees_a_key_as_it_is(limiter, rates):
    assert limiter.key("team").try_acquire(4)
    other = rates()
    assert other.key("team").status().available == 1
    assert other.key("team").try_acquire()
    assert not other.key("team").try_acquire()


@pytest.mark.parametrize("key", ["", None, 7, "x" * 513, "\ud800"])
def test_what_is_no_key_is_refused(limiter, key):
    with pytest.raises(ConfigurationError, match="a key"):
        limiter.key(key)


def own_bytes(thing, *, shared):
    """What an object takes with all that it refers to, without what others refer to; those are added to `shared`."""
    if id(thing) in shared or isinstance(thing, (type, types.ModuleType, types.FunctionType)):
        return 0
    shared[id(thing)] = thing
    return sys.getsizeof(thing) + sum(own_bytes(each, shared=shared) for each in gc.get_referents(thing))


def test_a_key_that_was_used_takes_less_than_a_kilobyte_and_neither_thread_nor_socket(rates):
    limits = {name: Limit(1_000) for name in ("requests", "tokens", "bytes")}
    limiter = rates(limits=limits, rate=None, burst=None)
    use = [limiter.key(f"key-{number}") for number in range(3)]
    assert use[0].try_acquire(requests=1, tokens=9, bytes=5)
    threads, files = set(threading.enumerate()), len(os.listdir("/dev/fd"))
    assert all(key.try_acquire(requests=1, tokens=9, bytes=5) for key in use[1:])
    assert set(threading.enumerate()) <= threads  # some of other tests may end meanwhile
    assert len(os.listdir("/dev/fd")) <= files
    shared = {}
    own_bytes(core_of(limiter).state.book("key-1"), shared=shared)
    assert 200 <= own_bytes(core_of(limiter).state.book("key-2"), shared=shared) <= 700
    own_bytes(use[1], shared=shared)
    assert own_bytes(use[2], shared=shared) <= 128
