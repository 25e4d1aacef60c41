"""What is said while a command waits, and that nothing which happens to it reaches the wait."""

import io
import re
import threading
import time
import types

import pytest

from ddb_lease.cli import streams, waiting
from ddb_lease.cli.wait_text import Holder, Standing
from ddb_lease.cli.waiting import Waiting

FULL = Standing(state="full", holders=(Holder(owner="ann", seconds=36.0),))
LONG = 60.0


def until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Terminal(io.StringIO):
    """Standard error: what it showed, and when; whether it is a terminal with us in the foreground."""

    def __init__(self):
        super().__init__()
        self.at, self.in_front = [], False

    def write(self, text):
        self.at.append(time.monotonic())
        return super().write(text)

    def lines(self):
        return self.getvalue().splitlines()

    def drawn(self):
        return re.findall(r"\r([^\r\n]+?)\x1b\[K", self.getvalue())


@pytest.fixture
def err(monkeypatch):
    shown = Terminal()
    # Not in `sys` itself: pytest puts a stream of its own there before each test.
    monkeypatch.setattr(streams, "sys", types.SimpleNamespace(stderr=shown))
    return shown


@pytest.fixture
def on_terminal(err):
    err.in_front = True
    return err


def wait(**how):
    own = {"patience": 0.01, "tick": 0.01, "each": 0.05, "draws": lambda: streams.sys.stderr.in_front}
    return Waiting("gpus", **own | how)


def test_elsewhere_a_line_says_that_it_begins_one_now_and_then_that_it_goes_on_and_one_that_it_is_over(err):
    with wait(look=lambda: FULL) as it:
        until(lambda: len(err.lines()) >= 3)
        it.done("slot 1 of gpus")
    *during, end = err.lines()
    assert set(during) == {"ddb-lease: waiting for gpus: full; held by ann for 36s"}
    assert re.fullmatch(r"ddb-lease: slot 1 of gpus after \d\.\ds", end)


def test_on_a_terminal_one_line_is_drawn_again_and_again_and_replaced_at_the_end(on_terminal):
    with wait(look=lambda: FULL) as it:
        until(lambda: len(on_terminal.drawn()) >= 3)
        it.done("slot 1 of gpus")
    assert set(on_terminal.drawn()) == {"waiting for gpus: full; held by ann for 36s"}
    assert re.search(r"\r\x1b\[Kddb-lease: slot 1 of gpus after \S+s\n\Z", on_terminal.getvalue())
    assert on_terminal.getvalue().count("\n") == 1


def test_elsewhere_lines_come_when_the_wait_has_doubled_until_one_comes_each_minute(err, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST_LINES_SECONDS", 0.02)
    began = time.monotonic()
    with wait(each=60 * LONG):
        until(lambda: len(err.at) >= 6)
    second, *later = [moment - began for moment in err.at[1:6]]
    for before, after in zip([second, *later], later, strict=False):
        assert after >= 1.9 * before - 0.02


def test_a_short_wait_is_not_told(err):
    with wait(patience=LONG) as it:
        it.done("slot 1 of gpus")
    assert err.getvalue() == ""


def test_a_quiet_wait_is_not_told(err):
    asked = []
    with wait(quiet=True, look=lambda: asked.append(1) or FULL) as it:
        it.done("slot 1 of gpus")
    assert (err.getvalue(), asked) == ("", [])


def test_a_wait_that_fails_leaves_no_line_on_the_terminal(on_terminal):
    def fail():
        with wait():
            until(on_terminal.drawn)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        fail()
    assert on_terminal.getvalue().endswith("\r\x1b[K")
    assert "\n" not in on_terminal.getvalue()


def test_what_is_said_meanwhile_stands_above_the_line(on_terminal):
    with wait():
        until(on_terminal.drawn)
        streams.say("no answer from DynamoDB")
        drawn = len(on_terminal.drawn())
        until(lambda: len(on_terminal.drawn()) > drawn)
    assert "\r\x1b[Kddb-lease: no answer from DynamoDB\n\rwaiting for gpus" in on_terminal.getvalue()


def test_in_the_background_the_terminal_is_left_alone(on_terminal):
    with wait():
        until(on_terminal.drawn)
        on_terminal.in_front = False
        until(lambda: on_terminal.getvalue().count("\n") >= 2)
    assert "\r\x1b[Kddb-lease: waiting for gpus\nddb-lease: waiting for gpus\n" in on_terminal.getvalue()


def test_what_is_asked_may_fail(err):
    def look():
        raise OSError("no answer")

    with wait(look=look):
        until(lambda: len(err.lines()) >= 2)
    assert set(err.lines()) == {"ddb-lease: waiting for gpus"}


def test_what_is_asked_may_hang(err, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.01)
    answer = threading.Event()
    try:
        with wait(look=lambda: answer.wait(LONG) and FULL):
            until(lambda: len(err.lines()) >= 2)
            began = time.monotonic()
        assert time.monotonic() - began < LONG / 2
    finally:
        answer.set()


def test_a_terminal_that_hangs_does_not_hold_up_the_end(on_terminal, monkeypatch):
    monkeypatch.setattr(waiting, "LEAVE_SECONDS", 0.01)
    stuck, let_go = threading.Event(), threading.Event()
    monkeypatch.setattr(streams, "show_line", lambda _: stuck.set() or let_go.wait(LONG))
    try:
        with wait():
            assert stuck.wait(LONG)
            began = time.monotonic()
        assert time.monotonic() - began < LONG / 2
    finally:
        let_go.set()


def test_a_stream_that_is_closed_ends_nothing(err):
    err.close()
    asked = threading.Event()
    with wait(look=lambda: asked.set() or FULL) as it:
        assert asked.wait(LONG)
        it.done("slot 1 of gpus")


def test_where_no_thread_is_to_be_had_it_waits_in_silence(err, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with wait(look=lambda: FULL) as it:
        it.done("slot 1 of gpus")
    assert err.getvalue() == ""


def test_what_is_known_besides_is_said_too(err):
    state = iter(["place 2", "place 1", *["here"] * 1000]).__next__
    with wait(look=lambda: FULL, state=lambda standing: f"{standing.state}, {state()}"):
        until(lambda: len(err.lines()) >= 2)
    first, second, *_ = err.lines()
    assert first == "ddb-lease: waiting for gpus: full, place 2; held by ann for 36s"
    assert second == "ddb-lease: waiting for gpus: full, place 1; held by ann for 36s"


def test_where_many_wait_the_service_is_asked_more_seldom(err):
    asked = []
    with wait(look=lambda: asked.append(1) or FULL, pause=lambda standing: 0.0):
        until(lambda: len(asked) >= 3)
    asked.clear()
    with wait(look=lambda: asked.append(1) or FULL, pause=lambda standing: LONG if standing is FULL else 0.0):
        until(lambda: len(err.lines()) >= 6)
    assert len(asked) == 1


@pytest.mark.parametrize(("in_front", "times"), [(True, 2), (False, 1)])
def test_on_a_terminal_the_service_is_asked_again_when_the_place_changes(err, in_front, times):
    err.in_front = in_front
    asked, place = [], [3]
    with wait(look=lambda: asked.append(place[0]) or FULL, place=lambda: place[0], each=LONG):
        until(lambda: asked == [3])
        place[0] = 2
        until(lambda: len(asked) == times)
        drawn = len(err.getvalue())
        until(lambda: len(err.getvalue()) > drawn + 500 or not in_front)
    assert asked == [3, 2][:times]


@pytest.mark.parametrize("in_front", [True, False])
def test_the_service_is_asked_seldom(err, in_front):
    err.in_front = in_front
    asked = []
    with wait(look=lambda: asked.append(1) or FULL, each=LONG):
        until(lambda: len(err.getvalue()) > (3_000 if in_front else 10))
    assert len(asked) == 1


@pytest.fixture
def asked_at(err, monkeypatch):
    """At which times the service is asked, of these to which the clock is set one after the other."""
    now = [0.0]
    monkeypatch.setattr(waiting, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    def times(*moments, in_front, **how):
        asked, ticks = [], []
        own = {"draws": lambda: ticks.append(1) or in_front, "each": LONG}
        with wait(look=lambda: asked.append(now[0]) or FULL, **own | how):
            for moment in (0.0, *moments):
                now[0] = moment
                until_tick = len(ticks) + 8  # two at each: whether to draw, and how
                until(lambda: len(ticks) >= until_tick)  # noqa: B023 - at once
        return asked

    return times


def test_on_a_terminal_the_service_is_asked_again_after_ten_seconds_though_the_place_is_the_same(asked_at):
    assert asked_at(5.0, 9.99, 10.0, 10.1, 19.99, 20.0, in_front=True) == [0.0, 10.0, 20.0]


def test_elsewhere_the_service_is_asked_once_shortly_before_each_line(asked_at):
    assert asked_at(5.0, 9.97, 9.985, 9.99, 10.0, 19.0, 19.985, in_front=False) == [0.0, 9.985, 19.985]


@pytest.mark.parametrize("in_front", [True, False])
def test_the_service_is_not_asked_sooner_than_the_pause_that_many_waiters_need(asked_at, in_front):
    asked = asked_at(9.985, 10.0, 14.9, 15.0, 29.99, 30.0, in_front=in_front, pause=lambda standing: 15.0)
    assert asked == ([0.0, 15.0, 30.0] if in_front else [0.0, 29.99])
