"""By which time a request is signed, and which refusal is worth another signature: pure decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lease._protocol.signing import (
    TOLERATED_SECONDS,
    time_to_sign_by,
    worth_another_signature,
)

NOW = 1_800_000_000.0
DAY = 86_400.0

times = st.floats(0.0, 4e9)
known = st.one_of(st.none(), times)


def test_before_anything_is_known_the_wall_clock_signs():
    assert time_to_sign_by(wall=NOW, agreed=None, told=None) is None


@pytest.mark.parametrize("off", [-TOLERATED_SECONDS, -1.0, 0.0, 1.0, TOLERATED_SECONDS])
def test_a_wall_clock_that_is_about_right_signs(off):
    assert time_to_sign_by(wall=NOW + off, agreed=NOW, told=None) is None
    assert time_to_sign_by(wall=NOW + off, agreed=None, told=NOW) is None


@pytest.mark.parametrize("off", [-3 * DAY, -TOLERATED_SECONDS - 1.0, TOLERATED_SECONDS + 1.0, 3 * DAY])
def test_where_the_wall_clock_is_off_the_services_time_signs(off):
    assert time_to_sign_by(wall=NOW + off, agreed=NOW, told=None) == NOW
    assert time_to_sign_by(wall=NOW + off, agreed=None, told=NOW) == NOW


def test_the_last_refusal_outweighs_what_answers_agreed_on_before():
    assert time_to_sign_by(wall=NOW, agreed=NOW, told=NOW + DAY) == NOW + DAY
    assert time_to_sign_by(wall=NOW + DAY, agreed=NOW, told=NOW + DAY) is None


@given(wall=times, agreed=known, told=known)
def test_what_signs_is_as_near_to_what_is_known_as_the_service_allows(wall, agreed, told):
    at = time_to_sign_by(wall=wall, agreed=agreed, told=told)
    best = agreed if told is None else told
    if best is None:
        assert at is None
    else:
        assert abs((wall if at is None else at) - best) <= TOLERATED_SECONDS


def test_two_odd_dates_of_refusals_in_a_row_are_withstood_and_no_request_is_sent_for_ever():
    assert [worth_another_signature(refusals) for refusals in range(1, 7)] == [True] * 3 + [False] * 3
