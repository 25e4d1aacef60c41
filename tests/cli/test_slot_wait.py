"""What `run` asks while it waits, and what it makes of it."""

import pytest

from ddb_lease import events
from ddb_lease.cli import slot_wait
from ddb_lease.cli.slot_wait import Places, SlotWait
from ddb_lease.cli.wait_text import UNKNOWN, Standing
from ddb_lease.errors import StoreUnavailable
from tests.cli.test_formatting import lease, status


class Bucket:
    name, owner = "gpus", "me"

    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    def status(self):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Line:
    """In place of the line that says what is waited for: what it was given to show."""

    standing = UNKNOWN

    def __init__(self, subject, *, look, state, **_):
        self.subject, self.look, self.state = subject, look, state

    def done(self, end):
        self.end = end


@pytest.fixture
def line(monkeypatch):
    """What a wait gives to the line that it makes."""
    made = []
    monkeypatch.setattr(slot_wait, "Waiting", lambda *words, **how: made.append(Line(*words, **how)) or made[-1])
    return lambda: made[-1]


def wait(bucket, *, tokens=1, places=None, **how):
    return SlotWait(bucket, tokens=tokens, count=1, places=places or Places(), quiet=True, **how)


def test_a_timeout_names_the_holders_also_if_nobody_asked_before():
    bucket = Bucket(status(lease(owner="ann\x1b", age_seconds=36.0), max_tokens=1))
    it = wait(bucket)
    with it:
        assert bucket.asked == 0, "it is quiet"
    assert it.holders() == ": held by ann\N{REPLACEMENT CHARACTER} for 36s"
    assert it.holders() == ": held by ann\N{REPLACEMENT CHARACTER} for 36s"
    assert bucket.asked == 1


@pytest.mark.parametrize("answer", [StoreUnavailable("no answer"), status(max_tokens=1)])
def test_where_the_holders_are_not_known_a_timeout_names_none(answer):
    assert wait(Bucket(answer)).holders() == ""


def test_a_large_bucket_is_not_asked():
    known = Bucket(status())
    assert wait(known, tokens=slot_wait.MOST_TOKENS + 1).holders() == ""
    assert known.asked == 0


def test_a_bucket_that_turns_out_to_be_large_is_not_asked_again(line):
    found = Bucket(status(lease(), max_tokens=slot_wait.MOST_TOKENS + 1))
    wait(found)
    assert (line().look().holders != (), line().look().holders) == (True, ())
    assert found.asked == 1


def test_the_place_is_the_one_that_the_acquire_saw(line):
    places = Places()
    wait(Bucket(status()), places=places)
    assert line().state(Standing(state="full")) == "full"
    for place in (9, 3):
        places.note(events.Waiting(bucket="gpus", place=place, exact=True, waited_seconds=1.0))
    places.note(object())
    assert line().state(Standing(state="full", waiting=7)) == "place 3 of 7"
    assert line().state(Standing(state="full", waiting=2)) == "place 3"


@pytest.mark.parametrize(
    ("slots", "to_lead", "told"),
    [((1,), False, "slot 1 of gpus"), ((1, 4), False, "slots 1, 4 of gpus"), ((0,), True, "leading gpus")],
)
def test_the_end_names_the_slots_or_says_that_this_one_leads(slots, to_lead, told, line):
    it = wait(Bucket(status()), to_lead=to_lead)
    it.won(type("Lease", (), {"slots": slots})())
    assert line().end == told
