"""What an error says besides its code: whatever its shape."""

import pytest
from botocore.exceptions import ClientError

from ddb_lease.dynamodb.reasons import cancelled_by, code_of, error_code, limit_of, telling_reason


def error(**response):
    return ClientError({"Error": {"Code": "X"}, **response}, "AnyOperation")


@pytest.mark.parametrize(
    ("said", "code"),
    [({"Code": "Throttling"}, "Throttling"), ({"Code": 503}, "503"), ({}, ""), (None, ""), ("X", ""), ([], "")],
    ids=str,
)
def test_an_errors_code_is_text_and_empty_where_there_is_none(said, code):
    raised = error()
    raised.response["Error"] = said
    assert error_code(raised) == code


def test_an_answer_without_an_error_has_no_code():
    raised = error()
    del raised.response["Error"]
    assert error_code(raised) == ""


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        ("TableWriteKeyRangeThroughputExceeded", "key range"),
        ("TableReadMaxOnDemandThroughputExceeded", "table"),
        ("IndexWriteProvisionedThroughputExceeded", "table"),
        ("TableReadAccountLimitExceeded", "account"),
        ("TableReadAccountLimitExceededTwice", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_what_throttles_is_known_by_the_end_of_its_reason(reason, limit):
    assert limit_of(error(ThrottlingReasons=[{"reason": reason}])) == limit


def test_of_several_reasons_for_throttling_the_first_that_is_known_is_told():
    account, table = {"reason": "TableReadAccountLimitExceeded"}, {"reason": "TableReadProvisionedThroughputExceeded"}
    assert limit_of(error(ThrottlingReasons=["?", {"reason": "New"}, account, table])) == "account"
    assert limit_of(error(ThrottlingReasons=[], throttlingReasons=[table])) == "table"
    assert limit_of(error(ThrottlingReasons=[account], throttlingReasons=[table])) == "account"


@pytest.mark.parametrize(
    ("reasons", "read"),
    [
        ([{"Code": "None"}, {"Code": "X", "Message": "m"}], [{"Code": "None"}, {"Code": "X", "Message": "m"}]),
        (["?", None, {}], [{}, {}, {}]),
        ([], []),
        (None, []),
        ({"Code": "X"}, []),
    ],
    ids=str,
)
def test_a_cancelled_transaction_has_a_reason_for_each_item(reasons, read):
    assert cancelled_by(error(CancellationReasons=reasons)) == read


def test_a_transaction_without_reasons_has_none():
    assert cancelled_by(error()) == []
    assert telling_reason(error(), first="X") is None


@pytest.mark.parametrize(
    ("reason", "code"),
    [({"Code": "X"}, "X"), ({"Code": "None"}, "None"), ({"Code": None}, "None"), ({"Code": ""}, "None"), ({}, "None")],
    ids=str,
)
def test_the_reason_of_an_item_that_nothing_was_wrong_with_is_none_as_text(reason, code):
    assert code_of(reason) == code


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([{"Code": "None"}, {"Code": "A", "Message": "a"}, {"Code": "B", "Message": "b"}], ("A", "a")),
        ([{"Code": "A", "Message": "a"}, {"Code": "First", "Message": "b"}], ("First", "b")),
        ([{"Code": "A", "Message": " two\n  lines "}], ("A", "two lines")),
        ([{"Code": "A", "Message": None}], ("A", "without a message")),
        ([{"Code": "A"}], ("A", "without a message")),
        ([{"Code": "None", "Message": "x"}, {}, "?"], None),
    ],
    ids=str,
)
def test_the_reason_that_matters_most_is_told_and_else_the_first(reasons, told):
    assert telling_reason(error(CancellationReasons=reasons), first="First") == told
