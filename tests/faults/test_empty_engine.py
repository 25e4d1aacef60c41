"""An engine that is restarted empty while tokens are held, as may happen to one that keeps its tables in memory.

Nobody can know what it forgot: a bucket that is created again knows nothing of the earlier holders. So nothing is
promised until they have found out; from then on all promises hold again.
"""

from __future__ import annotations

import pytest

from ddb_lease import LeaseLost, LossReason, StoreRejected
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.table import create_table
from scripts.harness.holders import PATIENCE, UNANSWERED, hold_contest, started
from tests.conftest import TABLE
from tests.faults.programs import hold_through
from tests.support import eventually

TOKENS = 3
LEASE = 6.0


@pytest.fixture
def make_table(engine, session):
    """Creates the table; again at the end, as the other tests need it."""

    def make():
        create_table(
            TABLE, connection=ConnectionSettings(session=session, endpoint_url=engine.endpoint_url), clock=SystemClock()
        )

    yield make
    make()


def test_a_holder_finds_out_that_the_engine_came_back_empty_and_then_all_promises_hold(
    engine, job, log, new_bucket, bucket_name, make_table
):
    calls = []
    patient = new_bucket(bucket_name + "-patient", max_tokens=1, lease_seconds=60).acquire(
        timeout=PATIENCE, on_lost=lambda lease: calls.append(lease.lost)
    )
    jobs = [job(number=number, tokens=TOKENS, lease_seconds=LEASE) for number in range(TOKENS)]
    with started(hold_through, *jobs) as holders:
        fences = {said["slot"]: said["fence"] for said in (holder.expect("held") for holder in holders)}
        engine.restart_empty()
        # While there is no table, renewals fail, but for all we know they may succeed again.
        for holder in holders:
            assert holder.expect("lost")["reason"] in UNANSWERED
        with pytest.raises(StoreRejected, match="does not exist: make it with"):
            patient.renew()
        patient.check()
        make_table()
        # With a table and no item in it, a lease is gone.
        eventually(lambda: patient.lost, within=PATIENCE)
        assert patient.lost is LossReason.GONE
        with pytest.raises(LeaseLost):
            patient.check()
        contest = hold_contest(job(number=TOKENS, tokens=TOKENS, lease_seconds=10.0, seconds=3.0), processes=2)
        assert not contest.troubles
        assert contest.grants
        for holder in holders:
            holder.tell()
        for holder in holders:
            watched = holder.expect("watched")
            assert (watched["held"], watched["refused"], watched["calls"]) == (False, True, 1)
        for holder in holders:
            again = holder.expect("again")
            assert again["fence"] > fences[again["slot"]]
            assert holder.wait() == 0
    eventually(lambda: calls, within=PATIENCE)
    assert calls == [LossReason.GONE]
    assert not log.complaints(TOKENS)
    status = new_bucket().status()
    assert (status.minted, status.in_circulation, status.free) == (TOKENS, TOKENS, TOKENS)
