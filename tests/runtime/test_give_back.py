"""Closing a bucket in an outage: each of its leases has its turn."""

from ddb_lease._protocol.messages import Release
from tests.support import LOST, leases_in

CONTRACT = True  # the simulator's DynamoDB too
NOT_ON = ("ministack", "dynoxide")


def test_closing_has_time_for_a_release_of_each_of_five_leases_while_no_answer_comes(environment, table):
    bucket = environment.bucket(max_tokens=5)
    leases = [bucket.acquire(timeout=5) for _ in range(5)]
    for _ in range(20):
        bucket.tap.inject(Release, before=lambda _: environment.clock.pass_time(1.0), answer=LOST)
    began = environment.clock.steady()
    bucket.close()
    assert environment.clock.steady() - began <= 6.0, "five seconds, and the last request"
    assert leases_in(table) == {}, "all arrived"
    assert not any(lease.held for lease in leases)
