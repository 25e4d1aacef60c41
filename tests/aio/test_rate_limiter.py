"""A rate on a loop: the same permits, awaited; waiters share one queue, and a cancelled one leaves it."""

import asyncio
import os
import signal
import time

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, RateLimiter, StoreUnavailable, aio
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._runtime.runtime import Runtime
from tests.conftest import TABLE
from tests.support import LOST, Tap, wanted

CONTRACT = True  # the simulator's DynamoDB too
HOUR = 3600.0


@pytest.fixture
def limiter(engine, session, bucket_name, table):
    """Makes limiters for asyncio: five permits, and one more each twelve minutes by default."""

    def make(**arguments):
        tap = Tap()
        settings = {"rate": 5, "per": HOUR, "table": TABLE} | arguments
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


async def settles_at(permits, available):
    """So many are available, as soon as the guess at the time, which moves a little while it narrows, has caught up."""
    until = time.monotonic() + 30
    while (await permits.status()).available != available:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


def test_from_idle_exactly_the_burst_is_admitted_and_a_denial_sends_nothing(limiter):
    async def main():
        async with limiter() as permits:
            for _ in range(5):
                await permits.acquire(timeout=30)  # the guess at the time may move back a little while it narrows
            charges = permits.tap.count()["Charge"]
            got = [await permits.try_acquire() for _ in range(2)]
            return got, charges, permits.tap.count()["Charge"], permits.wait_time()

    got, charges, after, wait = asyncio.run(main())
    assert got == [False] * 2
    assert 5 <= charges <= 10
    assert after == charges, "the time of the next permit is known: nothing is sent for those that are denied"
    assert HOUR / 5 - 60 < wait <= HOUR / 5


def test_both_apis_share_a_rate(limiter, engine, session, bucket_name):
    settings = {"rate": 5, "per": HOUR, "table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    with RateLimiter(bucket_name, **settings) as blocking:
        assert blocking.try_acquire(3)

    async def main():
        async with limiter() as permits:
            assert not await permits.try_acquire(3)
            await permits.acquire(2, timeout=30)
            return await permits.status()

    status = asyncio.run(main())
    assert status.available == 0
    assert (status.rate, status.per, status.burst) == (5, HOUR, 5)


def test_many_tasks_wait_in_one_line_and_in_order(limiter):
    served = []

    async def want(permits, number):
        await permits.acquire(timeout=60)
        served.append(number)

    async def main():
        async with limiter(rate=200, per=1.0, burst=1) as permits:
            await permits.acquire()
            permits.tap.clear()
            await asyncio.gather(*(want(permits, number) for number in range(100)))
            return permits.tap.count()["Charge"]

    began = time.monotonic()
    charges = asyncio.run(main())
    assert served == sorted(served)
    assert time.monotonic() - began > 99 / 200 * 0.5, "at the rate; the clocks' uncertainty comes on top once"
    assert charges <= 150, "one asks for all: not one request for each that waits"


def test_a_cancelled_waiter_leaves_the_line_and_the_next_goes_on(limiter):
    async def main():
        async with limiter(rate=1, per=0.2, burst=1) as permits:
            await permits.acquire()
            first = asyncio.create_task(permits.acquire())
            await asyncio.sleep(0)
            second = asyncio.create_task(permits.acquire())
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait_for(second, 30)
            with pytest.raises(asyncio.CancelledError):
                await first
            return wanted(permits)

    assert asyncio.run(main()) == 0


def test_a_wait_that_is_hopeless_is_not_begun(limiter):
    async def main():
        async with limiter() as permits:
            await permits.acquire(5)
            began = time.monotonic()
            with pytest.raises(AcquireTimeout):
                await permits.acquire(timeout=100)
            return time.monotonic() - began

    assert asyncio.run(main()) < 50


def test_a_lost_answer_charges_once(limiter):
    async def main():
        async with limiter() as permits:
            permits.tap.inject(Charge, answer=LOST)
            assert await permits.try_acquire()
            await settles_at(permits, 4)

    asyncio.run(main())


def test_an_outage_is_told(limiter):
    async def main():
        async with limiter() as permits:
            assert await permits.try_acquire()
            permits.tap.everything_fails = LOST
            with pytest.raises(StoreUnavailable):
                await permits.acquire(timeout=0.2)

    asyncio.run(main())


def test_a_decorated_coroutine_waits_for_its_permits_and_a_closed_limiter_admits_nobody(limiter):
    async def main():
        permits = limiter()

        @permits.limited(timeout=30, n=2)
        async def look_up(key):
            """Look it up."""
            return key * 2

        assert await look_up(4) == 8
        await settles_at(permits, 3)
        await permits.close()
        with pytest.raises(ConfigurationError):
            await look_up(4)
        return look_up.__doc__

    assert asyncio.run(main()) == "Look it up."


def test_one_limiter_serves_several_loops(limiter):
    permits = limiter()
    for _ in range(5):
        asyncio.run(permits.acquire(timeout=30))
    assert not asyncio.run(permits.try_acquire())
    asyncio.run(permits.close())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("engine", ["embedded", "ministack"], indirect=True, scope="session")  # what a child can reach
def test_a_forked_child_has_threads_of_its_own_and_none_of_its_parents_permits(limiter):
    permits = limiter(burst=30, prefetch=10)
    assert asyncio.run(permits.try_acquire())
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # without threads of its own it would wait for ever
        try:
            held = asyncio.run(permits.status()).in_hand
            os.write(write, repr((held, asyncio.run(permits.try_acquire()))).encode())
        finally:
            os._exit(0)
    assert asyncio.run(permits.status()).in_hand == 9, "before they lapse, however long the child takes"
    os.waitpid(pid, 0)
    os.close(write)
    assert os.read(read, 1000).decode() == "(0, True)"
    os.close(read)
