"""The log: the library's threads call none of the user's handlers, and no handler's trouble reaches the library."""

import logging
import os
import threading
import time

import pytest

from ddb_lease._state import log
from ddb_lease._state.log import MOST_QUEUED, BackgroundThread, in_background, queued
from tests.support import eventually

LONG = 30.0


class Kept(logging.Handler):
    """Keeps what it gets, and where it got it."""

    def __init__(self):
        super().__init__()
        self.records, self.on = [], []

    def emit(self, record):
        self.records.append(record)
        self.on.append(threading.current_thread().name)


class Stuck(Kept):
    """Hangs in its first message until it is let go."""

    def __init__(self):
        super().__init__()
        self.go, self.entered = threading.Event(), threading.Event()

    def emit(self, record):
        self.entered.set()
        assert self.go.wait(LONG)
        super().emit(record)


@pytest.fixture
def handled():
    """Adds a handler to our logger, for the test."""
    logger, added, level = logging.getLogger("ddb_lease"), [], logging.getLogger("ddb_lease").level
    logger.setLevel(logging.INFO)

    def add(handler):
        logger.addHandler(handler)
        added.append(handler)
        return handler

    yield add
    for handler in added:
        if isinstance(handler, Stuck):
            handler.go.set()
        logger.removeHandler(handler)
    logger.setLevel(level)
    assert log.flush(LONG)


def in_the_background(job):
    thread = BackgroundThread(target=job, name="ddb-lease-test")
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive(), "it waits for a handler"


def test_a_user_s_thread_emits_at_once_and_by_itself(handled):
    kept = handled(Kept())
    log.log.info("lease %s", "0-a")
    (record,) = kept.records
    assert (record.getMessage(), record.levelname) == ("lease 0-a", "INFO")
    assert (record.filename, record.funcName) == ("test_log.py", "test_a_user_s_thread_emits_at_once_and_by_itself")
    assert kept.on == [threading.current_thread().name]


@pytest.mark.parametrize("voice", [log.log, queued])
def test_a_thread_of_the_library_hands_over_what_it_says_with_its_time_and_name(handled, voice):
    kept, said = handled(Kept()), []

    def say():
        assert in_background()
        said.append(time.time())
        voice.warning("no answer in %d s", 3)
        said.append(time.time())

    in_the_background(say)
    assert log.flush(LONG)
    (record,) = kept.records
    assert record.getMessage() == "no answer in 3 s"
    assert said[0] <= record.created <= said[1]
    assert (record.threadName, record.funcName, record.filename) == ("ddb-lease-test", "say", "test_log.py")
    assert kept.on == ["ddb-lease-log"]


def test_what_may_hold_a_lock_is_queued_on_any_thread(handled):
    kept = handled(Kept())
    queued.warning("the clock was stepped")
    assert log.flush(LONG)
    assert kept.on == ["ddb-lease-log"]
    assert kept.records[0].threadName == threading.current_thread().name


def test_an_error_is_told_with_its_traceback(handled):
    kept = handled(Kept())
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        queued.exception("a heartbeat failed")
    assert log.flush(LONG)
    assert kept.records[0].exc_info[0] is ZeroDivisionError
    assert "ZeroDivisionError" in logging.Formatter().format(kept.records[0])


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_the_level_the_factory_and_the_filters_are_asked_on_the_logs_own_thread(handled, level, monkeypatch):
    kept, asked, factory = handled(Kept()), [], logging.getLogRecordFactory()

    class Filter(logging.Filter):
        def filter(self, record):
            asked.append(("filter", threading.current_thread().name))
            return True

    def make(*args, **kwargs):
        asked.append(("factory", threading.current_thread().name))
        return factory(*args, **kwargs)

    only = Filter()
    logger = logging.getLogger("ddb_lease")
    logger.addFilter(only)
    logging.setLogRecordFactory(make)
    monkeypatch.setattr(logger, "isEnabledFor", lambda asked: asked >= level)
    try:
        in_the_background(lambda: queued.info("said"))
        assert log.flush(LONG)
    finally:
        logging.setLogRecordFactory(factory)
        logger.removeFilter(only)
    assert set(asked) == ({("filter", "ddb-lease-log"), ("factory", "ddb-lease-log")} if kept.records else set())
    assert bool(kept.records) == (level == logging.INFO)


@pytest.mark.parametrize("error", [OSError("the disk is full"), SystemExit(), KeyboardInterrupt()], ids=repr)
def test_the_logs_thread_survives_whatever_a_handler_raises(handled, error):
    class Full(Kept):
        def emit(self, record):
            super().emit(record)
            raise error

    full = handled(Full())
    for number in range(3):
        queued.warning("number %d", number)
    assert log.flush(LONG)
    assert [record.args for record in full.records] == [(0,), (1,), (2,)]


def test_what_a_handler_raises_on_a_users_thread_reaches_no_caller_but_an_interrupt_does(handled):
    class Raising(logging.Handler):
        error: BaseException = OSError("the disk is full")

        def emit(self, record):
            raise self.error

    raising = handled(Raising())
    log.log.warning("it is only said")
    raising.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        log.log.warning("it is only said")


@pytest.mark.parametrize("voice", [log.log, queued])
def test_that_a_handler_fails_is_said_once_on_standard_error(handled, voice, monkeypatch, capsys):
    log.after_fork_in_child()  # a queue that has told nothing yet
    broken = handled(Kept())
    broken.emit = lambda _: 1 / 0
    for _ in range(3):
        voice.warning("something")
    assert log.flush(LONG)
    said = capsys.readouterr().err
    assert said.count("a log handler or filter failed: ZeroDivisionError") == 1
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.after_fork_in_child()  # a queue that has told nothing yet
    voice.warning("something")
    assert log.flush(LONG)
    assert capsys.readouterr().err == ""


def test_a_handler_that_hangs_delays_nobody_and_what_does_not_fit_is_counted(handled):
    stuck = handled(Stuck())
    in_the_background(lambda: queued.warning("the first"))
    assert stuck.entered.wait(LONG)
    in_the_background(lambda: [queued.warning("number %d", number) for number in range(MOST_QUEUED + 7)])
    began = time.monotonic()
    assert not log.flush(0.05)
    assert time.monotonic() - began < 10
    stuck.go.set()
    assert log.flush(LONG)
    eventually(lambda: any("were dropped" in record.msg for record in stuck.records), within=LONG)
    (told,) = [record for record in stuck.records if "were dropped" in record.msg]
    assert told.args == (7,)
    assert [record.args for record in stuck.records if record.msg == "number %d"] == [(n,) for n in range(MOST_QUEUED)]


def test_nobody_waits_for_the_handlers_if_nothing_was_said():
    assert log.LogQueue().flush(0.0)


def test_where_no_thread_can_be_started_messages_wait_for_one(handled, monkeypatch):
    kept = handled(Kept())
    log.after_fork_in_child()  # a queue that has no thread yet

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        queued.warning("the first")
        with pytest.raises(RuntimeError):
            log.ensure_running()
        assert not log.flush(0.0)
    assert log.flush(LONG), "whoever waits for messages has the thread started"
    assert [record.msg for record in kept.records] == ["the first"]
    queued.warning("the second")
    assert log.flush(LONG)
    assert [record.msg for record in kept.records] == ["the first", "the second"]


def test_a_forked_child_says_nothing_of_its_parents_and_has_a_thread_of_its_own(handled):
    stuck = handled(Stuck())
    queued.warning("the parent's first")
    assert stuck.entered.wait(LONG)
    queued.warning("the parent's second")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            log.after_fork_in_child()
            kept = Kept()
            logging.getLogger("ddb_lease").handlers[:] = [kept]
            queued.warning("the child's")
            assert log.flush(LONG)
            os.write(write, b",".join(record.msg.encode() for record in kept.records))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        assert answer.read() == b"the child's"
    os.waitpid(child, 0)
