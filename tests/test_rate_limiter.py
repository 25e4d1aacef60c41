"""A rate limiter as users see it: what it admits, when, in which order, and at what cost."""

import os
import subprocess
import sys
import time

import pytest

from ddb_lease import ConfigurationError, SlidingWindow
from ddb_lease._protocol.rates.messages import Charge
from scripts.harness.inside import core_of
from tests.conftest import TABLE
from tests.rates import KeyTable
from tests.support import LOST, NO_ANSWERS, Table, charges, drained

CONTRACT = True  # the simulator's DynamoDB too


# What is admitted


def test_from_idle_exactly_the_burst_is_admitted_at_once(limiter):
    assert [limiter.try_acquire() for _ in range(7)] == [True] * 5 + [False] * 2


@pytest.mark.parametrize("rate", [3, 7, 30_000, 1_000_000])
def test_the_burst_is_exact_where_an_interval_is_no_round_number(rates, rate):
    limiter = rates(rate=rate, burst=6)
    assert [limiter.try_acquire() for _ in range(8)] == [True] * 6 + [False] * 2


def test_all_or_none(limiter):
    assert limiter.try_acquire(3)
    assert not limiter.try_acquire(3)
    assert limiter.try_acquire(2)


def test_a_whole_burst_can_be_had_together_and_no_more(limiter):
    with pytest.raises(ConfigurationError, match=r"from 1 to 5 \(the burst\)"):
        limiter.try_acquire(6)
    assert limiter.try_acquire(5)
    assert not limiter.try_acquire()


def test_one_comes_back_each_interval_and_not_before(limiter, environment):
    drained(limiter)
    for _ in range(3):
        environment.clock.pass_time(0.0099)
        assert not limiter.try_acquire()
        environment.clock.pass_time(0.00011)
        assert limiter.try_acquire()


def test_the_burst_comes_back_and_nothing_beyond_it(limiter, environment):
    drained(limiter)
    environment.clock.pass_time(60)
    assert [limiter.try_acquire() for _ in range(6)] == [True] * 5 + [False]


def test_all_processes_share_one_rate(rates, limiter):
    other = rates()
    assert [each.try_acquire() for each in (limiter, other) * 4].count(True) == 5


def test_a_rate_goes_on_where_its_item_was_deleted(limiter, table, environment):
    assert limiter.try_acquire(3)
    KeyTable(table).of("").delete("rate#")  # by hand: TTL does so when all is long paid for
    assert not limiter.try_acquire(5), "as is remembered, until what was seen last is paid for"
    environment.clock.pass_time(0.031)
    assert limiter.try_acquire(5)


def test_a_window_admits_its_permits_once_in_a_period(engine, session, bucket_name, table):
    with SlidingWindow(
        bucket_name, max_tokens=2, period=3_600, table=TABLE, session=session, endpoint_url=engine.endpoint_url
    ) as window:
        assert [window.try_acquire() for _ in range(3)] == [True, True, False]
        assert window.status().free == 0


def test_a_rate_may_have_a_buckets_name(limiter, environment, bucket_name):
    bucket = environment.bucket(max_tokens=2)
    limiter.acquire()
    leases = [bucket.acquire(timeout=5) for _ in range(2)]
    assert bucket.try_acquire() is None
    assert {lease.slot for lease in leases} == {0, 1}
    assert len(bucket.status().leases) == 2
    assert limiter.status().available == 4 or limiter.try_acquire(4)


# At what cost


def test_one_request_a_permit_and_no_read(limiter):
    for _ in range(4):
        assert limiter.try_acquire()
    assert limiter.tap.count() == {"Charge": 4}


def test_the_first_time_the_time_is_asked_for_too(rates):
    limiter = rates()
    assert limiter.try_acquire()
    assert limiter.tap.count() == {"ReadPolicy": 1, "Look": 1, "CreatePolicy": 1, "Charge": 1}


def test_a_wrong_guess_costs_one_request_more(limiter, rates, environment):
    other = rates()
    other.status()
    assert limiter.try_acquire()  # guessed idle, and was
    other.tap.clear()
    assert other.try_acquire()  # guessed idle, and was not
    assert charges(other) == 2
    assert other.try_acquire()
    assert charges(other) == 3
    environment.clock.pass_time(60)
    assert limiter.try_acquire()
    other.tap.clear()
    environment.clock.pass_time(0.001)
    assert other.try_acquire()  # by what it saw last, all is paid for
    assert charges(other) == 2


def test_a_busy_guess_that_is_wrong_is_put_right_too(limiter, table, environment):
    assert limiter.try_acquire(5)
    KeyTable(table).of("").delete("rate#")
    environment.clock.pass_time(0.02)
    limiter.tap.clear()
    assert limiter.try_acquire(2)
    assert [charge.limits[0].branch for charge in limiter.tap.of(Charge)] == ["busy", "idle"]


def test_a_denial_is_remembered_until_its_time(limiter, environment):
    drained(limiter)
    for _ in range(20):
        assert not limiter.try_acquire()
        environment.clock.pass_time(0.0004)
    assert limiter.tap.sent == []
    environment.clock.pass_time(0.003)
    assert limiter.try_acquire()
    assert charges(limiter) == 1


def test_a_denial_by_the_table_tells_when_to_come_again(limiter, rates):
    drained(limiter)
    other = rates()
    core_of(other).driver.run(core_of(other).steering.policy(), None)
    other.tap.clear()
    assert not other.try_acquire()
    assert charges(other) == 1
    assert 0.005 < other.wait_time() <= 0.01
    assert not other.try_acquire()
    assert charges(other) == 1


def test_a_waiter_sends_one_request_when_it_is_due(limiter, environment):
    drained(limiter)
    limiter.acquire(3)
    assert charges(limiter) == 1
    assert sum(environment.pauses) == pytest.approx(0.03, abs=0.0005)


def test_what_was_prefetched_is_handed_out_without_a_request(rates, environment):
    limiter = rates(rate=1_000, burst=50, prefetch=50)
    for _ in range(500):
        limiter.acquire()
    assert limiter.tap.count() == {"Charge": 10, "ReadPolicy": 1, "CreatePolicy": 1, "Look": 1}


def test_what_is_in_hand_is_forgone_at_close(rates, table, environment):
    limiter = rates(burst=20, prefetch=20)
    assert limiter.try_acquire()
    before = KeyTable(table).get("")
    limiter.close()
    assert limiter.status().in_hand == 0
    assert KeyTable(table).get("") == before


# Answers that are lost


@pytest.mark.parametrize("commits", [True, False])
def test_a_lost_answer_is_asked_for_again_and_charged_once(limiter, table, commits):
    assert limiter.try_acquire()
    before = KeyTable(table).get("")["tat#permits"]
    limiter.tap.inject(Charge, answer=LOST, commits=commits)
    assert limiter.try_acquire()
    _, lost, *again = limiter.tap.of(Charge)
    assert {charge.attempt for charge in again} == {lost.attempt}
    after = KeyTable(table).get("")["tat#permits"]
    if after < before + 50_000_000:  # the pause was short: it came on top
        assert (after - before) % 10_000_000 == 0 or not commits
    assert after - max(before, lost.due if commits else again[-1].due) == 10_000_000


def test_an_answer_lost_twice_is_still_charged_once(limiter, table, environment):
    for _ in range(2):
        limiter.tap.inject(Charge, answer=LOST)
    assert limiter.try_acquire(5)
    first, *again = limiter.tap.of(Charge)
    assert len(again) == 2
    assert KeyTable(table).get("")["tat#permits"] == first.due + 50_000_000


def test_an_attempt_that_another_of_its_lane_wrote_over_is_charged_again(limiter, table, environment):
    """The strict side: it looks the same as one that never arrived."""

    def overwritten(charge):
        Table(table.client, table.table, KeyTable(table).of("").bucket).set("rate#", **{f"a{charge.lane}": "another"})

    limiter.tap.inject(Charge, answer=LOST, after=overwritten)
    assert limiter.try_acquire(2)
    first = limiter.tap.of(Charge)[0]
    assert KeyTable(table).get("")["tat#permits"] >= first.due + 40_000_000


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda answer: type(answer).__name__)
def test_what_passes_is_tried_again(limiter, answer):
    limiter.tap.inject(Charge, answer=answer, commits=False)
    assert limiter.try_acquire()


# Status


def test_status_tells_what_is_available(limiter, bucket_name):
    assert limiter.try_acquire(2)
    status = limiter.status()
    assert (status.name, status.rate, status.per, status.burst) == (bucket_name, 100.0, 1.0, 5)
    assert (status.available, status.wait_seconds, status.in_hand, status.stored) == (3, 0.0, 0, None)
    drained(limiter)
    assert (limiter.status().available, limiter.status().wait_seconds) == (0, pytest.approx(0.01, abs=1e-6))


def test_status_tells_of_settings_that_are_not_ones_own(limiter, rates):
    assert limiter.try_acquire()
    other = rates(rate=2.5, per=60, burst=3).status()
    assert (other.rate, other.per, other.burst, other.stored) == (2.5, 60.0, 3, (100.0, 1.0, 5))


# Threads and processes, in real time


def test_threads_of_several_limiters_stay_within_the_envelope(new_limiter, in_thread):
    limiters = [new_limiter(rate=50, burst=5), new_limiter(rate=50, burst=5), new_limiter(rate=50, burst=5, prefetch=5)]
    for limiter in limiters:
        limiter.status()
    began = time.monotonic()
    admissions = []

    def goes_on():
        took = time.monotonic() - began
        return took < 1 or (took < 31 and len(admissions) < 20)  # a busy machine needs longer

    def work(limiter):
        while goes_on():
            if limiter.try_acquire():
                admissions.append(1)

    workers = [in_thread(lambda limiter=limiter: work(limiter)) for limiter in limiters for _ in range(3)]
    for worker in workers:
        worker.result(60)
    admitted = len(admissions)
    took = time.monotonic() - began
    spread = 2 * max(limiter.status().uncertainty_seconds for limiter in limiters)
    assert admitted <= 50 * (took + spread) + 5 + 5
    assert admitted >= 20


WORK = """
import sys, time
import boto3
from ddb_lease import RateLimiter
name, table, url, prefetch = sys.argv[1:]
limiter = RateLimiter(name, rate=40, burst=5, table=table, session=boto3.Session(), endpoint_url=url, prefetch=int(prefetch))
limiter.status()
print("ready", flush=True)
sys.stdin.readline()
end, got = time.monotonic() + 1.0, 0
while (now := time.monotonic()) < end or (got < 7 and now < end + 30):  # a busy machine needs longer
    got += limiter.try_acquire()
print(got, limiter.status().uncertainty_seconds)
"""


@pytest.mark.parametrize("engine", ["ministack"], indirect=True, scope="session")  # the others live in this process
def test_processes_stay_within_the_envelope_and_share_it(engine, table, bucket_name):
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, bucket_name, TABLE, engine.endpoint_url, str(prefetch)],
            env=os.environ | keys,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for prefetch in (0, 0, 5)
    ]
    try:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        began = time.monotonic()
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()
        told = [worker.communicate(timeout=60)[0].split() for worker in workers]
        took = time.monotonic() - began
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    admitted, spread = sum(int(got) for got, _ in told), 2 * max(float(error) for _, error in told)
    assert 20 <= admitted <= 40 * (took + spread) + 5 + 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("engine", ["embedded", "ministack"], indirect=True, scope="session")  # what a child can reach
def test_a_forked_child_holds_none_of_its_parents_permits(new_limiter, engine, monkeypatch):
    monkeypatch.setattr("ddb_lease._state.spares.SPARE_NS", 3600 * 10**9)  # else they are forgone after a second
    limiter = new_limiter(rate=1, per=100, burst=30, prefetch=10)
    assert limiter.try_acquire()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            held = limiter.status().in_hand
            answers = [limiter.try_acquire() for _ in range(2)]
            os.write(write, repr((held, answers, limiter.status().in_hand)).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1000).decode() == "(0, [True, True], 8)"
    assert limiter.status().in_hand == 9
    assert limiter.try_acquire()
    assert limiter.status().available == 10
