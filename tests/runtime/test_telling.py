"""Outages: told once when they begin, once when they end, and not for one failure among answers."""

import logging
from typing import get_args

import pytest

from ddb_lease._protocol.messages import Look, Reply, ThrottledAnswer
from ddb_lease._runtime.telling import TOLD_AFTER_SECONDS, Begun, Ended, Outage, Telling
from ddb_lease.events import ThrottledBy

LATER = TOLD_AFTER_SECONDS + 0.5


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends():
    outage = Outage()
    told = [outage.failed(sent=10.0 + n / 4, now=10.1 + n / 4) for n in range(40)]
    assert [event for event in told if event] == [Begun(seconds=told[4].seconds)]
    assert told[4].seconds >= TOLD_AFTER_SECONDS
    assert outage.answered(35.0) == Ended(seconds=25.0)
    assert outage.answered(36.0) is None


def test_one_failure_among_answers_is_not_told():
    outage = Outage()
    outage.answered(10.0)
    assert outage.failed(sent=11.0, now=11.1) is None
    assert outage.answered(11.2) is None
    assert outage.failed(sent=13.0, now=13.1) is None, "it counts from the first failure after an answer"


def test_a_request_that_is_slow_while_others_are_answered_is_not_told():
    outage = Outage()
    outage.answered(14.0)
    assert outage.failed(sent=10.0, now=20.0) is None
    assert outage.failed(sent=20.0, now=20.0 + LATER) is not None, "this one was sent after the last answer"


def test_a_single_request_that_takes_long_to_fail_is_told_at_once():
    assert Outage().failed(sent=10.0, now=10.0 + LATER) == Begun(seconds=LATER)


def test_the_next_outage_is_told_again():
    outage = Outage()
    for began in (10.0, 50.0):
        assert outage.failed(sent=began, now=began + LATER) == Begun(seconds=LATER)
        assert outage.answered(began + 5.0) == Ended(seconds=5.0)


def test_it_may_be_told_at_the_first_failure():
    assert Outage(told_after=0.0).failed(sent=10.0, now=10.0) == Begun(seconds=0.0)


def test_the_end_of_an_outage_is_told_though_its_first_answer_comes_just_as_its_beginning_is_told():
    class Answered(float):
        """The time of a failure; as it is judged, another thread has an answer."""

        def __sub__(self, since):
            if not answered:
                answered.append(outage.answered(12.0))
            return float(self) - since

    outage, answered = Outage(), []
    outage.failed(sent=10.0, now=10.1)
    assert outage.failed(sent=10.2, now=Answered(12.0)) == Begun(seconds=2.0)
    assert answered == [None]
    assert outage.answered(12.1) == Ended(seconds=pytest.approx(2.1))
    assert outage.answered(12.2) is None


def test_an_answer_that_another_thread_notes_late_makes_no_outage_of_one_failure():
    outage = Outage()
    outage.answered(11.0)
    outage.answered(10.0)
    assert outage.failed(sent=10.5, now=10.5 + LATER) is None, "it was sent before the last answer"


@pytest.mark.parametrize("limit", get_args(ThrottledBy))
def test_who_is_throttled_for_long_reads_what_throttles(caplog, limit):
    cause = Exception("Throughput exceeds the current capacity")
    reply = Reply(answer=ThrottledAnswer(cause=cause, limit=limit), genuine=True, date=None)
    telling = Telling("bucket 'b'")
    with caplog.at_level(logging.WARNING):
        telling.note(Look(limit=1, consistent=True), reply, sent=10.0, now=10.0 + LATER)
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith("bucket 'b': no answer from DynamoDB for 1.5 s")
    advice = {"key range": "one key range is hot", "table": "capacity of the table", "account": "quota"}
    assert [kind for kind, words in advice.items() if words in said] == ([] if limit == "unknown" else [limit])
