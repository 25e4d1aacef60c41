"""Many workers on few tokens while the service refuses writes, or loses its answers. Real processes and a referee."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from ddb_lease import client_config
from scripts.harness.holders import ANSWERS_LOST, hold_contest
from scripts.harness.referee import now
from tests.conftest import TABLE
from tests.faults import proxy as faults
from tests.faults.proxy import Storm, every

TOKENS = 3
WORKERS = 6
SECONDS = 4.0
LEASE = 15.0
"""Seconds: no lease needs a renewal in the contest, so each worker sends one request at a time."""
PROBABILITY = 0.5
IN_A_ROW = 3
"""The most faults in a row for one worker: a release is sent six times, a lost claim is sent again six times, and an
abandoned one is released four times, before they give up."""
RETURN_SECONDS = 2.0
SLACK = 30.0
"""For round trips and a busy machine."""


@pytest.mark.parametrize("kind", [faults.refusals, faults.lost_answers], ids=["refused", ANSWERS_LOST])
def test_in_a_storm_nobody_fails_nothing_is_held_twice_and_nothing_leaks(kind, job, log, new_bucket, proxy, chance):
    proxy.decide = Storm(kind, probability=PROBABILITY, chance=chance, in_a_row=IN_A_ROW)
    how = ANSWERS_LOST if kind is faults.lost_answers else ""
    contest = hold_contest(
        job(endpoint_url=proxy.endpoint_url, tokens=TOKENS, lease_seconds=LEASE, seconds=SECONDS, how=how),
        processes=WORKERS,
    )
    ended = now()
    assert not contest.troubles
    assert not log.complaints(TOKENS)
    assert len(log.spans()) == contest.grants > 0
    assert sum(number for (fate, _), number in proxy.met.items() if fate != "passes") >= WORKERS
    # An acquire that timed out after a lost answer may have left a lease to expire; nothing else may.
    bucket = new_bucket(max_tokens=TOKENS)
    leases = [bucket.acquire(timeout=LEASE + RETURN_SECONDS + SLACK) for _ in range(TOKENS)]
    assert now() < ended + LEASE + RETURN_SECONDS + SLACK
    assert bucket.try_acquire() is None
    for lease in leases:
        assert lease.release()
    status = bucket.status()
    assert (status.minted, status.in_circulation, status.free) == (TOKENS, TOKENS, TOKENS)


# ---- The proxy itself answers like the service.


@pytest.mark.parametrize(
    ("fate", "code"),
    [
        (faults.THROTTLED, "ThrottlingException"),
        (faults.OVER_LIMIT, "ProvisionedThroughputExceededException"),
        (faults.CONFLICT, "TransactionConflictException"),
        (faults.CANCELLED, "TransactionCanceledException"),
        (faults.CANCELLED_THROTTLED, "TransactionCanceledException"),
        (faults.EXPIRED, "ExpiredTokenException"),
        (faults.ANSWER_SPOILT, "InternalServerError"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_botocore_takes_what_the_proxy_says_for_dynamodbs_own_words(proxy, session, bucket_name, table, fate, code):
    client = session.client("dynamodb", endpoint_url=proxy.endpoint_url, config=client_config(30))
    proxy.decide = every(fate)
    puts = [{"Put": {"TableName": TABLE, "Item": table.key(name)}} for name in ("one", "two")]
    with pytest.raises(ClientError) as raised:
        client.transact_write_items(TransactItems=puts)
    client.close()
    said = raised.value.response
    assert said["Error"]["Code"] == code
    assert said["ResponseMetadata"]["RequestId"] and said["ResponseMetadata"]["HTTPHeaders"]["date"]
    reasons = [reason["Code"] for reason in said.get("CancellationReasons", [])]
    if fate in {faults.CANCELLED, faults.CANCELLED_THROTTLED}:
        assert reasons in (["None", "TransactionConflict"], ["None", "ThrottlingError"])
    # And only a request that is said to commit does.
    assert (table.get("one") is not None) is fate.commits
    assert proxy.count(fate.name) == 1
