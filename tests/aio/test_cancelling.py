"""A cancelled task leaves no lease behind, wherever it is cancelled, and ends at once."""

import asyncio
import functools
import threading
import time

import pytest

from ddb_lease import LeaseLost
from ddb_lease._protocol.messages import Claim, Done, Look, Release, Renew
from ddb_lease.aio import threads
from scripts.harness.inside import async_core_of, core_of, held_of
from tests.support import LOST, eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too


def each_turn(engine):
    """After how many turns to cancel: every one on the simulator's DynamoDB; on the engines, which take longer, some."""
    return range(1, 1000, 1 if engine.name == "simulated" else 4)


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def cancel_after(count, bucket, work, *, twice=False):
    """Cancel some work after so many turns of the loop; returns whether it was still running."""
    task = asyncio.create_task(work)
    await turns(count)
    under_way = task.cancel()
    if twice:
        await turns(1)
        task.cancel()
    if under_way:
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await task
    await bucket.steps.land()
    return under_way


def nothing_is_left(bucket, table):
    return (
        not leases_in(table)
        and not core_of(bucket).leases
        and not core_of(bucket).owed
        and not async_core_of(bucket).debts
        and not core_of(bucket).state.hints.waiting
    )


def all_can_be_had(bucket):
    async def main():
        leases = [await bucket.try_acquire() for _ in range(3)]
        assert await bucket.try_acquire() is None
        for lease in leases:
            await lease.release()

    asyncio.run(main())


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("state", ["cold", "warm"])
def test_an_acquire_that_is_cancelled_at_any_turn_of_the_loop_leaves_nothing_leased(
    engine, aio_bucket, table, state, twice
):
    bucket = aio_bucket(stepped=True)
    for count in each_turn(engine):
        if state == "cold":
            table.delete_all()
            bucket = aio_bucket(stepped=True)
        if not asyncio.run(cancel_after(count, bucket, acquire_and_hold(bucket), twice=twice)):
            break
        eventually(lambda bucket=bucket: nothing_is_left(bucket, table))
    assert count > (15 if state == "cold" else 4)
    eventually(lambda: nothing_is_left(bucket, table))
    all_can_be_had(bucket)


async def acquire_and_hold(bucket):
    lease = await bucket.acquire(timeout=60)
    try:
        await asyncio.sleep(0)
    finally:
        held_of(lease).release()  # for the moment, on this very thread: cancelling a release is another test's


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_a_release_that_is_cancelled_at_any_turn_of_the_loop_is_done_all_the_same(engine, aio_bucket, table, twice):
    bucket = aio_bucket(stepped=True)

    async def main(count):
        lease = await bucket.acquire(timeout=60)
        under_way = await cancel_after(count, bucket, lease.release(), twice=twice)
        assert not lease.held
        return under_way

    for count in each_turn(engine):
        under_way = asyncio.run(main(count))
        eventually(lambda: nothing_is_left(bucket, table))
        if not under_way:
            break
    assert count > 4
    all_can_be_had(bucket)


def test_a_block_that_is_cancelled_at_any_turn_of_the_loop_leaves_nothing_leased(engine, aio_bucket, table):
    bucket = aio_bucket(stepped=True)

    async def block():
        async with bucket.lease(timeout=60):
            await asyncio.sleep(0)

    for count in each_turn(engine):
        under_way = asyncio.run(cancel_after(count, bucket, block()))
        eventually(lambda: nothing_is_left(bucket, table))
        if not under_way:
            break
    assert count > 8
    all_can_be_had(bucket)


def test_a_bucket_whose_closing_is_cancelled_at_any_turn_gives_all_back(engine, aio_bucket, table):
    async def main(count):
        bucket = aio_bucket(stepped=True)
        for _ in range(3):
            await bucket.acquire(timeout=60)
        return bucket, await cancel_after(count, bucket, bucket.close())

    for count in each_turn(engine):
        bucket, under_way = asyncio.run(main(count))
        eventually(lambda bucket=bucket: nothing_is_left(bucket, table))
        if not under_way:
            break
    assert count > 4


def test_closing_many_leases_in_an_outage_has_one_deadline_for_all(aio_bucket, table):
    bucket = aio_bucket(max_tokens=40, max_requests=2)
    go_on, answering = threading.Event(), bucket.tap.send

    def hang(request):
        if isinstance(request, Release):
            go_on.wait(60)
        return answering(request)

    async def main():
        leases = [await bucket.acquire(timeout=60) for _ in range(40)]
        bucket.tap.send = hang
        began = time.monotonic()
        await bucket.close()
        assert time.monotonic() - began < 30.0, "each of them hangs for a minute"
        assert not any(lease.held for lease in leases)

    asyncio.run(main())
    assert len(leases_in(table)) == 40
    go_on.set()
    eventually(lambda: nothing_is_left(bucket, table), within=60)  # workers go on


def test_a_renewal_that_is_cancelled_at_any_turn_costs_no_lease(engine, aio_bucket, table):
    bucket = aio_bucket(stepped=True)

    async def main():
        lease = await bucket.acquire(timeout=60)
        for count in each_turn(engine):
            if not await cancel_after(count, bucket, lease.renew()):
                break
            assert lease.held
            assert held_of(lease).attempts.serial.acquire(timeout=10), "the next renewal would wait for ever"
            held_of(lease).attempts.serial.release()
        assert count > 4
        await lease.release()

    asyncio.run(main())
    assert leases_in(table) == {}


def test_a_buckets_block_that_is_cancelled_at_any_turn_leaves_nothing_leased(engine, aio_bucket, table):
    async def block(bucket):
        async with bucket:
            await bucket.acquire(timeout=60)
            await asyncio.sleep(0)

    for count in each_turn(engine):
        bucket = aio_bucket(stepped=True)
        under_way = asyncio.run(cancel_after(count, bucket, block(bucket)))
        eventually(lambda bucket=bucket: nothing_is_left(bucket, table))
        if not under_way:
            break
    assert count > 8


@pytest.mark.parametrize("commits", ["before", "after"])
def test_a_task_cancelled_during_a_request_does_not_wait_for_it_and_its_lease_is_released(aio_bucket, table, commits):
    bucket = aio_bucket()
    asyncio.run(give_back(bucket))
    begun, go_on = threading.Event(), threading.Event()
    bucket.tap.inject(Claim, **{"after" if commits == "before" else "before": lambda _: (begun.set(), go_on.wait(30))})

    async def main():
        task = asyncio.create_task(bucket.acquire(timeout=60))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task  # though the request hangs
        assert len(async_core_of(bucket).debts) == 1

    asyncio.run(main())  # the loop is closed before the answer comes
    go_on.set()
    eventually(lambda: nothing_is_left(bucket, table))
    assert bucket.tap.of(Release)
    all_can_be_had(bucket)


async def give_back(bucket):
    await (await bucket.acquire(timeout=60)).release()


def test_closing_waits_for_what_cancelled_acquires_left(aio_bucket, table):
    bucket = aio_bucket()
    begun, go_on = threading.Event(), threading.Event()
    bucket.tap.inject(Claim, after=lambda _: (begun.set(), go_on.wait(30)))

    async def main():
        await give_back(aio_bucket())
        task = asyncio.create_task(bucket.acquire(timeout=60))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        closing = asyncio.create_task(bucket.close())
        await turns(20)
        assert not closing.done()
        go_on.set()
        await closing

    asyncio.run(main())
    assert leases_in(table) == {}


def test_a_request_that_waits_for_its_turn_is_never_sent_once_its_task_is_cancelled(aio_bucket, table):
    bucket = aio_bucket(max_requests=1)
    asyncio.run(give_back(bucket))
    begun, go_on = threading.Event(), threading.Event()

    async def main():
        bucket.tap.inject(Look, before=lambda _: (begun.set(), go_on.wait(30)))
        looking = asyncio.create_task(bucket.status())
        await asyncio.to_thread(begun.wait, 30)
        bucket.tap.clear()
        task = asyncio.create_task(bucket.acquire(timeout=60))
        await turns(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await looking
        await bucket.status()

    asyncio.run(main())
    assert bucket.tap.of(Claim) == []
    all_can_be_had(bucket)


def test_a_waiter_that_is_cancelled_wakes_the_next(aio_bucket, monkeypatch):
    monkeypatch.setattr(
        "ddb_lease._protocol.retry.TURN_SECONDS", 600.0
    )  # a waiter out of turn sleeps this long unless it is woken
    bucket, holder = aio_bucket(max_tokens=1), aio_bucket(max_tokens=1)

    async def main():
        lease = await holder.acquire(timeout=5)
        first = asyncio.create_task(bucket.acquire(timeout=60))
        await asyncio.to_thread(eventually, lambda: core_of(bucket).state.hints.waiting == 1)
        second = asyncio.create_task(bucket.acquire(timeout=60))
        await asyncio.to_thread(eventually, lambda: core_of(bucket).state.hints.waiting == 2)
        first.cancel()
        await lease.release()
        won = await asyncio.wait_for(second, 20)
        assert won.held
        assert first.cancelled()

    asyncio.run(main())


def test_a_task_cancelled_while_answers_are_lost_releases_what_was_won(aio_bucket, table):
    bucket = aio_bucket()
    asyncio.run(give_back(bucket))

    async def main():
        task = asyncio.create_task(bucket.acquire(timeout=60))
        loop = asyncio.get_running_loop()
        bucket.tap.inject(Claim, answer=LOST, after=lambda _: loop.call_soon_threadsafe(task.cancel))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    eventually(lambda: nothing_is_left(bucket, table))
    all_can_be_had(bucket)


def test_a_claim_without_an_answer_that_arrives_after_its_release_is_released_again(aio_bucket, table):
    bucket = aio_bucket()
    asyncio.run(give_back(bucket))
    released = threading.Event()
    bucket.tap.inject(Release, after=lambda _: released.set())

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(bucket.acquire(timeout=60))
        cancel = functools.partial(loop.call_soon_threadsafe, task.cancel)
        bucket.tap.inject(Claim, answer=LOST, commits=False, after=lambda _: cancel())
        with pytest.raises(asyncio.CancelledError):
            await task

    bucket.tap.clear()
    asyncio.run(main())
    assert released.wait(60), "it found nothing to release"
    (claim,) = bucket.tap.of(Claim)
    assert isinstance(bucket.tap.resend(claim), Done)
    eventually(lambda: nothing_is_left(bucket, table), within=60)
    all_can_be_had(bucket)


def test_a_release_that_is_cancelled_while_a_renewal_is_under_way_is_done_all_the_same(aio_bucket, table):
    bucket = aio_bucket()
    begun, go_on = threading.Event(), threading.Event()

    async def main():
        lease = await bucket.acquire(timeout=60)
        bucket.tap.inject(Renew, before=lambda _: (begun.set(), go_on.wait(30)))
        renewing = asyncio.create_task(lease.renew())
        await asyncio.to_thread(begun.wait, 30)
        releasing = asyncio.create_task(lease.release())
        await turns(10)
        assert bucket.tap.of(Release) == [], "it waits"
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        go_on.set()
        with pytest.raises(LeaseLost):
            await renewing
        return lease

    lease = asyncio.run(main())
    eventually(lambda: nothing_is_left(bucket, table))
    eventually(lambda: held_of(lease).attempts.serial.acquire(blocking=False))  # a waiter that gave up blocks nobody


def test_where_no_thread_is_to_be_had_a_release_hides_no_outcome_and_is_sent_all_the_same(
    aio_bucket, table, monkeypatch
):
    bucket, start, before = aio_bucket(), threading.Thread.start, set(threading.enumerate())

    def runs():
        return any(each.name == "ddb-lease-request" for each in threading.enumerate() if each not in before)

    def refuse(thread):
        if thread.name == "ddb-lease-request":
            raise RuntimeError("can't start new thread")
        start(thread)

    async def main():
        lease = await bucket.acquire(timeout=60)
        assert runs()
        eventually(lambda: not runs(), within=60)  # those that are idle end
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ZeroDivisionError):
            async with lease:
                raise ZeroDivisionError
        assert not lease.held

    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01)
    asyncio.run(main())
    eventually(lambda: leases_in(table) == {}, within=60)
