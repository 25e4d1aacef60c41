"""Probes of rates: charges, settlements, policies, and what an operator does to a key. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ddb_lease._protocol.rates.messages import (
    Block,
    ChangePolicy,
    ChargeTogether,
    CreatePolicy,
    ListKeys,
    Override,
    ReadKey,
    ReadPolicy,
    Reset,
)
from ddb_lease._protocol.rates.records import KeyState, LimitState, Policy
from ddb_lease.cli.conform.bucket_probes import Tokens
from ddb_lease.cli.conform.probe import Probe
from ddb_lease.cli.conform.rate_samples import (
    CHARGED,
    HELD,
    HOLD,
    ITEM,
    KEY,
    LIMIT,
    PARENT,
    POLICY,
    REV,
    SHARD,
    charge,
    key,
    limit,
    part,
    policy,
    settle,
)
from ddb_lease.cli.conform.samples import LATER
from ddb_lease.dynamodb.items import Wire, number, text
from ddb_lease.dynamodb.rates.items import encode_limits, shard_of

_REFUSED: Final = "ConditionalCheckFailedException"
_SHOWN: Final = "ok, shows the item"
_POLICY: Final = "policy"
_PARENT: Final = f"rate#{PARENT}"


def rate_probes(token: Tokens) -> Iterator[Probe]:
    """All of them."""
    yield from _charges()
    yield from _refused_charges()
    yield from _charges_together(token)
    yield from _reservations()
    yield from _reads()
    yield from _policies()
    yield from _steering()


def _charges() -> Iterator[Probe]:
    busy, first = charge(part("busy")), CHARGED | _at(1_010)
    yield _written("the first charge", charge(), after=key() | first)
    yield _written("charge a limit that is paid for", charge(), key(requests=999), first)
    yield _written("charge on top of what is not paid for", busy, key(requests=1_090), CHARGED | _at(1_100))
    yield _written(
        "book ahead, within the horizon", replace(busy, horizon=50), key(requests=1_140), CHARGED | _at(1_150)
    )
    yield _written(
        "charge two limits",
        charge(part(), part("busy", "tokens")),
        key(requests=999, tokens=1_050),
        first | limit("tokens", 1_060),
    )
    yield _written(
        "the first charge under a changed policy",
        charge(part("cut", cut=1_060), part("kept", "tokens", charged=0, cut=2_000), rev=REV + 1, adopts=True),
        key(requests=9_000, tokens=1_050),
        CHARGED | _at(1_070) | {"rev": number(REV + 1)},
    )
    yield _written(
        "charge a key that is overridden, which stays",
        charge(override_rev=3, ttl=None),
        key() | {"override_rev": number(3), "ttl": number(LATER)},
        first | {"ttl": None},
    )


def _refused_charges() -> Iterator[Probe]:
    busy, overridden = charge(part("busy")), {"override_rev": number(3)}
    refused = {
        "charge as if paid for what is not": (charge(), key(requests=1_000)),
        "charge beyond the tolerance": (busy, key(requests=1_091)),
        "charge on top where all is paid for": (busy, key(requests=999)),
        "charge an attempt again": (busy, key(requests=1_050) | CHARGED),
        "charge a limit that is held": (charge(), key(requests=(999, 91))),
        "charge two limits of which one is used up": (
            charge(part(), part("busy", "tokens")),
            key(requests=999, tokens=1_091),
        ),
        "charge under an older policy": (charge(), key(rev=REV + 1, requests=999)),
        "charge a key that is blocked": (charge(), key(requests=999) | {"blocked_until": number(1_001)}),
        "charge a key whose override is not known": (charge(), key(requests=999) | overridden),
    }
    for name, (request, item) in refused.items():
        yield _refused(name, request, item)
    yield _refused("charge an item of another shape", charge(), {"x": text("foreign")}, read="Rejected")
    yield _refused("charge on top of nothing", busy)


def _charges_together(token: Tokens) -> Iterator[Probe]:
    def both() -> ChargeTogether:
        return ChargeTogether(charges=(charge(), charge(of=PARENT)), token=token())

    charged = CHARGED | _at(1_010)
    yield Probe(
        name="charge a key and its parent",
        request=both(),
        before={ITEM: key(requests=999)},
        within=SHARD,
        units=4,
        after={ITEM: charged, _PARENT: key() | charged},
    )
    yield Probe(
        name="charge a key and its parent that is used up",
        request=both(),
        before={ITEM: key(requests=999), _PARENT: key(requests=1_000)},
        within=SHARD,
        answer="TransactionCanceledException [None, ConditionalCheckFailed with the item]",
        read="TogetherRefused",
    )


def _reservations() -> Iterator[Probe]:
    reserving = charge(part(name="tokens", charged=0, reserved=9), process="p", hold=HOLD)
    held, more = {"hold#p": HELD}, replace(reserving, hold_before="held")
    yield _written("reserve", reserving, key(tokens=999), CHARGED | {**held, **limit("tokens", 1_000, 9)})
    yield _refused("reserve more, where the hold is gone", more, key(tokens=999))
    yield _refused("reserve as if for the first time", reserving, key(tokens=999) | held)
    reserved = key(tokens=(1_050, 9)) | held
    settled = {"hold#p": None, "a1": text("settled")}
    yield _written("settle less than was reserved", settle(), reserved, settled | limit("tokens", 1_054))
    yield _written(
        "settle where all else is paid for",
        settle(idle=True),
        key(tokens=(999, 9)) | held,
        settled | limit("tokens", 1_004),
    )
    yield _refused("settle what is settled", settle(), key(tokens=1_050))
    yield _refused("settle more than is held", settle(), key(tokens=(1_050, 8)) | held)


def _reads() -> Iterator[Probe]:
    item = {ITEM: key(requests=1)}
    for name, before, answer, units in (
        ("read a key", item, "ok, 1 item", 1),
        ("read a key that does not exist", {}, "ok, 0 items", None),
    ):
        yield Probe(
            name=name, request=ReadKey(key=KEY), before=before, within=SHARD, answer=answer, read="KeyIs", units=units
        )
    yield Probe(
        name="list the keys of a shard, page by page",
        request=ListKeys(shard=shard_of(KEY), limit=1),
        before=item | {_PARENT: key(requests=1)},
        within=SHARD,
        answer="ok, 1 item, more",
        read="KeysAre",
        units=0.5,
    )


def _policies() -> Iterator[Probe]:
    stored, create = {_POLICY: policy()}, CreatePolicy(policy=POLICY)
    changed = replace(LIMIT, burst=20)
    change = ChangePolicy(policy=Policy(limits={"requests": changed}, rev=REV + 1), rev_before=REV)
    yield Probe(
        name="read a policy",
        request=ReadPolicy(consistent=False),
        before=stored,
        answer="ok, 1 item",
        read="PolicyIs",
        units=0.5,
    )
    yield Probe(
        name="read a policy that does not exist",
        request=ReadPolicy(consistent=True),
        answer="ok, 0 items",
        read="PolicyIs",
    )
    yield Probe(name="create a policy", request=create, read="PolicyIs", units=1, after=stored)
    yield Probe(
        name="create a policy that exists",
        request=create,
        before={_POLICY: policy(5)},
        answer=f"{_REFUSED} with the item",
        read="PolicyRefused",
    )
    yield Probe(
        name="change a policy",
        request=change,
        before=stored,
        read="PolicyIs",
        units=1,
        after={_POLICY: policy(REV + 1, requests=changed)},
    )
    yield Probe(
        name="change a policy that is not as seen",
        request=change,
        before={_POLICY: policy(REV + 1)},
        answer=f"{_REFUSED} with the item",
        read="PolicyRefused",
    )


def _steering() -> Iterator[Probe]:
    limits, override = {"requests": LIMIT}, {"override": encode_limits({"requests": LIMIT})}
    change = Override(
        key=KEY, limits=limits, cuts={"requests": 1_100}, override_rev=0, override_rev_after=3, rev=REV, ttl=None
    )
    drop = Override(key=KEY, limits={}, override_rev=3, override_rev_after=4, rev=REV, ttl=LATER)
    overridden = key(requests=999) | override | {"override_rev": number(3)}
    yield _written(
        "override a key, and cut what was charged before",
        change,
        key(requests=9_000) | CHARGED,
        _at(1_100) | override | {"override_rev": number(3), "ttl": None},
    )
    yield _written(
        "end an override", drop, overridden, {"override": None, "override_rev": number(4), "ttl": number(LATER)}
    )
    yield _refused("end an override that has changed", drop, overridden | {"override_rev": number(5)})
    block = Block(key=KEY, until=5_000, rev=REV, override_rev=0, ttl=LATER)
    yield _written("block a key", block, after=key() | {"blocked_until": number(5_000), "ttl": number(LATER)})
    seen = KeyState(limits={"requests": LimitState(tat=1_050, held=9, reach=1_059)}, rev=REV, holds={"p": HOLD})
    reset = Reset(key=KEY, seen=seen, others=("tokens",))
    used = key(requests=(1_050, 9)) | {"hold#p": HELD}
    yield _written("reset a key", reset, used, dict.fromkeys((*_at(0), "hold#p")))
    yield _refused("reset a key that was charged for the first time", reset, used | limit("tokens", 1))


def _at(tat: int) -> Wire:
    return limit("requests", tat)


def _written(name: str, request: Any, before: Wire | None = None, after: Wire | None = None) -> Probe:  # noqa: ANN401 - a rate request
    return Probe(
        name=name,
        request=request,
        before={} if before is None else {ITEM: before},
        within=SHARD,
        answer=_SHOWN,
        read="KeyWritten",
        units=1,
        after={ITEM: after or {}},
    )


def _refused(name: str, request: Any, item: Wire | None = None, read: str = "KeyRefused") -> Probe:  # noqa: ANN401 - a rate request
    return Probe(
        name=name,
        request=request,
        before={} if item is None else {ITEM: item},
        within=SHARD,
        answer=_REFUSED if item is None else f"{_REFUSED} with the item",
        read=read,
    )
