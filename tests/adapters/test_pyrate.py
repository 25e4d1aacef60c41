"""Buckets for pyrate-limiter, in its limiters."""

import asyncio

import pytest
from pyrate_limiter import BucketFactory, Duration, Limiter, Rate, RateItem

from ddb_lease import ConfigurationError
from ddb_lease.adapters.pyrate import AsyncDynamoDBBucket, DynamoDBBucket
from tests.adapters.service import SESSION, Service


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def new_bucket(service):
    def make(*rates, kind=DynamoDBBucket, **settings):
        return kind("pyrate", list(rates), session=SESSION, runtime=service.runtime(), **settings)

    return make


TWO_A_MINUTE = Rate(2, Duration.MINUTE)


def tried(limiter, times, **arguments):
    return [limiter.try_acquire("item", blocking=False, **arguments) for _ in range(times)]


def test_items_are_let_in_at_the_rate(new_bucket, service):
    with Limiter(new_bucket(TWO_A_MINUTE)) as limiter:
        assert tried(limiter, 3) == [True, True, False]
        service.pass_time(31)
        assert tried(limiter, 2) == [True, False]


def test_processes_share_a_bucket_and_keys_do_not(new_bucket):
    one, same = new_bucket(TWO_A_MINUTE), new_bucket(TWO_A_MINUTE)
    keyed = new_bucket(TWO_A_MINUTE, key="customer-7")
    with Limiter(one) as a, Limiter(same) as b, Limiter(keyed) as c:
        assert [tried(a, 1), tried(b, 2), tried(c, 3)] == [[True], [True, False], [True, True, False]]


def test_all_rates_must_allow_an_item(new_bucket, service):
    with Limiter(new_bucket(Rate(2, Duration.SECOND), Rate(3, Duration.MINUTE))) as limiter:
        assert tried(limiter, 3) == [True, True, False]
        assert limiter.buckets()[0].failing_rate.interval == 1000
        service.pass_time(2)
        assert tried(limiter, 2) == [True, False]
        assert limiter.buckets()[0].failing_rate.interval == 60_000


def test_a_blocking_call_waits_as_long_as_it_takes(new_bucket, service, monkeypatch):
    monkeypatch.setattr("pyrate_limiter.limiter.sleep", service.pass_time)
    began = service.clock.steady()
    with Limiter(new_bucket(TWO_A_MINUTE)) as limiter:
        assert all(limiter.try_acquire("item") for _ in range(4))
    assert 59 <= service.clock.steady() - began <= 62


def test_a_weight_is_taken_as_a_whole_and_one_beyond_the_burst_never(new_bucket):
    bucket = new_bucket(Rate(10, Duration.MINUTE, burst=4))
    with Limiter(bucket) as limiter:
        assert tried(limiter, 1, weight=0) == [True]
        assert tried(limiter, 2, weight=3) == [True, False]
        assert tried(limiter, 1, weight=1) == [True]
        assert not limiter.try_acquire("item", weight=5)  # blocking, and it comes back
        assert bucket.waiting(RateItem("item", 0, weight=5)) == -1
        assert bucket.put_decision(RateItem("item", 0, weight=5)).retry_after_ms is None


def test_the_rate_that_never_has_so_much_at_once_is_named(new_bucket):
    second, minute = Rate(3, Duration.SECOND, burst=9), Rate(60, Duration.MINUTE, burst=4)
    bucket = new_bucket(second, minute)
    assert not bucket.put(RateItem("item", 0, weight=5))
    assert bucket.failing_rate is minute


def test_a_weight_beyond_the_stored_burst_is_never_let_in_and_raises_nothing(new_bucket):
    new_bucket(TWO_A_MINUTE).put(RateItem("item", 0))
    bucket = new_bucket(Rate(50, Duration.MINUTE))
    item = RateItem("item", 0, weight=3)
    assert not bucket.put(item)
    assert bucket.waiting(item) == -1
    assert bucket.put_decision(item).retry_after_ms is None
    assert bucket.put(RateItem("item", 0))


def test_another_call_in_between_lets_no_item_in(new_bucket):
    class Overtaken(DynamoDBBucket):
        """Another thread's call is admitted whenever one was denied."""

        failing_rate = property(lambda self: None, lambda self, rate: None)

    bucket, item = new_bucket(Rate(1, Duration.MINUTE), kind=Overtaken), RateItem("item", 0)
    assert [bucket.put(item) for _ in range(2)] == [True, False]


def test_a_denial_says_how_long_to_wait(new_bucket):
    bucket = new_bucket(TWO_A_MINUTE)
    item = RateItem("item", 0, weight=2)
    assert bucket.waiting(item) == 0
    assert bucket.put_decision(item).allowed
    denied = bucket.put_decision(item)
    assert denied.failing_rate.limit == 2
    assert 59_000 <= denied.retry_after_ms <= 61_000
    assert bucket.waiting(item) == denied.retry_after_ms


def test_a_bucket_is_counted_and_flushed(new_bucket):
    bucket = new_bucket(TWO_A_MINUTE)
    assert bucket.count() == 0
    assert bucket.put(RateItem("item", 0, weight=2))
    assert not bucket.put(RateItem("item", 0))
    assert bucket.count() == 2
    assert (bucket.leak(0), bucket.peek(0)) == (0, None)
    bucket.flush()
    assert (bucket.count(), bucket.failing_rate) == (0, None)
    assert bucket.put(RateItem("item", 0, weight=2))


def test_a_factory_may_make_a_bucket_for_each_name(new_bucket):
    class OneForEachName(BucketFactory):
        def __init__(self):
            self.made = {}

        def wrap_item(self, name, weight=1):
            return RateItem(name, 0, weight=weight)

        def get(self, item):
            return self.made.setdefault(item.name, new_bucket(TWO_A_MINUTE, key=item.name))

    limiter = Limiter(OneForEachName())
    found = [limiter.try_acquire(name, blocking=False) for name in ("a", "a", "a", "b")]
    assert found == [True, True, False, True]


def test_asyncio(new_bucket):
    async def main():
        bucket = new_bucket(TWO_A_MINUTE, kind=AsyncDynamoDBBucket)
        limiter = Limiter(bucket)
        found = [await limiter.try_acquire_async("item", blocking=False) for _ in range(3)]
        counted = await bucket.count()
        item = RateItem("item", 0)
        denied = await bucket.put_decision(item)
        assert bucket.waiting(item) == denied.retry_after_ms > 0
        assert await bucket.leak(0) == 0
        assert await bucket.peek(0) is None
        await bucket.flush()
        again = await limiter.try_acquire_async("item", blocking=False)
        limiter.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await bucket.put(item)
        await bucket.aclose()
        return found, counted, again

    assert asyncio.run(main()) == ([True, True, False], 2, True)
