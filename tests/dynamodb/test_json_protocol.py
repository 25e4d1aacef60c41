"""The JSON protocol: bodies byte by byte, and all that is made of an answer."""

import base64
import zlib

import boto3
import pytest
from botocore.exceptions import ChecksumError, ClientError

from ddb_lease.dynamodb.json_protocol import answer_of, body_of

HEADERS = {"x-amzn-requestid": "R"}
ENCODED = base64.b64encode(b"\x00\xff").decode()


@pytest.fixture(scope="module")
def client():
    return boto3.Session("key", "secret", region_name="eu-west-1").client("dynamodb")


@pytest.fixture
def read(client):
    """Reads an answer to an UpdateItem."""
    model = client.meta.service_model.operation_model("UpdateItem")

    def answer(said, *, status=200, headers=HEADERS):
        return answer_of(model, status, headers, said, error_class=client.exceptions.from_code)

    return answer


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({}, b"{}"),
        (
            {"TableName": "t", "Limit": 1, "ok": True, "no": None},
            b'{"TableName": "t", "Limit": 1, "ok": true, "no": null}',
        ),
        ({"a": {"S": "caf\u00e9"}}, b'{"a": {"S": "caf\\u00e9"}}'),
        ({"a": {"B": b"\x00\xff"}, "b": {"BS": [bytearray(b"a")]}}, b'{"a": {"B": "AP8="}, "b": {"BS": ["YQ=="]}}'),
    ],
)
def test_a_body_is_the_arguments_as_json_and_what_is_binary_in_base64(arguments, body):
    assert body_of(arguments) == body


@pytest.mark.parametrize("value", [{1}, object(), 1j], ids=lambda value: type(value).__name__)
def test_what_json_has_no_form_for_is_no_argument(value):
    with pytest.raises(TypeError, match=f"^{type(value).__name__} is no value of a request$"):
        body_of({"a": value})


@pytest.mark.parametrize(
    ("headers", "metadata"),
    [
        ({"x-amzn-requestid": "R", "date": "D"}, {"RequestId": "R"}),
        ({"date": "D"}, {}),
    ],
)
def test_an_answer_says_how_it_came(read, headers, metadata):
    assert read(b'{"Attributes": {"n": {"N": "1"}}}', headers=headers) == {
        "Attributes": {"n": {"N": "1"}},
        "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": headers, "RetryAttempts": 0, **metadata},
    }


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ({"B": ENCODED}, {"B": b"\x00\xff"}),
        ({"BS": [ENCODED, "YQ=="]}, {"BS": [b"\x00\xff", b"a"]}),
        ({"L": [{"B": "YQ=="}, {"S": "YQ=="}]}, {"L": [{"B": b"a"}, {"S": "YQ=="}]}),
        ({"M": {"B": {"S": "x"}, "BS": {"B": "YQ=="}}}, {"M": {"B": {"S": "x"}, "BS": {"B": b"a"}}}),
        ({"M": {"B": {"B": "YQ=="}, "c": {"N": "1"}}}, {"M": {"B": {"B": b"a"}, "c": {"N": "1"}}}),
    ],
    ids=str,
)
def test_binary_values_are_bytes_wherever_they_stand(read, said, means):
    assert read(body_of({"Attributes": {"a": said}}))["Attributes"] == {"a": means}


@pytest.mark.parametrize("status", [200, 201, 299])
def test_each_status_of_success_is_one(read, status):
    answer = read(b"", status=status)
    assert answer == {
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": HEADERS, "RetryAttempts": 0, "RequestId": "R"}
    }


@pytest.mark.parametrize("status", [300, 400, 500])
def test_each_other_is_a_refusal(read, status):
    with pytest.raises(ClientError) as caught:
        read(b'{"__type": "com.amazonaws#InternalServerError", "message": "trouble"}', status=status)
    assert caught.value.response == {
        "Error": {"Code": "InternalServerError", "Message": "trouble"},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": HEADERS,
            "RetryAttempts": 0,
            "RequestId": "R",
        },
    }
    assert caught.value.operation_name == "UpdateItem"


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        ({"__type": "a#b#ThrottlingException", "Message": "large"}, "ThrottlingException", "large"),
        ({"__type": "ThrottlingException", "message": "small", "Message": "large"}, "ThrottlingException", "small"),
        ({"__type": "ThrottlingException", "message": ""}, "ThrottlingException", ""),
        ({"__type": "ThrottlingException"}, "ThrottlingException", ""),
        ({"__type": "a#ThrottlingException:http://b", "message": "small"}, "ThrottlingException", "small"),
    ],
    ids=str,
)
def test_a_refusal_has_a_code_and_a_message_however_they_are_written(client, read, said, code, message):
    with pytest.raises(client.exceptions.from_code(code)) as caught:
        read(body_of(said), status=400)
    assert caught.value.response["Error"] == {"Code": code, "Message": message}
    assert not {"__type", "Message"} & caught.value.response.keys()


def test_a_refusal_brings_what_else_was_said(client, read):
    item = {"pk": {"S": "b"}, "data": {"B": ENCODED}}
    said = {"__type": "x#ConditionalCheckFailedException", "message": "no", "Item": item}
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as caught:
        read(body_of(said), status=400)
    assert caught.value.response["Item"] == {"pk": {"S": "b"}, "data": {"B": b"\x00\xff"}}


def test_a_checksum_is_of_the_whole_body_and_a_wrong_one_is_told(read):
    said = b'{"Attributes": {}}'
    right = str(zlib.crc32(said))
    assert read(said, headers={"x-amz-crc32": right})["Attributes"] == {}
    with pytest.raises(ChecksumError) as caught:
        read(said, headers={"x-amz-crc32": "17"})
    assert caught.value.kwargs == {"checksum_type": "crc32", "expected_checksum": "17", "actual_checksum": right}
