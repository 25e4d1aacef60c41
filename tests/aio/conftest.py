"""Buckets for asyncio; each test brings its own loops."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from ddb_lease import aio
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.aio.driver import Driver
from scripts.harness.inside import async_core_of, core_of
from tests.conftest import QUICK, TABLE
from tests.support import Tap


class Stepped:
    """Stands for a bucket's threads: requests are sent on the loop itself, some turns of it apart; so turns can be counted.

    A request waits for its turn, is under way, has been carried out, and is answered: each takes some turns of the loop.
    """

    def __init__(self) -> None:
        self.under_way = 0

    def submit(self, job: Callable[[], object]) -> Future:
        future: Future = Future()
        self.under_way += 1
        self._later(3, self._begin, future, job)
        return future

    def _later(self, turns: int, do: Callable[..., None], *arguments: object) -> None:
        """A cancelled task notices it within two turns of the loop."""
        if turns:
            asyncio.get_running_loop().call_soon(self._later, turns - 1, do, *arguments)
        else:
            do(*arguments)

    def _begin(self, future: Future, job: Callable[[], object]) -> None:
        if future.set_running_or_notify_cancel():
            self._later(3, self._carry_out, future, job)
        else:
            self.under_way -= 1

    def _carry_out(self, future: Future, job: Callable[[], object]) -> None:
        self._later(3, self._answer, future, job())

    def _answer(self, future: Future, result: object) -> None:
        self.under_way -= 1
        future.set_result(result)

    async def land(self) -> None:
        while self.under_way:  # noqa: ASYNC110 - turns of the loop are what is counted here
            await asyncio.sleep(0)


@pytest.fixture
def aio_bucket(engine, session, bucket_name, table) -> Iterator[Callable[..., aio.LeaseBucket]]:
    """Makes buckets for asyncio, each with a `tap` on its requests; `stepped` ones send on the loop, by `steps`."""
    made: list[tuple[aio.LeaseBucket, Driver]] = []

    def make(name: str = bucket_name, *, stepped: bool = False, **arguments) -> aio.LeaseBucket:
        tap = Tap()
        settings = {"max_tokens": 3, "lease_seconds": 30, "timing": QUICK, "table": TABLE} | arguments
        bucket = aio.LeaseBucket(
            name, session=session, endpoint_url=engine.endpoint_url, runtime=Runtime(wrap=tap.around), **settings
        )
        bucket.tap = tap
        made.append((bucket, async_core_of(bucket).driver))
        if stepped:
            bucket.steps = Stepped()
            async_core_of(bucket).driver = Driver(blocking=core_of(bucket).driver, threads=bucket.steps)
        return bucket

    yield make
    for bucket, driver in made:
        async_core_of(bucket).driver = driver
        asyncio.run(bucket.close())
