"""What is left of leases when a process ends: with many of them, interrupted, in a pool of processes, by a signal.

Real processes, each with a DynamoDB of its own inside: what is tried out is the end of the process, not the engine. The
limits are generous: they tell "in time" from "left to expire", on a machine that may be busy.
"""

from __future__ import annotations

import multiprocessing.util
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ddb_lease import ConfigurationError, exit_on_sigterm
from scripts.harness.endings import (
    acquire_too_late,
    end_as_celery_does,
    end_beside_dead_buckets,
    end_by_sigterm,
    end_children,
    end_with_many,
    interrupt_a_release,
    terminate_a_pool,
)
from scripts.harness.holders import Job, started

NOWHERE = "http://simulated"


ENDS_ALREADY = """
import atexit, signal

@atexit.register
def last():
    signal.raise_signal(signal.SIGTERM)
    print("not interrupted")

from ddb_lease import exit_on_sigterm
exit_on_sigterm()
"""
"""Gets SIGTERM when the library's own exit is over: what was registered first comes last."""


ENDS_WHILE_A_THREAD_GOES_ON = """
import atexit, sys, threading, weakref

told, made = [], []
go, done = threading.Event(), threading.Event()
atexit.register(lambda: print(sum(one in told for one in kept)))  # the first comes last

from ddb_lease._runtime import process

class One:
    def __init__(self):
        process.register(self)
    def after_fork_in_child(self):
        pass
    def at_exit(self, deadline):
        told.append(self)

def go_on():
    go.wait()
    made.append(One())
    done.set()

def amid_a_loop(frame, event, _):
    if frame.f_code is weakref.WeakSet.__iter__.__code__ and "item" in frame.f_locals and not go.is_set():
        go.set()
        done.wait(0.2)  # it may have to wait until the loop is over
    return amid_a_loop

threading.Thread(target=go_on, daemon=True).start()
kept = [One() for _ in range(3)]
sys.settrace(amid_a_loop)
"""
"""Ends while another thread makes a bucket, or what stands for one. At the very end it says how many were told of it."""


def job(**settings) -> Job:
    return Job(**{"endpoint_url": NOWHERE, "bucket": "bucket", "lease_seconds": 600.0} | settings)


@pytest.mark.parametrize("how", ["one bucket", "a bucket each"])
def test_three_hundred_leases_are_released_at_the_exit_though_each_request_takes_its_time(how):
    tokens = 300 if how == "one bucket" else 1
    with started(end_with_many, job(how=how, tokens=tokens, leases=300)) as [holder]:
        assert holder.expect("held") == {"said": "held", "leases": 300, "held": 300}
        assert holder.expect("left")["leases"] == 0
        assert holder.wait() == 0


def test_a_healthy_buckets_lease_is_released_at_the_exit_though_many_other_buckets_do_not_answer():
    with started(end_beside_dead_buckets, job(leases=24)) as [holder]:
        assert holder.expect("held")["held"] == 25
        assert holder.expect("left")["leases"] == 24
        assert holder.wait() == 0


@pytest.mark.parametrize("how", ["with", "by hand"])
def test_a_release_that_is_interrupted_while_it_waits_for_a_renewal_is_sent_at_the_exit(how):
    with started(interrupt_a_release, job(how=how, tokens=1)) as [clumsy]:
        clumsy.expect("held")
        assert clumsy.expect("left")["leases"] == 0
        assert clumsy.wait() == -signal.SIGINT


def test_after_the_release_at_the_exit_an_exit_handler_that_comes_late_gets_no_lease():
    with started(acquire_too_late, job(tokens=3)) as [late]:
        for _ in range(2):
            assert "interpreter is exiting" in late.expect("refused")["error"]
        assert late.expect("left")["leases"] == 0
        assert late.wait() == 0


def test_all_are_told_of_the_exit_though_another_thread_makes_a_bucket_meanwhile():
    program = [sys.executable, "-c", ENDS_WHILE_A_THREAD_GOES_ON]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout, ended.stderr) == ("3\n", "")


METHODS = ("fork", "forkserver", "spawn")


@pytest.mark.parametrize(
    "how",
    [
        *(f"a process by {method}" for method in METHODS),
        *(f"a pool by {method}" for method in METHODS),
        *(f"an executor by {method}" for method in METHODS),
    ],
)
def test_children_that_end_release_what_they_hold(how):
    with started(end_children, job(how=how, threads=0)) as [parent]:
        child = parent.expect("holds")["pid"]
        assert parent.expect("released")["pid"] == child
        parent.expect("ended")
        assert parent.wait() == 0


def test_children_that_are_replaced_after_a_task_release_what_they_hold():
    with started(end_children, job(how="a task of a pool by fork", threads=0)) as [parent]:
        first = parent.expect("holds")["pid"]
        assert parent.expect("released")["pid"] == first
        assert parent.expect("holds")["pid"] != first
        parent.wait()


def test_the_processes_of_celerys_pool_release_what_they_hold_when_they_end():
    with started(end_as_celery_does, job(threads=0)) as [parent]:
        child = parent.expect("holds")["pid"]
        assert parent.expect("released")["pid"] == child
        parent.expect("ended")


@pytest.mark.parametrize("method", METHODS)
def test_a_childs_thread_that_still_works_keeps_its_lease_until_it_ends(method):
    with started(end_children, job(how=f"a process by {method}", threads=1)) as [parent]:
        parent.expect("holds")
        assert parent.expect("works on")["held"]
        parent.expect("released")
        parent.expect("ended")


# ---- By SIGTERM


@pytest.mark.parametrize("how", ["in a block", "held", "asyncio"])
def test_sigterm_ends_a_process_in_order_if_it_is_asked_to(how):
    with started(end_by_sigterm, job(how=how, tokens=1)) as [holder]:
        assert holder.expect("held")["leases"] == 1
        holder.signal(signal.SIGTERM)
        time.sleep(0.3)
        holder.signal(signal.SIGTERM)  # impatient: this must not interrupt what the first has begun
        assert holder.expect("left")["leases"] == 0
        assert holder.wait() == 143


@pytest.mark.parametrize("how", ["in a pool", "in a joined thread"])
def test_threads_hold_their_leases_until_they_end_by_sigterm(how):
    with started(end_by_sigterm, job(how=how, tokens=1)) as [holder]:
        assert holder.expect("held")["leases"] == 1
        holder.signal(signal.SIGTERM)
        assert holder.expect("works on")["held"]
        assert holder.expect("left")["leases"] == 0
        assert holder.wait() == 143


def test_a_handler_of_sigterm_that_was_there_is_called_first():
    with started(end_by_sigterm, job(how="handled already", tokens=1)) as [holder]:
        holder.expect("held")
        holder.signal(signal.SIGTERM)
        holder.expect("earlier")
        assert holder.expect("left")["leases"] == 0
        assert holder.wait() == 143


def test_where_sigterm_is_ignored_it_stays_ignored():
    with started(end_by_sigterm, job(how="ignored", tokens=1)) as [holder]:
        holder.expect("held")
        holder.signal(signal.SIGTERM)
        assert holder.expect("left")["leases"] == 0
        assert holder.wait() == 0


def test_without_being_asked_nothing_handles_sigterm():
    with started(end_by_sigterm, job(how="not asked for", tokens=1)) as [holder]:
        holder.expect("held")
        holder.signal(signal.SIGTERM)
        assert holder.wait() == -signal.SIGTERM


def test_the_processes_of_a_pool_that_is_terminated_release_what_they_hold_if_they_end_in_order():
    with started(terminate_a_pool, job(threads=0)) as [parent]:
        child = parent.expect("holds")["pid"]
        assert parent.expect("released")["pid"] == child
        parent.expect("ended")


def test_a_process_that_ends_already_is_not_interrupted_by_sigterm(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    try:
        exit_on_sigterm()
        with monkeypatch.context() as patched:
            patched.setattr(multiprocessing.util, "_exiting", True)
            signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
        exit_on_sigterm()
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    ending = subprocess.run([sys.executable, "-c", ENDS_ALREADY], capture_output=True, text=True, check=True)
    assert ending.stdout == "not interrupted\n"


def test_ending_in_order_is_refused_off_the_main_thread_and_with_what_is_no_exit_status():
    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as elsewhere, pytest.raises(ConfigurationError, match="main thread"):
        elsewhere.submit(exit_on_sigterm).result()
    for code in (-1, 256, True, "0"):
        with pytest.raises(ConfigurationError, match="exit status"):
            exit_on_sigterm(code=code)
    assert signal.getsignal(signal.SIGTERM) is before
