"""An interrupted renewal by hand costs no lease and forgets no loss, wherever the interrupt comes."""

import sys

import pytest

from ddb_lease import LeaseLost, LossReason
from scripts.harness.inside import held_of
from tests.interrupting import Interrupter, without_collector

CONTRACT = True  # the simulator's DynamoDB too
NOT_ON = ("embedded", "ministack")  # what is tried out is this process, not the engine: once is enough

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def renew_with(interrupter, lease):
    """Renew under the interrupter; returns what came of it."""
    with without_collector():
        sys.setprofile(interrupter)
        try:
            lease.renew()
        except (KeyboardInterrupt, LeaseLost) as raised:
            return type(raised)
        else:
            return None
        finally:
            sys.setprofile(None)


def sweep(bucket, environment, before, after):
    """Interrupt a renewal at each point in turn; `before` and `after` do the rest. Returns where `after` complains."""
    wrong, strike_at = [], 1
    while True:
        told = []
        lease = bucket.acquire(timeout=5, on_lost=lambda lease, told=told: told.append(lease.lost))
        before(lease)
        interrupter = Interrupter(strike_at)
        renew_with(interrupter, lease)
        complaint = after(lease, told)
        if complaint:
            wrong.append((strike_at, interrupter.struck_at, complaint))
        lease.release()
        if interrupter.struck_at is None:
            break
        strike_at += 1
    assert strike_at > 50, "the interrupter has hardly met the library"
    return wrong


@pytest.fixture
def bucket(environment):
    return environment.bucket(max_tokens=1)


def test_an_interrupt_at_any_point_of_a_renewal_costs_no_lease(environment, bucket, table):
    def after(lease, told):
        environment.run(12, bucket, step=1.0)
        serial = held_of(lease).attempts.serial
        free = serial.acquire(blocking=False)
        if free:
            serial.release()
        renewed = lease.remaining > 15.0
        kept = lease.held and renewed and not told
        return None if kept and free else f"held: {lease.held}, renewed: {renewed}, lock free: {free}, told: {told}"

    def before(lease):
        environment.clock.pass_time(1.0)

    assert not sweep(bucket, environment, before, after)


def test_an_interrupt_at_any_point_of_a_renewal_that_loses_the_lease_forgets_no_callback(environment, bucket, table):
    jobs = []
    bucket.heartbeats.callbacks.submit = lambda job, **_: jobs.append(job)  # on another thread, later

    def after(lease, told):
        environment.run(12, bucket, step=1.0)
        while jobs:
            jobs.pop(0)()
        return None if told == [LossReason.GONE] else f"told: {told}"

    assert not sweep(bucket, environment, lambda lease: table.delete(lease.slot), after)
