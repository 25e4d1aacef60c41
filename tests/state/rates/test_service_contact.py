"""The contact of a limiter: what counts as an answer, how long a decision waits, and who asks in an outage."""

import gc

import pytest

from ddb_lease import StoreRejected
from ddb_lease._protocol.messages import Rejected, Unknown
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import KeyRefused
from ddb_lease._state.rates.booking import Booking
from ddb_lease._state.rates.service_contact import TOLD_AFTER_SECONDS, Began, Ended, ServiceContact
from tests.support import CONFLICT, LOST, THROTTLED, UNSENT

BUDGET, CALL = 2.0, 1.0


def made(budget=BUDGET):
    return ServiceContact(on_unavailable="local", budget=budget, call_seconds=CALL, share=0.1)


def caller():
    return Booking(lambda: None, wanted=Wanted(booked={"permits": 1}), began=0.0, deadline=10.0, patient=False)


def in_an_outage():
    contact = made()
    contact.note(LOST, sent=100.0, now=101.0)
    assert contact.down
    return contact


def test_a_decision_is_over_within_its_budget():
    contact = made()
    assert contact.patience + contact.longest_pause + CALL == pytest.approx(BUDGET)
    assert contact.patience > contact.longest_pause > 0


def test_an_outage_begins_and_ends_once():
    contact = made()
    contact.note(UNSENT, sent=100.0, now=100.5)
    assert not contact.down
    assert contact.outage is None
    contact.note(LOST, sent=100.6, now=101.0)
    contact.note(LOST, sent=101.1, now=102.0)
    assert contact.down
    assert contact.outage is LOST.cause
    contact.note(KeyRefused(state=None), sent=103.0, now=104.0)
    contact.note(KeyRefused(state=None), sent=104.0, now=105.0)
    assert not contact.down
    assert contact.outage is None
    assert list(contact.transitions) == [Began(cause=LOST.cause), Ended(seconds=4.0)]


@pytest.mark.parametrize(
    "answer", [THROTTLED, CONFLICT, KeyRefused(state=None)], ids=["throttled", "conflict", "refused"]
)
def test_a_service_that_refuses_answers(answer):
    contact = in_an_outage()
    contact.note(answer, sent=102.0, now=103.0)
    assert not contact.down


@pytest.mark.parametrize(
    "answer",
    [Rejected(error=StoreRejected("no table")), Unknown(cause=RuntimeError("x"), raised_here=True)],
    ids=["rejected", "raised here"],
)
def test_what_may_not_come_from_the_service_says_nothing(answer):
    contact = made()
    contact.note(answer, sent=100.0, now=110.0)
    assert not contact.down
    outage = in_an_outage()
    outage.note(answer, sent=102.0, now=103.0)
    assert outage.down


def test_in_an_outage_one_caller_at_a_time_asks_and_goes_on_asking():
    contact, first, second = in_an_outage(), caller(), caller()
    assert contact.asks_in(101.0) == pytest.approx(1.0)
    assert not contact.may_ask(first, now=101.5)
    assert contact.may_ask(first, now=102.0)
    assert not contact.may_ask(second, now=102.0)
    assert contact.may_ask(first, now=103.0), "its tries are one call's"
    assert not contact.may_ask(second, now=103.9)
    assert contact.may_ask(second, now=104.0), "the first has had its budget"


def test_a_caller_that_is_gone_does_not_keep_others_from_asking():
    contact, second = in_an_outage(), caller()
    first = caller()
    assert contact.may_ask(first, now=102.0)
    del first
    gc.collect()
    assert contact.may_ask(second, now=104.0)


def test_while_the_service_answers_everybody_asks():
    contact = in_an_outage()
    contact.note(KeyRefused(state=None), sent=102.0, now=103.0)
    assert all(contact.may_ask(caller(), now=103.0) for _ in range(3))
    assert contact.asks_in(103.0) == 0.0


def test_a_call_stops_asking_after_its_patience_or_in_an_outage():
    contact = made()
    assert not contact.gives_up(since=0.0, now=contact.patience - 0.01)
    assert contact.gives_up(since=0.0, now=contact.patience)
    assert in_an_outage().gives_up(since=101.0, now=101.0)


def test_without_a_budget_an_outage_is_only_told_of():
    contact = made(budget=None)
    contact.note(LOST, sent=100.0, now=100.0 + TOLD_AFTER_SECONDS)
    assert list(contact.transitions) == [Began(cause=LOST.cause)]
    assert not contact.down
    assert contact.may_ask(caller(), now=101.0)
    assert not contact.gives_up(since=0.0, now=1e6)


def test_a_forked_child_does_not_wait_for_the_parents_probe():
    contact, first = in_an_outage(), caller()
    assert contact.may_ask(first, now=102.0)
    contact.after_fork_in_child()
    assert not contact.may_ask(first, now=102.0)
    assert contact.may_ask(caller(), now=104.0)
