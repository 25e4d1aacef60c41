"""Each request about rates as the call that is sent, written out: each branch of a charge, each form of the others."""

import typing
from dataclasses import replace

import pytest

from ddb_lease._protocol.rates.messages import (
    Block,
    ChangePolicy,
    Charge,
    ChargeTogether,
    CreatePolicy,
    LimitCharge,
    LimitSettlement,
    ListKeys,
    Override,
    RateRequest,
    ReadKey,
    ReadPolicy,
    Reset,
    Settle,
)
from ddb_lease._protocol.rates.records import Hold, KeyState, LimitPolicy, LimitState, Policy
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for

PLACE = BucketAddress(table="leases", bucket="api")
HOLD = Hold(held={"tokens": 9}, until=5_000, attempt="mine")
HELD = {"M": {"held": {"M": {"tokens": {"N": "9"}}}, "until": {"N": "5000"}, "attempt": {"S": "mine"}}}
LIMIT = LimitPolicy(interval=10, burst=3, permits=100.0, per=0.5, rev=6, since=8)
STORED_LIMITS = {
    "M": {
        "requests": {
            "M": {
                "interval": {"N": "10"},
                "burst": {"N": "3"},
                "permits": {"N": "100"},
                "per": {"N": "0.5"},
                "rev": {"N": "6"},
                "since": {"N": "8"},
            }
        }
    }
}


def numbers(**values):
    return {f":{name}": {"N": str(value)} for name, value in values.items()}


def names(words, **others):
    """Placeholders for the attributes of the same names, and for others."""
    return {f"#{word}": word for word in words.split()} | {f"#{word}": name for word, name in others.items()}


def limit_names(i, name):
    return {f"t{i}": f"tat#{name}", f"h{i}": f"held#{name}", f"r{i}": f"reach#{name}"}


def key(sort="rate#k", pk="api#29"):
    return {"pk": {"S": pk}, "sk": {"S": sort}}


def update(change, condition, names_, values, *, at=None):
    return {
        "TableName": "leases",
        "Key": at or key(),
        "UpdateExpression": change,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names_,
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


AS_LEFT = {"ReturnValues": "ALL_NEW"}


def query(first, last, *, pk, consistent, **more):
    return {
        "TableName": "leases",
        "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :first AND :last",
        "ExpressionAttributeNames": names("pk sk"),
        "ExpressionAttributeValues": {":pk": {"S": pk}, ":first": {"S": first}, ":last": {"S": last}},
        "ConsistentRead": consistent,
        **more,
    }


# Charges: what is the same in each, and what its limits add to it.

CHARGE = Charge(
    key="k",
    limits=(LimitCharge(name="requests", branch="idle", charged=10, tolerance=100),),
    due=1_000,
    horizon=20,
    rev=7,
    lane=3,
    attempt="mine",
    ttl=9,
)
NEW = "(attribute_not_exists(#pk) OR (#schema = :schema AND #rev = :rev))"
ADOPTS = "#schema = :schema AND attribute_type(#rev, :number) AND #rev < :rev"
NOT_BLOCKED = "(attribute_not_exists(#blocked_until) OR #blocked_until <= :due)"
NO_OVERRIDE = "attribute_not_exists(#override_rev)"
ONCE = "(attribute_not_exists(#lane) OR #lane <> :attempt)"
SETS = "SET #schema = :schema, #rev = :rev, #lane = :attempt"
NAMES = "pk schema rev blocked_until override_rev"
VALUES = {":attempt": {"S": "mine"}, ":schema": {"N": "2"}, **numbers(due=1_000, rev=7)}


def all_of(*conditions):
    return " AND ".join(conditions)


IDLE = "(attribute_not_exists(#t{i}) OR #t{i} < :due) AND (attribute_not_exists(#h{i}) OR #h{i} <= :m{i})"
IDLE_SETS = "#t{i} = :t{i}, #r{i} = if_not_exists(#h{i}, :zero) + :r{i}, #h{i} = if_not_exists(#h{i}, :zero)"
BUSY = "#t{i} >= :due AND #r{i} <= :x{i} AND (attribute_not_exists(#h{i}) OR #h{i} <= :m{i})"
CUT = "#t{i} > :k{i} AND (attribute_not_exists(#h{i}) OR #h{i} <= :m{i})"

PARTS = {
    "idle": (
        LimitCharge(name="requests", branch="idle", charged=10, tolerance=100),
        IDLE,
        IDLE_SETS,
        numbers(zero=0, t0=1_010, r0=1_010, m0=90),
    ),
    "idle, reserving": (
        LimitCharge(name="requests", branch="idle", charged=10, reserved=3, tolerance=100),
        IDLE,
        f"{IDLE_SETS} + :h{{i}}",
        numbers(zero=0, t0=1_010, r0=1_013, m0=87, h0=3),
    ),
    "busy": (
        LimitCharge(name="requests", branch="busy", charged=10, tolerance=100),
        BUSY,
        "#r{i} = #r{i} + :r{i}, #t{i} = #t{i} + :t{i}",
        numbers(r0=10, x0=1_110, m0=90, t0=10),
    ),
    "busy, reserving": (
        LimitCharge(name="requests", branch="busy", charged=10, reserved=3, tolerance=100),
        BUSY,
        "#r{i} = #r{i} + :r{i}, #t{i} = #t{i} + :t{i}, #h{i} = #h{i} + :h{i}",
        numbers(r0=13, x0=1_107, m0=87, t0=10, h0=3),
    ),
    "busy, reserving alone": (
        LimitCharge(name="requests", branch="busy", reserved=3, tolerance=100),
        BUSY,
        "#r{i} = #r{i} + :r{i}, #h{i} = #h{i} + :h{i}",
        numbers(r0=3, x0=1_117, m0=97, h0=3),
    ),
    "cut": (
        LimitCharge(name="requests", branch="cut", charged=10, tolerance=100, cut=1_040),
        CUT,
        "#t{i} = :t{i}, #r{i} = #h{i} + :r{i}",
        numbers(k0=1_040, t0=1_050, r0=1_050, m0=70),
    ),
    "cut, reserving": (
        LimitCharge(name="requests", branch="cut", charged=10, reserved=2, tolerance=100, cut=1_040),
        CUT,
        "#t{i} = :t{i}, #r{i} = #h{i} + :r{i}, #h{i} = #h{i} + :h{i}",
        numbers(k0=1_040, t0=1_050, r0=1_052, m0=68, h0=2),
    ),
    "cut to what is past": (
        LimitCharge(name="requests", branch="cut", charged=10, tolerance=100, cut=40),
        CUT,
        "#t{i} = :t{i}, #r{i} = #h{i} + :r{i}",
        numbers(k0=40, t0=1_010, r0=1_010, m0=90),
    ),
    "cut alone": (
        LimitCharge(name="requests", branch="cut", cut=40),
        "#t{i} > :k{i}",
        "#t{i} = :t{i}, #r{i} = #h{i} + :r{i}",
        numbers(k0=40, t0=40, r0=40),
    ),
    "kept": (
        LimitCharge(name="requests", branch="kept", cut=40),
        "(attribute_not_exists(#t{i}) OR #t{i} <= :k{i})",
        "",
        numbers(k0=40),
    ),
}


@pytest.mark.parametrize(("part", "condition", "sets", "values"), PARTS.values(), ids=PARTS)
def test_a_charge_of_a_limit_is_this_call(part, condition, sets, values):
    condition, sets = condition.format(i=0), sets.format(i=0)
    words = {word for word in ("t0", "h0", "r0") if f"#{word}" in condition + sets}
    of_the_limit = {word: name for word, name in limit_names(0, "requests").items() if word in words}
    change = ", ".join(text for text in (SETS, sets, "#ttl = :ttl") if text)
    # Only a charge that uses its limit may have a horizon.
    horizon = 20 if part.charged or part.reserved else 0
    assert call_for(replace(CHARGE, limits=(part,), horizon=horizon), PLACE) == (
        "update_item",
        update(
            change,
            all_of(NEW, NOT_BLOCKED, NO_OVERRIDE, ONCE, condition),
            names(f"{NAMES} ttl", lane="a3", **of_the_limit),
            VALUES | values | numbers(ttl=9),
        )
        | AS_LEFT,
    )


KEPT = replace(CHARGE, limits=(LimitCharge(name="requests", branch="kept", cut=40),), horizon=0)
KEPT_TOO = "(attribute_not_exists(#t0) OR #t0 <= :k0)"
FORMS = {
    "under a new policy": (
        replace(KEPT, adopts=True),
        f"{SETS}, #ttl = :ttl",
        all_of(ADOPTS, NOT_BLOCKED, NO_OVERRIDE, ONCE, KEPT_TOO),
        names("schema rev blocked_until override_rev ttl", lane="a3", t0="tat#requests"),
        VALUES | numbers(k0=40, ttl=9) | {":number": {"S": "N"}},
    ),
    "under an override, which must stay": (
        replace(KEPT, override_rev=5, ttl=None),
        f"{SETS} REMOVE #ttl",
        all_of(NEW, NOT_BLOCKED, "#override_rev = :override_rev", ONCE, KEPT_TOO),
        names(f"{NAMES} ttl", lane="a3", t0="tat#requests"),
        VALUES | numbers(k0=40, override_rev=5),
    ),
    "with the first hold of a process": (
        replace(KEPT, process="p", hold=HOLD, lane=0),
        f"{SETS}, #hold = :hold, #ttl = :ttl",
        all_of(NEW, NOT_BLOCKED, NO_OVERRIDE, ONCE, "attribute_not_exists(#hold)", KEPT_TOO),
        names(f"{NAMES} ttl", lane="a0", hold="hold#p", t0="tat#requests"),
        VALUES | numbers(k0=40, ttl=9) | {":hold": HELD},
    ),
    "with another hold of it": (
        replace(KEPT, process="p", hold=HOLD, hold_before="older", lane=7),
        f"{SETS}, #hold = :hold, #ttl = :ttl",
        all_of(NEW, NOT_BLOCKED, NO_OVERRIDE, ONCE, "#hold.#attempt = :hold_before", KEPT_TOO),
        names(f"{NAMES} ttl attempt", lane="a7", hold="hold#p", t0="tat#requests"),
        VALUES | numbers(k0=40, ttl=9) | {":hold": HELD, ":hold_before": {"S": "older"}},
    ),
}


@pytest.mark.parametrize(("request_", "change", "condition", "names_", "values"), FORMS.values(), ids=FORMS)
def test_a_form_of_a_charge_is_this_call(request_, change, condition, names_, values):
    assert call_for(request_, PLACE) == ("update_item", update(change, condition, names_, values) | AS_LEFT)


def test_several_limits_are_charged_in_one_call():
    both = (
        LimitCharge(name="requests", branch="busy", charged=10, tolerance=100),
        LimitCharge(name="tokens", branch="cut", charged=1, reserved=2, tolerance=50, cut=1_005),
    )
    sets = "#r0 = #r0 + :r0, #t0 = #t0 + :t0, #t1 = :t1, #r1 = #h1 + :r1, #h1 = #h1 + :h1"
    assert call_for(replace(CHARGE, limits=both, horizon=0), PLACE) == (
        "update_item",
        update(
            f"{SETS}, {sets}, #ttl = :ttl",
            all_of(NEW, NOT_BLOCKED, NO_OVERRIDE, ONCE, BUSY.format(i=0), CUT.format(i=1)),
            names(f"{NAMES} ttl", lane="a3", **limit_names(0, "requests"), **limit_names(1, "tokens")),
            VALUES | numbers(r0=10, x0=1_090, m0=90, t0=10, k1=1_005, t1=1_006, r1=1_008, m1=42, h1=2, ttl=9),
        )
        | AS_LEFT,
    )


def test_a_key_and_its_parent_are_charged_in_one_transaction():
    charge = update(
        f"{SETS}, #ttl = :ttl",
        all_of(NEW, NOT_BLOCKED, NO_OVERRIDE, ONCE, KEPT_TOO),
        names(f"{NAMES} ttl", lane="a3", t0="tat#requests"),
        VALUES | numbers(k0=40, ttl=9),
    )
    request = ChargeTogether(charges=(KEPT, replace(KEPT, key="team-7", limiter="teams")), token="a-token")
    parent = charge | {"Key": key("rate#team-7", "teams#60")}
    assert call_for(request, PLACE) == (
        "transact_write_items",
        {"TransactItems": [{"Update": charge}, {"Update": parent}], "ClientRequestToken": "a-token"},
    )


# The others.

SETTLE = Settle(
    key="k",
    limits=(
        LimitSettlement(name="requests", idle=True, used=4, held=9),
        LimitSettlement(name="tokens", idle=False, used=5, held=3),
    ),
    now=1_000,
    process="p",
    hold_before="older",
    hold=None,
    lane=1,
    attempt="mine",
)
SETTLES = (
    "SET #lane = :attempt, #t0 = :t0, #r0 = #h0 + :r0, #h0 = #h0 - :h0, "
    "#t1 = #t1 + :t1, #r1 = #r1 + :r1, #h1 = #h1 - :h1"
)
SETTLED = (
    "#schema = :schema AND #hold.#attempt = :hold_before AND #t0 < :now AND #h0 >= :h0 AND #t1 >= :now AND #h1 >= :h1"
)
SETTLE_NAMES = {"lane": "a1", "hold": "hold#p", **limit_names(0, "requests"), **limit_names(1, "tokens")}
SETTLE_VALUES = {
    ":hold_before": {"S": "older"},
    ":attempt": {"S": "mine"},
    ":schema": {"N": "2"},
    **numbers(now=1_000, t0=1_004, r0=995, h0=9, t1=5, r1=2, h1=3),
}
KNOWN = "(attribute_not_exists(#pk) OR #schema = :schema)"
STEERED = "SET #schema = :schema, #rev = if_not_exists(#rev, :rev)"
OVERRIDE = Override(
    key="k", limits={"requests": LIMIT}, cuts={"requests": 40}, override_rev=3, override_rev_after=4, rev=7, ttl=None
)
BLOCK = Block(key="k", until=2_000, rev=7, override_rev=0, ttl=9)
POLICY = Policy(limits={"requests": LIMIT}, rev=7)
SEEN = KeyState(
    limits={"requests": LimitState(tat=9, held=3, reach=12), "old": LimitState(tat=1, held=0, reach=1)},
    rev=7,
    holds={"p": HOLD},
)

CALLS = {
    "settle": (
        SETTLE,
        "update_item",
        update(
            f"{SETTLES} REMOVE #hold",
            SETTLED,
            names("schema attempt", **SETTLE_NAMES),
            SETTLE_VALUES,
        )
        | AS_LEFT,
    ),
    "settle a part, with a debt": (
        replace(SETTLE, hold=HOLD, ttl=9),
        "update_item",
        update(
            f"{SETTLES}, #ttl = :ttl, #hold = :hold",
            f"{SETTLED} AND attribute_not_exists(#override)",
            names("schema attempt override ttl", **SETTLE_NAMES),
            SETTLE_VALUES | {":hold": HELD} | numbers(ttl=9),
        )
        | AS_LEFT,
    ),
    "settle nothing": (
        replace(SETTLE, limits=()),
        "update_item",
        update(
            "SET #lane = :attempt REMOVE #hold",
            "#schema = :schema AND #hold.#attempt = :hold_before",
            names("schema attempt", lane="a1", hold="hold#p"),
            {":hold_before": {"S": "older"}, ":attempt": {"S": "mine"}, ":schema": {"N": "2"}},
        )
        | AS_LEFT,
    ),
    "read a key": (ReadKey(key="k"), "query", query("rate#k", "rate#k", pk="api#29", consistent=True)),
    "list keys": (
        ListKeys(shard=3, limit=9),
        "query",
        query("rate#", "rate$", pk="api#03", consistent=False, Limit=9),
    ),
    "list more keys": (
        ListKeys(shard=3, after="k", limit=9),
        "query",
        query("rate#", "rate$", pk="api#03", consistent=False, Limit=9, ExclusiveStartKey=key("rate#k", "api#03")),
    ),
    "override": (
        OVERRIDE,
        "update_item",
        update(
            f"{STEERED}, #override_rev = :override_rev_after, #override = :override, "
            "#t0 = :k0, #r0 = #h0 + :k0 REMOVE #ttl",
            f"{KNOWN} AND #override_rev = :override_rev AND #t0 > :k0",
            names("pk schema rev override_rev override ttl", **limit_names(0, "requests")),
            {":schema": {"N": "2"}, ":override": STORED_LIMITS}
            | numbers(rev=7, override_rev=3, override_rev_after=4, k0=40),
        )
        | AS_LEFT,
    ),
    "override for the first time": (
        replace(OVERRIDE, cuts={}, override_rev=0),
        "update_item",
        update(
            f"{STEERED}, #override_rev = :override_rev_after, #override = :override REMOVE #ttl",
            f"{KNOWN} AND attribute_not_exists(#override_rev)",
            names("pk schema rev override_rev override ttl"),
            {":schema": {"N": "2"}, ":override": STORED_LIMITS} | numbers(rev=7, override_rev_after=4),
        )
        | AS_LEFT,
    ),
    "end an override": (
        replace(OVERRIDE, limits={}, cuts={}, ttl=9),
        "update_item",
        update(
            f"{STEERED}, #override_rev = :override_rev_after, #ttl = :ttl REMOVE #override",
            f"{KNOWN} AND #override_rev = :override_rev",
            names("pk schema rev override_rev override ttl"),
            {":schema": {"N": "2"}} | numbers(rev=7, override_rev=3, override_rev_after=4, ttl=9),
        )
        | AS_LEFT,
    ),
    "block": (
        BLOCK,
        "update_item",
        update(
            f"{STEERED}, #blocked_until = :until, #ttl = :ttl",
            f"{KNOWN} AND attribute_not_exists(#override_rev)",
            names("pk schema rev override_rev blocked_until ttl"),
            {":schema": {"N": "2"}} | numbers(rev=7, until=2_000, ttl=9),
        )
        | AS_LEFT,
    ),
    "block an overridden key": (
        replace(BLOCK, override_rev=3, ttl=None),
        "update_item",
        update(
            f"{STEERED}, #blocked_until = :until",
            f"{KNOWN} AND #override_rev = :override_rev",
            names("pk schema rev override_rev blocked_until"),
            {":schema": {"N": "2"}} | numbers(rev=7, until=2_000, override_rev=3),
        )
        | AS_LEFT,
    ),
    "reset": (
        Reset(key="k", seen=SEEN, others=("tokens",)),
        "update_item",
        update(
            "REMOVE #blocked_until, #t0, #h0, #r0, #t1, #h1, #r1, #p0",
            "#schema = :schema AND #h0 = :h0 AND #h1 = :h1 AND attribute_not_exists(#o0) AND #p0.#attempt = :p0",
            names(
                "schema blocked_until attempt",
                o0="tat#tokens",
                p0="hold#p",
                **limit_names(0, "requests"),
                **limit_names(1, "old"),
            ),
            {":schema": {"N": "2"}, ":p0": {"S": "mine"}} | numbers(h0=3, h1=0),
        )
        | AS_LEFT,
    ),
    "read a policy": (ReadPolicy(consistent=True), "query", query("policy", "rate", pk="api", consistent=True)),
    "read a policy at half the price": (
        ReadPolicy(consistent=False),
        "query",
        query("policy", "rate", pk="api", consistent=False),
    ),
    "create a policy": (
        CreatePolicy(policy=POLICY),
        "update_item",
        update(
            "SET #limits = :limits, #rev = :rev, #schema = :schema",
            "attribute_not_exists(#pk)",
            names("pk limits rev schema"),
            {":limits": STORED_LIMITS, ":schema": {"N": "2"}} | numbers(rev=7),
            at=key("policy", "api"),
        ),
    ),
    "change a policy": (
        ChangePolicy(policy=POLICY, rev_before=6),
        "update_item",
        update(
            "SET #limits = :limits, #rev = :rev",
            "#schema = :schema AND #rev = :rev_before",
            names("limits rev schema"),
            {":limits": STORED_LIMITS, ":schema": {"N": "2"}} | numbers(rev=7, rev_before=6),
            at=key("policy", "api"),
        ),
    ),
}


@pytest.mark.parametrize(("request_", "method", "arguments"), CALLS.values(), ids=CALLS)
def test_a_request_about_rates_is_this_call(request_, method, arguments):
    assert call_for(request_, PLACE) == (method, arguments)


def test_no_kind_of_request_about_rates_is_missing_here():
    kinds = {type(request) for request, _, _ in CALLS.values()} | {Charge, ChargeTogether}
    assert kinds == set(typing.get_args(RateRequest))
