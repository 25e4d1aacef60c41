"""Handing a lease over on a loop: guarded blocks go on, and what is cancelled leaves the slot to its block, or free."""

import asyncio
import threading

import pytest

from ddb_lease import LeaseLost, LossReason
from ddb_lease._protocol.messages import Renew
from ddb_lease.events import HandedOver
from scripts.harness.inside import async_core_of, core_of
from tests.support import eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
NOT_ON = ("embedded", "ministack", "dynoxide")


def test_a_guarded_block_goes_on_and_its_end_releases_nothing(aio_bucket, table):
    async def main():
        bucket = aio_bucket()
        async with bucket.lease(timeout=5) as lease:
            lost = asyncio.create_task(lease.lost())
            await asyncio.sleep(0)
            token = await lease.hand_over()
            assert await lost is LossReason.HANDED_OVER
            await asyncio.sleep(0.01)
        assert list(leases_in(table).values()) == [lease.id]
        async with await aio_bucket().adopt(token) as mine, mine.guard():
            assert mine.slots == lease.slots
        assert leases_in(table) == {}

    asyncio.run(main())


def test_a_cancelled_hand_over_leaves_the_slot_free(aio_bucket, table):
    bucket = aio_bucket()

    async def main():
        lease = await bucket.acquire(timeout=5)
        sent, cancelled = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def wait(_):
            loop.call_soon_threadsafe(sent.set)
            assert cancelled.wait(30)

        bucket.tap.inject(Renew, before=wait)
        handing = asyncio.create_task(lease.hand_over(within=100))
        await sent.wait()
        handing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handing
        assert not lease.held, "from this instant: nobody believes in it while the answer is awaited"
        with pytest.raises(LeaseLost, match="released"):
            lease.check()
        cancelled.set()
        assert await lease.lost() is LossReason.RELEASED

    asyncio.run(main())
    eventually(lambda: leases_in(table) == {} and not core_of(bucket).owed)


def test_one_that_is_cancelled_when_it_was_handed_over_already_is_taken_back(aio_bucket, table):

    waited = []

    async def main():
        handed, cancelled = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def wait(event):  # on the thread that hands it over
            if isinstance(event, HandedOver):
                loop.call_soon_threadsafe(handed.set)
                waited.append(cancelled.wait(30))

        bucket = aio_bucket(on_event=wait)
        lease = await bucket.acquire(timeout=5)
        handing = asyncio.create_task(lease.hand_over(within=100))
        await handed.wait()
        handing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handing
        assert not lease.held
        cancelled.set()
        return bucket

    bucket = asyncio.run(main())
    eventually(lambda: leases_in(table) == {} and not core_of(bucket).owed)
    assert waited == [True]


def test_one_that_is_cancelled_before_it_has_begun_is_held(aio_bucket, table):
    bucket = aio_bucket(max_requests=1)

    async def main():
        lease, busy = await bucket.acquire(timeout=5), threading.Event()
        waiting = async_core_of(bucket).driver.submit(lambda: busy.wait(30))
        handing = asyncio.create_task(lease.hand_over(within=100))
        await asyncio.sleep(0.01)
        handing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handing
        busy.set()
        assert waiting.result(30)
        lease.check()
        assert await lease.release()

    asyncio.run(main())
    assert leases_in(table) == {}


@pytest.mark.parametrize("count", [1, 2])
def test_an_adoption_that_is_cancelled_at_any_turn_leaves_nothing_held(aio_bucket, table, count):
    giver, adopter = aio_bucket(stepped=True), aio_bucket(stepped=True)

    async def main(turns):
        lease = await giver.acquire(timeout=5, count=count)
        adopting = asyncio.create_task(adopter.adopt(await lease.hand_over(within=100)))
        for _ in range(turns):
            await asyncio.sleep(0)
        under_way = adopting.cancel()
        if under_way:
            with pytest.raises(asyncio.CancelledError):
                await adopting
        await adopter.steps.land()
        await giver.steps.land()
        if not under_way:
            await (await adopting).release()
        return lease, under_way

    for turns in range(1, 200, 3):
        lease, under_way = asyncio.run(main(turns))
        eventually(lambda: not core_of(adopter).leases and not async_core_of(adopter).debts)
        eventually(lambda given=lease.id: set(leases_in(table).values()) <= {given})
        if not under_way:
            break
        table.delete_all()
        core_of(giver).state.hints.forget()
        core_of(adopter).state.hints.forget()
    assert turns > 10
