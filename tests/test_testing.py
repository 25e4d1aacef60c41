"""The test kit for users: it behaves as documented, and as production does."""

import asyncio
import inspect
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ddb_lease import (
    AcquireTimeout,
    ConfigurationError,
    LeaseBucket,
    LeaseLost,
    LossReason,
    StoreUnavailable,
    Timing,
    aio,
    local,
)
from ddb_lease.testing import Stage, TestEnvironment
from ddb_lease.testing.wakeup import TimeSkippingWakeup
from tests.pages import Snippets
from tests.support import eventually

pytest_plugins = ["ddb_lease.testing", "pytester"]

LOSSES = ["taken", "gone", "revoked", "unreachable", "suspended"]
SNIPPETS = Snippets("docs/testing.md")
PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
LONG = 120.0


@pytest.fixture(scope="session")
def lease_engine(engine):
    """Each engine of this suite in turn."""
    return engine


@pytest.fixture
def environment(lease_environment):
    return lease_environment


@pytest.fixture
def bucket(lease_bucket):
    return lease_bucket


def items(environment, lease_table):
    """The table's items, as they are."""
    client = lease_table["session"].client("dynamodb", endpoint_url=lease_table["endpoint_url"])
    return client.scan(TableName=lease_table["table"], ConsistentRead=True)["Items"]


# Leases of asyncio.


def aio_bucket(environment, **settings):
    return aio.LeaseBucket("tasks", **({"max_tokens": 1} | settings), **environment.connect())


@pytest.mark.parametrize("reason", LOSSES)
def test_a_lease_of_asyncio_is_lost_in_each_way(environment, reason):
    calls = []

    async def main():
        async with aio_bucket(environment) as bucket:
            lease = await bucket.acquire(timeout=60, on_lost=lambda lost: calls.append(lost.reason))
            environment.advance(600)
            lease.check()
            environment.lose(lease, reason=reason)
            assert lease.reason == reason
            with pytest.raises(LeaseLost):
                lease.check()
            assert await lease.lost() == reason
            await asyncio.to_thread(eventually, lambda: calls, within=LONG)

    asyncio.run(asyncio.wait_for(main(), LONG))
    assert calls == [reason]


def test_a_block_that_an_asyncio_lease_guards_is_cancelled(environment):
    async def main():
        async with aio_bucket(environment) as bucket, bucket.lease(timeout=60):
            (lease,) = environment.leases
            environment.lose(lease, reason="gone")
            await asyncio.sleep(LONG)

    with pytest.raises(LeaseLost, match="gone"):
        asyncio.run(asyncio.wait_for(main(), LONG))


def test_a_waiting_task_lets_the_environments_time_pass(environment):
    async def main():
        async with aio_bucket(environment) as bucket, bucket.lease(timeout=60):
            began = environment.clock.steady()
            with pytest.raises(AcquireTimeout):
                await bucket.acquire(timeout=300)
            assert environment.clock.steady() - began == pytest.approx(300, abs=5)

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_a_task_that_waits_for_a_permit_lets_the_environments_time_pass(environment):
    async def main():
        async with aio.RateLimiter("tasks", rate=1, per=60, burst=1, **environment.connect()) as limiter:
            began = environment.clock.steady()
            for _ in range(3):
                await limiter.acquire(timeout=600)
            assert environment.clock.steady() - began == pytest.approx(120, abs=5)

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_a_lease_of_another_environment_is_not_lost_here(environment, lease_table):
    with TestEnvironment(**lease_table) as elsewhere:
        lease = elsewhere.bucket().acquire()
        with pytest.raises(ConfigurationError, match="no bucket in this environment"):
            environment.lose(lease, reason="taken")
        lease.check()


def test_the_page_shows_the_defaults_that_there_are():
    calls = re.findall(r"`(?:with )?environment\.(\w+)\((.*?)\):?`", PAGE.read_text())
    assert len(calls) >= 8
    for name, shown in calls:
        parameters = inspect.signature(getattr(TestEnvironment, name)).parameters
        for parameter, value in re.findall(r"(\w+)=([^,]+)", shown):
            if value == "...":
                assert parameters[parameter].default is inspect.Parameter.empty, (name, parameter)
            else:
                assert repr(parameters[parameter].default) == value, (name, parameter)


# Time.


def test_a_lease_is_renewed_while_time_passes(environment, bucket):
    lease = bucket.acquire()
    environment.advance(600)
    lease.check()
    assert lease.remaining > 30
    assert environment.clock.steady() == pytest.approx(1_600)


def test_time_passes_the_same_in_every_run(lease_table):
    def remains():
        with TestEnvironment(**lease_table) as environment:
            leases = [environment.bucket(max_tokens=2).acquire() for _ in range(2)]
            seen = []
            for _ in range(40):
                environment.advance(5.5)
                seen += [lease.remaining for lease in leases]
            return [round(left, 6) for left in seen]

    assert remains() == remains()


def test_the_service_sees_the_time_that_the_holder_sees(environment, bucket, lease_table):
    bucket.acquire()
    environment.advance(300)
    (expires_at,) = [int(item["expires_at"]["N"]) for item in items(environment, lease_table) if "expires_at" in item]
    assert 30 < expires_at / 1000 - environment.clock.wall() < 62
    (seen,) = environment.bucket(bucket.name).status().leases
    assert seen.age_seconds == pytest.approx(300, abs=2)


def test_what_another_process_does_not_renew_can_be_had_when_it_has_expired(environment, bucket):
    theirs = environment.bucket(bucket.name)
    lease = theirs.acquire()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=20)
    with environment.outage():
        environment.advance(63)
    assert lease.lost is LossReason.UNREACHABLE
    assert bucket.try_acquire().fence > lease.fence


def test_waiting_takes_the_stages_time_and_leases_are_renewed_meanwhile(environment, bucket):
    lease = bucket.acquire()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=90)
    assert 1_090 <= environment.clock.steady() < 1_100
    lease.check()


def test_a_waiter_is_served_when_a_stranger_releases(environment, bucket, in_thread):
    (theirs,) = environment.fill(bucket)
    waiter = in_thread(bucket.acquire)
    theirs.release()
    assert waiter.result(LONG).held


def test_a_wait_that_nobody_ends_is_ended(lease_table):
    with TestEnvironment(longest_wait=20, **lease_table) as environment:
        bucket = environment.bucket()
        environment.fill(bucket)
        with pytest.raises(RuntimeError, match="in vain"):
            bucket.acquire()
        assert environment.clock.steady() < 1_030


def test_whoever_has_waited_for_as_long_as_is_allowed_waits_no_longer():
    waits = []
    wakeup = TimeSkippingWakeup(let_pass=lambda seconds, **_: waits.append(seconds) or seconds, patience=20)
    wakeup.pause(12)
    wakeup.sleep(8)
    for wait in (wakeup.pause, wakeup.sleep):
        with pytest.raises(RuntimeError, match="^waited 20 s of simulated time in vain"):
            wait(1)
    assert waits == [12, 8]


def test_a_sleep_that_is_shorter_than_the_lease_costs_nothing(environment, bucket):
    lease = bucket.acquire()
    environment.suspend(30)
    lease.check()
    assert lease.remaining > 50, "it was renewed on waking up"


def test_all_that_is_held_is_lost_by_a_longer_sleep_and_strangers_live_on(environment, bucket):
    other = environment.bucket(max_tokens=2)
    leases = [bucket.acquire(), other.acquire()]
    (theirs,) = environment.fill(other)
    environment.suspend(90)
    assert [lease.lost for lease in leases] == [LossReason.SUSPENDED] * 2
    theirs.check()


def test_a_clock_that_stood_still_is_found_out_by_the_next_renewals(environment, bucket):
    lease = bucket.acquire()
    before = environment.clock.steady()
    environment.stand_still(120)
    assert environment.clock.steady() == before
    assert lease.held, "nothing tells it, yet"
    environment.advance(20)
    assert lease.lost


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_passes_forwards_only(environment, seconds):
    with pytest.raises(ConfigurationError, match="seconds"):
        environment.advance(seconds)


# Losing.


@pytest.mark.parametrize("reason", LOSSES)
def test_a_lease_is_lost_for_the_reason_that_was_asked_for_and_told_before_the_call_returns(
    environment, bucket, reason
):
    told = []
    lease = bucket.acquire(on_lost=lambda lease: told.append((lease.lost, threading.current_thread())))
    environment.advance(100)
    environment.lose(lease, reason=reason)
    assert told == [(reason, threading.current_thread())]
    assert lease.lost == reason
    with pytest.raises(LeaseLost) as raised:
        lease.check()
    assert raised.value.reason == reason
    environment.advance(100)
    assert told == [(reason, threading.current_thread())], "once"
    assert bucket.acquire(timeout=5).fence > lease.fence, "the slot is free by now"


@pytest.mark.parametrize("reason", LOSSES)
def test_losing_one_lease_is_no_concern_of_others(environment, bucket, reason):
    kept = environment.bucket(max_tokens=2)
    others = [kept.acquire(), environment.bucket(kept.name).acquire(timeout=5)]
    environment.lose(bucket.acquire(), reason=reason)
    for lease in others:
        lease.check()


@pytest.mark.parametrize("reason", LOSSES)
def test_a_callback_may_release_the_lease_without_waiting_for_the_renewal_that_found_it_lost(
    environment, bucket, reason
):
    released = []

    def on_lost(lease):
        try:
            released.append(lease.release())
        except StoreUnavailable:
            released.append(None)  # while its process is cut off

    began = environment.clock.steady()
    lease = bucket.acquire(on_lost=on_lost)
    environment.lose(lease, reason=reason)
    assert len(released) == 1
    assert environment.clock.steady() - began < 62


@pytest.mark.parametrize("reason", ["taken", "gone", "revoked"])
def test_what_others_do_to_a_slot_is_found_without_waiting(environment, bucket, reason):
    lease = bucket.acquire()
    before = environment.clock.steady()
    environment.lose(lease, reason=reason)
    assert environment.clock.steady() == before


def test_a_lease_is_lost_by_what_loses_leases_in_production(environment, lease_table):
    def table():
        return {item["sk"]["S"]: set(item) for item in items(environment, lease_table)}

    bucket = environment.bucket()
    environment.lose(bucket.acquire(), reason="gone")
    assert "slot#00000" not in table()
    environment.lose(bucket.acquire(), reason="taken")
    assert "lease_id" not in table()["slot#00000"]
    environment.lose(bucket.acquire(), reason="revoked")
    assert {"revoked", "lease_id"} <= table()["slot#00000"], "no callback: it is the holder's to release"


def test_a_lease_of_many_is_lost_alone(environment):
    bucket = environment.bucket(max_tokens=3)
    leases = [bucket.acquire() for _ in range(3)]
    environment.lose(leases[1], reason="gone")
    assert [lease.lost for lease in leases] == [None, LossReason.GONE, None]
    environment.advance(100)
    assert environment.leases == [leases[0], leases[2]]


@pytest.mark.parametrize("reason", [*LossReason, "elsewhere"])
def test_only_what_loses_leases_is_a_reason(environment, bucket, reason):
    lease = bucket.acquire()
    if reason in LOSSES:
        environment.lose(lease, reason=reason)
        assert lease.lost is reason
    else:
        with pytest.raises(ConfigurationError, match="taken, gone, revoked"):
            environment.lose(lease, reason=reason)
        lease.check()


def test_what_is_not_held_cannot_be_lost(environment, bucket):
    lease = bucket.acquire()
    lease.release()
    with pytest.raises(LeaseLost):
        environment.lose(lease, reason="gone")


def test_an_environment_loses_no_lease_of_another(environment, bucket, lease_table):
    with TestEnvironment(**lease_table) as other:
        lease = other.bucket().acquire()
        with pytest.raises(ConfigurationError, match="no bucket in this environment"):
            environment.lose(lease, reason="gone")
        lease.check()


def test_in_an_outage_nobody_finds_out_what_others_did(environment, bucket):
    lease = bucket.acquire()
    with environment.outage():
        with pytest.raises(StoreUnavailable):
            environment.lose(lease, reason="taken")
        lease.check()
    environment.advance(20)
    assert lease.lost is LossReason.TAKEN


# Outages.


def test_an_outage_that_ends_before_the_deadline_is_outlived(environment, bucket):
    lease = bucket.acquire()
    with environment.outage():
        environment.advance(30)
        lease.check()
    environment.advance(120)
    lease.check()


@pytest.mark.parametrize("answers_only", [False, True])
def test_an_outage_loses_a_lease_at_its_deadline_and_nothing_can_be_had_in_it(environment, bucket, answers_only):
    lease = bucket.acquire()
    with environment.outage(answers_only=answers_only):
        environment.advance(70)
        assert lease.lost is LossReason.UNREACHABLE
        with pytest.raises(StoreUnavailable):
            bucket.acquire(timeout=20)
        with pytest.raises(StoreUnavailable):
            environment.bucket(bucket.name).status()
    environment.advance(70)
    assert bucket.acquire(timeout=5).held


def test_requests_arrive_where_only_answers_are_lost(environment, bucket):
    lease = bucket.acquire()
    with environment.outage(answers_only=True), pytest.raises(StoreUnavailable):
        lease.release()
    assert bucket.status().leases == ()

    lease = bucket.acquire()
    with environment.outage(), pytest.raises(StoreUnavailable):
        lease.release()
    assert [held.lease_id for held in bucket.status().leases] == [lease.id]


def test_an_outage_ends_with_its_block_whatever_happens_in_it(environment, bucket):
    with pytest.raises(ZeroDivisionError), environment.outage():
        raise ZeroDivisionError
    assert bucket.acquire(timeout=5).held


def test_there_is_one_outage_at_a_time(environment):
    with environment.outage(), pytest.raises(ConfigurationError, match="already"), environment.outage():
        raise AssertionError("entered")


# Buckets.


def test_a_bucket_that_was_never_used_is_filled_with_its_own_settings(environment):
    bucket = environment.bucket(max_tokens=3, lease_seconds=30)
    theirs = environment.fill(bucket)
    assert sorted(lease.slot for lease in theirs) == [0, 1, 2]
    assert bucket.try_acquire() is None
    assert (bucket.status().max_tokens, bucket.status().lease_seconds) == (3, 30.0)
    environment.advance(300)
    assert bucket.try_acquire() is None, "strangers renew"
    theirs[1].release()
    assert bucket.acquire(timeout=60).slot == theirs[1].slot
    assert environment.fill(bucket) == []


def test_strangers_take_only_what_is_free_and_what_has_run_out(environment):
    bucket = environment.bucket(max_tokens=3)
    mine, dead = bucket.acquire(), environment.bucket(bucket.name).acquire(timeout=5)
    environment.lose(dead, reason="suspended")
    environment.advance(dead.grace + 3)
    assert len(environment.fill(bucket)) == 2
    mine.check()
    assert environment.leases == [mine], "strangers' apart"


def test_the_shortest_of_leases_can_be_filled_and_taken(environment):
    bucket = environment.bucket(lease_seconds=1, timing=Timing(front_end_skew=0.1, grace=0.1))
    environment.lose(bucket.acquire(), reason="taken")
    (theirs,) = environment.fill(bucket)
    environment.advance(10)
    theirs.check()


def test_code_may_make_its_buckets_by_itself(environment):
    run_on = environment.connect()
    first = LeaseBucket("first", max_tokens=1, **run_on)
    second = LeaseBucket("second", max_tokens=1, **run_on)
    leases = [first.acquire(), second.acquire()]
    environment.advance(100)
    assert environment.leases == leases
    environment.lose(leases[0], reason="gone")
    environment.suspend(90)
    assert [lease.lost for lease in leases] == [LossReason.GONE, LossReason.SUSPENDED]


def test_no_two_buckets_have_one_name_unless_it_is_given(environment):
    assert environment.bucket().name != environment.bucket().name
    assert environment.bucket("mine").name == environment.bucket("mine").name == "mine"


def test_a_closed_environment_holds_nothing_and_its_buckets_are_closed(lease_table):
    with TestEnvironment(**lease_table) as environment:
        made = environment.bucket()
        leases = [made.acquire(), LeaseBucket("by-itself", max_tokens=1, **environment.connect()).acquire()]
        environment.fill(environment.bucket(max_tokens=2))
    assert not any(lease.held or lease.lost for lease in leases)
    assert not any("lease_id" in item for item in items(environment, lease_table))
    with pytest.raises(ConfigurationError, match="closed"):
        made.try_acquire()


def test_each_test_has_a_table_of_its_own_on_real_time(lease_table, lease_engine):
    with LeaseBucket("jobs", max_tokens=1, **lease_table) as bucket:
        assert bucket.acquire(timeout=30).held
    assert lease_table["endpoint_url"] == lease_engine.endpoint_url


def test_no_thread_is_started(environment, bucket):
    before = set(threading.enumerate())
    environment.lose(bucket.acquire(), reason="revoked")
    environment.advance(100)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("ddb-lease")]


# In the hands of users.


@pytest.fixture
def page(pytester):
    """The files of the docs page."""
    files = {}
    for snippet in SNIPPETS.of():
        name = re.match(r"# (\S+)\n", snippet.block.text)
        assert name, "each block has its file's name in the first line"
        files[name[1]] = snippet.program(pytester.path / "ran")
    return files


def test_the_page_says_nothing_that_does_not_run(page, pytester):
    theirs = ("conftest.py", "report.py", "test_report.py", "test_import.py", "test_threads.py")
    for name in theirs:
        (pytester.path / name).write_text(page[name])
    tests = sum(page[name].count("\ndef test_") for name in theirs) + len(LOSSES) - 1
    done = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", timeout=LONG)
    done.assert_outcomes(passed=tests)


def test_what_the_page_says_of_other_engines_and_frameworks_runs(page, pytester, monkeypatch):
    monkeypatch.setenv("DDB_LEASE_LOCAL_DIR", str(pytester.path / "engine"))
    try:
        (pytester.path / "conftest.py").write_text(page["conftest.py"] + page["elsewhere/conftest.py"])
        (pytester.path / "test_it.py").write_text(
            "def test_it(lease_bucket, lease_engine):\n"
            "    import os\n"
            "    assert lease_engine.pid != os.getpid()\n"
            "    with lease_bucket.acquire() as lease:\n"
            "        assert lease.held\n"
        )
        pytester.runpytest_subprocess("-W", "error", timeout=LONG).assert_outcomes(passed=1)
        script = page["without_pytest.py"]
        subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=LONG)
    finally:
        local.stop()


def test_a_conftest_that_also_imports_from_it_is_not_warned(pytester):
    pytester.makeconftest("from ddb_lease.testing import Stage\npytest_plugins = ['ddb_lease.testing']\n")
    pytester.makepyfile("def test_it(lease_bucket): assert lease_bucket.try_acquire().release()")
    pytester.runpytest_subprocess("-W", "error", timeout=LONG).assert_outcomes(passed=1)


def test_the_environment_has_its_old_names_too(lease_environment, lease_stage):
    assert lease_stage is lease_environment
    assert Stage is TestEnvironment


def test_nobody_who_does_not_ask_has_the_fixtures(pytester):
    pytester.makepyfile("def test_it(lease_bucket): pass")
    done = pytester.runpytest_subprocess(timeout=LONG)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*fixture 'lease_bucket' not found*"])


def test_the_page_names_every_fixture_and_every_call():
    text = PAGE.read_text()
    fixtures = re.findall(
        r"^def (lease_\w+)\(", Path(sys.modules["ddb_lease.testing.fixtures"].__file__).read_text(), re.MULTILINE
    )
    assert len(fixtures) == 6
    for name in fixtures:
        assert f"| `{name}` |" in text
    for name in vars(TestEnvironment):
        assert name.startswith("_") or name == "close" or f"environment.{name}" in text, name
