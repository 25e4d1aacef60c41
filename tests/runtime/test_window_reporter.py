"""The events of a sliding window, in both APIs: how each call ends, and what the service does."""

import asyncio
import threading

import pytest

from ddb_lease import AcquireTimeout, ConfigurationError, SlidingWindow, StoreUnavailable, aio
from ddb_lease._protocol.messages import Claim, Look
from ddb_lease._runtime import window_core
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._runtime.window_reporter import WindowReporter
from ddb_lease.models import WindowDecision
from ddb_lease.rate_events import Admitted, Available, Denied, RateThrottled, Unavailable
from scripts.harness.simulated_engine import Simulated
from tests.apis import APIS, Loop
from tests.rate_apis import Both
from tests.support import THROTTLED, UNSENT, Tap


@pytest.fixture(scope="module")
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def told():
    return []


@pytest.fixture(params=APIS)
def make(request, told, loop):
    """Makes windows of three permits an hour."""
    service, made = Simulated(), []

    def window(**settings):
        tap = Tap()
        kind = aio.SlidingWindow if request.param == "asyncio" else SlidingWindow
        one = kind(
            "sign-ups",
            **{"max_tokens": 3, "period": 3600, "on_event": told.append} | settings,
            session=service.session(),
            endpoint_url=service.endpoint_url,
            runtime=Runtime(wrap=tap.around),
        )
        made.append(Both(one, loop))
        made[-1].tap = tap
        return made[-1]

    yield window
    for one in made:
        one.close()


def test_each_call_ends_with_an_event(make, told):
    window = make()
    window.acquire(timeout=5)
    assert [window.try_acquire() for _ in range(3)] == [True, True, False]
    with pytest.raises(AcquireTimeout):
        window.acquire(timeout=0.01)
    assert [type(event) for event in told] == [Admitted] * 3 + [Denied] * 2
    assert {(event.rate, event.key, event.decided_by) for event in told} == {("sign-ups", "", "table")}
    assert {tuple(event.permits.items()) for event in told} == {(("permits", 1),)}
    assert all(0 <= event.waited_seconds < 30 for event in told)
    assert all(3_500 < event.retry_after < 3_610 for event in told[3:])


def test_an_outage_begins_and_ends_once(make, told):
    window = make()
    window.acquire(timeout=5)
    told.clear()
    window.tap.everything_fails = UNSENT
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            window.try_acquire()
    window.tap.everything_fails = None
    assert window.try_acquire()
    began, ended, _ = told
    assert [type(event) for event in told] == [Unavailable, Available, Admitted]
    assert "no connection" in began.cause
    assert began.on_unavailable == "raise"
    assert ended.seconds > 0


def test_an_outage_that_ends_while_its_beginning_is_told_is_told_to_end_after_it(reporters):
    told = []

    def on_event(event):
        if isinstance(event, Unavailable):  # meanwhile, a call of another thread is answered
            thread = threading.Thread(target=lambda: ends(WindowDecision(allowed=True, retry_after=0.0)))
            thread.start()
            thread.join(10)
        told.append(type(event))

    reporter = WindowReporter("w", on_event, runtime=Runtime())
    with reporter.reporting() as ends, pytest.raises(StoreUnavailable), reporter.reporting():
        raise StoreUnavailable("no connection")
    assert told == [Admitted, Unavailable, Available]


def test_throttling_is_told(make, told):
    window = make()
    window.acquire(timeout=5)
    told.clear()
    window.tap.inject((Claim, Look), answer=THROTTLED, commits=False)
    window.acquire(timeout=5)
    assert {type(event) for event in told} == {RateThrottled, Admitted}
    assert told[0].operation in {"claim", "look"}


def test_events_come_on_the_calling_thread_or_the_loops(make, loop):
    seen = []
    window = make(on_event=lambda _: seen.append(threading.current_thread().name))
    window.acquire(timeout=5)
    assert seen in ([threading.current_thread().name], ["the test's loop"])


@pytest.fixture
def reporters(monkeypatch):
    """The reporters of all windows made."""
    made = []

    def reporter(*args, **how):
        made.append(WindowReporter(*args, **how))
        return made[-1]

    monkeypatch.setattr(window_core, "WindowReporter", reporter)
    return made


def test_without_on_event_nothing_is_made(make, reporters):
    make(on_event=None)
    assert not reporters
    make()
    assert len(reporters) == 1


def test_what_cannot_be_called_with_an_event_is_refused(make):
    with pytest.raises(ConfigurationError, match="on_event"):
        make(on_event="text")


def test_a_forked_child_tells_no_end_of_its_parents_outage(make, told, reporters):
    window = make()
    window.tap.everything_fails = UNSENT
    with pytest.raises(StoreUnavailable):
        window.acquire(timeout=1)
    (reporter,) = reporters
    reporter.after_fork_in_child()
    window.tap.everything_fails = None
    assert window.try_acquire()
    assert [type(event) for event in told] == [Unavailable, Admitted]


def test_a_cancelled_call_ends_with_no_event(told, loop):
    service = Simulated()

    async def main():
        settings = {"session": service.session(), "endpoint_url": service.endpoint_url, "on_event": told.append}
        async with aio.SlidingWindow("sign-ups", max_tokens=1, period=3600, **settings) as window:
            await window.acquire(timeout=5)
            waiting = asyncio.create_task(window.acquire())
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    loop.run(main())
    assert [type(event) for event in told] == [Admitted]
