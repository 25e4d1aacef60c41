"""What happens to the order of waiters when some of them die or stop. Real processes.

Who comes when is told by tickets in the table, and judged by notes: no test measures how quickly a machine works. Bounds
on time are generous; but a ticket of the dead lasts for a minute, so who is served before has passed over it.
"""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest

from scripts.harness.holders import PATIENCE, started
from scripts.harness.order_judge import overtaken, read_notes
from scripts.harness.queuers import DIES, QueueJob, wait_in_order
from scripts.harness.referee import Log, note, now
from tests.conftest import TABLE

LEASE = 8.0

PASSED_SECONDS = 40.0
"""Within which a dead waiter is passed over, on a busy machine; its ticket lasts for 60 s."""


@pytest.fixture
def line(engine, bucket_name, table, tmp_path):
    """Waiters of this test's bucket, one after another, and what they noted."""
    return Line(engine.endpoint_url, bucket_name, table, tmp_path)


class Line:
    """Jobs for waiters; and what the table and the notes show of them."""

    def __init__(self, endpoint_url, bucket, table, folder):
        self.order, self.log, self.table = folder / "order", Log(folder / "held"), table
        self._standard = {
            "endpoint_url": endpoint_url,
            "bucket": bucket,
            "order": str(self.order),
            "log": str(self.log.path),
        }

    def job(self, number, **settings) -> QueueJob:
        return QueueJob(**self._standard, number=number, **settings)

    def tickets(self) -> dict[str, str]:
        """The tickets' owners, by key."""
        return {key: item["owner"] for key, item in self.table.all().items() if key.startswith("wait#")}

    def stands(self, number) -> str:
        """Wait until a waiter stands in the queue; returns its ticket's key."""
        key = self.eventually(lambda: next((k for k, who in self.tickets().items() if who == f"waiter-{number}"), ""))
        note(self.order, job=number, what="stands")
        return key

    def eventually(self, condition):
        ends = now() + PATIENCE
        while now() < ends:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"not in {PATIENCE:g} s; the tickets are {self.tickets()}")

    def complaints(self, tokens, dead=()):
        notes = read_notes(self.order)
        return self.log.complaints(tokens) + [f"{a} by {b}" for a, b in overtaken(notes, dead=frozenset(dead))]


def full(new_bucket, tokens, lease_seconds=30.0):
    """A bucket whose tokens are all held, by one lease."""
    bucket = new_bucket(max_tokens=tokens, lease_seconds=lease_seconds, order="fifo", table=TABLE)
    return bucket.acquire(timeout=PATIENCE, count=tokens)


@pytest.mark.parametrize(("count", "how"), [(1, "killed"), (2, "killed"), (1, DIES)])
def test_a_dead_head_is_passed_over_and_those_behind_it_are_served_in_order(line, new_bucket, count, how):
    held = full(new_bucket, count)
    jobs = [line.job(1, tokens=count, count=count, how="" if how == "killed" else how)]
    jobs += [line.job(number, tokens=count, count=count) for number in (2, 3)]
    with started(wait_in_order, jobs[0]) as [head]:
        line.stands(1)
        with started(wait_in_order, jobs[1]) as [second]:
            line.stands(2)
            with started(wait_in_order, jobs[2]) as [third]:
                line.stands(3)
                if how == "killed":
                    head.signal(signal.SIGKILL)
                    head.wait()
                held.release()
                for waiter in (second, third):
                    waiter.expect("served", within=PASSED_SECONDS)
                    waiter.tell()
                    assert waiter.expect("released")["released"]
                    waiter.wait()
                assert head.wait() == -signal.SIGKILL
    assert not line.tickets(), "whoever was served has removed the dead one's"
    assert not line.complaints(count, dead=[1])


def test_a_stopped_head_is_passed_over_and_returns_to_its_place(line, new_bucket):
    held = full(new_bucket, 1)
    with started(wait_in_order, line.job(1, tokens=1)) as [sleeper]:
        place = line.stands(1)
        with started(wait_in_order, line.job(2, tokens=1)) as [second]:
            line.stands(2)
            with started(wait_in_order, line.job(3, tokens=1)) as [third]:
                line.stands(3)
                sleeper.signal(signal.SIGSTOP)
                held.release()
                second.expect("served", within=PASSED_SECONDS)
                line.eventually(lambda: place not in line.tickets())
                sleeper.signal(signal.SIGCONT)
                line.eventually(lambda: line.tickets().get(place) == "waiter-1")
                for waiter in (second, sleeper, third):
                    if waiter is not second:
                        waiter.expect("served")
                    waiter.tell()
                    assert waiter.expect("released")["released"]
                    waiter.wait()
    assert not line.tickets()
    assert overtaken(read_notes(line.order)) == [(1, 2)], "it was stopped meanwhile"
    assert not line.log.complaints(1)


def test_the_slot_of_a_waiter_that_dies_with_its_lease_goes_to_the_next_in_order(line, new_bucket):
    held = full(new_bucket, 1, LEASE)
    first = line.job(1, tokens=1, lease_seconds=LEASE)
    with started(wait_in_order, first) as [victim]:
        line.stands(1)
        with started(wait_in_order, replace(first, number=2), replace(first, number=3, priority=5)) as [second, urgent]:
            line.stands(2)
            line.stands(3)
            time.sleep(2)  # who looked before the urgent one came may take a slot that comes free within that look
            held.release()
            # The urgent one came last, and is served first. It dies with its lease.
            urgent.expect("served")
            urgent.signal(signal.SIGKILL)
            urgent.wait()
            for waiter in (victim, second):
                waiter.expect("served", within=PASSED_SECONDS)
                waiter.tell()
                waiter.wait()
    assert not line.tickets()
    served = read_notes(line.order)
    assert sorted(served, key=lambda number: served[number]["served"]) == [3, 1, 2]
    assert not line.log.complaints(1)
