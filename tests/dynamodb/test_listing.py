"""A page of a table in an answer: each item that is ours, what cannot be read, and what the page cost."""

import pytest

from ddb_lease._protocol.listing import Found, ListPage, PageIs, RateKey
from ddb_lease._protocol.messages import Unknown
from ddb_lease._protocol.rates.records import KeyState, LimitPolicy, LimitState, Policy
from ddb_lease._protocol.records import Claimant, Counter, Slot
from ddb_lease._protocol.tickets import Ticket
from ddb_lease.dynamodb.answers import read_answer


def numbers(**attributes):
    return {name.replace("__", "#"): {"N": str(number)} for name, number in attributes.items()}


def at(sort, pk="b"):
    return {"pk": {"S": pk}, "sk": {"S": sort}}


COUNTER = at("counter") | numbers(max_tokens=5, minted=4, rev=7, lease_ms=30_000, schema=1)
LEASED = at("slot#00003") | numbers(fence=10, acquired_at=4, expires_at=5) | {"lease_id": {"S": "3-x"}}
TICKET = at("wait#6#0000000000005#00000000000000ab") | numbers(count=2, expires_at=40) | {"owner": {"S": "me"}}
LIMIT = {"M": numbers(interval=10, burst=3, permits=100, per=1, rev=7, since=8)}
POLICY = at("policy", "api") | numbers(schema=2, rev=7) | {"limits": {"M": {"permits": LIMIT}}}
KEY = at("rate#k", "api#x#07") | numbers(schema=2, rev=7, tat__permits=70, held__permits=1, reach__permits=71)
OURS = {
    "a counter": (COUNTER, Found(name="b", item=Counter(max_tokens=5, minted=4, rev=7, lease_ms=30_000))),
    "a leased slot": (
        LEASED,
        Found(
            name="b",
            item=Slot(number=3, fence=10, lease=Claimant(lease_id="3-x", owner="", acquired_at=4, expires_at=5)),
        ),
    ),
    "a ticket": (
        TICKET,
        Found(
            name="b",
            item=Ticket(priority=3, arrival=5, name="00000000000000ab", owner="me", count=2, expires_at=40),
        ),
    ),
    "a policy": (
        POLICY,
        Found(
            name="api",
            item=Policy(
                limits={"permits": LimitPolicy(interval=10, burst=3, permits=100.0, per=1.0, rev=7, since=8)}, rev=7
            ),
        ),
    ),
    "a key of a rate": (
        KEY,
        Found(
            name="api#x",
            item=RateKey(key="k", state=KeyState(rev=7, limits={"permits": LimitState(tat=70, held=1, reach=71)})),
        ),
    ),
}
UNREADABLE = {
    "a counter without a number": COUNTER | {"minted": {"S": "4"}},
    "a counter of a newer version": COUNTER | numbers(schema=2),
    "a slot of another shape": LEASED | {"fence": {"S": "10"}},
    "a ticket for nothing": TICKET | numbers(count=0),
    "what is no ticket": at("wait#x"),
    "a policy of an older version": POLICY | numbers(schema=1),
    "a policy of a newer version": POLICY | numbers(schema=3),
    "a policy without limits": POLICY | {"limits": None},
    "a key without a schema": {name: value for name, value in KEY.items() if name != "schema"},
    "a key without a number": KEY | {"held#permits": {"S": "1"}},
}
NOT_OURS = {
    "an item of another program": at("invoice#1"),
    "a slot that is none": at("slot#3"),
    "what version 1 kept a rate in": at("rate") | numbers(tat=1, burst=2),
    "no sort key": {"pk": {"S": "b"}},
    "a sort key that is a number": {"pk": {"S": "b"}, "sk": {"N": "1"}},
    "nothing": None,
}


def page(*items, **more):
    return read_answer(ListPage(), {"Items": list(items), **more})


def page_is(*found, unreadable=0, scanned=1, after=None, read_units=None):
    return PageIs(found=found, unreadable=unreadable, scanned=scanned, after=after, read_units=read_units)


@pytest.mark.parametrize(("item", "found"), OURS.values(), ids=OURS)
def test_an_item_of_ours_is_listed_under_its_name(item, found):
    assert page(item) == page_is(found)


@pytest.mark.parametrize("item", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_counted_and_hides_no_other(item):
    assert page(item, COUNTER, item) == page_is(OURS["a counter"][1], unreadable=2, scanned=3)


@pytest.mark.parametrize("item", NOT_OURS.values(), ids=NOT_OURS)
def test_what_is_not_ours_is_neither_listed_nor_counted_as_unreadable(item):
    assert page(item, COUNTER) == page_is(OURS["a counter"][1], scanned=2)


def test_a_page_lists_its_items_in_their_order():
    items, found = zip(*OURS.values(), strict=True)
    assert page(*items) == page_is(*found, scanned=5)


@pytest.mark.parametrize(("told", "scanned"), [(40, 40), (0, 0), ("40", 1), (None, 1)])
def test_how_many_items_were_read_is_what_the_service_says_or_those_that_came(told, scanned):
    assert page(COUNTER, ScannedCount=told).scanned == scanned


@pytest.mark.parametrize(
    ("consumed", "units"),
    [
        ({"CapacityUnits": 1.5}, 1.5),
        ({"CapacityUnits": 2}, 2.0),
        ({"CapacityUnits": "2"}, None),
        ({}, None),
        (None, None),
    ],
    ids=str,
)
def test_what_a_page_cost_is_known_if_the_service_says_it(consumed, units):
    assert page(COUNTER, ConsumedCapacity=consumed).read_units == units


@pytest.mark.parametrize(
    ("last", "after"),
    [({"pk": {"S": "b"}, "sk": {"S": "slot#00001"}}, ("b", "slot#00001")), ({}, None), (None, None), ("?", None)],
    ids=str,
)
def test_a_page_says_where_the_next_one_begins(last, after):
    assert page(COUNTER, LastEvaluatedKey=last).after == after


@pytest.mark.parametrize("response", [{}, {"Items": None}, {"Items": {}}], ids=str)
def test_an_answer_without_a_list_is_no_empty_page(response):
    answer = read_answer(ListPage(), response)
    assert isinstance(answer, Unknown)
    assert str(answer.cause) == "the answer to a Scan has no list of items"
