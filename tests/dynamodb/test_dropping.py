"""Deleting a table that this process made: how long it goes on, and what it raises."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import ConnectionClosedError, NoCredentialsError

from ddb_lease import StoreRejected, StoreUnavailable
from ddb_lease.dynamodb.dropping import drop_table, require_absent
from ddb_lease.testing import MovableClock
from tests.dynamodb.test_answers import client_error as refused

LOST = ConnectionClosedError(endpoint_url="http://nowhere")


class Tables:
    """A client whose calls meet these errors, the last one for ever; None is a success."""

    def __init__(self, *errors):
        self.asked = []
        self._errors = list(errors)

    def describe_table(self, **wanted):
        self._meet("describe", wanted)
        return {}

    def delete_table(self, **wanted):
        self._meet("delete", wanted)
        return {}

    def _meet(self, name, wanted):
        self.asked.append((name, wanted))
        error = self._errors.pop(0) if len(self._errors) > 1 else self._errors[0]
        if error is not None:
            raise error


MISSING = refused("ResourceNotFoundException")
DELETED = ("delete", {"TableName": "mine"})


@pytest.fixture
def clock(monkeypatch):
    clock = MovableClock()
    clock.pauses = []

    def pause(seconds):
        clock.pauses.append(seconds)
        clock.pass_time(seconds)

    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pause))
    return clock


def drop(tables, clock, *, sure=True, give_up=lambda: False, **more):
    return drop_table(tables, "mine", clock=clock, sure=sure, give_up=give_up, **more)


def test_a_table_that_is_not_there_is_asked_for_once():
    tables = Tables(MISSING)
    assert require_absent(tables, "mine") is None
    assert tables.asked == [("describe", {"TableName": "mine"})]


def test_a_table_that_is_there_is_left_alone():
    with pytest.raises(StoreRejected) as told:
        require_absent(Tables(None), "mine")
    assert str(told.value) == "table 'mine' exists already: it is left alone"


@pytest.mark.parametrize("ask", [require_absent, lambda tables, _: drop(tables, MovableClock(), give_up=lambda: True)])
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (refused("AccessDeniedException"), StoreRejected, "permission is missing: as it says"),
        (refused("UnrecognizedClientException"), StoreRejected, "the credentials are not accepted: as it says"),
        (refused("ValidationException"), StoreRejected, "table 'mine' has other keys than pk and sk"),
        (refused("ExpiredTokenException"), StoreRejected, "the credentials have run out: as it says"),
        (
            refused("MissingAuthenticationTokenException"),
            StoreRejected,
            "MissingAuthenticationTokenException: as it says",
        ),
        (refused("RequestExpired"), StoreRejected, "set this machine's clock"),
        (
            refused("InvalidSignatureException", message="Signature expired: it is now earlier"),
            StoreRejected,
            "set this machine's clock",
        ),
        (refused("ResourceInUseException"), StoreUnavailable, "DynamoDB answered ResourceInUseException: as it says"),
        (refused("InternalServerError"), StoreUnavailable, "DynamoDB answered InternalServerError: as it says"),
        (LOST, StoreUnavailable, "DynamoDB does not answer: Connection was closed"),
        (OSError("no route"), StoreUnavailable, "DynamoDB does not answer: no route"),
        (NoCredentialsError(), StoreRejected, "Unable to locate credentials: check credentials, profile and region"),
    ],
    ids=str,
)
def test_what_is_refused_and_what_may_pass_are_told_apart(ask, error, kind, said):
    with pytest.raises(kind) as told:
        ask(Tables(error), "mine")
    assert type(told.value) is kind
    assert said in str(told.value)
    assert told.value.__cause__ is error or told.value.__cause__.__cause__ is error


def test_a_table_is_deleted_at_once(clock):
    tables = Tables(None)
    assert drop(tables, clock) is True
    assert (tables.asked, clock.pauses) == ([DELETED], [])


def test_a_table_that_was_surely_made_and_is_not_there_is_gone(clock):
    tables = Tables(MISSING)
    assert drop(tables, clock) is False
    assert (tables.asked, clock.pauses) == ([DELETED], [])


def test_a_table_that_may_still_arrive_is_asked_for_until_five_seconds_are_over(clock):
    begun = clock.steady()
    assert drop(Tables(MISSING), clock, sure=False) is False
    assert 5.0 < clock.steady() - begun <= 6.5
    assert all(0.2 <= pause <= 1.5 for pause in clock.pauses)


def test_a_table_that_arrives_late_is_deleted(clock):
    tables = Tables(MISSING, MISSING, None)
    assert drop(tables, clock, sure=False) is True
    assert tables.asked == [DELETED] * 3


def test_what_may_pass_is_tried_again_with_a_short_pause(clock):
    tables = Tables(LOST, refused("ResourceInUseException"), refused("ThrottlingException"), None)
    assert drop(tables, clock) is True
    assert tables.asked == [DELETED] * 4
    assert len(clock.pauses) == 3
    assert all(0.2 <= pause <= 1.5 for pause in clock.pauses)
    assert len(set(clock.pauses)) == 3, "each is drawn anew"


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException", "NewsOfTheService"])
def test_what_is_refused_is_not_tried_again(clock, code):
    tables = Tables(refused(code))
    with pytest.raises(StoreRejected):
        drop(tables, clock)
    assert tables.asked == [DELETED]


@pytest.mark.parametrize(("more", "seconds"), [({}, 120.0), ({"timeout": 10.0}, 10.0)], ids=["by default", "as told"])
def test_a_deletion_without_an_answer_ends_at_its_time(clock, more, seconds):
    begun = clock.steady()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        drop(Tables(LOST), clock, **more)
    assert seconds <= clock.steady() - begun < seconds + 1.5


def test_whoever_gives_up_is_asked_after_each_attempt(clock):
    answers = [False, False, True]
    tables = Tables(LOST)
    with pytest.raises(StoreUnavailable):
        drop(tables, clock, give_up=lambda: answers.pop(0))
    assert (tables.asked, answers) == ([DELETED] * 3, [])
