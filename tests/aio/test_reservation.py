"""Reservations on a loop: awaited, cancelled, left unsettled, and refused where they are no block."""

import asyncio

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, Limit, RateLimiter, StoreRejected, aio
from ddb_lease._protocol.messages import Rejected
from ddb_lease._protocol.rates.messages import Charge, Settle
from ddb_lease._runtime.runtime import Runtime
from tests.conftest import TABLE
from tests.support import LOST, Tap

CONTRACT = True  # the simulator's DynamoDB too
HOUR = 3600.0


@pytest.fixture
def limiter(engine, session, bucket_name, table):
    """Makes limiters for asyncio: ten permits, and one more each hour."""

    def make(**arguments):
        tap = Tap()
        settings = {"rate": 10, "per": 10 * HOUR, "table": TABLE} | arguments
        made = aio.RateLimiter(
            bucket_name,
            session=session,
            endpoint_url=engine.endpoint_url,
            runtime=Runtime(wrap=tap.around),
            **settings,
        )
        made.tap = tap
        return made

    return make


def run(make, body):
    """Run a body with a limiter whose time and policy are known; returns what it returns, and what is then left."""

    async def main():
        async with make() as permits:
            await permits.status()
            await permits.set_policy(Limit(10, per=10 * HOUR))
            permits.tap.clear()
            got = await body(permits)
            return got, (await permits.status()).available

    return asyncio.run(main())


def test_reserving_and_settling_are_one_request_each(limiter):
    async def body(permits):
        async with await permits.reserve(6, timeout=30) as reservation:
            assert dict(reservation.permits) == {"permits": 6}
            assert 290 < reservation.remaining <= 300
            assert not reservation.settled
            assert await reservation.settle(2)
            assert reservation.settled
            assert reservation.remaining == 0.0
            with pytest.raises(ConfigurationError, match="settled already"):
                await reservation.settle()
        return permits.tap.count()

    assert run(limiter, body) == ({"Charge": 1, "Settle": 1}, 8)


def test_a_block_that_does_not_settle_counts_in_full(limiter):
    async def body(permits):
        with pytest.raises(ValueError, match="work"):
            async with await permits.key("k").reserve(6):
                raise ValueError("work")
        return (await permits.key("k").status()).available

    assert run(limiter, body) == (4, 10)


def test_tasks_that_settle_together_share_a_request(limiter):
    async def body(permits):
        many = await asyncio.gather(*(permits.reserve(1, timeout=30) for _ in range(8)))
        permits.tap.clear()
        told = await asyncio.gather(*(one.settle(0) for one in many))
        return told, len(permits.tap.of(Settle)) <= 3

    assert run(limiter, body) == (([True] * 8, True), 10)


def test_both_apis_share_holds(limiter, engine, session, bucket_name):
    settings = {"rate": 10, "per": 10 * HOUR, "table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    with RateLimiter(bucket_name, **settings) as blocking, blocking.reserve(6):

        async def body(permits):
            assert (await permits.status()).available == 4
            with pytest.raises(AcquireTimeout):
                await permits.reserve(6, timeout=0)

        assert run(limiter, body) == (None, 4)


def test_a_settlement_that_is_cancelled_is_made_by_the_next_one(limiter):
    async def body(permits):
        first, second = await permits.reserve(3), await permits.reserve(3)
        task = asyncio.create_task(first.settle(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await second.settle(1)

    assert run(limiter, body) == (True, 8)


def test_a_reservation_that_is_cancelled_is_given_back_with_the_next_settlement(limiter):
    async def body(permits):
        await permits.acquire()
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        permits.tap.inject(Charge, answer=LOST, commits=True, after=lambda _: loop.call_soon_threadsafe(gate.set))
        task = asyncio.create_task(permits.reserve(5, timeout=30))
        await asyncio.wait_for(gate.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with await permits.reserve(4, timeout=30) as reservation:
            await reservation.settle(0)
        left = (await permits.status()).available
        assert left in {4, 9}, "charged without our knowing, and then settled: in full, or not used at all"

    run(limiter, body)


def test_a_block_is_not_failed_by_its_settlement(limiter, caplog):
    refused = Rejected(error=StoreRejected("no permission"))

    async def body(permits):
        permits.tap.inject(Settle, answer=refused, commits=False)
        async with await permits.reserve(6):
            pass

    run(limiter, body)
    assert "counts in full: no permission" in caplog.text


def test_what_is_not_awaited_is_no_block(limiter):
    async def body(permits):
        with pytest.raises(ConfigurationError, match=r"async with await limiter\.reserve\(\)"):
            async with permits.reserve(1):
                pass
        reservation = await permits.reserve(1)
        with pytest.raises(ConfigurationError, match=r"write `async with await limiter\.reserve\(\)"), reservation:
            pass
        return await reservation.settle(0)

    assert run(limiter, body) == (True, 10)
