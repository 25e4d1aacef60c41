"""When used permits come back, as people are told."""

from types import SimpleNamespace

import pytest

from ddb_lease._protocol.messages import Claim, Done, Look, Refused, Release, Seen
from ddb_lease._protocol.records import Claimant, Slot, View
from ddb_lease._state.used_permits import DATE_SECONDS, UsedPermits
from ddb_lease.models import OSCILLATOR_DRIFT

NOW = 1_000_000
DRIFT = OSCILLATOR_DRIFT / (1 - OSCILLATOR_DRIFT)


class Time:
    """The service's time, of which three answers may tell."""

    def __init__(self, *, known=True, expired_before=NOW):
        self.known = known
        self._expired_before = expired_before

    def expired_before_ms(self):
        return self._expired_before

    def now_ms(self):
        return NOW, NOW + 900


@pytest.fixture
def permits():
    return UsedPermits(Time())


def slot(number, ends=None, **how):
    lease = None if ends is None else Claimant(lease_id="x", owner="o", acquired_at=0, expires_at=ends)
    return Slot(number=number, fence=1, lease=lease, **how)


def seen(*slots, covered=range(8)):
    return Seen(view=View(counter=None, slots={each.number: each for each in slots}, covered=covered), more=False)


def see(permits, *slots, covered=range(8)):
    permits.observe(Look(limit=8, consistent=False), seen(*slots, covered=covered))


def back_after(seconds):
    return pytest.approx(seconds * (1 + DRIFT))


def test_nothing_is_told_of_permits_that_nobody_uses(permits):
    assert permits.first_back_in() is None
    see(permits, slot(0))
    assert permits.first_back_in() is None


def test_nothing_is_told_before_the_time_is_known():
    permits = UsedPermits(Time(known=False))
    see(permits, slot(0, NOW + 5_000))
    assert permits.first_back_in() is None


@pytest.mark.parametrize(
    ("expired_before", "seconds"),
    [(NOW, 5.002), (NOW - 700, 5.702), (0, 5.002), (NOW + 5_001, 0.001), (NOW + 5_002, 0.0), (NOW + 9_000, 0.0)],
)
def test_the_first_that_ends_is_told_by_what_is_certain_of_the_time(expired_before, seconds):
    permits = UsedPermits(Time(expired_before=expired_before))
    see(permits, slot(0, NOW + 8_000), slot(1, NOW + 5_000), slot(2, NOW + 6_000))
    assert permits.first_back_in() == back_after(seconds)


def test_what_the_time_may_drift_is_a_second_at_most(permits):
    year = 365 * 86_400
    see(permits, slot(0, NOW + 1_000 * year))
    assert permits.first_back_in() == pytest.approx(year + 0.002 + DATE_SECONDS)


def test_what_this_process_uses_counts_at_once(permits):
    permits.used(SimpleNamespace(slots=(3, 5), expires_at=NOW + 2_000))
    assert permits.first_back_in() == back_after(2.002)
    see(permits, slot(3), covered=range(5))
    assert permits.first_back_in() == back_after(2.002), "the other one was not looked at"
    see(permits, slot(5))
    assert permits.first_back_in() is None


@pytest.mark.parametrize(
    "free",
    [slot(0), slot(0, NOW + 1_000, foreign=True), slot(0, NOW + 1_000, retired=True), None],
    ids=["free", "foreign", "retired", "missing"],
)
def test_what_is_no_used_permit_any_more_is_forgotten(permits, free):
    see(permits, slot(0, NOW + 1_000), slot(1, NOW + 2_000))
    see(permits, *([] if free is None else [free]), slot(1, NOW + 2_000))
    assert permits.first_back_in() == back_after(2.002)


def test_a_claim_that_is_refused_shows_who_was_faster(permits):
    claim = Claim(slot=4, fence=2, lease=slot(4, NOW).lease, expired_before=0, ttl=0)
    permits.observe(claim, Refused(slot=None))
    permits.observe(claim, Done())
    permits.observe(Release(slot=4, lease_id="x", ttl=None), Refused(slot=slot(4, NOW + 500)))
    assert permits.first_back_in() is None
    permits.observe(claim, Refused(slot=slot(4, NOW + 3_000)))
    assert permits.first_back_in() == back_after(3.002)
