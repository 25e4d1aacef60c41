"""Raw answers: what is sent once, and what comes back of it."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, NoCredentialsError

from ddb_lease import StoreRejected, StoreUnavailable
from ddb_lease._protocol.messages import Conflict, Done, Refused, Revoke
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.raw import RawAnswer, put_items, read_items, send_raw

PLACE = BucketAddress(table="leases", bucket="nightly")
REVOKE = Revoke(slot=3, lease_id="3-x", by="an operator")
SENT = {
    "TableName": "leases",
    "Key": {"pk": {"S": "nightly"}, "sk": {"S": "slot#00003"}},
    "UpdateExpression": "SET #revoked = :by",
    "ConditionExpression": "#lease_id = :lease_id",
    "ExpressionAttributeNames": {"#lease_id": "lease_id", "#revoked": "revoked"},
    "ExpressionAttributeValues": {":lease_id": {"S": "3-x"}, ":by": {"S": "an operator"}},
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    "ReturnConsumedCapacity": "TOTAL",
}
GENUINE = {"RequestId": "R1", "HTTPHeaders": {"date": "Mon, 23 Nov 2026 21:52:35 GMT"}}
ANSWER = {"ConsumedCapacity": {"CapacityUnits": 1.0}, "ResponseMetadata": GENUINE}
LOST = ConnectionClosedError(endpoint_url="http://nowhere")


class Service:
    """A client whose calls meet these answers, in order: an exception is raised."""

    def __init__(self, *answers):
        self.sent = []
        self._answers = list(answers)

    def __getattr__(self, operation):
        def call(**arguments):
            self.sent.append((operation, arguments))
            answer = self._answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def error(code, **more):
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": GENUINE, **more}, "Any")


@pytest.fixture
def pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pauses.append))
    return pauses


def test_a_request_is_sent_once_as_the_library_sends_it_and_its_cost_is_asked_for():
    service = Service(ANSWER)
    assert send_raw(service, REVOKE, PLACE) == RawAnswer(
        operation="update_item",
        arguments=SENT,
        response=ANSWER,
        code=None,
        request_id="R1",
        date=1_795_470_755.0,
        read=Done(),
    )
    assert service.sent == [("update_item", SENT)]


def test_an_error_is_an_answer_too():
    raised = error("ConditionalCheckFailedException")
    assert send_raw(Service(raised), REVOKE, PLACE) == RawAnswer(
        operation="update_item",
        arguments=SENT,
        response=raised.response,
        code="ConditionalCheckFailedException",
        request_id="R1",
        date=1_795_470_755.0,
        read=Refused(slot=None),
    )
    raised = error("TransactionConflictException")
    assert send_raw(Service(raised), REVOKE, PLACE).read == Conflict(cause=raised)


def test_an_answer_without_an_id_and_a_date_has_none():
    answer = send_raw(Service({}), REVOKE, PLACE)
    assert (answer.request_id, answer.date, answer.response) == (None, None, {})


def test_a_call_may_be_edited_before_it_is_sent():
    service = Service(ANSWER)
    answer = send_raw(service, REVOKE, PLACE, edit=lambda call: ("put_item", {**call[1], "Item": {}}))
    assert (answer.operation, answer.arguments) == ("put_item", SENT | {"Item": {}})
    assert service.sent == [("put_item", SENT | {"Item": {}})]


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (LOST, StoreUnavailable, "DynamoDB does not answer: Connection was closed"),
        (OSError("no route"), StoreUnavailable, "DynamoDB does not answer: no route"),
        (NoCredentialsError(), StoreRejected, "Unable to locate credentials: check credentials, profile and region"),
    ],
    ids=["lost", "no route", "no credentials"],
)
def test_no_answer_is_raised_and_nothing_is_sent_again(raised, kind, said, pauses):
    service = Service(raised)
    with pytest.raises(kind) as told:
        send_raw(service, REVOKE, PLACE)
    assert type(told.value) is kind
    assert said in str(told.value)
    assert told.value.__cause__ is raised
    assert (len(service.sent), pauses) == (1, [])


def test_items_are_put_by_hand_without_conditions():
    service = Service({}, {})
    put_items(service, "leases", [{"pk": {"S": "a"}}, {"pk": {"S": "b"}}])
    assert service.sent == [
        ("put_item", {"TableName": "leases", "Item": {"pk": {"S": "a"}}}),
        ("put_item", {"TableName": "leases", "Item": {"pk": {"S": "b"}}}),
    ]


def test_the_items_of_a_bucket_are_read_consistently():
    items = [{"sk": {"S": "x"}}, {"sk": {"S": "y"}}]
    service = Service({"Items": items})
    assert read_items(service, PLACE) == items
    assert service.sent == [
        (
            "query",
            {
                "TableName": "leases",
                "KeyConditionExpression": "pk = :b",
                "ExpressionAttributeValues": {":b": {"S": "nightly"}},
                "ConsistentRead": True,
            },
        )
    ]


def test_what_is_sent_by_hand_is_sent_again_where_the_service_was_busy(pauses):
    service = Service(LOST, error("ThrottlingException"), OSError("no route"), {"Items": []})
    assert read_items(service, PLACE) == []
    assert len(service.sent) == 4
    assert len(pauses) == 3
    assert all(0.0 <= pause <= 2.0 for pause in pauses)


def test_after_four_attempts_it_is_raised(pauses):
    last = error("ThrottlingException")
    service = Service(LOST, LOST, LOST, last, {"Items": []})
    with pytest.raises(StoreUnavailable, match="ThrottlingException") as told:
        read_items(service, PLACE)
    assert told.value.__cause__ is last
    assert len(service.sent) == 4


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (error("AccessDeniedException"), "permission is missing: no"),
        (NoCredentialsError(), "Unable to locate credentials"),
    ],
    ids=["no permission", "no credentials"],
)
def test_what_is_refused_is_not_sent_again(raised, said, pauses):
    service = Service(raised)
    with pytest.raises(StoreRejected, match=said) as told:
        put_items(service, "leases", [{}])
    assert told.value.__cause__ is raised
    assert (len(service.sent), pauses) == (1, [])
