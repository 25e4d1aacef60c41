"""The batch breaker: when renewals are sent in batches, and when one by one. Its transition table, tested directly."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease import StoreRejected
from ddb_lease._protocol.batch_breaker import REST_SECONDS, BatchBreaker, Mode
from ddb_lease._protocol.messages import Done, Refused, Rejected
from tests.support import CONFLICT, EXPIRED, LOST, THROTTLED, UNSENT, UNTIMELY

NOW = 1_000.0
DENIED = Rejected(error=StoreRejected("permission is missing: dynamodb:PartiQLUpdate"))

NEW = BatchBreaker()
PROVEN = BatchBreaker(proven=True, answered_at=900.0)
DOUBTFUL = replace(PROVEN, doubtful=True)
PROBING = replace(DOUBTFUL, probing=True)
SINGLES_WORK = replace(DOUBTFUL, singles_work_since=950.0)
TESTING = replace(SINGLES_WORK, testing=True)
RESTING = replace(PROVEN, rests_until=NOW + 1.0)


@pytest.mark.parametrize(
    ("breaker", "mode"),
    [
        (NEW, Mode.BATCH),
        (PROVEN, Mode.BATCH),
        (DOUBTFUL, Mode.BATCH_AND_PROBE),
        (PROBING, Mode.BATCH),
        (SINGLES_WORK, Mode.TEST_BATCH),
        (replace(SINGLES_WORK, probing=True), Mode.TEST_BATCH),
        (TESTING, Mode.SINGLES),
        (RESTING, Mode.SINGLES),
        (replace(DOUBTFUL, rests_until=NOW + 1.0), Mode.SINGLES),
        (replace(SINGLES_WORK, rests_until=NOW + 1.0), Mode.SINGLES),
        (replace(RESTING, rests_until=NOW), Mode.BATCH),
    ],
)
def test_how_renewals_go(breaker, mode):
    assert breaker.mode(NOW) is mode


@pytest.mark.parametrize(
    ("breaker", "mode", "after"),
    [
        (PROVEN, Mode.BATCH, PROVEN),
        (DOUBTFUL, Mode.BATCH_AND_PROBE, PROBING),
        (SINGLES_WORK, Mode.TEST_BATCH, TESTING),
        (TESTING, Mode.SINGLES, TESTING),
        (PROBING, Mode.BATCH, PROBING),
    ],
)
def test_a_mode_takes_its_probe_or_its_test(breaker, mode, after):
    assert breaker.began(mode) == after


def test_a_probe_and_a_test_that_have_ended_may_be_followed_by_others():
    assert PROBING.probe_ended() == DOUBTFUL
    assert TESTING.test_ended() == SINGLES_WORK
    both = replace(TESTING, probing=True)
    assert both.probe_ended() == TESTING
    assert both.test_ended() == replace(SINGLES_WORK, probing=True)
    assert both.after_fork_in_child() == SINGLES_WORK


@pytest.mark.parametrize(
    ("breaker", "after"),
    [
        (NEW, replace(NEW, proven=True, answered_at=990.0)),
        (PROVEN, replace(PROVEN, answered_at=990.0)),
        (DOUBTFUL, replace(PROVEN, answered_at=990.0)),
        (PROBING, replace(PROVEN, answered_at=990.0, probing=True)),
        (TESTING, replace(PROVEN, answered_at=990.0, testing=True)),
        (RESTING, replace(RESTING, answered_at=990.0)),
        (replace(PROVEN, answered_at=995.0), replace(PROVEN, answered_at=995.0)),
    ],
)
def test_an_answered_batch_ends_all_doubt(breaker, after):
    assert breaker.batch_answered(990.0) == after


@pytest.mark.parametrize(
    ("breaker", "after"),
    [
        (NEW, replace(NEW, rests_until=NOW + REST_SECONDS)),
        (PROVEN, DOUBTFUL),
        (DOUBTFUL, DOUBTFUL),
        (PROBING, PROBING),
        (SINGLES_WORK, replace(PROVEN, rests_until=NOW + REST_SECONDS)),
        (TESTING, replace(PROVEN, rests_until=NOW + REST_SECONDS, testing=True)),
        (replace(SINGLES_WORK, singles_work_since=990.0), replace(SINGLES_WORK, singles_work_since=990.0)),
        (replace(PROVEN, answered_at=991.0), replace(PROVEN, answered_at=991.0)),
        (replace(SINGLES_WORK, answered_at=991.0), replace(SINGLES_WORK, answered_at=991.0)),
        (replace(SINGLES_WORK, rests_until=NOW + 1.0), replace(SINGLES_WORK, rests_until=NOW + 1.0)),
    ],
    ids=[
        "never answered before",
        "answered before",
        "in doubt",
        "in doubt with a probe under way",
        "singles worked before it was sent",
        "it was the test",
        "singles worked only since it was sent",
        "a later one was answered",
        "a later one was answered and singles work",
        "batches rest already",
    ],
)
def test_an_unanswered_batch(breaker, after):
    assert breaker.batch_unanswered(990.0, NOW) == after


@pytest.mark.parametrize(
    ("breaker", "after"),
    [
        (NEW, replace(NEW, rests_until=NOW + REST_SECONDS)),
        (SINGLES_WORK, replace(PROVEN, rests_until=NOW + REST_SECONDS)),
        (RESTING, RESTING),
    ],
)
def test_a_batch_that_is_not_taken_makes_batches_rest_for_a_while(breaker, after):
    assert breaker.batch_not_taken(NOW) == after


def test_after_the_rest_batches_go_again():
    rested = NEW.batch_not_taken(NOW)
    assert rested.mode(NOW + REST_SECONDS - 0.001) is Mode.SINGLES
    assert rested.mode(NOW + REST_SECONDS) is Mode.BATCH


@pytest.mark.parametrize(
    ("breaker", "since"),
    [(PROVEN, math.inf), (DOUBTFUL, NOW), (SINGLES_WORK, 950.0), (RESTING, math.inf)],
    ids=["no doubt", "the first one", "a later one", "batches rest"],
)
def test_a_single_renewal_that_works_tells_something_in_doubt_only(breaker, since):
    assert breaker.single_worked(NOW) == replace(breaker, singles_work_since=since)


@pytest.mark.parametrize(("sent", "overtaken"), [(899.9, True), (900.0, False), (950.0, False)])
def test_a_batch_is_overtaken_by_one_that_was_sent_later_and_answered(sent, overtaken):
    assert PROVEN.overtook(sent) is overtaken


@pytest.mark.parametrize(
    ("answers", "after"),
    [
        ([Done(slot=None)], PROVEN.batch_answered(990.0)),
        ([Refused(slot=None)], PROVEN.batch_answered(990.0)),
        ([LOST, DENIED, Done(slot=None)], PROVEN.batch_answered(990.0)),
        ([LOST, LOST], DOUBTFUL),
        ([THROTTLED, LOST, DENIED], DOUBTFUL),
        ([DENIED, LOST], PROVEN.batch_not_taken(NOW)),
        ([UNSENT, CONFLICT, DENIED], PROVEN.batch_not_taken(NOW)),
        ([THROTTLED, CONFLICT, UNSENT], PROVEN),
        ([UNTIMELY, UNTIMELY], PROVEN),
        ([EXPIRED, EXPIRED], PROVEN),
        ([EXPIRED, DENIED], PROVEN.batch_not_taken(NOW)),
        ([UNTIMELY, DENIED], PROVEN.batch_not_taken(NOW)),
    ],
)
def test_what_a_batchs_answers_tell(answers, after):
    assert PROVEN.batch_ended(answers, sent=990.0, now=NOW) == after


EVENTS = {
    "begin": lambda b, now: b.began(b.mode(now)),
    "probe": lambda b, now: b.probe_ended(),
    "test": lambda b, now: b.test_ended(),
    "single": lambda b, now: b.single_worked(now),
    "answered": lambda b, now: b.batch_answered(now - 1.0),
    "unanswered": lambda b, now: b.batch_unanswered(now - 1.0, now),
    "not taken": lambda b, now: b.batch_not_taken(now),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.floats(0.0, REST_SECONDS)), max_size=30))
def test_whatever_happens_an_answered_batch_and_a_rest_bring_batches_back(events):
    breaker, now = NEW, NOW
    for event, seconds in events:
        now += seconds
        breaker = EVENTS[event](breaker, now)
    breaker = breaker.probe_ended().test_ended().batch_answered(now)
    assert breaker.mode(now + REST_SECONDS) is Mode.BATCH
