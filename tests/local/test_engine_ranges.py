"""Queries of a range, which are answered without moto: as moto answers them, and by moto wherever they are anything more."""

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from ddb_lease.local.app import App
from ddb_lease.local.embedded import serve

ASKED_OF_MOTO = {"ScanIndexForward": True}
"""What a Query says that is left to moto, and what is so by default."""


@pytest.fixture(scope="module")
def client() -> Iterator:
    """A table with one partition of many kinds of items, and one of large ones; and a table without sort keys."""
    with serve(app=App()) as engine:
        client = engine.session().client("dynamodb", endpoint_url=engine.endpoint_url)
        client.meta.events.register("needs-retry", lambda **_: None)
        for name, keys in (("double", ["pk", "sk"]), ("single", ["pk"])):
            kinds = zip(keys, ["HASH", "RANGE"], strict=False)
            client.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in kinds],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                BillingMode="PAY_PER_REQUEST",
            )
        client.put_item(TableName="single", Item={"pk": {"S": "p"}})
        attributes = [
            *({"a": {"N": "1"}}, {"a": {"S": "x"}, "b": {"BOOL": True}}, {"b": {"NULL": True}}, {}),
            *({"a": {"N": "2.50"}}, {"b": {"N": "3"}, "c": {"S": "y"}}),
        ]
        for number, more in enumerate(attributes, start=1):
            client.put_item(TableName="double", Item={"pk": {"S": "p"}, "sk": {"S": str(number)}} | more)
        for number, more in enumerate([{"M": {"b": {"N": "1"}}}, {"L": [{"S": "x"}]}, {"SS": ["x"]}, {"B": b"x"}]):
            client.put_item(TableName="double", Item={"pk": {"S": "kinds"}, "sk": {"S": str(number)}, "a": more})
        for number in range(4):
            large = {"a": {"S": "x" * 300_000}}
            client.put_item(TableName="double", Item={"pk": {"S": "large"}, "sk": {"S": str(number)}} | large)
        yield client


def window(first: str = "1", last: str = "9", *, partition: str = "p", **options: object) -> dict:
    return {
        "TableName": "double",
        "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :first AND :last",
        "ProjectionExpression": "#sk, #a",
        "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk", "#a": "a"},
        "ExpressionAttributeValues": {":pk": {"S": partition}, ":first": {"S": first}, ":last": {"S": last}},
        "Limit": 9,
    } | options


def answered(client, query: dict) -> dict:
    """What is answered, or the error."""
    try:
        answer = client.query(**query)
    except ClientError as error:
        return error.response["Error"]
    del answer["ResponseMetadata"]
    return answer


SWAPPED = "#sk = :pk AND #pk BETWEEN :first AND :last"
QUERIES = {
    "all": window(),
    "consistently": window(ConsistentRead=True),
    **{f"{limit} of six": window(Limit=limit) for limit in (1, 5, 7)},
    "from the middle": window("2", "4", Limit=3),
    "one": window("3", "3"),
    "between keys": window("3x", "4x"),
    "beyond them": window("7", "9"),
    "before them": window("0", "00"),
    "no partition": window(partition="none"),
    "one attribute": window(ProjectionExpression="#a", ExpressionAttributeNames={"#pk": "pk", "#sk": "sk", "#a": "b"}),
    "the keys": window(ProjectionExpression="#sk, #pk", ExpressionAttributeNames={"#pk": "pk", "#sk": "sk"}),
    "an attribute twice": window(ProjectionExpression="#a, #a"),
    "a part of an attribute": window(partition="kinds", ProjectionExpression="#a.#sk"),
    **{f"kind {number}": window(str(number), str(number), partition="kinds") for number in range(4)},
    "more than a page": window("0", partition="large"),
    "almost a page": window("0", partition="large", Limit=3),
    "no projection": {name: one for name, one in window().items() if name != "ProjectionExpression"},
    "no limit": {name: one for name, one in window().items() if name != "Limit"},
    "a filter": window(FilterExpression="attribute_exists(#a)"),
    "a start": window(ExclusiveStartKey={"pk": {"S": "p"}, "sk": {"S": "3"}}),
    "a selection": window(Select="SPECIFIC_ATTRIBUTES"),
    "keys in the wrong order": window(KeyConditionExpression=SWAPPED),
    "an unused value": window(
        ExpressionAttributeValues={":pk": {"S": "p"}, ":first": {"S": "1"}, ":last": {"S": "9"}, ":more": {"S": "x"}}
    ),
    "a missing value": window(ExpressionAttributeValues={":pk": {"S": "p"}, ":first": {"S": "1"}}),
    "a number for a key": window(
        ExpressionAttributeValues={":pk": {"S": "p"}, ":first": {"N": "1"}, ":last": {"N": "9"}}
    ),
    "a table without sort keys": window(TableName="single"),
    "no table": window(TableName="none"),
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_of_a_range_is_answered_as_moto_answers_it(client, query):
    assert answered(client, query) == answered(client, query | ASKED_OF_MOTO)


def test_a_page_that_is_full_says_where_it_ends_even_if_nothing_follows_as_dynamodb_does_and_moto_does_not(client):
    query = window(Limit=6)
    answer = answered(client, query)
    assert answer.pop("LastEvaluatedKey") == {"pk": {"S": "p"}, "sk": {"S": "6"}}
    assert [item["sk"]["S"] for item in answer["Items"]] == ["1", "2", "3", "4", "5", "6"]
    assert answer == answered(client, query | ASKED_OF_MOTO)
