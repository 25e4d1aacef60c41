"""Each request as the call that is sent, written out: what the answers of an engine cannot show is compared, too."""

import typing
from dataclasses import replace

import pytest

from ddb_lease._protocol.hits import AddHits, BeginHits, DropHits, HitsKey, HitsRequest, ListHits, ReadHits, SlideHits
from ddb_lease._protocol.listing import ListPage
from ddb_lease._protocol.messages import (
    Adopt,
    BringBack,
    Claim,
    Close,
    Create,
    Grow,
    Look,
    Mint,
    Recount,
    Release,
    Renew,
    RenewEach,
    Request,
    Retire,
    Revoke,
    SetOrder,
    Snapshot,
    Take,
)
from ddb_lease._protocol.rates.messages import RateRequest
from ddb_lease._protocol.records import Claimant, Settings
from ddb_lease._protocol.tickets import DropTicket, LookAtQueue, PutTicket, RefreshTicket, Ticket, TicketRequest
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.expressions import call_for

PLACE = BucketAddress(table="leases", bucket="nightly")
LEASE = Claimant(lease_id="3-mine", owner="me", acquired_at=2_000_000, expires_at=2_030_000)
WITH_DATA = replace(LEASE, data={"job": "x", "size": [1, None]})
TICKET = Ticket(priority=3, arrival=2_000_000, name="00000000000000aa", owner="me", count=2, expires_at=2_030_000)
FIXED, SLIDING = HitsKey(key="k"), HitsKey(key="k", length=60_000)
SLIDE = SlideHits(key=SLIDING, branch="same", n=2, number=7, most_previous=4, most=5, ttl=9)


def names(words):
    """Placeholders that stand for the attributes of the same names."""
    return {f"#{word}": word for word in words.split()}


def key(sort, pk="nightly"):
    return {"pk": {"S": pk}, "sk": {"S": sort}}


def write(condition, words, values=None, **more):
    """A conditional write: all of them ask for the item that makes the condition fail."""
    call = {"TableName": "leases", "ConditionExpression": condition, "ExpressionAttributeNames": names(words)}
    call |= {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} | more
    return call if values is None else call | {"ExpressionAttributeValues": values}


def update(sort, change, condition, words, values, *, pk="nightly", **more):
    return write(condition, words, values, Key=key(sort, pk), UpdateExpression=change, **more)


def query(first, last, *, pk="nightly", consistent, words="pk sk", **more):
    return {
        "TableName": "leases",
        "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :first AND :last",
        "ExpressionAttributeNames": names(words),
        "ExpressionAttributeValues": {":pk": {"S": pk}, ":first": {"S": first}, ":last": {"S": last}},
        "ConsistentRead": consistent,
        **more,
    }


def leased(sort):
    return key(sort) | {
        "fence": {"N": "100"},
        "ttl": {"N": "9"},
        "lease_id": {"S": "3-mine"},
        "owner": {"S": "me"},
        "acquired_at": {"N": "2000000"},
        "expires_at": {"N": "2030000"},
    }


DATA = {"M": {"job": {"S": "x"}, "size": {"L": [{"N": "1"}, {"NULL": True}]}}}

# Looks.

LOOK_NAMES = (
    "pk sk fence lease_id expires_at retired owner acquired_at max_tokens minted rev lease_ms schema order"  # key, too
)
LOOK_SHOWS = (
    "#sk, #fence, #lease_id, #expires_at, #retired, #owner, #acquired_at, "
    "#max_tokens, #minted, #rev, #lease_ms, #schema, #order"
)
SHOT = {
    "TableName": "leases",
    "ProjectionExpression": "#pk, #sk, #fence, #lease_id, #expires_at, #retired",
    "ExpressionAttributeNames": names("pk sk fence lease_id expires_at retired"),
}
LISTED = {
    "TableName": "leases",
    "FilterExpression": "attribute_exists(#lease_id) OR NOT #sk BETWEEN :first AND :last",
    "ProjectionExpression": (
        "#pk, #sk, #max_tokens, #minted, #rev, #lease_ms, #schema, #order, #fence, #retired, "
        "#lease_id, #owner, #acquired_at, #expires_at, #revoked, #data.#permit, #count, "
        "#limits, #tat, #held, #reach, #override, #override_rev, #blocked_until"
    ),
    "ExpressionAttributeNames": names(
        "pk sk max_tokens minted rev lease_ms schema order fence retired lease_id owner acquired_at expires_at revoked "
        "data count limits override override_rev blocked_until"
    )
    | {"#permit": "ddb_lease", "#tat": "tat#permits", "#held": "held#permits", "#reach": "reach#permits"},
    "ExpressionAttributeValues": {":first": {"S": "slot#"}, ":last": {"S": "slot$"}},
    "ConsistentRead": False,
    "ReturnConsumedCapacity": "TOTAL",
}
TICKETS = {"words": "pk sk owner count expires_at", "ProjectionExpression": "#sk, #owner, #count, #expires_at"}

# Slots and the counter.

CLAIMABLE = (
    "attribute_exists(#pk) AND attribute_not_exists(#retired) AND #fence < :fence "
    "AND (attribute_not_exists(#lease_id) OR #expires_at < :expired_before)"
)
BOUNDS = {":fence": {"N": "100"}, ":expired_before": {"N": "1990000"}}


def claimed(sort, **more):
    names_ = "pk retired fence lease_id expires_at"
    return write(CLAIMABLE, names_, BOUNDS, Item=leased(sort) | more)


def made(item):
    return write("attribute_not_exists(#pk)", "pk", Item=item)


def counted(change, condition, values, *, words="max_tokens minted rev"):
    return update("counter", change, condition, words, values | {":one": {"N": "1"}})


def transaction(*writes):
    """A transaction of puts (by their item) and updates (by their key), with its token."""
    items = [{"Put" if "Item" in each else "Update": each} for each in writes]
    return {"TransactItems": items, "ClientRequestToken": "a-token"}


SLOT_3 = {":slot": {"N": "3"}}
ADD_ONE = ("SET #minted = #minted + :one, #rev = #rev + :one", "#max_tokens > :slot AND #minted < #max_tokens", SLOT_3)
FILL_UP = ("SET #minted = #max_tokens, #rev = #rev + :one", "#max_tokens > :slot AND #minted >= #max_tokens", SLOT_3)
BROUGHT_BACK = update(
    "slot#00003",
    "SET #ttl = if_not_exists(#ttl, :ttl) REMOVE #retired",
    "attribute_exists(#pk) AND attribute_exists(#retired) AND attribute_type(#fence, :number)",
    "pk retired fence ttl",
    {":ttl": {"N": "9"}, ":number": {"S": "N"}},
)


def retired(sort):
    return update(
        sort,
        "SET #retired = :yes, #ttl = if_not_exists(#ttl, :ttl)",
        "attribute_exists(#pk) AND attribute_not_exists(#retired) AND attribute_type(#fence, :number)",
        "pk retired fence ttl",
        {":ttl": {"N": "9"}, ":yes": {"BOOL": True}, ":number": {"S": "N"}},
    )


RENEWED = (
    'UPDATE "leases" SET "expires_at" = ?, "ttl" = ? '
    'WHERE "pk" = ? AND "sk" = ? AND "lease_id" = ? AND "expires_at" <= ? RETURNING ALL NEW *'
)
RENEWABLE = "#lease_id = :lease_id AND #expires_at <= :expires_at"
RENEWAL = {":lease_id": {"S": "3-mine"}, ":expires_at": {"N": "2050000"}, ":ttl": {"N": "9"}}
RENEW = Renew(slot=3, lease_id="3-mine", expires_at=2_050_000, ttl=9)
ADOPTING = (
    "SET #lease_id = :adopter, #owner = :owner, #acquired_at = :acquired_at, #expires_at = :expires_at, "
    "#fence = :fence, #ttl = :ttl"
)


def adopted(sort, change=f"{ADOPTING} REMOVE #data", **more):
    values = {
        ":lease_id": {"S": "3-giver"},
        ":adopter": {"S": "3-mine"},
        ":owner": {"S": "me"},
        ":acquired_at": {"N": "2000000"},
        ":expires_at": {"N": "2030000"},
        ":fence": {"N": "100"},
        ":ttl": {"N": "9"},
        **more,
    }
    words = "lease_id owner acquired_at expires_at fence ttl data revoked"
    condition = "#lease_id = :lease_id AND #fence < :fence AND attribute_not_exists(#revoked)"
    return update(sort, change, condition, words, values)


ADOPT = Adopt(slots=(3,), giver="3-giver", fence=100, lease=LEASE, ttl=9, token="a-token")
DROPPED = "REMOVE #lease_id, #owner, #acquired_at, #expires_at, #data, #revoked"
DROPPED_NAMES = "lease_id owner acquired_at expires_at data revoked"
MINE = ("#lease_id = :lease_id", {":lease_id": {"S": "3-mine"}})
MINT = Mint(slot=3, fence=100, lease=LEASE, ttl=9, re_mint=False, token="a-token")
TAKE = Take(
    claims=(1, 4),
    mints=(),
    fence=100,
    lease=LEASE,
    expired_before=1_990_000,
    ttl=9,
    seen_max=9,
    re_mint=False,
    token="a-token",
)
CREATE = Create(
    settings=Settings(max_tokens=9, lease_ms=30_000), minted=8, rev=7, slots=2, fence=50, ttl=9, token="a-token"
)
NEW_COUNTER = key("counter") | {
    "max_tokens": {"N": "9"},
    "minted": {"N": "8"},
    "rev": {"N": "7"},
    "lease_ms": {"N": "30000"},
    "schema": {"N": "1"},
}
FREE = {"fence": {"N": "50"}, "ttl": {"N": "9"}}
WAITING = "wait#6#0000002000000#00000000000000aa"

CALLS = {
    "look": (
        Look(limit=128, consistent=True),
        "query",
        query(
            "counter",
            "slot#99999",
            consistent=True,
            words=LOOK_NAMES,
            Limit=129,
            ProjectionExpression=LOOK_SHOWS,
        ),
    ),
    "look further": (
        Look(start=128, limit=128, consistent=False),
        "query",
        query(
            "slot#00128",
            "slot#99999",
            consistent=False,
            words=LOOK_NAMES,
            Limit=128,
            ProjectionExpression=LOOK_SHOWS,
        ),
    ),
    "look at all": (
        Look(limit=10, consistent=True, whole=True),
        "query",
        query("counter", "slot#99999", consistent=True, Limit=11),
    ),
    "claim": (
        Claim(slot=3, fence=100, lease=LEASE, expired_before=1_990_000, ttl=9),
        "put_item",
        claimed("slot#00003"),
    ),
    "claim with data": (
        Claim(slot=3, fence=100, lease=WITH_DATA, expired_before=1_990_000, ttl=9),
        "put_item",
        claimed("slot#00003", data=DATA),
    ),
    "mint": (MINT, "transact_write_items", transaction(made(leased("slot#00003")), counted(*ADD_ONE))),
    "mint with data, re-minting": (
        replace(MINT, lease=WITH_DATA, re_mint=True),
        "transact_write_items",
        transaction(made(leased("slot#00003") | {"data": DATA}), counted(*FILL_UP)),
    ),
    "bring back": (
        BringBack(slot=3, ttl=9, re_mint=False, token="a-token"),
        "transact_write_items",
        transaction(BROUGHT_BACK, counted(*ADD_ONE)),
    ),
    "bring back, re-minting": (
        BringBack(slot=3, ttl=9, re_mint=True, token="a-token"),
        "transact_write_items",
        transaction(BROUGHT_BACK, counted(*FILL_UP)),
    ),
    "take, claiming": (
        TAKE,
        "transact_write_items",
        transaction(claimed("slot#00001"), claimed("slot#00004")),
    ),
    "take, minting": (
        replace(TAKE, claims=(4,), mints=(2, 6)),
        "transact_write_items",
        transaction(
            claimed("slot#00004"),
            made(leased("slot#00002")),
            made(leased("slot#00006")),
            counted(
                "SET #minted = #minted + :many, #rev = #rev + :one",
                "#max_tokens >= :seen_max AND #minted <= :room",
                {":seen_max": {"N": "9"}, ":room": {"N": "7"}, ":many": {"N": "2"}},
            ),
        ),
    ),
    "take, re-minting": (
        replace(TAKE, claims=(), mints=(2, 6), re_mint=True),
        "transact_write_items",
        transaction(
            made(leased("slot#00002")),
            made(leased("slot#00006")),
            counted(
                "SET #minted = #max_tokens, #rev = #rev + :one",
                "#max_tokens = :seen_max AND #minted > :room",
                {":seen_max": {"N": "9"}, ":room": {"N": "7"}},
            ),
        ),
    ),
    "retire": (
        Retire(slots=(4, 6), rev=7, max_tokens=4, minted=3, ttl=9, token="a-token"),
        "transact_write_items",
        transaction(
            retired("slot#00004"),
            retired("slot#00006"),
            counted(
                "SET #max_tokens = :max_tokens, #minted = :minted, #rev = #rev + :one",
                "#rev = :rev",
                {":rev": {"N": "7"}, ":max_tokens": {"N": "4"}, ":minted": {"N": "3"}},
            ),
        ),
    ),
    "create": (
        CREATE,
        "transact_write_items",
        transaction(made(key("slot#00000") | FREE), made(key("slot#00001") | FREE), made(NEW_COUNTER)),
    ),
    "create the counter alone, ordered": (
        replace(CREATE, slots=0, settings=replace(CREATE.settings, order="fifo")),
        "transact_write_items",
        transaction(made(NEW_COUNTER | {"order": {"S": "fifo"}})),
    ),
    "renew": (
        RENEW,
        "update_item",
        update(
            "slot#00003",
            "SET #expires_at = :expires_at, #ttl = :ttl",
            RENEWABLE,
            "lease_id expires_at ttl",
            RENEWAL,
            ReturnValues="ALL_NEW",
        ),
    ),
    "renew, to hand over": (
        replace(RENEW, owner="me (handed over)"),
        "update_item",
        update(
            "slot#00003",
            "SET #expires_at = :expires_at, #ttl = :ttl, #owner = :owner",
            RENEWABLE,
            "lease_id expires_at ttl owner",
            RENEWAL | {":owner": {"S": "me (handed over)"}},
            ReturnValues="ALL_NEW",
        ),
    ),
    "renew each": (
        RenewEach(renewals=(RENEW, Renew(slot=5, lease_id="5-x", expires_at=2_060_000, ttl=8))),
        "batch_execute_statement",
        {
            "Statements": [
                {
                    "Statement": RENEWED,
                    "Parameters": [
                        {"N": "2050000"},
                        {"N": "9"},
                        {"S": "nightly"},
                        {"S": "slot#00003"},
                        {"S": "3-mine"},
                        {"N": "2050000"},
                    ],
                },
                {
                    "Statement": RENEWED,
                    "Parameters": [
                        {"N": "2060000"},
                        {"N": "8"},
                        {"S": "nightly"},
                        {"S": "slot#00005"},
                        {"S": "5-x"},
                        {"N": "2060000"},
                    ],
                },
            ]
        },
    ),
    "adopt": (ADOPT, "update_item", adopted("slot#00003")),
    "adopt, with data": (
        replace(ADOPT, lease=WITH_DATA),
        "update_item",
        adopted("slot#00003", f"{ADOPTING}, #data = :data", **{":data": DATA}),
    ),
    "adopt several": (
        replace(ADOPT, slots=(3, 5)),
        "transact_write_items",
        transaction(adopted("slot#00003"), adopted("slot#00005")),
    ),
    "release": (
        Release(slot=3, lease_id="3-mine", ttl=9),
        "update_item",
        update(
            "slot#00003", f"SET #ttl = :ttl {DROPPED}", MINE[0], f"{DROPPED_NAMES} ttl", MINE[1] | {":ttl": {"N": "9"}}
        ),
    ),
    "release, time unknown": (
        Release(slot=3, lease_id="3-mine", ttl=None),
        "update_item",
        update("slot#00003", DROPPED, MINE[0], DROPPED_NAMES, MINE[1]),
    ),
    "close": (
        Close(slot=3, lease_id="3-mine", closed_id="3-closed", expires_at=2_090_000, ttl=9),
        "update_item",
        update(
            "slot#00003",
            "SET #lease_id = :closed_id, #expires_at = :expires_at, #ttl = :ttl REMOVE #data, #revoked",
            MINE[0],
            "lease_id expires_at ttl data revoked",
            MINE[1] | {":closed_id": {"S": "3-closed"}, ":expires_at": {"N": "2090000"}, ":ttl": {"N": "9"}},
        ),
    ),
    "revoke": (
        Revoke(slot=3, lease_id="3-mine", by="an operator"),
        "update_item",
        update(
            "slot#00003",
            "SET #revoked = :by",
            MINE[0],
            "lease_id revoked",
            MINE[1] | {":by": {"S": "an operator"}},
        ),
    ),
    "snapshot": (
        Snapshot(slots=(0, 4), counter=True),
        "transact_get_items",
        {
            "TransactItems": [
                {"Get": SHOT | {"Key": key("slot#00000")}},
                {"Get": SHOT | {"Key": key("slot#00004")}},
                {"Get": {"TableName": "leases", "Key": key("counter")}},
            ]
        },
    ),
    "snapshot of a slot alone": (
        Snapshot(slots=(4,), counter=False),
        "transact_get_items",
        {"TransactItems": [{"Get": SHOT | {"Key": key("slot#00004")}}]},
    ),
    "grow": (
        Grow(rev=7, max_tokens=9),
        "update_item",
        counted(
            "SET #max_tokens = :max_tokens, #rev = #rev + :one",
            "#rev = :rev",
            {":rev": {"N": "7"}, ":max_tokens": {"N": "9"}},
            words="max_tokens rev",
        ),
    ),
    "recount": (
        Recount(rev=7, minted=2),
        "update_item",
        counted(
            "SET #minted = :minted, #rev = #rev + :one",
            "#rev = :rev",
            {":rev": {"N": "7"}, ":minted": {"N": "2"}},
            words="minted rev",
        ),
    ),
    "set the order": (
        SetOrder(rev=7, order="any"),
        "update_item",
        counted(
            "SET #order = :order, #rev = #rev + :one",
            "#rev = :rev",
            {":rev": {"N": "7"}, ":order": {"S": "any"}},
            words="order rev",
        ),
    ),
    "list a table": (ListPage(), "scan", LISTED),
    "list more of a table": (
        ListPage(after=("b", "slot#00001"), limit=9),
        "scan",
        LISTED | {"Limit": 9, "ExclusiveStartKey": key("slot#00001", "b")},
    ),
}

CALLS_FOR_TICKETS = {
    "put": (
        PutTicket(ticket=TICKET, ttl=9),
        "put_item",
        made(
            key(WAITING)
            | {"owner": {"S": "me"}, "count": {"N": "2"}, "expires_at": {"N": "2030000"}, "ttl": {"N": "9"}}
        ),
    ),
    "refresh": (
        RefreshTicket(ticket=TICKET, ttl=9),
        "update_item",
        update(
            WAITING,
            "SET #expires_at = :expires_at, #ttl = :ttl",
            "#expires_at <= :expires_at",
            "expires_at ttl",
            {":expires_at": {"N": "2030000"}, ":ttl": {"N": "9"}},
        ),
    ),
    "drop": (
        DropTicket(ticket=TICKET),
        "delete_item",
        write("#expires_at <= :expires_at", "expires_at", {":expires_at": {"N": "2030000"}}, Key=key(WAITING)),
    ),
    "look at the queue": (
        LookAtQueue(limit=32, consistent=False),
        "query",
        query("wait#", "wait#~", consistent=False, Limit=32, **TICKETS),
    ),
    "look further": (
        LookAtQueue(limit=32, consistent=True, after=WAITING),
        "query",
        query(f"{WAITING}!", "wait#~", consistent=True, Limit=32, **TICKETS),
    ),
    "look at the last of a priority": (
        LookAtQueue(limit=1, consistent=True, last_of=3),
        "query",
        query("wait#6#", "wait#6#~", consistent=True, Limit=1, ScanIndexForward=False, **TICKETS),
    ),
}


def hit(sort, change, condition, words, values):
    return update(sort, change, condition, words, values, pk="nightly#29", ReturnValues="ALL_NEW")


CALLS_FOR_HITS = {
    "add": (
        AddHits(key=FIXED, n=2, now=8),
        "update_item",
        hit(
            "hits#0#k",
            "SET #count = #count + :n",
            "#ends_at > :now",
            "count ends_at",
            {":n": {"N": "2"}, ":now": {"N": "8"}},
        ),
    ),
    "begin": (
        BeginHits(key=FIXED, n=2, now=8, ends_at=19, ttl=9),
        "update_item",
        hit(
            "hits#0#k",
            "SET #count = :n, #ends_at = :ends_at, #ttl = :ttl",
            "attribute_not_exists(#pk) OR #ends_at <= :now",
            "pk count ends_at ttl",
            {":n": {"N": "2"}, ":now": {"N": "8"}, ":ends_at": {"N": "19"}, ":ttl": {"N": "9"}},
        ),
    ),
    "slide in the same window": (
        SLIDE,
        "update_item",
        hit(
            "hits#60000#k",
            "SET #count = #count + :n",
            "#window = :window AND #previous <= :most_previous AND #count <= :most",
            "count previous window",
            {":n": {"N": "2"}, ":window": {"N": "7"}, ":most_previous": {"N": "4"}, ":most": {"N": "5"}},
        ),
    ),
    "slide to the next window": (
        replace(SLIDE, branch="next"),
        "update_item",
        hit(
            "hits#60000#k",
            "SET #previous = #count, #count = :n, #window = :window, #ttl = :ttl",
            "#window = :before AND #count <= :most_previous",
            "count previous window ttl",
            {
                ":n": {"N": "2"},
                ":window": {"N": "7"},
                ":before": {"N": "6"},
                ":ttl": {"N": "9"},
                ":most_previous": {"N": "4"},
            },
        ),
    ),
    "slide to a new window": (
        replace(SLIDE, branch="new"),
        "update_item",
        hit(
            "hits#60000#k",
            "SET #previous = :zero, #count = :n, #window = :window, #ttl = :ttl",
            "attribute_not_exists(#pk) OR #window < :before",
            "pk count previous window ttl",
            {":n": {"N": "2"}, ":window": {"N": "7"}, ":before": {"N": "6"}, ":ttl": {"N": "9"}, ":zero": {"N": "0"}},
        ),
    ),
    "read": (
        ReadHits(key=SLIDING),
        "query",
        query("hits#60000#k", "hits#60000#k", pk="nightly#29", consistent=True),
    ),
    "drop": (
        DropHits(key=FIXED),
        "delete_item",
        write("attribute_type(#count, :number)", "count", {":number": {"S": "N"}}, Key=key("hits#0#k", "nightly#29")),
    ),
    "list": (
        ListHits(shard=3, limit=9),
        "query",
        query("hits#", "hits$", pk="nightly#03", consistent=False, Limit=9),
    ),
    "list more": (
        ListHits(shard=3, after="hits#0#k", limit=9),
        "query",
        query(
            "hits#",
            "hits$",
            pk="nightly#03",
            consistent=False,
            Limit=9,
            ExclusiveStartKey=key("hits#0#k", "nightly#03"),
        ),
    ),
}


def each(calls):
    return pytest.mark.parametrize(("request_", "method", "arguments"), calls.values(), ids=calls)


def kinds(calls):
    return {type(request) for request, _, _ in calls.values()}


@each(CALLS)
def test_a_request_about_a_bucket_is_this_call(request_, method, arguments):
    assert call_for(request_, PLACE) == (method, arguments)


@each(CALLS_FOR_TICKETS)
def test_a_request_about_a_ticket_is_this_call(request_, method, arguments):
    assert call_for(request_, PLACE) == (method, arguments)


@each(CALLS_FOR_HITS)
def test_a_request_about_hits_is_this_call(request_, method, arguments):
    assert call_for(request_, PLACE) == (method, arguments)


def test_no_kind_of_request_is_missing_here():
    assert kinds(CALLS_FOR_TICKETS) == set(typing.get_args(TicketRequest))
    assert kinds(CALLS_FOR_HITS) == set(typing.get_args(HitsRequest))
    others = {*typing.get_args(TicketRequest), *typing.get_args(HitsRequest), *typing.get_args(RateRequest)}
    assert kinds(CALLS) == set(typing.get_args(Request)) - others


def test_a_tables_name_is_quoted_where_it_stands_in_a_statement():
    odd = BucketAddress(table='a"b', bucket="nightly")
    _, arguments = call_for(RenewEach(renewals=(RENEW,)), odd)
    assert arguments["Statements"][0]["Statement"].startswith('UPDATE "a""b" SET ')
