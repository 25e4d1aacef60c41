"""Limiters that ask the same service share what they know of its time, and no others do."""

import pytest

from ddb_lease import RateLimiter
from ddb_lease._protocol.messages import Look
from ddb_lease._runtime.runtime import Runtime
from scripts.harness.simulated_engine import Simulated
from tests.conftest import TABLE
from tests.support import Tap


def asks_for_the_time(session):
    """Whether a further limiter of this session sends a request for the time."""
    tap = Tap()
    with RateLimiter("api", rate=100, table=TABLE, session=session, runtime=Runtime(wrap=tap.around)) as limiter:
        assert limiter.try_acquire()
    return bool(tap.of(Look))


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"])
def test_the_time_of_another_service_which_the_environment_names_is_asked_for(monkeypatch, variable):
    session = Simulated().session()
    assert [asks_for_the_time(session) for _ in range(2)] == [True, False]
    for url in ("http://localhost:8001", "http://localhost:8002"):
        monkeypatch.setenv(variable, url)
        assert [asks_for_the_time(session) for _ in range(2)] == [True, False]
    monkeypatch.delenv(variable)
    assert not asks_for_the_time(session), "it is still known"
