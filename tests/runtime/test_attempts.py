"""An attempt to renew that hangs is given up in time, and its lease renewed anew; what comes of it late does no harm."""

import logging

import pytest

from ddb_lease import LossReason
from ddb_lease._protocol.messages import Look, Release, Renew, RenewEach
from ddb_lease._state.log import flush
from scripts.harness.inside import core_of, held_of
from tests.support import LOST, UNSENT, leases_in, put_leased, renewals_only

CONTRACT = True  # the simulator's DynamoDB too
APIS = ("simulated",)  # over asyncio too
NOT_ON = ("embedded",)  # it knows no such PartiQL, which costs no lease: tests/test_lease_holding.py

BOUND = 7.5
"""Seconds after which a request for a lease of 30 s is given up."""


@pytest.fixture
def bucket(environment):
    return environment.bucket()


def hang(environment, bucket, seconds, *, kind=Renew, then=lambda: None, step=0.25, **how):
    """The next request of this kind takes so long to be sent; the heartbeat goes on meanwhile."""

    def meanwhile(_):
        environment.run(seconds, bucket, step=step)
        then()

    bucket.tap.inject(kind, before=meanwhile, **how)


def together(environment, bucket, count):
    """Leases that will be due together, in ten seconds."""
    leases = [bucket.acquire(timeout=5) for _ in range(count)]
    for lease in leases:
        held_of(lease).belief.renew_at = environment.clock.steady() + 10.0
    bucket.heartbeats.reconsider_all()
    bucket.tap.clear()
    return leases


def test_a_renewal_that_hangs_is_given_up_and_the_lease_renewed_anew(environment, bucket):
    lease, seen = bucket.acquire(timeout=5), []
    bucket.tap.clear()
    hang(environment, bucket, 25.0, then=lambda: seen.append((len(bucket.tap.of(Renew)), lease.held)))
    environment.run(11.0, bucket)
    ((renewals, held),) = seen
    assert renewals >= 3, "the one that hangs, the one in its place, and one by plan"
    assert held
    environment.run(60.0, bucket)
    lease.check()


def test_it_is_given_up_no_earlier_than_its_timeouts_allow(environment, bucket):
    lease = bucket.acquire(timeout=5)
    bucket.tap.clear()
    seen = []
    hang(environment, bucket, BOUND - 0.5, then=lambda: seen.append(len(bucket.tap.of(Renew))))
    environment.run(11.0, bucket)
    assert seen == [1]
    assert lease.held


@pytest.mark.parametrize("answer", [LOST, UNSENT], ids=lambda answer: type(answer).__name__)
def test_a_late_failure_of_what_was_given_up_tells_nothing(environment, bucket, answer):
    lease = bucket.acquire(timeout=5)
    seen = []
    hang(environment, bucket, BOUND + 1.0, then=lambda: seen.append(plan()), commits=False, answer=answer)

    def plan():
        return held_of(lease).belief.deadline, held_of(lease).belief.renew_at, held_of(lease).belief.failures

    while not seen:
        environment.run(0.25, bucket)
    assert seen == [plan()]
    assert plan()[2] == 0


def test_a_late_success_of_what_was_given_up_takes_nothing_back(environment, bucket, table):
    lease, seen = bucket.acquire(timeout=5), []
    hang(environment, bucket, BOUND + 1.0, then=lambda: seen.append(held_of(lease).belief.deadline))
    while not seen:
        environment.run(0.25, bucket)
    assert held_of(lease).belief.deadline == seen[0]
    environment.run(40.0, bucket)
    lease.check()


def test_a_late_success_counts_where_the_attempts_after_it_failed(environment, bucket):
    lease = bucket.acquire(timeout=5)

    def heal():
        bucket.tap.everything_fails = None

    before = held_of(lease).belief.deadline
    hang(environment, bucket, 12.0, then=heal)
    environment.run(9.75, bucket)
    bucket.tap.everything_fails = UNSENT
    environment.run(1.0, bucket)
    assert held_of(lease).belief.deadline > before
    environment.run(40.0, bucket)
    lease.check()


def test_a_loss_that_a_late_answer_tells_is_a_loss(environment, bucket, table):
    lost = []
    lease = bucket.acquire(timeout=5, on_lost=lambda lease: lost.append(lease.lost))
    hang(environment, bucket, BOUND + 1.0, then=lambda: put_leased(table, lease.slot, "0-other"))
    environment.run(11.0, bucket)
    assert lost == [LossReason.TAKEN]
    assert not lease.held


def test_what_was_given_up_revives_no_lease_that_was_released_or_lost_since(environment, bucket, table):
    lease = bucket.acquire(timeout=5)
    hang(environment, bucket, BOUND + 1.0, then=lease.release)
    environment.run(20.0, bucket)
    assert not lease.held
    assert leases_in(table) == {}
    assert lease.lost is None
    lost = bucket.acquire(timeout=5)
    bucket.tap.clear()
    for _ in range(8):
        hang(environment, bucket, 40.0)
    environment.run(45.0, bucket)
    assert lost.lost is LossReason.UNREACHABLE
    bucket.tap.faults.clear()
    environment.run(5.0, bucket)
    assert leases_in(table) == {}


def test_one_that_waits_for_a_worker_is_not_given_up(environment, bucket):
    bucket.acquire(timeout=5)
    jobs = []
    bucket.heartbeats.workers.submit = lambda job, **_: jobs.append(job)
    environment.run(25.0, bucket)
    assert len(jobs) == 1


def test_a_renewal_of_many_requests_is_given_up_only_if_one_of_them_hangs(environment):
    bucket = environment.bucket(max_tokens=3)
    lease = bucket.acquire(timeout=5, count=3)
    held_of(lease).belief.alone = True
    bucket.tap.clear()
    for _ in range(3):
        hang(environment, bucket, 5.0)
    environment.run(11.0, bucket)
    assert len(bucket.tap.of(Renew)) >= 3
    assert held_of(lease).attempts.given_up == 0
    lease.check()


# Batches.


def test_each_lease_of_a_batch_that_hangs_is_renewed_by_itself(environment, bucket):
    leases, seen = together(environment, bucket, 3), []
    hang(environment, bucket, 25.0, kind=RenewEach, then=lambda: seen.extend(lease.held for lease in leases))
    environment.run(11.0, bucket)
    assert seen == [True, True, True]
    alone = [request for request in bucket.tap.sent if isinstance(request, Renew)]
    assert {request.lease_id for request in alone} == {lease.id for lease in leases}
    environment.run(60.0, bucket)
    assert all(lease.held for lease in leases)


@pytest.mark.parametrize(("proven", "rests"), [(False, True), (True, False)], ids=["the first ever", "a later one"])
def test_a_batch_that_hangs_counts_once_as_unanswered(environment, bucket, caplog, proven, rests):
    caplog.set_level(logging.INFO, "ddb_lease")
    leases, seen = together(environment, bucket, 3), []
    if proven:
        environment.run(10.5, bucket)
    renewer = held_of(leases[0]).group

    def note():
        seen.append((renewer.ahead() == 0.0, renewer.breaker.doubtful))

    hang(environment, bucket, BOUND + 1.0, kind=RenewEach, then=note, commits=False, answer=LOST)
    while not seen:
        environment.run(0.25, bucket)
    assert seen == [(rests, not rests)]
    assert (renewer.ahead() == 0.0) == rests, "its late failure tells nothing new"
    flush(60)
    said = "renewed one by one for a while, as the service refuses batches: a batch of renewals has no answer"
    assert (said in caplog.text) is rests
    environment.run(40.0, bucket)
    assert all(lease.held for lease in leases)


def test_a_batch_that_is_answered_after_all_shows_that_batches_work(environment, bucket):
    leases, seen = together(environment, bucket, 3), []
    environment.run(10.5, bucket)
    renewer = held_of(leases[0]).group
    hang(environment, bucket, BOUND + 1.0, kind=RenewEach, then=lambda: seen.append(renewer.breaker.doubtful))
    while not seen:
        environment.run(0.25, bucket)
    assert seen == [True]
    assert not renewer.breaker.doubtful


def test_what_a_batch_refuses_late_tells_nothing(environment, bucket, table):
    (first, second), seen = together(environment, bucket, 2), []

    def later():
        table.set(first.slot, expires_at=environment.now_ms + 45_000)  # the batch would shorten it
        seen.append(held_of(second).belief.deadline)

    hang(environment, bucket, BOUND + 1.0, kind=RenewEach, then=later)
    while not seen:
        environment.run(0.25, bucket)
    assert first.held
    assert held_of(first).belief.renew_at > environment.clock.steady()


def test_a_look_at_the_time_that_hangs_holds_no_lease_of_its_batch(environment, bucket):
    leases, seen = together(environment, bucket, 3), []
    renewals_only(bucket)
    bucket.tap.odd = [7_200.0]
    leases[0].renew()
    assert core_of(bucket).state.time.doubtful
    for lease in leases:
        held_of(lease).belief.renew_at = environment.clock.steady()
    bucket.tap.clear()
    hang(environment, bucket, 9.0, kind=Look, then=lambda: seen.extend(lease.held for lease in leases))
    for _ in range(200):
        environment.run(0.25, bucket)
        if seen:
            break
    assert seen == [True, True, True]
    assert len(bucket.tap.of(Look)) > 1
    environment.run(20.0, bucket)
    assert all(lease.held for lease in leases)


# By hand.


def test_a_renewal_by_hand_that_hangs_keeps_nobody_from_renewing(environment, bucket):
    lease, seen = bucket.acquire(timeout=5), []
    bucket.tap.clear()
    hang(environment, bucket, 28.0, then=lambda: seen.append((lease.held, len(bucket.tap.of(Renew)))))
    lease.renew()
    ((held, renewals),) = seen
    assert held
    assert renewals >= 2
    environment.run(20.0, bucket)
    lease.check()


def test_a_lock_that_was_free_in_between_is_not_passed_by(environment, bucket):
    lease = bucket.acquire(timeout=5)
    serial = held_of(lease).attempts.serial
    for _ in range(5):
        held_of(lease).belief.renew_at = environment.clock.steady()
        bucket.heartbeats.reconsider_all()
        with serial:
            environment.run(2.0, bucket)
        environment.run(2.0, bucket)
    assert held_of(lease).attempts.serial is serial
    lease.check()


def test_what_is_given_up_is_logged(environment, bucket, caplog):
    caplog.set_level(logging.INFO, "ddb_lease")
    lease = bucket.acquire(timeout=5)
    hang(environment, bucket, BOUND + 1.0)
    environment.run(11.0, bucket)
    assert f"lease {lease.id}: no answer to a renewal for 7.5 s; it is renewed anew (1)" in caplog.text


def test_a_release_waits_for_no_attempt_that_was_given_up(environment, bucket, table):
    lease, seen = bucket.acquire(timeout=5), []

    def release():
        serial = held_of(lease).attempts.serial
        seen.append(serial.acquire(blocking=False))
        serial.release()
        seen.append(lease.release())

    hang(environment, bucket, BOUND + 1.0, then=release)
    environment.run(11.0, bucket)
    assert seen == [True, True]
    assert isinstance(bucket.tap.sent[-1], Release)
    assert leases_in(table) == {}


def test_a_client_of_the_users_own_is_given_up_by_a_quarter_of_the_lease(environment, bucket, client):
    assert core_of(bucket).connection.call_seconds(30.0) > BOUND
    lease, seen = bucket.acquire(timeout=5), []
    for seconds in (BOUND - 0.02, BOUND + 0.02):
        hang(environment, bucket, seconds, then=lambda: seen.append(held_of(lease).attempts.given_up), step=0.01)
        environment.run(11.0, bucket)
    assert seen == [0, 1]
