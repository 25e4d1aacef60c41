"""Small parts of requests, whole: a guard of a user's transaction, placeholders, addresses, and what is not ours."""

import pytest

from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.endpoint import AWS, Endpoint
from ddb_lease.dynamodb.foreign import as_map, not_ours
from ddb_lease.dynamodb.guard import guard, plainly
from ddb_lease.dynamodb.placeholders import DOES_NOT_EXIST, EXISTS, ON_FAILURE, all_of, names_in

PLACE = BucketAddress(table="leases", bucket="nightly")


def test_a_guard_checks_that_the_slot_still_carries_the_lease():
    assert guard(7, "7-abc", PLACE) == {
        "TableName": "leases",
        "Key": {"pk": {"S": "nightly"}, "sk": {"S": "slot#00007"}},
        "ConditionExpression": "#lease_id = :lease_id",
        "ExpressionAttributeNames": {"#lease_id": "lease_id"},
        "ExpressionAttributeValues": {":lease_id": {"S": "7-abc"}},
    }


def test_for_a_client_that_types_values_itself_only_the_values_are_plain():
    assert plainly(guard(12345, "x", PLACE)) == {
        "TableName": "leases",
        "Key": {"pk": "nightly", "sk": "slot#12345"},
        "ConditionExpression": "#lease_id = :lease_id",
        "ExpressionAttributeNames": {"#lease_id": "lease_id"},
        "ExpressionAttributeValues": {":lease_id": "x"},
    }


def test_an_address_is_a_table_and_a_bucket_at_amazons_unless_it_is_elsewhere():
    assert PLACE == ("leases", "nightly", AWS)
    assert PLACE.key("counter") == {"pk": {"S": "nightly"}, "sk": {"S": "counter"}}
    engine = Endpoint(options="--local")
    assert BucketAddress(table="leases", bucket="nightly", endpoint=engine).endpoint is engine


@pytest.mark.parametrize(
    ("expressions", "names"),
    [
        ((), {}),
        (("size(a) > :b",), {}),
        (("#pk = :pk AND #max_tokens > :s",), {"#max_tokens": "max_tokens", "#pk": "pk"}),
        (("SET #b = #a", "#a = :x"), {"#a": "a", "#b": "b"}),
        (("#a.#b[0] = :x",), {"#a": "a", "#b": "b"}),
    ],
)
def test_each_placeholder_in_expressions_stands_for_the_attribute_of_its_name(expressions, names):
    assert names_in(*expressions) == names
    assert list(names_in(*expressions)) == sorted(names)


def test_conditions_are_joined_and_ask_for_what_made_them_fail():
    assert all_of("a = :a") == "a = :a"
    assert all_of(EXISTS, "a = :a", "b") == "attribute_exists(#pk) AND a = :a AND b"
    assert DOES_NOT_EXIST == "attribute_not_exists(#pk)"
    assert ON_FAILURE == {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


@pytest.mark.parametrize(("found", "read"), [({"a": 1}, {"a": 1}), ({}, {}), (None, {}), ([1], {}), ("text", {})])
def test_only_a_map_is_one(found, read):
    assert as_map(found) == read


@pytest.mark.parametrize(
    ("address", "pk", "where"),
    [
        (PLACE, {}, " (pk 'nightly' in table 'leases')"),
        (PLACE, {"pk": "nightly#1"}, " (pk 'nightly#1' in table 'leases')"),
        (None, {}, ""),
        (None, {"pk": "nightly#1"}, ""),
    ],
)
def test_an_item_of_another_shape_is_told_with_where_it_is_and_what_to_do(address, pk, where):
    assert not_ours("counter", address, ValueError("minted is a text"), "a number was expected", **pk) == (
        f"the item 'counter'{where} is not of this library's shape (minted is a text; a number was expected). It belongs "
        "to another program, or was edited, and nothing is written to it: choose another name or another table, or put "
        "right what was edited"
    )
