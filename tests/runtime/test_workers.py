"""Workers: jobs that may block are done in time, whatever hangs, fails or raises."""

import functools
import logging
import math
import threading
import weakref

import pytest

from ddb_lease._runtime import workers as workers_module
from ddb_lease._runtime.heartbeat import NAP_SECONDS, Heartbeats
from ddb_lease._runtime.workers import MOST_IN_LINE, WAITING_SECONDS, WORKERS, WRITTEN_OFF_SECONDS, Workers
from tests.support import MovableClock, watched_locks

LONG = 30.0  # more than any test needs; a bound for failure, never an expectation


class Threadless(Heartbeats):
    """Heartbeats whose turns the test takes."""

    def ensure_running(self):
        pass


@pytest.fixture
def clock():
    return MovableClock()


class Gate:
    """Jobs that say that they run, and run until they are let go."""

    def __init__(self):
        self.running = threading.Semaphore(0)
        self.go = threading.Event()
        self.lines = set()

    def __call__(self, line=None):
        self.lines.add(line)
        self.running.release()
        assert self.go.wait(4 * LONG)  # longer than any test waits for what must be done meanwhile

    def await_running(self, count=1):
        for _ in range(count):
            assert self.running.acquire(timeout=LONG)


def is_worker(thread):
    return thread.name.startswith("ddb-lease-worker-")


def worker_threads():
    return set(filter(is_worker, threading.enumerate()))


def watched(*args, **settings):
    """Workers, and the lock that they take."""
    with watched_locks() as locks:
        workers = Workers(*args, **settings)
    (lock,) = locks
    return workers, lock


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.go.set()


def until(condition):
    waiting = threading.Event()
    for _ in range(int(LONG * 100)):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("the condition did not come true")


def test_as_many_jobs_run_at_once_as_there_may_be_workers(clock, gate):
    workers, before = Workers(clock, limit=3), worker_threads()
    for _ in range(5):
        workers.submit(gate)
    gate.await_running(3)
    assert len(worker_threads() - before) == 3
    assert not gate.running.acquire(timeout=0.05), "the others wait for a worker"
    gate.go.set()
    gate.await_running(2)


def test_no_more_workers_are_started_for_what_comes_before_they_are_awake(clock, gate, monkeypatch):
    workers, before, started = Workers(clock, limit=3), worker_threads(), []

    def start(thread):
        started.append(thread)  # none of them can take a job yet

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(5):
            workers.submit(gate, line="a")
    for thread in started:
        thread.start()
    gate.await_running(3)
    assert len(worker_threads() - before) == 3


def test_no_worker_is_started_while_one_is_idle(clock):
    workers, before, done = Workers(clock), worker_threads(), threading.Semaphore(0)
    for _ in range(20):
        workers.submit(done.release)
        assert done.acquire(timeout=LONG)
        until(lambda: workers.idle == 1)
    assert len(worker_threads() - before) == 1


def test_workers_keep_no_interpreter_from_exiting(clock, gate):
    before = worker_threads()
    Workers(clock).submit(gate)
    gate.await_running()
    assert all(thread.daemon for thread in worker_threads() - before)


@pytest.mark.parametrize("error", [OSError("no"), SystemExit(), KeyboardInterrupt()], ids=repr)
def test_a_worker_survives_whatever_its_job_raises(clock, caplog, error):
    workers, before, done = Workers(clock, limit=1), worker_threads(), threading.Event()

    def raising():
        raise error

    workers.submit(raising)
    workers.submit(done.set)
    assert done.wait(LONG)
    assert "a lease's background work failed" in caplog.text
    assert len(worker_threads() - before) == 1


def test_a_job_that_has_waited_gets_a_worker_of_its_own(clock, gate):
    workers, before, done = Workers(clock, limit=2), worker_threads(), threading.Event()
    beats = Threadless(clock, workers)
    for _ in range(2):
        workers.submit(gate, line="a")
    gate.await_running(2)
    assert beats.nap() == NAP_SECONDS
    workers.submit(done.set, line="a")
    assert beats.nap() == pytest.approx(WAITING_SECONDS)
    clock.pass_time(WAITING_SECONDS - 0.01)
    beats.turn(slept=False)
    assert not done.wait(0.05)
    assert len(worker_threads() - before) == 2
    clock.pass_time(0.01)
    assert beats.nap() == pytest.approx(0.0)
    beats.turn(slept=False)
    assert done.wait(10.0), "before any of the others is done"


def test_all_jobs_that_have_waited_get_workers(clock, gate):
    workers = Workers(clock, limit=2)
    for _ in range(20):
        workers.submit(gate, line="a")
    gate.await_running(2)
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    gate.await_running(18)


def test_workers_that_helped_out_are_not_kept(clock, gate):
    workers, before = Workers(clock, limit=2), worker_threads()
    for _ in range(10):
        workers.submit(gate, line="a")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    gate.await_running(10)
    gate.go.set()
    until(lambda: len(worker_threads() - before) <= 2)
    done = threading.Semaphore(0)
    for _ in range(5):
        workers.submit(done.release, line="a")
        assert done.acquire(timeout=LONG)


def test_idle_workers_are_all_counted_on(clock, gate):
    workers, before = Workers(clock, limit=3), worker_threads()
    for _ in range(2):
        workers.submit(gate)
    gate.await_running(2)
    gate.go.set()
    until(lambda: workers.idle == 2)
    gate.go.clear()
    for _ in range(2):
        workers.submit(gate)
    gate.await_running(2)
    assert len(worker_threads() - before) == 2


def test_a_worker_that_has_left_is_not_counted_on(clock, gate):
    workers, before, first, done = Workers(clock, limit=1), worker_threads(), Gate(), threading.Event()
    workers.submit(first, line="a")
    for _ in range(2):
        workers.submit(gate, line="a")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    first.await_running()
    gate.await_running(2)
    first.go.set()
    until(lambda: len(worker_threads() - before) == 2)
    workers.submit(done.set, line="a")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    assert done.wait(10.0), "it waits for one who is gone"


@pytest.mark.parametrize("moment", [1, 2, 3], ids=["it has done its job", "it looks for one", "it found none"])
def test_a_worker_about_to_leave_stays_for_a_job_that_comes_just_then(clock, gate, moment):
    workers, lock = watched(clock, limit=1)
    first, done, leaving, moments = Gate(), threading.Event(), [], iter(range(1, 99))

    def a_job_comes():
        if first.go.is_set() and threading.current_thread() in leaving and next(moments) == moment:
            workers.submit(done.set, line="a")

    lock.before = a_job_comes
    workers.submit(lambda: leaving.append(threading.current_thread()) or first(), line="a")
    workers.submit(gate, line="a")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    first.await_running()
    gate.await_running()
    first.go.set()
    assert done.wait(10.0), "the other one hangs, and the expected worker has left"


def test_a_full_line_continues_as_soon_as_it_may_and_never_has_more_workers(clock, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "MOST_IN_LINE", 1)
    workers, lock = watched(clock, limit=2)
    done, other, looks = threading.Event(), threading.Event(), []
    workers.submit(gate, line="a")
    gate.await_running()
    workers.submit(other.set, line="b")
    assert other.wait(LONG)
    until(lambda: workers.idle == 1)
    lock.before = lambda: is_worker(threading.current_thread()) and looks.append(1)
    workers.submit(done.set, line="a")
    until(lambda: len(looks) >= 2)  # it looked at both lines, and found nothing
    assert not done.wait(0.05), "more than the line may have"
    gate.go.set()
    assert done.wait(10.0), "nobody is told any more that it waits"


def test_one_lines_trouble_leaves_workers_to_the_others(clock, gate):
    workers, before, done = Workers(clock), worker_threads(), threading.Event()
    for _ in range(10 * MOST_IN_LINE):
        workers.submit(gate, line="hanging")
    for _ in range(3):
        clock.pass_time(WAITING_SECONDS)
        workers.relieve()
    gate.await_running(MOST_IN_LINE)
    assert len(worker_threads() - before) == MOST_IN_LINE
    assert Threadless(clock, workers).nap() == NAP_SECONDS, "no more workers would help: nothing to hurry for"
    workers.submit(done.set, line="healthy")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    assert done.wait(10.0)


def test_what_does_not_hurry_never_keeps_all_workers(clock, gate):
    workers, before = Workers(clock), worker_threads()
    for _ in range(10 * WORKERS):
        workers.submit(gate)
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    gate.await_running(WORKERS)
    assert len(worker_threads() - before) == WORKERS
    gate.go.set()
    gate.await_running(9 * WORKERS)


def test_what_is_equally_urgent_is_done_in_the_order_in_which_it_came(clock, gate):
    workers, order = Workers(clock, limit=1), []
    workers.submit(gate, line="other")
    gate.await_running()
    for number in range(9):
        workers.submit(lambda number=number: order.append(number), line="a", by=1.0)
    gate.go.set()
    until(lambda: len(order) == 9)
    assert order == list(range(9))


def test_lines_are_served_in_turn_and_the_most_urgent_of_a_line_first(clock, gate):
    class Bucket:
        pass

    workers, order, a, b = Workers(clock, limit=1), [], Bucket(), Bucket()
    workers.submit(gate, line="other")
    gate.await_running()
    for by in (3.0, 1.0, 2.0):
        workers.submit(lambda by=by: order.append(("a", by)), line=a, by=by)
    for by in (30.0, 10.0, 20.0):
        workers.submit(lambda by=by: order.append(("b", by)), line=b, by=by)
    gate.go.set()
    until(lambda: len(order) == 6)
    assert order == [("a", 1.0), ("b", 10.0), ("a", 2.0), ("b", 20.0), ("a", 3.0), ("b", 30.0)]
    kept = weakref.WeakSet([a, b])
    del a, b
    until(lambda: not kept), "a bucket that is gone is not kept"


def test_a_job_waits_for_another_that_a_worker_has_just_taken_until_the_next_turn_at_most(clock, gate):
    # The worker is awake, but has not yet taken the job that woke it.
    workers, lock = watched(clock)
    done, awake, may_go_on = threading.Event(), threading.Event(), threading.Event()

    def slow_to_take():
        if is_worker(threading.current_thread()):
            awake.set()
            assert may_go_on.wait(LONG)

    lock.before = slow_to_take
    workers.submit(gate, line="a")
    assert awake.wait(LONG)
    workers.submit(done.set, line="a")
    may_go_on.set()
    gate.await_running()
    assert done.wait(10.0), "it waits behind a slow call although more workers may be started"


def test_a_job_that_has_waited_gets_a_worker_at_the_heartbeats_next_turn(clock, gate):
    workers, done = Workers(clock, limit=1), threading.Event()
    workers.submit(gate, line="a")
    gate.await_running()
    workers.submit(done.set, line="b")
    clock.pass_time(WAITING_SECONDS)
    Threadless(clock, workers).turn(slept=False)  # nobody submits anything any more
    assert done.wait(10.0)


def test_there_are_never_more_workers_than_a_process_can_bear(clock, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "MOST_THREADS", 5)
    workers, before = Workers(clock, limit=2), worker_threads()
    for number in range(10):
        workers.submit(gate, line=number)
    for _ in range(3):
        clock.pass_time(WAITING_SECONDS)
        workers.relieve()
    gate.await_running(5)
    assert not gate.running.acquire(timeout=0.05)
    assert len(worker_threads() - before) == 5
    assert workers.relief_in() == math.inf


def test_however_many_lines_are_in_trouble_a_healthy_one_is_served(clock, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "MOST_WORKERS", 12)
    monkeypatch.setattr(workers_module, "MOST_IN_LINE", 4)
    workers, done = Workers(clock, limit=2), threading.Event()
    for line in ("a", "b", "c"):
        for _ in range(10):
            workers.submit(gate, line=line)
    for _ in range(3):
        clock.pass_time(WAITING_SECONDS)
        workers.relieve()
    workers.submit(done.set, line="healthy")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    assert done.wait(10.0)


def hung(workers, clock, gate, lines, jobs=1):
    """Jobs that hang, on as many workers as they get."""
    for line in [f"hanging {number}" for number in range(lines)]:
        for _ in range(jobs):
            workers.submit(functools.partial(gate, line), line=line)
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()


def test_a_line_whose_first_job_waits_gets_a_worker_whatever_the_others_do(clock, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "MOST_WORKERS", 6)
    monkeypatch.setattr(workers_module, "MOST_IN_LINE", 4)
    workers, before = Workers(clock, limit=2), worker_threads()
    hung(workers, clock, gate, lines=20, jobs=5)
    gate.await_running(20)
    until(lambda: len(gate.lines) == 20)
    assert len(worker_threads() - before) <= 20 + 6, "their other jobs count against the limit"
    assert workers.relief_in() == math.inf
    done = threading.Event()
    workers.submit(done.set, line="healthy")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    assert done.wait(LONG)


def test_two_hundred_lines_that_hang_cost_a_healthy_one_nothing(clock, gate):
    workers, done = Workers(clock), threading.Semaphore(0)
    hung(workers, clock, gate, lines=200)
    gate.await_running(200)
    for _ in range(3):
        workers.submit(done.release, line="healthy")
        clock.pass_time(WAITING_SECONDS)
        workers.relieve()
        assert done.acquire(timeout=LONG)


def test_lines_whose_jobs_hang_for_ever_leave_threads_to_a_healthy_one(clock, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "MOST_THREADS", 24)
    workers, before = Workers(clock), worker_threads()
    for _ in range(12):  # they are tried again and again
        hung(workers, clock, gate, lines=3)
        clock.pass_time(WRITTEN_OFF_SECONDS)
        workers.relieve()
    assert len(worker_threads() - before) >= 12, "each trial got its thread while there were many"
    for _ in range(3):
        done = threading.Event()
        workers.submit(done.set, line="healthy")
        clock.pass_time(WAITING_SECONDS)
        workers.relieve()
        assert done.wait(LONG / 2)
    gate.go.set()
    gate.await_running(36)


def test_a_job_that_hangs_for_long_counts_no_more_against_its_line_nor_against_the_limit(clock, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "MOST_WORKERS", 4)
    monkeypatch.setattr(workers_module, "MOST_IN_LINE", 3)
    monkeypatch.setattr(workers_module, "MOST_THREADS", 8)
    workers, before, done = Workers(clock, limit=1), worker_threads(), threading.Event()
    hung(workers, clock, gate, lines=1, jobs=2)
    gate.await_running(2)
    workers.submit(gate, line="another")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    gate.await_running()
    workers.submit(done.set, line="hanging 0")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    assert not done.wait(0.05), "its line has all it may have beside others"
    clock.pass_time(WRITTEN_OFF_SECONDS)
    workers.relieve()
    assert done.wait(LONG)
    other = Gate()
    for _ in range(2):
        workers.submit(other, line="other")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    other.await_running(2)  # as many as a line may have, although most of the workers that there may be hang
    other.go.set()
    gate.go.set()
    until(lambda: len(worker_threads() - before) == 1), "what returns late is kept only if it is needed"
    again = Gate()
    for number in range(8):
        workers.submit(again, line=f"hanging {number}")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    again.await_running(8)  # as many as there may be threads
    again.go.set()


def test_a_line_whose_jobs_hung_gets_threads_again_once_they_return(clock, gate, monkeypatch):
    monkeypatch.setattr(workers_module, "MOST_THREADS", 2)  # so that one that hangs is half of them
    workers, done = Workers(clock, limit=2), threading.Event()
    hung(workers, clock, gate, lines=1)
    gate.await_running()
    clock.pass_time(WRITTEN_OFF_SECONDS)
    workers.relieve()
    workers.submit(done.set, line="hanging 0")
    clock.pass_time(WAITING_SECONDS)
    workers.relieve()
    assert not done.wait(0.05), "others need the rest"
    gate.go.set()
    assert done.wait(10.0)


def test_a_worker_that_is_there_does_the_jobs_if_no_thread_is_to_be_had_later(clock, monkeypatch):
    workers, before, done = Workers(clock), worker_threads(), threading.Semaphore(0)
    workers.ensure_one()
    workers.ensure_one()
    assert len(worker_threads() - before) == 1

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in range(20):
        workers.submit(done.release, line=number)
    for _ in range(20):
        assert done.acquire(timeout=LONG)
    with pytest.raises(RuntimeError, match="can't start"):
        Workers(clock).ensure_one()


def test_a_job_that_may_start_no_thread_gets_one_from_the_heartbeat(clock, gate, monkeypatch):
    workers, done = Workers(clock), threading.Event()
    workers.submit(gate, line="a")
    gate.await_running()
    started, start = [], threading.Thread.start
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: started.append(thread) or start(thread))
        workers.submit(done.set, line="a", may_start=False)
        assert not started
        Threadless(clock, workers).turn(slept=False)
        assert done.wait(LONG)
        assert started


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_interrupt_while_a_worker_is_started_leaves_none_that_does_not_exist(clock, monkeypatch, error):
    workers, done = Workers(clock, limit=1), threading.Event()

    def interrupted(thread):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(type(error)):
            workers.submit(lambda: None, line="a")
    workers.submit(done.set, line="b")
    assert done.wait(10.0)


def test_a_handler_of_the_log_that_raises_ends_no_worker(clock):
    class Full(logging.Handler):
        def emit(self, record):
            raise OSError("the disk is full")

    log, handler = logging.getLogger("ddb_lease"), Full()
    log.addHandler(handler)
    try:
        workers, done = Workers(clock, limit=1), threading.Event()
        for _ in range(MOST_IN_LINE + 1):
            workers.submit(lambda: 1 / 0, line="a")
        workers.submit(done.set, line="a")
        assert done.wait(10.0)
        until(lambda: workers.idle == 1)
    finally:
        log.removeHandler(handler)


def test_where_no_thread_can_be_started_the_others_do_it(clock, gate, caplog, monkeypatch):
    workers, done = Workers(clock, limit=2), threading.Event()
    workers.submit(gate)
    gate.await_running()

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        workers.submit(done.set)
        clock.pass_time(WAITING_SECONDS)
        workers.relieve()
        assert workers.relief_in() > 0, "the heartbeat does not try it over and over"
    assert "no thread can be started" in caplog.text
    assert workers.idle == 0
    workers.relieve()
    assert done.wait(LONG), "tried again with the next turn"
    gate.go.set()
    until(lambda: workers.idle == 1)
