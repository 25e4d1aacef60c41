"""Answers of any kind: classified as done, not done or unknown; never a crash, never a lease by mistake."""

import json
import time
from datetime import datetime, timezone

import boto3
import pytest
from botocore import exceptions as aws
from botocore.awsrequest import AWSResponse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddb_lease import StoreRejected, client_config
from ddb_lease._protocol.messages import Conflict, Done, Look, Refused, Rejected, Seen, ThrottledAnswer, Unknown, Unsent
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import envelope, read_answer, read_failure
from tests.dynamodb.http_body import Body
from tests.strategies import KNOWN_CODES, as_json, codes, found_items, json_values, reasons
from tests.support import bring_back, claim, create, mint, release, renew, retire, store_of

few = settings(max_examples=max(20, settings.default.max_examples // 4))
"""For what is searched once for each request."""

PLACE = BucketAddress(table="leases", bucket="nightly")
REQUESTS = [
    claim(),
    mint(),
    renew(),
    release(),
    bring_back(),
    retire(4, 5, rev=1, max_tokens=3, minted=3),
    create(),
    Look(limit=9, consistent=True),
    Look(limit=9, consistent=True, whole=True),
]
FAILURES = (Refused, Conflict, ThrottledAnswer, Unsent, Unknown, Rejected)

junk = st.one_of(json_values, st.binary(max_size=3))

metadata = st.one_of(
    junk,
    st.fixed_dictionaries(
        {},
        optional={
            "RequestId": st.one_of(st.just("R1"), json_values),
            "HTTPStatusCode": st.one_of(st.sampled_from([200, 400, 413, 500, 503]), json_values),
            "HTTPHeaders": st.one_of(json_values, st.fixed_dictionaries({"date": st.one_of(st.text(), json_values)})),
        },
    ),
)

responses = st.fixed_dictionaries(
    {"Error": st.one_of(st.fixed_dictionaries({"Code": codes}, optional={"Message": junk}), st.just({}))},
    optional={
        "ResponseMetadata": metadata.filter(lambda found: isinstance(found, dict)),  # botocore itself needs that much
        "CancellationReasons": reasons,
        "Item": found_items,
        "message": junk,
    },
)
"""What botocore may hand on with an error, as far as any parser of it can be trusted."""


def is_an_answer_to_a_failure(answer):
    assert isinstance(answer, FAILURES), answer
    if isinstance(answer, Rejected):
        assert isinstance(answer.error, StoreRejected)
        assert len(str(answer.error).splitlines()) == 1
    return True


@given(response=responses)
@example(response={"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [None, {}]})
@example(response={"Error": {"Code": "ConditionalCheckFailedException"}, "Item": {"sk": None}})
@example(response={"Error": {"Code": "x", "Message": None}, "ResponseMetadata": {"HTTPStatusCode": None}})
@example(response={"Error": {"Code": "\x1e"}, "ResponseMetadata": {"RequestId": "R1"}})
@example(response={"Error": {"Code": "x", "Message": "a\nb"}, "ResponseMetadata": {"RequestId": "R1"}})
def test_no_error_answer_is_a_crash_or_a_success(response):
    is_an_answer_to_a_failure(read_failure(aws.ClientError(response, "AnyOperation"), PLACE))


@given(
    code=st.text(max_size=30).filter(lambda code: code not in KNOWN_CODES), status=st.sampled_from([400, 413, 500, 503])
)
def test_a_code_that_nobody_knows_is_refused_for_good_or_unknown(code, status):
    response = {
        "Error": {"Code": code, "Message": "m"},
        "ResponseMetadata": {"RequestId": "R1", "HTTPStatusCode": status},
    }
    answer = read_failure(aws.ClientError(response, "AnyOperation"), PLACE)
    assert isinstance(answer, Unknown if status >= 500 else Rejected)


@given(
    error=st.builds(
        lambda kind, text: kind(text),
        st.sampled_from([OSError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError, LookupError]),
        st.text(max_size=5),
    )
)
def test_an_exception_of_whatever_kind_leaves_it_unknown(error):
    assert read_failure(error, PLACE) == Unknown(cause=error)


@pytest.mark.parametrize("request_", [claim(), renew(), *REQUESTS[-2:]], ids=lambda request: type(request).__name__)
@given(
    response=st.dictionaries(
        st.sampled_from(["Items", "Attributes", "LastEvaluatedKey", "Count", "ResponseMetadata"]),
        st.one_of(junk, found_items, st.lists(st.one_of(found_items, junk), max_size=3)),
    )
)
def test_no_success_is_a_crash_whatever_is_in_it(request_, response):
    answer = read_answer(request_, response)
    if isinstance(request_, Look):
        readable = isinstance(response.get("Items"), list)
        assert isinstance(answer, (Seen, Rejected) if readable else Unknown)
        if isinstance(answer, Seen):
            assert answer.view.covered.start == request_.start
    else:
        assert isinstance(answer, Done)


@given(response=st.fixed_dictionaries({}, optional={"ResponseMetadata": metadata}))
def test_an_envelope_is_read_as_far_as_it_goes(response):
    genuine, date = envelope(response)
    assert isinstance(genuine, bool)
    assert date is None or (genuine and isinstance(date, float))


ODD_DATES = [
    "",
    " ",
    "0",
    "Mon, 23 Nov 2026 21:52:35",
    "Mon, 23 Nov 2026 21:52:35 -0000",
    "Mon, 23 Nov 0001 21:52:35 -0000",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Mon, 23 Nov 99999 21:52:35 GMT",
    "Mon, 23 Nov 2026 21:52:35 +99999999",
    "Mon, 99 Nov 2026 99:99:99 GMT",
]


@pytest.mark.parametrize("text", ODD_DATES)
def test_an_odd_date_is_none_or_the_services_own_zone(monkeypatch, text):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        genuine, date = envelope({"ResponseMetadata": {"RequestId": "R1", "HTTPHeaders": {"date": text}}})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert genuine
    if text.startswith("Mon, 23 Nov 2026 21:52:35") and "9" * 3 not in text:
        assert date == datetime(2026, 11, 23, 21, 52, 35, tzinfo=timezone.utc).timestamp()


# The same through botocore's own parser: bytes in, answers out.


class Wire:
    """A store whose service answers what the test says, as bytes."""

    def __init__(self):
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        client = session.client("dynamodb", config=client_config(30))
        client.meta.events.register("before-send.dynamodb", self._answer)
        self.store = store_of(ConnectionSettings(client=client))

    def _answer(self, **_):
        return AWSResponse("https://nowhere", self.status, self.headers, Body(self.body))

    def send(self, request, *, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        return self.store.send(request)


@pytest.fixture(scope="module")
def wire():
    return Wire()


bodies = st.one_of(
    st.binary(max_size=20),
    json_values.map(as_json).map(str.encode),
    st.fixed_dictionaries(
        {},
        optional={
            "__type": st.one_of(codes.map(lambda code: f"com.amazonaws.dynamodb.v20120810#{code}"), json_values),
            "message": json_values,
            "CancellationReasons": reasons,
            "Item": found_items,
            "Items": st.lists(found_items, max_size=3),
            "Attributes": found_items,
            "LastEvaluatedKey": found_items,
        },
    )
    .map(as_json)
    .map(str.encode),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
@few
@given(
    status=st.sampled_from([200, 200, 204, 301, 302, 400, 403, 413, 500, 503]),
    body=bodies,
    request_id=st.sampled_from([None, "R1"]),
    date=st.one_of(st.none(), st.sampled_from(ODD_DATES), st.text(st.characters(codec="latin-1"), max_size=9)),
)
@example(status=200, body=b'{"Items": [null]}', request_id="R1", date=None)
@example(status=200, body=b'{"Items": [{"sk": null}]}', request_id="R1", date=None)
@example(status=200, body=b'{"Items": null, "Attributes": null}', request_id="R1", date=None)
@example(status=200, body=b"<html>Sign in</html>", request_id=None, date=None)
@example(status=400, body=b"[]", request_id="R1", date=None)
@example(
    status=400,
    body=json.dumps({"__type": "x#TransactionCanceledException", "CancellationReasons": [None, None]}).encode(),
    request_id="R1",
    date=None,
)
def test_whatever_bytes_come_back_make_an_answer_and_only_the_service_can_say_done(
    wire, request_, status, body, request_id, date
):
    headers = {"x-amzn-requestid": request_id, "date": date}
    headers = {name: value for name, value in headers.items() if value is not None}
    reply = wire.send(request_, status=status, headers=headers, body=body)
    assert reply.genuine <= (request_id is not None)
    assert reply.date is None or reply.genuine
    if isinstance(reply.answer, (Done, Seen)):
        assert status < 300
        assert request_id is not None
    else:
        is_an_answer_to_a_failure(reply.answer)
