"""The events that `on_event` gets: everything that happened, once, on the right thread, and without harm."""

import json
import logging
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from ddb_lease import AcquireTimeout, LossReason, StoreUnavailable, events, otel
from ddb_lease._protocol.messages import Claim, Look, Release, Renew
from ddb_lease._runtime.event_calls import EventCalls
from ddb_lease._runtime.instrumentation import EventReporter
from ddb_lease._runtime.runtime import Runtime
from ddb_lease.events import Acquired, Contended, Lost, Released, ReMinted, Renewed, Throttled
from scripts.harness.holders import locks_within
from scripts.harness.inside import core_of, held_of
from tests.conftest import PATIENCE
from tests.pages import Snippets
from tests.support import CONFLICT, LOST, THROTTLED, UNSENT, Tap, eventually, put_counter, put_free, put_leased

CONTRACT = True  # the simulator's DynamoDB too

VALUES = [getattr(events, name) for name in events.__all__ if name not in {"Event", "OnEvent", "ThrottledBy"}]
SNIPPETS = Snippets("docs/observing.md")
PAGE = (Path(__file__).parents[2] / "docs" / "observing.md").read_text()


@pytest.fixture
def told():
    return []


@pytest.fixture
def bucket(environment, told):
    return environment.bucket(max_tokens=1, on_event=told.append)


def of(kind, told):
    return [event for event in told if isinstance(event, kind)]


# The events.


def test_a_lease_begins_and_ends_with_an_event_each(bucket, told, table):
    put_counter(table, max_tokens=1, minted=1)
    put_free(table, 0)
    with bucket.acquire(timeout=5) as lease:
        (acquired,) = told
        assert (acquired.bucket, acquired.lease_id, acquired.slots) == (bucket.name, lease.id, (0,))
        assert acquired.fence == lease.fence
        assert acquired.requests == len(bucket.tap.sent)
    assert told == [acquired, Released(bucket=bucket.name, lease_id=lease.id, freed=True)]
    assert not lease.release()
    assert len(told) == 2, "it ended once"


def test_an_event_says_how_long_a_waiter_waited(environment, bucket, told, new_bucket):
    holder = environment.bucket(max_tokens=1).acquire(timeout=5)
    environment.meanwhile.append(lambda: holder.release() if sum(environment.pauses) > 10 else None)
    began = environment.clock.steady()
    bucket.acquire(timeout=60)
    (acquired,) = of(Acquired, told)
    assert acquired.waited_seconds == environment.clock.steady() - began > 10
    assert acquired.requests == len(bucket.tap.sent) > 5


def test_several_slots_are_one_event(environment, told):
    environment.bucket(max_tokens=5, on_event=told.append).acquire(timeout=5, count=3).release()
    acquired, released = told
    assert len(acquired.slots) == 3
    assert released.freed


def test_a_renewal_by_plan_is_not_late(environment, bucket, told):
    lease = bucket.acquire(timeout=5)
    environment.run(11, bucket)
    (renewed,) = of(Renewed, told)
    assert renewed.lease_id == lease.id
    assert 0 <= renewed.late_seconds <= 0.25, "the environment moves in such steps"


def test_a_renewal_that_failed_before_is_late_by_the_first_plan(environment, bucket, told):
    bucket.acquire(timeout=5)
    planned = next(iter(core_of(bucket).leases.values())).belief.due_at()
    bucket.tap.everything_fails = UNSENT
    environment.run(15, bucket)
    bucket.tap.everything_fails = None
    while not of(Renewed, told):
        environment.run(0.25, bucket)
    assert of(Renewed, told)[0].late_seconds == pytest.approx(environment.clock.steady() - planned)
    assert of(Renewed, told)[0].late_seconds > 4


def test_a_renewal_by_hand_comes_early_and_is_told(bucket, told):
    lease = bucket.acquire(timeout=5)
    lease.renew()
    assert of(Renewed, told) == [Renewed(bucket=bucket.name, lease_id=lease.id, late_seconds=0.0)]


@pytest.mark.parametrize("reason", [LossReason.TAKEN, LossReason.GONE, LossReason.UNREACHABLE, LossReason.REVOKED])
def test_a_loss_is_told_once_with_its_reason_and_is_no_release(environment, bucket, told, table, reason):
    lease = bucket.acquire(timeout=5)
    match reason:
        case LossReason.TAKEN:
            put_leased(table, 0, "0-other")
        case LossReason.GONE:
            table.delete(0)
        case LossReason.UNREACHABLE:
            bucket.tap.everything_fails = UNSENT
        case _:
            table.set(0, revoked=True)
    environment.run(40, bucket)
    lease.release() if reason is not LossReason.UNREACHABLE else None
    (lost,) = of((Lost, Released), told)
    assert lost == Lost(bucket=bucket.name, lease_id=lease.id, reason=reason, cause=lost.cause)
    assert ("no connection" in lost.cause) is (reason is LossReason.UNREACHABLE)


def test_a_release_without_an_answer_says_that_nobody_knows(bucket, told):
    lease = bucket.acquire(timeout=5)
    bucket.tap.everything_fails = LOST
    with pytest.raises(StoreUnavailable):
        lease.release()
    bucket.tap.everything_fails = None
    lease.release()
    assert of(Released, told) == [Released(bucket=bucket.name, lease_id=lease.id, freed=False)]


def test_a_slot_that_another_took_first_is_contention(environment, told, table):
    bucket = environment.bucket(max_tokens=2, on_event=told.append)
    bucket.acquire(timeout=5).release()
    told.clear()
    bucket.tap.inject(Claim, before=lambda claim: put_leased(table, claim.slot, "0-other"))
    bucket.acquire(timeout=5)
    (contended,) = of(Contended, told)
    assert (contended.operation, contended.reason, len(contended.slots)) == ("claim", "taken", 1)


def test_a_claim_that_an_earlier_sending_had_won_is_none(bucket, told):
    bucket.tap.inject(Claim, answer=LOST)
    bucket.acquire(timeout=5)
    assert len(bucket.tap.of(Claim)) == 2
    assert of(Contended, told) == []


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (CONFLICT, lambda b, op, slots: Contended(bucket=b, operation=op, slots=slots, reason="conflict")),
        (THROTTLED, lambda b, op, slots: Throttled(bucket=b, operation=op)),
        (replace(THROTTLED, limit="account"), lambda b, op, slots: Throttled(bucket=b, operation=op, limit="account")),
    ],
)
@pytest.mark.parametrize("kind", [Look, Claim, Renew, Release])
def test_each_answer_that_asks_for_patience_is_told(bucket, told, answer, event, kind):
    bucket.tap.inject(kind, answer=answer, commits=False)
    lease = bucket.acquire(timeout=5)
    try:
        lease.renew()
    except StoreUnavailable:
        assert kind is Renew
    lease.release()
    expected = event(bucket.name, kind.__name__.lower(), () if kind is Look else (0,))
    assert of((Contended, Throttled), told) == [expected]


def test_a_slot_that_was_missing_is_told(environment, told, table):
    put_counter(table, max_tokens=1, minted=1)
    bucket = environment.bucket(max_tokens=1, on_event=told.append)
    bucket.acquire(timeout=5)
    assert [type(event) for event in told] == [ReMinted, Acquired]
    assert told[0] == ReMinted(bucket=bucket.name, slot=0)


def test_an_acquire_that_on_event_interrupts_gives_the_lease_back_and_says_so(environment, table):
    told = []

    def interrupt(event):
        told.append(event)
        if isinstance(event, Acquired):
            raise KeyboardInterrupt

    bucket = environment.bucket(max_tokens=1, on_event=interrupt)
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(timeout=5)
    assert [type(event) for event in told] == [Acquired, Released]
    assert bucket.status().free == 1


def test_a_claim_that_was_given_up_before_anyone_had_it_has_no_event(bucket, told):
    bucket.tap.inject(Claim, raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bucket.acquire(timeout=5)
    assert len(bucket.tap.of(Release)) == 1
    assert of((Acquired, Released), told) == []


# Without harm.


def test_what_on_event_raises_is_logged_once_and_harms_nothing(environment, caplog):
    def fail(event):
        raise RuntimeError("no metrics today")

    bucket = environment.bucket(max_tokens=1, on_event=fail)
    lost = []
    with caplog.at_level(logging.ERROR, "ddb_lease"):
        bucket.acquire(timeout=5).release()
        lease = bucket.acquire(timeout=5, on_lost=lost.append)
        environment.run(60, bucket)
        assert lease.held
        bucket.tap.everything_fails = UNSENT
        environment.run(40, bucket)
        assert lost == [lease]
    (record,) = caplog.records
    assert "on_event" in record.getMessage()
    assert record.exc_info[0] is RuntimeError


def play(environment, on_event, table):
    """Every kind of event, if anybody listens."""
    put_counter(table, max_tokens=2, minted=2)
    bucket = environment.bucket(max_tokens=2, on_event=on_event)
    bucket.acquire(timeout=5).release()
    bucket.adopt(bucket.acquire(timeout=5).hand_over()).release()
    bucket.tap.inject(Claim, before=lambda claim: put_leased(table, claim.slot, "0-other"))
    bucket.tap.inject(Release, answer=THROTTLED, commits=False)
    bucket.acquire(timeout=5).release()
    lease = bucket.acquire(timeout=5)
    environment.run(12, bucket)
    table.delete(lease.slot)
    environment.run(12, bucket)
    assert lease.lost is LossReason.GONE
    table.delete_all()
    put_counter(table, max_tokens=1, minted=1, order="fifo")
    put_leased(table, 0, expires_at=4_000_000_000_000)
    with pytest.raises(AcquireTimeout):
        environment.bucket(max_tokens=1, on_event=on_event).acquire(0.1)


def test_without_on_event_no_event_is_made(environment, told, table, monkeypatch):
    for kind in VALUES:
        made = kind.__init__

        def make(self, made=made, **fields):
            told.append(type(self))
            made(self, **fields)

        monkeypatch.setattr(kind, "__init__", make)
    play(environment, None, table)
    assert told == []
    table.delete_all()
    play(environment, lambda event: None, table)
    assert set(told) == set(VALUES), "they are noticed where they are made"


class Watched:
    """A lock that knows its owner."""

    def __init__(self, lock):
        self.lock = lock
        self.owner = None

    def acquire(self, *args, **kwargs):
        got = self.lock.acquire(*args, **kwargs)
        if got:
            self.owner = threading.get_ident()
        return got

    def release(self):
        self.owner = None
        self.lock.release()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()


def on_a_thread(act):
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_changes_of_one_state_are_told_one_after_the_other_by_whichever_thread_began():
    told = []

    def on_event(event):
        if event == "down":  # meanwhile, another thread notices that it has ended
            calls.note("up")
            on_a_thread(calls.tell_noted)
        told.append((event, threading.current_thread()))

    calls = EventCalls("rate 'r'", on_event, runtime=Runtime())
    calls.note("down")
    calls.tell_noted()
    assert told == [("down", threading.current_thread()), ("up", threading.current_thread())]
    calls.note("down again")
    on_a_thread(calls.tell_noted)
    assert [event for event, _ in told] == ["down", "up", "down again"]


def test_an_interrupt_amid_a_change_keeps_none_of_the_later_ones():
    told = []

    def on_event(event):
        told.append(event)
        if event == "down":
            raise KeyboardInterrupt

    calls = EventCalls("rate 'r'", on_event, runtime=Runtime())
    calls.note("down")
    calls.note("up")
    with pytest.raises(KeyboardInterrupt):
        calls.tell_noted()
    calls.tell_noted()
    assert told == ["down", "up"]


def test_a_forked_child_tells_no_change_of_its_parents():
    told = []

    def on_event(event):
        if event == "down":  # a fork amid the call
            calls.note("up")
            calls.after_fork_in_child()
        told.append(event)

    calls = EventCalls("rate 'r'", on_event, runtime=Runtime())
    calls.note("down")
    calls.tell_noted()
    calls.note("down in the child")
    calls.tell_noted()
    assert told == ["down", "down in the child"]


def test_events_come_on_the_threads_that_are_promised_and_with_no_lock_held(new_bucket, table):
    watched, told, leases = [], [], set()

    def lock():
        watched.append(Watched(threading.Lock()))
        return watched[-1]

    def on_event(event):
        mine = [lock for lock in watched if lock.owner == threading.get_ident()]
        leases.update(core_of(bucket).leases.values())
        inner = [
            lock
            for lock in locks_within([core_of(bucket), *leases])
            if isinstance(lock, type(threading.RLock())) and lock._is_owned()
        ]
        told.append((type(event), threading.current_thread().name, bool(mine or inner)))

    tap = Tap()
    bucket = new_bucket(
        max_tokens=1,
        lease_seconds=30,
        on_event=on_event,
        tap=tap,
        runtime=Runtime(wrap=tap.around, lock=lock),
    )
    lease = bucket.acquire(timeout=5)
    lease.renew()
    tap.inject(Renew, answer=THROTTLED, commits=False)
    with pytest.raises(StoreUnavailable):
        lease.renew()
    eventually(lambda: any(name.startswith("ddb-lease-callback") for _, name, _ in told), within=60)
    tap.inject(Release, answer=THROTTLED, commits=False)
    lease.release()
    second = bucket.acquire(timeout=5)
    table.delete(0)
    held_of(second).belief.renew_at = time.monotonic()
    with pytest.raises(Exception, match="not held"):
        second.renew()
    eventually(lambda: told[-1][0] is Lost)
    assert not any(locked for _, _, locked in told), told
    here = threading.current_thread().name
    threads = {kind: {name for k, name, _ in told if k is kind} for kind, _, _ in told}
    assert threads[Acquired] == threads[Released] == {here}
    assert all(name.startswith("ddb-lease-callback") for name in threads[Lost])
    assert all(name == here or name.startswith("ddb-lease-callback") for name in threads[Renewed])


# OpenTelemetry.


def test_opentelemetry_records_each_event_with_units_and_few_attributes():
    reader = InMemoryMetricReader()
    record = otel.instrument(MeterProvider([reader]).get_meter("test"))
    for event in (
        Acquired(bucket="b", lease_id="0-a", slots=(0,), fence=1, waited_seconds=2.5, requests=3),
        Acquired(bucket="b", lease_id="1-b", slots=(1,), fence=1, waited_seconds=0.5, requests=1),
        Acquired(bucket="b", lease_id="0-c", slots=(0,), fence=1, waited_seconds=0.0, requests=1),
        Renewed(bucket="b", lease_id="0-a", late_seconds=0.25),
        Released(bucket="b", lease_id="0-a", freed=True),
        events.HandedOver(bucket="b", lease_id="0-c"),
        Lost(bucket="b", lease_id="1-b", reason=LossReason.TAKEN),
        Contended(bucket="b", operation="claim", slots=(1,), reason="taken"),
        Throttled(bucket="b", operation="renew", limit="key range"),
        ReMinted(bucket="b", slot=7),
    ):
        record(event)
    (resource,) = reader.get_metrics_data().resource_metrics
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    found = {}
    for name, metric in metrics.items():
        (point,) = metric.data.data_points
        attributes = dict(point.attributes)
        assert attributes.pop("ddb_lease.bucket") == "b"
        value = point.sum if hasattr(point, "sum") else point.value
        found[name.removeprefix("ddb_lease.")] = (value, metric.unit, *attributes.values())
    assert found == {
        "acquired": (3, "{lease}"),
        "acquire.wait": (3.0, "s"),
        "acquire.requests": (5, "{request}"),
        "held": (0, "{lease}"),
        "renewed": (1, "{lease}"),
        "renewal.late": (0.25, "s"),
        "released": (1, "{lease}"),
        "handed_over": (1, "{lease}"),
        "lost": (1, "{lease}", "taken"),
        "contended": (1, "{request}", "taken"),
        "throttled": (1, "{request}", "renew", "key range"),
        "re_minted": (1, "{slot}"),
    }
    (wait,) = metrics["ddb_lease.acquire.wait"].data.data_points
    assert tuple(wait.explicit_bounds) == otel.WAIT_SECONDS
    for text in (PAGE, otel.__doc__):
        assert set(re.findall(r"^\| `+(ddb_lease\.(?!rate\.)[\w.]+)`+ \|", text, re.MULTILINE)) == set(metrics)


def test_opentelemetry_hangs_on_a_bucket(environment):
    reader = InMemoryMetricReader()
    on_event = otel.instrument(MeterProvider([reader]).get_meter("test"))
    with environment.bucket(max_tokens=1, on_event=on_event).acquire(timeout=5):
        pass
    names = {m.name for m in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics}
    assert {"ddb_lease.acquired", "ddb_lease.held", "ddb_lease.released"} <= names


# CloudWatch.


def check_embedded_metric_format(line):
    """What the specification asks of a line."""
    head = line["_aws"]
    assert isinstance(head["Timestamp"], int)
    assert abs(head["Timestamp"] / 1000 - time.time()) < 60, "milliseconds since the epoch"
    assert head["CloudWatchMetrics"]
    for directive in head["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 1024
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 30
            assert all(isinstance(line[name], str) and line[name] for name in dimensions)
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert metric["Unit"] in {"Seconds", "Count"}
            assert isinstance(line[metric["Name"]], (int, float))


def test_the_recipe_for_cloudwatch_prints_the_embedded_metric_format(environment, table, capsys):
    (recipe,) = (snippet for snippet in SNIPPETS.of() if "_aws" in snippet.block.text)
    world = recipe.run({})
    told = []

    def on_event(event):
        told.append(type(event))
        world["print_metrics"](event)

    play(environment, on_event, table)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(told)
    assert set(told) == set(VALUES)
    for kind, line in zip(told, lines, strict=True):
        check_embedded_metric_format(line)
        assert line[kind.__name__] == 1
    (lost,) = [line for line in lines if "Lost" in line]
    assert lost["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["bucket", "reason"]]
    assert lost["reason"] == "gone"


def test_the_pages_buckets_report_to_opentelemetry_and_print_lines(as_aws, capsys):
    world, buckets = {}, []
    for snippet in SNIPPETS.of():
        snippet.run(world)
        buckets.append(world.get("bucket"))
    by_otel, _, by_lines = buckets
    for bucket in (by_otel, by_lines):
        with bucket, bucket.acquire(timeout=PATIENCE):
            pass
    kinds = [set(json.loads(line)) & {"Acquired", "Released"} for line in capsys.readouterr().out.splitlines()]
    assert kinds == [{"Acquired"}, {"Released"}]


def test_the_page_names_every_event():
    page, rates, _ = PAGE.partition("## Rates")
    assert rates
    assert set(re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE)) == {kind.__name__ for kind in VALUES}


def test_an_interrupt_at_the_start_of_the_telling_thread_neither_repeats_nor_loses_an_event():
    """It comes when the job is queued already: the next event starts another."""
    jobs, told, entered, go = [], [], threading.Event(), threading.Event()

    class Interrupted:
        def heartbeat(self):
            return self

        def call_back(self, job, *, line):
            jobs.append(threading.Thread(target=job, daemon=True))
            jobs[-1].start()
            if len(jobs) == 1:
                assert entered.wait(30.0)
                raise KeyboardInterrupt

    def on_event(event):
        told.append(event)
        entered.set()
        assert go.wait(30.0)

    reporter = EventReporter("bucket", on_event, runtime=Interrupted())
    happened = [Throttled(bucket="bucket", operation=str(number)) for number in range(3)]
    with pytest.raises(KeyboardInterrupt):
        reporter.queue(happened[0])
    reporter.queue(happened[1])
    if len(jobs) > 1:
        jobs[1].join(1.0)  # it ends at once, or tells the first event again and waits
    go.set()
    reporter.queue(happened[2])
    for job in jobs:
        job.join(30.0)
    assert told == happened


def test_events_that_wait_together_are_told_by_one_job_and_later_ones_by_another():
    jobs, told = [], []

    class Calls:
        def heartbeat(self):
            return self

        def call_back(self, job, *, line):
            jobs.append(job)

    reporter = EventReporter("bucket", told.append, runtime=Calls())
    happened = [Throttled(bucket="bucket", operation=str(number)) for number in range(5)]
    for event in happened[:3]:
        reporter.queue(event)
    assert len(jobs) == 1, "while on_event hangs, no more jobs wait for the threads that other callbacks need too"
    jobs[0]()
    assert told == happened[:3]
    for event in happened[3:]:
        reporter.queue(event)
    assert len(jobs) == 2
    jobs[1]()
    assert told == happened
