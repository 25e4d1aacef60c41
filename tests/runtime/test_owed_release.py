"""What a process owes of a release: when it is settled, when it is due again, and who has ended the lease."""

from random import Random

import pytest

from ddb_lease import StoreRejected
from ddb_lease._operations.release import SlotRelease
from ddb_lease._protocol.messages import Done, Refused, Rejected
from ddb_lease._protocol.records import Grant
from ddb_lease._runtime.owed_release import OWED_SECONDS, OwedRelease
from tests.support import LOST

NOW = 1_000.0


def owed(slots=(0,), **settings):
    grant = Grant(
        lease_id="0-a",
        slots=slots,
        fence=7,
        owner="me",
        data={},
        acquired_at=0,
        expires_at=60_000,
        lease_ms=60_000,
        margin=2.0,
        deadline=NOW + 58.0,
    )
    release = OwedRelease(grant=grant, longest_seconds=60.0, keeps_closed=False, **settings)
    release.begin(NOW)
    return release


def note(release, *outcomes):
    release.note(outcomes, NOW, chance=Random(1))


ENDED = SlotRelease(slot=0, answer=Done(), known=True, ended=True)
ANOTHERS = SlotRelease(slot=0, answer=Refused(slot=None), known=True, ended=False)
NOBODY_KNOWS = SlotRelease(slot=0, answer=LOST, known=False, ended=False)
FOR_GOOD = SlotRelease(slot=0, answer=Rejected(error=StoreRejected("no")), known=False, ended=False)
BY_THE_CLOCK = SlotRelease(slot=0, answer=Rejected(error=StoreRejected("no"), untimely=True), known=False, ended=False)


def test_what_one_sending_has_ended_stays_ended_where_another_comes_too_late():
    release = owed()
    note(release, ENDED)
    note(release, ANOTHERS)
    assert release.freed
    assert release.settled


def test_one_of_those_that_sent_it_has_ended_it():
    release = owed()
    note(release, ENDED)
    assert [release.claim_end(), release.claim_end()] == [True, False]
    note(release, ANOTHERS)
    assert not release.claim_end()


def test_what_another_had_by_then_is_settled_and_not_freed():
    release = owed()
    note(release, ANOTHERS)
    assert (release.settled, release.freed, release.claim_end()) == (True, False, False)


def test_without_an_answer_it_is_due_again_soon_and_then_later():
    release = owed()
    dues = []
    for _ in range(12):
        note(release, NOBODY_KNOWS)
        dues.append(release.due_at - NOW)
    assert not release.settled
    assert 0 <= dues[0] <= OWED_SECONDS[0]
    assert OWED_SECONDS[0] < max(dues) <= OWED_SECONDS[1]


def test_of_several_slots_each_must_be_answered():
    release = owed(slots=(0, 1))
    note(release, ENDED)
    assert not release.settled
    assert release.freed, "on one of them"
    note(release, ENDED, SlotRelease(slot=1, answer=Done(), known=True, ended=True))
    assert release.settled


@pytest.mark.parametrize(("outcome", "at_the_end"), [(FOR_GOOD, True), (BY_THE_CLOCK, False)], ids=["refused", "clock"])
def test_what_is_refused_for_good_is_due_when_the_lease_has_certainly_expired(outcome, at_the_end):
    release = owed()
    note(release, outcome)
    assert release.refused is at_the_end
    assert release.has_expired(release.due_at) is at_the_end
    assert not release.has_expired(NOW + 60.0 + 2.0)
    assert release.has_expired(NOW + 60.0 + 2.0 + 5.0)


def test_a_claim_that_may_still_land_is_asked_for_again_ever_more_seldom():
    release = owed(may_land=True)
    dues = []
    for _ in range(12):
        note(release, ANOTHERS)
        dues.append(release.due_at - NOW)
    assert not release.settled
    assert dues[:4] == [0.5, 1.0, 2.0, 4.0]
    assert dues[-1] == OWED_SECONDS[1]
