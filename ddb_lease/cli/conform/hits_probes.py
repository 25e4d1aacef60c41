"""Probes of requests about the hits of the storage for `limits`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ddb_lease._protocol.hits import AddHits, BeginHits, DropHits, HitsKey, HitsRequest, ListHits, ReadHits, SlideHits
from ddb_lease.cli.conform.probe import Items, Probe
from ddb_lease.cli.conform.samples import LATER, NOW, TTL
from ddb_lease.dynamodb.hits import hits_key
from ddb_lease.dynamodb.items import Wire, number
from ddb_lease.dynamodb.rates.items import shard_name, shard_of

_REFUSED: Final = "ConditionalCheckFailedException"
_SHOWN: Final = f"{_REFUSED} with the item"
_FIXED: Final = HitsKey(key="customer-7")
_SLIDING: Final = HitsKey(key="customer-7", length=60_000)
_SHARD: Final = shard_name("", shard_of(_FIXED.key))
_END: Final = NOW + 60_000


def _fixed(count: int, *, ends_at: int = _END) -> Items:
    return {hits_key(_FIXED): {"count": number(count), "ends_at": number(ends_at), "ttl": number(TTL)}}


def _sliding(window: int, *, count: int, previous: int) -> Items:
    numbers = {"window": window, "count": count, "previous": previous, "ttl": TTL}
    return {hits_key(_SLIDING): {name: number(value) for name, value in numbers.items()}}


def hits_probes() -> Iterator[Probe]:
    """All of them."""
    add = AddHits(key=_FIXED, n=2, now=NOW)
    begin = BeginHits(key=_FIXED, n=2, now=NOW, ends_at=_END, ttl=LATER)
    begun = {"count": number(2), "ends_at": number(_END), "ttl": number(LATER)}
    yield _written("count hits", add, _fixed(1), {"count": number(3)})
    yield _refused("count hits in a window that is over", add, _fixed(1, ends_at=NOW))
    yield _refused("count hits where there is no window", add, {})
    yield _written("begin a window", begin, {}, begun)
    yield _written("begin a window after one that is over", begin, _fixed(1, ends_at=NOW), begun)
    yield _refused("begin a window while one runs", begin, _fixed(1))
    same = SlideHits(key=_SLIDING, branch="same", n=2, number=7, most_previous=4, most=5, ttl=LATER)
    following, new = replace(same, branch="next"), replace(same, branch="new")
    yield _written("count hits that fit", same, _sliding(7, count=5, previous=4), {"count": number(7)})
    yield _refused("count hits that do not fit", same, _sliding(7, count=6, previous=4))
    yield _refused("count hits after more hits before", same, _sliding(7, count=5, previous=5))
    yield _refused("count hits in an earlier window", same, _sliding(8, count=0, previous=0))
    slid = {"window": number(7), "count": number(2), "previous": number(4), "ttl": number(LATER)}
    yield _written("slide to the next window", following, _sliding(6, count=4, previous=9), slid)
    yield _refused("slide to the next window after too many hits", following, _sliding(6, count=5, previous=9))
    empty = {**slid, "previous": number(0)}
    yield _written("begin a sliding window", new, {}, empty)
    yield _written("begin a sliding window anew", new, _sliding(5, count=4, previous=9), empty)
    yield _refused("begin a sliding window over one that counts", new, _sliding(6, count=4, previous=9))
    both = _fixed(1) | _sliding(6, count=4, previous=9)
    yield Probe(
        name="read hits",
        request=ReadHits(key=_SLIDING),
        before=both,
        within=_SHARD,
        answer="ok, 1 item",
        read="HitsRead",
        units=1,
    )
    yield Probe(
        name="list keys of hits",
        request=ListHits(shard=shard_of(_FIXED.key), limit=1),
        before=both,
        within=_SHARD,
        answer="ok, 1 item, more",
        read="HitsListed",
        units=0.5,
    )
    yield Probe(
        name="forget hits",
        request=DropHits(key=_FIXED),
        before=_fixed(1),
        within=_SHARD,
        units=1,
        after={hits_key(_FIXED): None},
    )
    yield Probe(
        name="forget hits that are not there",
        request=DropHits(key=_FIXED),
        within=_SHARD,
        answer=_REFUSED,
        read="HitsRefused",
    )


def _written(name: str, request: HitsRequest, before: Items, changes: Wire) -> Probe:
    sort = hits_key(_FIXED if isinstance(request, (AddHits, BeginHits)) else _SLIDING)
    return Probe(
        name=name,
        request=request,
        before=before,
        within=_SHARD,
        answer="ok, shows the item",
        read="HitsWritten",
        units=1,
        after={sort: changes},
    )


def _refused(name: str, request: HitsRequest, before: Items) -> Probe:
    return Probe(
        name=name,
        request=request,
        before=before,
        within=_SHARD,
        answer=_SHOWN if before else _REFUSED,
        read="HitsRefused",
    )
