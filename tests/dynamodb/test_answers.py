"""Answers of DynamoDB and botocore, parsed; and our requests, checked against botocore's own service model."""

import re
import typing
from dataclasses import replace
from decimal import Decimal
from http.client import RemoteDisconnected

import botocore.session
import pytest
from botocore import exceptions as aws
from botocore.credentials import DeferredRefreshableCredentials
from botocore.parsers import ResponseParserError
from botocore.validate import ParamValidator
from urllib3.exceptions import NewConnectionError, ProxyError

from ddb_lease import StoreRejected
from ddb_lease._protocol.hits import (
    AddHits,
    BeginHits,
    DropHits,
    HitsKey,
    ListHits,
    ReadHits,
    SlideHits,
)
from ddb_lease._protocol.listing import ListPage
from ddb_lease._protocol.messages import (
    Close,
    Conflict,
    Done,
    Grow,
    Look,
    Recount,
    Refused,
    Rejected,
    RenewEach,
    Request,
    Revoke,
    Seen,
    SetOrder,
    Shown,
    Snapshot,
    Take,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.rates.messages import (
    Block,
    ChangePolicy,
    ChargeTogether,
    CreatePolicy,
    KeyIs,
    KeyRefused,
    KeyWritten,
    ListKeys,
    Override,
    PolicyIs,
    ReadKey,
    ReadPolicy,
    Reset,
)
from ddb_lease._protocol.tickets import DropTicket, LookAtQueue, PutTicket, RefreshTicket, Ticket
from ddb_lease.dynamodb import expressions, json_protocol, pool
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import envelope, read_answer, read_failure
from ddb_lease.dynamodb.expressions import call_for
from ddb_lease.dynamodb.failures import CERTAIN, PASSING
from tests import rates
from tests.support import (
    LEASE_MS,
    NOW,
    adopt,
    bring_back,
    claim,
    claimant,
    create,
    mint,
    release,
    renew,
    retire,
)

PLACE = BucketAddress(table="leases", bucket="nightly")
DATE = "Mon, 23 Nov 2026 21:52:35 GMT"
DATE_S = 1_795_470_755.0


def client_error(code, *, status=400, message="as it says", request_id="R1", **more):
    """An error answer as botocore raises it."""
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"date": DATE}}
    if request_id:
        metadata["RequestId"] = request_id
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata, **more}
    return aws.ClientError(response, "AnyOperation")


def cancelled(*reasons, **more):
    """A cancelled transaction; each reason is a code, or a code and the item found."""
    listed = [{"Code": r} if isinstance(r, str) else {"Code": r[0], "Item": r[1]} for r in reasons]
    return client_error("TransactionCanceledException", CancellationReasons=listed, **more)


def slot_item(number=0, lease_id=None, **more):
    lease = {"lease_id": {"S": lease_id}, "expires_at": {"N": "5"}} if lease_id else {}
    return {"pk": {"S": "nightly"}, "sk": {"S": f"slot#{number:05d}"}, "fence": {"N": "10"}, **lease, **more}


def counter_item(**changes):
    values = {"max_tokens": 3, "minted": 3, "rev": 7, "lease_ms": LEASE_MS, "schema": 1} | changes
    return {"pk": {"S": "nightly"}, "sk": {"S": "counter"}, **{k: {"N": str(v)} for k, v in values.items()}}


def answer_to(error, _request=None):
    return read_failure(error, PLACE)


@pytest.mark.parametrize("make", [mint, bring_back, lambda: retire(3, rev=7, max_tokens=3, minted=3), create])
def test_a_transaction_carries_the_token_of_its_attempt_and_no_other(make):
    one, another = make(), make()
    tokens = [call_for(request, PLACE)[1]["ClientRequestToken"] for request in (one, one, another)]
    assert tokens == [one.token, one.token, another.token]
    assert one.token != another.token


# Failures: did it happen?


def test_a_failed_condition_brings_the_item_that_made_it_fail():
    answer = answer_to(client_error("ConditionalCheckFailedException", Item=slot_item(lease_id="0-other")))
    assert isinstance(answer, Refused)
    assert answer.slot.lease.lease_id == "0-other"
    assert answer.slot_failed
    assert not answer.counter_failed


@pytest.mark.parametrize("more", [{}, {"Item": None}, {"Item": {}}])
def test_a_failed_condition_without_an_item_found_none(more):
    assert answer_to(client_error("ConditionalCheckFailedException", **more)) == Refused(slot=None)


@pytest.mark.parametrize("code", ["TransactionConflictException", "ReplicatedWriteConflictException"])
def test_another_write_under_way_is_a_conflict(code):
    error = client_error(code)
    assert answer_to(error) == Conflict(cause=error)


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"]
)
@pytest.mark.parametrize("status", [400, 503])
def test_throttling_is_told_apart_from_an_outage(code, status):
    error = client_error(code, status=status)
    assert answer_to(error) == ThrottledAnswer(cause=error)


@pytest.mark.parametrize(
    ("listed", "limit"),
    [
        (["TableWriteKeyRangeThroughputExceeded"], "key range"),
        (["TableReadKeyRangeThroughputExceeded"], "key range"),
        (["TableWriteMaxOnDemandThroughputExceeded"], "table"),
        (["TableWriteProvisionedThroughputExceeded"], "table"),
        (["TableWriteAccountLimitExceeded"], "account"),
        (["SomethingNew", "IndexReadAccountLimitExceeded", "TableWriteKeyRangeThroughputExceeded"], "account"),
        (["SomethingNew", None, 5], "unknown"),
        ([], "unknown"),
    ],
)
@pytest.mark.parametrize("name", ["ThrottlingReasons", "throttlingReasons"])
def test_what_throttles_is_told(listed, limit, name):
    reasons = [{"reason": reason, "resource": "arn:aws:dynamodb:us-east-1:1:table/leases"} for reason in listed]
    error = client_error("ThrottlingException", **{name: reasons})
    assert answer_to(error) == ThrottledAnswer(cause=error, limit=limit)


@pytest.mark.parametrize("reasons", [None, "?", {"reason": "x"}, ["?", None], [{}]])
def test_reasons_of_another_shape_tell_nothing(reasons):
    error = client_error("ThrottlingException", ThrottlingReasons=reasons)
    assert answer_to(error) == ThrottledAnswer(cause=error)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InternalServerError", 500),
        ("ServiceUnavailable", 503),
        ("anything", 500),
        ("503", 503),
        ("InternalServerError", 400),
        ("RequestTimeout", 400),
    ],
)
def test_a_server_in_trouble_leaves_it_unknown(code, status):
    error = client_error(code, status=status)
    assert answer_to(error) == Unknown(cause=error)


def test_a_transaction_that_is_under_way_is_unknown_and_is_to_be_asked_for_again():
    error = client_error("TransactionInProgressException")
    assert answer_to(error) == Unknown(cause=error, in_progress=True)


@pytest.mark.parametrize("code", ["404", "403", "ResourceNotFoundException", "AccessDeniedException", ""])
def test_what_did_not_come_from_the_service_leaves_it_unknown(code):
    error = client_error(code, request_id=None)
    assert answer_to(error) == Unknown(cause=error)


URL = {"endpoint_url": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("code", "unauthenticated"),
    [
        ("ExpiredTokenException", True),
        ("UnrecognizedClientException", True),
        ("InvalidSignatureException", True),
        ("IncompleteSignature", True),
        ("AccessDeniedException", False),
        ("ValidationException", False),
        ("ResourceNotFoundException", False),
    ],
)
def test_which_refusals_are_for_the_credentials(code, unauthenticated):
    answer = answer_to(client_error(code))
    assert (answer.unauthenticated, answer.unexamined) == (unauthenticated, unauthenticated)


def test_a_refusal_for_the_time_is_not_for_the_credentials_and_says_as_little_of_the_request():
    answer = answer_to(client_error("InvalidSignatureException", message="Signature expired: 2023 is now earlier"))
    assert (answer.untimely, answer.unauthenticated, answer.unexamined) == (True, False, True)


@pytest.mark.parametrize(
    "error",
    [
        aws.ReadTimeoutError(**URL),
        aws.ConnectionClosedError(**URL),
        aws.SSLError(**URL, error="x"),
        aws.HTTPClientError(error="reset"),
        aws.ResponseStreamingError(error="cut"),
        ResponseParserError("no JSON"),
        ConnectionResetError(),
        OSError("bad"),
        KeyError("what a parser may raise on an answer that is none of DynamoDB's"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_lost_answer_leaves_it_unknown(error):
    assert answer_to(error) == Unknown(cause=error)


@pytest.mark.parametrize(
    "error",
    [aws.ConnectTimeoutError(**URL), aws.EndpointConnectionError(**URL), aws.ProxyConnectionError(proxy_url="x")],
    ids=lambda e: type(e).__name__,
)
def test_what_never_reached_anybody_is_unsent(error):
    assert answer_to(error) == Unsent(cause=error)


@pytest.mark.parametrize(
    ("below", "kind"),
    [
        (ConnectionResetError(), Unknown),
        (RemoteDisconnected("no response"), Unknown),
        (NewConnectionError(None, "refused"), Unsent),
        (OSError("Tunnel connection failed: 407 Proxy Authentication Required"), Unsent),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_proxy_that_hangs_up_leaves_it_unknown(below, kind):
    error = aws.ProxyConnectionError(proxy_url="x", error=ProxyError("Unable to connect to proxy", below))
    assert answer_to(error) == kind(cause=error)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ResourceNotFoundException", "ddb-lease create-table --table leases"),
        ("AccessDeniedException", "permission"),
        ("ValidationException", "pk and sk"),
        ("UnrecognizedClientException", "not accepted"),
        ("InvalidSignatureException", "not accepted"),
        ("RequestTimeTooSkewed", "set this machine's clock"),
        ("RequestExpired", "set this machine's clock"),
        ("ExpiredTokenException", "run out"),
        ("IdempotentParameterMismatchException", "IdempotentParameterMismatch"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_what_can_never_succeed_is_rejected_with_what_to_do_about_it(code, says):
    error = client_error(code)
    answer = answer_to(error)
    assert isinstance(answer, Rejected)
    assert isinstance(answer.error, StoreRejected)
    assert says in str(answer.error)
    assert "\n" not in str(answer.error)
    assert answer.error.__cause__ is error


@pytest.mark.parametrize("text", ["Signature expired: 2023 is now earlier", "Signature not yet current: 2026 is later"])
@pytest.mark.parametrize(
    "request_",
    [claim(), RenewEach(renewals=(renew(),)), Look(limit=1, consistent=False), rates.charge()],
    ids=lambda r: type(r).__name__,
)
def test_a_signature_refused_for_its_time_is_no_refusal_of_the_credentials_nor_of_the_request(text, request_):
    answer = read_failure(client_error("InvalidSignatureException", message=text), PLACE, request_)
    assert isinstance(answer, Rejected)
    assert answer.untimely
    assert "clock" in str(answer.error)
    assert text in str(answer.error)
    assert "credentials" not in str(answer.error)


def test_a_refusal_without_a_date_says_so():
    error = client_error("InvalidSignatureException", message="Signature expired")
    error.response["ResponseMetadata"]["HTTPHeaders"] = {}
    assert "no Date to sign by" in str(answer_to(error).error)


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidSignatureException", "ExpiredTokenException"])
def test_other_refusals_are_not_for_the_time(code):
    assert not answer_to(client_error(code)).untimely


@pytest.mark.parametrize(
    "error",
    [
        aws.NoCredentialsError(),
        aws.PartialCredentialsError(provider="env", cred_var="secret"),
        aws.NoRegionError(),
        aws.ProfileNotFound(profile="p"),
        aws.TokenRetrievalError(provider="sso", error_msg="expired"),
        aws.UnauthorizedSSOTokenError(),
        aws.RefreshWithMFAUnsupportedError(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_missing_set_up_is_rejected(error):
    answer = answer_to(error)
    assert isinstance(answer, Rejected)
    assert "credentials" in str(answer.error)


def fetched_by(provide):
    """What botocore raises where its credentials come from this function."""
    credentials = DeferredRefreshableCredentials(refresh_using=provide, method="a role")
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is
        credentials.get_frozen_credentials()
    return raised.value


def raising(error):
    def provide():
        raise error

    return provide


def expired_already():
    return {"access_key": "x", "secret_key": "x", "token": "x", "expiry_time": "2020-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "provide",
    [
        raising(aws.CredentialRetrievalError(provider="p", error_msg="busy")),
        raising(aws.MetadataRetrievalError(error_msg="timed out")),
        raising(aws.ConnectTimeoutError(**URL)),
        raising(aws.ReadTimeoutError(**URL)),
        raising(client_error("Throttling")),
        raising(client_error("InternalFailure", status=500)),
        raising(client_error("IDPCommunicationError")),
        raising(OSError("no such process")),
        raising(KeyError("what a provider of somebody's own may raise")),
        dict,
        expired_already,
    ],
    ids=[
        "retrieval",
        "metadata",
        "connect timeout",
        "read timeout",
        "throttled",
        "in trouble",
        "identity provider",
        "system",
        "own",
        "nothing",
        "expired",
    ],
)
def test_a_provider_of_credentials_that_fails_may_work_the_next_time(provide):
    error = fetched_by(provide)
    assert answer_to(error) == Unsent(cause=error)


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredTokenException", "InvalidIdentityToken", "ValidationError"])
def test_a_role_that_is_refused_is_refused_for_good(code):
    error = fetched_by(raising(client_error(code, message="is not authorized to perform: sts:AssumeRole")))
    answer = answer_to(error)
    assert isinstance(answer, Rejected)
    assert answer.unauthenticated
    assert "no credentials" in str(answer.error)
    assert "sts:AssumeRole" in str(answer.error)


def test_a_role_that_is_refused_for_the_time_names_the_clock_and_is_no_refusal_of_our_signature():
    error = fetched_by(raising(client_error("SignatureDoesNotMatch", message="Signature expired: 2023 is earlier")))
    answer = answer_to(error)
    assert isinstance(answer, Rejected)
    assert not answer.untimely
    assert str(answer.error).endswith("set this machine's clock")


def test_every_failure_of_botocores_is_sorted_once():
    for certain in CERTAIN:
        assert certain not in PASSING
    for kind in PASSING:
        assert not issubclass(kind, CERTAIN)


def test_a_defect_of_ours_is_raised_as_it_is():
    error = aws.ParamValidationError(report="x")
    with pytest.raises(aws.ParamValidationError) as raised:
        answer_to(error)
    assert raised.value is error


@pytest.mark.parametrize("error", [TypeError("x"), AttributeError("x"), UnicodeDecodeError("utf-8", b"x", 0, 1, "x")])
def test_what_the_parser_stumbles_over_is_no_answer_of_the_services(error):
    assert answer_to(error) == Unknown(cause=error)


def raised_in(module):
    """An exception that passed through this module."""
    try:
        exec("raise TypeError('x')", {"__name__": module})
    except TypeError as error:
        return error


@pytest.mark.parametrize("module", ["botocore.parsers", "http.client", "ssl", json_protocol.__name__, pool.__name__])
def test_what_is_raised_where_answers_are_read_may_be_an_answers_fault(module):
    assert not answer_to(raised_in(module)).raised_here


def test_what_is_raised_elsewhere_is_no_answers_fault():
    assert answer_to(raised_in(expressions.__name__)).raised_here


# Cancelled transactions


def test_the_reasons_of_a_cancelled_transaction_are_told_by_their_place():
    slot_failed = answer_to(cancelled(("ConditionalCheckFailed", slot_item(lease_id="0-other")), "None"))
    assert (slot_failed.slot_failed, slot_failed.counter_failed) == (True, False)
    assert slot_failed.slot.lease.lease_id == "0-other"
    assert slot_failed.counter is None
    counter_failed = answer_to(cancelled("None", ("ConditionalCheckFailed", counter_item(minted=2))))
    assert (counter_failed.slot_failed, counter_failed.counter_failed) == (False, True)
    assert counter_failed.counter.minted == 2
    assert counter_failed.slot is None


def test_both_conditions_of_a_transaction_may_fail_at_once():
    failed = [("ConditionalCheckFailed", slot_item()), ("ConditionalCheckFailed", counter_item())]
    answer = answer_to(cancelled(*failed))
    assert answer.slot_failed
    assert answer.counter_failed
    assert answer.slot.fence == 10
    assert answer.counter.rev == 7


def test_a_condition_that_failed_on_nothing_brings_nothing():
    answer = answer_to(cancelled("ConditionalCheckFailed", "ConditionalCheckFailed"))
    assert answer == Refused(slot=None, slot_failed=True, counter=None, counter_failed=True)


def test_of_several_slots_the_first_that_failed_is_told():
    reasons = ["None", ("ConditionalCheckFailed", slot_item(1)), ("ConditionalCheckFailed", slot_item(2)), "None"]
    answer = answer_to(cancelled(*reasons))
    assert answer.slot.number == 1


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        (("TransactionConflict", "None"), Conflict),
        (("None", "TransactionConflict"), Conflict),
        (("None", "ThrottlingError"), ThrottledAnswer),
        (("ProvisionedThroughputExceeded", "None"), ThrottledAnswer),
        (("ThrottlingError", "TransactionConflict"), Conflict),
        (("ConditionalCheckFailed", "TransactionConflict"), Refused),
        (("ThrottlingError", "ConditionalCheckFailed"), Refused),
        (("ValidationError", "None"), Rejected),
        (("ConditionalCheckFailed", "ValidationError"), Rejected),
        ((), Unknown),
    ],
)
def test_a_cancelled_transaction_is_what_its_weightiest_reason_says(reasons, kind):
    assert isinstance(answer_to(cancelled(*reasons)), kind)


def test_a_cancelled_transaction_without_reasons_is_unknown():
    assert isinstance(answer_to(client_error("TransactionCanceledException")), Unknown)


def test_an_invalid_item_of_a_transaction_is_told_as_one_alone_would_be():
    said = "One or more parameter values were invalid: Type mismatch for key sk expected: N actual: S"
    reasons = [{"Code": "None"}, {"Code": "ValidationError", "Message": said}]
    error = client_error("TransactionCanceledException", message="[None, ValidationError]", CancellationReasons=reasons)
    answer = answer_to(error)
    assert isinstance(answer, Rejected)
    assert str(answer.error) == str(answer_to(client_error("ValidationException", message=said)).error)
    assert said in str(answer.error)
    assert "keys than pk and sk" in str(answer.error)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            {"Code": "ItemCollectionSizeLimitExceeded", "Message": "too\n large"},
            "ItemCollectionSizeLimitExceeded: too large",
        ),
        ({"Code": "Something"}, "Something: without a message"),
    ],
)
def test_any_other_reason_of_a_cancelled_transaction_is_told_with_its_message(reason, said):
    error = client_error("TransactionCanceledException", CancellationReasons=[{"Code": "None"}, reason, "?", None])
    assert str(answer_to(error).error) == f"DynamoDB answered {said}"


@pytest.mark.parametrize("changes", [{"schema": 2}, {"max_tokens": -1}, {"lease_ms": "1.5"}])
def test_a_counter_that_is_not_ours_rejects_a_transaction(changes):
    error = cancelled("None", ("ConditionalCheckFailed", counter_item(**changes)))
    answer = answer_to(error)
    assert isinstance(answer, Rejected)
    assert "counter" in str(answer.error) or "newer" in str(answer.error)


# Successes


def test_a_write_is_done():
    for request in (claim(), mint(), release(), create(), bring_back(), retire(1, rev=1, max_tokens=1, minted=1)):
        assert read_answer(request, {}) == Done()


def test_a_renewal_brings_the_item_after_it():
    item = slot_item(lease_id="0-mine", revoked={"S": "yes"})
    assert read_answer(renew(), {"Attributes": item}).slot.lease.revoked


def look(start=0, limit=128):
    return Look(start=start, limit=limit, consistent=True)


def seen(items, request=None, last=None):
    response = {"Items": items} | ({"LastEvaluatedKey": last} if last else {})
    answer = read_answer(request or look(), response)
    assert isinstance(answer, Seen)
    return answer


def test_a_whole_page_tells_that_nothing_lies_behind_it():
    answer = seen([counter_item(), slot_item(0), slot_item(2)])
    assert not answer.more
    assert answer.view.counter.max_tokens == 3
    assert set(answer.view.slots) == {0, 2}
    assert 99_999 in answer.view.covered


def test_a_page_that_ends_early_tells_nothing_of_what_lies_behind_it():
    answer = seen([counter_item(), slot_item(0), slot_item(4)], last=slot_item(4))
    assert answer.more
    assert answer.view.covered == range(5)


def test_a_page_that_ends_before_the_first_slot_tells_nothing_of_slots():
    answer = seen([], last=counter_item())
    assert answer.more
    assert len(answer.view.covered) == 0


def test_a_page_from_the_midst_does_not_tell_whether_there_is_a_counter():
    answer = seen([slot_item(128)], look(start=128))
    assert not answer.view.counter_looked_for
    assert answer.view.covered.start == 128


@pytest.mark.parametrize("fence", [{"S": "x"}, {"N": "1.5"}, {"N": "NaN"}, {"N": "Infinity"}, {"NULL": True}, {}])
def test_a_slot_of_foreign_shape_is_marked_and_spoils_no_look(fence):
    answer = seen([counter_item(), slot_item(0) | {"fence": fence}, slot_item(1)])
    assert answer.view.slots[0].foreign
    assert not answer.view.slots[1].foreign


def test_a_counter_of_a_newer_schema_rejects_a_look():
    answer = read_answer(look(), {"Items": [counter_item(schema=2)]})
    assert isinstance(answer, Rejected)
    assert "newer" in str(answer.error)


# Envelopes


def test_the_services_time_is_in_every_genuine_answer():
    assert envelope(client_error("ConditionalCheckFailedException").response) == (True, DATE_S)


@pytest.mark.parametrize("metadata", [{}, {"HTTPHeaders": {"date": DATE}}, {"RequestId": "", "HTTPHeaders": {}}])
def test_an_answer_without_a_request_id_tells_no_time(metadata):
    assert envelope({"ResponseMetadata": metadata}) == (False, None)


@pytest.mark.parametrize("headers", [{}, {"date": ""}, {"date": "soon"}, {"date": None}, None])
def test_a_genuine_answer_may_lack_a_date_that_can_be_read(headers):
    assert envelope({"ResponseMetadata": {"RequestId": "R1", "HTTPHeaders": headers}}) == (True, None)


def test_no_answer_at_all_has_an_empty_envelope():
    assert envelope({}) == (False, None)


@pytest.mark.parametrize("response", [{}, {"Items": None}, {"Items": {}}])
def test_an_answer_to_a_look_without_items_does_not_say_that_there_are_none(response):
    assert isinstance(read_answer(look(), response), Unknown)


# Requests, against the service's own model


def take(claims, mints, *, re_mint=False):
    what = {"fence": 100, "lease": claimant(), "expired_before": NOW, "ttl": NOW, "seen_max": 3, "token": "t" * 32}
    return Take(claims=claims, mints=mints, re_mint=re_mint, **what)


TICKET = Ticket(priority=0, arrival=1, name="0" * 16, owner="me")
SLIDE = SlideHits(key=HitsKey(key="k", length=60_000), branch="same", n=1, number=7, ttl=9)
EVERY_REQUEST = {
    "look": look(),
    "look further": look(start=128),
    "look at all": Look(limit=10, consistent=False, whole=True),
    "claim": claim(),
    "claim with data": claim(data={"a": [1, None, {"b": True}], "c": Decimal("0.5")}),
    "mint": mint(),
    "re-mint": mint(re_mint=True),
    "bring back": bring_back(),
    "bring back, re-minting": bring_back(re_mint=True),
    "retire": retire(1, 2, rev=7, max_tokens=1, minted=1),
    "create": create(),
    "create the counter alone": create(slots=0),
    "renew": renew(),
    "renew each": RenewEach(renewals=(renew(), renew("1-x", slot=1))),
    "renew, to hand over": replace(renew(), owner="me (handed over)"),
    "adopt": adopt(3),
    "adopt, with data": adopt(3, data={"a": 1}),
    "adopt several": adopt(0, 3),
    "release": release(),
    "release, time unknown": release(ttl=None),
    "close": Close(slot=3, lease_id="3-x", closed_id="3-closed-x", expires_at=1, ttl=1),
    "revoke": Revoke(slot=3, lease_id="3-x", by="an operator"),
    "take, claiming": take((0, 2), ()),
    "take, minting": take((0,), (1, 2)),
    "take, re-minting": take((), (1, 2), re_mint=True),
    "snapshot": Snapshot(slots=(0, 4), counter=True),
    "snapshot of slots alone": Snapshot(slots=(0, 4), counter=False),
    "grow": Grow(rev=7, max_tokens=9),
    "recount": Recount(rev=7, minted=2),
    "put a ticket": PutTicket(ticket=TICKET, ttl=1),
    "refresh a ticket": RefreshTicket(ticket=TICKET, ttl=1),
    "drop a ticket": DropTicket(ticket=TICKET),
    "look at the queue": LookAtQueue(limit=32, consistent=False),
    "look at its last": LookAtQueue(limit=1, consistent=True, last_of=3),
    "set the order": SetOrder(rev=7, order="fifo"),
    "charge limits": rates.charge(rates.part(), rates.part("busy", name="tokens")),
    "charge and reserve": rates.charge(rates.part("busy", reserved=3), process="p", hold=rates.HOLD),
    "charge and reserve more": rates.charge(rates.part(reserved=3), process="p", hold=rates.HOLD, hold_before="held"),
    "charge under a new policy": rates.charge(
        rates.part("cut", cut=9), rates.part("kept", name="tokens", charged=0, cut=9), rev=8, adopts=True
    ),
    "charge under an override": rates.charge(override_rev=3, ttl=None),
    "charge a key and its parent": ChargeTogether(charges=(rates.charge(), rates.charge(key="org")), token="t"),
    "settle": rates.settlement(),
    "settle a part": rates.settlement(hold=rates.HOLD, ttl=9),
    "read a key": ReadKey(key="k"),
    "list keys": ListKeys(shard=3, limit=9),
    "list more keys": ListKeys(shard=3, after="k", limit=9),
    "override": Override(
        key="k",
        limits={"requests": rates.REQUESTS},
        cuts={"requests": 9},
        override_rev=3,
        override_rev_after=4,
        rev=7,
        ttl=None,
    ),
    "end an override": Override(key="k", limits={}, override_rev=3, override_rev_after=4, rev=7, ttl=9),
    "block": Block(key="k", until=9, rev=7, override_rev=0, ttl=9),
    "block an overridden key": Block(key="k", until=9, rev=7, override_rev=3, ttl=None),
    "reset": Reset(
        key="k",
        seen=rates.key_state(limits={"requests": rates.limit(9, 3)}, holds={"p": rates.HOLD}),
        others=("tokens",),
    ),
    "read a policy": ReadPolicy(consistent=False),
    "list a table": ListPage(),
    "list more of a table": ListPage(after=("b", "slot#00001"), limit=9),
    "create a policy": CreatePolicy(policy=rates.POLICY),
    "change a policy": ChangePolicy(policy=rates.POLICY, rev_before=6),
    "add hits": AddHits(key=HitsKey(key="k"), n=1, now=9),
    "begin hits": BeginHits(key=HitsKey(key="k"), n=1, now=9, ends_at=19, ttl=9),
    "slide in the same window": SLIDE,
    "slide to the next window": replace(SLIDE, branch="next"),
    "slide to a new window": replace(SLIDE, branch="new"),
    "read hits": ReadHits(key=HitsKey(key="k")),
    "drop hits": DropHits(key=HitsKey(key="k")),
    "list hits": ListHits(shard=3, limit=9),
    "list more hits": ListHits(shard=3, after="hits#0#k", limit=9),
}
EACH = pytest.mark.parametrize("request_", EVERY_REQUEST.values(), ids=EVERY_REQUEST)


@pytest.fixture(scope="module")
def operations():
    """Input shapes of the real service's operations by method name."""
    model = botocore.session.get_session().get_service_model("dynamodb")
    names = {"query": "Query", "scan": "Scan", "put_item": "PutItem", "update_item": "UpdateItem"}
    names["delete_item"] = "DeleteItem"
    names |= {"transact_write_items": "TransactWriteItems", "transact_get_items": "TransactGetItems"}
    names["batch_execute_statement"] = "BatchExecuteStatement"
    return {method: model.operation_model(name).input_shape for method, name in names.items()}


def is_conditional(part):
    return "ConditionExpression" in part or ' AND "lease_id" = ? AND "expires_at" <= ? ' in part.get("Statement", "")


def parts_of(request):
    """The parts of a request's call that carry expressions of their own."""
    method, arguments = call_for(request, PLACE)
    if method == "batch_execute_statement":
        return arguments["Statements"]
    if not method.startswith("transact_"):
        return [arguments]
    return [part for item in arguments["TransactItems"] for part in item.values()]


@pytest.mark.parametrize(
    ("request_", "first", "limit"),
    [
        (Look(limit=128, consistent=True), "counter", 129),
        (Look(limit=128, consistent=True, counter=False), "slot#00000", 128),
        (Look(start=1, limit=128, consistent=True), "slot#00001", 128),
        (Look(start=128, limit=128, consistent=True), "slot#00128", 128),
    ],
    ids=["with the counter", "without it", "from the second slot", "further on"],
)
def test_a_look_reads_what_it_wants_and_nothing_that_others_have_put_around_it(request_, first, limit):
    _, arguments = call_for(request_, PLACE)
    values = arguments["ExpressionAttributeValues"]
    assert values == {":pk": {"S": "nightly"}, ":first": {"S": first}, ":last": {"S": "slot#99999"}}
    assert arguments["Limit"] == limit


@pytest.mark.parametrize("consistent", [True, False])
def test_a_look_is_as_consistent_as_was_asked_for(consistent):
    _, arguments = call_for(Look(limit=1, consistent=consistent), PLACE)
    assert arguments["ConsistentRead"] is consistent


@pytest.mark.parametrize(
    ("request_", "conditions"),
    [
        (claim(), ["attribute_exists(#pk)"]),
        (bring_back(), ["attribute_exists(#pk)"]),
        (retire(1, rev=7, max_tokens=1, minted=1), ["attribute_exists(#pk)"]),
        (mint(), ["#minted < #max_tokens"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_defence_in_depth_stands_there_all_the_same(request_, conditions):
    # No test of what happens can miss it, as another condition would refuse the same: docs/model.md names which.
    halves = [half for part in parts_of(request_) for half in part["ConditionExpression"].split(" AND ")]
    assert set(conditions) <= set(halves)


def test_every_kind_of_request_is_among_them():
    assert {type(request) for request in EVERY_REQUEST.values()} == set(typing.get_args(Request))


@EACH
def test_each_call_fits_the_service_model(operations, request_):
    method, arguments = call_for(request_, PLACE)
    report = ParamValidator().validate(arguments, operations[method])
    assert not report.has_errors(), report.generate_report()


@EACH
@pytest.mark.parametrize(
    ("mark", "defined_in"), [("#", "ExpressionAttributeNames"), (":", "ExpressionAttributeValues")]
)
def test_each_placeholder_is_defined_and_used(request_, mark, defined_in):
    for part in parts_of(request_):
        expressions = " ".join(text for name, text in part.items() if name.endswith("Expression"))
        assert set(re.findall(rf"{mark}\w+", expressions)) == set(part.get(defined_in, ()))


@EACH
def test_no_attribute_is_named_in_an_expression_but_by_a_placeholder(request_):
    words = {"AND", "NOT", "OR", "SET", "REMOVE", "BETWEEN"}
    words |= {"attribute_exists", "attribute_not_exists", "attribute_type", "if_not_exists"}
    for part in parts_of(request_):
        expressions = " ".join(text for name, text in part.items() if name.endswith("Expression"))
        assert set(re.findall(r"(?<![#:\w])[A-Za-z_]\w*", expressions)) <= words


@EACH
def test_each_conditional_write_asks_for_the_item_that_made_it_fail(request_):
    for part in parts_of(request_):
        # A statement of a batch does not: the service never shows it, and an engine that would must not either.
        if is_conditional(part):
            assert part.get("ReturnValuesOnConditionCheckFailure") == (None if "Statement" in part else "ALL_OLD")
    reads = isinstance(
        request_, (Look, LookAtQueue, Snapshot, ReadKey, ListKeys, ReadPolicy, ListPage, ReadHits, ListHits)
    )
    assert reads or all(map(is_conditional, parts_of(request_)))


@EACH
def test_what_a_user_gives_is_never_part_of_an_expression(request_):
    evil = BucketAddress(table="t", bucket="x OR attribute_exists(pk)")
    for part in [call_for(request_, evil)[1]]:
        assert "x OR" not in "".join(re.findall(r"'\w*Expression': '([^']*)'", str(part)))


def test_a_transaction_never_exceeds_a_hundred_items():
    for request in (create(slots=99, max_tokens=500, minted=99), retire(*range(99), rev=1, max_tokens=0, minted=0)):
        assert len(call_for(request, PLACE)[1]["TransactItems"]) == 100


@pytest.mark.parametrize("request_", [mint(), bring_back(), create(), retire(1, rev=1, max_tokens=1, minted=1)])
def test_each_transaction_carries_its_own_token(request_):
    assert call_for(request_, PLACE)[1]["ClientRequestToken"] == request_.token
    assert 1 <= len(request_.token) <= 36


def test_ttl_is_written_in_whole_seconds_and_times_in_milliseconds():
    item = call_for(claim(), PLACE)[1]["Item"]
    assert item["expires_at"] == {"N": str(NOW + LEASE_MS)}
    assert len(item["ttl"]["N"]) == 10


def test_a_lease_without_data_writes_none():
    assert "data" not in call_for(claim(), PLACE)[1]["Item"]
    assert claimant().data == {}


@pytest.mark.parametrize(
    "responses",
    [None, {}, [], [{}], [{}, {}, {}]],
    ids=["none", "no list", "empty", "cut short", "too many"],
)
def test_a_snapshot_that_is_not_whole_is_no_answer(responses):
    request = Snapshot(slots=(3,), counter=True)
    response = {} if responses is None else {"Responses": responses}
    assert isinstance(read_answer(request, response), Unknown)
    assert read_answer(request, {"Responses": [{}, {}]}) == Shown(counter=None, slots={3: None})


def test_a_counter_of_a_newer_schema_rejects_a_snapshot_and_a_growth():
    item = {"pk": {"S": "b"}, "sk": {"S": "counter"}}
    item |= {name: {"N": "2"} for name in ("max_tokens", "minted", "rev", "lease_ms", "schema")}
    shown = read_answer(Snapshot(slots=(), counter=True), {"Responses": [{"Item": item}]})
    refused = read_failure(client_error("ConditionalCheckFailedException", Item=item), PLACE, Grow(rev=1, max_tokens=3))
    for answer in (shown, refused):
        assert isinstance(answer, Rejected)
        assert "newer version" in str(answer.error)


# A key of a rate


def key_item(**changes):
    numbers = {name: {"N": value} for name, value in (("schema", "2"), ("rev", "7"), ("tat#requests", "70"))}
    return {"pk": {"S": "api#07"}, "sk": {"S": "rate#k"}, **numbers, "held#requests": {"N": "0"}} | (
        {"reach#requests": {"N": "70"}, "a3": {"S": "an id"}} | changes
    )


def test_a_refused_charge_brings_the_key_and_its_lanes():
    answer = read_failure(client_error("ConditionalCheckFailedException", Item=key_item()), PLACE, rates.charge())
    state = rates.key_state(limits={"requests": rates.limit(70)}, lanes={3: "an id"})
    assert answer == KeyRefused(state=state)
    nothing = read_failure(client_error("ConditionalCheckFailedException"), PLACE, rates.charge())
    assert nothing == KeyRefused(state=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"tat#requests": {"S": "70"}},
        {"tat#requests": {"N": "1e99"}},
        {"tat#requests": {"N": "0.5"}},
        {"reach#requests": {"NULL": True}},
        {"rev": {"S": "7"}},
    ],
    ids=str,
)
def test_a_key_of_another_shape_is_rejected_and_says_what_to_do(changes):
    item = key_item(**changes)
    refused = read_failure(client_error("ConditionalCheckFailedException", Item=item), PLACE, rates.charge())
    for answer in (refused, read_answer(ReadKey(key="k"), {"Items": [item]})):
        assert isinstance(answer, Rejected)
        assert "another name or another table" in str(answer.error)
    assert isinstance(read_answer(rates.charge(), {"Attributes": item}), Unknown)  # written it was: let it find itself


@pytest.mark.parametrize("response", [{}, {"Attributes": None}, {"Attributes": {}}, {"Attributes": {"a0": {"S": "x"}}}])
def test_a_charge_whose_answer_does_not_show_what_it_left_is_unknown(response):
    assert isinstance(read_answer(rates.charge(), response), Unknown)
    assert isinstance(read_answer(rates.charge(), {"Attributes": key_item()}), KeyWritten)


def test_an_answer_to_a_reading_without_a_list_is_none():
    assert isinstance(read_answer(ReadKey(key="k"), {}), Unknown)
    assert read_answer(ReadKey(key="k"), {"Items": []}) == KeyIs(state=None)


OLDER = {"sk": {"S": "rate"}, "tat": {"N": "70"}, "burst": {"N": "7"}}


@pytest.mark.parametrize(
    ("item", "older"),
    [
        (OLDER, True),
        (OLDER | {"sk": {"S": "rate#"}}, False),
        (OLDER | {"tat": {"S": "70"}}, False),
        (OLDER | {"tat": {"N": "1e99"}}, False),
        (OLDER | {"burst": {"S": "7"}}, False),
        ({"sk": {"S": "rate"}, "tat": {"N": "70"}}, False),
        ({"sk": {"S": "rate"}, "burst": {"N": "7"}}, False),
    ],
    ids=str,
)
def test_the_item_of_an_older_version_is_known_by_its_shape(item, older):
    assert read_answer(ReadPolicy(consistent=True), {"Items": [item]}) == PolicyIs(policy=None, older=older)
