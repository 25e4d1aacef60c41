"""The core of a reservation: what it makes of an outage, of a key under parents, and of the end of the time."""

import pytest

from ddb_lease import RateLimiter
from ddb_lease._runtime.runtime import Runtime
from scripts.harness.inside import core_of
from scripts.harness.simulated_engine import Simulated
from tests.support import NO_ANSWERS, Tap

HOUR = 3600.0


@pytest.fixture
def make():
    service, made = Simulated(), []

    def limiter(name="api", **settings):
        tap = Tap()
        settings = {"rate": 10, "per": 10 * HOUR, "table": "leases"} | settings
        limiter = RateLimiter(
            name,
            session=service.session(),
            endpoint_url=service.endpoint_url,
            runtime=Runtime(wrap=tap.around),
            **settings,
        )
        limiter.tap = tap
        made.append(limiter)
        return limiter

    yield limiter
    for one in made:
        one.close()


@pytest.mark.parametrize("mode", ["allow", "local"])
@pytest.mark.parametrize("parents", [False, True])
def test_without_an_answer_it_may_be_decided_here_and_then_nothing_is_to_be_settled(make, mode, parents):
    limiter = make(on_unavailable=mode, budget=1.0, local_share=1)
    above = make("above")
    key = limiter.key("k", under=[above]) if parents else limiter.key("k")
    key.acquire(timeout=5)
    limiter.tap.everything_fails = above.tap.everything_fails = NO_ANSWERS[0]
    with key.reserve(2, timeout=30) as reservation:
        limiter.tap.clear()
        above.tap.clear()
        assert reservation.permits == {"permits": 2}
        assert reservation.remaining == 0.0
        assert reservation.settle(1) is False
    assert limiter.tap.sent == above.tap.sent == []


def test_in_an_outage_a_settlement_takes_no_longer_than_a_decision(make):
    limiter = make(on_unavailable="allow", budget=1.0)
    reservation = limiter.reserve(2, timeout=5)
    limiter.tap.everything_fails = NO_ANSWERS[0]
    began = core_of(limiter).state.time.steady()
    assert reservation.settle(1) is False
    assert core_of(limiter).state.time.steady() - began < 3.0


def test_under_parents_denials_are_told_to_the_limiter_that_denies(make):
    told = []
    limiter, above = make(), make("above", on_event=told.append)
    key = limiter.key("k", under=[above])
    key.acquire(10, timeout=5)
    told.clear()
    assert not above.try_acquire()
    assert not key.try_acquire()
    assert {type(event).__name__ for event in told} == {"Denied"}
