"""Nothing of the user's that blocks or raises, and no thread that is missing, costs a lease. Real threads and processes.

Bounds on time are generous: they tell "some time" from "never", on a machine that may be busy.
"""

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ddb_lease import AcquireTimeout, LossReason
from ddb_lease._protocol.messages import Release, Renew, RenewEach
from ddb_lease._runtime.workers import MOST_IN_LINE
from ddb_lease._state import log
from ddb_lease.events import Acquired, Lost, Released, Renewed
from scripts.harness.inside import held_of
from tests.runtime.troubles import PATIENCE, Process, Told, outlive, outlives, renewed, threads
from tests.support import UNSENT, Stalling, eventually, renew_soon

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def process():
    process = Process()
    yield process
    process.close()


@contextmanager
def logging_to(*, handler=None, only=None):
    """Our logger has this handler, or this filter."""
    logger, level = logging.getLogger("ddb_lease"), logging.getLogger("ddb_lease").level
    logger.setLevel(logging.INFO)
    if handler:
        logger.addHandler(handler)
    if only:
        logger.addFilter(only)
    try:
        yield
    finally:
        if handler:
            logger.removeHandler(handler)
        if only:
            logger.removeFilter(only)
        logger.setLevel(level)


class Full(logging.Handler):
    """A handler whose disk is full."""

    def emit(self, record):
        raise OSError("the disk is full")


class Broken(logging.Filter):
    """A filter with a defect."""

    def filter(self, record):
        raise ZeroDivisionError


# Log handlers.


def test_a_log_that_nobody_reads_costs_no_lease():
    """A real process, whose standard error is a full pipe."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.full_pipe"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # read by nobody while it runs
        cwd=ROOT,
        text=True,
    ) as running:
        try:
            running.wait(3 * PATIENCE)
            said = running.stdout.read()
        finally:
            running.kill()
    assert json.loads(said) == {"lost": "gone", "kept": True, "told": True}


@pytest.mark.parametrize("trouble", [{"handler": Full()}, {"only": Broken()}], ids=["handler", "filter"])
def test_a_log_that_raises_costs_no_lease_and_reaches_no_caller(process, trouble):
    sick, healthy, told = process.bucket(), process.bucket(), Told()
    with logging_to(**trouble):
        lost, kept = sick.acquire(timeout=PATIENCE, on_lost=told), healthy.acquire(timeout=PATIENCE)
        process.rob(lost, sick)
        assert told.called.wait(PATIENCE)
        assert not lost.held
        assert lost.lost is LossReason.GONE
        outlives(kept, healthy)
        assert kept.release()
        assert healthy.acquire(timeout=PATIENCE).release()
        assert log.flush(PATIENCE)


def test_a_handler_that_hangs_delays_no_lost_callback_and_no_check(process):
    entered, go = threading.Event(), threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record):
            entered.set()
            assert go.wait(3 * PATIENCE)

    buckets = [process.bucket() for _ in range(3)]
    told = [Told() for _ in buckets]
    leases = [bucket.acquire(timeout=PATIENCE, on_lost=each) for bucket, each in zip(buckets, told, strict=True)]
    with logging_to(handler=Stuck()):
        try:
            process.rob(leases[0], buckets[0])
            assert entered.wait(PATIENCE)
            process.rob(leases[1], buckets[1])
            assert told[1].called.wait(PATIENCE)
            assert not leases[1].held
            outlives(leases[2], buckets[2])
        finally:
            go.set()


# Callbacks.


def test_a_lost_callback_that_hangs_delays_no_other_buckets(process):
    go = threading.Event()
    sick, healthy, told = process.bucket(max_tokens=3), process.bucket(), Told()
    hanging = [Told(lambda: go.wait(3 * PATIENCE)) for _ in range(3)]
    leases = [sick.acquire(timeout=PATIENCE, on_lost=each) for each in hanging]
    other = healthy.acquire(timeout=PATIENCE, on_lost=told)
    try:
        for lease in leases:
            process.rob(lease, sick)
        for each in hanging:
            assert each.called.wait(PATIENCE)
        outlives(other, healthy)
        process.rob(other, healthy)
        assert told.called.wait(PATIENCE)
    finally:
        go.set()


def test_an_on_event_that_hangs_delays_no_renewal_and_no_lost_callback(process):
    go, entered, seen = threading.Event(), threading.Event(), []

    def on_event(event):
        if isinstance(event, Renewed):
            entered.set()
            assert go.wait(3 * PATIENCE)
        seen.append(event)

    bucket, told = process.bucket(max_tokens=2, on_event=on_event), Told()
    lease, other = bucket.acquire(timeout=PATIENCE, on_lost=told), bucket.acquire(timeout=PATIENCE)
    try:
        assert entered.wait(PATIENCE)
        outlives(lease, bucket)
        process.rob(lease, bucket)
        assert told.called.wait(PATIENCE)
        assert other.release()
        assert [type(event) for event in seen] == [Acquired, Acquired], "the others wait for their turn"
    finally:
        go.set()
    eventually(lambda: len([event for event in seen if isinstance(event, (Lost, Released))]) == 2, within=PATIENCE)
    for each in (lease, other):
        kinds = [type(event) for event in seen if event.lease_id == each.id]
        assert kinds[0] is Acquired
        assert set(kinds[1:-1]) <= {Renewed}
        assert kinds[-1] is (Lost if each is lease else Released)


def test_five_hundred_losses_start_a_bounded_number_of_threads(process):
    bucket, go, told = process.bucket(max_tokens=500, lease_seconds=600), threading.Event(), []
    leases = [
        bucket.acquire(timeout=PATIENCE, count=50, on_lost=lambda lease: (told.append(lease), go.wait(PATIENCE)))
        for _ in range(10)
    ]
    singles = process.bucket(max_tokens=500, lease_seconds=600)
    leases += [
        singles.acquire(timeout=PATIENCE, on_lost=lambda lease: (told.append(lease), go.wait(PATIENCE)))
        for _ in range(490)
    ]
    before = threading.active_count()
    for lease in leases:
        held_of(lease).lose(LossReason.SUSPENDED)
    assert not any(lease.held for lease in leases)
    eventually(lambda: len(told) >= 2, within=PATIENCE)
    most = threading.active_count() - before
    go.set()
    eventually(lambda: len(told) == 500, within=PATIENCE)
    assert most <= 2 * MOST_IN_LINE + 8
    assert len({lease.id for lease in told}) == 500


# Threads.


def refuse(_thread):
    raise RuntimeError("can't start new thread")


def test_where_no_thread_is_to_be_had_a_lease_is_not_acquired_and_its_slot_is_free(process, monkeypatch):
    bucket = process.bucket()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            bucket.acquire(timeout=PATIENCE)
    assert bucket.status().free == 1
    assert bucket.acquire(timeout=PATIENCE).release()


def test_where_no_thread_is_to_be_had_later_leases_are_renewed_and_losses_told_off_the_heartbeat(process, monkeypatch):
    sick, healthy, told = process.bucket(), process.bucket(), Told()
    lost, kept = sick.acquire(timeout=PATIENCE, on_lost=told), healthy.acquire(timeout=PATIENCE)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    process.rob(lost, sick)
    assert told.called.wait(PATIENCE)
    assert all(name.startswith("ddb-lease-callback") for name in told.on)
    outlives(kept, healthy)


def test_threads_of_the_library_keep_no_interpreter_from_exiting(process):
    bucket = process.bucket()
    bucket.acquire(timeout=PATIENCE)
    ours = threads("ddb-lease-")
    assert {name.rpartition("-")[0] for name in (thread.name for thread in ours)} >= {"ddb-lease-worker"}
    assert all(thread.daemon for thread in ours)


# Signals that interrupt a wait whose time is over when it could go on. Before Python 3.13, a queue waits for ever then.


@pytest.fixture
def on_signal():
    """Handles SIGUSR1 by this, until the test ends."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda act: signal.signal(signal.SIGUSR1, lambda *_: act())
    signal.signal(signal.SIGUSR1, before)


def test_signals_that_strike_the_heartbeat_while_another_thread_has_the_interpreter_do_not_stop_it(process, on_signal):
    on_signal(lambda: None)
    bucket = process.bucket(max_tokens=1, lease_seconds=9)
    before = threads("ddb-lease-heartbeat")
    lease = bucket.acquire(timeout=PATIENCE)
    (beating,) = threads("ddb-lease-heartbeat") - before
    for _ in range(2):
        time.sleep(0.1)
        signal.pthread_kill(beating.ident, signal.SIGUSR1)
        ctypes.PyDLL(None).usleep(1_100_000)  # with the interpreter's lock, longer than the heartbeat naps
    outlives(lease, bucket)


def test_a_signal_handler_that_takes_long_keeps_no_acquire_from_its_timeout(process, on_signal):
    on_signal(lambda: time.sleep(1.2))
    bucket = process.bucket(max_tokens=1, lease_seconds=60)
    assert bucket.acquire(timeout=PATIENCE).held
    timer = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGUSR1])
    timer.start()
    with pytest.raises(AcquireTimeout):
        bucket.acquire(timeout=1.6)
    timer.join()


# Calls that hang.


def test_a_lease_whose_renewal_hangs_once_is_renewed_by_another_worker(process):
    bucket = process.bucket(max_tokens=3, lease_seconds=12)
    leases = [bucket.acquire(timeout=PATIENCE) for _ in range(3)]
    go = threading.Event()
    for kind in (Renew, RenewEach):
        bucket.tap.inject(kind, before=lambda _: go.wait(3 * PATIENCE))
    # Early: so that two calls may hang, each for a quarter of the lease, long before its deadline.
    renew_soon(leases, process.heartbeats)
    try:
        # The first comes at once, and not after a third of the lease: so one more.
        outlive(leases, bucket, renewals=5)
        assert any(held_of(lease).attempts.given_up for lease in leases)
    finally:
        go.set()


def test_a_few_slots_that_hang_cost_the_many_others_nothing(process):
    bucket = process.bucket(max_tokens=100, lease_seconds=12)
    leases = [bucket.acquire(timeout=PATIENCE) for _ in range(100)]
    sick, healthy = leases[::50], [lease for number, lease in enumerate(leases) if number % 50]
    stalling = Stalling(bucket, *sick)
    renew_soon(leases, process.heartbeats)  # so the sick ones share their batches with others
    try:
        eventually(lambda: not any(lease.held for lease in sick), within=PATIENCE)
        assert all(lease.held for lease in healthy)
        assert all(renewed(bucket, lease) >= 2 for lease in healthy)
        assert stalling.hung >= 4
    finally:
        stalling.go.set()


def test_two_hundred_buckets_whose_calls_hang_cost_a_healthy_one_nothing(process):
    stalls, leases = [], []
    for _ in range(200):
        bucket = process.bucket(lease_seconds=600)
        leases.append(bucket.acquire(timeout=PATIENCE))
        stalls.append(Stalling(bucket, leases[-1]))
    healthy = process.bucket()
    kept = healthy.acquire(timeout=PATIENCE)
    try:
        renew_soon(leases, process.heartbeats)
        eventually(lambda: all(stall.hung for stall in stalls), within=PATIENCE)
        outlives(kept, healthy)
    finally:
        for stall in stalls:
            stall.go.set()


# Releases that are owed.


def unanswered(lease, bucket):
    """A release that is not answered at first: it is owed, and sent again in the background."""
    bucket.tap.everything_fails = UNSENT
    assert held_of(lease).begin_release()
    held_of(lease).end.send_quietly(tries=1)
    assert not held_of(lease).end.release.settled
    bucket.tap.everything_fails = None


def test_releases_that_hang_in_one_bucket_delay_no_owed_release_of_another(process):
    sick, healthy, go = (
        process.bucket(max_tokens=100, lease_seconds=600),
        process.bucket(lease_seconds=600),
        threading.Event(),
    )
    leases, owed = [sick.acquire(timeout=PATIENCE) for _ in range(100)], healthy.acquire(timeout=PATIENCE)
    send, hung = sick.tap.store.send, []

    def hang(request):
        if isinstance(request, Release):
            hung.append(request)
            assert go.wait(3 * PATIENCE)
        return send(request)

    sick.tap.store.send = hang
    try:
        for lease in leases:
            unanswered(lease, sick)
        eventually(lambda: len(hung) >= 8, within=PATIENCE)
        unanswered(owed, healthy)
        healthy.acquire(timeout=PATIENCE / 2).release()
    finally:
        go.set()


# Signals.


def test_a_renewal_in_a_signal_handler_amid_a_renewal_is_bounded_and_renews(process):
    bucket = process.bucket(lease_seconds=6)
    lease, handled = bucket.acquire(timeout=PATIENCE), []
    main, send = threading.main_thread(), bucket.tap.store.send

    def amid(request):
        if isinstance(request, Renew) and threading.current_thread() is main and not handled:
            handled.append(len(bucket.tap.of(Renew)))
            signal.raise_signal(signal.SIGUSR1)
        return send(request)

    bucket.tap.store.send = amid
    before = signal.signal(signal.SIGUSR1, lambda *_: lease.renew())
    try:
        lease.renew()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(bucket.tap.of(Renew)) >= handled[0] + 1
    lease.check()
    assert lease.release()
