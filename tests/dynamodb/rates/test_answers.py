"""Answers about rates: states of keys, policies, and what is of another shape or of another version."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from ddb_lease import StoreRejected, StoreUnavailable
from ddb_lease._protocol.messages import Done, Rejected, Unknown
from ddb_lease._protocol.rates.messages import (
    Block,
    ChangePolicy,
    ChargeTogether,
    CreatePolicy,
    KeyIs,
    KeyRefused,
    KeysAre,
    KeyWritten,
    ListKeys,
    Override,
    PolicyIs,
    PolicyRefused,
    ReadKey,
    ReadPolicy,
    Reset,
    TogetherRefused,
)
from ddb_lease._protocol.rates.records import KeyState, LimitPolicy, LimitState, Policy
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import read_answer, read_failure
from tests.rates import charge, settlement

PLACE = BucketAddress(table="leases", bucket="api")


def numbers(**attributes):
    return {name: {"N": str(number)} for name, number in attributes.items()}


KEY = {"pk": {"S": "api#29"}, "sk": {"S": "rate#k"}} | numbers(
    schema=2, rev=7, **{"tat#requests": 70, "held#requests": 1, "reach#requests": 71}
)
STATE = KeyState(rev=7, limits={"requests": LimitState(tat=70, held=1, reach=71)})
LIMIT = numbers(interval=10, burst=3, permits=100, per=1, rev=6, since=8)
STORED = {"pk": {"S": "api"}, "sk": {"S": "policy"}, "limits": {"M": {"requests": {"M": LIMIT}}}} | numbers(
    schema=2, rev=7
)
POLICY = Policy(limits={"requests": LimitPolicy(interval=10, burst=3, permits=100.0, per=1.0, rev=6, since=8)}, rev=7)
METER = {"pk": {"S": "api"}, "sk": {"S": "rate"}} | numbers(tat=70, burst=3)
WRITES = {
    "charge": charge(),
    "settle": settlement(),
    "override": Override(key="k", limits={}, override_rev=3, override_rev_after=4, rev=7, ttl=9),
    "block": Block(key="k", until=9, rev=7, override_rev=0, ttl=9),
    "reset": Reset(key="k", seen=STATE),
}
EACH_WRITE = pytest.mark.parametrize("request_", WRITES.values(), ids=WRITES)
POLICY_WRITES = [CreatePolicy(policy=POLICY), ChangePolicy(policy=POLICY, rev_before=6)]
EACH_POLICY_WRITE = pytest.mark.parametrize("request_", POLICY_WRITES, ids=["create", "change"])
TOGETHER = ChargeTogether(charges=(charge(), charge(key="org"), charge(key="all")), token="t")
WHAT_TO_DO = (
    "It belongs to another program, or was edited, and nothing is written to it: choose another name or another table, "
    "or put right what was edited"
)
A_KEY = "a key of a rate has the whole numbers schema and rev, and tat, held and reach for each limit"
A_POLICY = "a policy has the whole numbers schema and rev, and the map limits"
NEWER = "the rate was written by a newer version of this library (schema 3): upgrade ddb-lease"


def failed(**more):
    """A condition that failed."""
    return ClientError({"Error": {"Code": "ConditionalCheckFailedException", "Message": "no"}, **more}, "UpdateItem")


def cancelled(*reasons):
    said = {"Error": {"Code": "TransactionCanceledException", "Message": "no"}, "CancellationReasons": list(reasons)}
    return ClientError(said, "TransactWriteItems")


@EACH_WRITE
def test_a_write_of_a_key_shows_the_state_that_it_left(request_):
    assert read_answer(request_, {"Attributes": KEY}, PLACE) == KeyWritten(state=STATE)


@EACH_WRITE
@pytest.mark.parametrize("response", [{}, {"Attributes": None}, {"Attributes": {}}], ids=str)
def test_a_write_whose_answer_shows_no_state_may_have_happened(request_, response):
    answer = read_answer(request_, response, PLACE)
    assert isinstance(answer, Unknown)
    assert isinstance(answer.cause, StoreUnavailable)
    assert str(answer.cause) == "the answer to a write does not show the new state"


@EACH_WRITE
def test_a_write_whose_answer_cannot_be_read_may_have_happened(request_):
    answer = read_answer(request_, {"Attributes": KEY | numbers(schema=3)}, PLACE)
    assert isinstance(answer, Unknown)
    assert isinstance(answer.cause, StoreRejected)
    assert str(answer.cause) == NEWER


@EACH_WRITE
def test_a_refusal_shows_the_key_that_it_found(request_):
    assert read_failure(failed(Item=KEY), PLACE, request_) == KeyRefused(state=STATE)
    assert read_failure(failed(), PLACE, request_) == KeyRefused(state=None)


@EACH_WRITE
def test_a_refusal_that_found_a_key_of_another_shape_says_what_to_do(request_):
    error = failed(Item=KEY | {"rev": {"S": "7"}})
    answer = read_failure(error, PLACE, request_)
    assert isinstance(answer, Rejected)
    assert answer.error.__cause__ is error
    assert str(answer.error) == (
        "the item 'rate#k' (pk 'api#29' in table 'leases') is not of this library's shape "
        f"(attribute 'N'; {A_KEY}). {WHAT_TO_DO}"
    )


def test_a_key_without_its_own_key_is_named_by_what_was_looked_for():
    odd = {name: value for name, value in KEY.items() if name not in {"pk", "sk", "rev"}}
    answer = read_answer(ReadKey(key="k"), {"Items": [odd]}, PLACE)
    assert str(answer.error) == (
        "the item 'rate#' (pk 'api' in table 'leases') is not of this library's shape "
        f"(attribute 'rev'; {A_KEY}). {WHAT_TO_DO}"
    )


@EACH_POLICY_WRITE
def test_a_policy_that_was_written_is_the_one_that_was_sent(request_):
    assert read_answer(request_, {}, PLACE) == PolicyIs(policy=POLICY, older=False)


@EACH_POLICY_WRITE
def test_a_refused_policy_shows_the_one_that_is_stored(request_):
    assert read_failure(failed(Item=STORED), PLACE, request_) == PolicyRefused(policy=POLICY)
    assert read_failure(failed(), PLACE, request_) == PolicyRefused(policy=None)


@EACH_POLICY_WRITE
def test_a_policy_of_another_shape_says_what_to_do(request_):
    odd = {name: value for name, value in STORED.items() if name not in {"pk", "sk", "limits"}}
    error = failed(Item=odd)
    refused = read_failure(error, PLACE, request_)
    assert isinstance(refused, Rejected)
    assert refused.error.__cause__ is error
    assert str(refused.error) == (
        "the item 'policy' (pk 'api' in table 'leases') is not of this library's shape "
        f"(attribute 'limits'; {A_POLICY}). {WHAT_TO_DO}"
    )
    newer = read_failure(failed(Item=STORED | numbers(schema=3)), PLACE, request_)
    assert isinstance(newer, Rejected)
    assert str(newer.error) == NEWER


def test_a_charge_of_several_keys_is_done():
    assert read_answer(TOGETHER, {}, PLACE) == Done()


def test_a_refused_charge_of_several_keys_shows_those_whose_condition_failed():
    none = {"Code": "None", "Item": KEY}
    error = cancelled(none, {"Code": "ConditionalCheckFailed", "Item": KEY}, {"Code": "ConditionalCheckFailed"})
    assert read_failure(error, PLACE, TOGETHER) == TogetherRefused(
        failed=(False, True, True), found=(None, STATE, None)
    )


def test_a_refused_charge_of_several_keys_with_one_of_another_shape_says_what_to_do():
    odd = KEY | numbers(schema=3)
    error = cancelled({"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": odd}, {"Code": "None"})
    answer = read_failure(error, PLACE, TOGETHER)
    assert isinstance(answer, Rejected)
    assert str(answer.error) == NEWER
    assert answer.error.__cause__ is error


@pytest.mark.parametrize(
    "request_",
    [ReadKey(key="k"), ListKeys(shard=3, limit=9), ReadPolicy(consistent=True)],
    ids=["key", "keys", "policy"],
)
@pytest.mark.parametrize("response", [{}, {"Items": None}, {"Items": {}}], ids=str)
def test_an_answer_without_a_list_does_not_say_that_there_is_nothing(request_, response):
    answer = read_answer(request_, response, PLACE)
    assert isinstance(answer, Unknown)
    assert isinstance(answer.cause, StoreUnavailable)
    assert str(answer.cause) == "the answer to a Query has no list of items"


def test_a_key_is_read_or_there_is_none():
    assert read_answer(ReadKey(key="k"), {"Items": [KEY]}, PLACE) == KeyIs(state=STATE)
    assert read_answer(ReadKey(key="k"), {"Items": [None]}, PLACE) == KeyIs(state=None)
    assert read_answer(ReadKey(key="k"), {"Items": []}, PLACE) == KeyIs(state=None)


@pytest.mark.parametrize(
    ("last", "after"),
    [({"sk": {"S": "rate#last"}}, "last"), ({"sk": {"S": "policy"}}, None), ({}, None), (None, None)],
    ids=str,
)
def test_keys_are_listed_in_their_order_and_what_is_none_hides_no_other(last, after):
    second = replace(STATE, limits={}, rev=8)
    items = [
        KEY | {"rev": {"S": "7"}},
        KEY,
        None,
        KEY | {"sk": {"S": "policy"}},
        KEY | numbers(schema=3),
        numbers(schema=2, rev=8) | {"sk": {"S": "rate#"}},
    ]
    answer = read_answer(ListKeys(shard=29, limit=9), {"Items": items, "LastEvaluatedKey": last}, PLACE)
    assert answer == KeysAre(keys=(("k", STATE), ("", second)), after=after)


@pytest.mark.parametrize(
    ("items", "policy", "older"),
    [
        ([STORED], POLICY, False),
        ([STORED, METER], POLICY, True),
        ([METER], None, True),
        ([{"sk": {"S": "policy#2"}}, STORED, None], POLICY, False),
        ([None, "?"], None, False),
        ([], None, False),
    ],
    ids=["one", "one and an older version's", "an older version's", "one among others", "nothing of ours", "none"],
)
def test_a_policy_is_read_with_what_an_older_version_left(items, policy, older):
    assert read_answer(ReadPolicy(consistent=True), {"Items": items}, PLACE) == PolicyIs(policy=policy, older=older)


@pytest.mark.parametrize(
    ("request_", "item"),
    [(ReadKey(key="k"), KEY), (ReadPolicy(consistent=True), STORED)],
    ids=["a key", "a policy"],
)
def test_what_a_newer_version_wrote_is_told_as_such(request_, item):
    answer = read_answer(request_, {"Items": [item | numbers(schema=3)]}, PLACE)
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, StoreRejected)
    assert str(answer.error) == NEWER
