"""The time to sign by: the wall clock's until the service says otherwise, and the service's from then on."""

import pytest

from ddb_lease._state.service_time import ServiceTime
from ddb_lease._state.signing_time import SigningTime
from ddb_lease.testing import MovableClock

HOUR = 3600.0
DAY = 24 * HOUR


class Machine:
    """A machine whose wall clock is right at first; the service's clock is `ahead` of it."""

    def __init__(self):
        self.clock = MovableClock()
        self.time = ServiceTime(self.clock)
        self.signing = SigningTime(self.time, self.clock)
        self.offset = self.clock.wall() - self.clock.steady()

    @property
    def services(self):
        return self.clock.steady() + self.offset

    def answered(self, count=1, *, odd=0.0):
        for _ in range(count):
            now = self.clock.steady()
            self.time.observe(sent=now, received=now, date=float(int(self.services)) + odd)

    def refused(self, *, odd=0.0, refusals=1):
        """Refused, as a driver takes it."""
        now = self.clock.steady()
        date = float(int(self.services)) + odd
        again = self.signing.refused(date, received=now, refusals=refusals)
        self.answered(odd=odd)
        return again

    def signs_rightly(self):
        at = self.signing.at()
        return abs((self.clock.wall() if at is None else at) - self.services) < 61.0


@pytest.fixture
def machine():
    return Machine()


def test_before_any_answer_the_wall_clock_signs(machine):
    assert machine.signing.at() is None


def test_with_a_right_clock_botocores_signature_stays(machine):
    machine.answered(5)
    machine.clock.pass_time(DAY)
    assert machine.signing.at() is None


@pytest.mark.parametrize("off", [-3 * DAY, -HOUR, HOUR, 3 * DAY])
def test_a_clock_that_is_set_changes_nothing_once_three_answers_agree(machine, off):
    machine.answered(3)
    machine.clock.step_wall(off)
    assert machine.signs_rightly()
    machine.clock.pass_time(DAY)
    assert machine.signs_rightly()
    machine.clock.step_wall(-off)
    assert machine.signing.at() is None


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_answers_than_three_do_not_overrule_a_clock_by_which_requests_are_accepted(machine, count):
    machine.answered(count, odd=-5 * HOUR)
    assert machine.signing.at() is None


@pytest.mark.parametrize("off", [-3 * DAY, 3 * DAY])
def test_one_refusal_is_enough_from_the_first_request_on(machine, off):
    machine.clock.step_wall(off)
    assert machine.refused()
    for _ in range(5):
        assert machine.signs_rightly()
        machine.answered()
        machine.clock.pass_time(10.0)


def test_an_odd_date_among_the_answers_after_a_refusal_misleads_no_signature(machine):
    machine.clock.step_wall(3 * DAY)
    machine.refused()
    machine.answered(odd=-5 * HOUR)
    for _ in range(6):
        assert machine.signs_rightly()
        machine.answered()
    machine.answered(odd=7 * HOUR)
    assert machine.time.doubtful
    assert machine.signs_rightly(), "not by the middle of what contradicts itself"


def test_a_machine_that_stood_still_signs_rightly_after_one_refusal(machine):
    machine.answered(4)
    machine.offset += 9 * HOUR  # neither of its clocks counted
    assert machine.refused()
    for _ in range(5):
        assert machine.signs_rightly()
        machine.answered()
    machine.clock.step_wall(9 * HOUR)  # somebody sets its wall clock
    assert machine.signing.at() is None


def test_odd_dates_of_two_refusals_are_replaced_by_the_next_ones(machine):
    machine.clock.step_wall(3 * DAY)
    for refusals in (1, 2):
        assert machine.refused(odd=-5 * HOUR, refusals=refusals)
        assert not machine.signs_rightly()
    assert machine.refused(refusals=3)
    assert machine.signs_rightly()
    assert not machine.refused(refusals=4)


def test_a_refusal_without_a_date_is_not_worth_another_signature_and_teaches_nothing(machine):
    machine.clock.step_wall(DAY)
    assert not machine.signing.refused(None, received=machine.clock.steady(), refusals=1)
    assert machine.signing.at() is None


def test_a_service_whose_answers_have_no_dates_but_for_its_refusals_is_signed_for_by_these(machine):
    machine.clock.step_wall(DAY)
    machine.refused()
    for _ in range(4):
        machine.time.observe(sent=0.0, received=0.0, date=None)
    assert machine.signs_rightly()


def test_a_wrong_clock_is_told_once(machine, caplog):
    machine.answered(3)
    machine.clock.step_wall(-HOUR)
    for _ in range(3):
        machine.signing.at()
    (record,) = caplog.records
    assert "wall clock is 1:00:00 behind the service's" in record.getMessage()
