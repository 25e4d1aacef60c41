"""Steering a rate on a loop: the same operations, awaited."""

import asyncio

import pytest

from ddb_lease import ConfigurationError, Limit, aio
from ddb_lease._runtime.runtime import Runtime
from tests.conftest import TABLE
from tests.support import Tap

CONTRACT = True  # the simulator's DynamoDB too


@pytest.fixture
def limiter(engine, session, bucket_name, table):
    """Makes limiters for asyncio, of one rate."""

    def make(**arguments):
        tap = Tap()
        settings = {"rate": 5, "per": 3600.0, "table": TABLE} | arguments
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


async def admitted(view, n=10):
    return sum([await view.try_acquire() for _ in range(n)])


def test_a_key_is_overridden_blocked_and_reset(limiter):
    async def main():
        async with limiter() as api:
            team = api.key("team-7")
            held = await team.override(Limit(8, per=3600))
            assert held == {"permits": Limit(8.0, per=3600.0, burst=8)}
            await team.acquire(8, timeout=30)
            assert not await team.try_acquire()
            await team.block(600)
            assert 590 < (await team.status()).blocked_seconds <= 600
            await team.unblock()
            assert (await team.status()).blocked_seconds == 0
            await team.reset()
            await team.acquire(8, timeout=30)
            assert (await team.override(None))["permits"].burst == 5
            assert (await team.status()).override == {}
            with pytest.raises(ConfigurationError):
                await team.override()
            with pytest.raises(ConfigurationError):
                await team.block(0)

    asyncio.run(main())


def test_a_limiter_without_keys_is_steered_itself(limiter):
    async def main():
        async with limiter() as api:
            await api.override(Limit(3, per=3600))
            await api.acquire(3, timeout=30)
            await api.reset()
            await api.block(600)
            status = await api.status()
            assert (status.available, status.key, status.settings["permits"].burst) == (0, "", 3)
            await api.unblock()
            await api.acquire(3, timeout=30)

    asyncio.run(main())


def test_keys_are_listed_as_they_are_asked_for(limiter):
    async def main():
        async with limiter() as api:
            names = [f"k{n}" for n in range(12)]
            for name in names:
                await api.key(name).acquire(timeout=30)
            api.tap.clear()
            listing = api.keys()
            found = [key.key async for key in listing]
            assert sorted(found) == sorted(names)
            assert api.tap.count() == {"ListKeys": 64}

    asyncio.run(main())
