"""Hits in answers: windows as values, and what is of another shape."""

import pytest
from botocore.exceptions import ClientError

from ddb_lease import StoreRejected, StoreUnavailable
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
from ddb_lease._protocol.messages import Done, Rejected, Unknown
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_answer, read_failure

PLACE = BucketAddress(table="leases", bucket="nightly")
FIXED, SLIDING = HitsKey(key="k"), HitsKey(key="k", length=60_000)
PAST = {"pk": {"S": "nightly#29"}, "sk": {"S": "hits#0#k"}}
FIXED_ITEM = PAST | {"count": {"N": "3"}, "ends_at": {"N": "19"}}
SLIDING_ITEM = {"count": {"N": "3"}, "window": {"N": "7"}, "previous": {"N": "5"}}
IN_FIXED = FixedHits(count=3, ends_at=19)
IN_SLIDING = SlidingHits(number=7, count=3, previous=5)
WRITES = [
    (AddHits(key=FIXED, n=2, now=8), FIXED_ITEM, IN_FIXED),
    (BeginHits(key=FIXED, n=2, now=8, ends_at=19, ttl=9), FIXED_ITEM, IN_FIXED),
    (SlideHits(key=SLIDING, branch="same", n=2, number=7, ttl=9), SLIDING_ITEM, IN_SLIDING),
]
EACH_WRITE = pytest.mark.parametrize(("request_", "item", "hits"), WRITES, ids=["add", "begin", "slide"])
ODD = {"nothing": {}, "text": {"S": "3"}, "no number": {"N": "x"}, "a fraction": {"N": "0.5"}, "null": None}
EACH_ODD = pytest.mark.parametrize("odd", ODD.values(), ids=ODD)


def failed(**more):
    """A condition that failed."""
    return ClientError({"Error": {"Code": "ConditionalCheckFailedException", "Message": "no"}, **more}, "UpdateItem")


@EACH_WRITE
def test_a_write_shows_the_window_as_it_left_it(request_, item, hits):
    assert read_answer(request_, {"Attributes": item}, PLACE) == HitsWritten(hits=hits)


@EACH_WRITE
@pytest.mark.parametrize("response", [{}, {"Attributes": None}, {"Attributes": {}}], ids=str)
def test_a_write_whose_answer_does_not_show_it_may_have_counted(request_, item, hits, response):
    answer = read_answer(request_, response, PLACE)
    assert isinstance(answer, Unknown)
    assert isinstance(answer.cause, StoreUnavailable)
    assert str(answer.cause) == "the answer to a write does not show the new state"


@EACH_WRITE
def test_a_refusal_shows_the_window_that_it_found(request_, item, hits):
    assert read_failure(failed(Item=item), PLACE, request_) == HitsRefused(hits=hits)
    assert read_failure(failed(), PLACE, request_) == HitsRefused(hits=None)


@EACH_WRITE
@EACH_ODD
def test_a_window_of_another_shape_is_never_guessed_at(request_, item, hits, odd):
    for name in item.keys() - {"pk", "sk"}:
        misshapen = item | {name: odd}
        error = failed(Item=misshapen)
        refused = read_failure(error, PLACE, request_)
        assert isinstance(refused, Rejected)
        assert refused.error.__cause__ is error
        written = read_answer(request_, {"Attributes": misshapen}, PLACE)
        assert isinstance(written, Unknown), "it may have been counted"
        assert isinstance(written.cause, StoreRejected)
        read = read_answer(ReadHits(key=request_.key), {"Items": [misshapen]}, PLACE)
        assert isinstance(read, Rejected)


def test_what_is_of_another_shape_is_named_with_its_place_and_what_to_do():
    item = FIXED_ITEM | {"count": {"N": "0.5"}}
    rest = (
        "is not of this library's shape (count; hits have the whole numbers count and ends_at, or count, previous and "
        "window). It belongs to another program, or was edited, and nothing is written to it: choose another name or "
        "another table, or put right what was edited"
    )
    said = str(read_answer(ReadHits(key=FIXED), {"Items": [item]}, PLACE).error)
    assert said == f"the item 'hits#0#k' (pk 'nightly#29' in table 'leases') {rest}"
    del item["pk"]
    said = str(read_answer(ReadHits(key=FIXED), {"Items": [item]}, PLACE).error)
    assert said == f"the item 'hits#0#k' (pk 'nightly' in table 'leases') {rest}"
    assert str(read_answer(ReadHits(key=FIXED), {"Items": [item]}).error) == f"the item 'hits#0#k' {rest}"


@pytest.mark.parametrize(
    ("key", "item", "hits"), [(FIXED, FIXED_ITEM, IN_FIXED), (SLIDING, SLIDING_ITEM, IN_SLIDING)], ids=str
)
def test_a_window_is_read_by_the_kind_that_its_key_says(key, item, hits):
    assert read_answer(ReadHits(key=key), {"Items": [item]}, PLACE) == HitsRead(hits=hits)
    assert read_answer(ReadHits(key=key), {"Items": []}, PLACE) == HitsRead(hits=None)
    assert read_answer(ReadHits(key=key), {"Items": [None]}, PLACE) == HitsRead(hits=None)


@pytest.mark.parametrize("request_", [ReadHits(key=FIXED), ListHits(shard=3, limit=9)], ids=["read", "list"])
@pytest.mark.parametrize("response", [{}, {"Items": None}, {"Items": {}}], ids=str)
def test_an_answer_without_a_list_does_not_say_that_there_are_none(request_, response):
    answer = read_answer(request_, response, PLACE)
    assert isinstance(answer, Unknown)
    assert str(answer.cause) == "the answer to a Query has no list of items"


def test_what_is_forgotten_is_done_and_what_was_not_there_is_no_matter_of_its_shape():
    assert read_answer(DropHits(key=FIXED), {}, PLACE) == Done()
    assert read_failure(failed(Item={"count": {"S": "x"}}), PLACE, DropHits(key=FIXED)) == HitsRefused(hits=None)


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("hits#0#k", HitsKey(key="k")),
        ("hits#60000#a#b", HitsKey(key="a#b", length=60_000)),
        ("hits#0#two\nlines\n", HitsKey(key="two\nlines\n")),
        ("hits#9999999999999999#k", HitsKey(key="k", length=9_999_999_999_999_999)),
        ("hits#10000000000000000#k", None),
        ("hits##k", None),
        ("hits#0#", None),
        ("hits#x#k", None),
        ("hits#٦#k", None),
        ("a hits#0#k", None),
        ("rate#k", None),
    ],
    ids=ascii,
)
def test_a_key_is_listed_if_it_is_one(sort, key):
    item = {"sk": {"S": sort}, "count": {"N": "1"}}
    found = () if key is None else (key,)
    listed = read_answer(ListHits(shard=3, limit=9), {"Items": [None, {"sk": {"S": sort}}, item]}, PLACE)
    assert listed == HitsListed(keys=found, after=None), "what has no count is none of ours"


@pytest.mark.parametrize(
    ("last", "after"),
    [({"sk": {"S": "hits#0#k"}}, "hits#0#k"), ({"pk": {"S": "x"}}, None), ({}, None), (None, None)],
    ids=str,
)
def test_a_page_of_keys_says_where_the_next_begins(last, after):
    response = {"Items": [], "LastEvaluatedKey": last}
    assert read_answer(ListHits(shard=3, limit=9), response, PLACE) == HitsListed(keys=(), after=after)
