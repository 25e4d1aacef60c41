"""Requests about hits: each condition, holding and failing, straight to the table."""

from dataclasses import replace

import pytest

from ddb_lease._protocol.hits import (
    AddHits,
    BeginHits,
    DropHits,
    FixedHits,
    HitsKey,
    HitsListed,
    HitsRead,
    HitsRefused,
    HitsWritten,
    ListHits,
    ReadHits,
    SlideHits,
    SlidingHits,
)
from ddb_lease._protocol.messages import Done, Rejected
from ddb_lease.dynamodb.rates.items import shard_name, shard_of
from tests.support import NOW, TTL, Table

CONTRACT = True  # the simulator's DynamoDB too

FIXED, SLIDING = HitsKey(key="LIMITER/a#b/5/1/minute"), HitsKey(key="k", length=60_000)
ADD = AddHits(key=FIXED, n=3, now=NOW)
BEGIN = BeginHits(key=FIXED, n=3, now=NOW, ends_at=NOW + 60_000, ttl=TTL)
SAME = SlideHits(key=SLIDING, branch="same", n=2, number=7, most_previous=4, most=5, ttl=TTL)
NEXT = replace(SAME, branch="next", most=0)
NEW = replace(SAME, branch="new", most=0, most_previous=0)


@pytest.fixture
def items(table, bucket_name):
    """The items of any key, by the key."""

    class Items:
        def put(self, key, **attributes):
            self.of(key).set(self.sort(key), **attributes)

        def get(self, key):
            return self.of(key).get(self.sort(key))

        def sort(self, key):
            return f"hits#{key.length}#{key.key}"

        def of(self, key):
            return Table(table.client, table.table, shard_name(bucket_name, shard_of(key.key)))

    return Items()


def answer_to(store, request):
    return store.send(request).answer


# Fixed windows.


def test_hits_are_added_while_the_window_runs(store, items):
    items.put(FIXED, count=1, ends_at=NOW + 1, ttl=5)
    assert answer_to(store, ADD) == HitsWritten(hits=FixedHits(count=4, ends_at=NOW + 1))
    assert items.get(FIXED) == {"count": 4, "ends_at": NOW + 1, "ttl": 5}


@pytest.mark.parametrize("ends_at", [NOW, NOW - 1])
def test_no_hits_are_added_to_a_window_that_is_over(store, items, ends_at):
    items.put(FIXED, count=1, ends_at=ends_at, ttl=5)
    assert answer_to(store, ADD) == HitsRefused(hits=FixedHits(count=1, ends_at=ends_at))
    assert items.get(FIXED)["count"] == 1


def test_no_hits_are_added_where_there_is_no_window(store, items):
    assert answer_to(store, ADD) == HitsRefused(hits=None)
    assert items.get(FIXED) is None


@pytest.mark.parametrize("before", [None, {"count": 9, "ends_at": NOW, "ttl": 5}])
def test_a_window_begins_where_there_is_none_or_one_that_is_over(store, items, before):
    if before:
        items.put(FIXED, **before)
    assert answer_to(store, BEGIN) == HitsWritten(hits=FixedHits(count=3, ends_at=NOW + 60_000))
    assert items.get(FIXED) == {"count": 3, "ends_at": NOW + 60_000, "ttl": TTL}


def test_a_window_that_runs_is_not_begun_again(store, items):
    items.put(FIXED, count=9, ends_at=NOW + 1, ttl=5)
    assert answer_to(store, BEGIN) == HitsRefused(hits=FixedHits(count=9, ends_at=NOW + 1))
    assert items.get(FIXED) == {"count": 9, "ends_at": NOW + 1, "ttl": 5}


# Sliding windows.


@pytest.mark.parametrize(
    ("before", "counted"),
    [
        ({"window": 7, "previous": 4, "count": 5}, True),
        ({"window": 7, "previous": 3, "count": 0}, True),
        ({"window": 8, "previous": 4, "count": 5}, False),
        ({"window": 6, "previous": 4, "count": 5}, False),
        ({"window": 7, "previous": 5, "count": 5}, False),
        ({"window": 7, "previous": 4, "count": 6}, False),
        (None, False),
    ],
)
def test_hits_in_the_same_window_are_counted_if_they_fit(store, items, before, counted):
    if before:
        items.put(SLIDING, **before, ttl=5)
    answer = answer_to(store, SAME)
    if counted:
        after = before | {"count": before["count"] + 2}
        assert answer == HitsWritten(hits=SlidingHits(number=7, count=after["count"], previous=after["previous"]))
        assert items.get(SLIDING) == after | {"ttl": 5}
    else:
        found = before and SlidingHits(number=before["window"], count=before["count"], previous=before["previous"])
        assert answer == HitsRefused(hits=found)
        assert items.get(SLIDING) == (before and before | {"ttl": 5})


@pytest.mark.parametrize(
    ("before", "counted"),
    [
        ({"window": 6, "previous": 9, "count": 4}, True),
        ({"window": 6, "previous": 9, "count": 5}, False),
        ({"window": 5, "previous": 9, "count": 4}, False),
        ({"window": 7, "previous": 0, "count": 0}, False),
        (None, False),
    ],
)
def test_the_next_window_begins_with_the_hits_of_the_one_before_if_they_fit(store, items, before, counted):
    if before:
        items.put(SLIDING, **before, ttl=5)
    answer = answer_to(store, NEXT)
    assert isinstance(answer, HitsWritten if counted else HitsRefused)
    after = {"window": 7, "previous": 4, "count": 2, "ttl": TTL}
    assert items.get(SLIDING) == (after if counted else before and before | {"ttl": 5})


@pytest.mark.parametrize(
    ("before", "counted"),
    [
        (None, True),
        ({"window": 5, "previous": 9, "count": 9}, True),
        ({"window": 6, "previous": 0, "count": 0}, False),
        ({"window": 7, "previous": 0, "count": 0}, False),
    ],
)
def test_a_new_window_begins_where_nothing_counts_any_more(store, items, before, counted):
    if before:
        items.put(SLIDING, **before, ttl=5)
    answer = answer_to(store, NEW)
    assert isinstance(answer, HitsWritten if counted else HitsRefused)
    after = {"window": 7, "previous": 0, "count": 2, "ttl": TTL}
    assert items.get(SLIDING) == (after if counted else before and before | {"ttl": 5})


# Others.


def test_an_item_is_read_as_it_is(store, items):
    assert answer_to(store, ReadHits(key=FIXED)) == HitsRead(hits=None)
    items.put(FIXED, count=1, ends_at=NOW)
    items.put(replace(FIXED, key=FIXED.key + "!"), count=2, ends_at=NOW)
    items.put(SLIDING, count=1, window=7, previous=2)
    assert answer_to(store, ReadHits(key=FIXED)) == HitsRead(hits=FixedHits(count=1, ends_at=NOW))
    assert answer_to(store, ReadHits(key=SLIDING)) == HitsRead(hits=SlidingHits(number=7, count=1, previous=2))


def test_hits_are_forgotten_once(store, items):
    items.put(FIXED, count=1, ends_at=NOW)
    assert answer_to(store, DropHits(key=FIXED)) == Done()
    assert items.get(FIXED) is None
    assert answer_to(store, DropHits(key=FIXED)) == HitsRefused(hits=None)


@pytest.mark.parametrize("request_", [ADD, BEGIN, DropHits(key=FIXED)], ids=lambda one: type(one).__name__)
def test_an_item_of_another_shape_is_not_written_to(store, items, request_):
    items.put(FIXED, count="many")
    answer = answer_to(store, request_)
    assert isinstance(answer, HitsRefused if isinstance(request_, DropHits) else Rejected)
    assert items.get(FIXED) == {"count": "many"}
    refused = answer_to(store, ReadHits(key=FIXED))
    assert isinstance(refused, Rejected)
    assert repr(items.sort(FIXED)) in str(refused.error)
    assert "hits have the whole numbers count and ends_at" in str(refused.error)


@pytest.mark.parametrize("request_", [SAME, NEXT, NEW], ids=lambda one: one.branch)
def test_an_item_of_another_shape_is_no_sliding_window(store, items, request_):
    items.put(SLIDING, count=0, previous=0)
    assert isinstance(answer_to(store, request_), Rejected)
    assert items.get(SLIDING) == {"count": 0, "previous": 0}


def test_keys_of_a_shard_are_listed_page_by_page(store, items, bucket_name):
    for key in (FIXED, replace(FIXED, length=1000)):
        items.put(key, count=1)
    items.of(FIXED).set("hits#0#x", other=1)
    items.of(FIXED).set("hits#x#x", count=1)
    items.of(FIXED).set("rate#x", count=1)
    shard = shard_of(FIXED.key)
    found, after = [], None
    while True:
        page = answer_to(store, ListHits(shard=shard, after=after, limit=1))
        assert isinstance(page, HitsListed)
        found += page.keys
        after = page.after
        if after is None:
            break
    assert found == [FIXED, replace(FIXED, length=1000)]
