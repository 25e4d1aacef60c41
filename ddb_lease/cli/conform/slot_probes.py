"""Probes of requests to one slot, and of looks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ddb_lease._protocol.messages import Look, RenewEach
from ddb_lease._protocol.records import PER_BATCH
from ddb_lease.cli.conform.probe import Items, Probe
from ddb_lease.cli.conform.samples import (
    LONG_AGO,
    MINE,
    NOW,
    RELEASED,
    RENEWED,
    YES,
    adopt,
    claim,
    close,
    counter,
    free,
    hand_over,
    leased,
    release,
    renew,
    revoke,
)
from ddb_lease.dynamodb.items import number, slot_key, text

_REFUSED: Final = "ConditionalCheckFailedException"
_SHOWN: Final = f"{_REFUSED} with the item"
_SLOT: Final = slot_key(0)


def slot_probes() -> Iterator[Probe]:
    """All of them."""
    yield from _looks()
    yield from _claims()
    yield from _renewals()
    yield from _batches()
    yield from _adoptions()
    yield from _releases()


def _looks() -> Iterator[Probe]:
    bucket: Items = {"counter": counter(), slot_key(0): free(), slot_key(1): leased(), "wait": {"x": text("foreign")}}
    yield Probe(
        name="look at a bucket that does not exist",
        request=Look(limit=10, consistent=False),
        answer="ok, 0 items",
        read="Seen",
        units=0.5,
    )
    yield Probe(
        name="look, eventually consistent",
        request=Look(limit=10, consistent=False),
        before=bucket,
        answer="ok, 3 items",
        read="Seen",
        units=0.5,
    )
    yield Probe(
        name="look, consistent, with owners and data",
        request=Look(limit=10, consistent=True, whole=True),
        before=bucket,
        answer="ok, 3 items",
        read="Seen",
        units=1,
    )
    yield Probe(
        name="look at a first page that leaves slots over",
        request=Look(limit=1, consistent=True),
        before=bucket,
        answer="ok, 2 items, more",
        read="Seen",
        units=1,
    )
    yield Probe(
        name="look at a window of slots without the counter",
        request=Look(start=1, limit=5, consistent=True),
        before=bucket,
        answer="ok, 1 item",
        read="Seen",
        units=1,
    )


def _claims() -> Iterator[Probe]:
    # A free slot that keeps nothing of its last lease.
    yield Probe(name="claim a free slot", request=claim(), before={_SLOT: free()}, units=1, after={_SLOT: MINE})
    yield Probe(
        name="claim with data of every kind",
        request=claim(data={"s": "x", "n": 1, "b": True, "none": None, "list": [1], "map": {"k": "v"}}),
        before={_SLOT: free()},
        units=1,
        after={
            _SLOT: MINE
            | {
                "data": {
                    "M": {
                        "s": text("x"),
                        "n": number(1),
                        "b": YES,
                        "none": {"NULL": True},
                        "list": {"L": [number(1)]},
                        "map": {"M": {"k": text("v")}},
                    }
                }
            }
        },
    )
    yield Probe(
        name="claim a slot whose lease has expired",
        request=claim(),
        before={_SLOT: leased(expires_at=LONG_AGO, revoked=text("operator"))},
        units=1,
        after={_SLOT: MINE | {"revoked": None}},
    )
    yield Probe(name="claim a slot that does not exist", request=claim(), answer=_REFUSED, read="Refused")
    refused: dict[str, Items] = {
        "claim a slot with a running lease": {_SLOT: leased()},
        "claim a retired slot": {_SLOT: free(retired=YES)},
        "claim with a fence that does not rise": {_SLOT: free(fence=100)},
        "claim a slot whose fence is a string": {_SLOT: {"fence": text("10")}},
        "claim an item without a fence": {_SLOT: {"x": text("foreign")}},
    }
    for name, before in refused.items():
        yield Probe(name=name, request=claim(), before=before, answer=_SHOWN, read="Refused")


def _renewals() -> Iterator[Probe]:
    yield Probe(
        name="renew",
        request=renew(),
        before={_SLOT: leased("mine")},
        answer="ok, shows the item",
        units=1,
        after={_SLOT: RENEWED},
    )
    yield Probe(
        name="renew a lease that is revoked",
        request=renew(),
        before={_SLOT: leased("mine", revoked=text("operator"))},
        answer="ok, shows the item",
        units=1,
        after={_SLOT: RENEWED},
    )
    yield Probe(name="renew on a slot that does not exist", request=renew(), answer=_REFUSED, read="Refused")
    refused: dict[str, Items] = {
        "renew a lease of another": {_SLOT: leased()},
        "renew on a free slot": {_SLOT: free()},
        "renew to an earlier expiry": {_SLOT: leased("mine", expires_at=NOW + 30_001)},
    }
    for name, before in refused.items():
        yield Probe(name=name, request=renew(), before=before, answer=_SHOWN, read="Refused")


def _batches() -> Iterator[Probe]:
    bucket: Items = {_SLOT: leased("mine"), slot_key(1): leased()}
    yield Probe(
        name="renew in a batch",
        request=RenewEach(renewals=(renew(),)),
        before=bucket,
        answer="ok [item]",
        read="Each [Done]",
        units=1,
        after={_SLOT: RENEWED},
    )
    yield Probe(
        name="a batch of a renewal, a lease of another, and a missing slot",
        request=RenewEach(renewals=(renew(), renew(slot=1), renew(slot=2))),
        before=bucket,
        answer="ok [item, 2 x ConditionalCheckFailed]",
        read="Each [Done, 2 x Refused]",
        units=3,
        after={_SLOT: RENEWED},
    )
    yield Probe(
        name="a batch with a renewal to an earlier expiry",
        request=RenewEach(renewals=(renew(), renew("other", slot=1, expires_at=NOW - 1))),
        before=bucket,
        answer="ok [item, ConditionalCheckFailed]",
        read="Each [Done, Refused]",
        units=2,
        after={_SLOT: RENEWED},
    )
    full = {slot_key(n): leased("mine") for n in range(PER_BATCH)}
    yield Probe(
        name="a full batch of renewals",
        request=RenewEach(renewals=tuple(renew(slot=n) for n in range(PER_BATCH))),
        before=full,
        answer=f"ok [{PER_BATCH} x item]",
        read=f"Each [{PER_BATCH} x Done]",
        units=PER_BATCH,
        after=dict.fromkeys(full, RENEWED),
    )
    yield Probe(
        name="a batch with two renewals of one slot",
        request=RenewEach(renewals=(renew(), renew())),
        before=bucket,
        answer="ValidationException",
        read="Rejected",
    )


def _adoptions() -> Iterator[Probe]:
    given = leased(data={"M": {"k": text("v")}}, retired=YES)
    yield Probe(
        name="renew to hand over",
        request=hand_over(),
        before={_SLOT: leased("mine")},
        answer="ok, shows the item",
        units=1,
        after={_SLOT: RENEWED | {"owner": text("owner (handed over)")}},
    )
    yield Probe(
        name="adopt a lease on a retired slot",
        request=adopt("", 0),
        before={_SLOT: given},
        units=1,
        after={_SLOT: MINE | {"data": None}},
    )
    yield Probe(name="adopt on a slot that does not exist", request=adopt("", 0), answer=_REFUSED, read="Refused")
    refused: dict[str, Items] = {
        "adopt another lease than the one handed over": {_SLOT: leased("third")},
        "adopt a lease that was released": {_SLOT: free()},
        "adopt a lease that is revoked": {_SLOT: leased(revoked=text("operator"))},
        "adopt with a fence that does not rise": {_SLOT: leased(fence=100)},
    }
    for name, before in refused.items():
        yield Probe(name=name, request=adopt("", 0), before=before, answer=_SHOWN, read="Refused")


def _releases() -> Iterator[Probe]:
    yield Probe(
        name="release",
        request=release(),
        before={_SLOT: leased("mine", revoked=text("operator"), data={"M": {"k": text("v")}})},
        units=1,
        after={_SLOT: RELEASED | {"ttl": RENEWED["ttl"], "revoked": None, "data": None}},
    )
    yield Probe(
        name="release without knowing the time",
        request=release(ttl=None),
        before={_SLOT: leased("mine")},
        units=1,
        after={_SLOT: RELEASED},
    )
    yield Probe(
        name="release a lease of another", request=release(), before={_SLOT: leased()}, answer=_SHOWN, read="Refused"
    )
    yield Probe(name="release on a slot that does not exist", request=release(), answer=_REFUSED, read="Refused")
    yield Probe(
        name="close",
        request=close(),
        before={_SLOT: leased("mine", revoked=text("operator"), data={"M": {"k": text("v")}})},
        units=1,
        after={_SLOT: RENEWED | {"lease_id": text("closed-mine"), "revoked": None, "data": None}},
    )
    yield Probe(
        name="close on the lease of another", request=close(), before={_SLOT: leased()}, answer=_SHOWN, read="Refused"
    )
    yield Probe(name="close a slot that does not exist", request=close(), answer=_REFUSED, read="Refused")
    yield Probe(
        name="revoke",
        request=revoke(),
        before={_SLOT: leased("mine")},
        units=1,
        after={_SLOT: {"revoked": text("operator")}},
    )
    yield Probe(name="revoke a lease that is gone", request=revoke(), answer=_REFUSED, read="Refused")
    yield Probe(
        name="revoke another lease than the one meant",
        request=revoke(),
        before={_SLOT: leased()},
        answer=_SHOWN,
        read="Refused",
    )
