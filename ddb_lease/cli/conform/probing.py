"""Sends the probes, one after the other, each in a bucket of its own; reads what each leaves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ddb_lease._protocol.listing import ListPage
from ddb_lease.cli.conform.bucket_probes import bucket_probes
from ddb_lease.cli.conform.hits_probes import hits_probes
from ddb_lease.cli.conform.other_probes import listing_probes, table_probes
from ddb_lease.cli.conform.probe import Finding, Items, Probe, judge
from ddb_lease.cli.conform.rate_probes import rate_probes
from ddb_lease.cli.conform.slot_probes import slot_probes
from ddb_lease.cli.conform.ticket_probes import ticket_probes
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.client import Client
from ddb_lease.dynamodb.raw import put_items, read_items, send_raw

_KEY: Final = ("pk", "sk")


def all_probes(run: str) -> list[Probe]:
    """All probes, in the order in which they are sent.

    Args:
        run: What distinguishes this run's request tokens from those of all others: the service remembers tokens.
    """
    numbers = itertools.count()

    def token() -> str:
        return f"{run}-{next(numbers)}"

    return [
        *slot_probes(),
        *bucket_probes(token),
        *ticket_probes(),
        *rate_probes(token),
        *hits_probes(),
        *table_probes(token),
        *listing_probes(),
    ]


def requests_of(probes: list[Probe]) -> int:
    """How many requests they take in all: what is put before them, they themselves, and a read after each."""
    return sum(len(probe.before) + len(probe.first) + 1 + (not probe.table) for probe in probes)


def findings(client: Client, table: str, probes: list[Probe]) -> Iterator[Finding]:
    """Send the probes one after the other.

    Args:
        client: A client that does not retry.
        table: A table that has nothing else in it.
        probes: The probes.

    Raises:
        StoreUnavailable: The service does not answer.
        StoreRejected: There are no credentials, or a permission is missing.
    """
    for place, probe in enumerate(probes):
        yield find(client, table, probe, bucket=f"probe-{place:02d}")


def find(client: Client, table: str, probe: Probe, *, bucket: str) -> Finding:
    """Send one probe."""
    own = BucketAddress(table=table, bucket=bucket)
    items = BucketAddress(table=table, bucket=f"{bucket}{probe.within}")
    put_items(client, table, [items.key(sort) | item for sort, item in probe.before.items()])
    for request in probe.first:
        send_raw(client, request, own)
    address = BucketAddress(table=f"{table}{probe.table}", bucket=bucket)
    request = probe.request
    if isinstance(request, ListPage) and probe.behind:
        request = replace(request, after=(bucket, probe.behind))
    raw = send_raw(client, request, address, edit=probe.edit)
    return judge(probe, raw, None if probe.table else left_in(client, items))


def left_in(client: Client, address: BucketAddress) -> Items:
    """All items of a bucket, without their keys."""
    return {item["sk"]["S"]: _without_key(item) for item in read_items(client, address)}


def _without_key(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in _KEY}
