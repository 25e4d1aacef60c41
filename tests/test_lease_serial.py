"""One lease, many threads: its renewals and its release are serialised, and none is forgotten."""

import threading
import time

import pytest

from ddb_lease import LeaseLost, StoreRejected, StoreUnavailable
from ddb_lease._protocol.messages import Release, Renew
from scripts.harness.inside import core_of, held_of
from tests.support import LOST, UNSENT, UNTIMELY, leases_in, renewals_only

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("embedded", "simulated")  # over asyncio too


def captured(bucket):
    """What would be done in the background."""
    jobs = []
    bucket.heartbeats.workers.submit = lambda job, **_: jobs.append(job)
    return jobs


def test_the_heartbeat_does_not_renew_while_a_renewal_by_hand_is_under_way(environment):
    bucket = environment.bucket()
    lease = bucket.acquire(5)
    seen = []

    def meanwhile(_):
        environment.run(12, bucket)
        seen.append(len(bucket.tap.of(Renew)))

    bucket.tap.inject(Renew, before=meanwhile)
    lease.renew()
    assert seen == [1]
    environment.run(12, bucket)
    assert len(bucket.tap.of(Renew)) > 1
    assert lease.held


@pytest.mark.parametrize(("deed", "kind"), [("renew", Renew), ("release", Release)])
def test_who_does_it_by_hand_waits_for_the_renewal_under_way(environment, in_thread, deed, kind):
    bucket = environment.bucket()
    lease = bucket.acquire(5)
    started, go_on = threading.Event(), threading.Event()
    bucket.tap.inject(Renew, before=lambda _: (started.set(), go_on.wait(10)))
    first = in_thread(lease.renew)
    assert started.wait(10)
    second = in_thread(getattr(lease, deed))
    time.sleep(0.2)
    sent = [type(request) for request in bucket.tap.sent]
    go_on.set()
    second.result(10)
    assert sent.count(Renew) == 1
    assert Release not in sent
    assert isinstance(bucket.tap.sent[-1], kind)
    if deed == "renew":
        first.result(10)


def test_one_renewal_is_asked_for_at_a_time_and_the_next_when_it_has_ended(environment):
    bucket = environment.bucket()
    bucket.acquire(5)
    jobs = captured(bucket)
    environment.run(12, bucket)
    assert len(jobs) == 1, "a slow one is under way"
    jobs.pop()()
    environment.run(11, bucket)
    assert len(jobs) == 1, "the next is due a third of the lease later, not at the deadline"


def test_a_lease_that_is_anothers_by_now_is_not_released(environment, table):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5)
    table.set(0, lease_id="0-other")
    with pytest.raises(LeaseLost):
        lease.renew()
    assert lease.release() is False
    assert bucket.tap.of(Release) == []


def test_a_release_that_was_interrupted_is_done_in_the_background(environment, table):
    bucket = environment.bucket()
    lease = bucket.acquire(5)
    bucket.tap.inject(Release, commits=False, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        lease.release()
    assert leases_in(table) == {}


def test_nothing_is_left_of_a_released_lease(environment):
    bucket = environment.bucket()
    bucket.acquire(5).release()
    assert bucket.heartbeats.scheduled() == []
    assert core_of(bucket).leases == {}


def test_a_renewal_lets_nobody_have_the_slot_before_its_length_is_over(environment, table):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5)
    environment.clock.pass_time(5)
    lease.renew()
    assert table.get(0)["expires_at"] >= environment.now_ms + 30_000


def test_a_defect_while_renewing_by_hand_is_no_loss(environment):
    bucket = environment.bucket()
    lease = bucket.acquire(5)
    bucket.tap.inject(Renew, commits=False, raises=ZeroDivisionError())
    with pytest.raises(StoreUnavailable):
        lease.renew()
    assert lease.held


def test_while_answers_disagree_a_renewal_waits_but_not_until_it_is_too_late(environment):
    bucket = environment.bucket()
    lease = bucket.acquire(5)
    renewals_only(bucket)
    bucket.tap.odd = [5_000.0]
    lease.renew()
    bucket.tap.clear()
    environment.run(15, bucket)  # a third of the lease is long over
    assert bucket.tap.of(Renew) == []
    environment.run(8, bucket)  # three quarters of it
    assert len(bucket.tap.of(Renew)) == 1
    assert lease.held


def test_an_urgent_renewal_does_not_spin(environment):
    lease = environment.bucket().acquire(5)
    lease.renew()
    held_of(lease).belief.renew_at = 0.0
    assert 0.1 < held_of(lease).due_in() <= 0.21


def test_a_lost_lease_is_not_given_back_before_its_callback_has_returned(environment, table):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5, on_lost=lambda _: None)
    callbacks = []
    bucket.heartbeats.callbacks.submit = lambda job, **_: callbacks.append(job)
    bucket.tap.inject(Renew, answer=LOST)  # it extends the lease, and nobody knows
    environment.run(10.25, bucket)
    bucket.tap.everything_fails = UNSENT
    environment.run(32, bucket)
    assert lease.lost is not None
    bucket.tap.everything_fails = None
    environment.run(35, bucket)  # longer than any pause before a release that failed is sent again
    assert len(leases_in(table)) == 1, "the work may still be stopping"
    for callback in callbacks:
        callback()
    environment.run(3, bucket)
    assert leases_in(table) == {}


def test_a_lease_lost_before_its_block_is_given_back(environment, table):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(5)
    table.set(0, revoked="by an operator")
    with pytest.raises(LeaseLost):
        lease.renew()
    assert len(leases_in(table)) == 1
    with pytest.raises(LeaseLost), lease:
        pass
    assert leases_in(table) == {}


def test_in_a_forked_child_a_lease_waits_for_no_lock_of_its_parents(environment, in_thread):
    lease = environment.bucket().acquire(5)
    held, over = threading.Event(), threading.Event()

    def hold():
        with held_of(lease).attempts.lock:
            held.set()
            over.wait(20)

    parents = in_thread(hold)
    assert held.wait(10)
    held_of(lease).abandon_to_parent()
    try:
        assert in_thread(lambda: lease.on_lost or held_of(lease).due_in()).result(5)
    finally:
        over.set()
    parents.result(10)


def test_a_release_that_is_answered_slowly_is_given_up_in_bounded_time(environment):
    bucket = environment.bucket()
    lease = bucket.acquire(5)
    for _ in range(6):
        bucket.tap.inject(Release, commits=False, answer=UNSENT, after=lambda _: environment.clock.pass_time(2))
    with pytest.raises(StoreUnavailable):
        lease.release()
    assert len(bucket.tap.of(Release)) == 3


def test_a_release_refused_for_the_time_of_its_signature_is_sent_again_until_it_works(environment, table):
    bucket = environment.bucket()
    lease = bucket.acquire(5)
    bucket.tap.inject(Release, commits=False, answer=UNTIMELY)
    with pytest.raises(StoreRejected, match="clock"):
        lease.release()
    assert leases_in(table)
    environment.run(10.0, bucket)
    assert not leases_in(table)
