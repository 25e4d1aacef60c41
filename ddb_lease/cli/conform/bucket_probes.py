"""Probes of transactions and of requests to the counter. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from ddb_lease._protocol.messages import Grow, Recount, SetOrder, Snapshot
from ddb_lease._protocol.records import PER_TRANSACTION
from ddb_lease.cli.conform.probe import Items, Probe
from ddb_lease.cli.conform.samples import (
    LATER,
    MAX,
    MINE,
    NOW,
    YES,
    adopt,
    bring_back,
    counted,
    counter,
    create,
    free,
    leased,
    mint,
    retire,
    take,
)
from ddb_lease.dynamodb.items import number, slot_key, text

Tokens: TypeAlias = Callable[[], str]
"""A new request token at each call."""

_FAILED: Final = "ConditionalCheckFailed"
_SHOWN: Final = f"{_FAILED} with the item"
_SLOT: Final = slot_key(0)


def bucket_probes(token: Tokens) -> Iterator[Probe]:
    """All of them."""
    yield from _creates(token)
    yield from _mints(token)
    yield from _replays(token)
    yield from _takes(token)
    yield from _adoptions(token)
    yield from _bring_backs(token)
    yield from _retires(token)
    yield from _snapshots()
    yield from _counters()


def _cancelled(*reasons: str) -> str:
    return f"TransactionCanceledException [{', '.join(reasons)}]"


def _created(slots: int, max_tokens: int) -> Items:
    made = {slot_key(n): free(fence=50) for n in range(slots)}
    return {"counter": counter(max_tokens=max_tokens, minted=slots, rev=NOW), **made}


def _creates(token: Tokens) -> Iterator[Probe]:
    yield Probe(name="create a bucket", request=create(token(), slots=2), units=6, after=_created(2, MAX))
    many = PER_TRANSACTION
    yield Probe(
        name="create a bucket in the largest transaction",
        request=create(token(), slots=many, max_tokens=many),
        units=2 * (many + 1),
        after=_created(many, many),
    )
    yield Probe(
        name="create a bucket that exists",
        request=create(token(), slots=1),
        before={"counter": counter()},
        answer=_cancelled("None", _SHOWN),
        read="Refused",
    )
    yield Probe(
        name="create a bucket of which a slot is left over",
        request=create(token(), slots=2),
        before={_SLOT: free()},
        answer=_cancelled(_SHOWN, "2 x None"),
        read="Refused",
    )


def _mints(token: Tokens) -> Iterator[Probe]:
    room: Items = {"counter": counter(minted=1)}
    drifted: Items = {"counter": counter(minted=5)}
    yield Probe(name="mint", request=mint(token()), before=room, units=4, after={_SLOT: MINE, "counter": counted(2)})
    yield Probe(
        name="mint where drift hides the room",
        request=mint(token(), re_mint=True),
        before=drifted,
        units=4,
        after={_SLOT: MINE, "counter": counted(MAX)},
    )
    yield Probe(
        name="mint a slot that exists",
        request=mint(token()),
        before=room | {_SLOT: leased()},
        answer=_cancelled(_SHOWN, "None"),
        read="Refused",
    )
    yield Probe(
        name="mint a slot that exists, without a counter",
        request=mint(token()),
        before={_SLOT: leased()},
        answer=_cancelled(_SHOWN, _FAILED),
        read="Refused",
    )
    refused: dict[str, tuple[Items, int, bool]] = {
        "mint a number that is not allowed": (room, MAX, False),
        "mint where all are minted": ({"counter": counter()}, 0, False),
        "mint as if drifted where there is room": (room, 0, True),
    }
    for name, (before, slot, re_mint) in refused.items():
        request = mint(token(), slot, re_mint=re_mint)
        yield Probe(name=name, request=request, before=before, answer=_cancelled("None", _SHOWN), read="Refused")


def _replays(token: Tokens) -> Iterator[Probe]:
    room: Items = {"counter": counter(minted=1)}
    minted = {_SLOT: MINE, "counter": counted(2)}
    once = mint(token())
    yield Probe(
        name="a transaction again, with its token: it happens once",
        first=(once,),
        request=once,
        before=room,
        after=minted,
    )
    same = token()
    yield Probe(
        name="another transaction with the same token",
        first=(mint(same),),
        request=mint(same, fence=101),
        before=room,
        answer="IdempotentParameterMismatchException",
        read="Rejected",
        after=minted,
    )


def _takes(token: Tokens) -> Iterator[Probe]:
    bucket: Items = {"counter": counter(minted=2), slot_key(0): free(), slot_key(1): free()}
    yield Probe(
        name="take two slots in circulation",
        request=take(token(), claims=(0, 1)),
        before=bucket,
        units=4,
        after={slot_key(0): MINE, slot_key(1): MINE},
    )
    yield Probe(
        name="take a slot in circulation and a new one",
        request=take(token(), claims=(0,), mints=(2,)),
        before=bucket,
        units=6,
        after={slot_key(0): MINE, slot_key(2): MINE, "counter": counted(3)},
    )
    yield Probe(
        name="take two new slots where drift hides the room",
        request=take(token(), mints=(0, 1), re_mint=True),
        before={"counter": counter(minted=5)},
        units=6,
        after={slot_key(0): MINE, slot_key(1): MINE, "counter": counted(MAX)},
    )
    yield Probe(
        name="take two slots of which one is leased",
        request=take(token(), claims=(0, 1)),
        before=bucket | {slot_key(1): leased()},
        answer=_cancelled("None", _SHOWN),
        read="Refused",
    )
    yield Probe(
        name="take two slots of which one is missing and one leased",
        request=take(token(), claims=(0, 2)),
        before=bucket | {slot_key(0): leased()},
        answer=_cancelled(_SHOWN, _FAILED),
        read="Refused",
    )
    yield Probe(
        name="take two new slots where one is left",
        request=take(token(), mints=(1, 2)),
        before={"counter": counter(minted=2)},
        answer=_cancelled("2 x None", _SHOWN),
        read="Refused",
    )
    many = PER_TRANSACTION
    bring = create(token(), slots=many, max_tokens=many)
    yield Probe(
        name="take as many slots as one transaction holds",
        first=(bring,),
        request=take(token(), claims=tuple(range(many)), seen_max=many),
        units=2 * many,
        after={**_created(many, many), **{slot_key(n): MINE for n in range(many)}},
    )


def _adoptions(token: Tokens) -> Iterator[Probe]:
    given: Items = {slot_key(0): leased(), slot_key(1): leased()}
    yield Probe(
        name="adopt a lease of two slots",
        request=adopt(token(), 0, 1),
        before=given,
        units=4,
        after={slot_key(0): MINE, slot_key(1): MINE},
    )
    yield Probe(
        name="adopt a lease of two slots, one of which has another",
        request=adopt(token(), 0, 1),
        before=given | {slot_key(1): leased("third")},
        answer=_cancelled("None", _SHOWN),
        read="Refused",
    )


def _bring_backs(token: Tokens) -> Iterator[Probe]:
    retired = leased(retired=YES)
    yield Probe(
        name="bring a retired slot back, its lease runs on",
        request=bring_back(token()),
        before={"counter": counter(minted=1), _SLOT: retired},
        units=4,
        after={_SLOT: {"retired": None}, "counter": counted(2)},
    )
    yield Probe(
        name="bring back a slot without a TTL, where drift hides the room",
        request=bring_back(token(), re_mint=True),
        before={"counter": counter(minted=5), _SLOT: {"fence": number(10), "retired": YES}},
        units=4,
        after={_SLOT: {"retired": None, "ttl": number(LATER)}, "counter": counted(MAX)},
    )
    yield Probe(
        name="bring back a slot in circulation",
        request=bring_back(token()),
        before={"counter": counter(minted=1), _SLOT: free()},
        answer=_cancelled(_SHOWN, "None"),
        read="Refused",
    )
    yield Probe(
        name="bring back a slot that does not exist",
        request=bring_back(token()),
        before={"counter": counter(minted=1)},
        answer=_cancelled(_FAILED, "None"),
        read="Refused",
    )


def _retires(token: Tokens) -> Iterator[Probe]:
    bucket: Items = {"counter": counter(), slot_key(1): leased(), slot_key(2): free()}
    lowered = counted(1, max_tokens=1)
    yield Probe(
        name="retire a leased and a free slot",
        request=retire(token(), 1, 2, max_tokens=1),
        before=bucket,
        units=6,
        after={slot_key(1): {"retired": YES}, slot_key(2): {"retired": YES}, "counter": lowered},
    )
    yield Probe(
        name="lower a bucket without slots",
        request=retire(token(), max_tokens=1),
        before={"counter": counter()},
        units=2,
        after={"counter": lowered},
    )
    yield Probe(
        name="retire where the counter is not as seen",
        request=retire(token(), 1, max_tokens=1, rev=6),
        before=bucket,
        answer=_cancelled("None", _SHOWN),
        read="Refused",
    )
    yield Probe(
        name="retire a slot that is retired",
        request=retire(token(), 2, max_tokens=1),
        before=bucket | {slot_key(2): free(retired=YES)},
        answer=_cancelled(_SHOWN, "None"),
        read="Refused",
    )


def _snapshots() -> Iterator[Probe]:
    yield Probe(
        name="read slots and counter at one instant",
        request=Snapshot(slots=(0, 1), counter=True),
        before={"counter": counter(), slot_key(0): free(), slot_key(1): leased()},
        answer="ok [3 x item]",
        read="Shown",
        units=6,
    )
    yield Probe(
        name="read a slot and a counter that do not exist",
        request=Snapshot(slots=(0,), counter=True),
        answer="ok [2 x none]",
        read="Shown",
    )


def _counters() -> Iterator[Probe]:
    refused = "ConditionalCheckFailedException"
    bucket: Items = {"counter": counter()}
    grow, recount = Grow(rev=7, max_tokens=9), Recount(rev=7, minted=2)
    ordered = SetOrder(rev=7, order="fifo")
    yield Probe(name="grow", request=grow, before=bucket, units=1, after={"counter": counted(MAX, max_tokens=9)})
    yield Probe(name="correct the count", request=recount, before=bucket, units=1, after={"counter": counted(2)})
    in_order: Items = {"counter": {"order": text("fifo"), "rev": number(8)}}
    yield Probe(name="set the order", request=ordered, before=bucket, units=1, after=in_order)
    changed: Items = {"counter": counter(rev=6)}
    for what, request in (("grow", grow), ("correct the count", recount), ("set the order", ordered)):
        yield Probe(
            name=f"{what} where the counter is not as seen",
            request=request,
            before=changed,
            answer=f"{refused} with the item",
            read="Refused",
        )
        yield Probe(name=f"{what} without a counter", request=request, answer=refused, read="Refused")
