"""Contact with the service: when an outage begins and ends, and who asks meanwhile. Its transition table, directly."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.rates.contact import PROBE_SECONDS, Contact

NEW = Contact()
UP = Contact(answered_at=90.0)
FAILING = replace(UP, failing_since=99.0)
DOWN = replace(FAILING, down=True, asks_at=101.5)


def failed(contact, sent, now):
    return contact.unanswered(sent=sent, now=now, patience=2.0)


@pytest.mark.parametrize(
    ("before", "sent", "now", "after"),
    [
        (NEW, 99.0, 100.0, replace(NEW, failing_since=99.0)),
        (UP, 99.0, 100.9, FAILING),
        (UP, 89.0, 100.9, UP),
        (FAILING, 100.0, 100.9, FAILING),
        (FAILING, 100.0, 101.0, replace(FAILING, down=True, asks_at=101.0 + PROBE_SECONDS)),
        (DOWN, 103.0, 104.0, DOWN),
        (NEW, 99.0, 101.0, replace(NEW, failing_since=99.0, down=True, asks_at=101.0 + PROBE_SECONDS)),
    ],
)
def test_an_outage_begins_when_nothing_that_was_sent_since_the_last_answer_is_answered_for_long(
    before, sent, now, after
):
    assert failed(before, sent, now) == after


@pytest.mark.parametrize("before", [NEW, UP, FAILING, DOWN])
def test_any_answer_ends_it(before):
    assert before.answered(now=105.0) == Contact(answered_at=105.0)


def test_in_an_outage_one_caller_at_a_time_asks():
    assert not DOWN.may_probe(101.4)
    assert DOWN.may_probe(101.5)
    probed = DOWN.probed(101.5, budget=3.0)
    assert not probed.may_probe(104.4)
    assert probed.may_probe(104.5), "whatever became of the first"
    assert not DOWN.probed(101.5, budget=0.5).may_probe(101.5 + PROBE_SECONDS - 0.01)


@given(
    st.lists(
        st.tuples(st.sampled_from(["answer", "failure", "probe"]), st.floats(0.01, 3.0), st.floats(0.0, 3.0)),
        max_size=40,
    )
)
def test_whatever_happens_probes_are_apart_and_one_answer_is_enough(events):
    contact, now, probes = NEW, 0.0, []
    for what, later, took in events:
        now += later
        if what == "answer":
            contact = contact.answered(now=now)
            probes.clear()
            assert not contact.down
        elif what == "failure":
            before = contact
            contact = failed(contact, now - took, now)
            assert contact.down or not before.down, "a failure ends no outage"
            assert not contact.down or contact.failing_since is not None
        elif contact.down and contact.may_probe(now):
            contact = contact.probed(now, budget=2.0)
            assert not probes or now - probes[-1] >= 2.0
            probes.append(now)


def test_an_answer_that_another_thread_notes_late_makes_no_outage_of_one_failure():
    known = NEW.answered(now=11.0).answered(now=10.0)
    assert failed(known, 10.5, 15.0) == known, "it was sent before the last answer"
