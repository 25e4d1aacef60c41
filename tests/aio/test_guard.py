"""A lost lease ends the block that it guards, and nothing else does; callbacks and waiters learn of the loss."""

# ruff: noqa: PT012 - what loses the lease stands in the block that the loss ends

import asyncio
import threading
import traceback

import pytest

from ddb_lease import ConfigurationError, LeaseLost, LossReason
from scripts.harness.inside import core_of, held_of
from tests.support import eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
LONG = 30.0
NEW = hasattr(asyncio, "timeout")  # Python 3.11: tasks count their cancellations


async def lose(lease, table):
    """Its item is deleted, and a renewal on some thread finds out."""
    table.delete(lease.slot)
    with pytest.raises(LeaseLost):
        await asyncio.to_thread(held_of(lease).renew)


def being_lost(lease, table):
    return asyncio.create_task(lose(lease, table))


@pytest.fixture
def bucket(aio_bucket):
    return aio_bucket(max_tokens=1)


def test_a_lost_lease_cancels_its_block_and_the_block_says_that_it_is_lost(bucket, table):
    async def main():
        lease = await bucket.acquire(timeout=5)
        with pytest.raises(LeaseLost) as raised:
            async with lease.guard():
                losing = being_lost(lease, table)
                await asyncio.sleep(LONG)
        assert raised.value.reason is LossReason.GONE
        assert raised.value.lease_id == lease.id
        assert isinstance(raised.value.__context__, asyncio.CancelledError)
        await losing
        if NEW:
            assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)  # and continues as if nothing had happened

    asyncio.run(main())


def test_what_is_printed_of_a_loss_is_short_and_says_where_the_block_was(bucket, table):
    async def inner():
        await asyncio.sleep(LONG)

    async def main():
        async with bucket.lease(timeout=5) as lease:
            losing.append(being_lost(lease, table))
            await inner()

    losing = []
    with pytest.raises(LeaseLost) as raised:
        asyncio.run(main())
    printed = "".join(traceback.format_exception(raised.value))
    assert "CancelledError" not in printed
    assert printed.count("Traceback") == 1
    assert "in check" not in printed
    line = main.__code__.co_firstlineno + 3
    if NEW:
        assert printed.rstrip().endswith(f"Its block was cancelled at {__file__}:{line}, in main.")


def test_the_block_of_a_bucket_is_guarded_and_released(bucket, table):
    async def main():
        with pytest.raises(LeaseLost):
            async with bucket.lease(timeout=5) as lease:
                losing = being_lost(lease, table)
                await asyncio.sleep(LONG)
        await losing
        async with bucket.lease(timeout=5) as lease:
            assert leases_in(table) == {0: lease.id}
        assert leases_in(table) == {}

    asyncio.run(main())


def test_a_group_of_tasks_in_the_block_is_cancelled_as_a_whole(bucket, table):
    ended = []

    async def work():
        try:
            await asyncio.sleep(LONG)
        finally:
            ended.append(asyncio.current_task())

    async def group():
        if NEW:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(work())
        else:
            await asyncio.gather(*(work() for _ in range(3)))

    async def main():
        with pytest.raises(LeaseLost):
            async with bucket.lease(timeout=5) as lease:
                losing = being_lost(lease, table)
                await group()
        assert len(ended) == 3
        await losing

    asyncio.run(main())


@pytest.mark.parametrize("order", ["before the loss", "after the loss"])
def test_a_cancellation_by_somebody_else_is_never_swallowed(bucket, table, monkeypatch, order):
    if order == "before the loss" and not NEW:
        pytest.skip("Python 3.10 does not count cancellations: documented")
    begun = asyncio.Event()

    async def guarded(lease):
        async with lease.guard():
            begun.set()
            await asyncio.sleep(LONG)

    async def main():
        lease = await bucket.acquire(timeout=5)
        task = asyncio.create_task(guarded(lease))
        await begun.wait()
        table.delete(lease.slot)
        # All on the loop's own thread: its next turn begins with the guard's cancellation.
        monkeypatch.setattr(core_of(bucket).runtime.heartbeat(), "call_back", lambda job, **_: job())
        with pytest.raises(LeaseLost):
            held_of(lease).renew()
        # Both come before the task has its turn.
        if order == "before the loss":
            task.cancel()
        else:
            asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_cancellation_without_a_loss_passes_and_the_slot_is_given_back(bucket, table):
    async def main():
        begun = asyncio.Event()

        async def guarded():
            async with bucket.lease(timeout=5):
                begun.set()
                await asyncio.sleep(LONG)

        task = asyncio.create_task(guarded())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert leases_in(table) == {}


def test_another_error_passes_whether_the_lease_was_lost_or_not(bucket, table):
    async def main():
        lease = await bucket.acquire(timeout=5)
        with pytest.raises(ZeroDivisionError):
            async with lease.guard():
                raise ZeroDivisionError
        assert lease.held
        with pytest.raises(ZeroDivisionError):
            async with lease.guard():
                losing = being_lost(lease, table)
                try:
                    await asyncio.sleep(LONG)
                except asyncio.CancelledError:
                    raise ZeroDivisionError from None
        await losing
        if NEW:
            assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())


def test_a_block_that_does_not_let_the_loop_run_cannot_be_ended_but_says_that_its_lease_is_lost(bucket, table):
    async def main():
        lease = await bucket.acquire(timeout=5)
        with pytest.raises(LeaseLost):
            async with lease.guard():
                table.delete(lease.slot)
                with pytest.raises(LeaseLost):
                    held_of(lease).renew()
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the late notice of the loss cancels nothing any more

    asyncio.run(main())


def test_a_block_whose_lease_is_released_in_it_goes_on(bucket):
    async def main():
        lease = await bucket.acquire(timeout=5)
        async with lease.guard():
            assert await lease.release()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return True

    assert asyncio.run(main())


def test_a_block_cannot_be_entered_with_a_lease_that_is_not_held_nor_a_guard_be_used_twice(bucket):
    async def main():
        lease = await bucket.acquire(timeout=5)
        guard = lease.guard()
        async with guard:
            pass
        with pytest.raises(RuntimeError, match="once"):
            async with guard:
                pass
        await lease.release()
        with pytest.raises(LeaseLost):
            async with lease.guard():
                raise AssertionError("entered")
        with pytest.raises(LeaseLost):
            async with lease:
                raise AssertionError("entered")

    asyncio.run(main())


@pytest.mark.skipif(not NEW, reason="asyncio.timeout is of Python 3.11")
def test_timeouts_around_and_within_a_guarded_block_keep_their_meaning(bucket, table):
    async def main():
        lease = await bucket.acquire(timeout=5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), lease.guard():
                await asyncio.sleep(LONG)
        async with lease.guard():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(LONG)
        with pytest.raises(LeaseLost):
            async with asyncio.timeout(LONG), lease.guard(), asyncio.timeout(LONG):
                losing = being_lost(lease, table)
                await asyncio.sleep(LONG)
        await losing

    asyncio.run(main())


class Uncounted(asyncio.Task):
    """A task of Python 3.10, which does not count its cancellations."""

    @property
    def cancelling(self):
        raise AttributeError

    uncancel = cancelling


def test_python_310_tells_its_own_cancellation_by_its_words(bucket, table):
    async def guarded(lease, *, stays):
        async with lease.guard():
            losing = being_lost(lease, table)
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                await losing
                if not stays:
                    raise
                struck.set()
                await asyncio.sleep(LONG)

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(LeaseLost):
            await Uncounted(guarded(await bucket.acquire(timeout=5), stays=False), loop=loop)
        for words in ((), ("x",)):
            task = Uncounted(guarded(await bucket.acquire(timeout=5), stays=True), loop=loop)
            await struck.wait()
            struck.clear()
            task.cancel(*words)
            with pytest.raises(asyncio.CancelledError):
                await task

    struck = asyncio.Event()
    asyncio.run(main())


# Callbacks and waiters.


def test_a_loss_is_awaited_and_so_is_a_release(bucket, table):
    async def main():
        lease = await bucket.acquire(timeout=5)
        waiting = [asyncio.create_task(lease.lost()) for _ in range(2)]
        given_up = asyncio.create_task(lease.lost())
        await asyncio.sleep(0)
        given_up.cancel()
        await lose(lease, table)
        assert await asyncio.gather(*waiting) == [LossReason.GONE] * 2
        assert await lease.lost() is lease.reason is LossReason.GONE
        late = []
        held_of(lease).end.watch(lambda: late.append(lease.reason))
        assert late == [LossReason.GONE], "who begins to watch at the moment of the loss misses nothing"
        await lease.release()
        lease = await bucket.acquire(timeout=5)
        waiting = asyncio.create_task(lease.lost())
        await asyncio.sleep(0)
        await lease.release()
        assert await waiting is await lease.lost() is LossReason.RELEASED
        assert lease.reason is None

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["a function", "a coroutine function"])
def test_the_lost_callback_runs_on_the_loop_with_the_lease(bucket, table, kind):
    async def main():
        told = asyncio.get_running_loop().create_future()

        def call(lease):
            told.set_result((lease, threading.current_thread()))

        async def call_later(lease):
            await asyncio.sleep(0)
            call(lease)

        lease = await bucket.acquire(timeout=5, on_lost=call if kind == "a function" else call_later)
        await lose(lease, table)
        assert await asyncio.wait_for(told, LONG) == (lease, threading.current_thread())

    asyncio.run(main())


def test_a_callback_that_is_set_after_the_loss_is_called_at_once_and_one_that_fails_harms_nothing(
    bucket, table, caplog
):
    async def main():
        lease = await bucket.acquire(timeout=5)
        await lose(lease, table)
        lease.on_lost = lambda lease: 1 / 0
        await asyncio.to_thread(eventually, lambda: "lost-callback" in caplog.text)
        async with bucket.lease(timeout=5) as other:
            assert other.held

    asyncio.run(main())


def test_the_slot_of_a_revoked_lease_is_free_once_the_callback_has_returned_and_the_block_has_ended(bucket, table):
    seen = []

    async def main():
        called, go_on, out = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def told(lease):
            called.set()
            await go_on.wait()
            seen.append(leases_in(table))

        async def work(lease):
            with pytest.raises(LeaseLost):
                async with lease.guard():
                    try:
                        await asyncio.sleep(LONG)
                    finally:
                        await out.wait()
                        seen.append(leases_in(table))

        lease = await bucket.acquire(timeout=5, on_lost=told)
        working = asyncio.create_task(work(lease))
        assert await bucket.revoke(lease.id)
        with pytest.raises(LeaseLost):
            await lease.renew()
        await asyncio.wait_for(called.wait(), LONG)
        go_on.set()
        await asyncio.to_thread(eventually, lambda: len(seen) == 1)
        out.set()
        await working
        await asyncio.to_thread(eventually, lambda: not leases_in(table))
        assert seen == [{0: lease.id}] * 2

    asyncio.run(main())


def test_a_callback_whose_loop_is_closed_is_not_called_and_the_log_says_so(bucket, table, caplog):
    called = []
    lease = asyncio.run(bucket.acquire(timeout=5, on_lost=called.append))
    table.set(lease.slot, revoked="by an operator")
    with pytest.raises(LeaseLost):
        held_of(lease).renew()
    eventually(lambda: "its loop is closed" in caplog.text)
    eventually(lambda: not leases_in(table))
    assert called == []


def test_a_loss_that_is_found_on_the_loop_itself_calls_back_without_blocking_it(bucket, table, monkeypatch):
    async def main():
        told = asyncio.Event()
        lease = await bucket.acquire(timeout=5, on_lost=lambda _: told.set())
        monkeypatch.setattr(core_of(bucket).runtime.heartbeat(), "call_back", lambda job, **_: job())
        table.delete(lease.slot)
        with pytest.raises(LeaseLost):
            held_of(lease).renew()  # on the loop's own thread
        await asyncio.wait_for(told.wait(), LONG)

    asyncio.run(main())


def test_of_two_tasks_that_enter_one_block_the_second_is_refused_and_nothing_is_left(aio_bucket, table):
    async def main():
        bucket = aio_bucket(max_tokens=2)
        block = bucket.lease(timeout=5)

        async def enter():
            async with block:
                await asyncio.sleep(0.1)

        first, second = await asyncio.gather(enter(), enter(), return_exceptions=True)
        assert first is None
        assert isinstance(second, ConfigurationError)

    asyncio.run(main())
    assert leases_in(table) == {}
