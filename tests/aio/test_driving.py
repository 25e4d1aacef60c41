"""Driving: few threads, wakes from any thread, one poll for a thousand waiting tasks, and independence of any one loop."""

import asyncio
import functools
import inspect
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ddb_lease import ConfigurationError, aio
from ddb_lease._protocol.messages import AtOnce, Done, Each, Look, Renew, Unsent
from ddb_lease.aio import LeaseBucket
from ddb_lease.aio.driver import Driver, Wakeup
from ddb_lease.aio.threads import Threads
from scripts.harness.inside import core_of
from tests.support import eventually, leases_in

CONTRACT = True  # the simulator's DynamoDB too
LONG = 60.0
ROOT = Path(__file__).resolve().parent.parent.parent
TOKENS = 10
TASKS = {"simulated": 1000, "ministack": 500, "embedded": 200}
"""By how fast they answer: it is a matter of seconds everywhere."""


def request_threads():
    return sum(thread.name == "ddb-lease-request" for thread in threading.enumerate())


# Threads.


def test_threads_are_started_as_needed_up_to_a_bound_and_end_when_idle(monkeypatch):
    eventually(lambda: request_threads() == 0, within=LONG)  # those of other tests
    monkeypatch.setattr("ddb_lease.aio.threads.IDLE_SECONDS", 0.05)
    threads, go_on = Threads(3), threading.Event()
    jobs = [threads.submit(functools.partial(go_on.wait, LONG)) for _ in range(10)]
    assert request_threads() == 3
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "ddb-lease-request")
    go_on.set()
    assert all(job.result(LONG) for job in jobs)
    eventually(lambda: request_threads() == 0)
    assert threads.submit(lambda: 7).result(LONG) == 7


def test_the_caller_gets_what_a_job_raises_and_a_cancelled_job_never_runs():
    threads, go_on, done = Threads(1), threading.Event(), []
    first = threads.submit(functools.partial(go_on.wait, LONG))
    never = threads.submit(lambda: done.append(1))
    failing = threads.submit(lambda: 1 / 0)
    assert never.cancel()
    go_on.set()
    assert first.result(LONG)
    with pytest.raises(ZeroDivisionError):
        failing.result(LONG)
    assert done == []


def test_where_no_thread_can_be_had_those_that_are_there_must_do(monkeypatch, caplog):
    threads, go_on = Threads(2), threading.Event()
    first = threads.submit(functools.partial(go_on.wait, LONG))

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        second = threads.submit(lambda: 2)
        with pytest.raises(RuntimeError):
            Threads(1).submit(lambda: 3)
    go_on.set()
    assert (first.result(LONG), second.result(LONG)) == (True, 2)
    assert "no thread can be started" in caplog.text


class Blocking:
    """The synchronous driver, as far as looks at once need it."""

    def __init__(self):
        self.by = None

    def perform_at_once(self, looks, *, observe):
        self.by = threading.current_thread().name
        return Each(answers=tuple(Done() for _ in looks))

    def not_sent(self, request, cause):
        return Unsent(cause=cause)


def two_looks():
    return (yield AtOnce(looks=(Look(limit=1, consistent=False), Look(limit=2, consistent=False))))


def driven(blocking, threads):
    async def main():
        return await Driver(blocking=blocking, threads=threads).run(two_looks(), Wakeup())

    return asyncio.run(main())


def test_looks_at_once_do_not_run_on_the_loop():
    blocking = Blocking()
    assert driven(blocking, Threads(1)) == Each(answers=(Done(), Done()))
    assert blocking.by == "ddb-lease-request"


def test_looks_at_once_count_as_not_sent_where_no_thread_can_be_had(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    answer = driven(Blocking(), Threads(1))
    assert [type(each) for each in answer.answers] == [Unsent, Unsent]


@pytest.mark.parametrize("most", [0, -1, 1.0, True, "x", 1001, None])
def test_a_bound_that_cannot_work_is_refused(aio_bucket, most):
    with pytest.raises(ConfigurationError, match="max_requests"):
        aio_bucket(max_requests=most)


@pytest.mark.parametrize("most", [1, 1000])
def test_the_least_bound_and_the_highest_are_taken(aio_bucket, most):
    assert aio_bucket(max_requests=most).name


@pytest.mark.parametrize("name", ["LeaseBucket", "Leader", "RateLimiter", "SlidingWindow"])
def test_sixteen_requests_may_be_in_flight_unless_another_bound_is_given(name):
    assert inspect.signature(getattr(aio, name)).parameters["max_requests"].default == 16


class Sending(Blocking):
    """A synchronous driver, as far as one request needs it."""

    def __init__(self, name):
        self.name = name

    def perform(self, request):
        return self.name, request

    def not_sent(self, request, cause):
        return self.name, request, str(cause)


LOOK = Look(limit=1, consistent=False)
NO_THREAD = "no thread was free to send the request in time: see `max_requests`"


def one_look():
    return (yield LOOK)


@pytest.mark.parametrize(
    ("begin_within", "within", "least"),
    [(0.01, None, 0.01), (0.01, LONG, 0.01), (None, 0.0, 0.25), (LONG, 0.0, 0.25)],
    ids=["the driver's time", "the sooner one is the driver's", "a late request", "the sooner one is the request's"],
)
def test_a_request_for_which_no_thread_comes_free_in_time_is_not_sent(begin_within, within, least):
    async def main():
        threads, go_on = Threads(1), threading.Event()
        busy = threads.submit(functools.partial(go_on.wait, LONG))
        driver = Driver(blocking=Sending("ours"), threads=threads, begin_within=begin_within)
        began = time.monotonic()
        assert await driver.run(one_look(), Wakeup(), within=within) == ("ours", LOOK, NO_THREAD)
        assert least <= time.monotonic() - began < LONG
        assert await driver.by(Sending("theirs")).run(one_look(), Wakeup(), within=within) == (
            "theirs",
            LOOK,
            NO_THREAD,
        )
        go_on.set()
        assert await asyncio.wrap_future(busy)
        assert await Driver(blocking=Sending("ours"), threads=threads).run(one_look(), Wakeup()) == ("ours", LOOK)

    asyncio.run(main())


# Bells.


def test_a_wakeup_ends_a_pause_from_any_thread_and_one_wake_ends_one_pause():
    async def main():
        wakeup = Wakeup()
        began = time.monotonic()
        wakeup.wake()
        await wakeup.pause(LONG)  # a wake that came before it counts
        waker = threading.Thread(target=wakeup.wake)
        waker.start()
        await wakeup.pause(LONG)
        waker.join()
        assert time.monotonic() - began < LONG / 2
        wakeup.wake()
        for _ in range(5):
            await asyncio.sleep(0)
        await wakeup.pause(LONG)  # and so does one that reached the loop before it
        assert time.monotonic() - began < LONG / 2
        wakeup.wake()
        await wakeup.pause(LONG)
        began = time.monotonic()
        await wakeup.pause(0.1)  # the wake that was meant for the last one reaches the loop now
        assert time.monotonic() - began > 0.05
        return wakeup

    wakeup = asyncio.run(main())
    wakeup.wake()  # its loop is closed: there is nothing to wake


# Waiting.


def test_a_thousand_waiting_tasks_share_ten_tokens_on_few_threads_and_two_requests_each(aio_bucket, engine, table):
    bucket, tasks = aio_bucket(max_tokens=TOKENS), TASKS[engine.name]
    held, most_threads, others = set(), 0, request_threads()

    async def work():
        nonlocal most_threads
        async with bucket.lease(timeout=LONG) as lease:
            assert lease.slot not in held
            held.add(lease.slot)
            most_threads = max(most_threads, request_threads())
            await asyncio.sleep(0)
            held.remove(lease.slot)

    async def main():
        first = [await bucket.acquire(timeout=5) for _ in range(TOKENS)]
        waiting = [asyncio.create_task(work()) for _ in range(tasks)]
        await asyncio.sleep(0)
        assert core_of(bucket).state.hints.waiting == tasks
        bucket.tap.clear()
        await asyncio.gather(*(lease.release() for lease in first))
        await asyncio.gather(*waiting)

    asyncio.run(main())
    sent = bucket.tap.count()
    sent["Release"] -= TOKENS
    assert (sent.pop("Claim"), sent.pop("Release")) == (tasks, tasks)
    assert sum(sent.values()) < 60, sent
    assert most_threads <= 16 + others
    assert leases_in(table) == {}
    assert core_of(bucket).state.hints.waiting == 0


def test_a_thousand_waiting_tasks_look_as_one_and_take_no_thread(aio_bucket):
    bucket = aio_bucket(max_tokens=1)

    async def main():
        lease = await bucket.acquire(timeout=5)
        before, looks = threading.active_count(), len(bucket.tap.of(Look))
        waiting = [asyncio.create_task(bucket.acquire(timeout=LONG)) for _ in range(1000)]
        await asyncio.wait(waiting, timeout=2.5)
        assert threading.active_count() <= before + 3
        assert len(bucket.tap.of(Look)) - looks <= 14  # one poller's share
        for task in waiting:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert core_of(bucket).state.hints.waiting == 0
        async with lease:
            assert set(bucket.tap.count()) <= {"Look", "Create", "Claim"}

    asyncio.run(main())


# Loops.


def test_a_blocked_loop_keeps_its_leases(aio_bucket):
    bucket = aio_bucket(lease_seconds=6)

    async def main():
        lease = await bucket.acquire(timeout=5)
        eventually(lambda: len(bucket.tap.of(Renew)) >= 4, within=LONG)  # on the loop's own thread: it is blocked
        lease.check()
        assert lease.held

    asyncio.run(main())


def test_one_bucket_serves_one_loop_after_another(aio_bucket, table):
    bucket = aio_bucket()
    lease = asyncio.run(bucket.acquire(timeout=5))
    assert lease.held
    assert asyncio.run(bucket.status()).leases[0].lease_id == lease.id
    asyncio.run(lease.renew())
    assert asyncio.run(lease.release())
    assert leases_in(table) == {}


def test_one_bucket_serves_several_loops_at_once_in_one_line(aio_bucket, in_thread, table):
    bucket = aio_bucket(max_tokens=1)

    async def work():
        for _ in range(5):
            async with bucket.lease(timeout=LONG) as lease:
                assert leases_in(table) == {0: lease.id}
        return True

    jobs = [in_thread(lambda: asyncio.run(work())) for _ in range(3)]
    assert all(job.result(LONG) for job in jobs)


def test_both_apis_share_one_bucket(aio_bucket, new_bucket):
    ours, theirs = aio_bucket(max_tokens=1), new_bucket(max_tokens=1)

    async def main():
        lease = theirs.acquire(timeout=5)
        assert await ours.try_acquire() is None
        assert await ours.release(lease.id)
        async with ours.lease(timeout=5):
            assert theirs.try_acquire() is None

    asyncio.run(main())


def test_a_decorated_coroutine_function_runs_under_a_lease_of_its_own(aio_bucket, table):
    bucket = aio_bucket()

    @bucket.leased(timeout=5)
    async def work(lease, *, more):
        "Words."
        assert leases_in(table) == {lease.slot: lease.id}
        return more

    assert asyncio.run(work(more=3)) == 3
    assert work.__doc__ == "Words."
    assert leases_in(table) == {}


def test_a_closed_bucket_acquires_no_more_and_its_waiters_raise(aio_bucket, table):
    bucket = aio_bucket(max_tokens=1)

    async def main():
        async with bucket:
            await bucket.acquire(timeout=5)
            waiting = asyncio.create_task(bucket.acquire())
            await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="closed"):
            await asyncio.wait_for(waiting, LONG)
        with pytest.raises(ConfigurationError, match="closed"):
            await bucket.acquire(timeout=5)

    asyncio.run(main())
    assert leases_in(table) == {}


# The process.


@pytest.fixture
def program(engine, bucket_name, table):
    """Runs a program on a bucket of its own process; returns what it printed."""
    if engine.name == "simulated":
        pytest.skip("its DynamoDB is in this process")

    def run(code):
        head = (
            "import asyncio, os, threading, time, sys\n"
            "from ddb_lease._runtime import process\nfrom ddb_lease import aio, LeaseLost, Timing\n"
            "from ddb_lease._runtime.runtime import Runtime\n"
            "from scripts.harness.holders import session\n"
            "from tests.support import Tap\n"
            "from ddb_lease._protocol.messages import Claim, Release\n"
            "tap = Tap()\n"
            f"bucket = aio.LeaseBucket({bucket_name!r}, max_tokens=3, lease_seconds=30, table='leases',\n"
            f"    session=session({engine.endpoint_url!r}), endpoint_url={engine.endpoint_url!r},\n"
            "    timing=Timing(front_end_skew=0.1), runtime=Runtime(wrap=tap.around))\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", head + code],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return run


@pytest.mark.parametrize("held_up", ["before", "after"])
def test_at_exit_what_is_held_and_what_a_cancelled_acquire_left_is_released(program, table, held_up):
    """The claim is held up until the exit has begun, before it is carried out or after."""
    out = program(
        "process.EXIT_SECONDS = 50.0\n"
        "begun, exiting = threading.Event(), threading.Event()\n"
        "def hold_up(_):\n"
        "    begun.set()\n"
        "    exiting.wait()\n"
        "    time.sleep(1.0)  # the exit has nothing else to do by now\n"
        "async def main():\n"
        "    await bucket.acquire(timeout=50)\n"
        "    tap.inject(Release, after=lambda _: exiting.set())\n"
        f"    tap.inject(Claim, {held_up}=hold_up)\n"
        "    task = asyncio.create_task(bucket.acquire(timeout=50))\n"
        "    await asyncio.to_thread(begun.wait)\n"
        "    task.cancel()\n"
        "asyncio.run(main())\n"
        "print(len(tap.of(Claim)), len(tap.of(Release)))\n"
    )
    assert out == ["2", "0"]
    assert leases_in(table) == {}


def test_a_request_that_hangs_keeps_no_interpreter_from_exiting(program):
    out = program(
        "process.EXIT_SECONDS = 0.3\n"
        "tap.inject(Claim, before=lambda _: threading.Event().wait())\n"
        "async def main():\n"
        "    try:\n"
        "        await asyncio.wait_for(bucket.acquire(), 1.0)\n"
        "    except asyncio.TimeoutError:\n"
        "        print('given up')\n"
        "asyncio.run(main())\n"
    )
    assert out == ["given", "up"], "and it ended within a minute"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_holds_nothing_and_may_acquire(program, table):
    out = program(
        "import warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "lease = asyncio.run(bucket.acquire(timeout=5))\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    async def child():\n"
        "        print(lease.held, await lease.lost(), await lease.release())\n"
        "        async with bucket.lease(timeout=5) as mine:\n"
        "            print(mine.slot != lease.slot, flush=True)\n"
        "    asyncio.run(child())\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "print(lease.held, len(asyncio.run(bucket.status()).leases))\n"
    )
    assert out == ["False", "forked", "False", "True", "True", "1"]
    assert leases_in(table) == {}


def test_a_bucket_is_made_outside_of_any_loop_and_logs_by_the_librarys_name(caplog, aio_bucket):
    with caplog.at_level(logging.INFO, "ddb_lease"):
        bucket = aio_bucket()
        assert isinstance(bucket, LeaseBucket)
        asyncio.run(bucket.acquire(timeout=5))
    assert {record.name for record in caplog.records if record.name.startswith("ddb")} == {"ddb_lease"}
