"""Leases that nobody can release any more, and acquires that wait for their own process: both are said."""

import asyncio
import gc
import re
import subprocess
import sys
import threading
import tracemalloc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ddb_lease import AcquireTimeout, LeaseBucket, LossReason, aio
from ddb_lease._runtime.own_holders import WARN_SECONDS
from ddb_lease._state import log
from scripts.harness.inside import core_of, held_of
from tests.conftest import TABLE
from tests.support import DatedTap, eventually, leases_in

CONTRACT = True
NOT_ON = ("ministack",)  # what a process says of its own leases does not depend on the engine


@pytest.fixture
def said(caplog):
    """What was warned of, and what was logged at WARNING or above."""

    class Said:
        def __init__(self):
            self.warnings = []

        @property
        def logged(self):
            return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    said = Said()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        said.warnings = caught
        yield said


def ours(said):
    """The ResourceWarnings of dropped leases: other tests' sockets may be collected here too."""
    return [str(warning.message) for warning in said.warnings if "was dropped unreleased" in str(warning.message)]


HERE = rf"{re.escape(__file__)}:\d+"


# Dropped


def test_a_dropped_lease_is_said_with_its_name_its_age_and_its_place_and_stays_held(new_bucket, table, said):
    bucket = new_bucket()
    lease = bucket.acquire(timeout=5)
    lease_id, slot = lease.id, lease.slot
    del lease
    (warning,) = ours(said)
    expected = (
        rf"lease {lease_id} on slot {slot} of bucket '{bucket.name}' was dropped unreleased, acquired \d+ s ago at "
        rf"{HERE}: it is renewed until the bucket is closed or the process ends\. Use `with`, call release\(\), or keep"
    )
    assert re.match(expected, warning)
    eventually(lambda: any(re.match(expected, line) for line in said.logged))
    assert leases_in(table) == {slot: lease_id}
    assert bucket.release(lease_id)
    assert leases_in(table) == {}


def test_a_lease_that_was_entered_by_hand_and_dropped_is_said_too(new_bucket, said):
    lease = new_bucket().acquire(timeout=5)
    lease.__enter__()
    del lease
    gc.collect()
    assert len(ours(said)) == 1


def test_a_lease_dropped_in_a_cycle_is_said_when_the_garbage_collector_finds_it(new_bucket, said):
    class Cycle: ...

    cycle = Cycle()
    cycle.itself, cycle.lease = cycle, new_bucket().acquire(timeout=5)
    del cycle
    gc.collect()
    assert len(ours(said)) == 1


@pytest.mark.parametrize("way", ["with", "release", "lost", "callback", "close", "by id", "kept"])
def test_a_lease_that_somebody_ends_or_keeps_is_not_complained_of(environment, said, way):
    bucket = environment.bucket()
    lease = bucket.acquire(timeout=5, on_lost=print if way == "callback" else None)
    gone = weakref.ref(lease)
    match way:
        case "with":
            with lease:
                pass
        case "release":
            lease.release()
        case "lost":
            held_of(lease).loss.announce(held_of(lease).belief.expire(10**9, slept=False))
            assert lease.lost is LossReason.UNREACHABLE
        case "close":
            bucket.close()
        case "by id":
            assert bucket.release(lease.id)
    kept = lease if way == "kept" else None
    del lease
    gc.collect()
    if way in {"callback", "kept"}:
        assert gone() is not None, "its callback gets it"
    assert ours(said) == []
    del kept


def test_an_acquire_that_is_abandoned_says_nothing(new_bucket, said, monkeypatch):
    bucket = new_bucket()

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddb_lease.bucket.hand_out", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(timeout=5)
    gc.collect()
    assert ours(said) == []


def in_a_pool(job):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(job).result()


def in_a_thread(job):
    thread = threading.Thread(target=job)
    thread.start()
    thread.join()


def by_to_thread(job):
    asyncio.run(asyncio.to_thread(job))


@pytest.mark.parametrize("run", [in_a_pool, in_a_thread, by_to_thread])
def test_the_place_is_one_in_the_users_code_or_none(new_bucket, said, run):
    """What a thread of a pool calls itself has no caller among the user's functions."""
    bucket = new_bucket(max_tokens=2)

    def acquire():
        bucket.acquire(timeout=5)

    run(bucket.try_acquire)
    run(acquire)
    gc.collect()
    by_itself, by_us = ours(said)
    assert re.search(r"acquired \d+ s ago: it is renewed", by_itself)
    assert re.search(rf"acquired \d+ s ago at {HERE}: it is renewed", by_us)


def test_the_whole_stack_is_said_where_tracemalloc_traces(new_bucket, said):
    bucket = new_bucket()
    tracemalloc.start(20)
    try:
        bucket.acquire(timeout=5)
    finally:
        tracemalloc.stop()
    bucket.acquire(timeout=5)
    warning, short = ours(said)
    assert "Acquired at" not in short
    assert "Acquired at (most recent call last):\n" in warning
    assert f'File "{__file__}"' in warning.partition("Acquired at")[2]


def test_a_lease_of_asyncio_that_is_dropped_is_said_too(engine, session, table, said):
    async def main():
        how = {"session": session, "endpoint_url": engine.endpoint_url, "table": TABLE}
        async with aio.LeaseBucket(table.bucket, max_tokens=3, **how) as bucket:
            async with bucket.lease(timeout=30):
                pass
            await (await bucket.acquire(timeout=30)).release()
            assert ours(said) == []
            await bucket.acquire(timeout=30)
            await asyncio.create_task(bucket.acquire(timeout=30))

    asyncio.run(main())
    gc.collect()
    with_place, in_a_task = ours(said)
    assert re.search(f"s ago at {HERE}: it is renewed", with_place)
    assert re.search("s ago: it is renewed", in_a_task), "a task of its own was not called from anywhere"


PROGRAM = """
import logging, sys, warnings
from ddb_lease import LeaseBucket, client_config
from ddb_lease.testing import TestEnvironment
from boto3 import Session

logging.basicConfig(format="%(levelname)s %(message)s")
session = Session(region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local")
bucket = LeaseBucket(sys.argv[2], max_tokens=3, table=sys.argv[3], session=session, endpoint_url=sys.argv[1])

def work():
    with bucket.acquire(timeout=60):
        pass
    return bucket.acquire(timeout=60)

held_until_the_end = work()
"""


@pytest.mark.parametrize("engine", ["embedded"], indirect=True, scope="session")  # what a program can reach
def test_a_program_that_keeps_its_lease_until_it_ends_says_nothing(engine, table):
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "always::ResourceWarning:ddb_lease",
            "-c",
            PROGRAM,
            engine.endpoint_url,
            table.bucket,
            TABLE,
        ],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "dropped" not in done.stderr
    assert leases_in(table) == {}


# Waiting for oneself


def test_a_thread_that_waits_for_its_own_lease_is_warned_after_some_seconds(environment, said):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    began = environment.clock.steady()
    with pytest.raises(AcquireTimeout) as raised:
        bucket.acquire(timeout=20)
    (line,) = [line for line in said.logged if "is full" in line]
    holds = rf"this process holds it \(lease {lease.id} on slot 0, acquired \d+ s ago at {HERE}\)"
    assert re.search(rf"bucket '{bucket.name}' is full, and {holds}: this acquire waits for its own process", line)
    assert re.search(rf"no slot of bucket '{bucket.name}' came free in 20 s: {holds}", str(raised.value))
    assert environment.clock.steady() - began >= WARN_SECONDS


def test_a_short_wait_is_not_warned_of_but_its_timeout_says_who_holds(environment, said):
    bucket = environment.bucket(max_tokens=1)
    lease = bucket.acquire(timeout=5)
    for timeout in (0, WARN_SECONDS - 1):
        with pytest.raises(AcquireTimeout, match=f"this process holds it .lease {lease.id}"):
            bucket.acquire(timeout=timeout)
    assert [line for line in said.logged if "is full" in line] == []


def test_a_cell_of_a_notebook_that_runs_again_is_told_of_the_lease_before(environment, new_bucket, said):
    """The second run makes another bucket, and its lease takes the first one's name."""
    before, tap = environment.bucket(max_tokens=1), DatedTap(environment.clock)
    # One process, and so one heartbeat.
    again = new_bucket(max_tokens=1, tap=tap, runtime=replace(core_of(before).runtime, wrap=tap.around))
    first = before.acquire(timeout=5).id
    with pytest.raises(AcquireTimeout, match=rf"lease {first} on slot 0, .*, whose handle was dropped\)"):
        again.acquire(timeout=20)
    (line,) = [line for line in said.logged if "is full" in line]
    assert "whose handle was dropped" in line


def test_several_leases_are_named_up_to_three(environment):
    bucket = environment.bucket(max_tokens=5)
    leases = [bucket.acquire(timeout=5) for _ in range(5)]
    with pytest.raises(AcquireTimeout, match="this process holds 5 of the 5 leases") as raised:
        bucket.acquire(timeout=1)
    assert sum(lease.id in str(raised.value) for lease in leases) == 3
    assert str(raised.value).endswith("; ...)")


def test_a_wait_that_others_can_end_is_not_warned_of(environment, said):
    """Threads of a pool wait for one another all day; and so do processes."""
    mine = environment.bucket(max_tokens=2)
    other = environment.bucket(max_tokens=2)
    own, others = mine.acquire(timeout=5), other.acquire(timeout=5)
    with pytest.raises(AcquireTimeout, match="this process holds 1 of the 2 leases"):
        mine.acquire(timeout=20)
    others.release()

    def in_another_thread():
        held.append(mine.acquire(timeout=5))

    held = []
    own.release()
    thread = threading.Thread(target=lambda: [in_another_thread(), in_another_thread()])
    thread.start()
    thread.join(60)
    with pytest.raises(AcquireTimeout, match="this process holds 2 of the 2 leases"):
        mine.acquire(timeout=20)
    assert [line for line in said.logged if "is full" in line] == []


def test_nothing_is_said_where_others_hold_all(environment, said):
    mine, other = environment.bucket(max_tokens=1), environment.bucket(max_tokens=1)
    lease = other.acquire(timeout=5)
    with pytest.raises(AcquireTimeout) as raised:
        mine.acquire(timeout=20)
    assert re.search(r"came free in 20 s: held by \S+:\d+ \(for \d+s\)\Z", str(raised.value))
    assert [line for line in said.logged if "is full" in line] == []
    lease.release()


def test_a_task_that_waits_for_its_own_lease_is_warned_and_one_that_waits_for_another_is_not(
    engine, session, table, said, monkeypatch
):
    monkeypatch.setattr("ddb_lease._runtime.bucket_core.WARN_SECONDS", 0.0)

    async def main():
        how = {"session": session, "endpoint_url": engine.endpoint_url, "table": TABLE}
        async with aio.LeaseBucket(table.bucket, max_tokens=1, **how) as bucket, bucket.lease(timeout=30) as lease:
            with pytest.raises(AcquireTimeout, match=f"this process holds it .lease {lease.id}"):
                await asyncio.create_task(bucket.acquire(timeout=0.1))
            log.flush(30)
            assert [line for line in said.logged if "is full" in line] == []
            with pytest.raises(AcquireTimeout, match=f"this process holds it .lease {lease.id}"):
                await bucket.acquire(timeout=0.1)

    asyncio.run(main())
    log.flush(30)
    assert len([line for line in said.logged if "is full" in line]) == 1


def test_a_forked_childs_or_a_released_lease_is_not_ours(new_bucket):
    bucket = new_bucket(max_tokens=1)
    bucket.acquire(timeout=5).release()
    assert core_of(bucket).own_holders.ours() == []
    assert isinstance(bucket, LeaseBucket)
