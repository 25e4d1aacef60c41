"""Expressions of rates: each request about limits, keys and policies as one API call.

Invariants: as in `expressions`. What a user gives (names of limits, keys) travels in values, in keys, and in the names
that placeholders stand for, never in an expression.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from ddb_lease._protocol.rates.messages import (
    Block,
    Branch,
    ChangePolicy,
    Charge,
    ChargeTogether,
    CreatePolicy,
    LimitCharge,
    ListKeys,
    Override,
    RateRequest,
    ReadKey,
    ReadPolicy,
    Reset,
    Settle,
)
from ddb_lease._protocol.rates.records import RATES_SCHEMA, Policy
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.items import METER_KEY, Wire, number, numbers, text
from ddb_lease.dynamodb.placeholders import DOES_NOT_EXIST, ON_FAILURE, all_of, names_in
from ddb_lease.dynamodb.rates.items import (
    AFTER_RATES,
    HELD,
    HOLD,
    LANE_NAMES,
    POLICY_KEY,
    RATE_PREFIX,
    REACH,
    TAT,
    encode_hold,
    encode_limits,
    partition_of,
    shard_name,
)

Call: TypeAlias = tuple[str, dict[str, Any]]

_our_schema: Final = "#schema = :schema"
_same_policy: Final = "#rev = :rev"
_older_policy: Final = "attribute_type(#rev, :number) AND #rev < :rev"
_new_or_ours: Final = f"({DOES_NOT_EXIST} OR {_our_schema})"
_new_or_of_this_policy: Final = f"({DOES_NOT_EXIST} OR ({_our_schema} AND {_same_policy}))"
_not_blocked: Final = "(attribute_not_exists(#blocked_until) OR #blocked_until <= :due)"
_never_overridden: Final = "attribute_not_exists(#override_rev)"
_override_as_known: Final = "#override_rev = :override_rev"
_without_override: Final = "attribute_not_exists(#override)"
_not_charged_yet: Final = "(attribute_not_exists(#lane) OR #lane <> :attempt)"
_holds_nothing: Final = "attribute_not_exists(#hold)"
_hold_as_known: Final = "#hold.#attempt = :hold_before"

# Of one limit; {i} is its number in the request.
_paid_for: Final = "(attribute_not_exists(#t{i}) OR #t{i} < :due)"
_not_paid_for: Final = "#t{i} >= :due"
_within_reach: Final = "#r{i} <= :x{i}"
_room_beside_held: Final = "(attribute_not_exists(#h{i}) OR #h{i} <= :m{i})"
_beyond_the_cut: Final = "#t{i} > :k{i}"
_within_the_cut: Final = "(attribute_not_exists(#t{i}) OR #t{i} <= :k{i})"
_settled_before_now: Final = "#t{i} < :now"
_still_paying: Final = "#t{i} >= :now"
_held_as_settled: Final = "#h{i} >= :h{i}"

CHARGE: Final[dict[Branch, tuple[str, ...]]] = {
    "idle": (_paid_for, _room_beside_held),
    "busy": (_not_paid_for, _within_reach, _room_beside_held),
    "cut": (_beyond_the_cut, _room_beside_held),
    "kept": (_within_the_cut,),
}
"""What a charge requires of one limit."""

CUT_ALONE: Final = (_beyond_the_cut,)
SETTLE: Final[dict[bool, tuple[str, ...]]] = {
    True: (_settled_before_now, _held_as_settled),
    False: (_still_paying, _held_as_settled),
}
"""What a settlement requires of one limit, idle or busy."""

READ: Final = "#pk = :pk AND #sk BETWEEN :first AND :last"
CHANGE_POLICY: Final = all_of(_our_schema, "#rev = :rev_before")

_READ_NAMES: Final = names_in(READ)
_CREATE_SET: Final = "SET #limits = :limits, #rev = :rev, #schema = :schema"
_CREATE_NAMES: Final = names_in(DOES_NOT_EXIST, _CREATE_SET)
_CHANGE_SET: Final = "SET #limits = :limits, #rev = :rev"
_CHANGE_NAMES: Final = names_in(CHANGE_POLICY, _CHANGE_SET)
_SCHEMA: Final = {":schema": number(RATES_SCHEMA)}
_AS_LEFT: Final = {"ReturnValues": "ALL_NEW"}
"""Costs nothing more, and shows what else there is: an override, a hold that is past its time."""


def rate_call_for(request: RateRequest, address: BucketAddress) -> Call:  # noqa: C901, PLR0911 - one for each request
    """The API call for a request about rates."""
    match request:
        case Charge():
            return "update_item", {**_charge(request, address), **_AS_LEFT}
        case ChargeTogether():
            return "transact_write_items", _charge_together(request, address)
        case Settle():
            return "update_item", {**_settle(request, address), **_AS_LEFT}
        case ReadKey():
            return "query", _read(_key(request.key, address), consistent=True)
        case ListKeys():
            return "query", _list_keys(request, address)
        case Override():
            return "update_item", {**_override(request, address), **_AS_LEFT}
        case Block():
            return "update_item", {**_block(request, address), **_AS_LEFT}
        case Reset():
            return "update_item", {**_reset(request, address), **_AS_LEFT}
        case ReadPolicy():
            return "query", _read_policy(request, address)
        case CreatePolicy():
            return "update_item", _create_policy(request.policy, address)
        case ChangePolicy():
            return "update_item", _change_policy(request, address)


class _Part(NamedTuple):
    """What the text of one limit's part depends on."""

    name: str
    branch: Branch
    charged: bool
    reserved: bool


class _Shape(NamedTuple):
    """What the text of a charge depends on."""

    parts: tuple[_Part, ...]
    adopts: bool
    overridden: bool
    process: str
    first_hold: bool
    lane: int
    stays: bool


class _Texts(NamedTuple):
    condition: str
    change: str
    names: dict[str, str]


def _charge(request: Charge, address: BucketAddress) -> dict[str, Any]:
    shape = _Shape(
        parts=tuple(_Part(p.name, p.branch, p.charged > 0, p.reserved > 0) for p in request.limits),
        adopts=request.adopts,
        overridden=request.override_rev > 0,
        process=request.process,
        first_hold=request.hold_before is None,
        lane=request.lane,
        stays=request.ttl is None,
    )
    texts = _charge_texts(shape)
    values: Wire = {":attempt": text(request.attempt), **_SCHEMA}
    if request.adopts:
        values[":number"] = text("N")
    if request.hold is not None:
        values[":hold"] = encode_hold(request.hold)
        if request.hold_before is not None:
            values[":hold_before"] = text(request.hold_before)
    amounts = {":due": request.due, ":rev": request.rev}
    if request.override_rev:
        amounts[":override_rev"] = request.override_rev
    if request.ttl is not None:
        amounts[":ttl"] = request.ttl
    if ":zero" in texts.change:
        amounts[":zero"] = 0
    for i, part in enumerate(request.limits):
        amounts |= _charge_amounts(i, part, request)
    values |= numbers(amounts)
    return _update(_key(request.key, address, limiter=request.limiter), texts, values)


def _charge_amounts(i: int, part: LimitCharge, request: Charge) -> dict[str, int]:
    amount = part.charged + part.reserved
    most_held = part.tolerance - amount
    held = {f":h{i}": part.reserved} if part.reserved else {}
    match part.branch:
        case "idle":
            tat = request.due + part.charged
            return held | {
                f":t{i}": tat,
                f":r{i}": tat + part.reserved,
                f":m{i}": most_held,
            }
        case "busy":
            found = held | {
                f":r{i}": amount,
                f":x{i}": request.due + request.horizon + most_held,
                f":m{i}": most_held,
            }
            return found | ({f":t{i}": part.charged} if part.charged else {})
        case "cut":
            start = max(part.cut, request.due) if amount else part.cut
            found = held | {
                f":k{i}": part.cut,
                f":t{i}": start + part.charged,
                f":r{i}": start + amount,
            }
            room = min(most_held, request.due + request.horizon + most_held - start)
            return found | ({f":m{i}": room} if amount else {})
        case "kept":
            return {f":k{i}": part.cut}


@lru_cache(maxsize=512)
def _charge_texts(shape: _Shape) -> _Texts:
    conditions = [
        all_of(_our_schema, _older_policy) if shape.adopts else _new_or_of_this_policy,
        _not_blocked,
        _override_as_known if shape.overridden else _never_overridden,
        _not_charged_yet,
    ]
    sets = ["#schema = :schema", "#rev = :rev", "#lane = :attempt"]
    if shape.process:
        conditions.append(_holds_nothing if shape.first_hold else _hold_as_known)
        sets.append("#hold = :hold")
    names = {"lane": LANE_NAMES[shape.lane], "hold": HOLD + shape.process}
    for i, part in enumerate(shape.parts):
        alone = part.branch == "cut" and not (part.charged or part.reserved)
        conditions += [half.format(i=i) for half in (CUT_ALONE if alone else CHARGE[part.branch])]
        sets += _charge_sets(i, part)
        names |= _limit_names(i, part.name)
    if not shape.stays:
        sets.append("#ttl = :ttl")
    change = f"SET {', '.join(sets)}" + (" REMOVE #ttl" if shape.stays else "")
    return _texts(all_of(*conditions), change, names)


def _charge_sets(i: int, part: _Part) -> list[str]:
    held = "if_not_exists(#h{i}, :zero)" if part.branch == "idle" else "#h{i}"
    reserved = f"#h{{i}} = {held} + :h{{i}}"
    match part.branch:
        case "idle":
            sets = ["#t{i} = :t{i}", "#r{i} = if_not_exists(#h{i}, :zero) + :r{i}"]
            sets.append(reserved if part.reserved else f"#h{{i}} = {held}")
        case "busy":
            sets = ["#r{i} = #r{i} + :r{i}"]
            sets += ["#t{i} = #t{i} + :t{i}"] if part.charged else []
            sets += [reserved] if part.reserved else []
        case "cut":
            sets = ["#t{i} = :t{i}", "#r{i} = #h{i} + :r{i}"]
            sets += [reserved] if part.reserved else []
        case "kept":
            sets = []
    return [one.format(i=i) for one in sets]


def _charge_together(request: ChargeTogether, address: BucketAddress) -> dict[str, Any]:
    updates = [{"Update": _charge(charge, address)} for charge in request.charges]
    return {"TransactItems": updates, "ClientRequestToken": request.token}


def _settle(request: Settle, address: BucketAddress) -> dict[str, Any]:
    shape = _SettleShape(
        parts=tuple((part.name, part.idle) for part in request.limits),
        process=request.process,
        ends=request.hold is None,
        lane=request.lane,
        dated=request.ttl is not None,
    )
    values: Wire = {
        ":hold_before": text(request.hold_before),
        ":attempt": text(request.attempt),
        **_SCHEMA,
    }
    if request.limits:
        values[":now"] = number(request.now)
    if request.hold is not None:
        values[":hold"] = encode_hold(request.hold)
    if request.ttl is not None:
        values[":ttl"] = number(request.ttl)
    for i, part in enumerate(request.limits):
        tat = request.now + part.used if part.idle else part.used
        values |= {f":t{i}": number(tat), f":r{i}": number(tat - part.held), f":h{i}": number(part.held)}
    return _update(_key(request.key, address), _settle_texts(shape), values)


class _SettleShape(NamedTuple):
    """What the text of a settlement depends on."""

    parts: tuple[tuple[str, bool], ...]
    process: str
    ends: bool
    lane: int
    dated: bool


@lru_cache(maxsize=512)
def _settle_texts(shape: _SettleShape) -> _Texts:
    conditions = [_our_schema, _hold_as_known]
    sets = ["#lane = :attempt"]
    names = {"lane": LANE_NAMES[shape.lane], "hold": HOLD + shape.process}
    for i, (name, idle) in enumerate(shape.parts):
        conditions += [half.format(i=i) for half in SETTLE[idle]]
        if idle:
            sets += [f"#t{i} = :t{i}", f"#r{i} = #h{i} + :r{i}", f"#h{i} = #h{i} - :h{i}"]
        else:
            sets += [f"#t{i} = #t{i} + :t{i}", f"#r{i} = #r{i} + :r{i}", f"#h{i} = #h{i} - :h{i}"]
        names |= _limit_names(i, name)
    if shape.dated:
        conditions.append(_without_override)  # set since we looked: its item must stay
        sets.append("#ttl = :ttl")
    if not shape.ends:
        sets.append("#hold = :hold")
    change = f"SET {', '.join(sets)}" + (" REMOVE #hold" if shape.ends else "")
    return _texts(all_of(*conditions), change, names)


def _list_keys(request: ListKeys, address: BucketAddress) -> dict[str, Any]:
    partition = shard_name(address.bucket, request.shard)
    call = _read_range(address, partition, RATE_PREFIX, AFTER_RATES, consistent=False)
    call["Limit"] = request.limit
    if request.after is not None:
        call["ExclusiveStartKey"] = {"pk": text(partition), "sk": text(RATE_PREFIX + request.after)}
    return call


def _override(request: Override, address: BucketAddress) -> dict[str, Any]:
    conditions = [_new_or_ours, _override_as_known if request.override_rev else _never_overridden]
    sets = ["#schema = :schema", "#rev = if_not_exists(#rev, :rev)", "#override_rev = :override_rev_after"]
    removes = []
    values: Wire = {
        ":rev": number(request.rev),
        ":override_rev_after": number(request.override_rev_after),
        **_SCHEMA,
    }
    if request.override_rev:
        values[":override_rev"] = number(request.override_rev)
    if request.limits:
        sets.append("#override = :override")
        values[":override"] = encode_limits(request.limits)
    else:
        removes.append("#override")
    if request.ttl is not None:
        sets.append("#ttl = :ttl")
        values[":ttl"] = number(request.ttl)
    else:
        removes.append("#ttl")
    names: dict[str, str] = {}
    for i, (name, cut) in enumerate(request.cuts.items()):
        conditions.append(_beyond_the_cut.format(i=i))
        sets += [f"#t{i} = :k{i}", f"#r{i} = #h{i} + :k{i}"]
        values[f":k{i}"] = number(cut)
        names |= _limit_names(i, name)
    change = f"SET {', '.join(sets)} REMOVE {', '.join(removes)}" if removes else f"SET {', '.join(sets)}"
    return _update(_key(request.key, address), _texts(all_of(*conditions), change, names), values)


def _block(request: Block, address: BucketAddress) -> dict[str, Any]:
    condition = all_of(_new_or_ours, _override_as_known if request.override_rev else _never_overridden)
    sets = ["#schema = :schema", "#rev = if_not_exists(#rev, :rev)", "#blocked_until = :until"]
    values: Wire = {":rev": number(request.rev), ":until": number(request.until), **_SCHEMA}
    if request.override_rev:
        values[":override_rev"] = number(request.override_rev)
    if request.ttl is not None:
        sets.append("#ttl = :ttl")
        values[":ttl"] = number(request.ttl)
    return _update(_key(request.key, address), _texts(condition, f"SET {', '.join(sets)}", {}), values)


def _reset(request: Reset, address: BucketAddress) -> dict[str, Any]:
    conditions, removes = [_our_schema], ["#blocked_until"]
    names: dict[str, str] = {}
    values: Wire = {**_SCHEMA}
    for i, (name, limit) in enumerate(request.seen.limits.items()):
        conditions.append(f"#h{i} = :h{i}")
        removes += [f"#t{i}", f"#h{i}", f"#r{i}"]
        values[f":h{i}"] = number(limit.held)
        names |= _limit_names(i, name)
    for i, name in enumerate(request.others):
        conditions.append(f"attribute_not_exists(#o{i})")
        names[f"o{i}"] = TAT + name
    for i, (process, hold) in enumerate(request.seen.holds.items()):
        conditions.append(f"#p{i}.#attempt = :p{i}")
        removes.append(f"#p{i}")
        values[f":p{i}"] = text(hold.attempt)
        names[f"p{i}"] = HOLD + process
    texts = _texts(all_of(*conditions), f"REMOVE {', '.join(removes)}", names)
    return _update(_key(request.key, address), texts, values)


def _read_policy(request: ReadPolicy, address: BucketAddress) -> dict[str, Any]:
    # Up to the item that a version before this one wrote, which is worth knowing about, and costs no more.
    return _read_range(address, address.bucket, POLICY_KEY, METER_KEY, consistent=request.consistent)


def _create_policy(policy: Policy, address: BucketAddress) -> dict[str, Any]:
    # Not a PutItem: an operator, who may store the first policy too, has no permission for that.
    return {
        "TableName": address.table,
        "Key": address.key(POLICY_KEY),
        "UpdateExpression": _CREATE_SET,
        "ConditionExpression": DOES_NOT_EXIST,
        "ExpressionAttributeNames": _CREATE_NAMES,
        "ExpressionAttributeValues": {
            ":limits": encode_limits(policy.limits),
            ":rev": number(policy.rev),
            ":schema": number(policy.schema),
        },
        **ON_FAILURE,
    }


def _change_policy(request: ChangePolicy, address: BucketAddress) -> dict[str, Any]:
    return {
        "TableName": address.table,
        "Key": address.key(POLICY_KEY),
        "UpdateExpression": _CHANGE_SET,
        "ConditionExpression": CHANGE_POLICY,
        "ExpressionAttributeNames": _CHANGE_NAMES,
        "ExpressionAttributeValues": {
            ":limits": encode_limits(request.policy.limits),
            ":rev": number(request.policy.rev),
            ":rev_before": number(request.rev_before),
            **_SCHEMA,
        },
        **ON_FAILURE,
    }


class _Place(NamedTuple):
    """Where a key's item is."""

    table: str
    partition: str
    sort: str


def _key(key: str, address: BucketAddress, *, limiter: str = "") -> _Place:
    return _Place(address.table, partition_of(limiter or address.bucket, key), RATE_PREFIX + key)


def _update(place: _Place, texts: _Texts, values: Wire) -> dict[str, Any]:
    return {
        "TableName": place.table,
        "Key": {"pk": {"S": place.partition}, "sk": {"S": place.sort}},
        "UpdateExpression": texts.change,
        "ConditionExpression": texts.condition,
        "ExpressionAttributeNames": texts.names,
        "ExpressionAttributeValues": values,
        **ON_FAILURE,
    }


def _read(place: _Place, *, consistent: bool) -> dict[str, Any]:
    # A Query of one item costs the same as a GetItem, and needs only the permission for Query.
    return {
        "TableName": place.table,
        "KeyConditionExpression": READ,
        "ExpressionAttributeNames": _READ_NAMES,
        "ExpressionAttributeValues": {
            ":pk": text(place.partition),
            ":first": text(place.sort),
            ":last": text(place.sort),
        },
        "ConsistentRead": consistent,
    }


def _read_range(address: BucketAddress, partition: str, first: str, last: str, *, consistent: bool) -> dict[str, Any]:
    call = _read(_Place(address.table, partition, first), consistent=consistent)
    call["ExpressionAttributeValues"] |= {":last": text(last)}
    return call


def _limit_names(i: int, name: str) -> dict[str, str]:
    return {f"t{i}": TAT + name, f"h{i}": HELD + name, f"r{i}": REACH + name}


def _texts(condition: str, change: str, names: dict[str, str]) -> _Texts:
    """The texts, with the names that they use: `names` where a placeholder does not stand for its own name."""
    used = names_in(condition, change)
    return _Texts(condition, change, {token: names.get(name, name) for token, name in used.items()})
