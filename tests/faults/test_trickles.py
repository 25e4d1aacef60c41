"""Answers that trickle: each read ends within its timeout, the call as a whole does not. Real connections."""

from __future__ import annotations

import pytest

from ddb_lease import client_config
from scripts.harness.inside import core_of
from tests.faults.proxy import PASSES, trickling
from tests.support import eventually, leases_in, renew_soon

LEASE = 6.0
"""Seconds; a read times out after 0.6 s."""

TRICKLES = trickling(0.1)
"""Some hundred bytes take half a minute or more."""

RENEWALS = {"UpdateItem", "BatchExecuteStatement"}


@pytest.fixture
def bucket(new_bucket, session, proxy):
    client = session.client("dynamodb", endpoint_url=proxy.endpoint_url, config=client_config(LEASE))
    return new_bucket(max_tokens=4, lease_seconds=LEASE, client=client)


def test_a_renewal_whose_answer_trickles_costs_no_lease_of_its_batch(bucket, proxy, table):
    leases = [bucket.acquire(timeout=60) for _ in range(4)]

    def decide(asked):
        new = asked.operation in RENEWALS and proxy.met["trickles", asked.operation] < 1
        return TRICKLES if new else PASSES

    proxy.decide = decide
    before = {slot: item["expires_at"] for slot, item in table.slots().items()}
    renew_soon(leases, core_of(bucket).runtime.heartbeat())
    eventually(
        lambda: all(table.get(lease.slot)["expires_at"] > before[lease.slot] + LEASE * 1000 for lease in leases),
        within=60,
    )
    assert proxy.count("trickles") >= 1
    assert all(lease.held for lease in leases)
    for lease in leases:
        assert lease.release()
    assert leases_in(table) == {}
