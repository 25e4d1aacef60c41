"""The stored settings, which the command line reads before it acquires: for how long it asks in an outage."""

import pytest

from ddb_lease import StoreUnavailable
from ddb_lease._operations.status import read_counter
from ddb_lease._runtime import stored_bucket
from scripts.harness.inside import core_of
from tests.support import UNSENT

NOT_ON = ("ministack", "dynoxide")


def test_a_counter_is_asked_for_until_the_time_is_up_and_not_a_few_times(environment):
    bucket = environment.bucket(max_tokens=1)
    bucket.tap.everything_fails = UNSENT
    began = environment.clock.steady()
    with pytest.raises(StoreUnavailable):
        core_of(bucket).run(read_counter(core_of(bucket).state, seconds=20))
    assert 19 <= environment.clock.steady() - began <= 21


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 20), (600, 20), (12, 12), (0, 3)])
def test_it_is_asked_as_long_as_an_acquire_tries_to_reach_the_service(monkeypatch, timeout, seconds):
    asked = []

    def nothing(_state, *, seconds):
        asked.append(seconds)
        return
        yield

    monkeypatch.setattr(stored_bucket, "read_counter", nothing)
    where = {"table": "t", "endpoint_url": "http://127.0.0.1:1"}
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert stored_bucket.stored_settings("b", timeout=timeout, **where) is None
    assert asked == [seconds]
