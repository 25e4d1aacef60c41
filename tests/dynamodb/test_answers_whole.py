"""Answers as whole values: every field of each, every code that is sorted, and each text that says what to do."""

import time

import pytest
from botocore.exceptions import ClientError

from ddb_lease import StoreRejected, StoreUnavailable
from ddb_lease._protocol.messages import (
    Conflict,
    Done,
    Each,
    Grow,
    Look,
    Recount,
    Refused,
    Rejected,
    Renew,
    RenewEach,
    Reply,
    Seen,
    SetOrder,
    Shown,
    Snapshot,
    Take,
    ThrottledAnswer,
    Unknown,
    Unsent,
)
from ddb_lease._protocol.records import Claimant, Counter, Slot, View
from ddb_lease.dynamodb.address import BucketAddress
from ddb_lease.dynamodb.answers import envelope, explain, read_answer, read_failure, read_reply
from ddb_lease.dynamodb.endpoint import Endpoint
from tests.dynamodb.test_answers import fetched_by, raising
from tests.support import adopt, claim, claimant, mint, renew

PLACE = BucketAddress(table="leases", bucket="nightly")
DATE = "Mon, 23 Nov 2026 21:52:35 GMT"
GENUINE = {"RequestId": "R1", "HTTPHeaders": {"date": DATE}}


def error(code, message="as it says", *, status=400, **more):
    metadata = GENUINE | {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata, **more}, "Any")


def cancelled(*reasons):
    return error("TransactionCanceledException", CancellationReasons=list(reasons))


def failed(item=None):
    """The reason of an item of a transaction whose condition failed, with the item that it found."""
    return {"Code": "ConditionalCheckFailed"} | ({} if item is None else {"Item": item})


NOTHING_WRONG = {"Code": "None"}


def slot_item(number, lease_id="x", *, expires_at=5):
    return {
        "pk": {"S": "nightly"},
        "sk": {"S": f"slot#{number:05d}"},
        "fence": {"N": "10"},
        "lease_id": {"S": lease_id},
        "owner": {"S": "me"},
        "acquired_at": {"N": "4"},
        "expires_at": {"N": str(expires_at)},
    }


def slot(number, lease_id="x", *, expires_at=5):
    lease = Claimant(lease_id=lease_id, owner="me", acquired_at=4, expires_at=expires_at)
    return Slot(number=number, fence=10, lease=lease)


COUNTER_ITEM = {
    "pk": {"S": "nightly"},
    "sk": {"S": "counter"},
    "max_tokens": {"N": "5"},
    "minted": {"N": "4"},
    "rev": {"N": "7"},
    "lease_ms": {"N": "30000"},
    "schema": {"N": "1"},
}
COUNTER = Counter(max_tokens=5, minted=4, rev=7, lease_ms=30_000)
NEWER = "the bucket was written by a newer version of this library (schema 2): upgrade ddb-lease"
NOT_OURS = (
    "is not of this library's shape (attribute 'minted'; a bucket's counter has the whole numbers max_tokens, minted, "
    "rev and lease_ms). It belongs to another program, or was edited, and nothing is written to it: choose another "
    "name or another table, or put right what was edited"
)
ODD_COUNTERS = [
    (COUNTER_ITEM | {"schema": {"N": "2"}}, NEWER),
    (
        {name: value for name, value in COUNTER_ITEM.items() if name != "minted"},
        f"the item 'counter' (pk 'nightly' in table 'leases') {NOT_OURS}",
    ),
]
EACH_ODD_COUNTER = pytest.mark.parametrize(("item", "said"), ODD_COUNTERS, ids=["newer", "another shape"])

# Errors: did it happen?


@pytest.mark.parametrize(
    "code",
    [
        "ThrottlingException",
        "ThrottlingError",
        "Throttling",
        "ProvisionedThroughputExceededException",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
    ],
)
def test_every_code_of_throttling_is_known_alone_in_a_transaction_and_in_a_batch(code):
    alone, one = error(code), cancelled(NOTHING_WRONG, {"Code": code})
    assert read_failure(alone, PLACE) == ThrottledAnswer(cause=alone)
    assert read_failure(one, PLACE) == ThrottledAnswer(cause=one)
    assert isinstance(in_a_batch({"Error": {"Code": code}}), ThrottledAnswer)


@pytest.mark.parametrize(
    "code", ["TransactionConflictException", "TransactionConflict", "ReplicatedWriteConflictException"]
)
def test_every_code_of_a_conflict_is_known_alone_in_a_transaction_and_in_a_batch(code):
    alone, one = error(code), cancelled(NOTHING_WRONG, {"Code": code})
    assert read_failure(alone, PLACE) == Conflict(cause=alone)
    assert read_failure(one, PLACE) == Conflict(cause=one)
    assert isinstance(in_a_batch({"Error": {"Code": code}}), Conflict)


@pytest.mark.parametrize(
    ("code", "in_progress"),
    [
        ("TransactionInProgressException", True),
        ("InternalServerError", False),
        ("InternalFailure", False),
        ("ServiceUnavailable", False),
        ("RequestTimeout", False),
        ("RequestTimeoutException", False),
    ],
)
def test_what_may_have_happened_is_known_by_its_code_whatever_the_status(code, in_progress):
    raised = error(code)
    assert read_failure(raised, PLACE) == Unknown(cause=raised, in_progress=in_progress)


@pytest.mark.parametrize(
    ("status", "kind"), [(500, Unknown), (599, Unknown), (499, Rejected), ("500", Rejected), (None, Rejected)]
)
def test_a_status_from_500_on_leaves_it_unknown(status, kind):
    assert type(read_failure(error("Something", status=status), PLACE)) is kind


@pytest.mark.parametrize(
    ("code", "untimely", "unauthenticated"),
    [
        ("AccessDeniedException", False, False),
        ("ValidationException", False, False),
        ("ResourceNotFoundException", False, False),
        ("Something", False, False),
        ("ExpiredTokenException", False, True),
        ("ExpiredToken", False, True),
        ("UnrecognizedClientException", False, True),
        ("InvalidSignatureException", False, True),
        ("IncompleteSignature", False, True),
        ("RequestTimeTooSkewed", True, False),
        ("RequestExpired", True, False),
        ("RequestInTheFuture", True, False),
    ],
)
def test_what_a_refusal_says_of_the_sender_and_of_the_time(code, untimely, unauthenticated):
    raised = error(code)
    answer = read_failure(raised, PLACE)
    assert isinstance(answer, Rejected)
    assert (answer.untimely, answer.unauthenticated) == (untimely, unauthenticated)
    assert type(answer.error) is StoreRejected
    assert answer.error.__cause__ is raised


UNTIMELY = "DynamoDB refuses requests for the time of their signatures, and"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            error("ResourceNotFoundException"),
            "table 'leases' does not exist: make it with `ddb-lease create-table --table leases`",
        ),
        (error("AccessDeniedException", "not\n  yours"), "permission is missing: not yours"),
        (error("ExpiredToken"), "the credentials have run out: as it says"),
        (
            error("RequestExpired"),
            f"{UNTIMELY} signing by the Date of its answer did not help: set this machine's clock: as it says",
        ),
        (error("UnrecognizedClientException"), "the credentials are not accepted: as it says"),
        (
            error("ValidationException"),
            "table 'leases' has other keys than pk and sk, both strings, or the request is invalid: as it says",
        ),
        (error("Some\n thing"), "DynamoDB answered Some thing: as it says"),
        (error(""), "DynamoDB answered without an error code: as it says"),
        (
            error("Something", None),
            "DynamoDB answered Something: An error occurred (Something) when calling the Any operation: None",
        ),
        (
            cancelled({"Code": "AccessDeniedException", "Message": "a"}, {"Code": "ValidationError", "Message": "b"}),
            "table 'leases' has other keys than pk and sk, both strings, or the request is invalid: b",
        ),
        (cancelled({"Code": "Full", "Message": "too large"}), "DynamoDB answered Full: too large"),
        (cancelled(), "DynamoDB answered TransactionCanceledException: as it says"),
    ],
    ids=[
        "no table",
        "no permission",
        "expired",
        "untimely",
        "unknown",
        "invalid",
        "anything",
        "no code",
        "no message",
        "an invalid item",
        "another reason",
        "no reason",
    ],
)
def test_an_error_says_in_one_line_what_is_wrong_and_what_to_do(raised, said):
    assert explain(raised, PLACE) == said


def test_where_an_answer_has_no_date_the_clock_is_all_that_helps():
    raised = error("RequestExpired")
    raised.response["ResponseMetadata"] = {"RequestId": "R1"}
    assert (
        explain(raised, PLACE) == f"{UNTIMELY} its answer has no Date to sign by: set this machine's clock: as it says"
    )


def test_what_an_endpoint_knows_of_itself_is_told():
    local = PLACE._replace(endpoint=Endpoint(options="--local", gone="the engine has ended"))
    said = explain(error("UnrecognizedClientException"), local)
    assert said == "the credentials are not accepted: as it says: the engine has ended"
    said = explain(error("ResourceNotFoundException"), local)
    assert said == "table 'leases' does not exist: make it with `ddb-lease create-table --table leases --local`"


# Errors of the services that give out credentials.


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("Throttling", 400),
        ("InternalFailure", 400),
        ("ServiceUnavailable", 400),
        ("IDPCommunicationError", 400),
        ("TooManyRequestsException", 400),
        ("ServiceUnavailableException", 400),
        ("Something", 500),
    ],
)
def test_credentials_that_are_not_given_out_now_may_be_later(code, status):
    raised = fetched_by(raising(error(code, status=status)))
    assert read_failure(raised, PLACE) == Unsent(cause=raised)


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("AccessDenied", "not\n yours", ""),
        ("SignatureDoesNotMatch", "Signature expired", ": set this machine's clock"),
    ],
)
def test_credentials_that_are_refused_are_told_with_what_was_said(code, message, hint):
    raised = fetched_by(raising(error(code, message, status=499)))
    answer = read_failure(raised, PLACE)
    assert (answer.untimely, answer.unauthenticated) == (False, True)
    assert answer.error.__cause__ is raised
    words = f"An error occurred ({code}) when calling the Any operation: {' '.join(message.split())}"
    assert str(answer.error) == f"no credentials: {words}{hint}"


# Conditions that failed.


@pytest.mark.parametrize(
    "request_", [Grow(rev=7, max_tokens=9), Recount(rev=7, minted=2), SetOrder(rev=7, order="fifo")], ids=str
)
def test_a_refusal_about_the_counter_shows_the_counter(request_):
    raised = error("ConditionalCheckFailedException", Item=COUNTER_ITEM)
    refused = Refused(slot=None, slot_failed=False, counter=COUNTER, counter_failed=True)
    assert read_failure(raised, PLACE, request_) == refused
    none = Refused(slot=None, slot_failed=False, counter=None, counter_failed=True)
    assert read_failure(error("ConditionalCheckFailedException"), PLACE, request_) == none


@EACH_ODD_COUNTER
def test_a_refusal_that_found_a_counter_of_another_shape_says_what_to_do(item, said):
    for raised, request in (
        (error("ConditionalCheckFailedException", Item=item), Grow(rev=7, max_tokens=9)),
        (cancelled(NOTHING_WRONG, failed(item)), mint()),
    ):
        answer = read_failure(raised, PLACE, request)
        assert isinstance(answer, Rejected)
        assert str(answer.error) == said
        assert answer.error.__cause__ is raised


def test_a_refusal_about_a_slot_shows_the_slot():
    raised = error("ConditionalCheckFailedException", Item=slot_item(3))
    assert read_failure(raised, PLACE, claim()) == Refused(slot=slot(3), slot_failed=True)
    raised = error("ConditionalCheckFailedException", Item=COUNTER_ITEM)
    assert read_failure(raised, PLACE, claim()) == Refused(slot=None, slot_failed=True)


def take(claims, mints):
    return Take(
        claims=claims,
        mints=mints,
        fence=100,
        lease=claimant(),
        expired_before=1,
        ttl=9,
        seen_max=9,
        re_mint=False,
        token="t",
    )


@pytest.mark.parametrize(
    ("request_", "reasons", "refused"),
    [
        (mint(), [failed(slot_item(0)), NOTHING_WRONG], Refused(slot=slot(0))),
        (
            mint(),
            [NOTHING_WRONG, failed(COUNTER_ITEM)],
            Refused(slot_failed=False, counter=COUNTER, counter_failed=True),
        ),
        (mint(), [failed(), failed()], Refused(counter_failed=True)),
        (
            mint(),
            [{"Code": "None", "Item": slot_item(0)}, failed(COUNTER_ITEM)],
            Refused(slot_failed=False, counter=COUNTER, counter_failed=True),
        ),
        (
            take((1, 4), (2,)),
            [failed(slot_item(1)), NOTHING_WRONG, failed(), failed(COUNTER_ITEM)],
            Refused(slot=slot(1), counter=COUNTER, counter_failed=True, found={1: slot(1), 2: None}),
        ),
        (
            take((1, 4), (2,)),
            [NOTHING_WRONG, failed(), failed(slot_item(2)), {"Code": "None", "Item": COUNTER_ITEM}],
            Refused(slot=slot(2), found={4: None, 2: slot(2)}),
        ),
        (take((1, 4), ()), [NOTHING_WRONG, failed(slot_item(4))], Refused(slot=slot(4), found={4: slot(4)})),
        (adopt(0, 3), [NOTHING_WRONG, failed(slot_item(3))], Refused(slot=slot(3), found={3: slot(3)})),
    ],
    ids=[
        "the slot",
        "the counter",
        "both, and neither is there",
        "a slot whose condition held",
        "of several, two and the counter",
        "of several, two and not the counter",
        "of several without the counter",
        "adopted ones",
    ],
)
def test_a_refused_transaction_tells_what_each_failed_condition_found(request_, reasons, refused):
    assert read_failure(cancelled(*reasons), PLACE, request_) == refused


# Looks and snapshots.


def look(start=0, *, counter=True):
    return Look(start=start, limit=128, consistent=True, counter=counter)


@pytest.mark.parametrize(
    ("request_", "last", "covered", "counter_looked_for"),
    [
        (look(), None, range(100_000), True),
        (look(), "slot#00004", range(5), True),
        (look(), "slot#00004!", range(5), True),
        (look(), "slot#99999", range(100_000), True),
        (look(), "counter", range(0), True),
        (look(), "", range(0), True),
        (look(counter=False), "slot#00000", range(1), False),
        (look(1), "slot#00001", range(1, 2), False),
        (look(128), "slot#00128", range(128, 129), False),
        (look(128), "counter", range(128, 128), False),
        (look(128), None, range(128, 100_000), False),
    ],
    ids=str,
)
def test_a_look_says_which_slots_it_covers(request_, last, covered, counter_looked_for):
    response = {"Items": []} if last is None else {"Items": [], "LastEvaluatedKey": {"sk": {"S": last}}}
    view = View(counter=None, slots={}, covered=covered, counter_looked_for=counter_looked_for)
    assert read_answer(request_, response, PLACE) == Seen(view=view, more=last is not None)


def test_a_look_reads_the_counter_and_slots_and_passes_over_what_is_neither():
    items = [slot_item(2), {"sk": {"S": "policy"}}, COUNTER_ITEM, None, slot_item(0, "y")]
    view = View(counter=COUNTER, slots={2: slot(2), 0: slot(0, "y")}, covered=range(100_000))
    assert read_answer(look(), {"Items": items}, PLACE) == Seen(view=view, more=False)


@EACH_ODD_COUNTER
def test_a_look_and_a_snapshot_that_find_a_counter_of_another_shape_say_what_to_do(item, said):
    looked = read_answer(look(), {"Items": [item, slot_item(0)]}, PLACE)
    shot = read_answer(Snapshot(slots=(), counter=True), {"Responses": [{"Item": item}]}, PLACE)
    for answer in (looked, shot):
        assert isinstance(answer, Rejected)
        assert str(answer.error) == said


def test_a_snapshot_shows_what_decisions_need_and_the_counter():
    parts = [{"Item": slot_item(4)}, {"Item": {"fence": {"N": "3"}}}, {}, {"Item": COUNTER_ITEM}]
    lease = Claimant(lease_id="x", owner="", acquired_at=0, expires_at=5)
    found = {4: Slot(number=4, fence=10, lease=lease), 5: Slot(number=5, fence=3), 6: None}
    whole = Snapshot(slots=(4, 5, 6), counter=True)
    assert read_answer(whole, {"Responses": parts}, PLACE) == Shown(counter=COUNTER, slots=found)
    slots = Snapshot(slots=(4, 5, 6), counter=False)
    assert read_answer(slots, {"Responses": parts[:3]}, PLACE) == Shown(counter=None, slots=found)


@pytest.mark.parametrize(
    ("request_", "response", "said"),
    [
        (look(), {}, "the answer to a Query has no list of items"),
        (
            Snapshot(slots=(4,), counter=True),
            {"Responses": [{}]},
            "the answer to a TransactGetItems has too few or too many items",
        ),
        (
            Snapshot(slots=(4,), counter=False),
            {"Responses": [{}, {}]},
            "the answer to a TransactGetItems has too few or too many items",
        ),
        (
            RenewEach(renewals=(renew(),)),
            {"Responses": []},
            "the answer to a BatchExecuteStatement has too few or too many parts",
        ),
        (
            RenewEach(renewals=(renew(),)),
            {"Responses": {}},
            "the answer to a BatchExecuteStatement has too few or too many parts",
        ),
    ],
    ids=["look", "snapshot", "snapshot of slots", "batch", "no batch"],
)
def test_an_answer_that_is_not_whole_is_none_and_says_why(request_, response, said):
    answer = read_answer(request_, response, PLACE)
    assert isinstance(answer, Unknown)
    assert isinstance(answer.cause, StoreUnavailable)
    assert str(answer.cause) == said


# Renewals, alone and in a batch.

RENEW = Renew(slot=3, lease_id="x", expires_at=50, ttl=9)


def in_a_batch(part):
    answer = read_answer(RenewEach(renewals=(RENEW,)), {"Responses": [part]}, PLACE)
    assert isinstance(answer, Each)
    (one,) = answer.answers
    return one


def test_a_renewal_shows_the_slot_after_it():
    assert read_answer(RENEW, {"Attributes": slot_item(3)}, PLACE) == Done(slot=slot(3))
    assert read_answer(RENEW, {}, PLACE) == Done(slot=Slot(number=3, fence=0, foreign=True))


@pytest.mark.parametrize("expires_at", [50, 51])
def test_a_renewal_in_a_batch_is_believed_if_it_shows_what_was_written(expires_at):
    part = {"Item": slot_item(3, expires_at=expires_at)}
    assert in_a_batch(part) == Done(slot=slot(3, expires_at=expires_at))


@pytest.mark.parametrize(
    "part",
    [
        {},
        None,
        {"Item": {}},
        {"Item": COUNTER_ITEM},
        {"Item": slot_item(3, expires_at=49)},
        {"Item": slot_item(3, "y", expires_at=50)},
        {"Item": slot_item(4, expires_at=50)},
        {"Item": {"sk": {"S": "slot#00003"}, "fence": {"N": "10"}}},
    ],
    ids=["empty", "null", "no item", "another item", "earlier", "another's", "another slot", "free"],
)
def test_a_renewal_in_a_batch_that_shows_anything_else_is_unknown(part):
    answer = in_a_batch(part)
    assert isinstance(answer, Unknown)
    assert str(answer.cause) == "an answer to a BatchExecuteStatement does not show what was written"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDenied", Rejected),
        ("ResourceNotFound", Rejected),
        ("ValidationError", Rejected),
        ("InternalServerError", Unknown),
        ("TransactionInProgress", Unknown),
        ("Something", Unknown),
    ],
)
def test_an_error_in_a_batch_is_sorted_by_its_code(code, kind):
    answer = in_a_batch({"Error": {"Code": code, "Message": "no"}, "Item": slot_item(3, expires_at=50)})
    assert type(answer) is kind
    cause = answer.error if isinstance(answer, Rejected) else answer.cause
    assert isinstance(cause, StoreUnavailable)
    assert str(cause) == f"DynamoDB answered {code}: no"


@pytest.mark.parametrize("told", [{}, "?", []], ids=str)
def test_an_error_in_a_batch_without_a_code_is_unknown(told):
    answer = in_a_batch({"Error": told})
    assert isinstance(answer, Unknown)
    assert str(answer.cause) == "DynamoDB answered without an error code: None"


def test_a_refused_renewal_in_a_batch_shows_nothing_whatever_an_imitation_shows():
    part = {"Error": {"Code": "ConditionalCheckFailed", "Item": slot_item(3)}, "Item": slot_item(3)}
    assert in_a_batch(part) == Refused(slot=None)


def test_each_renewal_in_a_batch_has_the_answer_at_its_place():
    renewals = (RENEW, Renew(slot=4, lease_id="y", expires_at=60, ttl=9))
    parts = [{"Error": {"Code": "ConditionalCheckFailed"}}, {"Item": slot_item(4, "y", expires_at=60)}]
    answer = read_answer(RenewEach(renewals=renewals), {"Responses": parts}, PLACE)
    assert answer == Each(answers=(Refused(slot=None), Done(slot=slot(4, "y", expires_at=60))))


# Envelopes.


def test_a_reply_has_the_answer_and_the_services_clock():
    response = {"Attributes": slot_item(3), "ResponseMetadata": GENUINE}
    assert read_reply(RENEW, response, PLACE) == Reply(answer=Done(slot=slot(3)), genuine=True, date=1_795_470_755.0)


def test_a_success_that_is_not_the_services_is_no_answer():
    reply = read_reply(RENEW, {"Attributes": slot_item(3), "ResponseMetadata": {"HTTPHeaders": {"date": DATE}}}, PLACE)
    assert (reply.genuine, reply.date) == (False, None)
    assert isinstance(reply.answer, Unknown)
    assert isinstance(reply.answer.cause, StoreUnavailable)
    assert str(reply.answer.cause) == "the answer has no request id: it does not come from DynamoDB"


@pytest.fixture
def _in_tokyo(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_in_tokyo")
@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Mon, 23 Nov 2026 21:52:36 GMT", 1_795_470_756.0),
        ("Mon, 23 Nov 2026 21:52:37 -0000", 1_795_470_757.0),
        ("Mon, 23 Nov 2026 22:52:38 +0100", 1_795_470_758.0),
    ],
)
def test_a_date_without_a_zone_is_in_utc_wherever_this_machine_is(date, seconds):
    assert envelope({"ResponseMetadata": {"RequestId": "R1", "HTTPHeaders": {"date": date}}}) == (True, seconds)
