"""A holder is cut off from the service, in one way or another, while all others continue. Real processes.

The holders' own notes, all by one steady clock, show that nobody else had a slot while its holder believed in it. Bounds
on time are generous: they tell "some time" from "never", on a machine that may be busy.
"""

from __future__ import annotations

from contextlib import ExitStack

from ddb_lease import Lease, StoreUnavailable
from scripts.harness.holders import PATIENCE, UNANSWERED, note_held, started
from scripts.harness.inside import core_of
from scripts.harness.referee import now
from tests.faults.programs import hold_through
from tests.faults.proxy import (
    ANSWER_DROPPED,
    ANSWER_SPOILT,
    RESET,
    Proxy,
    answered_late,
    every,
    sent_late,
)
from tests.support import eventually

LEASE = 6.0
LONG_LEASE = 24.0
"""Seconds: so long that renewals are retried many times after the first failure."""
LATE = 3.0
"""Seconds by which requests or answers are late: more than a tenth of the lease, when the client gives up."""


def refuse(proxy: Proxy) -> None:
    proxy.refuse()


def decide(fate):
    """A partition in which every request meets this fate."""

    def cut_off(proxy: Proxy) -> None:
        proxy.decide = every(fate)

    return cut_off


WAYS = {
    "refused": refuse,
    "reset": decide(RESET),
    "sent late": decide(sent_late(LATE)),
    "answered late": decide(answered_late(LATE)),
    "answer dropped": decide(ANSWER_DROPPED),
    "answer spoilt": decide(ANSWER_SPOILT),
}
"""How a holder may be cut off. In the last three, its renewals happen, but it never gets the answers."""


def renew(lease: Lease) -> None:
    """Check with retries: an answer may take longer than such a short lease waits. A lost lease is reported at once."""
    while True:
        try:
            return lease.renew()
        except StoreUnavailable:
            lease.check()


def test_a_partitioned_holder_loses_its_lease_before_another_has_the_slot_and_for_good(
    job, log, new_bucket, new_proxy, table
):
    """All ways at once: one holder and one proxy for each, and a bucket with as many tokens."""
    tokens = len(WAYS)
    proxies = {way: new_proxy() for way in WAYS}
    jobs = [
        job(endpoint_url=proxy.endpoint_url, number=number, tokens=tokens, lease_seconds=LEASE)
        for number, proxy in enumerate(proxies.values())
    ]
    with started(hold_through, *jobs) as processes, ExitStack() as held:
        holders = dict(zip(WAYS, processes, strict=True))
        fences = {said["slot"]: said["fence"] for said in (holder.expect("held") for holder in processes)}
        assert sorted(fences) == list(range(tokens))
        for way, cut_off in WAYS.items():
            cut_off(proxies[way])
        successor = new_bucket(max_tokens=tokens, lease_seconds=LEASE)
        for _ in range(tokens):
            lease = held.enter_context(successor.acquire(timeout=PATIENCE))
            note_held(job(number=tokens), lease)
            assert lease.fence > fences[lease.slot]
        for way, holder in holders.items():
            assert holder.expect("lost")["reason"] in UNANSWERED, way
            assert way == "refused" or proxies[way].count(way), way
        # Then the partition heals: parked requests arrive, and none of them may revive or disturb a lease.
        for proxy in proxies.values():
            proxy.heal()
        for holder in processes:
            holder.tell()
        for way, holder in holders.items():
            watched = holder.expect("watched")
            assert (watched["held"], watched["refused"]) == (False, True), way
            assert (watched["reason"] in UNANSWERED, watched["calls"]) == (True, 1), way
        for lease in core_of(successor).leases.values():
            renew(lease)
            note_held(job(number=tokens), lease)
            assert table.get(lease.slot)["lease_id"] == lease.id
        held.close()
        for way, holder in holders.items():
            assert holder.expect("again"), way
            assert holder.wait() == 0, way
    assert not log.complaints(tokens)
    assert not [slot for slot in table.slots().values() if "lease_id" in slot]


def test_a_partition_that_heals_in_time_costs_no_lease(job, log, new_proxy, table):
    """All ways at once, again: each holder fails to renew at least once, reaches the service again, and continues."""
    tokens = len(WAYS)
    proxies = {way: new_proxy() for way in WAYS}
    jobs = [
        job(endpoint_url=proxy.endpoint_url, number=number, tokens=tokens, lease_seconds=LONG_LEASE)
        for number, proxy in enumerate(proxies.values())
    ]
    with started(hold_through, *jobs) as processes:
        holders = dict(zip(WAYS, processes, strict=True))
        slots = {way: holder.expect("held") for way, holder in holders.items()}
        for way, cut_off in WAYS.items():
            cut_off(proxies[way])
        all_are_due = now() + LONG_LEASE / 3  # a connection that is refused leaves no trace in the proxy
        eventually(lambda: now() > all_are_due, within=PATIENCE)
        for way, proxy in proxies.items():
            eventually(lambda way=way, proxy=proxy: way == "refused" or proxy.count(way) > 0, within=LONG_LEASE / 3)
        before = {way: proxy.count("passes", on="UpdateItem") for way, proxy in proxies.items()}
        for proxy in proxies.values():
            proxy.heal()
        for way, proxy in proxies.items():
            # A renewal that was sent after the partition, not one whose answer was lost during it.
            eventually(
                lambda way=way, proxy=proxy: proxy.count("passes", on="UpdateItem") > before[way], within=LONG_LEASE
            )
            assert table.get(slots[way]["slot"])["lease_id"] == slots[way]["lease_id"], way
        for holder in processes:
            holder.tell()
        for way, holder in holders.items():
            kept = holder.expect("kept")
            assert (kept["calls"], kept["released"]) == (0, True), way
            assert holder.wait() == 0, way
    assert not log.complaints(tokens)
