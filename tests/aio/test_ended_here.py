"""A guarded block whose lease its own process ends is cancelled before the slot is given back; its own task's is not."""

# ruff: noqa: PT012 - what ends the lease stands in the block that it ends

import asyncio
import gc
import logging
import threading
import time

import pytest

from ddb_lease import LeaseLost, LossReason, Timing
from ddb_lease._protocol.messages import Release, Renew, RenewEach
from ddb_lease._runtime import lease_end
from ddb_lease.aio import acquire_all
from tests.support import eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
LONG = 120.0
PATIENT = Timing(front_end_skew=0.1, grace=9.0)
"""A grace that outlasts a machine that stands still: who waits until it has passed fails its test by far."""

ENDINGS = {
    "by its id": (lambda bucket, lease: bucket.release(lease.id), LossReason.RELEASED),
    "in a reset": (lambda bucket, _: bucket.reset(), LossReason.RELEASED),
    "by a mark": (lambda bucket, lease: bucket.revoke(lease.id), LossReason.REVOKED),
}
EACH_ENDING = pytest.mark.parametrize(("end", "reason"), ENDINGS.values(), ids=ENDINGS.keys())


@pytest.fixture
def bucket(aio_bucket):
    return aio_bucket(max_tokens=1, timing=PATIENT)


class Worker:
    """A task in a block of a lease; when it is cancelled, it notes what the table has, and goes on until it may end."""

    def __init__(self, bucket, table, *, at_once=True, **how):
        self.bucket, self.table, self.how = bucket, table, how
        self.seen = []
        self.error = None
        self.lease = None
        self.entered, self.may_end = asyncio.Event(), asyncio.Event()
        if at_once:
            self.may_end.set()
        self.task = asyncio.create_task(self._work())

    async def _work(self):
        try:
            async with self.bucket.lease(timeout=5, **self.how) as self.lease:
                self.entered.set()
                try:
                    await asyncio.sleep(LONG)
                finally:
                    await self.may_end.wait()
                    self.seen.append(leases_in(self.table))
        except LeaseLost as error:
            self.error = error

    async def begun(self):
        await asyncio.wait_for(self.entered.wait(), LONG)
        return self.lease


@EACH_ENDING
def test_a_guarded_block_is_cancelled_and_then_the_slot_is_given_back(bucket, table, end, reason):
    async def main():
        worker = Worker(bucket, table)
        lease = await worker.begun()
        assert await end(bucket, lease)
        await asyncio.wait_for(worker.task, LONG)
        assert worker.error.reason is lease.reason is reason
        assert worker.seen == [{0: lease.id}]
        await asyncio.to_thread(eventually, lambda: not leases_in(table))
        assert bucket.tap.of(Renew) == bucket.tap.of(RenewEach) == []
        assert await lease.lost() is reason

    asyncio.run(main())


def test_nobody_has_the_slot_before_the_block_has_ended(bucket, aio_bucket, table):
    async def main():
        worker = Worker(bucket, table, at_once=False)
        lease = await worker.begun()
        ending = asyncio.create_task(bucket.release(lease.id))
        await asyncio.to_thread(eventually, lambda: lease.reason)
        assert await bucket.try_acquire() is None
        assert await aio_bucket(max_tokens=1).try_acquire() is None
        assert bucket.tap.of(Release) == []
        worker.may_end.set()
        assert await ending
        async with bucket.lease(timeout=5):
            assert worker.seen == [{0: lease.id}]
        await worker.task

    asyncio.run(main())


def test_a_block_that_does_not_end_has_the_grace_and_no_longer(aio_bucket, table):
    async def main():
        bucket = aio_bucket(max_tokens=1, timing=Timing(front_end_skew=0.1, grace=0.2))
        worker = Worker(bucket, table, at_once=False)
        lease = await worker.begun()
        began = time.monotonic()
        assert await bucket.release(lease.id)
        assert time.monotonic() - began >= 0.2
        assert not worker.task.done()
        worker.may_end.set()
        await worker.task
        assert worker.seen == [{}]

    asyncio.run(main())


def test_the_callback_is_awaited_too_and_both_are_over_before_the_slot_is_free(bucket, table):
    seen = []

    async def main():
        go_on = asyncio.Event()

        async def told(lease):
            await go_on.wait()
            seen.append((lease.reason, leases_in(table)))

        worker = Worker(bucket, table, on_lost=told)
        lease = await worker.begun()
        ending = asyncio.create_task(bucket.release(lease.id))
        await worker.task  # the block's own end releases it only where it is told no more
        go_on.set()
        assert await ending
        assert [reason for reason, _ in seen] == [LossReason.RELEASED]

    asyncio.run(main())
    assert leases_in(table) == {}


def test_a_block_of_another_loop_is_waited_for_too(bucket, table):
    entered, ended, at = threading.Event(), [], []

    async def work():
        with pytest.raises(LeaseLost, match="by its id"):
            async with bucket.lease(timeout=5) as lease:
                at.append(lease)
                entered.set()
                try:
                    await asyncio.sleep(LONG)
                finally:
                    ended.append(leases_in(table))

    async def main():
        assert await bucket.release(at[0].id)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert entered.wait(60)
    asyncio.run(main())
    thread.join(60)
    assert ended == [{0: at[0].id}]


def test_a_task_that_ends_the_lease_of_its_own_block_is_its_holder(bucket, table):
    async def main():
        for end in (lambda lease: bucket.release(lease.id), lambda _: bucket.reset(), lambda lease: lease.release()):
            async with bucket.lease(timeout=5) as lease:
                assert await end(lease)
                assert leases_in(table) == {}
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert lease.reason is None
        async with bucket.lease(timeout=5) as lease:
            await bucket.close()
        assert lease.reason is None

    asyncio.run(main())


def test_the_lease_itself_is_its_holders_whichever_task_calls_it(bucket, table):
    async def main():
        async with bucket.lease(timeout=5) as lease:
            assert await asyncio.create_task(lease.release())
            await asyncio.sleep(0)
            with pytest.raises(LeaseLost, match="released"):
                lease.check()
        assert lease.reason is None

    asyncio.run(main())


def test_a_bucket_that_is_closed_ends_the_blocks_of_other_tasks_first(bucket, table, caplog):
    async def main():
        worker = Worker(bucket, table)
        lease = await worker.begun()
        with caplog.at_level(logging.WARNING, logger="ddb_lease"):
            await bucket.close()
        await worker.task
        assert worker.error.reason is LossReason.RELEASED
        assert worker.seen == [{0: lease.id}]

    asyncio.run(main())
    assert leases_in(table) == {}
    assert "its bucket was closed" in caplog.text


def test_a_cancelled_release_by_id_is_finished_in_the_background(aio_bucket, table, monkeypatch):
    monkeypatch.setattr(lease_end, "RELEASE_SECONDS", 600.0)  # what sends it if nobody asks comes too late for the test

    async def main():
        bucket = aio_bucket(max_tokens=1, timing=Timing(front_end_skew=0.1, grace=0.5))
        worker = Worker(bucket, table, at_once=False)
        lease = await worker.begun()
        ending = asyncio.create_task(bucket.release(lease.id))
        await asyncio.to_thread(eventually, lambda: lease.reason)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await asyncio.to_thread(eventually, lambda: not leases_in(table), within=60)
        worker.may_end.set()
        await worker.task

    asyncio.run(main())


def test_of_two_that_release_it_at_once_one_has_ended_it(bucket, table):
    async def main():
        worker = Worker(bucket, table)
        lease = await worker.begun()
        assert sorted(await asyncio.gather(*(bucket.release(lease.id) for _ in range(2)))) == [False, True]
        await worker.task

    asyncio.run(main())


def test_leases_taken_together_are_ended_under_their_block(bucket, table):
    async def main():
        told = []
        async with await acquire_all([bucket], timeout=5, on_lost=lambda lease: told.append(lease.reason)) as leases:
            assert await asyncio.create_task(bucket.release(leases.leases[0].id))
            assert leases.reason is LossReason.RELEASED
        assert told == [LossReason.RELEASED]
        async with await acquire_all([bucket], timeout=5) as leases:
            assert await bucket.release(leases.leases[0].id)
            assert leases.reason is None

    asyncio.run(main())


def test_a_task_that_is_dropped_with_its_loop_gives_its_lease_back(bucket, table):
    async def hold(entered):
        async with await bucket.acquire(timeout=5):
            entered.set()
            await asyncio.get_running_loop().create_future()

    async def main():
        entered = asyncio.Event()
        holding.append(asyncio.create_task(hold(entered)))
        await asyncio.wait_for(entered.wait(), LONG)

    loop, holding = asyncio.new_event_loop(), []
    loop.run_until_complete(main())
    loop.close()
    holding.clear()
    del loop
    gc.collect()
    eventually(lambda: not leases_in(table), within=60)


@pytest.mark.parametrize("close", [False, True], ids=["released", "closed"])
def test_a_block_whose_task_has_ended_is_not_waited_for(bucket, table, close):
    """As a fixture's, where a plug-in of pytest enters it in one task, and leaves it in another."""

    async def main():
        block = bucket.lease(timeout=5)
        lease = await asyncio.create_task(block.__aenter__())
        began = time.monotonic()
        await (bucket.close() if close else bucket.release(lease.id))
        assert time.monotonic() - began < PATIENT.grace - 1.0
        assert leases_in(table) == {}
        assert lease.reason is (None if close else LossReason.RELEASED)  # nobody works under what the closer closes
        if close:
            await block.__aexit__(None, None, None)
        else:
            with pytest.raises(LeaseLost, match="by its id"):
                await block.__aexit__(None, None, None)

    asyncio.run(main())


def test_a_cancelled_close_frees_no_slot_before_its_block_has_ended(bucket, table):
    async def main():
        worker = Worker(bucket, table, at_once=False)
        lease = await worker.begun()
        closing = asyncio.create_task(bucket.close())
        await asyncio.to_thread(eventually, lambda: lease.reason)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        # A worker that releases it at once needs some milliseconds; so this fails where it matters, and never by chance.
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            await asyncio.sleep(0.05)
            assert leases_in(table) == {0: lease.id}
        worker.may_end.set()
        await worker.task
        assert worker.seen == [{0: lease.id}]
        await asyncio.to_thread(eventually, lambda: not leases_in(table), within=60)

    asyncio.run(main())


def test_a_reset_that_fails_for_one_gives_the_others_back_all_the_same(aio_bucket, table):
    async def main():
        bucket = aio_bucket(max_tokens=3, timing=Timing(front_end_skew=0.1, grace=0.5))
        workers = [Worker(bucket, table, at_once=False) for _ in range(3)]
        leases = [await worker.begun() for worker in workers]
        resetting = asyncio.create_task(bucket.reset())
        await asyncio.to_thread(eventually, lambda: all(lease.reason for lease in leases))
        resetting.cancel()
        await asyncio.wait([resetting])
        await asyncio.to_thread(eventually, lambda: not leases_in(table), within=60)
        for worker in workers:
            worker.may_end.set()
            await worker.task

    asyncio.run(main())
