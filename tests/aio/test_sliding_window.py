"""A sliding window on a loop: the same permits, awaited; a permit that comes too late, or is cancelled, is not used."""

import asyncio
import time

import pytest

from ddb_lease import ConfigurationError, RateTimeout, SlidingWindow, StoreUnavailable, UnknownBucket, aio
from ddb_lease._protocol.messages import Claim, Mint, Release
from ddb_lease._runtime.runtime import Runtime
from tests.conftest import TABLE
from tests.support import LOST, UNSENT, Tap, eventually

CONTRACT = True  # the simulator's DynamoDB too
HOUR = 3600.0


@pytest.fixture
def windows(engine, session, bucket_name, table):
    """Makes windows for asyncio: three permits an hour by default."""

    def make(**arguments):
        tap = Tap()
        window = aio.SlidingWindow(
            bucket_name,
            **{"max_tokens": 3, "period": HOUR} | arguments,
            table=TABLE,
            session=session,
            endpoint_url=engine.endpoint_url,
            runtime=Runtime(wrap=tap.around),
        )
        window.tap = tap
        return window

    return make


def test_all_permits_may_come_at_once_and_no_more(windows):
    async def main():
        async with windows() as window:
            return [await window.try_acquire() for _ in range(5)]

    assert asyncio.run(main()) == [True] * 3 + [False] * 2


def test_a_check_takes_a_permit_or_tells_when_the_first_comes_back(windows):
    async def main():
        async with windows(max_tokens=1) as window:
            first, second, third = await window.check(), await window.check(), await window.check(timeout=0.2)
            with pytest.raises(RateTimeout, match=r": the first one comes back in 1h") as told:
                await window.acquire(timeout=0.1)
            with pytest.raises(ConfigurationError, match="an acquire is no block"):
                async with window.check():
                    pass
            with pytest.raises(ConfigurationError, match="timeout must be"):
                await window.check(timeout=-1)
            return first, [second, third, told.value]

    first, denied = asyncio.run(main())
    assert first.allowed
    assert first.retry_after == 0.0
    assert not any(getattr(one, "allowed", False) for one in denied)
    assert all(HOUR - 60 < one.retry_after < HOUR + 10 for one in denied)


def test_both_apis_tell_of_each_others_permits(windows, engine, session, bucket_name):
    where = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}
    with SlidingWindow(bucket_name, max_tokens=1, period=HOUR, **where) as other:
        assert other.check().allowed

        async def main():
            async with windows(max_tokens=1) as window:
                return await window.check()

        denied = asyncio.run(main())
        assert not denied.allowed
        assert HOUR - 60 < denied.retry_after < HOUR + 10
        assert HOUR - 60 < other.check().retry_after < HOUR + 10


def test_tasks_share_a_window(windows):
    async def main():
        async with windows() as window:
            await window.acquire(timeout=30)
            return await asyncio.gather(*(window.try_acquire() for _ in range(8)))

    assert sum(asyncio.run(main())) <= 2


def test_both_apis_share_a_window(windows, engine, session, bucket_name):
    where = {"table": TABLE, "session": session, "endpoint_url": engine.endpoint_url}

    async def main():
        async with windows() as window:
            await window.acquire(timeout=30)
            with SlidingWindow(bucket_name, max_tokens=3, period=HOUR, **where) as other:
                got = [await asyncio.to_thread(other.try_acquire) for _ in range(3)]
            return got, await window.try_acquire(), (await window.status()).free

    assert asyncio.run(main()) == ([True, True, False], False, 0)


def test_a_permit_comes_back_after_the_period(windows):
    async def main():
        async with windows(max_tokens=1, period=1.0) as window:
            await window.acquire(timeout=30)
            used = time.monotonic()
            await window.acquire(timeout=30)
            return time.monotonic() - used

    assert 1.0 <= asyncio.run(main()) < 20


def test_a_permit_that_comes_too_late_is_not_used_and_given_back(windows, table):
    async def main():
        async with windows(max_tokens=1) as window:
            window.tap.inject(Mint, after=lambda _: time.sleep(1.2))
            window.tap.inject(Claim, after=lambda _: time.sleep(1.2))
            await window.acquire(timeout=60)
            return window.tap.count()

    assert asyncio.run(main())["Release"] >= 1
    assert sum("lease_id" in slot for slot in table.slots().values()) == 1


def test_a_permit_that_a_blocked_loop_hands_over_too_late_is_not_used(windows, table):
    async def main():
        async with windows() as window:
            await window.acquire(timeout=30)
            loop = asyncio.get_running_loop()
            window.tap.inject(Claim, after=lambda _: loop.call_soon_threadsafe(time.sleep, 1.5))
            await window.acquire(timeout=30)
            return window.tap.of(Release)

    assert len(asyncio.run(main())) == 1
    assert sum("lease_id" in slot for slot in table.slots().values()) == 2


def test_where_every_answer_is_late_it_says_so(windows, table):
    async def main():
        async with windows() as window:
            await window.acquire(timeout=30)
            for _ in range(20):
                window.tap.inject(Claim, after=lambda _: time.sleep(1.1))
            with pytest.raises((StoreUnavailable, RateTimeout)):
                await window.acquire(timeout=2)

    asyncio.run(main())
    assert sum("lease_id" in slot for slot in table.slots().values()) == 1


def test_a_cancelled_acquire_uses_no_permit(windows, table):
    async def main():
        async with windows() as window:
            await window.acquire(timeout=30)
            loop = asyncio.get_running_loop()
            window.tap.inject(Claim, after=lambda _: loop.call_soon_threadsafe(task.cancel))
            task = asyncio.ensure_future(window.acquire(timeout=30))
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    eventually(lambda: sum("lease_id" in slot for slot in table.slots().values()) == 1)


def test_a_waiter_is_told_of_its_timeout_and_of_an_outage(windows):
    async def main():
        window = windows()
        with pytest.raises(UnknownBucket, match="^window "):
            await window.status()
        for _ in range(3):
            await window.acquire(timeout=30)
        with pytest.raises(RateTimeout, match=r"no permit of window .* within 0.1 s"):
            await window.acquire(timeout=0.1)
        with pytest.raises(ConfigurationError, match="timeout must be"):
            await window.acquire(timeout=-1)
        window.tap.everything_fails = UNSENT
        with pytest.raises(StoreUnavailable, match=r"^no permit of window .*: Injected: no connection$"):
            await window.try_acquire()
        await window.close()
        with pytest.raises(ConfigurationError, match="is closed"):
            await window.try_acquire()

    asyncio.run(main())


def test_a_lost_answer_costs_no_permit_and_closing_gives_none_back(windows, table):
    async def main():
        async with windows() as window:
            await window.acquire(timeout=30)
            window.tap.inject(Claim, commits=True, answer=LOST)
            got = [await window.try_acquire() for _ in range(3)]
            return got, table.all()

    got, before = asyncio.run(main())
    assert got == [True, True, False]
    assert table.all() == before


def test_a_decorated_coroutine_waits_for_a_permit(windows):
    async def main():
        window = windows()

        @window.limited(timeout=0)
        async def work(number):
            """What it does."""
            return number

        got = [await work(n) for n in range(3)]
        with pytest.raises(RateTimeout):
            await work(3)
        with pytest.raises(ConfigurationError, match=r"aio.SlidingWindow.limited awaits what it decorates"):
            window.limited()(len)
        await window.close()
        return got, work.__doc__

    assert asyncio.run(main()) == ([0, 1, 2], "What it does.")


def test_there_is_no_release_and_no_block_around_an_acquire(windows):
    assert not hasattr(aio.SlidingWindow, "release")

    async def main():
        async with windows() as window:
            with pytest.raises(ConfigurationError, match="an acquire is no block"):
                async with window.acquire():
                    pass
            with pytest.raises(ConfigurationError, match="has no `with`"), window:
                pass
            await window.try_acquire()

    asyncio.run(main())
