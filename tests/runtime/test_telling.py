"""Outages: told once when they begin, once when they end, and not for one failure among answers."""

from ddb_lease._runtime.telling import TOLD_AFTER_SECONDS, Begun, Ended, Outage

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
