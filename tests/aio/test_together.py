"""Leases of several buckets together, awaited: all or none, and nothing left by a cancellation."""

import asyncio

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, LeaseLost, RateTimeout, StoreUnavailable
from ddb_lease._protocol.messages import Claim, Release
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio import RateLimiter, acquire_all
from tests.conftest import PATIENCE, TABLE
from tests.support import THROTTLED, UNSENT, Table, Tap, eventually, leases_in

CONTRACT = True
NOT_ON = ("embedded", "ministack", "dynoxide")  # it sends what acquire and release send, and nothing else


@pytest.fixture
def two(aio_bucket, bucket_name):
    return tuple(aio_bucket(f"{bucket_name}-{tokens}", max_tokens=tokens) for tokens in (1, 2))


def leased(table, bucket):
    return leases_in(Table(table.client, TABLE, bucket.name))


def test_all_are_had_and_the_block_releases_all(two, table):
    async def main():
        async with await acquire_all([two[0], (two[1], 2)], timeout=5) as leases:
            assert [len(lease.slots) for lease in leases] == [1, 2]
            assert leases.held
            assert leases.remaining > 0
            assert leases.reason is None
            leases.check()
            with pytest.raises(ConfigurationError, match="entered already"):
                async with leases:
                    pass
        assert not leases.held
        with pytest.raises(LeaseLost):
            leases.check()
        assert not await leases.release()

    asyncio.run(main())
    assert leased(table, two[0]) == leased(table, two[1]) == {}


def test_they_are_held_as_long_as_each_is(two, table):
    async def main():
        leases = await acquire_all(two, timeout=5)
        first, second = leases
        assert await first.release()
        assert second.held
        assert not leases.held
        assert leases.remaining == 0.0
        with pytest.raises(LeaseLost, match=first.id):
            leases.check()
        assert not await leases.release(), "one had ended before"
        assert not second.held

    asyncio.run(main())
    assert leased(table, two[0]) == leased(table, two[1]) == {}


def test_each_lease_has_the_data_for_all_to_see(two):
    async def main():
        async with await acquire_all(two, timeout=5, data={"job": "report"}) as leases:
            assert [lease.data for lease in leases] == [{"job": "report"}] * 2
            shown = [(await bucket.status()).leases for bucket in two]
            assert [[lease.data for lease in of] for of in shown] == [[{"job": "report"}]] * 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"timeout": -1}, "timeout must be 0 or more seconds, or a timedelta, not -1"),
        ({"data": {1: 2}}, "data's keys must be strings, not int"),
        ({"on_lost": 5}, "on_lost must be a function that takes the lease, not 5"),
        ({"rate": 5}, "rate must be a limiter, a key of one, or a pair of one and a number of permits, not 5"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_sent(two, wrong, says):
    with pytest.raises(ConfigurationError, match=says):
        asyncio.run(acquire_all(two, **{"timeout": 5} | wrong))
    assert two[0].tap.sent == two[1].tap.sent == []


def test_what_cannot_be_had_in_time_leaves_nothing_held(two, table):
    async def main():
        holder = await two[1].acquire(5, count=2)
        with pytest.raises(AcquireTimeout, match="none of the 2 buckets' slots are held"):
            await acquire_all(two, timeout=0.2)
        assert leased(table, two[0]) == {}
        await holder.release()
        async with await acquire_all(two, timeout=5):
            pass

    asyncio.run(main())


def test_it_holds_nothing_while_it_waits(two, table):
    async def main():
        holder = await two[1].acquire(5, count=2)
        loop, gave_back = asyncio.get_running_loop(), asyncio.Event()
        two[0].tap.inject(Release, after=lambda _: loop.call_soon_threadsafe(gave_back.set))
        waiting = asyncio.create_task(acquire_all(two, timeout=PATIENCE))
        await asyncio.wait_for(gave_back.wait(), PATIENCE)
        assert leased(table, two[0]) == {}
        assert not waiting.done()
        await holder.release()
        async with await waiting as leases:
            assert leases.held

    asyncio.run(main())


def test_permits_are_taken_last_and_not_at_all_if_they_come_too_late(two, table, session, engine, bucket_name):
    async def main():
        at = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
        async with RateLimiter(f"{bucket_name}-calls", rate=1, per=60, burst=2, **at) as limiter:
            await (await acquire_all(two, timeout=5, rate=limiter)).release()
            with pytest.raises(RateTimeout):
                await acquire_all(two, timeout=1, rate=(limiter, 2))
            assert (await limiter.status()).available == 1

    asyncio.run(main())
    assert leased(table, two[0]) == leased(table, two[1]) == {}


@pytest.mark.parametrize("awaited", ["the other bucket", "the permits"])
def test_nothing_is_returned_of_which_one_was_lost_meanwhile(two, table, session, engine, bucket_name, awaited):
    async def main():
        loop, tap = asyncio.get_running_loop(), Tap()
        at = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}

        def lose(_):  # on the thread of a request
            (lease_id,) = leased(table, two[0]).values()
            assert asyncio.run_coroutine_threadsafe(two[0].release(lease_id), loop).result(PATIENCE)

        async with RateLimiter(f"{bucket_name}-calls", rate=5, runtime=Runtime(wrap=tap.around), **at) as limiter:
            await (await acquire_all(two, timeout=PATIENCE, rate=limiter)).release()
            tap.clear()
            if awaited == "the permits":
                tap.inject(Charge, after=lose)
            else:
                two[1].tap.inject(Claim, after=lose)
            with pytest.raises(LeaseLost, match="by its id"):
                await acquire_all(two, timeout=PATIENCE, rate=limiter)
            assert len(tap.of(Charge)) == (awaited == "the permits"), "what is lost before costs no permit"

    asyncio.run(main())
    assert leased(table, two[0]) == leased(table, two[1]) == {}


def test_an_error_of_one_releases_the_others(two, table):
    two[1].tap.everything_fails = UNSENT

    async def main():
        with pytest.raises(StoreUnavailable):
            await acquire_all(two, timeout=0.5)

    asyncio.run(main())
    two[1].tap.everything_fails = None
    assert leased(table, two[0]) == {}


@pytest.mark.parametrize(
    ("failing", "error"),
    [({0: UNSENT}, "no connection"), ({2: THROTTLED}, "too many requests"), ({0: THROTTLED, 1: UNSENT}, "too many")],
    ids=["the first", "the last", "two"],
)
def test_those_that_cannot_be_released_keep_none_of_the_others(aio_bucket, bucket_name, table, failing, error):
    buckets = [aio_bucket(f"{bucket_name}-{number}") for number in range(3)]

    async def main():
        leases = await acquire_all(buckets, timeout=60)
        for number, answer in failing.items():
            buckets[number].tap.everything_fails = answer
        with pytest.raises(StoreUnavailable, match=error):
            await leases.release()
        assert not leases.held

    asyncio.run(main())
    assert [number for number, bucket in enumerate(buckets) if leased(table, bucket)] == sorted(failing)
    for bucket in buckets:
        bucket.tap.everything_fails = None


def test_the_first_loss_is_told_once_and_awaited(two, table):
    async def main():
        told = []

        async def on_lost(lease):
            await asyncio.sleep(0)
            told.append(lease)

        leases = await acquire_all(two, timeout=5, on_lost=on_lost)
        for bucket, lease in zip(two, leases, strict=True):
            assert await bucket.revoke(lease.id)
            with pytest.raises(LeaseLost):
                await lease.renew()
        for _ in range(500):
            if told and not leased(table, two[0]) and not leased(table, two[1]):
                break
            await asyncio.sleep(0.01)
        assert len(told) == 1
        assert leases.reason == "revoked"
        assert leased(table, two[0]) == leased(table, two[1]) == {}

    asyncio.run(main())


def test_a_cancellation_at_any_turn_leaves_nothing_leased(aio_bucket, bucket_name, table):
    two = [aio_bucket(f"{bucket_name}-{number}", stepped=True) for number in range(2)]
    left = []

    async def cancelled_after(turns):
        task = asyncio.create_task(acquire_all(two, timeout=5))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not task.cancel():
            await (await task).release()
            return False
        with pytest.raises(asyncio.CancelledError):
            await task
        for bucket in two:
            await bucket.steps.land()
        return True

    async def main():
        for bucket in two:
            await (await bucket.acquire(5)).release()
        turns = 0
        while await cancelled_after(turns):
            try:
                eventually(lambda: not leased(table, two[0]) and not leased(table, two[1]))
            except AssertionError:
                left.append(turns)
            turns += 1
        assert turns > 15

    asyncio.run(main())
    assert not left
