"""What happens to leases when processes die, stop, fork, end and are interrupted, and when engines stop. Real processes.

Bounds on time are generous: they tell "some time" from "never", on a machine that may be busy.
"""

from __future__ import annotations

import signal
import time

import pytest

from scripts.harness.holders import (
    PATIENCE,
    SECOND,
    UNANSWERED,
    Job,
    Wire,
    be_interrupted,
    end_while_holding,
    fork_amid_requests,
    fork_with_every_lock_held,
    hold,
    hold_many,
    hold_while_children_are_born,
    note_held,
    started,
    wait_for_a_token,
)
from scripts.harness.referee import Log, now
from tests.conftest import TABLE
from tests.support import Table

LEASE = 6.0
"""Seconds: of a lease whose end a test waits for. A client waits a tenth of it for an answer."""
RETURN_SECONDS = 2.0
"""By how much later than its expiry a dead holder's slot comes back at most."""
SLACK = 30.0
"""For round trips and a busy machine."""


@pytest.fixture
def log(tmp_path) -> Log:
    return Log(tmp_path / "notes")


@pytest.fixture
def job(engine, bucket_name, log):
    """Makes jobs on this test's bucket."""

    def make(**settings) -> Job:
        standard = {"endpoint_url": engine.endpoint_url, "bucket": bucket_name, "table": TABLE, "log": str(log.path)}
        return Job(**standard | settings)

    return make


def wall_ms() -> float:
    return time.time() * 1000


def eventually(condition, what: str, *, every: float = 0.2):
    """Wait until a condition holds; returns what it returned."""
    ends = now() + PATIENCE
    while now() < ends:
        found = condition()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"not in {PATIENCE:g} s: {what}")


def leased(table) -> dict[int, dict]:
    """The slots that carry a lease."""
    return {number: slot for number, slot in table.slots().items() if "lease_id" in slot}


# ---- Killed and stopped.


def test_a_killed_holders_slot_is_had_again_after_its_lease_and_soon_after(job, log, table, new_bucket):
    with started(hold, job(tokens=1, lease_seconds=LEASE)) as [victim]:
        first = victim.expect("held")
        victim.signal(signal.SIGKILL)
        victim.wait()
        expires_at = table.get(first["slot"])["expires_at"]
        with new_bucket(max_tokens=1).acquire(timeout=LEASE + RETURN_SECONDS + SLACK) as lease:
            won_at = wall_ms()
            note_held(job(number=1), lease)
            assert expires_at < won_at < expires_at + (RETURN_SECONDS + SLACK) * 1000
            assert lease.fence > first["fence"]
    assert not log.complaints(1)


def test_a_stopped_holder_finds_out_before_it_works_on(job, log, table, new_bucket):
    with started(hold, job(tokens=1, lease_seconds=LEASE)) as [sleeper]:
        sleeper.expect("held")
        sleeper.signal(signal.SIGSTOP)
        successor = new_bucket(max_tokens=1).acquire(timeout=LEASE + RETURN_SECONDS + SLACK)
        note_held(job(number=1), successor)
        sleeper.signal(signal.SIGCONT)
        lost = sleeper.expect("lost")
        assert lost["reason"] in {"suspended", "taken"}
        assert lost["times"] == 1
        # Whatever the sleeper still sent or cleans up, the slot is its successor's.
        time.sleep(1.5)
        successor.renew()
        note_held(job(number=1), successor)
        assert table.get(successor.slot)["lease_id"] == successor.id
        successor.release()
    assert not log.complaints(1)


# ---- Forked.


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_a_forked_child_holds_nothing_releases_nothing_and_can_acquire_by_itself(job, table, how):
    # The child renews once, in a tenth of the lease; the parent's next renewal, after a third of it, is waited for.
    with started(hold_while_children_are_born, job(how=how, lease_seconds=12)) as [parent]:
        held = parent.expect("held")
        parent.tell()
        child = parent.expect("in child")
        assert (child["held"], child["reason"], child["released"]) == (False, "forked", False)
        assert child["own_slot"] != held["slot"]
        assert parent.expect("child")["exit_code"] == 0
        assert parent.expect("parent")["held"]
        before = table.get(held["slot"])
        assert before["lease_id"] == held["lease_id"]
        eventually(
            lambda: table.get(held["slot"])["expires_at"] > before["expires_at"], "the parent renews after the fork"
        )
        parent.tell()
        assert parent.expect("released")["released"]


def test_a_forked_child_releases_its_own_leases_when_it_ends(job, table):
    with started(hold_while_children_are_born, job(how="os.fork")) as [parent]:
        held = parent.expect("held")
        parent.tell()
        parent.expect("in child")
        parent.expect("child")
        assert [slot["lease_id"] for slot in leased(table).values()] == [held["lease_id"]]


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_children_forked_amid_requests_of_other_threads_can_acquire(job, how):
    with started(fork_amid_requests, job(how=how, tokens=8, threads=4, rounds=8)) as [parent]:
        born = parent.expect("born")
        assert born["codes"] == [0] * 8
        assert born["held"]


def test_a_child_forked_while_every_lock_is_held_can_acquire(job):
    with started(fork_with_every_lock_held, job()) as [parent]:
        born = parent.expect("born")
        assert born["codes"] == [0]
        assert born["held"]
        assert born["locks"] >= 9


# ---- Ended.


@pytest.mark.parametrize(
    ("how", "code"), [("end", 0), ("sys.exit", 7), ("uncaught exception", 1), ("sys.exit in with", 7)]
)
def test_a_process_that_ends_releases_what_it_holds(job, table, how, code):
    with started(end_while_holding, job(how=how, leases=2)) as [holder]:
        holder.expect("held")
        assert len(leased(table)) == 2
        holder.tell()
        assert holder.wait() == code
    assert not leased(table)


@pytest.mark.parametrize("outage", ["cut", "hang"])
def test_a_process_that_ends_ends_in_bounded_time_though_the_engine_is_gone(engine, job, table, outage):
    with (
        Wire(engine.endpoint_url) as wire,
        started(end_while_holding, job(endpoint_url=wire.endpoint_url, how="end", leases=3, lease_seconds=12)) as [
            holder
        ],
    ):
        holder.expect("held")
        getattr(wire, outage)()
        holder.tell()
        assert holder.wait(30.0) == 0
        assert len(leased(table)) == 3


# ---- Interrupted.


def test_an_interrupt_ends_a_waiting_acquire_and_leaves_no_lease(job, table, new_bucket):
    with new_bucket(max_tokens=1).acquire(timeout=10) as ours:
        with started(wait_for_a_token, job(tokens=1)) as [waiter]:
            waiter.expect("waiting")
            time.sleep(1.0)
            waiter.signal(signal.SIGINT)
            assert waiter.wait() == -signal.SIGINT
        assert [slot["lease_id"] for slot in leased(table).values()] == [ours.id]
    assert not leased(table)


@pytest.mark.parametrize("how", ["by hand", "with"])
def test_an_interrupt_at_any_instant_of_an_acquire_and_release_leaves_no_lease(engine, job, table, how):
    with started(be_interrupted, job(how=how, tokens=8, rounds=60, seconds=120.0)) as [clumsy]:
        looked = clumsy.expect("looked", within=150)
        # Python drops an interrupt that strikes in the finaliser of a file or socket: hence not all of them.
        assert looked["interrupted"] > 45
        assert not looked["lost"]
        # Between acquire and the `with` block's beginning there is an instant that no `__enter__` can guard. What
        # is had then is known to its bucket, renewed, and released at the end of the process.
        assert looked["held"] == 0 or how == "with"
        clumsy.tell()
        clumsy.wait()
    assert not leased(table)


# ---- Engines that go.


def test_a_lease_survives_the_restart_of_the_engine(engine, new_bucket, table):
    with new_bucket(lease_seconds=30).acquire(timeout=60) as lease:
        before = table.get(lease.slot)
        engine.restart()
        eventually(lambda: table.get(lease.slot)["expires_at"] > before["expires_at"], "the heartbeat goes on")
        lease.check()
        assert table.get(lease.slot)["lease_id"] == lease.id


@pytest.mark.parametrize("outage", ["cut", "hang"])
def test_an_outage_longer_than_the_lease_is_told_before_anyone_else_can_hold_the_slot(engine, job, table, outage):
    with (
        Wire(engine.endpoint_url) as wire,
        # A long grace is what a busy machine may be late by.
        started(hold, job(endpoint_url=wire.endpoint_url, tokens=1, lease_seconds=10.0, grace=3.2)) as [holder],
    ):
        held = holder.expect("held")
        getattr(wire, outage)()
        lost = holder.expect("lost")
        assert lost["reason"] in UNANSWERED
        assert lost["times"] == 1
        assert lost["called_at_ms"] < table.get(held["slot"])["expires_at"]


# ---- Many.


def test_two_hundred_leases_of_one_process_are_all_renewed(job, table):
    tables = [table, Table(table.client, table.table, table.bucket + SECOND)]

    def expiries() -> dict[str, int]:
        return {slot["lease_id"]: slot["expires_at"] for t in tables for slot in leased(t).values()}

    with started(hold_many, job(tokens=100, lease_seconds=60)) as [holder]:
        ids = holder.expect("held")["lease_ids"]
        before = expiries()
        assert len(before) == 200
        assert sorted(before) == sorted(ids)

        def all_renewed() -> bool:
            after = expiries()
            return all(after[lease_id] > before[lease_id] for lease_id in ids)

        # Seldom: where a busy machine reads two hundred slots all the time, the engine has no time for renewals.
        eventually(all_renewed, "all are renewed", every=3.0)
        holder.tell()
        assert holder.expect("counted")["held"] == 200
        holder.wait()
    assert not expiries()
