"""Many short-lived processes, killed with SIGKILL at random instants; the seed is printed. Real processes."""

from __future__ import annotations

import contextlib

from ddb_lease import LeaseLost
from scripts.harness.holders import note_held, started
from scripts.harness.referee import now
from tests.faults.programs import bear_the_doomed

TOKENS = 8
LEASE = 4.0
"""Seconds: how long a killed holder blocks its slot."""
KILLS = 24
AT_ONCE = 4
RETURN_SECONDS = 2.0
SLACK = 40.0
"""For round trips and a busy machine."""


def test_whatever_instant_workers_are_killed_at_nothing_is_held_twice_and_every_token_comes_back(
    job, log, new_bucket, seed
):
    doomed = job(tokens=TOKENS, lease_seconds=LEASE, rounds=KILLS, threads=AT_ONCE, how=seed)
    survivor = job(number=-1)
    with started(bear_the_doomed, doomed) as [mother]:
        killed = mother.expect("killed", within=110)
        assert killed["born"] == killed["killed"] >= KILLS  # nobody died of anything else
        assert killed["held"] >= KILLS / 3
        bucket = new_bucket(max_tokens=TOKENS, lease_seconds=LEASE)
        had = set()
        while len(had) < TOKENS:
            lease = bucket.acquire(timeout=LEASE + RETURN_SECONDS + SLACK)
            had.add(lease.slot)  # held, so that the next is another; a slot that is lost under load comes again
            with contextlib.suppress(LeaseLost):
                note_held(survivor, lease)
        assert now() < killed["last"] + LEASE + RETURN_SECONDS + SLACK
    bucket.close()
    assert not log.complaints(TOKENS)
    status = new_bucket(max_tokens=TOKENS, lease_seconds=LEASE).status()
    assert (status.minted, status.in_circulation) == (TOKENS, TOKENS)
