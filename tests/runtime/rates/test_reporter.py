"""The events of a rate: each call, booking, change of policy and outage, once, on the calling thread, without harm."""

import json
import logging
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from ddb_lease import AcquireTimeout, ConfigurationError, Limit, StoreUnavailable, otel, rate_events
from ddb_lease._protocol.rates.charging import Wanted
from ddb_lease._protocol.rates.messages import Charge
from ddb_lease._runtime.rates.reporter import RateReporter
from ddb_lease._runtime.runtime import Runtime
from ddb_lease._state.rates.service_contact import Began, Ended
from ddb_lease.rate_events import (
    Admitted,
    Available,
    Booked,
    Denied,
    PolicyChanged,
    RateThrottled,
    Reserved,
    Settled,
    Unavailable,
)
from scripts.harness.inside import core_of
from scripts.harness.simulated_engine import Simulated
from tests.apis import Loop
from tests.rate_apis import APIS, limiter_of
from tests.support import LOST, THROTTLED, UNSENT, Tap, every_lock_held

HOUR = 3600.0
PAGE = (Path(__file__).parents[3] / "docs" / "observing.md").read_text()
KINDS = (Admitted, Denied, Booked, Reserved, Settled, PolicyChanged, RateThrottled, Unavailable, Available)


@pytest.fixture
def told():
    return []


@pytest.fixture(scope="module")
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture(params=APIS)
def make(request, told, loop):
    """Makes limiters of one rate, each a process of its own: five permits, and one more each twelve minutes."""
    service, made = Simulated(), []

    def limiter(**settings):
        tap = Tap()
        settings = {"rate": 5, "per": HOUR, "on_event": told.append} | settings
        if "limits" in settings:
            settings = {name: value for name, value in settings.items() if name not in {"rate", "per"}}
        one = limiter_of(
            request.param,
            loop,
            "api",
            session=service.session(),
            endpoint_url=service.endpoint_url,
            runtime=Runtime(wrap=tap.around),
            **settings,
        )
        one.tap = tap
        made.append(one)
        return one

    yield limiter
    for one in made:
        one.close()


def of(kind, told):
    return [event for event in told if isinstance(event, kind)]


# The calls.


def test_each_call_ends_with_an_event_that_has_the_key_and_the_permits(make, told):
    limiter = make()
    assert limiter.key("k").try_acquire(4)
    assert not limiter.key("k").try_acquire(4)
    assert not limiter.key("k").check(3).allowed
    with pytest.raises(AcquireTimeout):
        limiter.key("k").acquire(2, timeout=0)
    limiter.acquire(timeout=5)
    admitted, *denied, last = told
    assert admitted == Admitted(
        rate="api", key="k", permits={"permits": 4}, waited_seconds=admitted.waited_seconds, decided_by="table"
    )
    assert 0 <= admitted.waited_seconds < 10
    assert [event.permits["permits"] for event in denied] == [4, 3, 2]
    assert {(event.rate, event.key, event.limit, event.decided_by) for event in denied} == {
        ("api", "k", "permits", "table")
    }
    assert denied[0].retry_after == pytest.approx(3 * HOUR / 5, abs=60)
    assert (type(last), last.key) == (Admitted, "")


def test_several_limits_are_one_event_and_the_limit_that_comes_last_is_told(make, told):
    limiter = make(limits={"requests": Limit(5, per=HOUR), "tokens": Limit(100, per=HOUR)})
    assert limiter.try_acquire(requests=1, tokens=90)
    assert not limiter.try_acquire(requests=1, tokens=90)
    assert [event.permits for event in told] == [{"requests": 1, "tokens": 90}] * 2
    assert told[1].limit == "tokens"


def test_a_call_that_waits_is_booked_and_then_admitted_and_says_how_long_it_waited(make, told):
    limiter = make(rate=5, per=1.0, burst=1)
    limiter.acquire()
    told.clear()
    limiter.acquire(timeout=10)
    booked, admitted = told
    assert (type(booked), type(admitted)) == (Booked, Admitted)
    assert 0 < booked.due_in_seconds <= 0.3
    assert admitted.waited_seconds >= booked.due_in_seconds - 0.01
    assert (booked.key, booked.permits) == ("", {"permits": 1})


def test_what_fails_is_neither_admitted_nor_denied(make, told):
    limiter = make()
    limiter.acquire(timeout=5)
    told.clear()
    limiter.tap.everything_fails = UNSENT
    with pytest.raises(StoreUnavailable):
        limiter.try_acquire()
    limiter.tap.everything_fails = None
    with pytest.raises(ConfigurationError):
        limiter.try_acquire(17)
    assert not of((Admitted, Denied), told)


# What concerns all keys.


def test_a_change_of_the_policy_is_told_once_by_each_process_that_follows(make, told):
    theirs = []
    limiter, other = make(), make(on_event=theirs.append)
    limiter.acquire(timeout=5)
    other.acquire(timeout=5)
    assert not of(PolicyChanged, told + theirs), "the first policy is no change"
    limiter.set_policy(Limit(50, per=HOUR))
    limiter.acquire(timeout=5)
    for _ in range(3):
        other.acquire(timeout=5)
    for events in (told, theirs):
        (changed,) = of(PolicyChanged, events)
        assert changed == PolicyChanged(rate="api", limits={"permits": Limit(50, per=HOUR, burst=50)}, key="")


def test_an_outage_begins_and_ends_with_an_event_each(make, told):
    limiter = make(on_unavailable="deny")
    limiter.acquire(timeout=5)
    told.clear()
    limiter.tap.everything_fails = UNSENT
    while not of(Unavailable, told):
        assert not limiter.try_acquire()
    for _ in range(3):
        assert not limiter.try_acquire()
    limiter.tap.everything_fails = None
    while not of(Available, told):
        limiter.try_acquire()
    (began,), (ended,) = of(Unavailable, told), of(Available, told)
    assert (began.rate, began.key, began.on_unavailable) == ("api", "", "deny")
    assert "no connection" in began.cause
    assert 0.3 < ended.seconds < 60
    denied = of(Denied, told)
    assert {event.decided_by for event in denied} == {"deny"}
    assert told.index(began) < told.index(ended)


def test_changes_that_come_while_one_is_told_are_told_after_it(make):
    told, waiting = [], [Ended(seconds=2.0), Began(cause=LOST.cause)]

    def on_event(event):
        if waiting:  # meanwhile, calls of another thread notice more
            state.contact.transitions.append(waiting.pop(0))
            state.policy = replace(state.policy, rev=state.policy.rev + 1)
            thread = threading.Thread(target=reporter.report_changes)
            thread.start()
            thread.join(10)
        told.append(type(event))

    limiter = make(on_event=lambda _: None, on_unavailable="deny")
    limiter.acquire(timeout=5)
    state = core_of(limiter).state
    reporter = RateReporter(state, on_event, runtime=Runtime())
    reporter.report_changes()
    assert told == [], "the first policy is no change"
    state.contact.transitions.append(Began(cause=LOST.cause))
    reporter.report_changes()
    assert told == [Unavailable, Available, PolicyChanged, Unavailable, PolicyChanged]


def test_without_a_setting_an_outage_is_told_all_the_same(make, told):
    limiter = make()
    limiter.acquire(timeout=5)
    limiter.tap.everything_fails = LOST
    with pytest.raises(StoreUnavailable):
        limiter.acquire(timeout=3)
    limiter.tap.everything_fails = None
    limiter.acquire(timeout=5)
    assert [type(event) for event in told if not isinstance(event, Admitted)] == [Unavailable, Available]
    assert of(Unavailable, told)[0].on_unavailable == "raise"


def test_throttling_is_told_with_what_throttles_and_is_no_outage(make, told):
    limiter = make()
    limiter.acquire(timeout=5)
    told.clear()
    limiter.tap.inject(Charge, answer=replace(THROTTLED, limit="key range"), commits=False)
    limiter.key("k").acquire(timeout=5)
    assert told[0] == RateThrottled(rate="api", key="k", operation="charge", limit="key range")
    assert [type(event) for event in told] == [RateThrottled, Admitted]


def test_a_reservation_is_told_as_such(make, told):
    limiter = make()
    core = core_of(limiter)
    reserved = Wanted(reserved={"permits": 2})
    core.reporter.decided("k", reserved, allowed=True, began=core.state.time.steady() - 2, by="local")
    assert told == [
        Reserved(rate="api", key="k", permits={"permits": 2}, waited_seconds=told[0].waited_seconds, decided_by="local")
    ]
    assert told[0].waited_seconds == pytest.approx(2, abs=0.5)


# Whose thread, and what may go wrong.


def test_events_come_on_the_calling_thread_or_the_loops_with_no_lock_held(make, told, loop):
    seen = []

    def on_event(event):
        with every_lock_held(core_of(limiter)) as count:
            seen.append((type(event), threading.current_thread().name, count))

    limiter = make(on_event=on_event, rate=5, per=1.0, burst=1)
    for _ in range(2):
        limiter.acquire(timeout=5)
    limiter.try_acquire()
    assert {kind for kind, _, _ in seen} == {Admitted, Booked, Denied}
    assert all(count > 3 for _, _, count in seen), "another thread could take them all"
    here = {threading.current_thread().name, "the test's loop"}
    assert {name for _, name, _ in seen} <= here
    assert len({name for _, name, _ in seen}) == 1


def test_an_on_event_that_raises_harms_no_call_and_is_logged_once(make, caplog):
    def on_event(event):
        raise RuntimeError(f"not {event.rate}")

    limiter = make(on_event=on_event)
    with caplog.at_level(logging.ERROR, logger="ddb_lease"):
        for _ in range(3):
            limiter.acquire(timeout=5)
    assert [record.getMessage() for record in caplog.records] == [
        "on_event of rate 'api' failed; later errors are not logged"
    ]


@pytest.mark.parametrize("make", ["threads"], indirect=True)
def test_an_interrupt_in_on_event_passes_through(make):
    def on_event(_):
        raise KeyboardInterrupt

    limiter = make(on_event=on_event)
    with pytest.raises(KeyboardInterrupt):
        limiter.acquire(timeout=5)


@pytest.mark.parametrize("on_event", ["no function", lambda: None], ids=["text", "takes nothing"])
def test_what_cannot_be_called_with_an_event_is_refused_when_it_is_given(make, on_event):
    with pytest.raises(ConfigurationError, match="on_event"):
        make(on_event=on_event)


def test_a_coroutine_function_is_refused(make):
    async def on_event(event):
        raise AssertionError(event)

    with pytest.raises(ConfigurationError, match="on_event.*coroutine"):
        make(on_event=on_event)


def test_without_on_event_nothing_is_made_and_nothing_is_wrapped(make):
    limiter = make(on_event=None)
    assert core_of(limiter).reporter is None
    assert core_of(limiter).state.contact is None


def test_events_are_small_values_with_the_rate_and_the_key():
    for kind in KINDS:
        assert {"rate", "key"} <= set(kind.__slots__)
        assert f"`{kind.__name__}`" in PAGE, kind
    assert {kind.__name__ for kind in KINDS} == set(rate_events.__all__) - {"RateEvent", "OnRateEvent"}


# OpenTelemetry.


EVENTS = (
    Admitted(rate="r", key="k", permits={"a": 2, "b": 3}, waited_seconds=0.5),
    Admitted(rate="r", key="k", permits={"a": 1}, waited_seconds=0.25, decided_by="local"),
    Denied(rate="r", key="k", permits={"a": 2}, limit="a", retry_after=1.0, waited_seconds=0.0),
    Booked(rate="r", key="k", permits={"a": 2}, due_in_seconds=1.5),
    Reserved(rate="r", key="k", permits={"a": 5}, waited_seconds=0.5),
    Settled(rate="r", key="k", reserved={"a": 5}, used={"a": 4}, written=True),
    PolicyChanged(rate="r", limits={"a": Limit(1)}),
    RateThrottled(rate="r", key="k", operation="charge", limit="key range"),
    Unavailable(rate="r", on_unavailable="local", cause="no connection"),
    Available(rate="r", seconds=12.5),
)


def recorded(**how):
    reader = InMemoryMetricReader()
    record = otel.instrument(MeterProvider([reader]).get_meter("test"), **how)
    for event in EVENTS:
        record(event)
    (resource,) = reader.get_metrics_data().resource_metrics
    return {metric.name: metric for metric in resource.scope_metrics[0].metrics}


def points(metric):
    return {
        tuple(sorted((name.removeprefix("ddb_lease."), value) for name, value in point.attributes.items())): (
            point.sum if hasattr(point, "sum") else point.value
        )
        for point in metric.data.data_points
    }


def test_opentelemetry_records_each_event_with_units_and_few_attributes():
    metrics = recorded()
    rate = ("rate", "r")
    found = {name.removeprefix("ddb_lease.rate."): (metric.unit, points(metric)) for name, metric in metrics.items()}
    by_table, by_local = ("decided_by", "table"), ("decided_by", "local")
    assert found == {
        "admitted": ("{call}", {(by_table, rate): 1, (by_local, rate): 1}),
        "permits": ("{permit}", {(("rate", "r"), ("rate.limit", "a")): 3, (("rate", "r"), ("rate.limit", "b")): 3}),
        "wait": ("s", {(rate,): 1.25}),
        "denied": ("{call}", {(by_table, rate, ("rate.limit", "a")): 1}),
        "booked": ("{call}", {(rate,): 1}),
        "reserved": ("{permit}", {(rate, ("rate.limit", "a")): 5}),
        "used": ("{permit}", {(rate, ("rate.limit", "a")): 4}),
        "policy_changed": ("{change}", {(rate,): 1}),
        "throttled": ("{request}", {(("limit", "key range"), ("operation", "charge"), rate): 1}),
        "unavailable": ("{limiter}", {(rate,): 0}),
        "outage": ("s", {(rate,): 12.5}),
    }
    for text in (PAGE, otel.__doc__):
        named = set(re.findall(r"^\| `+(ddb_lease\.rate\.[\w.]+)`+ \|", text, re.MULTILINE))
        assert named == set(metrics)


def test_an_event_of_a_later_version_is_ignored():
    reader = InMemoryMetricReader()
    otel.instrument(MeterProvider([reader]).get_meter("test"))(object())
    assert reader.get_metrics_data() is None


def test_no_key_is_an_attribute_unless_it_is_asked_for():
    assert "k" not in json.dumps([list(points(metric)) for metric in recorded().values()]).replace("key range", "")
    with_keys = recorded(keys=True)
    assert points(with_keys["ddb_lease.rate.booked"]) == {(("key", "k"), ("rate", "r")): 1}
    assert points(with_keys["ddb_lease.rate.outage"]) == {(("rate", "r"),): 12.5}, "it concerns all keys"
